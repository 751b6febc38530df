"""Trajectories written as OTLP/JSON lines: the wire's own rules, and those of every exporter."""

from __future__ import annotations

import io
import json
import re
from typing import Any
from uuid import UUID

import pytest
from drawn import conversations
from formats.otlp_lines import spans_of
from formats.written import Conversation, written
from hypothesis import given, settings
from hypothesis import strategies as st

from trajectory import Message, ToolCall, Trajectory, Turn
from trajectory.formats import exporter
from trajectory.genai.spans import Event, Link, Span, SpanKind, StatusCode
from trajectory.genai.telling import tell
from trajectory.genai.wire import in_batches, line_of, request_of
from trajectory.testing.samples import NOON, full_trajectory, full_turn

FORMATS = ("otlp", "otlp-with-content")
ID = UUID("018f0000-0000-7000-8000-000000000001")
MIB = 2**20


def values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in attributes}


def _check_value(value: dict[str, Any]) -> None:
    [(kind, told)] = value.items()
    if kind == "arrayValue":
        for each in told["values"]:
            _check_value(each)
        return
    kinds = {"stringValue": str, "boolValue": bool, "intValue": str, "doubleValue": float}
    assert type(told) is kinds[kind]
    assert kind != "intValue" or -(2**63) <= int(str(told)) < 2**63


def _check(span: dict[str, Any]) -> None:
    """Check a span against the protocol: hex ids, enums as numbers, 64 bits as text."""
    assert re.fullmatch("[0-9a-f]{32}", span["traceId"])
    for name in ("spanId", "parentSpanId"):
        assert re.fullmatch("[0-9a-f]{16}", span.get(name, "0" * 15 + "1"))
    assert span["name"]
    assert span["kind"] in (1, 3)
    start, end = span["startTimeUnixNano"], span["endTimeUnixNano"]
    assert re.fullmatch("[0-9]+", start)
    assert re.fullmatch("[0-9]+", end)
    assert int(start) <= int(end) < 2**64
    assert span["status"].keys() <= {"code", "message"}
    assert span["status"].get("code", 0) in (0, 2)
    for each in (span, *span.get("events", [])):
        keys = [attribute["key"] for attribute in each["attributes"]]
        assert len(set(keys)) == len(keys)
        for attribute in each["attributes"]:
            assert attribute.keys() == {"key", "value"}
            _check_value(attribute["value"])


def test_a_file_is_a_line_for_each_turn_and_one_for_the_trajectory() -> None:
    trajectory = full_trajectory()
    turns = [
        Turn(
            trajectory_id=trajectory.id,
            turn_number=number,
            prompt="p",
            response="r",
            created_at=NOON,
            model_name="gpt-5",
            input_tokens=7,
        )
        for number in (1, 2)
    ]
    data, left_out = written("otlp", [(trajectory, turns)])
    first, second, whole = data.splitlines()
    span = tell(trajectory, turns)[0]
    assert json.loads(first) == {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [{"key": "service.name", "value": {"stringValue": "trajectory"}}]
                },
                "scopeSpans": [
                    {
                        "scope": {"name": "trajectory"},
                        "spans": [
                            {
                                "traceId": span.trace_id,
                                "spanId": span.span_id,
                                "parentSpanId": span.parent_span_id,
                                "name": "chat gpt-5",
                                "kind": 3,
                                "startTimeUnixNano": "1767355200123456000",
                                "endTimeUnixNano": "1767355200123456000",
                                "attributes": [
                                    {"key": key, "value": {kind: value}}
                                    for key, kind, value in (
                                        ("gen_ai.operation.name", "stringValue", "chat"),
                                        ("gen_ai.provider.name", "stringValue", "openai"),
                                        ("gen_ai.request.model", "stringValue", "gpt-5"),
                                        ("trajectory.id", "stringValue", str(trajectory.id)),
                                        ("gen_ai.agent.name", "stringValue", "a"),
                                        ("gen_ai.conversation.id", "stringValue", "s"),
                                        ("trajectory.turn.number", "intValue", "1"),
                                        ("gen_ai.usage.input_tokens", "intValue", "7"),
                                    )
                                ],
                                "status": {},
                            }
                        ],
                    }
                ],
            }
        ]
    }
    [second_span], [root] = spans_of(second), spans_of(whole)
    assert values(second_span["attributes"])["trajectory.turn.number"] == "2"
    assert root["spanId"] == span.parent_span_id
    assert root["status"] == {"code": 2}
    assert left_out == {
        **{f"trajectory.{name}": 1 for name in ("error", "system_prompt", "tools", "tags")},
        "trajectory.metadata": 1,
        "turn.prompt": 2,
        "turn.response": 2,
    }


def test_with_content_only_what_has_no_place_is_left_out() -> None:
    trajectory = full_trajectory()
    data, left_out = written("otlp-with-content", [(trajectory, [full_turn(trajectory.id)])])
    assert left_out == {"message.token_ids": 1, "message.logprobs": 1, "message.usage": 1}
    told = data.decode()
    assert "Grüße, 世界" in told
    assert "said hi" in told


@pytest.mark.parametrize("format_", FORMATS)
def test_a_trajectory_without_turns_is_a_span(format_: str) -> None:
    data, left_out = written(format_, [(Trajectory(id=ID, created_at=NOON), [])])
    [span] = spans_of(data)
    assert values(span["attributes"])["trajectory.turns"] == "0"
    assert left_out == {}
    assert written(format_, []) == (b"", {})


