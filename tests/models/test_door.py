"""The value rule at the door: what is cleaned, what is refused, and how an error says so."""

from __future__ import annotations

import traceback
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from factories import (
    FactFactory,
    MessageFactory,
    QuestionFactory,
    ToolCallFactory,
    TrajectoryEndFactory,
    TrajectoryFactory,
    TurnFactory,
    ViolationFactory,
)

from trajectory import InvalidTurnError, Message, Question, Trajectory, TrajectoryError, Turn
from trajectory.door import CLEANED_KEY, Value
from trajectory.values import INT64_MAX, INT64_MIN

CANARY = "canary-8e1d"
SURROGATE = "\ud800"
ALL = [
    TurnFactory,
    TrajectoryFactory,
    MessageFactory,
    ToolCallFactory,
    QuestionFactory,
    ViolationFactory,
    TrajectoryEndFactory,
    FactFactory,
]


class Loud(StrEnum):
    YES = "yes\0"


class Number(IntEnum):
    SEVEN = 7


def nested(levels: int, inside: Any = None) -> Any:
    """Give an object that nests so many levels."""
    value = inside
    for _ in range(levels - 1):
        value = [value]
    return {"k": value}


@pytest.mark.parametrize("bad", ["\0", SURROGATE, "\udfff"])
def test_nul_and_lone_surrogates_are_replaced_and_the_turn_says_so(bad: str) -> None:
    turn = TurnFactory(prompt=f"a{bad}b", response="clean", metadata={f"k{bad}": [f"{bad}v"]})
    assert turn.prompt == "a\ufffdb"
    assert turn.cleaned == ("metadata", "prompt")
    assert turn.metadata == {"k\ufffd": ["\ufffdv"], CLEANED_KEY: ["metadata", "prompt"]}


@pytest.mark.parametrize("bad", ["\0", SURROGATE])
@pytest.mark.parametrize(
    "make",
    [
        lambda bad: {f"k{bad}": 1},
        lambda bad: {"k": f"{bad}v"},
        lambda bad: {"k": [{"deep": {f"{bad}": []}}]},
        lambda bad: {"k": ["clean", [bad, "clean"]]},
    ],
    ids=["key", "value", "deep key", "deep value"],
)
def test_one_bad_text_anywhere_in_json_is_marked(make: Callable[[str], Any], bad: str) -> None:
    turn = TurnFactory(metadata=make(bad))
    assert turn.cleaned == ("metadata",)
    assert turn.metadata == {**make("\ufffd"), CLEANED_KEY: ["metadata"]}


def test_what_is_clean_is_not_touched_and_not_marked() -> None:
    text = "\x01\x1b[31m\ufffd \U0001f30d \u2028 ünï"
    turn = TurnFactory(prompt=text, metadata={text: text})
    assert (turn.prompt, turn.metadata, turn.cleaned) == (text, {text: text}, ())


def test_a_surrogate_pair_in_halves_is_cleaned_too() -> None:
    assert TurnFactory(prompt="\ud83c\udf0d").prompt == "\ufffd\ufffd"


def test_children_are_cleaned_and_the_turn_says_which() -> None:
    turn = TurnFactory(
        questions=[QuestionFactory(question_text="a\0")],
        messages=[{"role": "tool", "content": [{"text": f"{SURROGATE}"}]}],
        tool_calls=[{"tool_name": "x", "arguments": "\0"}, {"tool_name": "y"}],
    )
    assert turn.cleaned == ("messages", "questions", "tool_calls")
    assert turn.metadata == {CLEANED_KEY: ["messages", "questions", "tool_calls"]}
    assert turn.questions[0].question_text == "a\ufffd"
    assert turn.messages[0].content == [{"text": "\ufffd"}]
    assert turn.tool_calls[0].arguments == "\ufffd"


def test_a_replaced_turn_keeps_its_marks_and_adds_its_own() -> None:
    turn = TurnFactory(prompt="\0").replace(response="\0")
    assert turn.metadata[CLEANED_KEY] == ["prompt", "response"]
    assert turn.replace(response="clean").metadata[CLEANED_KEY] == ["prompt", "response"]


