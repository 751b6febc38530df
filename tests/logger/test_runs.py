"""Running trajectories: numbering, resuming, ending, and which one runs here."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from clock import run_virtual

from trajectory import (
    BackendUnavailableError,
    BufferFullError,
    ConfigurationError,
    InvalidTurnError,
    LoggerClosedError,
    LoggerSettings,
    Question,
    Trajectory,
    TrajectoryError,
    TrajectoryLogger,
    TrajectoryQuery,
    TrajectoryStatus,
    Turn,
    TurnQuery,
    Violation,
    current,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.testing import GatedBackend


async def trajectories(backend: MemoryBackend) -> list[Trajectory]:
    return [t async for t in backend.read_trajectories(TrajectoryQuery())]


async def numbers(backend: MemoryBackend) -> list[int]:
    return [t.turn_number async for t in backend.read_turns(TurnQuery())]


async def test_a_run_numbers_its_turns_from_one() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger, logger.trajectory(run_id="r") as run:
        for _ in range(3):
            await run.log_turn("p", "r")
        logged = run.log_turn_nowait("p", "r", token_count=7)
        assert (logged.trajectory_id, logged.turn_number, logged.token_count) == (run.id, 4, 7)
    assert await numbers(backend) == [1, 2, 3, 4]


async def test_calls_at_once_get_numbers_in_their_order() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger, logger.trajectory() as run:
        turns = await asyncio.gather(*(run.log_turn(str(i), "r") for i in range(250)))
    assert [turn.turn_number for turn in turns] == list(range(1, 251))
    assert [turn.prompt for turn in turns] == [str(i) for i in range(250)]
    assert await numbers(backend) == list(range(1, 251))


async def test_a_refused_turn_takes_no_number() -> None:
    backend = MemoryBackend()
    settings = LoggerSettings(overflow="raise", channel_capacity=1, buffer_size=1)
    async with TrajectoryLogger(backend, settings) as logger, logger.trajectory() as run:
        await run.log_turn("p", "r")
        with pytest.raises(BufferFullError):
            await run.log_turn("p", "r")
        with pytest.raises(InvalidTurnError):
            await run.log_turn("p", "r", token_count=-1)
        await logger.flush()
        assert (await run.log_turn("p", "r")).turn_number == 2
    assert await numbers(backend) == [1, 2]


async def test_the_block_decides_the_status() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger:
        async with logger.trajectory(run_id="fine"):
            pass
        with pytest.raises(ZeroDivisionError):
            async with logger.trajectory(run_id="broken"):
                _ = 1 / 0
        with pytest.raises(asyncio.CancelledError):
            async with logger.trajectory(run_id="stopped"):
                raise asyncio.CancelledError
        await logger.start_trajectory(run_id="open")
    by_run = {t.run_id: t for t in await trajectories(backend)}
    assert {run: t.status for run, t in by_run.items()} == {
        "fine": TrajectoryStatus.COMPLETED,
        "broken": TrajectoryStatus.FAILED,
        "stopped": TrajectoryStatus.CANCELLED,
        "open": TrajectoryStatus.RUNNING,
    }
    assert by_run["broken"].error == "ZeroDivisionError: division by zero"
    assert by_run["open"].ended_at is None
    assert by_run["fine"].ended_at is not None


async def test_a_run_can_be_ended_by_hand_once() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger, logger.trajectory() as run:
        await run.end("failed", error="gave up", reward=0.25)
        await run.end("completed")
        with pytest.raises(LoggerClosedError, match="has ended"):
            await run.log_turn("p", "r")
    [read] = await trajectories(backend)
    assert (read.status, read.error, read.reward) == ("failed", "gave up", 0.25)


async def test_the_running_trajectory_follows_tasks() -> None:
    seen = []

    async def child() -> None:
        seen.append(current())

    async with TrajectoryLogger(MemoryBackend()) as logger:
        assert current() is None
        async with logger.trajectory() as outer:
            async with logger.trajectory(parent_trajectory_id=outer.id) as inner:
                await asyncio.create_task(child())
                assert current() is inner
            assert current() is outer
        assert current() is None
    assert seen == [inner]


async def test_a_trajectory_context_runs_once() -> None:
    async with TrajectoryLogger(MemoryBackend()) as logger:
        context = logger.trajectory()
        async with context:
            pass
        with pytest.raises(TrajectoryError, match="has run already"):
            await context.__aenter__()


async def test_resume_goes_on_behind_what_is_stored_or_waits() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger:
        async with logger.trajectory() as run:
            await run.log_turn("p", "r")
            await run.log_turn("p", "r")
        again = await logger.resume_trajectory(run.id)
        assert again.last_turn_number == 2
        assert (await again.log_turn("p", "r")).turn_number == 3
    assert await numbers(backend) == [1, 2, 3]


async def test_resuming_what_is_unknown_begins_at_1_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with TrajectoryLogger(MemoryBackend()) as logger:
        begun = await logger.start_trajectory()
        assert (await logger.resume_trajectory(begun.id)).last_turn_number == 0
        assert not caplog.records
        assert (await logger.resume_trajectory(uuid4())).last_turn_number == 0
        assert "nothing is stored of trajectory" in caplog.text


@run_virtual
async def test_a_trajectory_is_not_resumed_from_a_number_that_may_be_taken() -> None:
    backend = GatedBackend()
    settings = LoggerSettings(flush_timeout_ms=1000)
    async with TrajectoryLogger(backend, settings) as logger:
        run = await logger.start_trajectory()
        await run.log_turn("p", "r")
        with pytest.raises(BackendUnavailableError, match="with 1 turn not stored yet"):
            await logger.resume_trajectory(run.id)
        backend.open_gate()
        assert (await logger.resume_trajectory(run.id)).last_turn_number == 1


@run_virtual
async def test_facts_of_a_dropped_turn_are_dropped_with_it() -> None:
    """Invariant: a turn that was left out can't make the database refuse what is said of it."""
    backend = GatedBackend()
    question = Question(question_text="q", effort_level="low")
    settings = LoggerSettings(overflow="drop_newest", channel_capacity=1, buffer_size=1)
    async with TrajectoryLogger(backend, settings) as logger:
        run = await logger.start_trajectory()
        await run.log_turn("p", "r")
        lost = [await run.log_turn("p", "r"), run.log_turn_nowait("p", "r")]
        assert logger.statistics().dropped == 2
        backend.open_gate()
        await logger.flush()
        for each in lost:
            assert not await run.log_question(each.turn_number, question)
        assert not await run.log_violation(2, Violation(preference_name="tone", severity="minor"))
        assert await run.log_question(1, question)
        assert logger.statistics().others_dropped == 3
        assert (await logger.flush()).pending == 0


