"""A program on the Claude Agent SDK with a scripted Claude Code: nothing leaves the process.

The SDK runs a program of its own, Claude Code, and talks with it in JSON. `ScriptedCli` stands for
that program: it answers the SDK's requests, calls the hooks that it was given, and says what a
script tells it to say. A session has three turns: two tools, of which one fails; a streamed answer;
and a sub-agent that uses a tool.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKClient,
    HookMatcher,
    ResultMessage,
    Transport,
)

from trajectory import TrajectoryLogger

MODEL = "claude-scripted-1"
SYSTEM = "You look after orders."
PROMPTS = ("Where is order 7? And refund it.", "Thanks!", "Check the bill.")
ANSWERS = (
    "Order 7 is on its way; the refund failed.",
    "You are welcome.",
    "The bill is right.",
)
TASK_PROMPT = "Add up the bill of order 7."
SESSION = UUID("00000000-0000-7000-8000-000000000007")


@dataclass(frozen=True)
class Call:
    """A tool call, and what comes of it."""

    name: str
    arguments: str
    result: str = ""
    error: str | None = None
    id: str = ""

    @property
    def input(self) -> Any:
        """What the tool is given."""
        return json.loads(self.arguments)

    def block(self) -> dict[str, Any]:
        """Write it as the model does."""
        return {"type": "tool_use", "id": self.id, "name": self.name, "input": self.input}


# Spaces and numbers that JSON written anew would not have; they show in streamed answers alone.
LOOKUP = Call("mcp__shop__lookup", '{ "order_id":7 }', "order 7: on its way", id="toolu_lookup")
REFUND = Call("mcp__shop__refund", '{"order_id": 7}', error="no such payment", id="toolu_refund")
ADD_UP = Call("mcp__shop__add_up", '{"order_id": 7}', "12.50", id="toolu_add_up")
TASK = Call(
    "Task",
    json.dumps({"description": "Add up", "prompt": TASK_PROMPT, "subagent_type": "accountant"}),
    "It comes to 12.50.",
    id="toolu_task",
)
AGENT_ID = "a17"

USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 4,
    "output_tokens": 5,
}


class Interrupted(Exception):  # noqa: N818 - it is no error
    """The program has asked for the turn to end."""


class ScriptedCli(Transport):
    """Stands for Claude Code. `script` says what happens in the turn of a prompt."""

    def __init__(
        self,
        script: Callable[[ScriptedCli, str], Awaitable[None]] | None = None,
        *,
        session: UUID = SESSION,
        streams: bool = True,
    ) -> None:
        self._script = support if script is None else script
        self.session = str(session)
        self.streams = streams
        self._frames: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._prompts: asyncio.Queue[Any] = asyncio.Queue()
        self._hooks: Mapping[str, Any] = {}
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self._requests = self._told = 0
        self.cost = 0.0
        self.interrupted = asyncio.Event()
        self.wrote: list[dict[str, Any]] = []
        """What the SDK wrote, of prompts and answers to hooks."""
        self._work: asyncio.Task[None] | None = None

    # What the SDK calls.

    async def connect(self) -> None:
        """Start."""
        self._work = asyncio.create_task(self._live(), name="scripted-cli")

    async def write(self, data: str) -> None:
        """Take a line."""
        line = json.loads(data)
        if line["type"] == "control_request":
            request = line["request"]
            if request["subtype"] == "initialize":
                self._hooks = request.get("hooks") or {}
            elif request["subtype"] == "interrupt":
                self.interrupted.set()
            response = {"subtype": "success", "request_id": line["request_id"], "response": {}}
            self.frame({"type": "control_response", "response": response})
        elif line["type"] == "control_response":
            self.wrote.append(line)
            answer = self._answers.pop(line["response"]["request_id"])
            answer.set_result(line["response"])
        else:
            self.wrote.append(line)
            self._prompts.put_nowait(line["message"]["content"])

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        """Give what is said, until there is no more."""
        while (frame := await self._frames.get()) is not None:
            yield frame

    async def end_input(self) -> None:
        """Expect no more prompts."""
        self._prompts.put_nowait(None)

    async def close(self) -> None:
        """Stop."""
        if self._work is not None:
            self._work.cancel()
            with suppress(asyncio.CancelledError):
                await self._work

    def is_ready(self) -> bool:
        """Say that all is well."""
        return True

    # What Claude Code does.

    async def _live(self) -> None:
        try:
            while (prompt := await self._prompts.get()) is not None:
                await self._take(prompt if isinstance(prompt, str) else prompt[0]["text"])
        finally:
            self._frames.put_nowait(None)

    async def _take(self, prompt: str) -> None:
        self.interrupted.clear()
        self._told_system()
        await self.hook("UserPromptSubmit", prompt=prompt)
        try:
            await self._script(self, prompt)
        except Interrupted:
            note = [{"type": "text", "text": "[Request interrupted by user]"}]
            self.frame({"type": "user", "message": {"role": "user", "content": note}})
            self.result(
                "error_during_execution", is_error=True, terminal_reason="aborted_streaming"
            )

    def frame(self, frame: dict[str, Any]) -> None:
        """Say something."""
        self._frames.put_nowait(json.loads(json.dumps(frame)))

    def name(self, kind: str = "") -> str:
        """Make up the next id: the same in every run of a script."""
        self._told += 1
        return f"{kind}{uuid5(SESSION, f'{self.session} {self._told}')}"

    def _told_system(self) -> None:
        self.frame(
            {
                "type": "system",
                "subtype": "init",
                "uuid": self.name(),
                "session_id": self.session,
                "cwd": "/shop",
                "tools": ["Task", LOOKUP.name, REFUND.name, ADD_UP.name],
                "mcp_servers": [{"name": "shop", "status": "connected"}],
                "model": MODEL,
                "permissionMode": "default",
                "slash_commands": [],
                "apiKeySource": "none",
                "claude_code_version": "9.9.9",
                "output_style": "default",
                "agents": ["accountant"],
                "skills": [],
                "plugins": [],
            }
        )

    async def hook(self, event: str, tool: Call | None = None, **data: Any) -> list[Any]:
        """Call the hooks of an event, one after another; give what they answer."""
        given = {
            "hook_event_name": event,
            "session_id": self.session,
            "transcript_path": "/dev/null",
            "cwd": "/shop",
            **data,
        }
        if tool is not None:
            given |= {"tool_name": tool.name, "tool_input": tool.input, "tool_use_id": tool.id}
        answers = []
        for matcher in self._hooks.get(event) or ():
            if tool is not None and matcher["matcher"] not in (None, tool.name):
                continue
            for callback in matcher["hookCallbackIds"]:
                self._requests += 1
                name = f"cli_{self._requests}"
                answer = self._answers[name] = asyncio.get_running_loop().create_future()
                request: dict[str, Any] = {
                    "subtype": "hook_callback",
                    "callback_id": callback,
                    "input": given,
                }
                request["tool_use_id"] = None if tool is None else tool.id
                self.frame({"type": "control_request", "request_id": name, "request": request})
                answers.append(await answer)
        return answers

    def say(
        self,
        *blocks: dict[str, Any],
        parent: str | None = None,
        usage: Mapping[str, Any] = USAGE,
        name: str | None = None,
    ) -> None:
        """Say an answer of the model's: one frame a block, as Claude Code does."""
        name = name or self.name("msg_")
        for block in blocks:
            message: dict[str, Any] = {"id": name, "role": "assistant", "model": MODEL}
            message["content"] = [block]
            message["usage"] = dict(usage)
            self.frame(
                {
                    "type": "assistant",
                    "message": message,
                    "parent_tool_use_id": parent,
                    "session_id": self.session,
                    "uuid": self.name(),
                }
            )

    def _event(self, event: dict[str, Any]) -> None:
        common = {"type": "stream_event", "uuid": self.name(), "session_id": self.session}
        self.frame({**common, "event": event, "parent_tool_use_id": None})

    async def stream(
        self, *blocks: dict[str, Any], written: Mapping[str, str] | None = None, stop: str
    ) -> None:
        """Say an answer of the model's in pieces, and each block when it is complete.

        `written` has the arguments of tool calls as the model wrote them, by id.
        """
        if not self.streams:
            self.say(*blocks)
            return
        name = self.name("msg_")
        begun = {**USAGE, "output_tokens": 1}
        start = {"id": name, "role": "assistant", "model": MODEL, "content": [], "usage": begun}
        self._event({"type": "message_start", "message": start})
        for index, block in enumerate(blocks):
            await self.pieces(index, block, (written or {}).get(block.get("id", "")))
            self.say(block, usage=begun, name=name)
            self._event({"type": "content_block_stop", "index": index})
        delta = {"stop_reason": stop}
        usage = {"output_tokens": USAGE["output_tokens"]}
        self._event({"type": "message_delta", "delta": delta, "usage": usage})
        self._event({"type": "message_stop"})

    async def pieces(self, index: int, block: dict[str, Any], written: str | None = None) -> None:
        """Say a block in two pieces."""
        kind = block["type"]
        key = {"text": "text", "thinking": "thinking"}.get(kind, "partial_json")
        text = written if kind == "tool_use" and written is not None else block.get(key)
        text = json.dumps(block["input"]) if text is None else text
        empty = {**block, "input": {}} if kind == "tool_use" else {**block, key: ""}
        self._event({"type": "content_block_start", "index": index, "content_block": empty})
        of = {"text": "text_delta", "thinking": "thinking_delta"}.get(kind, "input_json_delta")
        for piece in (text[: len(text) // 2], text[len(text) // 2 :]):
            delta = {"type": of, key: piece}
            self._event({"type": "content_block_delta", "index": index, "delta": delta})
            await asyncio.sleep(0)

    async def use(self, call: Call, *, parent: str | None = None, agent: str | None = None) -> None:
        """Run a tool, with its hooks."""
        inside = {} if agent is None else {"agent_id": agent, "agent_type": "accountant"}
        refusals = await self.hook("PreToolUse", call, **inside)
        refused = any(
            (answer.get("response") or {}).get("hookSpecificOutput", {}).get("permissionDecision")
            == "deny"
            for answer in refusals
        )
        if refused:
            self.give(call, "a hook refused it", is_error=True, parent=parent)
        elif call.error is not None:
            await self.hook("PostToolUseFailure", call, error=call.error, duration_ms=40, **inside)
            self.give(call, call.error, is_error=True, parent=parent)
        else:
            response = [{"type": "text", "text": call.result}]
            await self.hook("PostToolUse", call, tool_response=response, duration_ms=30, **inside)
            self.give(call, response, parent=parent)

    def give(
        self,
        call: Call,
        content: Any,
        *,
        is_error: bool = False,
        parent: str | None = None,
        structured: Any = None,
    ) -> None:
        """Give the model the result of a call."""
        block = {"type": "tool_result", "tool_use_id": call.id, "content": content}
        if is_error:
            block["is_error"] = True
        self.frame(
            {
                "type": "user",
                "message": {"role": "user", "content": [block]},
                "parent_tool_use_id": parent,
                "session_id": self.session,
                "uuid": self.name(),
                "tool_use_result": structured,
            }
        )

    async def delegate(self, call: Call, inner: Call) -> None:
        """Run a sub-agent that uses one tool and answers."""
        await self.hook("PreToolUse", call)
        await self.hook("SubagentStart", agent_id=AGENT_ID, agent_type="accountant")
        self.frame(
            {
                "type": "system",
                "subtype": "task_started",
                "task_id": AGENT_ID,
                "tool_use_id": call.id,
                "task_type": "local_agent",
                "description": "Add up",
                "uuid": self.name(),
                "session_id": self.session,
            }
        )
        self.say(text("Adding."), inner.block(), parent=call.id)
        await self.use(inner, parent=call.id, agent=AGENT_ID)
        await self.hook(
            "SubagentStop",
            agent_id=AGENT_ID,
            agent_type="accountant",
            agent_transcript_path="/dev/null",
            stop_hook_active=False,
            last_assistant_message=call.result,
        )
        content = [{"type": "text", "text": call.result}]
        structured = {
            "status": "completed",
            "agentId": AGENT_ID,
            "content": content,
            "totalDurationMs": 70,
            "totalTokens": 44,
            "totalToolUseCount": 1,
            "usage": USAGE,
        }
        await self.hook("PostToolUse", call, tool_response=structured, duration_ms=80)
        settled = {"type": "system", "subtype": "task_notification", "status": "completed"}
        settled |= {"task_id": AGENT_ID, "tool_use_id": call.id, "output_file": "", "summary": ""}
        self.frame({**settled, "uuid": self.name(), "session_id": self.session})
        self.give(call, content, structured=structured)

    async def end(self, answer: str, requests: int) -> None:
        """End a turn well."""
        await self.hook("Stop", stop_hook_active=False, last_assistant_message=answer)
        self.result("success", answer=answer, requests=requests)

    def result(
        self, subtype: str, *, answer: str | None = None, requests: int = 1, **fields: Any
    ) -> None:
        """Say how a turn ended. The cost is that of the session so far, the usage is the turn's."""
        self.cost += 0.25
        self.frame(
            {
                "type": "result",
                "subtype": subtype,
                "duration_ms": 1500,
                "duration_api_ms": 1200,
                "is_error": False,
                "num_turns": requests,
                "session_id": self.session,
                "total_cost_usd": self.cost,
                "usage": {name: count * requests for name, count in USAGE.items()},
                "result": answer,
                "stop_reason": "end_turn" if answer is not None else None,
                "terminal_reason": "completed",
                "permission_denials": [],
                "uuid": self.name(),
                **fields,
            }
        )


def text(words: str) -> dict[str, Any]:
    """Write a block of text."""
    return {"type": "text", "text": words}


def thinking(words: str) -> dict[str, Any]:
    """Write a block of thought."""
    return {"type": "thinking", "thinking": words, "signature": "c2lnbmVk"}


async def support(cli: ScriptedCli, prompt: str) -> None:
    """Answer as the agent of the program does."""
    if prompt == PROMPTS[0]:
        look = (thinking("Two tools will do."), text("Let me look."))
        cli.say(*look, LOOKUP.block(), REFUND.block())
        await cli.use(LOOKUP)
        await cli.use(REFUND)
        cli.say(text(ANSWERS[0]))
        await cli.end(ANSWERS[0], 2)
    elif prompt == PROMPTS[1]:
        await cli.stream(text(ANSWERS[1]), stop="end_turn")
        await cli.end(ANSWERS[1], 1)
    else:
        written = {TASK.id: TASK.arguments}
        await cli.stream(TASK.block(), written=written, stop="tool_use")
        await cli.delegate(TASK, ADD_UP)
        cli.say(text(ANSWERS[2]))
        await cli.end(ANSWERS[2], 2)


def options(**fields: Any) -> ClaudeAgentOptions:
    """Make the options of the program; it has a hook of its own."""

    async def looks(_given: Any, _tool: str | None, _context: Any) -> Any:
        return {}

    hooks = {"PreToolUse": [HookMatcher(matcher="mcp__shop__refund", hooks=[looks])]}
    given: dict[str, Any] = {"system_prompt": SYSTEM, "include_partial_messages": True, **fields}
    return ClaudeAgentOptions(**{"hooks": hooks, **given})


async def session(client: ClaudeSDKClient, prompts: tuple[str, ...] = PROMPTS) -> list[Any]:
    """Hold the three turns of a session; give the answers."""
    answers = []
    async with client:
        for prompt in prompts:
            await client.query(prompt)
            messages = [message async for message in client.receive_response()]
            answers += [each.result for each in messages if isinstance(each, ResultMessage)]
    return answers


_make: Callable[..., ClaudeSDKClient] = ClaudeSDKClient


async def program(runs: int) -> list[Any]:
    """Hold so many sessions one after another."""
    return [await session(_make(options=options(), transport=ScriptedCli())) for _ in range(runs)]


async def at_once(runs: int) -> list[Any]:
    """Hold so many sessions at once."""
    sessions: list[Any] = await asyncio.gather(
        *(
            session(
                _make(options=options(), transport=ScriptedCli(session=uuid5(SESSION, str(number))))
            )
            for number in range(runs)
        )
    )
    return sessions


@contextmanager
def attached(logger: TrajectoryLogger) -> Iterator[None]:
    """Record: the program's clients are ours."""
    from trajectory.integrations.claude_agent_sdk import RecordedClient

    global _make  # noqa: PLW0603 - as a program that imports another client

    def make(**arguments: Any) -> ClaudeSDKClient:
        return RecordedClient(logger=logger, **arguments)

    before, _make = _make, make
    try:
        yield
    finally:
        _make = before
