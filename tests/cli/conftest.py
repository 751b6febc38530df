"""Databases for the commands that look at what is stored."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database, of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "t.db")
    url = request.getfixturevalue("postgres_url")
    assert isinstance(url, str)
    return url
