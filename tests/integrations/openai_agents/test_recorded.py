"""The scripted conversation, as it is stored: whole, over each way to a model."""

from __future__ import annotations

from typing import Any

import pytest
from agents import RunConfig
from agents.tracing import TracingConfig
from integrations.openai_agents.telling import stored, told

from benchmarks.scripted.openai_agents import (
    ANSWERS,
    BILLING,
    MODEL,
    PROMPTS,
    TRANSLATOR,
    TRIAGE,
    Wire,
    at_once,
    attached,
    call_id,
    conversation,
    detached,
    model_on,
    team,
)
from trajectory import TrajectoryLogger

FOUND = "order 7: on its way"
FAILED = "The tool failed: order 7 can't be refunded"
HANDED_OVER = '{"assistant": "billing"}'
WIRES = [Wire.RESPONSES, Wire.CHAT]

# Before each of the model's answers there are so many items (of chat, messages) in its input; the
# scripted model names its calls after that.
PLACES = {Wire.RESPONSES: (1, 11, 13), Wire.CHAT: (2, 9, 11)}


def usage(wire: Wire, calls: int = 1) -> dict[str, int]:
    return {
        "input_tokens": 10 * calls,
        "output_tokens": 5 * calls,
        "cache_read_tokens": 4 * calls,
        "cache_write_tokens": calls if wire is Wire.RESPONSES else 0,
        "reasoning_tokens": 2 * calls,
    }


def said(wire: Wire, text: str | None = None, **more: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "model_name": MODEL, "usage": usage(wire)}
    if text is not None:
        message["content"] = text
    return {**message, **completed(wire), **more}


def completed(wire: Wire) -> dict[str, str]:
    """Give the reason that a model stopped for: the chat models' spans have none."""
    return {"stop_reason": "completed"} if wire is Wire.RESPONSES else {}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def result(text: str, call: str) -> dict[str, Any]:
    return {"role": "tool", "content": text, "call_id": call}


def call(
    name: str, arguments: str, id_: str, result: str, position: int, *, is_error: bool = False
) -> dict[str, Any]:
    return {
        "tool_name": name,
        "arguments": arguments,
        "call_id": id_,
        "result": result,
        "message_position": position,
        "is_error": is_error,
    }


def turn(wire: Wire, number: int, prompt: str, response: str, calls: int) -> dict[str, Any]:
    return {
        "turn_number": number,
        "prompt": prompt,
        "response": response,
        "model_name": MODEL,
        **usage(wire, calls),
        **completed(wire),
    }


def expected(wire: Wire) -> list[dict[str, Any]]:
    first, second, third = PLACES[wire]
    lookup, refund = call_id(first, 0), call_id(first, 1)
    handoff, translate = call_id(second, 0), call_id(third, 0)
    thought = {"reasoning": "Two tools will do."} if wire is Wire.RESPONSES else {}
    shared = {"session_id": "g", "status": "completed", "source_format": "openai-agents"}
    triage = {
        **shared,
        "agent_name": "triage",
        "system_prompt": TRIAGE,
        "metadata": {"tier": "gold", "workflow_name": "support"},
        "turns": [
            {
                **turn(wire, 1, PROMPTS[0], ANSWERS[0], 2),
                "messages": [
                    user(PROMPTS[0]),
                    said(wire, "Let me look.", **thought),
                    result(FOUND, lookup),
                    result(FAILED, refund),
                    said(wire, ANSWERS[0]),
                ],
                "tool_calls": [
                    call("lookup_order", '{ "order_id":7 }', lookup, FOUND, 1),
                    call(
                        *("refund", '{"order_id": 7, "amount": 1.50}', refund, FAILED, 1),
                        is_error=True,
                    ),
                ],
            },
            {
                **turn(wire, 2, PROMPTS[1], ANSWERS[1], 1),
                "messages": [user(PROMPTS[1]), said(wire, ANSWERS[1])],
            },
            {
                **turn(wire, 3, PROMPTS[2], ANSWERS[2], 1),
                "messages": [user(PROMPTS[2]), said(wire), result(HANDED_OVER, handoff)],
                "tool_calls": [call("transfer_to_billing", "{}", handoff, HANDED_OVER, 1)],
                "metadata": {"handed_to": "billing"},
            },
        ],
    }
    billing = {
        **shared,
        "agent_name": "billing",
        "parent": "triage",
        "root": "triage",
        "system_prompt": BILLING,
        "metadata": {"handed_over_by": "triage"},
        "turns": [
            {
                **turn(wire, 1, PROMPTS[2], ANSWERS[2], 2),
                "messages": [said(wire), result("Invoice", translate), said(wire, ANSWERS[2])],
                "tool_calls": [
                    call("translate", '{"input":  "Rechnung"}', translate, "Invoice", 0)
                ],
            }
        ],
    }
    translator = {
        **shared,
        "agent_name": "translator",
        "parent": "billing",
        "root": "triage",
        "system_prompt": TRANSLATOR,
        "metadata": {"tool": "translate"},
        "turns": [
            {
                **turn(wire, 1, "Rechnung", "Invoice", 1),
                "messages": [user("Rechnung"), said(wire, "Invoice")],
            }
        ],
    }
    return [triage, billing, translator]