def test_values_from_json_pass_the_same_door() -> None:
    sent = TurnFactory(full=True)
    assert Turn.model_validate_json(sent.model_dump_json()) == sent
    text = '{"role": "user", "content": "a\\u0000b", "usage": {"x": "\\u0000"}}'
    assert Message.model_validate_json(text).cleaned == ("content", "usage")
    with pytest.raises(InvalidTurnError, match=r"^Message\.usage holds an integer beyond 64 bits$"):
        Message.model_validate_json(f'{{"role": "user", "usage": {2**63}}}')
    with pytest.raises(InvalidTurnError, match=r"^Message\.role: Input should be 'system'"):
        Message.model_validate_json('{"role": "robot"}')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        f'"{CANARY}"',
        f'{{"role": "user", "content": "{CANARY}',
        f'{{"role": "user", "content": "{CANARY}",}}',
        f'{{"role": "user", "content": "\\uXX {CANARY}"}}',
        f'{{"role": "user", "content": {CANARY}}}',
        f'{{"role": "{CANARY}"}}',
        f'{{"role": "user", "usage": {{"{CANARY}": NaN}}}}',
    ],
    ids=["empty", "list", "text", "open", "comma", "escape", "word", "value", "nan"],
)
def test_bad_json_is_refused_in_words_that_hold_no_content(text: str) -> None:
    with pytest.raises(InvalidTurnError, match=r"^Message[.:]") as caught:
        Message.model_validate_json(text)
    assert CANARY not in repr(caught.value)


def test_values_from_a_dict_pass_the_same_door() -> None:
    sent = TurnFactory(full=True, prompt="\0")
    assert Turn.model_validate(sent.model_dump()) == sent
    assert Turn.model_validate(sent) is sent
    with pytest.raises(InvalidTurnError, match=r"^Turn\.prompt is bytes, not text; decode it$"):
        Turn.model_validate({**sent.model_dump(), "prompt": b"x"})
    for number_or_list in (3, [3]):
        with pytest.raises(InvalidTurnError, match=r"^Turn: "):
            Turn.model_validate(number_or_list)


def test_a_copy_with_changes_passes_the_same_door() -> None:
    turn = TurnFactory(full=True)
    assert turn.model_copy(update={"prompt": "\0"}).prompt == "\ufffd"
    assert turn.model_copy(update={"prompt": "\0"}).cleaned == ("prompt",)
    changes: dict[str, Any] = {"metadata": {"k": float("nan")}, "promt": "x", "prompt": b"x"}
    for name, wrong in changes.items():
        with pytest.raises(InvalidTurnError, match=rf"^Turn\.{name}"):
            turn.model_copy(update={name: wrong})


