"""OTLP/JSON in: what instrumentations wrote, what this library wrote, and what nobody should."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from drawn import conversations
from formats.growth import check_grows_with_its_input
from formats.mutated import ODD, check_never_raises
from formats.stored import read, read_all, rows_after_two_imports
from formats.written import Conversation, written
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import TESTS, Described, described

from trajectory import Trajectory, TrajectoryStatus, Turn
from trajectory.formats import ImportedTrajectory, Problem, importer
from trajectory.formats.otlp_read import _Reading
from trajectory.testing.samples import full_trajectory, full_turn

FIXTURES = sorted((TESTS / "fixtures/otlp").glob("*.otlp.jsonl"))
NOON_NS = 1_767_355_200_000_000_000
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
TRACE, OTHER_TRACE = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"


def attribute(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"key": key, "value": {"boolValue": value}}
    if isinstance(value, int):
        return {"key": key, "value": {"intValue": str(value)}}
    if isinstance(value, list):
        return {
            "key": key,
            "value": {"arrayValue": {"values": [{"stringValue": each} for each in value]}},
        }
    return {"key": key, "value": {"stringValue": value}}


def span(number: int, parent: int | None = None, trace: str = TRACE, **fields: Any) -> Any:
    """Write a span; `attributes` as a dict."""
    attributes = fields.pop("attributes", {})
    return {
        "traceId": trace,
        "spanId": f"{number:016x}",
        **({} if parent is None else {"parentSpanId": f"{parent:016x}"}),
        "name": "a span",
        "kind": 1,
        "startTimeUnixNano": str(NOON_NS + number),
        "endTimeUnixNano": str(NOON_NS + number + 1_000_000),
        "attributes": [attribute(key, value) for key, value in attributes.items()],
        "status": {},
        **fields,
    }


def line(*spans: Any, scope: str = "tested") -> dict[str, Any]:
    resource = {"attributes": [attribute("service.name", "desk")]}
    return {
        "resourceSpans": [
            {"resource": resource, "scopeSpans": [{"scope": {"name": scope}, "spans": [*spans]}]}
        ]
    }


def lines(*documents: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in documents)


def chat(number: int, parent: int | None = None, prompt: str = "Hi", **fields: Any) -> Any:
    messages = [{"role": "user", "parts": [{"type": "text", "content": prompt}]}]
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m-1",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.input.messages": json.dumps(messages),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "content": f"to {prompt}"}]),
    }
    return span(number, parent, attributes=attributes, **fields)


def agent(number: int, parent: int | None = None, **fields: Any) -> Any:
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper"}
    return span(number, parent, attributes=attributes, **fields)


# What instrumentations wrote.


def named(format_: str) -> list[ImportedTrajectory]:
    return read("otlp", TESTS / f"fixtures/otlp/{format_}.otlp.jsonl")


def test_what_openinference_tells_of_the_openai_agents_sdk() -> None:
    found = named("openinference-openai-agents")
    names = {each.trajectory.id: each.trajectory.agent_name for each in found}
    told = [
        (
            each.trajectory.agent_name,
            names.get(each.trajectory.parent_trajectory_id),  # type: ignore[arg-type]
            [(turn.prompt, turn.response) for turn in each.turns],
        )
        for each in found
    ]
    assert told == [
        ("support", None, []),
        (
            "triage",
            "support",
            [("Where is order 7? And refund it.", "Order 7 is on its way; the refund failed.")],
        ),
        ("triage", "support", [("Thanks!", "You are welcome.")]),
        ("triage", "support", [("I want to pay the bill.", "")]),
        ("billing", "support", [("I want to pay the bill.", "Your invoice is paid.")]),
        ("translator", "billing", [("Rechnung", "Invoice")]),
    ]
    [turn] = found[1].turns
    assert [(m.role.value, m.content, m.reasoning, m.call_id) for m in turn.messages] == [
        ("user", "Where is order 7? And refund it.", None, None),
        ("assistant", "Let me look.", "Two tools will do.", None),
        ("tool", "order 7: on its way", None, "call_1_0"),
        ("tool", "An error occurred while running the tool. Please try again.", None, "call_1_1"),
        ("assistant", "Order 7 is on its way; the refund failed.", None, None),
    ]
    assert [(c.tool_name, c.arguments, c.call_id, c.is_error) for c in turn.tool_calls] == [
        ("lookup_order", '{ "order_id":7 }', "call_1_0", False),
        ("refund", '{"order_id": 7, "amount": 1.50}', "call_1_1", True),
    ]
    assert (turn.input_tokens, turn.output_tokens, turn.cache_read_tokens) == (20, 10, 8)
    assert (turn.reasoning_tokens, turn.cache_write_tokens) == (4, 2)
    assert found[0].left_out == {"span of another kind": 12}
    assert found[1].trajectory.system_prompt == "You look after orders."


def test_what_pydantic_ai_tells() -> None:
    first, second = named("pydantic-ai")
    assert first.trajectory.session_id == second.trajectory.session_id is not None
    assert first.trajectory.agent_name == "triage"
    assert first.trajectory.tools[0]["name"] == "lookup"
    [turn] = first.turns
    assert (turn.prompt, turn.response) == ("Where is order 7? And refund it.", "done")
    assert [(m.role.value, m.call_id) for m in turn.messages] == [
        *(("user", None), ("assistant", None)),
        *(("tool", "c1"), ("tool", "c2"), ("assistant", None)),
    ]
    [later] = second.turns
    assert [m.content for m in later.messages] == ["Thanks", "done"]  # none of the history


@pytest.mark.parametrize("format_", ["openai-v2", "openllmetry-openai"])
def test_what_is_told_of_calls_of_models_alone(format_: str) -> None:
    found = named(format_)
    assert [(t.prompt, t.response) for each in found for t in each.turns] == [
        ("Where is order 7? And refund it.", "Let me look."),
        ("Where is order 7? And refund it.", "Order 7 is on its way; the refund failed."),
        ("Thanks!", "You are welcome."),
        ("I want to pay the bill.", ""),
        ("I want to pay the bill.", ""),
        ("Rechnung", "Invoice"),
        ("I want to pay the bill.", "Your invoice is paid."),
    ]
    assert {each.trajectory.agent_name for each in found} == {"order-desk"}
    assert {t.model_name for each in found for t in each.turns} == {"scripted-1"}


@pytest.mark.parametrize("file", described("otel-otlp"))
def test_what_a_kit_wrote_at_three_levels_at_once(file: Described) -> None:
    """Each model call stands there three times: figures outside, what was said within."""
    found = read("otlp", file.path)
    assert len(found) == file.others["op_invoke_agent"]
    [turn] = [turn for each in found for turn in each.turns]
    assert len(turn.tool_calls) == file.tool_calls
    assert turn.input_tokens == file.tokens["input_all_spans"] // 3
    assert turn.output_tokens == file.tokens["output_all_spans"] // 3
    assert [message.role.value for message in turn.messages] == [
        *("user", "assistant", "tool", "assistant"),
    ]
    assert turn.prompt.startswith("list all")
    assert turn.response.startswith("There are two")
    [call] = turn.tool_calls
    assert (call.tool_name, call.arguments, call.message_position) == (
        "helm_list_releases",
        "{}",
        1,
    )
    assert found[1].trajectory.system_prompt is not None
    assert len(found[1].trajectory.tools) == 10


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
async def test_it_is_stored_once_on_both_databases(
    path: Any, tmp_path: Any, postgres_url: str
) -> None:
    urls = [str(tmp_path / "t.db"), postgres_url]
    trajectories, turns = await rows_after_two_imports("otlp", [path], urls)
    found = read("otlp", path)
    assert len(trajectories) == len(found)
    assert len(turns) == sum(len(each.turns) for each in found)


# What this library wrote.


def test_our_own_spans_are_the_trajectory_they_tell_of() -> None:
    trajectory = full_trajectory()
    turn = full_turn(trajectory.id)
    # Spans have messages alone, where there are some.
    turn = turn.replace(prompt="hi", response="parts")
    data, _ = written("otlp-with-content", [(trajectory, [turn])])
    [found] = read("otlp", data)
    back = found.trajectory
    for name in Trajectory.model_fields:
        if name not in ("created_at", "ended_at", "tools"):
            assert getattr(back, name) == getattr(trajectory, name), name
    assert [each["name"] for each in back.tools] == [each["name"] for each in trajectory.tools]
    [again] = found.turns
    for name in Turn.model_fields:
        if name not in ("created_at", "messages", "tool_calls", "questions", "violations"):
            assert getattr(again, name) == getattr(turn, name), name
    unsaid = {"created_at": None, "usage": None, "token_ids": None, "logprobs": None}
    *first, last = [m.replace(**unsaid) for m in turn.messages]
    # The last answer is told with what is known of the turn.
    last = last.replace(model_name=turn.model_name, stop_reason=turn.stop_reason)
    assert [m.replace(**unsaid) for m in again.messages] == [*first, last]
    for name, other in (("questions", turn.questions), ("violations", turn.violations)):
        assert [f.replace(created_at=None, position=None) for f in getattr(again, name)] == [
            f.replace(created_at=None, position=None) for f in other
        ]
    unsaid = {"latency_ms": None, "started_at": None, "is_error": None}
    assert [c.replace(**unsaid) for c in again.tool_calls] == [
        c.replace(**unsaid) for c in turn.tool_calls
    ]
    assert [c.is_error for c in again.tool_calls] == [True, False]


@settings(max_examples=50, deadline=None)
@given(st.lists(conversations(), max_size=3, unique_by=lambda one: one[0].id))
def test_any_trajectory_comes_back_with_its_turns(sent: list[Conversation]) -> None:
    for format_ in ("otlp", "otlp-with-content"):
        data, _ = written(format_, sent)
        found = read_all("otlp", data)
        assert not [each for each in found if isinstance(each, Problem)]
        back: dict[UUID, set[int]] = {}
        for each in found:
            assert isinstance(each, ImportedTrajectory)
            numbers = {turn.turn_number for turn in each.turns}
            back[each.trajectory.id] = back.get(each.trajectory.id, set()) | numbers
        assert back == {t.id: {turn.turn_number for turn in turns} for t, turns in sent}


# The form.


def test_spans_come_in_any_order_and_on_any_line() -> None:
    spans = [agent(1), chat(2, 1), agent(3, 1), chat(4, 3, "inner"), agent(9, trace=OTHER_TRACE)]
    whole = read("otlp", lines(line(*spans)))
    assert [(each.trajectory.agent_name, len(each.turns)) for each in whole] == [
        *(("helper", 1), ("helper", 1), ("helper", 0)),
    ]
    for order in (spans[::-1], [spans[n] for n in (3, 4, 0, 2, 1)]):
        apart = read("otlp", lines(*(line(each) for each in order)))
        assert {each.trajectory.id: each.turns for each in apart} == {
            each.trajectory.id: each.turns for each in whole
        }
        assert {each.trajectory.id: each.trajectory for each in apart} == {
            each.trajectory.id: each.trajectory for each in whole
        }


def test_what_comes_long_after_its_root_is_further_turns() -> None:
    filler = [line(agent(n, trace=f"{n:032x}")) for n in range(100, 1200)]
    data = lines(line(agent(1), chat(2, 1)), *filler, line(chat(3, 1, "late")), line(chat(2, 1)))
    found = [each for each in read("otlp", data) if each.turns]
    first, late = found
    assert (first.line, first.continues, late.continues) == (1, False, True)
    assert first.trajectory.id == late.trajectory.id
    assert [(t.turn_number, t.prompt) for t in (*first.turns, *late.turns)] == [
        (1, "Hi"),
        (2, "late"),
    ]


def test_other_ways_to_write_the_same() -> None:
    usual = agent(1)
    snake = {
        "trace_id": base64.b64encode(bytes.fromhex(TRACE)).decode(),
        "span_id": base64.b64encode(bytes.fromhex(usual["spanId"])).decode(),
        "name": "a span",
        "kind": "SPAN_KIND_INTERNAL",
        "start_time_unix_nano": NOON_NS + 1,
        "end_time_unix_nano": NOON_NS + 1_000_001,
        "attributes": usual["attributes"],
        "status": {"code": "STATUS_CODE_ERROR", "message": "it broke"},
    }
    document = line(snake)
    of_resource = document.pop("resourceSpans")
    of_resource[0]["scope_spans"] = of_resource[0].pop("scopeSpans")
    document["resource_spans"] = of_resource
    [found] = read("otlp", lines(document))
    old = line(usual)["resourceSpans"]
    old[0]["instrumentationLibrarySpans"] = old[0].pop("scopeSpans")
    assert [each.turns for each in read("otlp", lines({"batches": old}))] == [()]
    [other] = read("otlp", json.dumps(line(usual), indent=1).encode())
    assert found.trajectory.id == other.trajectory.id
    assert found.trajectory.status is TrajectoryStatus.FAILED
    assert found.trajectory.error == "it broke"
    assert found.trajectory.created_at == other.trajectory.created_at == NOON


def test_values_of_every_kind() -> None:
    given = agent(1)
    deep: Any = {"stringValue": "deep"}
    for _ in range(60):
        deep = {"kvlistValue": {"values": [{"key": "k", "value": deep}]}}
    given["attributes"] += [
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": 7}},
        {"key": "gen_ai.usage.output_tokens", "value": {"doubleValue": 2.0}},
        {"key": "gen_ai.response.finish_reasons", "value": {"arrayValue": {}}},
        {"key": "gen_ai.conversation.id", "value": {"bytesValue": "eA=="}},
        {"key": "user.id", "value": {}},
        {"key": "gen_ai.tool.definitions", "value": deep},
        {"key": "gen_ai.output.messages", "value": {"arrayValue": {"values": [
            {"kvlistValue": {"values": [{"key": "content", "value": {"stringValue": "done"}}]}}
        ]}}},
    ]  # fmt: skip
    [found] = read("otlp", lines(line(given)))
    [turn] = found.turns
    assert (turn.input_tokens, turn.output_tokens, turn.response) == (7, 2, "done")
    assert (found.trajectory.session_id, found.trajectory.user_id) == ("eA==", None)


def test_a_span_without_times_is_dated_by_the_import() -> None:
    given = agent(1)
    del given["startTimeUnixNano"], given["endTimeUnixNano"]
    [found] = read("otlp", lines(line(given)), NOON)
    assert found.trajectory.created_at == NOON


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"resourceLogs": []}, "has no list of `resourceSpans`"),
        ({"resourceSpans": 1}, "has no list of `resourceSpans`"),
        ([1], "one JSON object a line is expected"),
        (line(span(0)), "spans without a trace's and a span's id: 1"),
        (line({**span(1), "traceId": "zz"}, {**span(1), "spanId": "x" * 16}), "id: 2"),
    ],
)
def test_what_is_no_span_is_told_with_its_line(document: Any, reason: str) -> None:
    found = read_all("otlp", lines(line(agent(1)), document, line(chat(2, 1))))
    [problem] = [each for each in found if isinstance(each, Problem)]
    [imported] = [each for each in found if isinstance(each, ImportedTrajectory)]
    assert problem.line == 2
    assert reason in problem.reason
    assert [turn.prompt for turn in imported.turns] == ["Hi"]


def test_where_traces_began_is_forgotten_once_they_are_read() -> None:
    reading = _Reading(NOON)
    data = lines(*(line(span(1, trace=f"{n:032x}")) for n in range(1, 4001)))
    assert list(reading.read(io.BytesIO(data))) == []
    assert len(reading._began) < 3500


def test_a_file_of_other_spans_has_no_trajectories() -> None:
    assert read_all("otlp", lines(line(span(1), span(2, 1)), {"resourceSpans": []})) == []
    assert read_all("otlp", b"") == []


def test_hostile_documents_are_read_or_told() -> None:
    failed = span(5, 1, status={"code": 2}, events=[
        {"name": "exception", "timeUnixNano": "1", "attributes": [
            attribute("exception.type", "E"), attribute("exception.message", "m")]}
    ], attributes={"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"})  # fmt: skip
    documents = [line(agent(1), chat(2, 1)), line(chat(3, 1, "more"), failed)]
    check_never_raises("otlp", documents, as_list=False, seeds=60)
    own, _ = written("otlp-with-content", [(full_trajectory(), [full_turn(UUID(int=1))])])
    check_never_raises("otlp", [json.loads(each) for each in own.splitlines()], as_list=False,
                       seeds=60)  # fmt: skip
    for path in FIXTURES:
        held = [json.loads(each) for each in path.read_bytes().splitlines()]
        check_never_raises("otlp", held[:1], as_list=False, seeds=4)


@pytest.mark.parametrize("odd", [odd for odd in ODD if isinstance(odd, str)])
def test_odd_text_is_stored_as_text(odd: str) -> None:
    given = chat(2, 1, odd)
    given["attributes"].append(attribute("gen_ai.agent.name", odd))
    tool = span(3, 1, attributes={
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": odd,
        "gen_ai.tool.call.arguments": odd, "gen_ai.tool.call.result": odd,
    })  # fmt: skip
    top = agent(1, name=odd)
    [found] = read("otlp", lines(line(top, given, tool, scope=odd)))
    [turn] = found.turns
    expected = Turn(trajectory_id=UUID(int=1), turn_number=1, prompt=odd, response="")
    assert turn.prompt == expected.prompt
    assert turn.response == f"to {expected.prompt}"


def test_its_name_and_its_files() -> None:
    found = importer("otlp")
    assert found.name == "otlp"
    assert ".jsonl" in getattr(found, "suffixes", ())


@pytest.mark.parametrize("shape", ["wide", "deep", "many", "circle", "history"])
def test_reading_costs_no_more_than_the_spans_are(shape: str) -> None:
    def made(many: int) -> Callable[[], object]:
        if shape == "wide":
            spans = [agent(1), *(chat(n + 2, 1, str(n)) for n in range(many))]
        elif shape == "deep":
            spans = [span(n + 1, n or None) for n in range(many)]
            spans.append(chat(many + 1, many))
        elif shape == "circle":
            spans = [agent(n + 1, (n + 1) % many + 1) for n in range(many)]
        elif shape == "history":
            spans = [agent(1), chat(2, 1)]
            said = [{"role": "user", "content": str(n)} for n in range(many)]
            spans[1]["attributes"][4] = attribute("gen_ai.input.messages", json.dumps(said))
        else:
            spans = [agent(n + 1, n or None) for n in range(many)]
        data = lines(line(*spans))

        def run() -> None:
            found = Counter(type(each).__name__ for each in read_all("otlp", data))
            assert found["ImportedTrajectory"] >= 1

        return run

    check_grows_with_its_input(made, 300)
