"""The short way makes the same turns as the whole way, and refuses what that refuses."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trajectory import models
from trajectory.door import Value
from trajectory.errors import InvalidTurnError
from trajectory.ids import uuid7
from trajectory.models import Turn
from trajectory.shortcut import Shortcut

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLAIN: dict[str, Any] = {
    "trajectory_id": UUID(int=7),
    "turn_number": 1,
    "prompt": "p",
    "response": "r",
    "token_count": 50,
    "latency_ms": 0.5,
    "created_at": NOON,
    "model_name": "m",
    "cost_usd": 0.0,
    "error": "e",
}

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**65),
    st.sampled_from([2**31 - 1, 2**31, 2**63 - 1, 2**63, -1, 0, 1]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["a\0b", "\ud800", "x" * 1024, "x" * 1025, "é" * 1024, "7", b"bytes", [], {}]),
    st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=5))])),
    st.uuids(),
)


class Text(str):
    __slots__ = ()


def whole(fields: dict[str, Any]) -> Turn:
    """Make a turn on the whole way alone."""
    turn = Turn.__new__(Turn)
    Value.__init__(turn, **fields)
    return turn


def outcome(make: Any, fields: dict[str, Any]) -> Any:
    try:
        turn = make(fields)
    except InvalidTurnError as error:
        return str(error)
    held = {**turn.__dict__, "created_at": fields.get("created_at") and turn.created_at}
    return (
        {name: (type(value), value) for name, value in held.items()},
        sorted(turn.model_fields_set),
        turn.cleaned,
        turn.model_extra,
        list(turn.__dict__),
    )


@settings(max_examples=500, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*Turn.model_fields, "unknown"]), odd),
    st.booleans(),
    st.booleans(),
)
@example({"latency_ms": math.nan}, True, False)
@example({"latency_ms": math.inf}, True, False)
@example({"latency_ms": -0.0}, True, False)
@example({"latency_ms": 1}, True, False)
@example({"turn_number": True}, True, False)
@example({"prompt": Text("sub")}, True, False)
@example({"created_at": datetime(2026, 1, 1, tzinfo=UTC)}, True, False)
@example({"response": "\ud800"}, True, True)
@example({"prompt": "a\0b"}, True, True)
def test_both_ways_come_to_the_same(fields: dict[str, Any], complete: bool, long: bool) -> None:
    fields = {**PLAIN, **fields} if complete else fields
    with patch("trajectory.shortcut._JOINED", 0 if long else 2**16):
        short = outcome(lambda f: Turn(**f), fields)
    assert repr(short) == repr(outcome(whole, fields))


@pytest.mark.parametrize("name", PLAIN)
def test_each_plain_field_goes_the_short_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # With the whole way closed.
    monkeypatch.setattr(Value, "__init__", None)
    required = {"trajectory_id", "turn_number", "prompt", "response"}
    turn = Turn(**{key: value for key, value in PLAIN.items() if key in {*required, name}})
    assert getattr(turn, name) == PLAIN[name]


def test_the_instant_is_now_unless_given() -> None:
    before = datetime.now(UTC)
    turn = Turn(trajectory_id=uuid7(), turn_number=1, prompt="", response="")
    assert before <= turn.created_at <= datetime.now(UTC)
    assert turn.created_at.tzinfo is UTC
    assert turn.model_fields_set == {"trajectory_id", "turn_number", "prompt", "response"}


def test_nothing_is_shared_between_turns_but_what_cannot_change() -> None:
    first, second = Turn(**PLAIN), Turn(**PLAIN)
    assert first == second
    assert first.__dict__ is not second.__dict__
    assert first.model_fields_set is not second.model_fields_set
    with pytest.raises(TypeError):
        first.metadata["x"] = 1  # type: ignore[index]


def test_a_subclass_goes_the_whole_way() -> None:
    class Rated(Turn):
        stars: int

    with pytest.raises(InvalidTurnError, match=r"Rated\.stars: is required"):
        Rated(**PLAIN)
    assert Rated(**PLAIN, stars="5").stars == 5


def test_what_is_remembered_of_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trajectory.shortcut._PLANS", 3)
    short = Shortcut(Turn, now="created_at")
    monkeypatch.setattr(models, "_SHORTCUT", short)
    for number in range(20):
        with pytest.raises(InvalidTurnError):
            Turn(**PLAIN, **{f"unknown_{number}": 1})
        assert 1 <= len(short._plans) <= 3
    assert Turn(**PLAIN) == whole(PLAIN)


def test_fields_that_nobody_else_holds_make_the_same_turn() -> None:
    for fields in (PLAIN, {**PLAIN, "prompt": "a\0b"}, {**PLAIN, "metadata": {"k": [1]}}):
        assert models.turn_of(dict(fields)) == Turn(**fields)
    with pytest.raises(InvalidTurnError, match="token_count"):
        models.turn_of({**PLAIN, "token_count": -1})


def test_sets_of_fields_that_come_after_many_others_are_remembered_too() -> None:
    shortcut = Shortcut(Turn, now="created_at")
    for number in range(1000):
        shortcut.fill(Turn.__new__(Turn), {**PLAIN, f"no_field_{number}": 1})
    assert shortcut.fill(Turn.__new__(Turn), PLAIN)
    assert tuple(PLAIN) in shortcut._plans
    assert len(shortcut._plans) <= 256
