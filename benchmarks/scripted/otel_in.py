"""A program that is instrumented with OpenTelemetry's own SDK: no model, no network, no clock.

A conversation is one trace: a workflow with three runs of an agent. The first calls two tools, of
which one fails; the second streams; the third has another agent as a tool. What it says of itself
it says in one of three dialects: the conventions' current names, the older ones, OpenInference's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from trajectory import TrajectoryLogger

MODEL = "scripted-1"
SCOPE = "benchmarks.scripted"
SERVICE = "order-desk"
TRIAGE = "You look after orders."
TRANSLATOR = "You translate."
PROMPTS = ("Where is order 7? And refund it.", "Thanks!", "Translate Rechnung.")
ANSWERS = ("Order 7 is on its way; the refund failed.", "You are welcome.", "It is an invoice.")
REASONING = "Two tools will do."
FAILURE = "order 7 can't be refunded"
TOOLS = [
    {"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}}
    for name in ("lookup_order", "refund", "translate")
]


class Dialect(StrEnum):
    """Whose names the spans bear."""

    CURRENT = "current"
    OLDER = "older"
    OPENINFERENCE = "openinference"


class Call(NamedTuple):
    """A tool call as the model writes it."""

    id: str
    name: str
    arguments: str


LOOKUP = Call("call_1", "lookup_order", '{"order_id":7}')
REFUND = Call("call_2", "refund", '{"order_id":7,"amount":1.5}')
TRANSLATE = Call("call_3", "translate", '{"input":"Rechnung"}')


class Said(NamedTuple):
    """A message: `id` is that of the call which a tool answers."""

    role: str
    text: str = ""
    calls: tuple[Call, ...] = ()
    reasoning: str = ""
    id: str = ""


class Instrumented:
    """An agent that tells what it does in spans."""

    def __init__(
        self,
        tracer: Tracer,
        dialect: Dialect = Dialect.CURRENT,
        *,
        content: bool = True,
        number: int = 0,
    ) -> None:
        self._tracer = tracer
        self._dialect = dialect
        self._content = content
        self._session = f"session-{number}"

    async def conversation(self) -> list[str]:
        """Hold the three runs of a conversation, in one trace; give the answers."""
        history: list[Said] = []
        with self._run("support", is_workflow=True):
            return [
                await self._asked(history, PROMPTS[0], self._refunds),
                await self._asked(history, PROMPTS[1], self._streams),
                await self._asked(history, PROMPTS[2], self._translates),
            ]

    async def cancelled(self, reached: asyncio.Event) -> None:
        """Wait for ever, in the second of a run's calls of tools."""
        history = [Said("user", PROMPTS[0])]
        with self._run("triage") as run:
            try:
                self._model(TRIAGE, history, Said("assistant", "", (LOOKUP,)))
                with self._tool(LOOKUP, "order 7: on its way"):
                    reached.set()
                    await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                run.record_exception(error)
                run.set_status(Status(StatusCode.ERROR))
                raise

    async def _asked(self, history: list[Said], prompt: str, answer: Any) -> str:
        history.append(Said("user", prompt))
        with self._run("triage"):
            said: str = await answer(history)
        await asyncio.sleep(0)
        return said

    async def _refunds(self, history: list[Said]) -> str:
        calls = Said("assistant", "Let me look.", (LOOKUP, REFUND), REASONING)
        self._model(TRIAGE, history, calls)
        history.append(calls)
        with self._tool(LOOKUP, "order 7: on its way"):
            await asyncio.sleep(0)
        with self._tool(REFUND, None) as span:
            span.record_exception(ValueError(FAILURE))
            span.set_status(Status(StatusCode.ERROR, FAILURE))
        history.append(Said("tool", "order 7: on its way", id=LOOKUP.id))
        history.append(Said("tool", f"ValueError: {FAILURE}", id=REFUND.id))
        return self._answered(history, ANSWERS[0])

    async def _streams(self, history: list[Said]) -> str:
        span = self._begin_model(TRIAGE, history)
        for _ in range(3):
            await asyncio.sleep(0)
        self._end_model(span, Said("assistant", ANSWERS[1]))
        history.append(Said("assistant", ANSWERS[1]))
        return ANSWERS[1]

    async def _translates(self, history: list[Said]) -> str:
        call = Said("assistant", "", (TRANSLATE,))
        self._model(TRIAGE, history, call)
        history.append(call)
        with self._tool(TRANSLATE, "invoice"), self._run("translator"):
            asked = [Said("user", "Rechnung")]
            self._model(TRANSLATOR, asked, Said("assistant", "invoice"))
        history.append(Said("tool", "invoice", id=TRANSLATE.id))
        return self._answered(history, ANSWERS[2])

    def _answered(self, history: list[Said], text: str) -> str:
        self._model(TRIAGE, history, Said("assistant", text))
        history.append(Said("assistant", text))
        return text

    # Spans.

    @contextmanager
    def _run(self, name: str, *, is_workflow: bool = False) -> Iterator[Span]:
        attributes: dict[str, Any]
        if self._dialect is Dialect.OPENINFERENCE:
            attributes = {
                "openinference.span.kind": "AGENT",
                "agent.name": name,
                "session.id": self._session,
            }
        elif self._dialect is Dialect.OLDER:
            attributes = {
                "traceloop.span.kind": "workflow" if is_workflow else "agent",
                "traceloop.entity.name": name,
                "traceloop.association.properties.session_id": self._session,
            }
        else:
            operation = "invoke_workflow" if is_workflow else "invoke_agent"
            attributes = {
                "gen_ai.operation.name": operation,
                "gen_ai.workflow.name" if is_workflow else "gen_ai.agent.name": name,
                "gen_ai.conversation.id": self._session,
            }
        with self._tracer.start_as_current_span(name, attributes=attributes) as span:
            yield span

    @contextmanager
    def _tool(self, call: Call, result: str | None) -> Iterator[Span]:
        attributes: dict[str, Any]
        if self._dialect is Dialect.OPENINFERENCE:
            attributes = {"openinference.span.kind": "TOOL", "tool.name": call.name}
            names = "input.value", "output.value"
        elif self._dialect is Dialect.OLDER:
            attributes = {"traceloop.span.kind": "tool", "traceloop.entity.name": call.name}
            names = "traceloop.entity.input", "traceloop.entity.output"
        else:
            attributes = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": call.name,
                "gen_ai.tool.call.id": call.id,
            }
            names = "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"
        if self._content:
            attributes[names[0]] = call.arguments
        with self._tracer.start_as_current_span(
            f"execute_tool {call.name}", attributes=attributes
        ) as span:
            yield span
            if self._content and result is not None:
                span.set_attribute(names[1], result)

    def _model(self, system: str, history: Sequence[Said], said: Said) -> None:
        self._end_model(self._begin_model(system, history), said)

    def _begin_model(self, system: str, history: Sequence[Said]) -> Span:
        given = [Said("system", system), *history]
        attributes = {
            Dialect.CURRENT: _current_input,
            Dialect.OLDER: _older_input,
            Dialect.OPENINFERENCE: _inference_input,
        }[self._dialect](given, content=self._content)
        return self._tracer.start_span(f"chat {MODEL}", kind=SpanKind.CLIENT, attributes=attributes)

    def _end_model(self, span: Span, said: Said) -> None:
        attributes = {
            Dialect.CURRENT: _current_output,
            Dialect.OLDER: _older_output,
            Dialect.OPENINFERENCE: _inference_output,
        }[self._dialect](said, content=self._content)
        span.set_attributes(attributes)
        span.end()


