"""Whatever Claude Code says: the program sees the same as without us, and it comes back as data."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from claude_agent_sdk import ClaudeSDKClient, ResultMessage
from integrations.claude_agent_sdk.stored import rows

from benchmarks.scripted import claude_agent_sdk as scripted
from benchmarks.scripted.claude_agent_sdk import (
    PROMPTS,
    TASK,
    ScriptedCli,
    options,
    session,
    text,
)
from trajectory import TrajectoryLogger
from trajectory.integrations.claude_agent_sdk import RecordedClient
from trajectory.integrations.claude_agent_sdk.recording import Recording
from trajectory.integrations.claude_agent_sdk.sub_agents import MAX_OPEN

HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe \u2066 \x00 \ud800 <|im_end|>"
STORED = HOSTILE.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")


async def test_hostile_words_come_back_as_data(logger: TrajectoryLogger) -> None:
    call = scripted.Call(HOSTILE, json.dumps({HOSTILE: HOSTILE}), HOSTILE, id=f"toolu_{HOSTILE}")
    task = scripted.Call(
        "Task",
        json.dumps({"prompt": HOSTILE, "subagent_type": HOSTILE, "description": HOSTILE}),
        HOSTILE,
        id="toolu_task",
    )

    async def script(cli: ScriptedCli, _prompt: str) -> None:
        cli.say(scripted.thinking(HOSTILE), text(HOSTILE), call.block(), task.block())
        await cli.use(call)
        await cli.delegate(task, scripted.ADD_UP)
        await cli.end(HOSTILE, 1)

    answers = await session(
        RecordedClient(options(), ScriptedCli(script), logger=logger), (HOSTILE,)
    )
    assert answers == [HOSTILE]
    await logger.flush()
    (_, (turn,)), (child, (inner,)) = await rows(logger.backend)
    assert (turn.prompt, turn.response) == (STORED, STORED)
    assert (turn.messages[1].content, turn.messages[1].reasoning) == (STORED, STORED)
    assert turn.tool_calls[0].tool_name == turn.tool_calls[0].result == STORED
    assert (child.agent_name, inner.prompt, inner.response) == (STORED, STORED, STORED)


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


BAD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 2**70, -(2**70), "", "x", HOSTILE, "\ud800" * 3, [], {}),
    *([None], {"": None}, {"type": 5}, deep(200), ["x"] * 1000, float("nan"), float("inf")),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    pairs: Any = enumerate(value) if isinstance(value, list) else ()
    for key, member in value.items() if isinstance(value, dict) else pairs:
        found += places(member, (*path, key))
    return found


def spoilt(frame: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Put something wrong at a random place, or take something away."""
    made = copy.deepcopy(frame)
    *path, key = chance.choice(places(made))
    inner: Any = made
    for each in path:
        inner = inner[each]
    if isinstance(inner, dict) and chance.random() < 0.3:
        del inner[key]
    else:
        inner[key] = copy.deepcopy(chance.choice(BAD))
    return made


async def heard() -> list[dict[str, Any]]:
    """Give the frames of the scripted session, and what its hooks are told."""
    frames: list[dict[str, Any]] = []

    class Tells(ScriptedCli):
        def frame(self, frame: dict[str, Any]) -> None:
            frames.append(json.loads(json.dumps(frame)))
            super().frame(frame)

    async with TrajectoryLogger("memory://") as logger:
        await session(RecordedClient(options(), Tells(), logger=logger))
    return frames


@pytest.mark.parametrize("seed", range(20))
async def test_spoilt_messages_raise_nothing(memory: TrajectoryLogger, seed: int) -> None:
    """All that the SDK passes on, and all that hooks are told, at random places wrong."""
    from claude_agent_sdk._errors import MessageParseError
    from claude_agent_sdk._internal.message_parser import parse_message

    frames, chance = await heard(), random.Random(seed)
    taken = 0
    for _ in range(15):
        recording = Recording(memory, options(), {})
        recording.begin()
        recording.sent(chance.choice([PROMPTS[0], {"message": chance.choice(BAD)}, deep(100)]))
        for frame in frames:
            wrong = spoilt(frame, chance) if chance.random() < 0.5 else frame
            request = wrong.get("request")
            if isinstance(request, dict) and isinstance(request.get("input"), dict):
                recording.hook(request["input"], request.get("tool_use_id"))
                continue
            try:
                message = parse_message(wrong)
            except (MessageParseError, TypeError, AttributeError, KeyError):
                continue  # the SDK itself refuses it
            recording.saw(message)
            taken += 1
        recording.end(None)
    assert taken
    report = await memory.flush()
    assert not report.dead_lettered
    assert memory.statistics().dropped == 0


async def test_the_sdk_passes_on_the_same_with_and_without_us(memory: TrajectoryLogger) -> None:
    async def messages(client: ClaudeSDKClient) -> list[Any]:
        found = []
        async with client:
            for prompt in PROMPTS:
                await client.query(prompt)
                found += [each async for each in client.receive_response()]
        return found

    ours = RecordedClient(options(), ScriptedCli(), logger=memory)
    assert await messages(ours) == await messages(ClaudeSDKClient(options(), ScriptedCli()))


async def test_so_many_sub_agents_at_once_are_followed_and_no_more(
    memory: TrajectoryLogger,
) -> None:
    many = MAX_OPEN + 50

    async def script(cli: ScriptedCli, _prompt: str) -> None:
        for number in range(many):
            cli.say({**TASK.block(), "id": f"toolu_{number}"})
            cli.say(text(f"I am {number}."), parent=f"toolu_{number}")
        await cli.end("done", 1)

    client = RecordedClient(options(), ScriptedCli(script), logger=memory)
    async with client:
        await client.query("go")
        async for message in client.receive_response():
            if isinstance(message, ResultMessage):
                break
            assert client._recording is not None
            assert len(client._recording._agents()._running) <= MAX_OPEN
    await memory.flush()
    assert memory.statistics().dropped == 0
    found = await rows(memory.backend)
    assert len(found) == 1 + many
    assert all(len(turns) == 1 for _, turns in found)
