"""Turns that are filled while they happen, with whatever a framework hands over."""

from __future__ import annotations

import asyncio
import enum
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import PurePosixPath
from time import perf_counter
from typing import Any, NamedTuple
from unittest.mock import MagicMock, Mock
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from trajectory import InvalidTurnError, Question, Turn, Violation
from trajectory.draft import LEFT_OUT_KEY, TurnDraft, as_error, as_json, as_text
from trajectory.models import Role

ID = UUID("00000000-0000-7000-8000-000000000001")


def test_a_turn_holds_what_was_filled_in() -> None:
    draft = TurnDraft("Add 1 and 2, then look outside", model_name="m-1", metadata={"a": 1})
    draft.message("user", "Add 1 and 2, then look outside")
    position = draft.message("assistant", "One moment.", model_name="m-1", usage={"input": 3})
    adds = draft.tool_call("add", '{"a": 1,  "b": 2}', call_id="c1")
    looks = draft.tool_call("look", {"where": "outside"}, call_id="c2", message_position=0)
    adds.succeeded({"sum": 3})
    looks.failed(RuntimeError("no window"))
    draft.message("tool", "3", call_id="c1")
    draft.message("assistant", [{"type": "text", "text": "It is "}, {"type": "image"}, "3."])
    draft.set(metadata={"b": 2}, stop_reason="end")
    draft.count(input_tokens=3, output_tokens=5, cost_usd=0.25)
    draft.count(input_tokens=4, reasoning_tokens=1, cache_read_tokens=2, cost_usd=Decimal("0.5"))
    draft.count(token_count=15, cache_write_tokens=0)
    draft.add(Question(question_text="Anything else?", effort_level="low"))
    draft.add(Violation(preference_name="short", severity="minor"))

    turn = draft.turn(ID, 7)

    assert turn.key == (ID, 7)
    assert (turn.prompt, turn.response) == ("Add 1 and 2, then look outside", "It is 3.")
    assert (turn.model_name, turn.stop_reason, turn.error) == ("m-1", "end", None)
    assert turn.metadata == {"a": 1, "b": 2}
    assert (turn.input_tokens, turn.output_tokens, turn.reasoning_tokens) == (7, 5, 1)
    assert (turn.cache_read_tokens, turn.cache_write_tokens, turn.token_count) == (2, 0, 15)
    assert turn.cost_usd == 0.75
    assert [message.role for message in turn.messages] == ["user", "assistant", "tool", "assistant"]
    assert turn.messages[position].usage == {"input": 3}
    assert turn.messages[2].call_id == "c1"
    first, second = turn.tool_calls
    assert (first.tool_name, first.arguments, first.result) == (
        "add",
        '{"a": 1,  "b": 2}',
        '{"sum":3}',
    )
    assert (first.call_id, first.message_position, first.is_error) == ("c1", 1, False)
    assert (second.arguments, second.result) == ('{"where":"outside"}', "RuntimeError: no window")
    assert (second.message_position, second.is_error) == (0, True)
    assert [q.question_text for q in turn.questions] == ["Anything else?"]
    assert [v.preference_name for v in turn.violations] == ["short"]


def test_times_are_measured_unless_they_are_given() -> None:
    before, began = datetime.now(UTC), perf_counter()
    draft = TurnDraft("p")
    call = draft.tool_call("t")
    call.succeeded("r")
    draft.message("assistant", "r")
    turn = draft.turn(ID, 1)
    most = (perf_counter() - began) * 1000
    assert turn.latency_ms is not None
    assert turn.tool_calls[0].latency_ms is not None
    assert 0 <= turn.tool_calls[0].latency_ms <= turn.latency_ms <= most
    started, spoken = turn.tool_calls[0].started_at, turn.messages[0].created_at
    assert started is not None
    assert spoken is not None
    assert before <= turn.created_at <= started <= spoken <= datetime.now(UTC)

    instant = datetime(2026, 1, 2, tzinfo=UTC)
    draft = TurnDraft("p", latency_ms=5, created_at=instant)
    draft.tool_call("t", latency_ms=3, started_at=instant).succeeded()
    draft.tool_call("t").failed("e", latency_ms=4)
    draft.message("user", created_at=instant)
    turn = draft.turn(ID, 1)
    assert (turn.latency_ms, turn.created_at) == (5, instant)
    assert [call.latency_ms for call in turn.tool_calls] == [3, 4]
    assert (turn.tool_calls[0].started_at, turn.messages[0].created_at) == (instant, instant)


