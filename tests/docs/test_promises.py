"""The table of promises names tests that exist, each beside a control where it is about faults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "durability.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("|") and "tests/" in line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_a_promise_has_its_test(row: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", row)
    assert named
    for path in named:
        assert "def test_" in (ROOT / path).read_text(encoding="utf-8"), path


def test_there_are_promises() -> None:
    assert len(ROWS) >= 15
