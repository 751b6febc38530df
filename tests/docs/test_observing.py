"""What docs/observing.md and docs/pytest.md say is so."""

from __future__ import annotations

import re
from pathlib import Path

from trajectory.carrying import PARENT_VARIABLE
from trajectory.door import MAX_LABEL
from trajectory.draft import TurnDraft
from trajectory.handed import JSON_DEPTH, JSON_VALUES
from trajectory.integrations.pytest_plugin import TEST_KEY
from trajectory.observed import FUNCTION_KEY, MAX_CALLS, STREAM_CHARACTERS, STREAM_VALUES

DOCS = Path(__file__).parents[2] / "docs"


def test_the_limits_are_those_of_the_code() -> None:
    page = (DOCS / "observing.md").read_text(encoding="utf-8")
    assert f"cut at {MAX_LABEL:,} characters" in page
    assert f"JSON at {JSON_DEPTH} levels and {JSON_VALUES:,} values" in page
    assert f"at most {MAX_CALLS:,} of them" in page
    assert f"{STREAM_CHARACTERS:,} characters or {STREAM_VALUES:,} values" in page
    assert f"`{FUNCTION_KEY}` in the turn's metadata" in page
    assert f"`{PARENT_VARIABLE}`" in page


def test_the_calls_of_a_turn_exist() -> None:
    page = (DOCS / "observing.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`turn\.(\w+)\(", page))
    assert names == {"message", "tool_call", "count", "add", "set"}
    assert all(hasattr(TurnDraft, name) for name in names)


def test_the_plugin_is_as_described() -> None:
    page = (DOCS / "pytest.md").read_text(encoding="utf-8")
    door = (DOCS.parent / "_trajectory_pytest.py").read_text(encoding="utf-8")
    assert f"`{TEST_KEY}` in the metadata" in page
    for fixture in ("trajectory_logger", "sync_trajectory_logger"):
        assert f"| `{fixture}` |" in page
        assert f"def {fixture}(" in door
    assert '"--trajectory-db"' in door
