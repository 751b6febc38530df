"""What may go wrong with a logger while a framework's program runs, and what is left of it then."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from trajectory import (
    BackendUnavailableError,
    Batch,
    Capabilities,
    LoggerSettings,
    Statistics,
    TrajectoryLogger,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.journal.os_layer import REAL

TROUBLES = ("away", "full", "refused")
"""The database is away; the disk is full, under the database and the journal; the journal fails."""


class _Troubled(MemoryBackend):
    """At a place on a disk, where its journal lies as well."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.capabilities = Capabilities(identity=str(path))
        self.problem: str | None = None

    async def write(self, batch: Batch, /) -> None:
        if self.problem is not None:
            raise BackendUnavailableError(self.problem)
        await super().write(batch)


class Trouble:
    """A logger in trouble, and afterwards what became of what it was offered."""

    def __init__(self, logger: TrajectoryLogger) -> None:
        self.logger = logger
        self.stored = 0
        """How many trajectories are in the database once all is well again."""
        self.turns = 0
        self.statistics: Statistics | None = None


@asynccontextmanager
async def troubled(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Trouble]:
    """Open a logger, and bring it into trouble; at the end, open one where all is well again."""
    backend = _Troubled(folder / "t.db")
    settings = LoggerSettings(buffer_size=4, retry_initial_ms=1, retry_max_ms=2)
    code = {"full": errno.ENOSPC, "refused": errno.EIO}.get(kind)
    fails = False

    def write(fd: int, content: bytes) -> int:
        if fails and code is not None:
            raise OSError(code, "the disk does not take it")
        return os.write(fd, content)

    with monkeypatch.context() as patch:
        # Before the journal is open: it keeps the function that it finds.
        patch.setattr(type(REAL), "write", staticmethod(write))
        logger = await TrajectoryLogger(backend, settings).open()
        trouble = Trouble(logger)
        fails = True
        if kind != "refused":
            backend.problem = "SQLITE_FULL" if kind == "full" else "the connection was refused"
        try:
            yield trouble
        finally:
            trouble.statistics = logger.statistics()
            await logger.aclose(timeout=0.05)
    backend.problem = None
    async with TrajectoryLogger(backend, settings) as again:
        await again.flush()
    trouble.stored, trouble.turns = len(backend._trajectories), len(backend._turns)
