"""`run.turn(...)`: a turn that is the block in which it happens."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter

import pytest

from trajectory import (
    BufferFullError,
    InvalidTurnError,
    LoggerClosedError,
    LoggerSettings,
    Question,
    SyncTrajectoryLogger,
    TrajectoryError,
    TrajectoryLogger,
    TrajectoryQuery,
    Turn,
    TurnQuery,
    current_turn,
    open_backend,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.testing import GatedBackend


async def turns(backend: MemoryBackend) -> list[Turn]:
    return [turn async for turn in backend.read_turns(TurnQuery())]


async def test_the_block_is_the_turn() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger, logger.trajectory() as run:
        began = perf_counter()
        async with run.turn("Add 1 and 2", model_name="m") as turn:
            assert (turn.is_open, turn.turn_number, turn.trajectory_id) == (True, 1, run.id)
            assert current_turn() is turn
            turn.message("assistant", "Adding.")
            with turn.tool_call("add", '{"a": 1, "b": 2}') as call:
                call.succeeded(3)
            turn.message("tool", "3")
            turn.message("assistant", "It is 3.")
            turn.count(input_tokens=5, output_tokens=2)
            turn.add(Question(question_text="More?", effort_level="low"))
        most = (perf_counter() - began) * 1000
        assert (turn.is_open, current_turn()) == (False, None)
        await run.log_turn("p", "r")
    first, second = await turns(backend)
    assert first == turn.logged
    assert (first.turn_number, first.prompt, first.response) == (1, "Add 1 and 2", "It is 3.")
    assert (first.model_name, first.input_tokens, first.error) == ("m", 5, None)
    assert [m.content for m in first.messages] == ["Adding.", "3", "It is 3."]
    assert [(c.tool_name, c.result) for c in first.tool_calls] == [("add", "3")]
    assert first.latency_ms is not None
    assert 0 <= first.latency_ms <= most
    assert second.turn_number == 2


async def test_an_exception_is_recorded_and_goes_on() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger, logger.trajectory() as run:
        error = ValueError("the model is away")
        with pytest.raises(ValueError, match="the model is away") as caught:
            async with run.turn("p") as turn:
                with turn.tool_call("ask"):
                    raise error
        assert caught.value is error
        await logger.flush()
        (stored,) = await turns(backend)
        assert (stored.error, stored.response) == ("ValueError: the model is away", "")
        assert stored.tool_calls[0].result == "ValueError: the model is away"
        assert stored.tool_calls[0].is_error


async def test_a_cancelled_turn_is_stored_with_what_is_known() -> None:
    backend = MemoryBackend()
    inside = asyncio.Event()

    async def exchange(logger: TrajectoryLogger) -> None:
        async with logger.trajectory() as run, run.turn("p") as turn:
            turn.message("assistant", "Let me see")
            turn.tool_call("look", "{}")
            inside.set()
            await asyncio.Event().wait()

    async with TrajectoryLogger(backend) as logger:
        task = asyncio.create_task(exchange(logger))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (stored,) = await turns(backend)
    assert (stored.error, stored.response) == ("CancelledError", "Let me see")
    assert (stored.tool_calls[0].result, stored.tool_calls[0].is_error) == (None, None)
    (trajectory,) = [t async for t in backend.read_trajectories(TrajectoryQuery())]
    assert trajectory.status == "cancelled"


async def test_turns_are_numbered_as_they_begin_also_side_by_side() -> None:
    backend = MemoryBackend()
    gates = [asyncio.Event() for _ in range(20)]

    async with TrajectoryLogger(backend) as logger, logger.trajectory() as run:

        async def branch(i: int) -> None:
            async with run.turn(str(i)) as turn:
                await gates[i].wait()
                assert current_turn() is turn
                turn.response = f"r{i}"

        tasks = [asyncio.create_task(branch(i)) for i in range(20)]
        await asyncio.sleep(0)
        inner = await run.log_turn("between", "r")
        for gate in reversed(gates):
            gate.set()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
    stored = await turns(backend)
    assert inner.turn_number == 21
    assert [turn.turn_number for turn in stored] == list(range(1, 22))
    assert [turn.prompt for turn in stored] == [*map(str, range(20)), "between"]
    assert [turn.response for turn in stored[:20]] == [f"r{i}" for i in range(20)]


async def test_a_failure_to_log_is_that_of_log_turn_after_a_body_that_went_well() -> None:
    backend = MemoryBackend()
    settings = LoggerSettings(max_turn_bytes=1000)
    async with TrajectoryLogger(backend, settings) as logger, logger.trajectory() as run:
        with pytest.raises(InvalidTurnError, match="max_turn_bytes"):
            async with run.turn("p" * 2000) as turn:
                turn.response = "r"
        async with run.turn("p") as turn:
            pass
        assert turn.turn_number == 1
        with pytest.raises(ZeroDivisionError):
            async with run.turn("p" * 2000):
                raise ZeroDivisionError
        with pytest.raises(InvalidTurnError):
            run.turn("p", nonsense=1)
    assert [t.turn_number for t in await turns(backend)] == [1]


async def test_a_full_buffer_refuses_the_turn_and_gives_the_number_back() -> None:
    backend = GatedBackend(MemoryBackend())
    settings = LoggerSettings(overflow="raise", channel_capacity=1, buffer_size=1)
    async with TrajectoryLogger(backend, settings) as logger, logger.trajectory() as run:
        await run.log_turn("p", "r")
        with pytest.raises(BufferFullError):
            async with run.turn("p"):
                pass
        with pytest.raises(KeyError):
            async with run.turn("beyond the limit"):
                raise KeyError
        backend.open_gate()
        await logger.flush()
        async with run.turn("after"):
            pass
    stored = [t async for t in backend.read_turns(TurnQuery())]
    assert [(t.turn_number, t.prompt) for t in stored] == [
        (1, "p"),
        (2, "beyond the limit"),
        (3, "after"),
    ]


async def test_a_turn_that_is_cancelled_while_it_waits_for_room_is_stored() -> None:
    backend = GatedBackend(MemoryBackend())
    settings = LoggerSettings(overflow="wait", channel_capacity=1, buffer_size=1)
    async with TrajectoryLogger(backend, settings) as logger, logger.trajectory() as run:
        await run.log_turn("p", "r")
        over = asyncio.Event()

        async def exchange() -> None:
            async with run.turn("waits"):
                over.set()

        task = asyncio.create_task(exchange())
        await over.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        backend.open_gate()
    assert [t.prompt async for t in backend.read_turns(TurnQuery())] == ["p", "waits"]


async def test_what_is_dropped_keeps_its_number() -> None:
    backend = GatedBackend(MemoryBackend())
    settings = LoggerSettings(overflow="drop_newest", channel_capacity=1, buffer_size=1)
    async with TrajectoryLogger(backend, settings) as logger, logger.trajectory() as run:
        await run.log_turn("p", "r")
        async with run.turn("dropped"):
            pass
        question = Question(question_text="q?", effort_level="low")
        assert not await run.log_question(2, question)
        backend.open_gate()
    assert [t.prompt async for t in backend.read_turns(TurnQuery())] == ["p"]


async def test_a_turn_happens_once_and_in_a_running_trajectory() -> None:
    async with TrajectoryLogger(MemoryBackend()) as logger:
        async with logger.trajectory() as run:
            async with run.turn("p") as turn:
                question = Question(question_text="q?", effort_level="low")
                with pytest.raises(InvalidTurnError, match="still open"):
                    await run.log_question(1, question)
            await run.log_question(1, question)
            with pytest.raises(TrajectoryError, match="already"):
                await turn.__aenter__()
            left = run.turn("never begun")
            assert left.turn_number is None
            late = run.turn("late")
            await late.__aenter__()
        with pytest.raises(LoggerClosedError, match="has ended"):
            await late.__aexit__(None, None, None)
        with pytest.raises(LoggerClosedError, match="has ended"):
            await run.turn("p").__aenter__()


@pytest.mark.parametrize("durability", ["queued", "journaled", "synced", "stored"])
async def test_every_level_takes_open_turns(durability: str, tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with TrajectoryLogger(path, LoggerSettings(durability=durability)) as logger:
        async with logger.trajectory() as run, run.turn("p") as turn:
            turn.response = "r"
        report = await logger.flush()
        assert report.pending == 0
        assert [t async for t in logger.backend.read_turns(TurnQuery())] == [turn.logged]


async def test_the_open_turn_is_that_of_the_running_trajectory() -> None:
    async with TrajectoryLogger(MemoryBackend()) as logger, logger.trajectory() as run:
        async with run.turn("p") as turn:
            async with logger.trajectory(**run.as_parent()) as child:
                assert current_turn() is None
                async with child.turn("p") as inner:
                    assert current_turn() is inner
            assert current_turn() is turn


def test_without_an_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with SyncTrajectoryLogger(path) as logger, logger.trajectory() as run:
        with run.turn("p") as turn:
            assert current_turn() is turn
            turn.message("assistant", "r")
        with pytest.raises(ValueError, match="no"), run.turn("q"):
            raise ValueError("no")
        with pytest.raises(TrajectoryError, match="already"):
            turn.__enter__()
        assert run.log_turn("p", "r").turn_number == 3
        assert run.as_parent() == {"parent_trajectory_id": run.id, "root_trajectory_id": run.id}

    async def stored() -> list[Turn]:
        backend = open_backend(path)
        await backend.open()
        try:
            return [t async for t in backend.read_turns(TurnQuery())]
        finally:
            await backend.close()

    first, second, _ = asyncio.run(stored())
    assert first == turn.logged
    assert (first.response, second.error) == ("r", "ValueError: no")
