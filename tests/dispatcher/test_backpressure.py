"""The buffer is bounded: who finds it full waits in line, is told, or is counted out."""

from __future__ import annotations

import asyncio
import tracemalloc
from uuid import uuid4

import pytest
from clock import run_virtual

from trajectory import (
    BufferFullError,
    Dropped,
    LoggerClosedError,
    LoggerSettings,
    Question,
    TrajectoryError,
    TrajectoryLogger,
    Turn,
    TurnQuery,
    WriteFailedError,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.testing import GatedBackend, SlowBackend


def turn(number: int = 1, prompt: str = "p") -> Turn:
    return Turn(trajectory_id=uuid4(), turn_number=number, prompt=prompt, response="r")


async def fill(logger: TrajectoryLogger, count: int) -> None:
    for number in range(count):
        await logger.log_turn(turn(number))


@run_virtual
async def test_fifty_producers_on_a_slow_backend_never_exceed_the_limit() -> None:
    """Invariant: buffered <= 100, all stored once, each producer's order kept."""
    inner = MemoryBackend()
    highest = 0
    async with TrajectoryLogger(SlowBackend(0.05, inner)) as logger:

        async def produce() -> None:
            nonlocal highest
            async with logger.trajectory() as run:
                for _ in range(40):
                    await run.log_turn("p", "r")
                    highest = max(highest, logger.statistics().buffered)

        await asyncio.gather(*(produce() for _ in range(50)))
    assert highest == 100
    by_run: dict[object, list[int]] = {}
    async for stored in inner.read_turns(TurnQuery()):
        by_run.setdefault(stored.trajectory_id, []).append(stored.turn_number)
    assert list(by_run.values()) == [list(range(1, 41))] * 50
    got = logger.statistics()
    assert (got.accepted, got.stored, got.buffered, got.dropped) == (2000, 2000, 0, 0)


@run_virtual
async def test_memory_stays_flat_while_producers_wait() -> None:
    class Forgetful(MemoryBackend):
        async def write(self, _batch: object, /) -> None:
            await asyncio.sleep(0.05)

    async with TrajectoryLogger(Forgetful()) as logger:

        async def produce(turns: int) -> None:
            async with logger.trajectory() as run:
                for _ in range(turns):
                    await run.log_turn("p" * 1000, "r")

        await asyncio.gather(*(produce(10) for _ in range(50)))
        tracemalloc.start()
        await asyncio.gather(*(produce(10) for _ in range(50)))
        first, _ = tracemalloc.get_traced_memory()
        await asyncio.gather(*(produce(100) for _ in range(50)))
        second, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert second - first < 1_000_000  # 5,000 turns of 1 kB each went through


@run_virtual
async def test_waiting_for_room_ends_with_its_timeout_and_takes_nothing() -> None:
    backend = GatedBackend()
    settings = LoggerSettings(log_timeout_ms=2000)
    loop = asyncio.get_running_loop()
    async with TrajectoryLogger(backend, settings) as logger:
        await fill(logger, 100)
        began = loop.time()
        with pytest.raises(BufferFullError, match="log_timeout_ms = 2000"):
            await logger.log_turn(turn())
        assert abs(loop.time() - began - 2) < 0.001
        assert logger.statistics().accepted == 100
        backend.open_gate()
        assert await logger.log_turn(turn())
    assert logger.statistics().stored == 101


@run_virtual
async def test_room_goes_to_those_who_wait_in_their_order() -> None:
    inner = MemoryBackend()
    backend = GatedBackend(inner)
    async with TrajectoryLogger(backend) as logger:
        await fill(logger, 100)
        trajectory_id = uuid4()

        async def log(number: int) -> None:
            await logger.log_turn(
                Turn(trajectory_id=trajectory_id, turn_number=number, prompt="p", response="r")
            )

        tasks = [asyncio.create_task(log(number)) for number in range(150)]
        await asyncio.sleep(0)
        with pytest.raises(BufferFullError):  # nobody overtakes
            logger.log_turn_nowait(turn())
        backend.open_gate()
        await asyncio.gather(*tasks)
    order = [
        sent.turn_number
        for batch in backend.batches
        for sent in batch.turns
        if sent.trajectory_id == trajectory_id
    ]
    assert order == list(range(150))


@run_virtual
async def test_raise_and_drop_newest_never_wait() -> None:
    for overflow in ("raise", "drop_newest"):
        backend = GatedBackend()
        async with TrajectoryLogger(backend, LoggerSettings(overflow=overflow)) as logger:
            await fill(logger, 100)
            if overflow == "raise":
                with pytest.raises(BufferFullError):
                    await logger.log_turn(turn())
                assert logger.statistics().dropped == 0
            else:
                outcomes = [await logger.log_turn(turn()) for _ in range(7)]
                assert all(isinstance(outcome, Dropped) for outcome in outcomes)
                assert isinstance(logger.log_turn_nowait(turn()), Dropped)
                assert logger.statistics().dropped == 8
            backend.open_gate()
        got = logger.statistics()
        assert got.stored == 100
        assert got.accepted == got.stored + got.dropped


@run_virtual
async def test_the_buffer_is_bounded_in_bytes_and_admits_a_giant_alone() -> None:
    backend = GatedBackend()
    settings = LoggerSettings(channel_bytes=10_000, overflow="raise")
    async with TrajectoryLogger(backend, settings) as logger:
        await logger.log_turn(turn(1, "x" * 6000))
        with pytest.raises(BufferFullError):
            await logger.log_turn(turn(2, "x" * 6000))
        backend.open_gate()
        await logger.flush()
        await logger.log_turn(turn(3, "x" * 50_000))
        with pytest.raises(BufferFullError):
            await logger.log_turn(turn(4))
        await logger.flush()
        await logger.log_turn(turn(5))
    assert logger.statistics().stored == 3


@run_virtual
async def test_facts_are_bounded_and_leave_the_turns_their_room() -> None:
    backend = GatedBackend()
    settings = LoggerSettings(overflow="drop_newest", channel_capacity=10)
    question = Question(question_text="q", effort_level="low")
    async with TrajectoryLogger(backend, settings) as logger:
        sent = turn()
        await logger.log_turn(sent)
        outcomes = [bool(await logger.log_question(*sent.key, question)) for _ in range(12)]
        assert outcomes == [True] * 10 + [False] * 2
        assert await logger.log_turn(turn(2))
        assert logger.statistics().others_dropped == 2
        backend.open_gate()


@run_virtual
async def test_an_end_finds_room_in_a_full_buffer() -> None:
    backend = GatedBackend()
    settings = LoggerSettings(overflow="raise", channel_capacity=2, buffer_size=2)
    async with TrajectoryLogger(backend, settings) as logger:
        runs = [await logger.start_trajectory() for _ in range(2)]
        for run in runs:
            await run.log_turn("p", "r")
        for run in runs:
            await run.end()
        backend.open_gate()
    assert sum(len(batch.ends) for batch in backend.batches) == 2


@run_virtual
@pytest.mark.parametrize("full_of", ["turns", "bytes", "facts"])
async def test_who_waits_for_room_starts_a_write_at_once(full_of: str) -> None:
    """Invariant: a full buffer is written now, and not when its turns are old enough."""
    settings = LoggerSettings(channel_capacity=5, buffer_size=5, channel_bytes=10_000)
    question = Question(question_text="q", effort_level="low")
    async with TrajectoryLogger(MemoryBackend(), settings) as logger:
        loop = asyncio.get_running_loop()
        first = turn(1)
        await logger.log_turn(first)
        await logger.flush()
        if full_of == "turns":
            for number in range(2, 7):
                await logger.log_turn(turn(number))
        elif full_of == "bytes":
            await logger.log_turn(turn(2, "x" * 9000))
        else:
            for _ in range(5):
                await logger.log_question(*first.key, question)
        if full_of == "facts":
            await logger.log_question(*first.key, question)
        else:
            await logger.log_turn(turn(9, "x" * 2000))
        assert loop.time() == 0


@run_virtual
@pytest.mark.parametrize("end", ["closed", "failed"])
async def test_room_that_is_granted_as_the_end_comes_takes_no_turn(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: a refused call leaves nothing in the buffer, even one that had its room."""
    backend = GatedBackend()
    settings = LoggerSettings(channel_capacity=1, buffer_size=1)
    logger = await TrajectoryLogger(backend, settings).open()
    await logger.log_turn(turn(1))
    await backend.parked(1)
    waiting = asyncio.create_task(logger.log_turn(turn(2)))
    await asyncio.sleep(0)
    dispatcher = logger._life.dispatcher()
    drop = dispatcher._buffer.drop

    def drop_and_end(count: int) -> int:
        """Grant the room, and end before the one who waited runs again."""
        turns = drop(count)
        if end == "closed":
            dispatcher.intake._closing = True
        else:
            dispatcher._writer._fail(TrajectoryError("broken"))
        return turns

    monkeypatch.setattr(dispatcher._buffer, "drop", drop_and_end)
    backend.open_gate()
    with pytest.raises(LoggerClosedError if end == "closed" else WriteFailedError):
        await waiting
    assert (dispatcher._buffer.turns, len(dispatcher._buffer)) == (0, 0)
    monkeypatch.undo()
    dispatcher._writer.failure, dispatcher._writer.refuses = None, False
    assert await logger.aclose() == (1, 0, 0)
