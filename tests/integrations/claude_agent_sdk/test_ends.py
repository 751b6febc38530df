"""How sessions end: interrupted, cancelled, failed, abandoned, emptied, or never read."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any
from uuid import uuid5

import claude_agent_sdk
import pytest
from claude_agent_sdk import (
    AssistantMessage,
    ClaudeSDKClient,
    ResultMessage,
    StreamEvent,
    TextBlock,
)
from integrations.claude_agent_sdk.stored import rows, told

from benchmarks.scripted import claude_agent_sdk as scripted
from benchmarks.scripted.claude_agent_sdk import (
    ADD_UP,
    AGENT_ID,
    ANSWERS,
    LOOKUP,
    PROMPTS,
    SESSION,
    TASK,
    Interrupted,
    ScriptedCli,
    options,
    session,
    text,
)
from trajectory import TrajectoryLogger, TrajectoryStatus
from trajectory.integrations.claude_agent_sdk import RecordedClient, recorded_query


async def works_on(cli: ScriptedCli, prompt: str) -> None:
    """Do half of a turn, and the rest of it when it never comes."""
    if prompt != "work":
        await scripted.support(cli, prompt)
        return
    cli.say(text("Working."), LOOKUP.block())
    await cli.hook("PreToolUse", LOOKUP)
    cli._event({"type": "message_start", "message": {"id": "msg_x", "model": scripted.MODEL}})
    await cli.pieces(0, text("half an answer"))
    await cli.interrupted.wait()
    raise Interrupted


async def first_pieces(client: ClaudeSDKClient, pieces: int) -> None:
    async with aclosing(client.receive_response()) as messages:  # type: ignore[type-var]
        async for message in messages:
            pieces -= isinstance(message, StreamEvent)
            if not pieces:
                return


OPEN_TURN: dict[str, Any] = {
    "turn_number": 1,
    "prompt": "work",
    "response": "half an answer",
    "model_name": scripted.MODEL,
    "input_tokens": 17,
    "output_tokens": 5,
    "cache_read_tokens": 4,
    "cache_write_tokens": 3,
    "messages": [
        {"role": "user", "content": "work"},
        {
            "role": "assistant",
            "content": "Working.",
            "model_name": scripted.MODEL,
            "usage": scripted.USAGE,
        },
        {"role": "assistant", "content": "half an answer", "model_name": scripted.MODEL},
    ],
    "tool_calls": [
        {
            "tool_name": LOOKUP.name,
            "arguments": '{"order_id": 7}',
            "call_id": LOOKUP.id,
            "message_position": 1,
        }
    ],
}


def only(found: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    (one,) = found
    turns = one.pop("turns", [])
    for turn in turns:
        turn.pop("latency_ms")
        if not turn.get("metadata", True):
            del turn["metadata"]
    return one, turns


async def test_a_turn_that_is_interrupted(logger: TrajectoryLogger) -> None:
    client = RecordedClient(options(), ScriptedCli(works_on), logger=logger)
    async with client:
        await client.query("work")
        await first_pieces(client, 4)
        await client.interrupt()
        async for message in client.receive_response():
            if isinstance(message, ResultMessage):
                assert message.is_error
    header, (turn,) = only(await told(logger))
    assert header["status"] == "cancelled"
    assert "error" not in header
    note = {"role": "user", "content": "[Request interrupted by user]"}
    if not hasattr(ResultMessage, "terminal_reason"):  # a release that doesn't pass it on
        turn["metadata"]["terminal_reason"] = "aborted_streaming"
    assert turn == {
        **OPEN_TURN,
        "stop_reason": "interrupted",
        "cost_usd": 0.25,
        "messages": [*OPEN_TURN["messages"], note],
        "metadata": {
            "requests": 1,
            "duration_api_ms": 1200,
            "subtype": "error_during_execution",
            "terminal_reason": "aborted_streaming",
        },
    }


async def test_a_session_goes_on_after_an_interruption(memory: TrajectoryLogger) -> None:
    client = RecordedClient(options(), ScriptedCli(works_on), logger=memory)
    async with client:
        await client.query("work")
        await first_pieces(client, 4)
        await client.interrupt()
        async for _ in client.receive_response():
            pass
        await client.query(PROMPTS[1])
        async for _ in client.receive_response():
            pass
    header, turns = only(await told(memory))
    assert header["status"] == "completed"
    assert [turn["prompt"] for turn in turns] == ["work", PROMPTS[1]]
    assert turns[1]["response"] == ANSWERS[1]


async def test_a_program_that_is_cancelled(logger: TrajectoryLogger) -> None:
    reading = asyncio.Event()

    async def run() -> None:
        async with RecordedClient(options(), ScriptedCli(works_on), logger=logger) as client:
            await client.query("work")
            await first_pieces(client, 4)
            reading.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    header, (turn,) = only(await told(logger))
    assert header["status"] == "cancelled"
    assert turn == OPEN_TURN


async def test_a_program_that_leaves_while_the_model_speaks(memory: TrajectoryLogger) -> None:
    async with RecordedClient(options(), ScriptedCli(works_on), logger=memory) as client:
        await client.query("work")
        await first_pieces(client, 4)
    header, (turn,) = only(await told(memory))
    assert header["status"] == "cancelled"
    assert turn == OPEN_TURN


async def test_a_query_whose_stream_is_abandoned(memory: TrajectoryLogger) -> None:
    made = recorded_query(
        prompt="work", options=options(), transport=ScriptedCli(works_on), logger=memory
    )
    pieces = 4
    async with aclosing(made) as messages:  # type: ignore[type-var]
        async for message in messages:
            pieces -= isinstance(message, StreamEvent)
            if not pieces:
                break
    header, (turn,) = only(await told(memory))
    assert header["status"] == "cancelled"
    assert turn == OPEN_TURN


async def test_a_query_that_is_left_after_its_result_is_complete(memory: TrajectoryLogger) -> None:
    made = recorded_query(
        prompt=PROMPTS[1], options=options(), transport=ScriptedCli(), logger=memory
    )
    async with aclosing(made) as messages:  # type: ignore[type-var]
        async for message in messages:
            if isinstance(message, ResultMessage):
                break
    header, (turn,) = only(await told(memory))
    assert (header["status"], turn["response"]) == ("completed", ANSWERS[1])


async def test_an_exception_of_the_program_goes_on_and_is_told(memory: TrajectoryLogger) -> None:
    with pytest.raises(LookupError, match="no shop"):
        async with RecordedClient(options(), ScriptedCli(), logger=memory) as client:
            await client.query(PROMPTS[1])
            async for _ in client.receive_response():
                pass
            raise LookupError("no shop")
    header, turns = only(await told(memory))
    assert (header["status"], header["error"]) == ("failed", "LookupError: no shop")
    assert len(turns) == 1
    assert "error" not in turns[0]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"subtype": "error_max_turns"}, "error_max_turns"),
        (
            {"subtype": "error_during_execution", "errors": ["one", "two"]},
            "error_during_execution: one; two",
        ),
        ({"subtype": "success", "answer": "API Error: 529"}, "API Error: 529"),
        ({"subtype": "success"}, "unknown"),
    ],
)
async def test_a_result_that_is_an_error(
    memory: TrajectoryLogger, fields: dict[str, Any], error: str
) -> None:
    async def script(cli: ScriptedCli, _prompt: str) -> None:
        cli.say(text("Trying."))
        cli.result(**{**fields, "is_error": True, "terminal_reason": None})

    await session(RecordedClient(options(), ScriptedCli(script), logger=memory), ("go",))
    header, (turn,) = only(await told(memory))
    assert (header["status"], header["error"]) == ("failed", error)
    assert (turn["error"], turn["response"]) == (error, "Trying.")


async def test_an_interruption_that_comes_too_late_changes_nothing(
    memory: TrajectoryLogger,
) -> None:
    async def script(cli: ScriptedCli, _prompt: str) -> None:
        cli.say(text("Nearly."))
        await cli.interrupted.wait()
        await cli.end("Done.", 1)

    client = RecordedClient(options(), ScriptedCli(script), logger=memory)
    async with client:
        await client.query("go")
        async for message in client.receive_response():
            if isinstance(message, AssistantMessage):
                assert isinstance(message.content[0], TextBlock)
                await client.interrupt()
    header, (turn,) = only(await told(memory))
    assert (header["status"], turn["response"]) == ("completed", "Done.")


async def test_a_program_that_reads_nothing_is_told_by_its_hooks(memory: TrajectoryLogger) -> None:
    ended = asyncio.Event()

    async def script(cli: ScriptedCli, prompt: str) -> None:
        await scripted.support(cli, prompt)
        ended.set()

    async with RecordedClient(options(), ScriptedCli(script), logger=memory) as client:
        await client.query(PROMPTS[0])
        await ended.wait()
    header, (turn,) = only(await told(memory))
    assert header["status"] == "cancelled"
    assert (turn["prompt"], turn["response"]) == (PROMPTS[0], ANSWERS[0])
    assert [call["is_error"] for call in turn["tool_calls"]] == [False, True]
    assert [call["latency_ms"] for call in turn["tool_calls"]] == [30.0, 40.0]


async def test_a_process_that_dies(memory: TrajectoryLogger) -> None:
    async def script(cli: ScriptedCli, _prompt: str) -> None:
        cli.say(text("Before."))
        cli._frames.put_nowait({"broken": True})  # no frame: the reader fails on it

    class Dies(ScriptedCli):
        async def read_messages(self) -> Any:
            async for frame in super().read_messages():
                if "broken" in frame:
                    raise ConnectionError("the pipe broke")
                yield frame

    # An older release gives its text alone.
    with pytest.raises(Exception, match="the pipe broke") as raised:
        async for _ in recorded_query(
            prompt="go", options=options(), transport=Dies(script), logger=memory
        ):
            pass
    header, (turn,) = only(await told(memory))
    told_error = f"{raised.type.__name__}: the pipe broke"
    assert (header["status"], header["error"]) == ("failed", told_error)
    assert (turn["error"], turn["response"]) == (told_error, "Before.")


async def test_a_client_that_can_not_connect(memory: TrajectoryLogger) -> None:
    class Refuses(ScriptedCli):
        async def connect(self) -> None:
            raise ConnectionError("no program")

    client = RecordedClient(options(), Refuses(), logger=memory)
    before = client.options
    with pytest.raises(ConnectionError, match="no program"):
        await client.connect()
    assert client.options is before
    header, turns = only(await told(memory))
    assert (header["status"], header["error"]) == ("failed", "ConnectionError: no program")
    assert not turns


async def test_a_conversation_that_is_emptied_goes_on_in_another(memory: TrajectoryLogger) -> None:
    async def script(cli: ScriptedCli, prompt: str) -> None:
        cli.say(text(f"You said {prompt}."))
        await cli.end(f"You said {prompt}.", 1)
        if prompt == "a":
            reset = {"type": "conversation_reset", "new_conversation_id": "x"}
            cli.frame({**reset, "uuid": cli.name(), "session_id": cli.session})
            cli.session, cli.cost = str(uuid5(SESSION, "new")), 0.0

    await session(RecordedClient(options(), ScriptedCli(script), logger=memory), ("a", "b"))
    if not hasattr(claude_agent_sdk, "ConversationResetMessage"):  # a release that hides it
        _, turns = only(await told(memory))
        assert [turn["prompt"] for turn in turns] == ["a", "b"]
        return
    first, second = await told(memory)
    assert (first["session_id"], second["session_id"]) == (str(SESSION), str(uuid5(SESSION, "new")))
    for found, prompt in ((first, "a"), (second, "b")):
        assert found["status"] == "completed"
        assert found["agent_version"] == "9.9.9"
        assert [turn["prompt"] for turn in found["turns"]] == [prompt]
        assert found["turns"][0]["cost_usd"] == 0.25


async def test_a_sub_agent_in_the_background_outlives_its_turn(memory: TrajectoryLogger) -> None:
    task = scripted.Call(
        "Agent",
        '{"prompt": "Add up.", "subagent_type": "accountant", "run_in_background": true}',
        id=TASK.id,
    )

    async def script(cli: ScriptedCli, prompt: str) -> None:
        of_task = {"task_id": AGENT_ID, "tool_use_id": task.id, "session_id": cli.session}
        if prompt == "start":
            cli.say(task.block())
            await cli.hook("PreToolUse", task)
            started = {"type": "system", "subtype": "task_started", "task_type": "local_agent"}
            cli.frame({**started, **of_task, "description": "Add", "uuid": cli.name()})
            launched = {"status": "async_launched", "agentId": AGENT_ID}
            await cli.hook("PostToolUse", task, tool_response=launched, duration_ms=1)
            cli.give(task, "started", structured=launched)
            cli.say(text("It runs."))
            await cli.end("It runs.", 2)
        else:
            cli.say(text("Adding."), ADD_UP.block(), parent=task.id)
            await cli.use(ADD_UP, parent=task.id, agent=AGENT_ID)
            stop: dict[str, Any] = {
                "agent_id": AGENT_ID,
                "agent_type": "accountant",
                "stop_hook_active": False,
            }
            await cli.hook("SubagentStop", **stop, last_assistant_message="12.50 it is.")
            note = {"type": "system", "subtype": "task_notification", "status": "completed"}
            note |= {"summary": "done", "output_file": ""}
            cli.frame({**note, **of_task, "uuid": cli.name()})
            cli.say(text("It is done."))
            await cli.end("It is done.", 1)

    client = RecordedClient(options(), ScriptedCli(script), logger=memory)
    await session(client, ("start", "and?"))
    main, child = await told(memory)
    assert [turn["response"] for turn in main["turns"]] == ["It runs.", "It is done."]
    assert main["turns"][0]["metadata"]["sub_agents"] == {task.id: "accountant"}
    assert child["status"] == "completed"
    (turn,) = child["turns"]
    assert (turn["prompt"], turn["response"]) == ("Add up.", "12.50 it is.")
    assert [call["result"] for call in turn["tool_calls"]] == [ADD_UP.result]


async def test_a_sub_agent_is_cancelled_with_its_turn(memory: TrajectoryLogger) -> None:
    async def script(cli: ScriptedCli, _prompt: str) -> None:
        cli.say(TASK.block())
        await cli.hook("PreToolUse", TASK)
        cli.say(text("Adding."), ADD_UP.block(), parent=TASK.id)
        await cli.hook("PreToolUse", ADD_UP, agent_id=AGENT_ID, agent_type="accountant")
        await cli.interrupted.wait()
        raise Interrupted

    client = RecordedClient(options(), ScriptedCli(script), logger=memory)
    async with client:
        await client.query("go")
        async for message in client.receive_messages():
            if (
                isinstance(message, AssistantMessage)
                and len(message.content)
                and (getattr(message.content[0], "id", None) == ADD_UP.id)
            ):
                await client.interrupt()
            if isinstance(message, ResultMessage):
                break
    main, child = await told(memory)
    assert main["status"] == child["status"] == "cancelled"
    assert child["turns"][0]["response"] == "Adding."
    (call,) = child["turns"][0]["tool_calls"]
    assert call["tool_name"] == ADD_UP.name
    assert "result" not in call


async def test_a_resumed_session_does_not_guess_what_its_first_turn_cost(
    memory: TrajectoryLogger,
) -> None:
    client = RecordedClient(options(resume=str(SESSION)), ScriptedCli(), logger=memory)
    await session(client, PROMPTS[:2])
    _, turns = only(await told(memory))
    assert [turn.get("cost_usd") for turn in turns] == [None, 0.25]


async def test_the_trajectory_ends_after_its_turns(memory: TrajectoryLogger) -> None:
    await session(RecordedClient(options(), ScriptedCli(), logger=memory))
    await memory.flush()
    for header, turns in await rows(memory.backend):
        assert header.status is TrajectoryStatus.COMPLETED
        assert header.ended_at is not None
        assert all(header.created_at <= turn.created_at <= header.ended_at for turn in turns)
