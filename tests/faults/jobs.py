"""What the processes of a trial do, each forked from one that has opened nothing."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from faults.full import broken_disk, broken_disk_ignored, full_disk
from faults.ledger import Acknowledgements, content_of

from trajectory import BackendUnavailableError, LoggerSettings, TrajectoryLogger
from trajectory.backends.sql import engine
from trajectory.buffer import next_batch
from trajectory.delivery import Delivery
from trajectory.isolation import write_isolating
from trajectory.journal import Orphan
from trajectory.retry import Retry


async def produce(
    *,
    url: str,
    ledger: str,
    settings: dict[str, Any] | None = None,
    producers: int = 3,
    turns: int | None = None,
) -> None:
    """Log without end, or so many turns each and then wait to be killed."""
    told = Acknowledgements(Path(ledger))
    logger = await TrajectoryLogger(url, LoggerSettings(**(settings or {}))).open()

    async def agent() -> None:
        run = await logger.start_trajectory()
        told.start(run.id)
        pause = random.randint(1, 50)
        number = 0
        while turns is None or number < turns:
            number += 1
            await run.log_turn(**content_of(run.id, number))
            told.turn(run.id, number)
            if number % pause == 0:
                await asyncio.sleep(random.choice([0, 0, 0.002]))

    await asyncio.gather(*(agent() for _ in range(producers)))
    told.event("done")
    await asyncio.Event().wait()


async def produce_and_close(*, url: str, ledger: str, producers: int, turns: int) -> None:
    """Log so many turns each, and close; tell what the caller was refused, and his longest wait."""
    told = Acknowledgements(Path(ledger))
    slowest = 0.0
    async with TrajectoryLogger(url) as logger:

        async def agent() -> None:
            nonlocal slowest
            run = await logger.start_trajectory()
            told.start(run.id)
            for number in range(1, turns + 1):
                content = content_of(run.id, number)
                began = time.perf_counter()
                try:
                    await run.log_turn(**content)
                except Exception:
                    told.event("refused")
                    raise
                slowest = max(slowest, time.perf_counter() - began)
                told.turn(run.id, number)
                if number % 20 == 0:
                    await asyncio.sleep(random.choice([0, 0.001, 0.01]))

        await asyncio.gather(*(agent() for _ in range(producers)))
        assert (await logger.flush()).pending == 0
        got = logger.statistics()
        assert got.stored - got.replayed == got.accepted == producers * turns
    told.event("slowest_us", int(slowest * 1e6))
    told.event("done")


async def produce_without_waiting(**options: Any) -> None:
    """Do the same without the wait for other writers, and with one try a batch."""
    engine.BUSY_TIMEOUT_S = 0  # type: ignore[misc]
    Retry.until_done = try_once  # type: ignore[method-assign, assignment]
    await produce_and_close(**options)


async def full_disk_ignored(**options: Any) -> None:
    """Control: fill the disk under a writer that tries each batch once."""
    Retry.until_done = try_once  # type: ignore[method-assign, assignment]
    await full_disk(**options)


async def hold_snapshot(*, url: str, ledger: str) -> None:
    """Begin to read in a file and don't stop: its WAL can't be emptied meanwhile."""
    reader = sqlite3.connect(url, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM trajectory_turns").fetchone()
    Acknowledgements(Path(ledger)).event("held")
    await asyncio.Event().wait()


async def try_once(self: Retry, work: Callable[[], Awaitable[None]], _what: str) -> None:
    """Stand for `Retry.until_done`: one try, and what fails is forgotten."""
    with suppress(BackendUnavailableError):
        await work()


async def replay(*, url: str, ledger: str, settings: dict[str, Any] | None = None) -> None:
    """Open, and store what dead processes left."""
    told = Acknowledgements(Path(ledger))
    async with TrajectoryLogger(url, LoggerSettings(**(settings or {}))) as logger:
        told.event("open")
        assert (await logger.flush()).pending == 0


async def replay_removing_first(**options: Any) -> None:
    """Do the same without the rule that nothing leaves a journal before it is committed."""

    async def replay_one(self: Delivery, orphan: Orphan, turns: int) -> None:
        values = list(orphan.values())
        orphan.remove()
        left = iter(values)
        while chunk := next_batch(left):
            await write_isolating(chunk, self._retry.write, self._settle_replayed)

    Delivery._replay = replay_one  # type: ignore[method-assign]
    await replay(**options)


JOBS = {
    job.__name__: job
    for job in (
        produce,
        produce_and_close,
        produce_without_waiting,
        replay,
        replay_removing_first,
        broken_disk,
        broken_disk_ignored,
        full_disk,
        full_disk_ignored,
        hold_snapshot,
    )
}
