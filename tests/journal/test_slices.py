"""A frame that is made in slices has the same bytes as one that is made at once."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal.logged import ID, one_of_each, turn
from journal.test_round_trip import journaled

from trajectory import Message, ToolCall, Turn
from trajectory.journal import frames, slices
from trajectory.journal.frames import encode
from trajectory.journal.slices import SLICE_CHARACTERS, encode_in_slices

LONG = ('"\\\n\x1f\x7f\u2028é—😀/r' * SLICE_CHARACTERS)[: 3 * SLICE_CHARACTERS + 7]


def sliced(value: Any) -> bytes:
    return bytes([*encode_in_slices(value)][-1])


@settings(max_examples=150, deadline=None)
@given(value=journaled, characters=st.integers(1, 5))
def test_all_values_have_the_same_bytes_wherever_they_are_cut(value: Any, characters: int) -> None:
    with patch.object(slices, "SLICE_CHARACTERS", characters):
        frame = sliced(value)  # first: it has to add what the model made
    assert frame == encode(value)


@settings(max_examples=30, deadline=None)
@given(text=st.text(min_size=1, max_size=8), shift=st.integers(0, 9))
def test_a_long_text_has_the_same_bytes(text: str, shift: int) -> None:
    long = "x" * shift + text * (2 * SLICE_CHARACTERS // len(text) + 1)
    value = turn(1, long)
    assert sliced(value) == encode(value)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": LONG, "error": LONG, "metadata": {"response": ""}},
        {"metadata": {"text": LONG}},
        {"messages": [Message(role="user", content=LONG), Message(role="tool", content=[LONG])]},
        {"tool_calls": [ToolCall(tool_name="t"), ToolCall(tool_name="t", result=LONG)]},
    ],
    ids=["fields", "metadata", "messages", "tool_calls"],
)
def test_long_texts_at_each_place_have_the_same_bytes(fields: dict[str, Any]) -> None:
    value = Turn(**{"trajectory_id": ID, "turn_number": 1, "prompt": "p", "response": "r"} | fields)
    assert sliced(value) == encode(value)


@pytest.mark.parametrize("value", one_of_each(), ids=lambda value: type(value).__name__)
def test_one_of_each_kind_has_the_same_bytes(value: Any) -> None:
    assert sliced(value) == encode(value)


def test_subclasses_are_kept_as_the_models_they_come_from() -> None:
    class Marked(Turn):
        mark: str = "m"

    class Said(Message):
        mark: str = "m"

    said = (Said(role="user", content=LONG, mark="n"),)
    marked = Marked(trajectory_id=ID, turn_number=1, prompt="p", response=LONG, mark="n")
    plain = turn(1).replace(messages=said)
    for value in (marked, plain):
        assert sliced(value) == encode(value)
        assert b"mark" not in sliced(value)


def test_no_slice_is_much_larger_than_the_others() -> None:
    sizes = [len(frame) for frame in encode_in_slices(turn(1, "r" * 10 * SLICE_CHARACTERS))]
    grown = [after - before for before, after in zip([0, *sizes], sizes, strict=False)]
    assert len(grown) >= 10
    assert max(grown) < 1.01 * SLICE_CHARACTERS


def test_a_frame_over_the_limit_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_PAYLOAD", 2 * SLICE_CHARACTERS)
    slices_ = encode_in_slices(turn(1, "r" * 100 * SLICE_CHARACTERS))
    assert len(next(slices_)) < 2 * SLICE_CHARACTERS
    with pytest.raises(ValueError, match="over the limit"):
        next(slices_)
