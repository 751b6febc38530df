"""Processes that are killed while they log, and the next one that finds what they left."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from faults.server import wait_until
from faults.zygote import Zygote

from trajectory import LoggerSettings, TrajectoryLogger

PRODUCERS = 3
"""Tasks that log in each process: so many answers may be on their way when it is killed."""


def kill_under_load(
    forks: Zygote, url: str, ledger: Path, settings: dict[str, Any], *, within: float = 0.06
) -> None:
    """Start a process, and kill it at some moment: as it opens, or while it logs."""
    pid = forks.start("produce", url=url, ledger=str(ledger), settings=settings)
    if random.random() < 0.9:
        wait_until(lambda: has_begun(ledger))
    time.sleep(random.uniform(0, within))
    assert forks.kill(pid)


def has_begun(ledger: Path) -> bool:
    """Say whether a process has had its first answer."""
    return ledger.exists() and ledger.stat().st_size > 0


async def next_start(
    url: str, settings: LoggerSettings | None = None, *, strict: bool = True
) -> int:
    """Open and close a logger, as the next process does; give how many turns it replayed.

    Unless `strict` is false, for a control, its own numbers must agree with that.
    """
    async with TrajectoryLogger(url, settings) as logger:
        report = await logger.flush(60)
        got = logger.statistics()
    if not strict:
        return got.replayed
    assert (report.pending, report.dead_lettered) == (0, 0)
    # The library's own numbers agree: nothing was logged here, all that was found is stored.
    assert (got.accepted, got.buffered, got.dropped, got.conflicts) == (0, 0, 0, 0)
    assert got.replayed == got.stored == report.stored
    return got.replayed
