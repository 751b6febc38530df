"""A backend and a logger for each database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trajectory import StorageBackend, TrajectoryLogger, open_backend
from trajectory.backends.memory import MemoryBackend


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StorageBackend]:
    """An open, empty backend of each kind."""
    made: StorageBackend
    if request.param == "sqlite":
        made = open_backend(tmp_path / "t.db")
    elif request.param == "postgres":
        made = open_backend(request.getfixturevalue("postgres_url"))
    else:
        made = MemoryBackend()
    await made.open()
    yield made
    await made.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def logger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TrajectoryLogger]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    else:
        url = str(tmp_path / "t.db")
    async with TrajectoryLogger(url) as opened:
        yield opened


@pytest.fixture
async def memory() -> AsyncIterator[TrajectoryLogger]:
    """A logger in memory, for what no database changes."""
    async with TrajectoryLogger("memory://") as opened:
        yield opened