# The conventions' current names.


def _current_input(given: Sequence[Said], *, content: bool) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
    }
    if content:
        [system, *messages] = given
        attributes["gen_ai.system_instructions"] = _dumped(
            [{"type": "text", "content": system.text}]
        )
        attributes["gen_ai.input.messages"] = _dumped([_parts(each) for each in messages])
        attributes["gen_ai.tool.definitions"] = _dumped(TOOLS)
    return attributes


def _current_output(said: Said, *, content: bool) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "gen_ai.response.model": MODEL,
        "gen_ai.response.finish_reasons": [_reason(said)],
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
    }
    if content:
        attributes["gen_ai.output.messages"] = _dumped([_parts(said)])
    return attributes


def _parts(said: Said) -> dict[str, Any]:
    if said.role == "tool":
        part = {"type": "tool_call_response", "id": said.id, "response": said.text}
        return {"role": "tool", "parts": [part]}
    parts: list[dict[str, Any]] = []
    if said.reasoning:
        parts.append({"type": "reasoning", "content": said.reasoning})
    if said.text:
        parts.append({"type": "text", "content": said.text})
    parts += (
        {"type": "tool_call", "id": c.id, "name": c.name, "arguments": json.loads(c.arguments)}
        for c in said.calls
    )
    return {"role": said.role, "parts": parts}


# The names before them.


def _older_input(given: Sequence[Said], *, content: bool) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "gen_ai.system": "openai",
        "llm.request.type": "chat",
        "gen_ai.request.model": MODEL,
    }
    if content:
        for place, said in enumerate(given):
            attributes |= _older_message(f"gen_ai.prompt.{place}", said)
        for place, tool in enumerate(TOOLS):
            attributes |= {
                f"llm.request.functions.{place}.name": tool["name"],
                f"llm.request.functions.{place}.parameters": _dumped(tool["parameters"]),
            }
    return attributes