def test_text_of_other_types_becomes_plain_text() -> None:
    turn = TurnFactory(prompt=Loud.YES, metadata={"k": Loud.YES, "n": Number.SEVEN})
    assert type(turn.prompt) is str
    assert turn.prompt == "yes\ufffd"
    assert [type(turn.metadata[key]) for key in ("k", "n")] == [str, int]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        INT64_MAX,
        INT64_MIN,
        1e308,
        5e-324,
        -0.5,
        "",
        [],
        {},
        (1, (2,)),
        OrderedDict(a=1),
        MappingProxyType({"a": 1}),
    ],
    ids=repr,
)
def test_json_that_every_backend_can_store_is_accepted(value: Any) -> None:
    expected = {"k": list(value) if isinstance(value, tuple) else value}
    if value == (1, (2,)):
        expected = {"k": [1, [2]]}
    assert TurnFactory(metadata={"k": value}).metadata == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "NaN or infinity"),
        (float("inf"), "NaN or infinity"),
        (-float("inf"), "NaN or infinity"),
        (2**63, "integer beyond 64 bits"),
        (-(2**63) - 1, "integer beyond 64 bits"),
        (2**70, "integer beyond 64 bits"),
        (b"x", "holds a bytes"),
        (bytearray(b"x"), "holds a bytearray"),
        ({1}, "holds a set"),
        (object(), "holds a object"),
        (Decimal(1), "holds a Decimal"),
        (datetime.now(UTC), "holds a datetime"),
        (uuid4(), "holds a UUID"),
        (range(3), "holds a range"),
        ({1: 2}, "key of type int"),
        ({None: 2}, "key of type NoneType"),
        ({(): 2}, "key of type tuple"),
        ({"a\0": 1, "a\ufffd": 2}, "keys that differ only in NUL or lone surrogates"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("inside", [lambda v: v, lambda v: [v], lambda v: {"x": [1, v]}])
def test_json_that_some_backend_would_break_on_is_refused(
    value: Any, words: str, inside: Callable[[Any], Any]
) -> None:
    with pytest.raises(InvalidTurnError, match=words) as caught:
        TurnFactory(metadata={"k": inside(value)})
    assert str(caught.value).startswith("Turn.metadata ")
    assert isinstance(caught.value, TrajectoryError)
    assert isinstance(caught.value, ValueError)


def test_nesting_is_accepted_to_64_levels() -> None:
    assert TurnFactory(metadata=nested(64, "x")).metadata == nested(64, "x")
    for levels in (65, 2_000, 100_000):
        with pytest.raises(InvalidTurnError, match="nests deeper than 64 levels"):
            Trajectory(metadata=nested(levels, "x"))


def test_json_that_holds_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["k"] = value
    with pytest.raises(InvalidTurnError, match="nests deeper"):
        TurnFactory(metadata=value)


@pytest.mark.parametrize("value", [None, [], "x", 3, [("a", 1)]])
def test_metadata_is_an_object(value: Any) -> None:
    with pytest.raises(InvalidTurnError, match="metadata: must be an object"):
        TurnFactory(metadata=value)


@pytest.mark.parametrize("value", [{"type": "text"}, 3, True])
def test_content_is_text_or_parts(value: Any) -> None:
    with pytest.raises(InvalidTurnError, match="content"):
        MessageFactory(content=value)


@pytest.mark.parametrize("name", ["prompt", "response", "model_name", "error"])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_are_no_text(name: str, kind: Callable[[bytes], Any]) -> None:
    with pytest.raises(InvalidTurnError, match=f"Turn.{name} is bytes, not text; decode it"):
        TurnFactory(**{name: kind(b"x")})


def test_bytes_in_a_child_are_no_text() -> None:
    with pytest.raises(InvalidTurnError, match=r"Question\.question_text is bytes"):
        TurnFactory(questions=[{"question_text": b"x", "effort_level": "low"}])


@pytest.mark.parametrize(
    ("factory", "name"),
    [
        (TurnFactory, "created_at"),
        (MessageFactory, "created_at"),
        (ToolCallFactory, "started_at"),
        (QuestionFactory, "created_at"),
        (ViolationFactory, "created_at"),
        (TrajectoryFactory, "created_at"),
        (TrajectoryFactory, "ended_at"),
        (TrajectoryEndFactory, "ended_at"),
    ],
)
class TestInstants:
    def test_a_naive_one_is_refused(self, factory: Any, name: str) -> None:
        for naive in (datetime(2026, 1, 1), "2026-01-01T00:00:00"):  # noqa: DTZ001
            with pytest.raises(InvalidTurnError, match=f"{name}: must carry a timezone"):
                factory(**{name: naive})

    def test_any_zone_is_kept_as_utc(self, factory: Any, name: str) -> None:
        east = timezone(timedelta(hours=5, minutes=30))
        read = getattr(factory(**{name: datetime(2026, 1, 1, 3, 0, 0, 7, east)}), name)
        assert read == datetime(2025, 12, 31, 21, 30, 0, 7, UTC)
        assert read.tzinfo is UTC

    def test_an_hour_that_comes_twice_is_told_apart(self, factory: Any, name: str) -> None:
        zone = ZoneInfo("America/New_York")
        first, second = (
            getattr(factory(**{name: datetime(2025, 11, 2, 1, 30, tzinfo=zone, fold=fold)}), name)
            for fold in (0, 1)
        )
        assert second - first == timedelta(hours=1)

    def test_the_ends_of_time(self, factory: Any, name: str) -> None:
        first = datetime(1, 1, 1, tzinfo=UTC)
        last = datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)
        for edge in (first, last):
            assert getattr(factory(**{name: edge}), name) == edge
        for edge, hours in ((first, 1), (last, -1)):
            zone = timezone(timedelta(hours=hours))
            with pytest.raises(InvalidTurnError, match="outside the years 1 to 9999"):
                factory(**{name: edge.replace(tzinfo=zone)})


