"""Both databases, and a look at what reaches them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trajectory.backends.sql import SqlBackend


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "t.db")
    given: str = request.getfixturevalue("postgres_url")
    return given


@pytest.fixture
async def backend(url: str) -> AsyncIterator[SqlBackend]:
    """An open backend, of each kind."""
    made = SqlBackend(url)
    await made.open()
    yield made
    await made.close()
