"""A logger in memory that records every run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from integrations.langchain.stored import Recorded, recorded

from trajectory import TrajectoryLogger
from trajectory.integrations.langchain import attach

Stored = Callable[[], Awaitable[Recorded]]


@pytest.fixture
async def memory() -> AsyncIterator[TrajectoryLogger]:
    """A logger with nothing attached."""
    async with TrajectoryLogger(":memory:") as logger:
        yield logger


@pytest.fixture
async def stored(memory: TrajectoryLogger) -> AsyncIterator[Stored]:
    """Record what the test runs; called, it gives what is stored of it."""

    async def read() -> Recorded:
        await memory.flush()
        return await recorded(memory.backend)

    with attach(memory):
        yield read