def test_the_response_is_the_last_assistant_message_unless_it_is_set() -> None:
    draft = TurnDraft()
    assert (draft.prompt, draft.response) == ("", "")
    draft.message("assistant", "first")
    draft.message("ai", "second")
    draft.message("tool", "3")
    assert draft.response == "second"
    draft.response = {"final": True}
    draft.message("assistant", "third")
    assert draft.turn(ID, 1).response == '{"final":true}'
    draft.response = None
    assert draft.turn(ID, 1).response == "third"
    draft.message("assistant")
    assert not draft.response
    draft.set(response="fourth", prompt=None)
    draft.prompt = ["p"]
    assert (draft.prompt, draft.response) == ('["p"]', "fourth")


def test_an_open_call_has_no_result() -> None:
    draft = TurnDraft("p")
    call = draft.tool_call("t", call_id="c")
    assert call.is_open
    (stored,) = draft.turn(ID, 1, error=asyncio.CancelledError()).tool_calls
    assert (stored.result, stored.is_error, stored.latency_ms) == (None, None, None)
    assert stored.message_position is None
    call.set(arguments="{}", message_position=0)
    call.succeeded()
    turn = draft.turn(ID, 1, error="stopped")
    assert not call.is_open
    assert (turn.tool_calls[0].result, turn.tool_calls[0].arguments) == ("null", "{}")
    assert turn.error == "stopped"
    assert draft.turn(ID, 1, error=asyncio.CancelledError()).error == "CancelledError"


def test_a_name_that_is_no_field_is_refused() -> None:
    draft = TurnDraft("p")
    attempts: list[Callable[[], object]] = [
        lambda: TurnDraft("p", modelname="m"),
        lambda: draft.set(turn_number=1),
        lambda: draft.set(messages=[]),
        lambda: draft.message("user", "p", nonsense=1),
        lambda: draft.tool_call("t", nonsense=1),
        lambda: draft.tool_call("t").set(nonsense=1),
        lambda: draft.add("a question"),  # type: ignore[arg-type]
    ]
    for attempt in attempts:
        with pytest.raises(InvalidTurnError):
            attempt()


def test_what_the_door_would_refuse_is_made_storable() -> None:
    draft = TurnDraft(
        b"\xff\x00",
        model_name="m" * 3000,
        input_tokens=-1,
        output_tokens=2**70,
        latency_ms=float("nan"),
        cost_usd="a lot",
        reward=float("inf"),
        created_at=datetime(2026, 1, 1),  # noqa: DTZ001 - whose clock?
        is_copied_context="yes",
        stop_reason=17,
        error=ValueError("e"),
        metadata=["no object"],
    )
    draft.count(input_tokens=True, output_tokens=1.5, reasoning_tokens="9", cost_usd=float("nan"))
    draft.message("user", b"\xff", call_id=4, token_ids=float("nan"))
    draft.tool_call(None, 2**70, message_position=-3, latency_ms=-1).succeeded({"a": {1, 2}})
    turn = draft.turn(ID, 1)
    assert turn.prompt == "<2 bytes>"
    assert turn.model_name == "m" * 1024
    assert turn.latency_ms is not None
    assert (turn.input_tokens, turn.output_tokens, turn.reasoning_tokens) == (None, None, None)
    assert (turn.cost_usd, turn.reward, turn.is_copied_context) == (None, None, None)
    assert (turn.stop_reason, turn.metadata) == ("17", {"value": ["no object"]})
    assert turn.created_at > datetime(2026, 1, 2, tzinfo=UTC)
    assert (turn.messages[0].content, turn.messages[0].call_id) == ("<1 bytes>", "4")
    call = turn.tool_calls[0]
    assert (call.tool_name, call.arguments, call.result) == ("", str(2**70), '{"a":[1,2]}')
    assert call.message_position is None


