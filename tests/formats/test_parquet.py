"""Parquet: typed columns that hold all there is, in row groups, the same bytes each time."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn import conversations
from formats.written import Conversation, written
from hypothesis import given, settings
from hypothesis import strategies as st

from trajectory import ConfigurationError, MissingDependencyError, Trajectory, Turn
from trajectory.formats import exporter, parquet
from trajectory.models import numbered
from trajectory.testing.samples import NOON, full_trajectory, full_turn
from trajectory.values import same_json

ID = UUID("018f0000-0000-7000-8000-000000000001")


def table(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data))


def rows(data: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table(data).to_pylist()
    return found


def turn(number: int = 1, **fields: Any) -> Turn:
    values = {"prompt": "p", "response": "r", "created_at": NOON, **fields}
    return Turn(trajectory_id=ID, turn_number=number, **values)


def test_every_field_has_its_column_and_comes_back() -> None:
    trajectory = full_trajectory()
    sent = full_turn(trajectory.id)
    data, left_out = written("parquet", [(trajectory, [sent])])
    [row] = rows(data)
    assert not left_out
    for field in Trajectory.model_fields:
        shared = field in Turn.model_fields or field in ("id", "status")
        check(field, row[f"trajectory_{field}" if shared else field], getattr(trajectory, field))
    for field in Turn.model_fields:
        if field in ("messages", "tool_calls"):
            pairs = enumerate(getattr(sent, field))
        elif field in ("questions", "violations"):
            pairs = numbered(getattr(sent, field))  # type: ignore[assignment]
        else:
            check(field, row[field], getattr(sent, field))
            continue
        for told, (position, child) in zip(row[field], pairs, strict=True):
            for name in type(child).model_fields:
                value = getattr(child, name)
                if name == "position":
                    assert told[name] == position
                elif name == "content" and isinstance(value, list):
                    assert told["content"] is None
                    check("metadata", told["content_parts"], value)
                else:
                    check(name, told[name], value)


def check(name: str, told: Any, value: Any) -> None:
    if name in ("tools", "tags", "metadata", "usage", "token_ids", "logprobs"):
        assert (told is None) == (value is None)
        assert told is None or same_json(json.loads(told), value)
    elif isinstance(value, UUID):
        assert told == str(value)
    else:
        assert told == value


def test_columns_are_typed() -> None:
    data, _ = written("parquet", [])
    schema = table(data).schema
    assert {schema.field(name).type for name in ("created_at", "ended_at")} == {
        pa.timestamp("us", tz="UTC")
    }
    assert schema.field("turn_number").type == pa.int32()
    counts = [name for name in Turn.model_fields if "token" in name]
    assert {schema.field(name).type for name in counts} == {pa.int64()}
    assert {schema.field(n).type for n in ("reward", "latency_ms", "cost_usd")} == {pa.float64()}
    assert schema.field("is_copied_context").type == pa.bool_()
    assert schema.field("metadata").type == pa.string()
    question = schema.field("questions").type.value_type
    assert question.field("confidence").type == pa.float64()
    assert question.field("position").type == pa.int64()
    assert schema.metadata == {b"trajectory.format": b"parquet/1"}


def test_row_groups_are_bounded_by_rows_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROWS_IN_GROUP", 10)
    monkeypatch.setattr(parquet, "_BYTES_IN_GROUP", 18_000)
    small = [turn(number) for number in range(25)]
    large = [turn(number, response="x" * 9_000) for number in range(25, 29)]
    data, _ = written("parquet", [(Trajectory(id=ID, created_at=NOON), [*small, *large])])
    found = pq.ParquetFile(io.BytesIO(data)).metadata
    groups = [found.row_group(at).num_rows for at in range(found.num_row_groups)]
    assert groups == [10, 10, 7, 2]
    assert [row["turn_number"] for row in rows(data)] == list(range(29))


def test_a_trajectory_without_turns_has_no_row_and_is_counted() -> None:
    data, left_out = written("parquet", [(Trajectory(id=ID, created_at=NOON), [])])
    assert rows(data) == []
    assert left_out == {"trajectory without turns, so without a row": 1}


@settings(max_examples=60, deadline=None)
@given(st.lists(conversations(), max_size=3))
def test_any_trajectory_is_written_the_same_each_time(sent: list[Conversation]) -> None:
    data, _ = written("parquet", sent)
    assert written("parquet", sent)[0] == data
    found = rows(data)
    flat = [(trajectory, each) for trajectory, turns in sent for each in turns]
    for row, (trajectory, each) in zip(found, flat, strict=True):
        assert row["trajectory_id"] == str(trajectory.id)
        assert row["created_at"] == each.created_at
        assert row["prompt"] == each.prompt
        check("metadata", row["metadata"], each.metadata or None)
        assert [q["question_text"] for q in row["questions"]] == [
            q.question_text for q in each.questions
        ]


def test_times_are_in_utc() -> None:
    data, _ = written("parquet", [(Trajectory(id=ID, created_at=NOON), [turn()])])
    assert rows(data)[0]["created_at"] == datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    found = exporter("parquet")  # that it exists can be told without it
    with pytest.raises(MissingDependencyError, match=r'pip install "trajectory-log\[parquet\]"'):
        found.begin(io.BytesIO())
    assert issubclass(MissingDependencyError, ConfigurationError)