def _older_output(said: Said, *, content: bool) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "gen_ai.response.model": MODEL,
        "gen_ai.usage.prompt_tokens": 10,
        "gen_ai.usage.completion_tokens": 5,
        "gen_ai.usage.cache_read_input_tokens": 4,
        "llm.usage.total_tokens": 15,
    }
    if content:
        attributes |= _older_message("gen_ai.completion.0", said)
        attributes["gen_ai.completion.0.finish_reason"] = _reason(said)
        if said.reasoning:
            attributes["gen_ai.completion.0.reasoning"] = said.reasoning
    return attributes


def _older_message(prefix: str, said: Said) -> dict[str, Any]:
    attributes = {f"{prefix}.role": said.role}
    if said.text:
        attributes[f"{prefix}.content"] = said.text
    if said.id:
        attributes[f"{prefix}.tool_call_id"] = said.id
    for place, call in enumerate(said.calls):
        attributes |= {
            f"{prefix}.tool_calls.{place}.id": call.id,
            f"{prefix}.tool_calls.{place}.name": call.name,
            f"{prefix}.tool_calls.{place}.arguments": call.arguments,
        }
    return attributes


# OpenInference's.


def _inference_input(given: Sequence[Said], *, content: bool) -> dict[str, Any]:
    attributes: dict[str, Any] = {"openinference.span.kind": "LLM", "llm.model_name": MODEL}
    if content:
        for place, said in enumerate(given):
            attributes |= _inference_message(f"llm.input_messages.{place}.message", said)
        for place, tool in enumerate(TOOLS):
            attributes[f"llm.tools.{place}.tool.json_schema"] = _dumped(tool)
        attributes["input.value"] = _dumped([{"role": s.role, "content": s.text} for s in given])
    return attributes


def _inference_output(said: Said, *, content: bool) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "llm.token_count.prompt": 10,
        "llm.token_count.completion": 5,
        "llm.token_count.prompt_details.cache_read": 4,
        "llm.finish_reason": _reason(said),
    }
    if content:
        attributes |= _inference_message("llm.output_messages.0.message", said)
    return attributes


def _inference_message(prefix: str, said: Said) -> dict[str, Any]:
    attributes = {f"{prefix}.role": said.role}
    if said.reasoning:
        part = f"{prefix}.contents.0.message_content"
        attributes |= {f"{part}.type": "reasoning", f"{part}.text": said.reasoning}
        part = f"{prefix}.contents.1.message_content"
        attributes |= {f"{part}.type": "text", f"{part}.text": said.text}
    elif said.text:
        attributes[f"{prefix}.content"] = said.text
    if said.id:
        attributes[f"{prefix}.tool_call_id"] = said.id
    for place, call in enumerate(said.calls):
        part = f"{prefix}.tool_calls.{place}.tool_call"
        attributes |= {
            f"{part}.id": call.id,
            f"{part}.function.name": call.name,
            f"{part}.function.arguments": call.arguments,
        }
    return attributes


def _reason(said: Said) -> str:
    return "tool_calls" if said.calls else "stop"


def _dumped(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


# The program.


class Discarding(SpanExporter):
    """Takes spans, and keeps none."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take them."""
        del spans
        return SpanExportResult.SUCCESS


def provider_for(
    *exporters: SpanExporter, resource: Mapping[str, Any] | None = None
) -> TracerProvider:
    """Make a tracer provider that has nothing from the environment."""
    provider = TracerProvider(
        resource=Resource(resource or {"service.name": SERVICE}), shutdown_on_exit=False
    )
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


_providers: list[TracerProvider] = []


async def program(runs: int) -> list[list[str]]:
    """Hold so many conversations one after another."""
    tracer = _providers[-1].get_tracer(SCOPE)
    return [await Instrumented(tracer, number=n).conversation() for n in range(runs)]


async def at_once(runs: int, tracer: Tracer, dialect: Dialect = Dialect.CURRENT) -> list[list[str]]:
    """Hold so many conversations at once."""
    made = [Instrumented(tracer, dialect, number=number) for number in range(runs)]
    return await asyncio.gather(*(each.conversation() for each in made))


@contextmanager
def detached() -> Iterator[None]:
    """Trace, with an exporter that keeps nothing."""
    with _attached(Discarding()):
        yield


@contextmanager
def attached(logger: TrajectoryLogger) -> Iterator[None]:
    """Trace with that exporter, and with ours."""
    from trajectory.integrations.otel.exporter import TrajectorySpanExporter

    with _attached(Discarding(), TrajectorySpanExporter(logger)):
        yield


@contextmanager
def _attached(*exporters: SpanExporter) -> Iterator[None]:
    provider = provider_for(*exporters)
    _providers.append(provider)
    try:
        yield
    finally:
        _providers.remove(provider)
        provider.shutdown()
