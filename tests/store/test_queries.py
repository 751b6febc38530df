"""What the filters of a query mean beyond ids and times, said in Python."""

from __future__ import annotations

from typing import Any

import pytest
from factories import TrajectoryFactory, TurnFactory

from trajectory import (
    InvalidQueryError,
    MetadataEquals,
    Question,
    ToolCall,
    TrajectoryQuery,
    TrajectoryStatus,
    TurnQuery,
    Violation,
)

LOW = Question(question_text="q", effort_level="low")
JUDGED = Question(question_text="q", effort_level="high", source="judge:x")
TONE = Violation(preference_name="tone", severity="minor")
LENGTH = Violation(preference_name="length", severity="major", source="judge:x")


def turns_like(query: TurnQuery, **fields: Any) -> bool:
    return query.matches(TurnFactory(**fields))


@pytest.mark.parametrize("name", ["spec_id", "agent_name", "run_id", "session_id", "user_id"])
def test_labels_are_equal_to_the_letter(name: str) -> None:
    query = TrajectoryQuery(**{name: "a"})
    assert query.matches(TrajectoryFactory(**{name: "a"}))
    for other in ("A", "a ", "ab", "", None):
        assert not query.matches(TrajectoryFactory(**{name: other}))
    assert TrajectoryQuery().matches(TrajectoryFactory(**{name: None}))
    assert TrajectoryQuery(**{name: ""}).matches(TrajectoryFactory(**{name: ""}))
    assert not TrajectoryQuery(**{name: ""}).matches(TrajectoryFactory(**{name: None}))


def test_status() -> None:
    assert TrajectoryQuery(status="failed").status is TrajectoryStatus.FAILED
    assert TrajectoryQuery(status="failed").matches(TrajectoryFactory(status="failed"))
    for other in ("running", "completed", None):
        assert not TrajectoryQuery(status="failed").matches(TrajectoryFactory(status=other))


def test_text_is_looked_for_in_prompt_and_response() -> None:
    for place in ("prompt", "response"):
        assert turns_like(TurnQuery(text="eed"), **{place: "a needle"})
        assert not turns_like(TurnQuery(text="EED"), **{place: "a needle"})
        assert not turns_like(TurnQuery(text="n%e"), **{place: "a needle"})
        assert turns_like(TurnQuery(text=""), **{place: ""})
    assert not turns_like(TurnQuery(text="ab"), prompt="a", response="b")


def test_text_is_cleaned_as_what_was_stored_was() -> None:
    turn = TurnFactory(prompt="a\0b\ud800c", metadata={"k\0": "v\0"})
    for text in ("a\0b", "\ud800c", "a\ufffdb"):
        assert TurnQuery(text=text).matches(turn)
    assert TurnQuery(metadata={"k\0": "v\0"}).matches(turn)


def test_a_tool_is_one_that_was_called() -> None:
    calls = [ToolCall(tool_name="read"), ToolCall(tool_name="write")]
    assert turns_like(TurnQuery(tool="write"), tool_calls=calls)
    assert not turns_like(TurnQuery(tool="writ"), tool_calls=calls)
    assert not turns_like(TurnQuery(tool="write"))


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"effort": "low"}, True),
        ({"effort": "medium"}, False),
        ({"effort": "high"}, True),
        ({"effort": "high", "source": "judge:x"}, True),
        ({"effort": "high", "source": "agent"}, False),
        ({"severity": "minor"}, True),
        ({"severity": "critical"}, False),
        ({"preference": "tone"}, True),
        ({"preference": "ton"}, False),
        ({"preference": "tone", "severity": "minor"}, True),
        ({"preference": "tone", "severity": "major"}, False),  # each is there, and no one is both
        ({"preference": "length", "source": "agent"}, False),
        ({"preference": "length", "source": "judge:x"}, True),
        ({"effort": "low", "preference": "tone", "source": "agent"}, True),
        ({"effort": "low", "preference": "length"}, True),
        ({"effort": "low", "preference": "length", "source": "agent"}, False),
        ({"source": "agent"}, True),
        ({"source": "judge:x"}, True),
        ({"source": "judge"}, False),
    ],
    ids=str,
)
def test_findings(filters: dict[str, Any], found: bool) -> None:
    fields: dict[str, Any] = {"questions": [LOW, JUDGED], "violations": [TONE, LENGTH]}
    assert turns_like(TurnQuery(**filters), **fields) is found


