"""A value comes out of the journal as it went in."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from factories import TurnFactory
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from journal.disks import Disk
from journal.logged import ID, one_of_each, replayed, same, turn, written

from trajectory import (
    EffortLevel,
    Fact,
    InvalidTurnError,
    Message,
    Question,
    Role,
    Severity,
    ToolCall,
    Trajectory,
    TrajectoryEnd,
    TrajectoryStatus,
    Turn,
    Violation,
)
from trajectory.journal import Journal, Journaled, JournalError, frames
from trajectory.journal.frames import PREFIX_BYTES, decode, encode

texts = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(
    ["\0", "\ud800", "\x02{", "\x1f", "\u2028", '"\\', "é😀"]
)
keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
labels = texts.map(lambda text: text[:12])
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 1e300, 5e-324])
amounts = st.floats(0, allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**63 - 1)
instants = st.datetimes(
    datetime(1, 1, 2),  # noqa: DTZ001 - Hypothesis adds the zone
    datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-11, minutes=-30))]),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | numbers
    | texts
    | st.sampled_from([1, 1.0, True, 2**53 + 1, 1e16]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(keys, json_values, max_size=3)


def made(model: Any, fields: dict[str, Any]) -> Any:
    """Make a value, unless the door refuses it: what was never accepted is not journaled."""
    try:
        return model(**fields)
    except InvalidTurnError:
        reject()


def some(model: Any, required: dict[str, Any], **optional: Any) -> st.SearchStrategy[Any]:
    """Make values in which any of the optional fields may be unset, None, or given."""
    return st.fixed_dictionaries(
        required, optional={name: st.none() | field for name, field in optional.items()}
    ).map(lambda fields: made(model, fields))


def always(model: Any, required: dict[str, Any], **optional: Any) -> st.SearchStrategy[Any]:
    """Make values in which any of the optional fields may be unset, but not None."""
    return st.fixed_dictionaries(required, optional=optional).map(
        lambda fields: made(model, fields)
    )


questions = st.builds(
    Question,
    question_text=texts,
    effort_level=st.sampled_from(EffortLevel),
    confidence=st.none() | st.floats(0, 1),
    source=st.sampled_from(["agent", "human:ü"]),
    position=st.none() | counts,
    created_at=st.none() | instants,
) | st.builds(Question, question_text=texts, effort_level=st.just("low"))
violations = some(
    Violation,
    {"preference_name": labels, "severity": st.sampled_from(Severity)},
    expected=texts,
    actual=texts,
    reason=texts,
    position=counts,
    created_at=instants,
)
messages = some(
    Message,
    {"role": st.sampled_from(Role)},
    content=texts | st.lists(json_values, max_size=2),
    call_id=labels,
    reasoning=texts,
    usage=json_values,
    token_ids=json_values,
    logprobs=st.lists(numbers, max_size=2),
    created_at=instants,
)
tool_calls = some(
    ToolCall,
    {"tool_name": labels},
    arguments=texts,
    result=texts,
    message_position=counts,
    is_error=st.booleans(),
    latency_ms=amounts,
    started_at=instants,
)
optional_of_turn: dict[str, Any] = {
    "token_count": counts,
    "latency_ms": amounts,
    "model_name": labels,
    "reasoning_tokens": counts,
    "cost_usd": amounts,
    "error": texts,
    "reward": numbers,
    "is_copied_context": st.booleans(),
}
several: dict[str, Any] = {
    "created_at": instants,
    "metadata": objects,
    "questions": st.lists(questions, max_size=2),
    "violations": st.lists(violations, max_size=2),
    "messages": st.lists(messages, max_size=2),
    "tool_calls": st.lists(tool_calls, max_size=2),
}
required_of_turn = {
    "trajectory_id": st.uuids(),
    "turn_number": st.integers(0, 2**31 - 1),
    "prompt": texts,
    "response": texts,
}
journaled = st.one_of(
    some(Turn, required_of_turn, **optional_of_turn),
    always(Turn, required_of_turn, **several),
    always(
        Trajectory,
        {},
        id=st.uuids(),
        spec_id=labels,
        parent_trajectory_id=st.uuids(),
        status=st.none() | st.sampled_from(TrajectoryStatus),
        reward=numbers,
        tools=json_values,
        tags=json_values,
        created_at=instants,
        ended_at=st.none() | instants,
        metadata=objects,
    ),
    always(
        TrajectoryEnd,
        {"trajectory_id": st.uuids(), "status": st.sampled_from(TrajectoryStatus)},
        ended_at=instants,
        error=st.none() | texts,
        reward=st.none() | numbers,
    ),
    st.builds(
        Fact,
        trajectory_id=st.uuids(),
        turn_number=st.integers(0, 2**31 - 1),
        finding=questions | violations,
    ),
)
_MADE = {"id", "created_at", "ended_at"}


@settings(max_examples=60, deadline=None)
@given(values=st.lists(journaled, min_size=1, max_size=6))
def test_every_value_comes_back_as_it_was(values: list[Any]) -> None:
    given_before = [frozenset(value.model_fields_set) for value in values]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written(folder, *values)
        back, damage = replayed(folder)
    assert [(each.torn_bytes, each.undecodable) for each in damage] == [(0, 0)]
    assert back == values
    for value, other, given_fields in zip(values, back, given_before, strict=True):
        assert same(value, other)
        assert given_fields <= other.model_fields_set <= given_fields | _MADE


def test_one_of_each_kind_is_read_back_by_its_process_as_well(folder: Path) -> None:
    values = one_of_each()
    with_sizes = Journal(folder)
    with_sizes.open()
    sizes = [with_sizes.append(value) for value in values]
    assert with_sizes.read(0, 100, 2**20) == list(zip(values, sizes, strict=True))
    with_sizes.mark(len(values))
    with_sizes.close()


def test_what_the_model_made_is_kept(folder: Path) -> None:
    values: list[Journaled] = [
        Trajectory(),
        turn(1),
        TrajectoryEnd(trajectory_id=ID, status="completed"),
    ]
    written(folder, *values)
    assert replayed(folder)[0] == values


def test_a_subclass_is_kept_as_the_model_it_comes_from() -> None:
    class Marked(Turn):
        """A turn of somebody else's."""

    value = Marked(trajectory_id=ID, turn_number=1, prompt="p", response="r")
    frame = encode(value)
    back = decode(frame[PREFIX_BYTES], frame[PREFIX_BYTES + 1 :])
    assert type(back) is Turn
    assert back.model_dump() == value.model_dump()


def test_only_what_was_given_lies_in_the_file() -> None:
    assert b"null" not in encode(turn(1))
    assert b"metadata" not in encode(turn(1))
    assert len(encode(TurnFactory(full=True))) > 1000


def test_a_value_over_the_limit_is_refused_without_its_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_PAYLOAD", 500)
    journal = Journal(folder)
    journal.open()
    first, last = turn(1), turn(3)
    journal.append(first)
    with pytest.raises(JournalError, match="over the limit of 500") as raised:
        journal.append(turn(2, "secret" * 100))
    assert "secret" not in str(raised.value)
    journal.append(last)
    assert [value for value, _ in journal.read(0, 9, 2**20)] == [first, last]
    journal.close()


def test_an_append_is_one_call_of_the_system(folder: Path) -> None:
    disk = Disk()
    journal = Journal(folder, os_layer=disk)
    journal.open()
    before = len(disk.calls)
    for value in one_of_each():
        journal.append(value)
    assert disk.calls[before:] == ["write"] * journal.appended
    journal.mark(journal.appended)
    journal.close()