def test_what_is_left_out_is_known_while_a_trajectory_is_written() -> None:
    found = exporter("otlp")
    assert (found.name, found.suffix) == ("otlp", ".otlp.jsonl")
    assert "0.1.0" in found.version
    assert not getattr(found, "for_training", False)
    out = io.BytesIO()
    writing = found.begin(out)
    for _ in range(2):
        writing.start(Trajectory(id=ID, created_at=NOON))
        turn = Turn(trajectory_id=ID, turn_number=1, prompt="p", response="", created_at=NOON)
        writing.turn(turn)
        assert out.getvalue().endswith(b"}\n")  # what is known is written
        writing.end()
    assert writing.left_out == {"turn.prompt": 2}


def test_large_turns_are_divided_into_lines_that_a_collector_takes() -> None:
    count = 40
    turn = Turn(
        trajectory_id=ID,
        turn_number=1,
        prompt="",
        response="",
        created_at=NOON,
        messages=[Message(role="assistant", content="x" * 100_000) for _ in range(count)],
        tool_calls=[
            ToolCall(tool_name="t", result="y" * 100_000, message_position=place)
            for place in range(count)
        ],
    )
    trajectory = Trajectory(id=ID, created_at=NOON)
    data, _ = written("otlp-with-content", [(trajectory, [turn])])
    lines = data.splitlines()
    assert len(lines) > 10
    assert max(map(len, lines)) < MIB
    spans = [span["spanId"] for span in spans_of(data)]
    assert spans == [span.span_id for span in tell(trajectory, [turn])]


@settings(max_examples=100, deadline=None)
@given(st.lists(conversations(), max_size=3))
def test_any_trajectory_gives_valid_lines_and_the_same_each_time(sent: list[Conversation]) -> None:
    for format_ in FORMATS:
        data, left_out = written(format_, sent)
        assert (data, left_out) == written(format_, sent)
        assert min(left_out.values(), default=1) > 0
        lines = data.split(b"\n")
        assert lines.pop() == b""
        assert len(lines) >= len(sent) + sum(len(turns) for _, turns in sent)
        for span in spans_of(data):
            _check(span)


def test_values_of_every_type_have_their_place_on_the_wire() -> None:
    span = Span(
        name="n",
        trace_id="1" * 32,
        span_id="2" * 16,
        kind=SpanKind.SERVER,
        start_ns=1,
        end_ns=2**63,
        attributes={
            "text": "a\u2028",
            "yes": True,
            "whole": 2**70,
            "half": 0.5,
            "odd": float("nan"),
            "up": float("inf"),
            "down": float("-inf"),
            "bytes": b"\xff",
            "none": None,
            "list": [1, "a"],
            "map": {"k": [False]},
        },
        events=(Event("e", 5, {"a": 1}),),
        links=(Link("3" * 32, "4" * 16, {"a": 1}),),
        status=StatusCode.ERROR,
        status_message="m",
        scope="s",
    )
    one = [{"key": "a", "value": {"intValue": "1"}}]
    told = {
        "traceId": "1" * 32,
        "spanId": "2" * 16,
        "name": "n",
        "kind": 2,
        "startTimeUnixNano": "1",
        "endTimeUnixNano": str(2**63),
        "attributes": [
            {"key": "text", "value": {"stringValue": "a\u2028"}},
            {"key": "yes", "value": {"boolValue": True}},
            {"key": "whole", "value": {"intValue": str(2**63 - 1)}},
            {"key": "half", "value": {"doubleValue": 0.5}},
            {"key": "odd", "value": {"doubleValue": "NaN"}},
            {"key": "up", "value": {"doubleValue": "Infinity"}},
            {"key": "down", "value": {"doubleValue": "-Infinity"}},
            {"key": "bytes", "value": {"bytesValue": "/w=="}},
            {"key": "none", "value": {}},
            {
                "key": "list",
                "value": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "a"}]}},
            },
            {
                "key": "map",
                "value": {
                    "kvlistValue": {
                        "values": [
                            {
                                "key": "k",
                                "value": {"arrayValue": {"values": [{"boolValue": False}]}},
                            }
                        ]
                    }
                },
            },
        ],
        "events": [{"timeUnixNano": "5", "name": "e", "attributes": one}],
        "links": [{"traceId": "3" * 32, "spanId": "4" * 16, "attributes": one}],
        "status": {"code": 2, "message": "m"},
    }
    assert list(spans_of(line_of([span]))) == [told]


def test_spans_of_one_resource_and_scope_stand_together() -> None:
    spans = [
        Span("a", "1" * 32, "1" * 16, resource={"r": r}, scope=s)
        for r, s in ((1, "x"), (2, "x"), (1, "y"), (1, "x"))
    ]
    told = request_of(spans)["resourceSpans"]
    assert [
        (
            values(each["resource"]["attributes"])["r"],
            [(scope["scope"]["name"], len(scope["spans"])) for scope in each["scopeSpans"]],
        )
        for each in told
    ] == [("1", [("x", 2), ("y", 1)]), ("2", [("x", 1)])]


def test_batches_are_bounded_in_count_and_size() -> None:
    spans = [
        Span("n", "1" * 32, f"{number:016x}", attributes={"a": "x" * size})
        for number, size in enumerate([10, 10, 10, 5000, 10, 10], 1)
    ]
    by_count = [len(batch) for batch in in_batches(spans, 2, MIB)]
    assert by_count == [2, 2, 2]
    by_size = [[int(span.span_id, 16) for span in batch] for batch in in_batches(spans, 100, 2000)]
    assert by_size == [[1, 2, 3], [4], [5, 6]]
    assert list(in_batches([], 1, 1)) == []
