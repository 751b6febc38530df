"""A program on the OpenAI Agents SDK with a scripted model: nothing leaves the process.

A conversation has three runs of one trace: two tools, of which one fails; a streamed answer; and a
handoff to an agent that uses another agent as a tool. The model is one of the SDK's own two in
front of a scripted HTTP client (`Wire.RESPONSES`, `Wire.CHAT`), or one of ours (`Wire.NONE`), which
opens no span.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import agents
import openai._base_client
from agents import (
    Agent,
    Model,
    ModelResponse,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    Usage,
    function_tool,
    set_trace_processors,
    trace,
)
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseCompletedEvent

from trajectory import TrajectoryLogger

_client: Any = openai._base_client  # noqa: SLF001
http: Any = getattr(_client, "httpx2", None) or _client.httpx
"""The HTTP library that this release of `openai` is built on."""

MODEL = "scripted-1"
TRIAGE = "You look after orders."
BILLING = "You look after bills."
TRANSLATOR = "You translate."


class Wire(StrEnum):
    """How the SDK reaches the scripted model."""

    RESPONSES = "responses"
    CHAT = "chat"
    NONE = "none"


class Call(NamedTuple):
    """A tool call as the model writes it."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """What the model says: text, calls, or both."""

    text: str | None = None
    calls: tuple[Call, ...] = ()
    reasoning: str | None = None


class Said(NamedTuple):
    """One thing of the conversation so far: `kind` is user, assistant, call or result."""

    kind: str
    text: str


Script = Callable[[str, Sequence[Said]], Reply]
"""What the model says, given the instructions and the conversation."""

PROMPTS = ("Where is order 7? And refund it.", "Thanks!", "I want to pay the bill.")
ANSWERS = (
    "Order 7 is on its way; the refund failed.",
    "You are welcome.",
    "Your invoice is paid.",
)
# Spaces and numbers that JSON written anew would not have.
LOOKUP = Call("lookup_order", '{ "order_id":7 }')
REFUND = Call("refund", '{"order_id": 7, "amount": 1.50}')
TRANSLATE = Call("translate", '{"input":  "Rechnung"}')
HANDOFF = Call("transfer_to_billing", "{}")


def support(instructions: str, said: Sequence[Said]) -> Reply:
    """Answer as the three agents of the program do."""
    last = said[-1]
    if instructions.startswith(TRANSLATOR):
        return Reply("Invoice")
    if instructions.startswith(BILLING):
        if last.kind == "result" and last.text == "Invoice":
            return Reply(ANSWERS[2])
        return Reply(None, (TRANSLATE,))
    if last.kind == "result":
        return Reply(ANSWERS[0])
    if last.text == PROMPTS[0]:
        return Reply("Let me look.", (LOOKUP, REFUND), reasoning="Two tools will do.")
    return Reply(ANSWERS[1]) if last.text == PROMPTS[1] else Reply(None, (HANDOFF,))


class _Scripted:
    """Answers HTTP requests of both kinds, and stateless: one may serve many runs at once."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def __call__(self, request: Any) -> Any:
        body = json.loads(request.content)
        if request.url.path.endswith("/responses"):
            reply = self._script(body.get("instructions") or "", said_in(body["input"]))
            response = response_of(reply, body["input"])
            # The service says again what it was given.
            response.update(instructions=body.get("instructions"), tools=body.get("tools") or [])
            if not body.get("stream"):
                return http.Response(200, json=response)
            return _events({"type": "response.completed", "sequence_number": 0}, response)
        messages = body["messages"]
        system = "".join(str(m["content"]) for m in messages if m["role"] == "system")
        reply = self._script(system, _said_in_chat(messages))
        if not body.get("stream"):
            return http.Response(200, json=_completion(reply, len(messages)))
        return _chunks(reply, len(messages))


def said_in(given: Any) -> list[Said]:
    """Read the input of the Responses API."""
    if isinstance(given, str):
        return [Said("user", given)]
    said = []
    for each in given:
        kind = each.get("type", "message")
        if kind == "function_call_output":
            said.append(Said("result", each["output"]))
        elif kind == "function_call":
            said.append(Said("call", each["name"]))
        elif kind == "message":
            said.append(Said(each["role"], _text(each["content"])))
    return said


def _said_in_chat(messages: Sequence[Any]) -> list[Said]:
    return [
        Said("result" if m["role"] == "tool" else m["role"], _text(m.get("content") or ""))
        for m in messages
    ]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def response_of(reply: Reply, given: Any) -> dict[str, Any]:
    """Write a reply as the Responses API does; its ids differ with the length of the input."""
    place = len(given)
    output: list[dict[str, Any]] = []
    if reply.reasoning is not None:
        summary = [{"type": "summary_text", "text": reply.reasoning}]
        output.append({"type": "reasoning", "id": f"rs_{place}", "summary": summary})
    if reply.text is not None:
        content = [{"type": "output_text", "text": reply.text, "annotations": []}]
        output.append(
            {
                "type": "message",
                "id": f"msg_{place}",
                "role": "assistant",
                "status": "completed",
                "content": content,
            }
        )
    output += (
        {
            "type": "function_call",
            "id": f"fc_{place}_{index}",
            "call_id": call_id(place, index),
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }
        for index, call in enumerate(reply.calls)
    )
    return {
        "id": f"resp_{place}",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "model": MODEL,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 15,
        },
    }


def call_id(place: int, index: int) -> str:
    """Name a call by the length of the input before it."""
    return f"call_{place}_{index}"


