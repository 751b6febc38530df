"""What tests of OpenTelemetry share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trajectory import StorageBackend, open_backend
from trajectory.backends.memory import MemoryBackend


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StorageBackend]:
    """An open, empty backend, of each kind."""
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