def tools_taken(found: list[dict[str, Any]]) -> list[list[str]]:
    """Take the tool definitions out: how whole they are is up to the model's service."""
    return [[tool["name"] for tool in each.pop("tools", [])] for each in found]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("spans", [True, False], ids=["spans of the loop", "agents alone"])
async def test_a_conversation_is_stored_whole(
    logger: TrajectoryLogger, wire: Wire, spans: bool
) -> None:
    agent = team(model_on(wire))
    config = RunConfig(tracing=TracingConfig(include_task_and_turn_spans=spans))
    with attached(logger):
        answers = await conversation(agent, group_id="g", config=config)
    assert answers == list(ANSWERS)
    await logger.flush()

    found = await told(logger.backend)

    handoffs = ["transfer_to_billing"] if wire is Wire.RESPONSES else []
    tools = [["lookup_order", "refund", *handoffs], ["translate"], []]
    assert tools_taken(found) == tools
    assert found == expected(wire)


async def test_definitions_of_tools_are_kept_where_the_service_repeats_them(
    memory: TrajectoryLogger,
) -> None:
    with attached(memory):
        await conversation(team(model_on(Wire.RESPONSES)))
    await memory.flush()
    (triage, _), *_ = await stored(memory.backend)
    assert triage.tools[0]["parameters"]["properties"]["order_id"]["type"] == "integer"


async def test_times_are_those_of_the_spans(memory: TrajectoryLogger) -> None:
    with attached(memory):
        await conversation(team(model_on(Wire.RESPONSES)))
    await memory.flush()
    (triage, turns), (billing, _), _ = await stored(memory.backend)
    assert triage.ended_at is not None
    assert billing.ended_at is not None
    assert triage.created_at <= turns[0].created_at <= turns[1].created_at
    assert billing.ended_at <= triage.ended_at
    called, failed = turns[0].tool_calls
    for each in (called, failed):
        assert each.started_at is not None
        assert each.latency_ms is not None
        assert turns[0].created_at <= each.started_at <= turns[1].created_at
    assert turns[0].latency_ms is not None
    assert called.latency_ms is not None
    assert called.latency_ms < turns[0].latency_ms


@pytest.mark.parametrize("wire", WIRES)
async def test_without_sensitive_data_there_are_turns_without_content(
    logger: TrajectoryLogger, wire: Wire
) -> None:
    with attached(logger):
        config = RunConfig(trace_include_sensitive_data=False)
        assert await conversation(team(model_on(wire)), config=config) == list(ANSWERS)
    await logger.flush()

    rows = await stored(logger.backend)

    assert [(each.agent_name, len(turns)) for each, turns in rows] == [
        ("triage", 3),
        ("billing", 1),
        ("translator", 1),
    ]
    for each, turns in rows:
        assert (each.status, each.system_prompt) == ("completed", None)
        for turn in turns:
            assert (turn.prompt, turn.response, turn.error) == ("", "", None)
            assert {message.content for message in turn.messages} == {None}
            assert {call.arguments for call in turn.tool_calls} <= {None}
    first = rows[0][1][0]
    assert (first.input_tokens, first.reasoning_tokens) == (20, 4)
    assert [(call.tool_name, call.is_error) for call in first.tool_calls] == [
        ("lookup_order", False),
        ("refund", True),
    ]


async def test_of_a_model_without_spans_there_are_tools_and_tokens(
    memory: TrajectoryLogger,
) -> None:
    with attached(memory):
        assert await conversation(team(model_on(Wire.NONE))) == list(ANSWERS)
    await memory.flush()

    (_, turns), (_, billing), (_, translator) = await stored(memory.backend)

    assert [(turn.prompt, turn.response, len(turn.messages)) for turn in turns] == 3 * [("", "", 0)]
    lookup, refund = turns[0].tool_calls
    assert (lookup.arguments, lookup.result, lookup.call_id) == ('{ "order_id":7 }', FOUND, None)
    assert (refund.result, refund.is_error) == (FAILED, True)
    assert [turn.input_tokens for turn in turns] == [20, 10, 10]
    # The SDK counts those of the translator in the turn of the agent that asks it.
    assert [billing[0].input_tokens, translator[0].output_tokens] == [20, 5]


async def test_fifty_conversations_at_once(logger: TrajectoryLogger) -> None:
    with attached(logger):
        answers = await at_once(50)
    assert answers == 50 * [list(ANSWERS)]
    await logger.flush()

    found = await told(logger.backend)

    assert len(found) == 150
    tools_taken(found)
    by_session: dict[str, list[dict[str, Any]]] = {}
    for each in found:
        by_session.setdefault(each.pop("session_id"), []).append(each)
    assert by_session.keys() == {f"group-{number}" for number in range(50)}
    wanted = expected(Wire.RESPONSES)
    for each in wanted:
        del each["session_id"]
    assert all(each == wanted for each in by_session.values())
    assert logger.statistics().dropped == 0


async def test_what_is_recorded_changes_nothing() -> None:
    with detached():
        without = await conversation(team(model_on(Wire.RESPONSES)))
    async with TrajectoryLogger("memory://") as logger:
        with attached(logger):
            assert await conversation(team(model_on(Wire.RESPONSES))) == without