def _completion(reply: Reply, place: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.calls:
        message["tool_calls"] = _chat_calls(reply, place)
    reason = "tool_calls" if reply.calls else "stop"
    return {
        "id": f"chat_{place}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": _CHAT_USAGE,
    }


_CHAT_USAGE = {
    "prompt_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens": 5,
    "completion_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 15,
}


def _chat_calls(reply: Reply, place: int) -> list[dict[str, Any]]:
    return [
        {
            "id": call_id(place, index),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for index, call in enumerate(reply.calls)
    ]


def _chunks(reply: Reply, place: int) -> Any:
    common = {
        "id": f"chat_{place}",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": MODEL,
    }
    calls = [{"index": n, **call} for n, call in enumerate(_chat_calls(reply, place))]
    half = len(reply.text or "") // 2
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": (reply.text or "")[:half]}]
    deltas.append({"content": (reply.text or "")[half:]})
    if calls:
        deltas.append({"tool_calls": calls})
    lines = [{**common, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    reason = "tool_calls" if calls else "stop"
    lines.append({**common, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    lines.append({**common, "choices": [], "usage": _CHAT_USAGE})
    body = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
    return http.Response(200, text=body, headers={"content-type": "text/event-stream"})


def _events(event: dict[str, Any], response: dict[str, Any]) -> Any:
    body = f"event: {event['type']}\ndata: {json.dumps({**event, 'response': response})}\n\n"
    return http.Response(200, text=body, headers={"content-type": "text/event-stream"})


class ScriptedModel(Model):
    """A model of one's own: it answers in the process, and opens no span."""

    def __init__(self, script: Script = support) -> None:
        self._script = script

    async def get_response(
        self,
        system_instructions: str | None,
        input: Any,  # noqa: A002
        *_args: Any,
        **_options: Any,
    ) -> ModelResponse:
        """Answer at once."""
        response = self._respond(system_instructions, input)
        usage = Usage(requests=1, input_tokens=10, output_tokens=5, total_tokens=15)
        return ModelResponse(output=response.output, usage=usage, response_id=response.id)

    async def stream_response(
        self,
        system_instructions: str | None,
        input: Any,  # noqa: A002
        *_args: Any,
        **_options: Any,
    ) -> AsyncIterator[Any]:
        """Answer in one event."""
        response = self._respond(system_instructions, input)
        yield ResponseCompletedEvent(
            type="response.completed", sequence_number=0, response=response
        )

    def _respond(self, system_instructions: str | None, given: Any) -> Response:
        reply = self._script(system_instructions or "", said_in(given))
        return Response.model_validate(response_of(reply, given))


def model_on(wire: Wire, script: Script = support) -> Model:
    """Make a model whose answers are scripted."""
    if wire is Wire.NONE:
        return ScriptedModel(script)
    transport = http.MockTransport(_Scripted(script))
    client = AsyncOpenAI(
        api_key="none",
        base_url="http://scripted.invalid/v1",
        http_client=http.AsyncClient(transport=transport),
        max_retries=0,
    )
    if wire is Wire.CHAT:
        return OpenAIChatCompletionsModel(model=MODEL, openai_client=client)
    return OpenAIResponsesModel(model=MODEL, openai_client=client)


@function_tool
def lookup_order(order_id: int) -> str:
    """Say where an order is."""
    return f"order {order_id}: on its way"


def _in_words(_context: Any, error: Exception) -> str:
    return f"The tool failed: {error}"


@function_tool(failure_error_function=_in_words)
def refund(order_id: int, amount: float) -> str:  # noqa: ARG001
    """Fail."""
    raise ValueError(f"order {order_id} can't be refunded")


def team(model: Model) -> Agent[Any]:
    """Make the agent that a conversation starts with."""
    translator = Agent(name="translator", instructions=TRANSLATOR, model=model)
    translate = translator.as_tool("translate", "Translate a word.")
    billing = Agent(name="billing", instructions=BILLING, model=model, tools=[translate])
    return Agent(
        name="triage",
        instructions=TRIAGE,
        model=model,
        tools=[lookup_order, refund],
        handoffs=[billing],
    )


async def conversation(
    agent: Agent[Any], *, group_id: str | None = None, config: RunConfig | None = None
) -> list[Any]:
    """Hold the three runs of a conversation, in one trace; give the final outputs."""
    with trace("support", group_id=group_id, metadata={"tier": "gold"}):
        first = await Runner.run(agent, PROMPTS[0], run_config=config)
        history = first.to_input_list()
        history.append({"role": "user", "content": PROMPTS[1]})
        second = Runner.run_streamed(agent, history, run_config=config)
        async for _ in second.stream_events():
            pass
        history = second.to_input_list()
        history.append({"role": "user", "content": PROMPTS[2]})
        third = await Runner.run(agent, history, run_config=config)
    return [first.final_output, second.final_output, third.final_output]


async def program(runs: int) -> list[Any]:
    """Hold so many conversations one after another, over the SDK's own Responses model."""
    agent = team(model_on(Wire.RESPONSES))
    return [await conversation(agent) for _ in range(runs)]


async def at_once(runs: int, wire: Wire = Wire.RESPONSES) -> list[Any]:
    """Hold so many conversations at once."""
    agent = team(model_on(wire))
    conversations = (conversation(agent, group_id=f"group-{number}") for number in range(runs))
    return list(await asyncio.gather(*conversations))


@contextmanager
def detached() -> Iterator[None]:
    """Trace, with nobody looking: without it the SDK would send its traces away."""
    agents.set_tracing_disabled(False)
    set_trace_processors([])
    yield


@contextmanager
def attached(logger: TrajectoryLogger) -> Iterator[None]:
    """Record with our processor alone."""
    from trajectory.integrations.openai_agents import TrajectoryProcessor

    agents.set_tracing_disabled(False)
    set_trace_processors([TrajectoryProcessor(logger)])
    try:
        yield
    finally:
        set_trace_processors([])
