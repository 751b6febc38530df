"""The databases that the examples of a test share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from property.databases import Databases


@pytest.fixture
def databases(tmp_path: Path, postgres_url: str) -> Iterator[Databases]:
    made = Databases(tmp_path / "t.db", postgres_url)
    yield made
    made.close()
