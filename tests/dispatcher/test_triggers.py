"""When a flush starts: by size, by age, because somebody waits; and never without a reason."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import uuid4

from clock import run_virtual

from trajectory import (
    LoggerSettings,
    Question,
    TrajectoryLogger,
    TrajectoryQuery,
    Turn,
    TurnQuery,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.testing import GatedBackend


def turn(number: int = 1) -> Turn:
    return Turn(trajectory_id=uuid4(), turn_number=number, prompt="p", response="r")


async def count(backend: MemoryBackend) -> int:
    return len([t async for t in backend.read_turns(TurnQuery())])


@run_virtual
async def test_five_turns_are_stored_500_ms_after_the_first_and_not_before() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger:
        for number in range(1, 6):
            await logger.log_turn(turn(number))
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.249)  # 0.499 s after the first
        assert await count(backend) == 0
        await asyncio.sleep(0.002)
        assert await count(backend) == 5
        assert logger.statistics().batches == 1


async def test_five_turns_are_stored_after_500_ms_in_real_time(tmp_path: Path) -> None:
    async with TrajectoryLogger(tmp_path / "t.db") as logger:
        began = time.monotonic()
        for number in range(1, 6):
            await logger.log_turn(turn(number))
        while logger.statistics().stored < 5:
            assert logger.statistics().buffered == 5
            await asyncio.sleep(0.005)
        assert time.monotonic() - began >= 0.5
        assert logger.statistics().batches == 1


@run_virtual
async def test_the_tenth_turn_flushes_at_once() -> None:
    backend = MemoryBackend()
    loop = asyncio.get_running_loop()
    async with TrajectoryLogger(backend) as logger:
        began = loop.time()
        for number in range(1, 10):
            await logger.log_turn(turn(number))
        await asyncio.sleep(0)
        assert await count(backend) == 0
        await logger.log_turn(turn(10))
        while await count(backend) < 10:
            await asyncio.sleep(0)
        assert loop.time() == began
        assert logger.statistics().batches == 1


async def test_the_tenth_turn_flushes_at_once_in_real_time(tmp_path: Path) -> None:
    settings = LoggerSettings(flush_interval_ms=60_000)
    async with TrajectoryLogger(tmp_path / "t.db", settings) as logger:
        for number in range(1, 11):
            await logger.log_turn(turn(number))
        async with asyncio.timeout(30):  # by age alone it would take a minute
            while logger.statistics().stored < 10:
                await asyncio.sleep(0.005)
        assert logger.statistics().batches == 1


@run_virtual
async def test_a_waiting_flush_starts_at_once_and_is_shared() -> None:
    backend = MemoryBackend()
    loop = asyncio.get_running_loop()
    async with TrajectoryLogger(backend) as logger:
        await logger.log_turn(turn())
        began = loop.time()
        reports = await asyncio.gather(*(logger.flush() for _ in range(20)))
        assert loop.time() == began
        assert set(reports) == {(1, 0, 0)}
        assert logger.statistics().batches == 1


@run_virtual
async def test_what_comes_during_a_write_goes_together_in_the_next() -> None:
    backend = GatedBackend()
    async with TrajectoryLogger(backend) as logger:
        for number in range(10):
            await logger.log_turn(turn(number))
        await backend.parked(1)
        for number in range(10, 95):
            await logger.log_turn(turn(number))
        backend.let_through(1)
        await backend.parked(2)
        assert [len(batch.turns) for batch in backend.batches] == [10, 85]
        backend.open_gate()


@run_virtual
async def test_a_turn_that_comes_during_a_write_is_not_older_than_the_interval() -> None:
    backend = GatedBackend()
    loop = asyncio.get_running_loop()
    async with TrajectoryLogger(backend) as logger:
        await logger.log_turn(turn(1))
        await backend.parked(1)
        began = loop.time()
        await logger.log_turn(turn(2))
        await asyncio.sleep(0.2)
        backend.let_through(1)
        await backend.parked(2)
        assert abs(loop.time() - began - 0.5) < 0.001
        backend.open_gate()


@run_virtual
async def test_an_idle_dispatcher_holds_no_timer() -> None:
    loop = asyncio.get_running_loop()
    timers = loop._scheduled  # type: ignore[attr-defined]
    async with TrajectoryLogger(MemoryBackend()) as logger:
        assert not timers
        await logger.log_turn(turn())
        assert len(timers) == 1
        await logger.flush()
        await asyncio.sleep(1)  # cancelled timers are swept when the loop next runs one
        assert not [timer for timer in timers if not timer.cancelled()]


@run_virtual
async def test_starts_facts_and_ends_are_flushed_by_age_too() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger:
        sent = turn()
        await logger.log_turn(sent)
        await logger.flush()
        await logger.log_question(*sent.key, Question(question_text="q", effort_level="low"))
        await logger.start_trajectory(run_id="r")
        await asyncio.sleep(0.501)
        [read] = [t async for t in backend.read_turns(TurnQuery())]
        assert len(read.questions) == 1
        assert len([t async for t in backend.read_trajectories(TrajectoryQuery())]) == 2


@run_virtual
async def test_low_latency_stores_each_turn_at_once() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend, LoggerSettings.low_latency()) as logger:
        for number in range(3):
            await logger.log_turn(turn(number))
            while await count(backend) <= number:
                await asyncio.sleep(0)
        assert logger.statistics().batches == 3
