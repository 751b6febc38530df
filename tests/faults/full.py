"""What the processes of a trial do on disks that fail: of the journal's own, and of the system."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from faults.ledger import Acknowledgements, content_of
from journal.disks import FailingDisk, Failure

from trajectory import LoggerSettings, TrajectoryLogger, Turn, lifecycle
from trajectory.ids import uuid7
from trajectory.journal import Journal, Journaled, JournalError

TURNS = 40
"""Are logged while the disk fails."""
AFTERWARDS = 10
"""When there is room again: all of them must be taken."""
QUICK = {"retry_initial_ms": 2, "retry_max_ms": 20}
SEGMENT_BYTES = 4000

CALLS = {
    "once": None,
    "twice": None,
    "writes": {"write"},
    "writes and opens": {"write", "open"},
    "writes and cuts": {"write", "truncate"},
    "syncs": {"sync", "sync_folder"},
}
"""What fails: the n-th call alone, it and the next, or all of some kind from it on."""


def failure(kind: str, n: int) -> Failure:
    calls = CALLS[kind]
    if calls is None:
        return lambda at, _call: n <= at < n + (2 if kind == "twice" else 1)
    return lambda at, call: at >= n and call in calls


class Caller:
    """Logs turns, tells what was taken, and logs again what was refused."""

    def __init__(self, told: Acknowledgements, logger: TrajectoryLogger) -> None:
        self._told = told
        self._logger = logger
        self._id: UUID = uuid7()
        self._number = 1
        self.refused = 0
        told.start(self._id)

    async def log(self) -> None:
        number = self._number
        turn = Turn(trajectory_id=self._id, turn_number=number, **content_of(self._id, number))
        try:
            await self._logger.log_turn(turn)
        except JournalError:
            self.refused += 1
        else:
            self._number += 1
            self._told.turn(self._id, number)


async def broken_disk(
    *, url: str, ledger: str, kind: str, n: int, short: bool, level: str, dies: bool
) -> None:
    """Log on a disk whose n-th call fails, then on one that is whole again; die, or close."""
    told = Acknowledgements(Path(ledger))
    disk = FailingDisk(failure(kind, n), short=short)
    made = partial(Journal, segment_bytes=SEGMENT_BYTES, os_layer=disk)
    vars(lifecycle)["Journal"] = made
    settings = LoggerSettings(durability=level, buffer_size=15, flush_interval_ms=86_400_000)
    try:
        logger = await TrajectoryLogger(url, settings).open()
    except JournalError:
        told.event("not_open")
        told.event("failed", disk.failed)
        return
    caller = Caller(told, logger)
    for _ in range(TURNS):
        await caller.log()
        await asyncio.sleep(0)
    if disk.failed:
        told.event("failed", disk.failed)
    if caller.refused:
        told.event("refused", caller.refused)
    await _go_on(told, logger, caller, lambda: setattr(disk, "fails", lambda *_: False), dies=dies)


async def broken_disk_ignored(**options: Any) -> None:
    """Control: do the same with a journal that takes what it could not write."""
    append = Journal.append

    def careless(self: Journal, value: Journaled, frame: bytes | bytearray | None = None) -> int:
        try:
            return append(self, value, frame)
        except JournalError:
            return 0

    Journal.append = careless  # type: ignore[method-assign]
    await broken_disk(**options)


async def full_disk(*, url: str, ledger: str, limit: int, dies: bool) -> None:
    """Log while no file may grow beyond a limit, database and journal alike; then they may.

    The system itself refuses: a write that crosses the limit is short, the next one fails.
    """
    told = Acknowledgements(Path(ledger))
    settings = LoggerSettings(buffer_size=5, flush_interval_ms=1, **QUICK)
    async with TrajectoryLogger(url, settings) as logger:
        await logger.flush()
        caller = Caller(told, logger)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        for number in range(TURNS):
            await caller.log()
            if number % 5 == 0:
                await logger.flush(0.01)
        if logger.statistics().retries:
            told.event("retried", logger.statistics().retries)
        if caller.refused:
            told.event("refused", caller.refused)

        def mend() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

        await _go_on(told, logger, caller, mend, dies=dies)


async def _go_on(
    told: Acknowledgements, logger: TrajectoryLogger, caller: Caller, mend: Any, *, dies: bool
) -> None:
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)
    mend()
    refused = caller.refused
    for _ in range(AFTERWARDS):
        await caller.log()
    assert caller.refused == refused, "the disk is whole, and a turn was refused"
    assert (await logger.flush()).pending == 0
    got = logger.statistics()
    assert got.accepted == got.stored
    assert (got.buffered, got.dead_lettered, got.dropped) == (0, 0, 0)
    await logger.aclose()
    told.event("done")