def test_what_is_refused_for_all_that_is_left_out_and_listed() -> None:
    draft = TurnDraft("p", metadata={"a": 1})
    question = Question(question_text="q?", effort_level="low", position=1)
    draft.add(question)
    draft.add(question)  # two in one place
    turn = draft.turn(ID, 1)
    assert (turn.prompt, turn.questions) == ("p", ())
    assert turn.metadata == {"a": 1, LEFT_OUT_KEY: ["questions"]}


@pytest.mark.parametrize(
    ("told", "role"),
    [
        ("human", "user"),
        ("AI", "assistant"),
        ("function", "tool"),
        ("developer", "developer"),
        (Role.TOOL, "tool"),
    ],
)
def test_roles_of_other_vocabularies_are_translated(told: object, role: str) -> None:
    draft = TurnDraft()
    draft.message(told, "m")
    assert draft.turn(ID, 1).messages[0].role == role


@pytest.mark.parametrize("told", ["robot", None, {"x": 1}, ""])
def test_a_role_that_is_none_is_refused(told: object) -> None:
    draft = TurnDraft()
    with pytest.raises(InvalidTurnError, match=r"Message.role: not a role; give one of system"):
        draft.message(told, "m")
    assert draft.turn(ID, 1).messages == ()


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Mood(enum.StrEnum):
    GOOD = "good"


class Weather(BaseModel):
    city: str
    key: SecretStr
    at: datetime


@dataclass
class Point:
    x: int
    token: str = field(default="secret", repr=False)


class Pair(NamedTuple):
    left: int
    right: Any


class Plain:
    pass


class Loud:
    def __repr__(self) -> str:
        return "loud" * 10_000


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError


class BrokenModel:
    def model_dump(self, **_options: Any) -> Any:
        raise RuntimeError


class BrokenMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __len__(self) -> int:
        return 1


class BrokenError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Index:
    def __index__(self) -> int:
        return 4


