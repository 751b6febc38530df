"""Twenty thousand random values through memory, SQLite and Postgres; no control but the door's own.

The quick form has its seeds and its examples: `tests/property/test_values.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.figures import Figures, Reporter, count
from hypothesis import HealthCheck, given, settings
from property.databases import Databases
from property.test_values import check_value, odd_values, texts

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]

EXAMPLES = count("values", 20_000)


@pytest.fixture
def databases(tmp_path: Path, postgres_url: str) -> Iterator[Databases]:
    made = Databases(tmp_path / "t.db", postgres_url)
    yield made
    made.close()


def test_a_value_is_refused_or_comes_back_equal_everywhere(
    databases: Databases, report: Reporter
) -> None:
    """Invariant: no neighbour is lost, and every row can be read by plain SQL."""
    found = Figures("random values on memory, SQLite and Postgres")

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(text=texts, value=odd_values)
    def run(text: str, value: Any) -> None:
        found.trials += 1
        found.acknowledged += check_value(databases, text, value)

    run()
    report(found)
