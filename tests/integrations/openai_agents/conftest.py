"""A logger for each database, and tracing that sends nothing away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import agents
import pytest

from trajectory import TrajectoryLogger


@pytest.fixture(autouse=True)
def _sends_nothing() -> Iterator[None]:
    agents.set_trace_processors([])
    agents.set_tracing_disabled(False)
    yield
    agents.set_trace_processors([])


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