def test_a_source_alone_is_that_of_a_question_or_a_violation() -> None:
    query = TurnQuery(source="judge:x")
    assert turns_like(query, questions=[JUDGED])
    assert turns_like(query, violations=[LENGTH])
    assert not turns_like(query, questions=[LOW], violations=[TONE])
    assert not turns_like(query)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"n": 1}, True),
        ({"n": 1.0}, False),
        ({"n": True}, False),
        ({"none": None}, True),
        ({"n": None}, False),
        ({"missing": None}, False),
        ({"a": {"b": [1, {"c": "x"}]}}, True),
        ({("a", "b"): [1, {"c": "x"}]}, True),
        ({("a", "b"): (1, {"c": "x"})}, True),
        ({("a", "b"): [1.0, {"c": "x"}]}, False),
        ({("a", "b", "0"): 1}, False),  # a place in a list is no key
        ({("n", "b"): 1}, False),
        ({"a.b": 2}, True),
        ({("a", "b"): 2}, False),
        ({"n": 1, "none": None}, True),
        ({"n": 1, "none": 0}, False),
        ({}, True),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("query", "make"), [(TurnQuery, TurnFactory), (TrajectoryQuery, TrajectoryFactory)]
)
def test_metadata_is_equal_as_json(query: Any, make: Any, wanted: Any, found: bool) -> None:
    metadata = {"n": 1, "none": None, "a": {"b": [1, {"c": "x"}]}, "a.b": 2}
    assert query(metadata=wanted).matches(make(metadata=metadata)) is found


def test_queries_with_other_json_types_differ() -> None:
    one, same = TurnQuery(metadata={"k": [1]}), TurnQuery(metadata={("k",): [1]})
    assert one == same
    assert hash(one) == hash(same)
    assert one != TurnQuery(metadata={"k": [True]})
    assert one != TurnQuery(metadata={"k": [1.0]})
    assert MetadataEquals(("k",), 1) != 1


def test_a_query_keeps_what_it_was_given() -> None:
    value = {"l": [1]}
    query = TurnQuery(metadata={"k": value})
    value["l"].append(2)
    assert query.matches(TurnFactory(metadata={"k": {"l": [1]}}))
    assert TurnQuery(**dict(query)) == query


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": b"s3cr3t"},
        {"text": 3},
        {"tool": ["s3cr3t"]},
        {"effort": "s3cr3t"},
        {"severity": "s3cr3t"},
        {"preference": 1},
        {"source": 1},
        {"metadata": "s3cr3t"},
        {"metadata": {1: "s3cr3t"}},
        {"metadata": {(): "s3cr3t"}},
        {"metadata": {("a", 1): "s3cr3t"}},
        {"metadata": {"s3cr3t": float("nan")}},
        {"metadata": {"s3cr3t": range(3)}},
        {"metadata": {"s3cr3t": 2**64}},
        {"spec_id": "x"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_without_being_quoted(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidQueryError, match=f"TurnQuery.{next(iter(wrong))}") as caught:
        TurnQuery(**wrong)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"spec_id": 1}, {"status": "x"}, {"text": "x"}], ids=str)
def test_a_trajectory_query_has_its_own_filters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidQueryError, match=f"TrajectoryQuery.{next(iter(wrong))}"):
        TrajectoryQuery(**wrong)


def test_filters_are_those_that_not_every_backend_applies() -> None:
    assert TurnQuery(limit=3, ids=[], descending=True).filters == frozenset()
    query = TurnQuery(text="", limit=3, metadata={"k": None})
    assert query.filters == {"text", "metadata"}
    assert query.without(frozenset({"text", "limit"})) == TurnQuery(metadata={"k": None})
