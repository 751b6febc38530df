"""JSON at the door, for any value at all: refused, or copied equal, clean, frozen and measured."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from factories import MessageFactory, QuestionFactory, TrajectoryFactory, TurnFactory
from hypothesis import given
from hypothesis import strategies as st

from trajectory.models import in_order, numbered
from trajectory.sizes import turn_bytes, value_bytes
from trajectory.values import (
    INT64_MAX,
    INT64_MIN,
    RefusedValueError,
    clean_text,
    freeze_json,
    is_storable,
    json_bytes,
    text_bytes,
)

texts = st.text(st.characters(exclude_categories=()), max_size=12)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(texts | st.integers(), inner, max_size=4)
    ),
    max_leaves=15,
)


def cleaned(value: Any) -> Any:
    """Say by other means what the copy must be equal to, or fail with ValueError."""
    if isinstance(value, str):
        return "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    if isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX:
        raise ValueError("too large")
    if isinstance(value, list | tuple):
        return [cleaned(member) for member in value]
    if isinstance(value, dict):
        pairs = [(cleaned(key), cleaned(member)) for key, member in value.items()]
        if len(dict(pairs)) < len(pairs) or not all(isinstance(key, str) for key in value):
            raise ValueError("keys")
        return dict(pairs)
    if isinstance(value, bytes):
        raise ValueError("bytes")  # noqa: TRY004 - one error for all
    return value


@given(value=anything)
def test_a_value_is_refused_or_copied_clean(value: Any) -> None:
    try:
        expected = cleaned(value)
    except ValueError:
        with pytest.raises(RefusedValueError):
            freeze_json(value)
        return
    frozen, dirty = freeze_json(value)
    text = json.dumps(expected, ensure_ascii=False, allow_nan=False)
    assert json.dumps(frozen, ensure_ascii=False, allow_nan=False) == text
    assert "\0" not in text
    assert dirty == (json.dumps(value) != json.dumps(expected))
    assert freeze_json(frozen) == (frozen, False)
    assert json_bytes(frozen) >= len(text.encode()) * 0.4  # control characters are escaped


@pytest.mark.parametrize("shift", range(3))
def test_a_long_text_is_looked_at_to_its_end(shift: int) -> None:
    long = "x" * shift + "é😀—" * 2**16
    assert text_bytes(long) == len(long.encode())
    assert is_storable(long)
    for bad in ("\0", "\ud800", "\udc00"):
        assert not is_storable(long + bad)
        assert not is_storable(bad + long)
        assert not is_storable(long[: 2**16] + bad + long)


@given(text=texts)
def test_clean_text_is_storable_and_no_more_is_changed(text: str) -> None:
    clean = clean_text(text)
    assert is_storable(clean)
    assert is_storable(text) == (clean == text)
    assert len(clean) == len(text)
    assert text_bytes(clean) == len(clean.encode())


def test_a_turn_is_measured_with_all_that_belongs_to_it() -> None:
    big = "ü" * 10_000
    small = turn_bytes(TurnFactory())
    assert small < 500
    for fields in (
        {"prompt": big},
        {"response": big},
        {"error": big},
        {"metadata": {"k": [big]}},
        {"metadata": {big: 1}},
        {"questions": [QuestionFactory(question_text=big)]},
        {"messages": [MessageFactory(content=big)]},
        {"messages": [MessageFactory(content=[{"text": big}])]},
        {"messages": [MessageFactory(usage=[0] * 10_000)]},
        {"tool_calls": [{"tool_name": "x", "result": big}]},
        {"violations": [{"preference_name": "x", "severity": "minor", "reason": big}]},
    ):
        assert 20_000 < turn_bytes(TurnFactory(**fields)) < 110_000
    assert value_bytes(TrajectoryFactory(system_prompt=big)) > 20_000
    assert value_bytes(TrajectoryFactory(tools=[{"text": big}])) > 20_000


sources = st.sampled_from(["agent", "judge:x"])
found = st.lists(
    st.builds(
        QuestionFactory,
        source=sources,
        position=st.none() | st.integers(0, 6),
    ),
    max_size=5,
)


@given(findings=found)
def test_findings_in_order_keep_their_places(findings: list[Any]) -> None:
    """Invariant: what is read back has the positions that were stored, and one total order."""
    placed = list(numbered(findings))
    keys = [(position, finding.source) for position, finding in placed]
    if len(set(keys)) < len(keys):
        return
    ordered = in_order(placed)
    assert [(position, f.source) for position, f in numbered(ordered)] == sorted(keys)
    assert in_order(numbered(ordered)) == ordered
    assert in_order(reversed(placed)) == ordered
