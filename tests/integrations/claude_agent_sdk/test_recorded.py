"""The scripted session, recorded: what is stored is what was scripted, whole."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid5

import pytest
from claude_agent_sdk import ClaudeSDKClient, HookMatcher, ResultMessage
from integrations.claude_agent_sdk.stored import rows, told

from benchmarks.scripted import claude_agent_sdk as scripted
from benchmarks.scripted.claude_agent_sdk import (
    ADD_UP,
    AGENT_ID,
    ANSWERS,
    LOOKUP,
    MODEL,
    PROMPTS,
    REFUND,
    SESSION,
    SYSTEM,
    TASK,
    TASK_PROMPT,
    USAGE,
    ScriptedCli,
    options,
    session,
)
from trajectory import (
    InvalidTurnError,
    SyncTrajectoryLogger,
    Trajectory,
    TrajectoryLogger,
    TrajectoryStatus,
)
from trajectory.integrations.claude_agent_sdk import RecordedClient, recorded_query

ONE = {"input_tokens": 17, "output_tokens": 5, "cache_read_tokens": 4, "cache_write_tokens": 3}
TWO = {name: 2 * count for name, count in ONE.items()}
SHOP = {
    "cwd": "/shop",
    "permissionMode": "default",
    "apiKeySource": "none",
    "output_style": "default",
    "tools": ["Task", LOOKUP.name, REFUND.name, ADD_UP.name],
    "agents": ["accountant"],
}


def user(words: Any) -> dict[str, Any]:
    return {"role": "user", "content": words}


def said(words: str | None, **fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "model_name": MODEL, "usage": USAGE, **fields}
    return message if words is None else {**message, "content": words}


def result(call: scripted.Call) -> dict[str, Any]:
    return {"role": "tool", "call_id": call.id, "content": call.error or call.result}


def called(call: scripted.Call, position: int, latency_ms: float, **fields: Any) -> dict[str, Any]:
    return {
        "tool_name": call.name,
        "arguments": json.dumps(call.input),
        "result": call.error or call.result,
        "call_id": call.id,
        "message_position": position,
        "is_error": call.error is not None,
        "latency_ms": latency_ms,
        **fields,
    }


def turn(number: int, requests: int, **fields: Any) -> dict[str, Any]:
    return {
        "turn_number": number,
        "prompt": PROMPTS[number - 1],
        "response": ANSWERS[number - 1],
        "latency_ms": 1500.0,
        "model_name": MODEL,
        **(ONE if requests == 1 else TWO),
        "cost_usd": 0.25,
        "stop_reason": "end_turn",
        "metadata": {"requests": requests, "duration_api_ms": 1200},
        **fields,
    }


def scripted_rows(session_id: str = str(SESSION)) -> list[dict[str, Any]]:
    common = {
        "status": "completed",
        "source_format": "claude-agent-sdk",
        "session_id": session_id,
    }
    third = turn(3, 2)
    third["metadata"]["sub_agents"] = {TASK.id: "accountant"}
    main = {
        **common,
        "agent_name": "claude-code",
        "agent_version": "9.9.9",
        "system_prompt": SYSTEM,
        "metadata": SHOP,
        "turns": [
            {
                **turn(1, 2),
                "messages": [
                    user(PROMPTS[0]),
                    said("Let me look.", reasoning="Two tools will do."),
                    result(LOOKUP),
                    result(REFUND),
                    said(ANSWERS[0]),
                ],
                "tool_calls": [called(LOOKUP, 1, 30.0), called(REFUND, 1, 40.0)],
            },
            {
                **turn(2, 1),
                "messages": [user(PROMPTS[1]), said(ANSWERS[1], stop_reason="end_turn")],
            },
            {
                **third,
                "messages": [
                    user(PROMPTS[2]),
                    said(None, stop_reason="tool_use"),
                    result(TASK),
                    said(ANSWERS[2]),
                ],
                "tool_calls": [called(TASK, 1, 80.0, arguments=TASK.arguments)],
            },
        ],
    }
    child = {
        **common,
        "agent_name": "accountant",
        "parent": "claude-code",
        "root": "claude-code",
        "metadata": {"description": "Add up", "tool_use_id": TASK.id},
        "turns": [
            {
                "turn_number": 1,
                "prompt": TASK_PROMPT,
                "response": TASK.result,
                "latency_ms": 70.0,
                "token_count": 44,
                "model_name": MODEL,
                **ONE,
                "metadata": {"agent_id": AGENT_ID},
                "messages": [user(TASK_PROMPT), said("Adding."), result(ADD_UP)],
                "tool_calls": [called(ADD_UP, 1, 30.0)],
            }
        ],
    }
    return [main, child]


async def test_a_session_is_stored_as_it_was_scripted(logger: TrajectoryLogger) -> None:
    with scripted.attached(logger):
        answers = await scripted.program(1)
    assert answers == [list(ANSWERS)] == await scripted.program(1)
    assert await told(logger) == scripted_rows()


async def test_fifty_sessions_at_once(logger: TrajectoryLogger) -> None:
    with scripted.attached(logger):
        answers = await scripted.at_once(50)
    assert answers == [list(ANSWERS)] * 50
    found = await told(logger)
    assert len(found) == 100
    for number in range(50):
        name = str(uuid5(SESSION, str(number)))
        assert [each for each in found if each["session_id"] == name] == scripted_rows(name)


async def test_query_records_the_same(memory: TrajectoryLogger) -> None:
    messages = recorded_query(
        prompt=PROMPTS[0],
        options=options(),
        transport=ScriptedCli(),
        logger=memory,
        spec_id="SPEC-1",
        metadata={"ticket": 7},
    )
    seen = [type(message).__name__ async for message in messages]
    assert seen[-1] == "ResultMessage"
    main = scripted_rows()[0]
    main |= {
        "spec_id": "SPEC-1",
        "metadata": {**SHOP, "ticket": 7},
        "turns": main["turns"][:1],
    }
    assert await told(memory) == [main]


async def test_prompts_that_are_sent_ahead_are_told_apart(memory: TrajectoryLogger) -> None:
    async def prompts() -> Any:
        for text in PROMPTS:
            content = [{"type": "text", "text": text}]
            yield {"type": "user", "message": {"role": "user", "content": content}}

    ended = asyncio.Event()

    async def script(cli: ScriptedCli, prompt: str) -> None:
        await scripted.support(cli, prompt)
        if prompt == PROMPTS[-1]:
            ended.set()

    messages = recorded_query(
        prompt=prompts(), options=options(), transport=ScriptedCli(script), logger=memory
    )
    await anext(messages)
    # The hooks of all turns were called before the next message is read.
    await ended.wait()
    found = [each.result async for each in messages if isinstance(each, ResultMessage)]
    assert found == list(ANSWERS)
    expected = scripted_rows()
    for each in expected[0]["turns"]:
        each["messages"][0]["content"] = [{"type": "text", "text": each["prompt"]}]
    assert await told(memory) == expected


async def test_without_pieces_the_arguments_are_written_anew(memory: TrajectoryLogger) -> None:
    client = RecordedClient(options(), ScriptedCli(streams=False), logger=memory)
    await session(client)
    expected = scripted_rows()
    del expected[0]["turns"][1]["messages"][1]["stop_reason"]
    del expected[0]["turns"][2]["messages"][1]["stop_reason"]
    assert await told(memory) == expected


async def test_pieces_give_the_arguments_as_the_model_wrote_them(memory: TrajectoryLogger) -> None:
    async def script(cli: ScriptedCli, _prompt: str) -> None:
        blocks = (scripted.text("Looking."), LOOKUP.block())
        await cli.stream(*blocks, written={LOOKUP.id: LOOKUP.arguments}, stop="tool_use")
        await cli.use(LOOKUP)
        await cli.end("done", 1)

    await session(RecordedClient(options(), ScriptedCli(script), logger=memory), ("go",))
    (call,) = (await told(memory))[0]["turns"][0]["tool_calls"]
    assert call["arguments"] == LOOKUP.arguments != json.dumps(LOOKUP.input)


async def test_the_programs_own_hooks_run_before_ours_and_decide(memory: TrajectoryLogger) -> None:
    called_with = []

    async def refuse(given: Any, tool_use_id: str | None, _context: Any) -> Any:
        called_with.append((given["tool_name"], tool_use_id))
        decision = {"hookEventName": "PreToolUse", "permissionDecision": "deny"}
        return {"hookSpecificOutput": decision, "continue_": True}

    hooks = {"PreToolUse": [HookMatcher(matcher=REFUND.name, hooks=[refuse])]}
    own = options(hooks=hooks)
    cli = ScriptedCli()
    client = RecordedClient(own, cli, logger=memory)
    await session(client, PROMPTS[:1])
    assert called_with == [(REFUND.name, REFUND.id)]
    assert client.options is own
    assert own.hooks == hooks
    assert len(own.hooks["PreToolUse"]) == 1
    answers = [line["response"]["response"] for line in cli.wrote if "response" in line]
    assert [each for each in answers if each] == [
        {
            "hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "deny"},
            "continue": True,
        }
    ]
    _, refused = (await told(memory))[0]["turns"][0]["tool_calls"]
    assert refused["is_error"]
    assert refused["result"] == "a hook refused it"
    assert "latency_ms" not in refused


async def test_the_running_trajectory_is_the_parent(memory: TrajectoryLogger) -> None:
    async with memory.trajectory(agent_name="outer") as run:
        await session(RecordedClient(options(), ScriptedCli(), logger=memory))
    await memory.flush()
    main, child = [each for each, _ in await rows(memory.backend) if each.id != run.id]
    assert main.parent_trajectory_id == main.root_trajectory_id == run.id
    assert child.parent_trajectory_id == main.id
    assert child.root_trajectory_id == run.id


async def test_labels_go_to_the_sub_agents_too(memory: TrajectoryLogger) -> None:
    fields = {"spec_id": "S", "run_id": "R", "user_id": "U", "session_id": "mine"}
    client = RecordedClient(
        options(), ScriptedCli(), logger=memory, **fields, agent_name="shop", tags=["a"]
    )
    await session(client)
    main, child = await told(memory)
    assert fields.items() <= main.items()
    assert fields.items() <= child.items()
    assert (main["agent_name"], main["tags"]) == ("shop", ["a"])


async def test_the_header_is_there_before_the_first_answer(memory: TrajectoryLogger) -> None:
    client = RecordedClient(options(), ScriptedCli(), logger=memory)
    async with client:
        await memory.flush()
        ((started, turns),) = await rows(memory.backend)
        assert started.status is TrajectoryStatus.RUNNING
        assert not turns
        await client.query(PROMPTS[0])
        async for _ in client.receive_response():
            pass
        await memory.flush()
        ((started, turns),) = await rows(memory.backend)
        assert started.status is TrajectoryStatus.RUNNING
        assert [each.turn_number for each in turns] == [1]


async def test_a_logger_without_a_loop_takes_it_too() -> None:
    with SyncTrajectoryLogger("memory://") as logger:
        client = RecordedClient(options(), ScriptedCli(), logger=logger)
        assert await session(client) == list(ANSWERS)
        backend = logger.backend
    (main, _), (child, _) = await rows(backend)
    assert main.status is child.status is TrajectoryStatus.COMPLETED


@pytest.mark.parametrize("name", ["id", "status", "error", "created_at", "ended_at"])
def test_what_the_client_sets_itself_is_refused(memory: TrajectoryLogger, name: str) -> None:
    value = getattr(Trajectory(error="x", ended_at="2026-01-01T00:00:00Z"), name)
    with pytest.raises(InvalidTurnError, match=name):
        RecordedClient(options(), ScriptedCli(), logger=memory, **{name: value})


def test_a_field_that_is_none_is_refused(memory: TrajectoryLogger) -> None:
    with pytest.raises(InvalidTurnError, match="agent"):
        RecordedClient(options(), ScriptedCli(), logger=memory, agent="x")


async def test_a_client_connects_again(memory: TrajectoryLogger) -> None:
    transports = [ScriptedCli(), ScriptedCli(session=uuid5(SESSION, "again"))]
    client = RecordedClient(options(), logger=memory)
    for transport in transports:
        client._custom_transport = transport
        await session(client)
    assert await told(memory) == [*scripted_rows(), *scripted_rows(transports[1].session)]


async def test_it_is_a_client_of_the_sdk(memory: TrajectoryLogger) -> None:
    assert isinstance(RecordedClient(logger=memory), ClaudeSDKClient)
