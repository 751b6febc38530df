"""Turns that end badly, prompts that don't get there, and what must not come of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient
from integrations.claude_agent_sdk.stored import told

from benchmarks.scripted.claude_agent_sdk import (
    ADD_UP,
    AGENT_ID,
    TASK,
    Interrupted,
    ScriptedCli,
    options,
    session,
    text,
)
from trajectory import TrajectoryLogger
from trajectory.integrations.claude_agent_sdk import RecordedClient, recording
from trajectory.integrations.claude_agent_sdk.results import Outcome
from trajectory.integrations.claude_agent_sdk.sub_agents import MAX_CLOSED, SubAgents


class Steps(ScriptedCli):
    """Says of each turn that it runs, and that it is over."""

    def __init__(self) -> None:
        super().__init__(self.answers)
        self.runs: asyncio.Queue[str] = asyncio.Queue()
        self.over: asyncio.Queue[str] = asyncio.Queue()

    async def answers(self, _cli: ScriptedCli, prompt: str) -> None:
        self.runs.put_nowait(prompt)
        if prompt == "stop me":
            self.say(text("I begin."))
            await self.interrupted.wait()
            raise Interrupted
        if prompt.startswith("fail"):
            self.result("error_during_execution", is_error=True, terminal_reason=None)
        else:
            self.say(text(f"You said {prompt}."))
            await self.end(f"You said {prompt}.", 1)
        self.over.put_nowait(prompt)


async def read(client: ClaudeSDKClient, turns: int = 1) -> None:
    for _ in range(turns):
        async for _message in client.receive_response():
            pass


def pairs(trajectory: dict[str, Any]) -> list[tuple[str, str]]:
    return [(turn["prompt"], turn.get("response", "")) for turn in trajectory["turns"]]


async def test_what_follows_an_interruption_is_told_apart_when_it_is_read_late(
    memory: TrajectoryLogger,
) -> None:
    cli = Steps()
    async with RecordedClient(options(), cli, logger=memory) as client:
        await client.query("stop me")
        await cli.runs.get()
        await client.interrupt()
        await client.query("second")
        await cli.over.get()
        await read(client, 2)
    (found,) = await told(memory)
    assert pairs(found) == [("stop me", "I begin."), ("second", "You said second.")]
    assert found["status"] == "completed"


async def test_what_follows_errors_is_told_apart_when_it_is_read_late(
    memory: TrajectoryLogger,
) -> None:
    cli = Steps()
    async with RecordedClient(options(), cli, logger=memory) as client:
        for prompt in ("fail 1", "fail 2", "third", "fourth"):
            await client.query(prompt)
            await cli.over.get()
        await read(client, 4)
    (found,) = await told(memory)
    answered = [(prompt, f"You said {prompt}.") for prompt in ("third", "fourth")]
    assert pairs(found) == [("fail 1", ""), ("fail 2", ""), *answered]


async def test_a_prompt_that_a_failing_turn_took_in_stays_with_it(
    memory: TrajectoryLogger,
) -> None:
    async def script(cli: ScriptedCli, prompt: str) -> None:
        if prompt == "next":
            await cli.end("Done.", 1)
            return
        await cli.hook("UserPromptSubmit", prompt="and this")
        cli.result("error_during_execution", is_error=True, terminal_reason=None)

    cli = ScriptedCli(script)
    await session(RecordedClient(options(), cli, logger=memory), ("do it", "next"))
    (found,) = await told(memory)
    assert pairs(found) == [("do it\n\nand this", ""), ("next", "Done.")]


class Breaks(Steps):
    """Has a pipe that breaks when a prompt is written."""

    breaks = 0

    async def write(self, data: str) -> None:
        if self.breaks and json.loads(data)["type"] == "user":
            self.breaks -= 1
            raise ConnectionError("no pipe")
        await super().write(data)


async def one(words: str) -> AsyncIterator[dict[str, Any]]:
    yield {"type": "user", "message": {"role": "user", "content": words}}


@pytest.mark.parametrize("made", [str, one], ids=["text", "stream"])
async def test_a_prompt_that_could_not_be_sent_is_none(
    memory: TrajectoryLogger, made: Callable[[str], Any]
) -> None:
    cli = Breaks()
    async with RecordedClient(options(), cli, logger=memory) as client:
        for prompt in ("first", "second"):
            cli.breaks = 1
            with pytest.raises(ConnectionError, match="no pipe"):
                await client.query(made(prompt))
            await client.query(made(prompt))
            await read(client)
        cli.breaks = 1
        with pytest.raises(ConnectionError, match="no pipe"):
            await client.query(made("never"))
    (found,) = await told(memory)
    assert pairs(found) == [(each, f"You said {each}.") for each in ("first", "second")]
    assert found["status"] == "completed"


async def test_options_may_be_set_at_any_time(memory: TrajectoryLogger) -> None:
    client = RecordedClient(ClaudeAgentOptions(model="a"), ScriptedCli(), logger=memory)
    client.options = before = replace(client.options, model="b")
    await client.connect()
    assert client.options is before
    client.options = after = replace(client.options, model="c")
    await client.disconnect()
    assert client.options is after
    assert not after.hooks


async def test_a_connection_below_a_trajectory_that_is_below_another(
    memory: TrajectoryLogger,
) -> None:
    async with (
        memory.trajectory(agent_name="top") as top,
        memory.trajectory(agent_name="middle", **top.as_parent()),
    ):
        await session(RecordedClient(options(), Steps(), logger=memory), ("hello",))
    found = {each["agent_name"]: each for each in await told(memory)}
    assert (found["claude-code"]["parent"], found["claude-code"]["root"]) == ("middle", "top")


@pytest.mark.parametrize(
    ("errors", "error"),
    [(5, "5"), ("one text", "one text"), ({}, None), (["a", 7], "a; 7")],
    ids=["number", "text", "empty", "list"],
)
async def test_a_result_whose_errors_are_no_list_ends_its_turn(
    memory: TrajectoryLogger, errors: Any, error: str | None
) -> None:
    async def script(cli: ScriptedCli, prompt: str) -> None:
        if prompt == "wrong":
            cli.result("error_max_turns", is_error=True, terminal_reason=None, errors=errors)
        else:
            await cli.end("right", 1)

    client = RecordedClient(options(), ScriptedCli(script), logger=memory)
    await session(client, ("wrong", "ask"))
    (found,) = await told(memory)
    assert pairs(found) == [("wrong", ""), ("ask", "right")]
    expected = f"error_max_turns: {error}" if error else "error_max_turns"
    assert found["turns"][0]["error"] == expected


@pytest.mark.parametrize("broken", ["outcome_of", "facts_of"])
async def test_a_result_that_can_not_be_read_ends_its_turn(
    memory: TrajectoryLogger, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise LookupError

    monkeypatch.setattr(recording, broken, fails)
    await session(RecordedClient(options(), Steps(), logger=memory), ("a", "fail", "b"))
    (found,) = await told(memory)
    assert pairs(found) == [("a", "You said a."), ("fail", ""), ("b", "You said b.")]
    assert found["turns"][1]["error"]


async def test_what_comes_late_of_a_sub_agent_makes_no_other(memory: TrajectoryLogger) -> None:
    async def script(cli: ScriptedCli, _prompt: str) -> None:
        cli.say(TASK.block())
        await cli.delegate(TASK, ADD_UP)
        cli.say(text("Late."), parent=TASK.id)
        cli.give(ADD_UP, "late", parent=TASK.id)
        late = {"type": "system", "subtype": "task_started", "task_type": "local_agent"}
        late |= {"task_id": AGENT_ID, "tool_use_id": TASK.id, "description": "Add up"}
        cli.frame({**late, "uuid": cli.name(), "session_id": cli.session})
        cli.give(TASK, "again", structured={"agentId": AGENT_ID})
        await cli.end("Done.", 1)

    await session(RecordedClient(options(), ScriptedCli(script), logger=memory), ("go",))
    main, child = await told(memory)
    assert pairs(main) == [("go", "Done.")]
    assert [turn["response"] for turn in child["turns"]] == [TASK.result]


async def test_so_many_sub_agents_that_ended_are_remembered(memory: TrajectoryLogger) -> None:
    made = recording.Recording(memory, options(), {})
    made.begin()
    agents: SubAgents = made._agents()
    for number in range(MAX_CLOSED + 5):
        assert agents.of_call(f"toolu_{number}", None) is not None
        agents.turn_ends(Outcome())
    assert len(agents._closed) == MAX_CLOSED
    assert agents.of_call(f"toolu_{MAX_CLOSED}", None) is None
    made.end(None)


async def test_a_message_that_could_not_be_read_once_is_no_failure_of_the_rest(
    memory: TrajectoryLogger,
) -> None:
    cli = Steps()
    async with RecordedClient(options(), cli, logger=memory) as client:
        cli.frame({"type": "assistant", "message": {}})
        with pytest.raises(Exception, match="content"):
            await read(client)
        await client.query("hello")
        await read(client)
    (found,) = await told(memory)
    assert (found["status"], pairs(found)) == ("completed", [("hello", "You said hello.")])
