"""A disk without room: what was acknowledged can be recovered, and it works again when there is."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trajectory import (
    BackendUnavailableError,
    Batch,
    Capabilities,
    LoggerSettings,
    Run,
    TrajectoryLogger,
    Turn,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.journal import JournalError
from trajectory.journal.os_layer import REAL

WRITES = 30


class Full(MemoryBackend):
    """At a place on a disk: full as the journal is."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.capabilities = Capabilities(identity=str(path))
        self.is_full = False

    async def write(self, batch: Batch, /) -> None:
        if self.is_full:
            raise BackendUnavailableError("SQLITE_FULL; no room is left on the disk")
        await super().write(batch)


def fails_at(number: int, *, short: bool) -> tuple[Callable[[int, bytes], int], list[int]]:
    """Give a `write` that fails at the n-th call, for good until `room` is told."""
    calls = [0]

    def write(fd: int, content: bytes | bytearray) -> int:
        calls[0] += 1
        if number <= calls[0] < number + 3:
            if short and len(content) > 20:
                os.write(fd, content[:20])
                return 20
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(fd, content)

    return write, calls


@pytest.mark.parametrize("short", [False, True], ids=["refused", "short"])
@pytest.mark.parametrize("number", range(1, WRITES, 3))
async def test_at_each_write_of_the_journal(
    tmp_path: Path, number: int, short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Full(tmp_path / "t.db")
    write, _ = fails_at(number, short=short)
    settings = LoggerSettings(buffer_size=4, retry_initial_ms=1, retry_max_ms=2)
    acknowledged = set()
    monkeypatch.setattr(type(REAL), "write", staticmethod(write))
    try:
        logger = await TrajectoryLogger(backend, settings).open()
    except JournalError:
        monkeypatch.undo()
        logger = await TrajectoryLogger(backend, settings).open()
    run_id = (await started(logger)).id
    refused = 0
    for turn_number in range(1, WRITES):
        sent = Turn(trajectory_id=run_id, turn_number=turn_number, prompt="p", response="r")
        try:
            await logger.log_turn(sent)
        except JournalError:
            refused += 1
        else:
            acknowledged.add(sent.key)
        if turn_number == WRITES // 2:
            await logger.flush()
            backend.is_full = True  # from here on the database is full as well
    assert (await logger.aclose(timeout=0.02)).pending > 0
    monkeypatch.undo()
    backend.is_full = False
    async with TrajectoryLogger(backend, settings) as again:
        assert (await again.flush()).pending == 0
    assert set(backend._turns) == acknowledged
    assert refused or number == 1 or number >= WRITES - 3


async def started(logger: TrajectoryLogger) -> Run:
    while True:
        try:
            return await logger.start_trajectory()
        except JournalError:
            continue
