"""Spans of one trace, read: what is a trajectory, what is a turn, and what is heard only once."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from trajectory import Role, TrajectoryStatus, Turn
from trajectory.genai.reading import Known, Reading, Told, read_trace
from trajectory.genai.spans import Event, Span, StatusCode
from trajectory.genai.steps import step_of

NOON_NS = 1_767_355_200_000_000_000
MS = 1_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"


def a_span(number: int, parent: int | None = None, **fields: Any) -> Span:
    """Make a span that begins at its number, in milliseconds, and takes one."""
    given = {
        "name": "a span",
        "trace_id": TRACE,
        "start_ns": NOON_NS + number * MS,
        "end_ns": NOON_NS + (number + 1) * MS,
        "scope": "tested",
        **fields,
    }
    above = None if parent is None else f"{parent:016x}"
    return Span(span_id=f"{number:016x}", parent_span_id=above, **given)


def agent(number: int, parent: int | None = None, /, lasts: Any = 100, **attributes: Any) -> Span:
    return a_span(
        number,
        parent,
        name="invoke_agent helper",
        end_ns=NOON_NS + (number + lasts) * MS,
        attributes={"gen_ai.operation.name": "invoke_agent", **attributes},
    )


def chat(
    number: int,
    parent: int | None = None,
    /,
    given: Any = (),
    answer: Any = None,
    **attributes: Any,
) -> Span:
    """Make a call of a model. What is given are texts of the user, or messages."""
    told: dict[str, Any] = {"gen_ai.operation.name": "chat", **attributes}
    if given:
        messages = [user(each) if isinstance(each, str) else each for each in given]
        told["gen_ai.input.messages"] = json.dumps(messages)
    if answer is not None:
        message = assistant(answer) if isinstance(answer, str) else answer
        told["gen_ai.output.messages"] = json.dumps([message])
    return a_span(number, parent, attributes=told)


def tool(number: int, parent: int | None, name: str, **attributes: Any) -> Span:
    told = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, **attributes}
    return a_span(number, parent, attributes=told)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"type": "text", "content": text}]}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "parts": [{"type": "text", "content": text}]}


def calls(*names: str, **by_id: str) -> dict[str, Any]:
    parts = [{"type": "tool_call", "name": name, "arguments": {"n": 1}} for name in names]
    parts += [{"type": "tool_call", "id": i, "name": n, "arguments": {}} for i, n in by_id.items()]
    return {"role": "assistant", "parts": parts}


def result(text: str, call_id: str | None = None) -> dict[str, Any]:
    part = {"type": "tool_call_response", "id": call_id, "response": text}
    return {"role": "tool", "parts": [part]}


def reading(*spans: Span, known: Known | None = None, is_complete: bool = True) -> Reading:
    return read_trace(map(step_of, spans), known, is_complete=is_complete)


def read(*spans: Span) -> tuple[Told, ...]:
    return reading(*spans).told


def the_turn(*spans: Span) -> Turn:
    [told] = read(*spans)
    [turn] = told.turns
    return turn


def exchanges(told: Told) -> list[tuple[str, str]]:
    return [(turn.prompt, turn.response) for turn in told.turns]


# Which trajectories.


def test_runs_within_runs_are_children_however_deep_between() -> None:
    spans = [
        agent(1, **{"gen_ai.agent.name": "outer"}),
        a_span(2, 1),
        a_span(3, 2),
        agent(4, 3, **{"gen_ai.agent.name": "inner"}),
        agent(5, 4, **{"gen_ai.agent.name": "innermost"}),
    ]
    outer, inner, innermost = (told.trajectory for told in read(*spans))
    assert outer is not None
    assert inner is not None
    assert innermost is not None
    assert (outer.agent_name, outer.parent_trajectory_id, outer.root_trajectory_id) == (
        *("outer", None, None),
    )
    assert (inner.agent_name, inner.parent_trajectory_id, inner.root_trajectory_id) == (
        *("inner", outer.id, outer.id),
    )
    assert (innermost.parent_trajectory_id, innermost.root_trajectory_id) == (inner.id, outer.id)


def test_the_order_of_spans_changes_nothing() -> None:
    spans = [
        agent(1),
        chat(2, 1, ["Hi"], calls("look")),
        tool(3, 1, "look"),
        agent(4, 3),
        chat(5, 4, ["Look"], "seen"),
        chat(6, 1, ["Hi", calls("look"), result("seen")], "Hello"),
    ]
    whole = read(*spans)
    assert [exchanges(told) for told in whole] == [[("Hi", "Hello")], [("Look", "seen")]]
    for seed in range(20):
        shuffled = Random(seed).sample(spans, len(spans))
        assert read(*shuffled, *shuffled) == whole


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"gen_ai.agent.name": "desk"}, "desk"),
        ({"gen_ai.agent.name": 7}, "helper"),
        ({"gen_ai.agent.name": "x" * 2000}, "helper"),
        ({}, "helper"),
    ],
)
def test_what_a_run_is_called(attributes: Any, name: str) -> None:
    [told] = read(agent(1, **attributes))
    assert told.trajectory is not None
    assert told.trajectory.agent_name == name


def test_a_circle_of_runs_has_a_topmost_one() -> None:
    found = read(agent(1, 2), agent(2, 3), agent(3, 1), agent(4, 4))
    roots = [t.trajectory for t in found if t.trajectory and not t.trajectory.root_trajectory_id]
    assert len(found) == 4
    assert len(roots) == 2
    assert all(root.parent_trajectory_id is None for root in roots)


def test_a_call_seen_from_below_is_counted_once() -> None:
    usage = {"gen_ai.usage.input_tokens": 5}
    found = reading(agent(1), chat(2, 1, **usage), a_span(3, 2), chat(4, 3, **usage))
    [turn] = found.told[0].turns
    assert turn.input_tokens == 5
    assert found.left_out == {"model call within a model call": 1, "span of another kind": 1}


def test_what_is_seen_from_below_completes_the_call() -> None:
    figures = {"gen_ai.usage.input_tokens": 5, "gen_ai.request.model": "m-1"}
    system = {"gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}])}
    [told] = read(
        agent(1),
        chat(2, 1, **figures),
        chat(3, 2, **figures),
        chat(4, 3, ["Hi"], "Hello", **{**figures, **system, "gen_ai.response.model": "m-1-x"}),
        tool(5, 3, "look"),
        chat(6, 5, ["Look"], "seen"),
    )
    assert told.trajectory is not None
    assert told.trajectory.system_prompt == "Be brief."
    [turn] = told.turns
    assert [m.content for m in turn.messages] == ["Hi", "Hello", "Look", "seen"]
    assert (turn.input_tokens, turn.messages[1].model_name) == (5, "m-1")


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({}, TrajectoryStatus.COMPLETED, None),
        ({"status": StatusCode.OK}, TrajectoryStatus.COMPLETED, None),
        ({"status": StatusCode.ERROR}, TrajectoryStatus.FAILED, "unknown error"),
        (
            {"status": StatusCode.ERROR, "status_message": "it broke"},
            *(TrajectoryStatus.FAILED, "it broke"),
        ),
        (
            {"events": (Event("exception", 0, {"exception.type": "E", "exception.message": "m"}),),
             "status": StatusCode.ERROR, "status_message": "E: m"},
            *(TrajectoryStatus.FAILED, "E: m"),
        ),
        (
            {"events": (Event("exception", 0, {"exception.type": "asyncio.CancelledError"}),)},
            *(TrajectoryStatus.CANCELLED, "asyncio.CancelledError"),
        ),
        (
            {"events": (Event("exception", 0, {"exception.type": "E"}),)},
            *(TrajectoryStatus.COMPLETED, None),  # it was handled
        ),
    ],
)  # fmt: skip
def test_how_a_run_ended(fields: Any, status: TrajectoryStatus, error: str | None) -> None:
    attributes = {"gen_ai.operation.name": "invoke_agent"}
    [told] = read(a_span(1, attributes=attributes, **fields), chat(2, 1, ["Hi"], "Hello"))
    assert told.trajectory is not None
    assert (told.trajectory.status, told.trajectory.error) == (status, error)
    assert told.turns[0].error == error


# Which turns.


def test_a_run_is_one_turn_with_what_was_new_at_each_call() -> None:
    history = ["Hi", assistant("Hello"), "Look"]
    turn = the_turn(
        agent(1),
        chat(2, 1, history, calls(c1="look", c2="see")),
        chat(3, 1, [*history, calls(c1="look", c2="see"), result("A", "c1"), result("B", "c2")],
             "Seen"),
    )  # fmt: skip
    assert [(m.role.value, m.content, m.call_id) for m in turn.messages] == [
        *(("user", "Look", None), ("assistant", None, None)),
        *(("tool", "A", "c1"), ("tool", "B", "c2"), ("assistant", "Seen", None)),
    ]
    assert [(c.call_id, c.result, c.message_position) for c in turn.tool_calls] == [
        *(("c1", "A", 1), ("c2", "B", 1)),
    ]
    assert turn.latency_ms == 100
    assert (turn.prompt, turn.response) == ("Look", "Seen")


def test_what_a_program_says_to_its_own_model_is_no_turn_of_the_user() -> None:
    turn = the_turn(
        agent(1),
        chat(2, 1, ["Plan this"], "A plan"),
        chat(3, 1, ["Plan this", assistant("A plan"), "No, as JSON"], "{}"),
    )
    assert (turn.prompt, turn.response) == ("Plan this", "{}")
    assert [m.content for m in turn.messages] == ["Plan this", "A plan", "No, as JSON", "{}"]


def test_outside_of_a_run_a_new_question_is_a_new_turn() -> None:
    [told] = read(
        a_span(1),
        chat(2, 1, ["Hi"], "Hello"),
        chat(3, 1, ["Hi", assistant("Hello"), "Look"], calls("look")),
        tool(4, 1, "look"),
        chat(5, 1, ["Hi", assistant("Hello"), "Look", calls("look"), result("A")], "Seen"),
        chat(6, 1, ["Bye"], "Bye"),  # a conversation that the server keeps
        chat(7, 1, ["Bye"], "Again"),
    )
    assert exchanges(told) == [
        *(("Hi", "Hello"), ("Look", "Seen"), ("Bye", "Bye"), ("Bye", "Again")),
    ]
    assert [len(turn.messages) for turn in told.turns] == [2, 4, 2, 2]
    assert [len(turn.tool_calls) for turn in told.turns] == [0, 1, 0, 0]


def test_a_call_that_is_tried_again_is_the_same_turn() -> None:
    failed = a_span(
        2,
        1,
        attributes=chat(2, 1, ["Hi"]).attributes,
        status=StatusCode.ERROR,
        status_message="RateLimitError: slow down",
    )
    for top in (a_span(1), agent(1)):
        turn = the_turn(top, failed, chat(3, 1, ["Hi"], "Hello"))
        assert [m.content for m in turn.messages] == ["Hi", "Hello"]
        assert turn.error is None
        assert turn.metadata == {"failed_model_calls": ["RateLimitError: slow down"]}


def test_without_content_an_answer_that_leaves_nothing_to_do_ends_a_turn() -> None:
    usage = {"gen_ai.usage.input_tokens": 1, "gen_ai.response.model": "m-1"}
    [told] = read(
        a_span(1),
        chat(2, 1, **usage, **{"gen_ai.response.finish_reasons": ["tool_calls"]}),
        chat(3, 1, **usage, **{"gen_ai.response.finish_reasons": ["stop"]}),
        chat(4, 1, **usage),
        tool(5, 1, "look"),
        chat(6, 1, **usage),
    )
    assert [(turn.input_tokens, len(turn.messages), turn.prompt) for turn in told.turns] == [
        *((2, 2, ""), (2, 2, "")),
    ]
    assert [turn.model_name for turn in told.turns] == ["m-1", "m-1"]
    assert told.turns[1].tool_calls[0].message_position == 0


def test_a_run_whose_model_is_not_traced_is_what_its_own_span_tells() -> None:
    said = {
        "gen_ai.input.messages": json.dumps([user("Hi")]),
        "gen_ai.output.messages": json.dumps([assistant("Hello")]),
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.request.model": "m-1",
    }
    turn = the_turn(agent(1, **said))
    assert (turn.prompt, turn.response, turn.input_tokens, turn.model_name) == (
        *("Hi", "Hello", 3, "m-1"),
    )
    assert the_turn(agent(1, **{"input.value": "Hi", "output.value": "Hello"})).prompt == "Hi"
    [empty] = read(agent(1))
    assert empty.turns == ()


def test_a_run_that_hands_everything_on_has_no_figures_of_its_own() -> None:
    outer, inner = read(
        agent(1, **{"gen_ai.usage.input_tokens": 3}),
        agent(2, 1),
        chat(3, 2, ["Hi"], "Hello", **{"gen_ai.usage.input_tokens": 3}),
    )
    assert outer.turns == ()
    assert inner.turns[0].input_tokens == 3


def test_figures_of_a_run_are_not_added_to_those_of_its_calls() -> None:
    usage = {"gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 2}
    turn = the_turn(agent(1, **usage), chat(2, 1, ["Hi"], "Hello", **usage))
    assert (turn.input_tokens, turn.output_tokens) == (3, 2)
    turn = the_turn(agent(1, **usage), chat(2, 1, ["Hi"], "Hello"))
    assert (turn.input_tokens, turn.output_tokens) == (3, 2)


def test_instructions_and_tools_belong_to_the_trajectory() -> None:
    tools = [{"type": "function", "name": "look"}]
    system = {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]}
    [told] = read(
        agent(1),
        chat(2, 1, [system, "Hi"], "Hello", **{"gen_ai.tool.definitions": json.dumps(tools)}),
        chat(3, 1, ["Hi"], "Hello", **{
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be long."}])
        }),
    )  # fmt: skip
    assert told.trajectory is not None
    assert told.trajectory.system_prompt == "Be brief."
    assert told.trajectory.tools == tools
    roles = [message.role for message in told.turns[0].messages]
    assert roles == [Role.USER, Role.ASSISTANT, Role.SYSTEM, Role.ASSISTANT]


# Which calls of tools.


def test_a_tool_finds_its_call_by_id_then_by_arguments_then_by_name() -> None:
    said = calls(c1="look", c2="look")
    said["parts"] += [
        {"type": "tool_call", "name": "see", "arguments": {"n": 1}},
        {"type": "tool_call", "name": "see", "arguments": '{"n": 2}'},
        {"type": "tool_call", "name": "hear"},
    ]
    turn = the_turn(
        agent(1),
        chat(2, 1, ["Go"], said),
        tool(3, 1, "look", **{"gen_ai.tool.call.id": "c2", "gen_ai.tool.call.result": "second"}),
        tool(4, 1, "see", **{"gen_ai.tool.call.arguments": '{ "n":2 }'}),
        tool(5, 1, "see", **{"gen_ai.tool.call.arguments": '{ "n":1 }'}),
        tool(6, 1, "hear", **{"gen_ai.tool.call.arguments": "loud"}),
        tool(7, 1, "unasked", **{"gen_ai.tool.call.result": {"is": "found"}}),
    )
    assert [
        (c.tool_name, c.call_id, c.arguments, c.result, c.is_error, c.message_position)
        for c in turn.tool_calls
    ] == [
        ("look", "c1", "{}", None, None, 1),
        ("look", "c2", "{}", "second", False, 1),
        ("see", None, '{ "n":1 }', None, False, 1),
        ("see", None, '{ "n":2 }', None, False, 1),
        ("hear", None, "loud", None, False, 1),
        ("unasked", None, None, '{"is":"found"}', False, 1),
    ]


def test_a_tool_that_failed_says_why() -> None:
    failed = a_span(
        3,
        1,
        attributes=tool(3, 1, "look").attributes,
        status=StatusCode.ERROR,
        events=(Event("exception", 0, {"exception.type": "E", "exception.message": "m"}),),
    )
    turn = the_turn(agent(1), chat(2, 1, ["Go"], calls("look")), failed)
    [call] = turn.tool_calls
    assert (call.result, call.is_error, call.latency_ms) == ("E: m", True, 1)
    assert turn.error is None


# What comes later.


def test_what_comes_later_finds_its_place() -> None:
    known = Known()
    first = reading(agent(1), a_span(2, 1), chat(3, 2, ["Hi"], "Hello"), known=known).told
    late = reading(chat(7, 2, ["More"], "Again"), agent(8, 3), known=known).told
    assert first[0].trajectory is not None
    [turns] = [told for told in late if told.trajectory_id == first[0].trajectory_id]
    assert turns.trajectory is None
    assert [turn.turn_number for turn in turns.turns] == [2]
    [child] = [told.trajectory for told in late if told.trajectory is not None]
    assert child.parent_trajectory_id == child.root_trajectory_id == first[0].trajectory_id


def test_while_its_root_runs_on_a_trace_runs_on() -> None:
    [told] = reading(chat(2, 1, ["Hi"], "Hello"), is_complete=False).told
    assert told.trajectory is not None
    assert (told.trajectory.status, told.trajectory.ended_at) == (TrajectoryStatus.RUNNING, None)


def test_figures_beyond_what_can_be_stored_are_left_out_or_bounded() -> None:
    huge = {"gen_ai.usage.input_tokens": 2**63 - 1, "llm.cost.total": 1e308}
    turn = the_turn(agent(1), chat(2, 1, ["Hi"], "Hello", **huge), chat(3, 1, **huge))
    assert (turn.input_tokens, turn.cost_usd) == (2**63 - 1, None)
    turn = the_turn(agent(1), chat(2, 1, ["Hi"], **{"gen_ai.usage.input_tokens": 2**70}))
    assert turn.input_tokens is None
