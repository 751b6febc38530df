"""What tests of the store share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trajectory import StorageBackend, open_backend
from trajectory.backends.memory import MemoryBackend
from trajectory.testing import WrappedBackend


@pytest.fixture(params=["memory", "sqlite", "postgres", "plain"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StorageBackend]:
    """An open, empty backend, of each kind; a plain one can't count."""
    made: StorageBackend
    if request.param == "sqlite":
        made = open_backend(tmp_path / "t.db")
    elif request.param == "postgres":
        made = open_backend(request.getfixturevalue("postgres_url"))
    else:
        made = MemoryBackend()
    if request.param == "plain":
        made = WrappedBackend(made)
    await made.open()
    yield made
    await made.close()