class NoZone(tzinfo):
    def utcoffset(self, _moment: datetime | None) -> timedelta:
        raise RuntimeError

    dst = utcoffset

    def tzname(self, _moment: datetime | None) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (2**64, str(2**64)),
        (10**6000, "<an integer of 19932 bits>"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (Colour.RED, "red"),
        (Size.BIG, 3),
        (Mood.GOOD, "good"),
        (b"text", "text"),
        (b"\xff", "<1 bytes>"),
        (b"\0", "<1 bytes>"),
        (Decimal("1.5"), "1.5"),
        (PurePosixPath("a/b"), "a/b"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        (ID, str(ID)),
        (Point(1), {"x": 1}),
        (Pair(1, [2]), {"left": 1, "right": [2]}),
        (Weather(city="Rome", key=SecretStr("k"), at=datetime(2026, 1, 2, tzinfo=UTC)),
         {"city": "Rome", "key": "**********", "at": "2026-01-02T00:00:00Z"}),
        ((1, (2,)), [1, [2]]),
        (deque([1]), [1]),
        (frozenset({"b", "a"}), ["a", "b"]),
        (Plain(), f"<{__name__}.Plain>"),
        (Plain, f"<{__name__}.Plain>"),
        (as_text, "<trajectory.handed.as_text>"),
        (Broken(), f"<{__name__}.Broken>"),
        (BrokenModel(), f"<{__name__}.BrokenModel>"),
        (Loud(), "loud" * 500),
        (ValueError("v"), "ValueError: v"),
        (BrokenError(), "BrokenError: (its text can't be shown)"),
        (Index(), 4),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_any_value_has_a_form_in_json(value: Any, known: Any) -> None:
    assert as_json(value) == known
    assert as_json({"deep": [value]}) == {"deep": [known]}
    if not isinstance(value, str):
        text = as_text(value)
        assert text == (known if isinstance(known, str) else dumped(known))


def dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def test_keys_that_become_equal_are_told_apart() -> None:
    assert as_json({1: "a", "1": "b", None: 0}) == {"1": "a", "1~2": "b", "null": 0}
    assert as_json({"a\0": 1, "a\ud800": 2}) == {"a\ufffd": 1, "a\ufffd~2": 2}


def test_text_stays_as_it_is() -> None:
    for text in ("", "a", "{}", "\x1b[31m \u202e", "x" * 1_000_000):
        assert as_text(text) is text
    assert type(as_text(Mood.GOOD)) is str
    assert as_text({"a": [1.5, None, "é"]}) == '{"a":[1.5,null,"é"]}'


def test_depth_and_size_are_bounded() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert as_text(as_json(deep)).count("[") == 32
    assert "…" in as_text(deep)
    circle: dict[str, Any] = {}
    circle.update(a=circle, b=[circle, circle])
    assert "…" in as_text(circle)
    wide = as_json(list(range(60_000)))
    assert (len(wide), wide[-2:]) == (50_001, [49_999, "…"])
    assert len(as_json({str(i): i for i in range(60_000)})) == 50_001
    assert as_json([[1, 2], 3], values=2) == [[1, "…"], "…"]
    assert as_json([[1]], depth=1) == ["…"]
    TurnDraft("p", metadata={"deep": deep, "circle": circle}).turn(ID, 1)


def test_log_probabilities_are_many() -> None:
    draft = TurnDraft()
    draft.message("assistant", "r", token_ids=list(range(60_000)))
    assert len(draft.turn(ID, 1).messages[0].token_ids) == 60_000


def test_mocks_and_broken_things_do_no_harm() -> None:
    odd: list[Any] = [Mock(), MagicMock(), Broken(), BrokenModel(), BrokenMapping(), BrokenError()]
    for value in odd:
        json.dumps(as_json(value))
        as_text(value)
        draft = TurnDraft(value, metadata=value, input_tokens=value, latency_ms=value, error=value)
        draft.set(created_at=value, is_copied_context=value, stop_reason=value)
        draft.message("tool", value, usage=value, call_id=value)
        draft.tool_call(value, value, call_id=value).failed(value)
        draft.count(input_tokens=value, cost_usd=value)
        assert draft.turn(ID, 1, error=value).key == (ID, 1)
    zones = (
        datetime(2026, 1, 1, tzinfo=NoZone()),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=23))),
    )
    for moment in zones:
        assert TurnDraft(created_at=moment).turn(ID, 1).created_at.year > 2000


def test_what_is_handed_over_is_copied() -> None:
    held: dict[str, Any] = {"a": [1]}
    draft = TurnDraft("p", metadata=held)
    draft.message("assistant", [held], usage=held)
    held["a"].append(2)
    turn = draft.turn(ID, 1)
    assert turn.metadata == {"a": [1]}
    assert turn.messages[0].content == [{"a": [1]}]
    assert turn.messages[0].usage == {"a": [1]}


_ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.binary(max_size=8)
    | st.decimals()
    | st.datetimes()
    | st.builds(Plain)
    | st.builds(ValueError, st.text()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4) | st.integers() | st.none(), inner, max_size=4)
        | st.builds(Pair, st.integers(), inner)
        | st.sets(st.integers() | st.text(max_size=3), max_size=3)
    ),
    max_leaves=12,
)


@given(value=_ODD, other=_ODD)
def test_a_draft_of_anything_is_a_turn(value: Any, other: Any) -> None:
    draft = TurnDraft(value, metadata=other, model_name=value, reward=other, latency_ms=value)
    draft.message("assistant", value, usage=other, reasoning=value, created_at=other)
    draft.tool_call(value, other, call_id=value, started_at=other).succeeded(value)
    draft.count(output_tokens=value, cost_usd=other)
    draft.response = other
    turn = draft.turn(uuid4(), 1, error=value)
    assert LEFT_OUT_KEY not in turn.metadata
    assert Turn.model_validate_json(turn.model_dump_json()) == turn


@given(value=_ODD)
def test_errors_are_bounded_text(value: Any) -> None:
    assert len(as_error(value)) <= 10_000
    assert isinstance(as_text(value), str)
