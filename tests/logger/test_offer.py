"""`offer`: for code that may neither wait nor fail."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
from pathlib import Path
from uuid import uuid4

import pytest

from trajectory import (
    LoggerSettings,
    Question,
    StorageBackend,
    SyncTrajectoryLogger,
    Trajectory,
    TrajectoryLogger,
    TrajectoryQuery,
    Turn,
    TurnQuery,
    open_backend,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.guard import Guard
from trajectory.models import Fact, TrajectoryEnd, TrajectoryStatus
from trajectory.testing import FailingBackend, GatedBackend

ID = uuid4()


def turn(number: int, prompt: str = "p") -> Turn:
    return Turn(trajectory_id=ID, turn_number=number, prompt=prompt, response="r")


async def stored(backend: StorageBackend) -> list[int]:
    return [t.turn_number async for t in backend.read_turns(TurnQuery())]


async def test_all_that_belongs_to_a_run_can_be_offered() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger:
        logger.offer(Trajectory(id=ID, agent_name="a"))
        logger.offer(turn(1))
        question = Question(question_text="q?", effort_level="low")
        logger.offer(Fact(trajectory_id=ID, turn_number=1, finding=question))
        logger.offer(TrajectoryEnd(trajectory_id=ID, status=TrajectoryStatus.FAILED, error="e"))
        report = await logger.flush()
        assert (report.stored, report.pending) == (1, 0)
        (trajectory,) = [t async for t in backend.read_trajectories(TrajectoryQuery())]
        assert (trajectory.agent_name, trajectory.status) == ("a", "failed")
        (got,) = [t async for t in backend.read_turns(TurnQuery())]
        assert [q.question_text for q in got.questions] == ["q?"]


async def test_what_finds_the_buffer_full_goes_beyond_it_and_then_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = GatedBackend()
    settings = LoggerSettings(channel_capacity=2, buffer_size=1)
    async with TrajectoryLogger(backend, settings) as logger:
        for number in range(25):
            logger.offer(turn(number))
        got = logger.statistics()
        assert (got.accepted, got.buffered, got.dropped) == (25, 20, 5)
        assert len(caplog.records) == 1
        assert "dropped" in caplog.text
        await backend.parked(1)
        backend.open_gate()
        await logger.flush()
    assert await stored(backend.inner) == list(range(20))


async def test_who_waits_for_room_is_not_overtaken_for_ever() -> None:
    backend = GatedBackend()
    settings = LoggerSettings(channel_capacity=1, buffer_size=1)
    async with TrajectoryLogger(backend, settings) as logger:
        await logger.log_turn(turn(1))
        waiting = asyncio.create_task(logger.log_turn(turn(2)))
        await asyncio.sleep(0)
        logger.offer(turn(3))
        await backend.parked(1)
        backend.open_gate()
        await waiting
    assert sorted(await stored(backend.inner)) == [1, 2, 3]


async def test_other_threads_are_covered_by_flush() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger:

        def offer_ten(thread: int) -> None:
            for number in range(10):
                logger.offer(turn(thread * 10 + number))

        threads = [threading.Thread(target=offer_ten, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()  # the loop had no step since: what was offered waits
        report = await logger.flush()
        assert (report.stored, report.pending) == (80, 0)
    assert sorted(await stored(backend)) == list(range(80))


async def test_other_threads_find_a_limit_while_the_loop_does_not_come(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = MemoryBackend()
    settings = LoggerSettings(channel_capacity=2, buffer_size=1)
    async with TrajectoryLogger(backend, settings) as logger:

        def offer_many() -> None:
            for number in range(100):
                logger.offer(turn(number))

        thread = threading.Thread(target=offer_many)
        thread.start()
        thread.join()
        await logger.flush()
        got = logger.statistics()
        assert (got.accepted, got.stored, got.dropped) == (100, 20, 80)
    assert len(caplog.records) == 1
    assert await stored(backend) == list(range(20))


def test_the_logger_of_plain_programs_takes_offers(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with SyncTrajectoryLogger(path) as logger:
        logger.offer(turn(1))
        assert logger.flush().stored == 1
        logger.offer(turn(2))
    logger.offer(turn(3))  # closed: a warning, no error

    async def read() -> list[int]:
        backend = open_backend(path)
        try:
            await backend.open()
            return await stored(backend)
        finally:
            await backend.close()

    assert asyncio.run(read()) == [1, 2]


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_a_forked_child_offers_to_a_logger_of_its_own(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    settings = LoggerSettings(flush_interval_ms=60_000, buffer_size=100)

    async def in_loop(logger: TrajectoryLogger) -> None:
        logger.offer(turn(2))
        await asyncio.sleep(0)
        await logger.flush()
        await logger.aclose()

    def in_child(logger: TrajectoryLogger | SyncTrajectoryLogger) -> None:
        if isinstance(logger, TrajectoryLogger):
            asyncio.run(in_loop(logger))
        else:
            logger.offer(turn(2))
            logger.close()

    def child(logger: TrajectoryLogger | SyncTrajectoryLogger) -> None:
        process = multiprocessing.get_context("fork").Process(target=in_child, args=(logger,))
        process.start()
        process.join()
        assert process.exitcode == 0

    async def parent() -> None:
        async with TrajectoryLogger(path, settings) as logger:
            logger.offer(turn(1))
            child(logger)

    async def read() -> list[int]:
        backend = open_backend(path)
        try:
            await backend.open()
            return await stored(backend)
        finally:
            await backend.close()

    if kind == "async":
        asyncio.run(parent())
    else:
        with SyncTrajectoryLogger(path, settings) as logger:
            logger.offer(turn(1))
            child(logger)
    assert sorted(asyncio.run(read())) == [1, 2]


async def test_nothing_that_is_wrong_raises(caplog: pytest.LogCaptureFixture) -> None:
    def hook(_turn: Turn) -> Turn:
        raise RuntimeError("the secret prompt")

    never_opened = TrajectoryLogger(MemoryBackend())
    never_opened.offer(turn(1))
    async with TrajectoryLogger(MemoryBackend(), redact=hook) as logger:
        logger.offer("no value")  # type: ignore[arg-type]
        logger.offer(turn(1))
        logger.offer(turn(2))
        assert logger.statistics().accepted == 2  # without their content
    assert "not open" in caplog.text
    assert "secret" not in caplog.text
    guarded = [record for record in caplog.records if record.name == "trajectory.guard"]
    assert len(guarded) == 2


async def test_a_writer_that_failed_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    backend = FailingBackend(RuntimeError("the disk is gone"))
    logger = await TrajectoryLogger(backend, LoggerSettings(on_failure="warn")).open()
    logger.offer(turn(1))
    await logger.flush()
    caplog.clear()
    for number in range(5):
        logger.offer(turn(number))
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1
    await logger.aclose()


def test_a_guard_keeps_errors_in_and_lets_the_rest_out(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard("the example")
    for _ in range(3):
        with guard:
            raise ValueError("the prompt")
    assert guard.failures == 3
    (told,) = caplog.records
    assert "the example failed" in told.getMessage()
    assert "test_offer.py" in told.getMessage()
    assert "prompt" not in told.getMessage()
    for kind in (KeyboardInterrupt, asyncio.CancelledError, SystemExit, GeneratorExit):
        with pytest.raises(kind), guard:
            raise kind
    assert guard.failures == 3