async def test_a_fact_of_a_turn_to_come_is_refused_at_the_call() -> None:
    question = Question(question_text="q", effort_level="low")
    async with TrajectoryLogger(MemoryBackend()) as logger, logger.trajectory() as run:
        with pytest.raises(InvalidTurnError, match="its last is 0"):
            await run.log_question(1, question)
        await run.log_turn("p", "r")
        await run.log_question(1, question)


async def test_wrong_arguments_get_a_clear_error() -> None:
    question = Question(question_text="q", effort_level="low")
    async with TrajectoryLogger(MemoryBackend()) as logger:
        run = await logger.start_trajectory()
        turn = await run.log_turn("p", "r")
        wrong: list[Any] = [
            lambda: run.log_turn("p", "r", turn_number=7),
            lambda: run.log_turn("p", "r", trajectory_id=run.id),
            lambda: run.log_question(1, {"question_text": "q"}),  # type: ignore[arg-type]
            lambda: logger.log_question(1, run.id, question),  # type: ignore[arg-type]
            lambda: logger.log_trajectory("run-1"),  # type: ignore[arg-type]
            lambda: run.end("done"),
            lambda: run.end("running"),
            lambda: run.log_question(turn, question),  # type: ignore[arg-type]
        ]
        for call in wrong:
            with pytest.raises(InvalidTurnError):
                await call()
        with pytest.raises(ConfigurationError, match="LoggerSettings"):
            TrajectoryLogger(MemoryBackend(), {"buffer_size": 1})  # type: ignore[arg-type]
        assert logger.statistics().accepted == 1
        await run.end("cancelled")


async def test_nowait_from_another_thread_says_what_to_call() -> None:
    async with TrajectoryLogger(MemoryBackend()) as logger:
        sent = Turn(trajectory_id=uuid4(), turn_number=1, prompt="p", response="r")
        with pytest.raises(TrajectoryError, match="log_turn_threadsafe"):
            await asyncio.to_thread(logger.log_turn_nowait, sent)


class _MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("raised", "status"),
    [(SystemExit(0), "completed"), (SystemExit(3), "failed"), (_MuteError(), "failed")],
    ids=["exit 0", "exit 3", "no text"],
)
async def test_the_block_s_exception_decides_the_status(raised: BaseException, status: str) -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger:
        with pytest.raises(type(raised)):
            async with logger.trajectory():
                raise raised
    [read] = [t async for t in backend.read_trajectories(TrajectoryQuery())]
    assert read.status == status


async def test_a_large_fact_or_end_is_refused_by_its_size() -> None:
    settings = LoggerSettings(max_turn_bytes=1000)
    async with TrajectoryLogger(MemoryBackend(), settings) as logger:
        run = await logger.start_trajectory()
        await run.log_turn("p", "r")
        with pytest.raises(InvalidTurnError, match="max_turn_bytes = 1000"):
            await run.log_question(1, Question(question_text="q" * 1000, effort_level="low"))
        with pytest.raises(InvalidTurnError, match="max_turn_bytes = 1000"):
            await run.end("failed", error="e" * 1000)
        await run.end("failed", error="e")


async def test_a_run_logs_late_facts() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger, logger.trajectory() as run:
        turn = await run.log_turn("p", "r")
        await run.log_question(
            turn.turn_number, Question(question_text="q", effort_level="low", source="judge:x")
        )
        await run.log_violation(
            turn.turn_number, Violation(preference_name="tone", severity="major")
        )
    [read] = [t async for t in backend.read_turns(TurnQuery())]
    assert (len(read.questions), len(read.violations)) == (1, 1)


async def test_a_start_can_be_logged_as_a_value_with_its_end() -> None:
    backend = MemoryBackend()
    known = Trajectory(spec_id="S", status="completed", source_format="test")
    async with TrajectoryLogger(backend) as logger:
        await logger.log_trajectory(known)
        await logger.log_trajectory(known)
    assert await trajectories(backend) == [known]


async def test_a_closed_logger_does_not_hide_the_body_s_exception() -> None:
    logger = await TrajectoryLogger(MemoryBackend()).open()
    with pytest.raises(ZeroDivisionError):
        async with logger.trajectory():
            await logger.aclose()
            _ = 1 / 0
    logger = await TrajectoryLogger(MemoryBackend()).open()
    with pytest.raises(LoggerClosedError):
        async with logger.trajectory():
            await logger.aclose()
