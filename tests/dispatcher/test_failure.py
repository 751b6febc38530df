"""A database that goes away, refuses, or breaks: loud, bounded in time, and truthful by number."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from clock import run_virtual

from trajectory import (
    BackendError,
    BackendUnavailableError,
    Batch,
    Dropped,
    LoggerSettings,
    PartialWriteError,
    TrajectoryLogger,
    Turn,
    TurnQuery,
    WriteFailedError,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.testing import FailingBackend, GatedBackend

CANARY = "canary-51fd"
AWAY = BackendUnavailableError("connection refused")
FATAL = [
    BackendError("disk image is malformed"),
    OSError(CANARY),
]


def turn(number: int = 1, trajectory_id: UUID | None = None) -> Turn:
    return Turn(
        trajectory_id=trajectory_id or uuid4(), turn_number=number, prompt=CANARY, response="r"
    )


@run_virtual
async def test_an_unavailable_database_is_tried_again_with_pauses_that_double() -> None:
    loop = asyncio.get_running_loop()
    tries: list[float] = []

    class Away(MemoryBackend):
        async def write(self, batch: Batch, /) -> None:
            tries.append(loop.time())
            if len(tries) < 12:
                raise AWAY
            await super().write(batch)

    async with TrajectoryLogger(Away()) as logger:
        await logger.log_turn(turn())
        report = await logger.flush(timeout=600)
        assert report == (1, 0, 0)
        assert logger.statistics().retries == 11
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    limits = [min(0.1 * 2**n, 2.0) for n in range(11)]
    assert all(
        limit / 2 <= pause <= limit + 0.001 for pause, limit in zip(pauses, limits, strict=True)
    )


@run_virtual
async def test_flush_and_aclose_keep_their_timeouts_and_report_by_number() -> None:
    loop = asyncio.get_running_loop()
    logger = await TrajectoryLogger(FailingBackend(AWAY)).open()
    for number in range(7):
        await logger.log_turn(turn(number))
    began = loop.time()
    assert await logger.flush(timeout=2) == (0, 0, 7)
    assert abs(loop.time() - began - 2) < 0.001
    assert await logger.aclose(timeout=3) == (0, 0, 7)
    assert loop.time() - began < 5.5
    assert logger.statistics().buffered == 7


@run_virtual
async def test_aclose_keeps_its_timeout_on_a_write_that_hangs() -> None:
    loop = asyncio.get_running_loop()
    backend = GatedBackend()
    logger = await TrajectoryLogger(backend).open()
    await logger.log_turn(turn())
    began = loop.time()
    assert await logger.aclose() == (0, 0, 1)
    assert 5 <= loop.time() - began < 5.5


@run_virtual
async def test_a_stored_call_says_that_its_turn_waits() -> None:
    settings = LoggerSettings(durability="stored", log_timeout_ms=1000)
    logger = await TrajectoryLogger(FailingBackend(AWAY), settings).open()
    with pytest.raises(BackendUnavailableError, match="accepted but not stored"):
        await logger.log_turn(turn())
    assert await logger.aclose(timeout=0.1) == (0, 0, 1)


@run_virtual
@pytest.mark.parametrize("cause", FATAL, ids=lambda e: type(e).__name__)
async def test_a_failure_for_good_is_loud_at_every_next_call(
    cause: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    logger = await TrajectoryLogger(FailingBackend(cause)).open()
    for number in range(3):
        await logger.log_turn(turn(number))
    for call in (
        logger.flush(),
        logger.log_turn(turn()),
        logger.start_trajectory(),
        logger.aclose(),
    ):
        with pytest.raises(WriteFailedError) as caught:
            await call
        assert caught.value.__cause__ is cause
        assert caught.value.report == (0, 0, 3)
        assert CANARY not in str(caught.value)
    assert await logger.aclose() == (0, 0, 3)  # said once is enough
    assert CANARY not in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@run_virtual
@pytest.mark.parametrize("cause", FATAL, ids=lambda e: type(e).__name__)
async def test_all_who_wait_are_woken_by_a_failure_for_good(cause: Exception) -> None:
    backend = GatedBackend(FailingBackend(cause))
    logger = await TrajectoryLogger(backend).open()
    for number in range(100):
        await logger.log_turn(turn(number))
    waiting: list[asyncio.Task[object]] = []
    waiting += [asyncio.create_task(logger.log_turn(turn())) for _ in range(20)]
    waiting += [asyncio.create_task(logger.flush()) for _ in range(5)]
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    backend.open_gate()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {WriteFailedError}
    assert asyncio.get_running_loop().time() == began
    with pytest.raises(WriteFailedError):
        await logger.aclose()


@run_virtual
async def test_warn_logs_one_line_counts_and_lets_the_agent_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = LoggerSettings(on_failure="warn")
    backend = FailingBackend(BackendError("disk image is malformed"))
    async with TrajectoryLogger(backend, settings) as logger, logger.trajectory() as run:
        for _ in range(3):
            await run.log_turn("p", "r")
        assert await logger.flush() == (0, 0, 3)
        assert isinstance(await logger.log_turn(turn()), Dropped)
        assert isinstance(logger.log_turn_nowait(turn()), Dropped)
        await run.log_turn("p", "r")
    got = logger.statistics()
    assert (got.accepted, got.stored, got.dropped, got.buffered) == (6, 0, 3, 3)
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1


@run_virtual
async def test_the_body_s_exception_is_not_replaced() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        async with TrajectoryLogger(FailingBackend(BackendError("broken"))) as logger:
            await logger.log_turn(turn())
            _ = 1 / 0
    assert "the trajectory logger failed" in caught.value.__notes__[0]
    with pytest.raises(WriteFailedError):
        async with TrajectoryLogger(FailingBackend(BackendError("broken"))) as logger:
            await logger.log_turn(turn())


@run_virtual
async def test_a_writer_that_is_killed_makes_every_later_call_raise() -> None:
    class Kills(MemoryBackend):
        async def write(self, _batch: object, /) -> None:
            raise asyncio.CancelledError  # as a stray cancel of the writer's own task would

    settings = LoggerSettings(close_timeout_ms=100)
    logger = await TrajectoryLogger(Kills(), settings).open()
    await logger.log_turn(turn())
    for call in (logger.flush(), logger.log_turn(turn()), logger.aclose()):
        with pytest.raises(WriteFailedError, match="the writer task was cancelled") as caught:
            await call
        assert caught.value.report == (0, 0, 1)


@run_virtual
async def test_a_partial_write_goes_on_with_the_rest() -> None:
    inner = MemoryBackend()
    batches: list[Batch] = []

    class PerTrajectory(MemoryBackend):
        async def write(self, batch: Batch, /) -> None:
            batches.append(batch)
            if len(batches) == 1:
                done = batch.turns[0].trajectory_id
                rest = frozenset(t.trajectory_id for t in batch.turns) - {done}
                await inner.write(batch.without(rest))
                raise PartialWriteError([done]) from AWAY
            await inner.write(batch)

    async with TrajectoryLogger(PerTrajectory()) as logger:
        for number in range(5):
            await logger.log_turn(turn(number))
        assert await logger.flush() == (5, 0, 0)
    assert [len(batch.turns) for batch in batches] == [5, 4]
    assert len([t async for t in inner.read_turns(TurnQuery())]) == 5