@pytest.mark.parametrize(
    ("factory", "fields"),
    [
        (TurnFactory, {"turn_number": -1}),
        (TurnFactory, {"turn_number": 2**31}),
        (TurnFactory, {"token_count": 2**63}),
        (TurnFactory, {"token_count": -1}),
        (TurnFactory, {"token_count": 1.5}),
        (TurnFactory, {"latency_ms": -0.1}),
        (TurnFactory, {"latency_ms": float("nan")}),
        (TurnFactory, {"cost_usd": float("inf")}),
        (TurnFactory, {"reward": float("nan")}),
        (TurnFactory, {"prompt": None}),
        (TurnFactory, {"prompt": 5}),
        (TurnFactory, {"model_name": "x" * 1025}),
        (TurnFactory, {"trajectory_id": "x"}),
        (TurnFactory, {"questions": "x"}),
        (QuestionFactory, {"effort_level": "huge"}),
        (QuestionFactory, {"confidence": 1.1}),
        (QuestionFactory, {"source": ""}),
        (QuestionFactory, {"position": -1}),
        (QuestionFactory, {"position": 2**63}),
        (ViolationFactory, {"severity": "fatal"}),
        (MessageFactory, {"role": "robot"}),
        (ToolCallFactory, {"tool_name": None}),
        (TrajectoryFactory, {"status": "paused"}),
        (TrajectoryEndFactory, {"status": None}),
        (FactFactory, {"finding": None}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_value_out_of_range_is_refused_by_name(factory: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidTurnError, match=next(iter(fields))):
        factory(**fields)


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(InvalidTurnError, match=r"Turn\.promt: is not a field of Turn"):
        TurnFactory(promt="x")


@pytest.mark.parametrize("length", [64, 65, 1024])
def test_a_label_may_be_longer_than_one_would_think(length: int) -> None:
    text = "x" * length
    assert TurnFactory(model_name=text).model_name == text
    assert TrajectoryFactory(spec_id=text).spec_id == text


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidTurnError, match=r"Question\.effort_level: is required"):
        Question(question_text="q")  # type: ignore[call-arg]


def test_many_problems_are_counted() -> None:
    names = ("prompt", "response", "token_count", "latency_ms", "error", "reward", "stop_reason")
    with pytest.raises(InvalidTurnError, match=r"and 2 more$"):
        TurnFactory(**dict.fromkeys(names, object()))


@pytest.mark.parametrize("factory", ALL, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "wrong",
    [
        CANARY * 200,
        CANARY.encode(),
        [CANARY],
        {"k": CANARY},
        {"k": {CANARY: float("nan")}},
        {"k": {CANARY: {5: CANARY}}},
        {"k": {CANARY.encode()}},
        [{"question_text": CANARY, "role": CANARY, "tool_name": {CANARY: CANARY}}],
    ],
    ids=lambda wrong: str(wrong)[:40].replace(CANARY, "x"),
)
def test_no_error_holds_content(factory: Any, wrong: Any) -> None:
    model: type[Value] = type(factory())
    refused = [
        error
        for name in model.model_fields
        if (error := refusal(factory, {name: wrong})) is not None
    ]
    assert refused
    for error in refused:
        # What is raised, as a log would show it, and what an inspector of its context would see.
        shown = [str(error), repr(error), str(error.__context__), repr(error.__context__)]
        shown.append(
            "".join(traceback.TracebackException.from_exception(error).format_exception_only())
        )
        assert not [text for text in shown if CANARY in text]


def refusal(factory: Any, fields: dict[str, Any]) -> InvalidTurnError | None:
    """Give the error with which a value is refused, if it is."""
    try:
        factory(**fields)
    except InvalidTurnError as error:
        return error
    return None


@pytest.mark.parametrize("name", ["spec_id", "agent_name", "run_id", "session_id", "user_id"])
def test_what_is_indexed_is_measured_in_bytes(name: str) -> None:
    """Postgres refuses more, in an index; what one backend refuses, all do."""
    TrajectoryFactory(**{name: "é" * 512})
    with pytest.raises(InvalidTurnError, match=rf"Trajectory\.{name}: takes more than 1024 bytes"):
        TrajectoryFactory(**{name: "é" * 513})
    with pytest.raises(InvalidTurnError, match=r"preference_name: takes more than 1024 bytes"):
        ViolationFactory(preference_name="é" * 513)


def test_one_value_is_no_list_of_them() -> None:
    question = Question(question_text=CANARY, effort_level="low")
    with pytest.raises(InvalidTurnError, match=r"Turn\.questions is one Question") as e:
        Turn(trajectory_id=uuid4(), turn_number=1, prompt="p", response="r", questions=question)
    assert CANARY not in str(e.value)
