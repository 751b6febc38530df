"""The page of what goes out tells the names that go out."""

from __future__ import annotations

import re
from pathlib import Path

from docs.test_tables import code, table

from trajectory.genai import conventions as names
from trajectory.genai.telling import tell
from trajectory.integrations.otel.metrics import METRICS
from trajectory.testing.samples import full_trajectory, full_turn

PAGE = (Path(__file__).parents[3] / "docs" / "otel-out.md").read_text(encoding="utf-8")


def told(*, content: bool) -> dict[str, set[str]]:
    """Give the attributes of each kind of span, of the fullest trajectory there is."""
    trajectory = full_trajectory()
    turn = full_turn(trajectory.id)
    plain = turn.replace(turn_number=1, messages=(), tool_calls=(), prompt="p", response="r")
    found: dict[str, set[str]] = {}
    for span in tell(trajectory, [plain, turn], content=content):
        found.setdefault(str(span.attributes[names.OPERATION]), set()).update(span.attributes)
    return found


def named(text: str) -> set[str]:
    return set(re.findall(r"`((?:gen_ai|trajectory|error|user)\.[a-z_.]+)`", text))


def test_spans_have_the_attributes_of_the_table() -> None:
    found = told(content=False)
    rows = {span.strip("`"): named(attributes) for span, _for, attributes in table("spans")}
    assert rows.keys() == found.keys()
    for span, attributes in found.items():
        assert attributes == rows[span], span


def test_the_page_names_all_that_is_told_with_content_and_in_events() -> None:
    known = {value for value in vars(names).values() if isinstance(value, str)}
    page = named(PAGE)
    module = "trajectory.genai.conventions"
    metrics = {metric.name for metric in METRICS}
    assert page - known - metrics - {module} == set()
    trajectory = full_trajectory()
    spans = tell(trajectory, [full_turn(trajectory.id)], content=True)
    events = [event for span in spans for event in span.events]
    assert {event.name for event in events} <= page
    assert {key for event in events for key in event.attributes} <= page
    assert {key for found in told(content=True).values() for key in found} <= page


def test_metrics_are_those_of_the_table() -> None:
    assert table("metrics") == [
        [code(metric.name), metric.kind, code(metric.unit), metric.description]
        for metric in METRICS
    ]


def test_the_version_of_the_names_is_told() -> None:
    assert f"version {names.VERSION} of the GenAI conventions" in PAGE
