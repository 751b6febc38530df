"""One span understood: a run of an agent, a call of a model, a call of a tool, or none of these.

Names of three kinds are read: the conventions' current ones, those that came before them, and
OpenInference's. What a model was told is kept as far as it may be news: of the history that it is
told again at every call, only a number for each message is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from trajectory.genai import conventions as names
from trajectory.genai import older
from trajectory.genai.conventions import Operation
from trajectory.genai.lenient import amount, count, elements, label, repeated, text, written
from trajectory.genai.said import Said, joined, messages_of
from trajectory.genai.spans import OWN_SCOPE, Event, Span, StatusCode
from trajectory.genai.usage import Tokens
from trajectory.models import Role


class StepKind(StrEnum):
    """What a span is of."""

    AGENT = "agent"
    """A run, which is one exchange with whoever asked for it."""
    WORKFLOW = "workflow"
    """A run in which users and agents may take any number of turns."""
    MODEL = "model"
    TOOL = "tool"
    OTHER = "other"


_OPERATIONS = {
    Operation.CHAT: StepKind.MODEL,
    Operation.GENERATE_CONTENT: StepKind.MODEL,
    Operation.TEXT_COMPLETION: StepKind.MODEL,
    Operation.INVOKE_AGENT: StepKind.AGENT,
    Operation.INVOKE_WORKFLOW: StepKind.WORKFLOW,
    Operation.EXECUTE_TOOL: StepKind.TOOL,
}
_OPENINFERENCE = {"AGENT": StepKind.AGENT, "LLM": StepKind.MODEL, "TOOL": StepKind.TOOL}
_ENTITIES = {
    "agent": StepKind.AGENT,
    "workflow": StepKind.WORKFLOW,
    "tool": StepKind.TOOL,
}
_NO_TOKENS = Tokens()
_HANDOFF = "handoff to "
_INSTRUCTING = (Role.SYSTEM, Role.DEVELOPER)
_CANCELLED = "CancelledError"
_EXCEPTION = "exception"
_AGENT_NAMES = (
    names.AGENT_NAME,
    older.OI_AGENT_NAME,
    older.WORKFLOW_NAME,
    older.ENTITY_NAME,
    "agent_name",
)
_SESSIONS = (
    names.CONVERSATION_ID,
    older.OI_SESSION_ID,
    "traceloop.association.properties.session_id",
)
_USERS = (names.USER_ID, "enduser.id", "traceloop.association.properties.user_id")
_MODELS = (
    names.RESPONSE_MODEL,
    older.LLM_RESPONSE_MODEL,
    names.REQUEST_MODEL,
    older.LLM_MODEL,
    older.LLM_REQUEST_MODEL,
)
_TOOL_NAMES = (names.TOOL_NAME, older.OI_TOOL_NAME, older.ENTITY_NAME)
_ARGUMENTS = (
    names.TOOL_ARGUMENTS,
    "tool_arguments",
    older.INPUT_VALUE,
    older.ENTITY_INPUT,
    older.ADK_ARGUMENTS,
)
_RESULTS = (
    names.TOOL_RESULT,
    "tool_response",
    older.OUTPUT_VALUE,
    older.ENTITY_OUTPUT,
    older.ADK_RESULT,
)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a model was told."""

    keys: tuple[int, ...] = ()
    """Of all messages but the instructions, in order."""
    tail: tuple[tuple[int, Said], ...] = ()
    """Those behind the last answer, with their places."""
    asked: Said | None = None
    """The last of the user's."""
    instructions: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A span, as far as a trajectory is made of it."""

    kind: StepKind
    span: Span
    """Without its attributes and events."""
    agent_name: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    error: str | None = None
    was_cancelled: bool = False
    heard: Heard = Heard()
    answer: Said | None = None
    tools: Any = None
    model_name: str | None = None
    stop_reason: str | None = None
    tokens: Tokens = _NO_TOKENS
    token_count: int | None = None
    cost_usd: float | None = None
    tool_name: str | None = None
    call_id: str | None = None
    arguments: str | None = None
    result: str | None = None
    own: Mapping[str, Any] | None = None
    """The attributes and findings of a span that this library made itself."""


def kind_of(span: Span) -> StepKind:
    """Say what a span is of."""
    attributes = span.attributes
    operation = attributes.get(names.OPERATION)
    if isinstance(operation, str) and operation in _OPERATIONS:
        return _OPERATIONS[Operation(operation)]
    for name, kinds in (
        (older.OPENINFERENCE_KIND, _OPENINFERENCE),
        (older.ENTITY_KIND, _ENTITIES),
    ):
        told = attributes.get(name)
        if isinstance(told, str) and told in kinds:
            kind = kinds[told]
            if kind is StepKind.TOOL and _is_handoff(span):
                return StepKind.OTHER
            return kind
    if operation is None and _is_old_model_call(attributes):
        return StepKind.MODEL
    return StepKind.OTHER


def step_of(span: Span) -> Step:
    """Understand a span."""
    kind = kind_of(span)
    bare = Span(
        name=span.name,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        status=span.status,
        resource={names.SERVICE_NAME: label(span.resource.get(names.SERVICE_NAME))},
        scope=span.scope,
    )
    if kind is StepKind.OTHER:
        return Step(kind, bare, agent_name=label(span.attributes.get(older.WORKFLOW_NAME)))
    attributes = older.with_details(span.attributes, span.events)
    error, was_cancelled = _failure(span, attributes)
    about: dict[str, Any] = {
        "agent_name": _label(attributes, _AGENT_NAMES),
        "session_id": _label(attributes, _SESSIONS),
        "user_id": _label(attributes, _USERS),
        "error": error,
        "was_cancelled": was_cancelled,
        "own": own_of(span),
    }
    if kind is StepKind.TOOL:
        return Step(
            kind,
            bare,
            **about,
            tool_name=_label(attributes, _TOOL_NAMES) or label(span.name) or "tool",
            call_id=_label(attributes, (names.TOOL_CALL_ID, older.OI_CALL_ID, older.OI_TOOL_ID)),
            arguments=_written(attributes, _ARGUMENTS),
            result=_written(attributes, _RESULTS),
        )
    before, after = said_in(attributes, span.events, kind)
    heard = _heard(messages_of(before), attributes, is_own=about["own"] is not None)
    answer = joined(messages_of(after, Role.ASSISTANT))
    return Step(
        kind,
        bare,
        **about,
        heard=heard,
        answer=answer,
        tools=older.tools_of(attributes) or None,
        model_name=_label(attributes, _MODELS),
        stop_reason=_stop_reason(attributes) or (answer.stop_reason if answer else None),
        tokens=_tokens(attributes),
        token_count=_count(attributes, older.TOTAL_TOKENS),
        cost_usd=amount(attributes.get(older.LLM_COST, attributes.get("operation.cost"))),
    )


def completed(step: Step, within: Iterable[Step]) -> Step:
    """Add to the call of a model what spans within it tell, which saw the same call from below.

    A framework's span often has figures alone, and that of the model's client what was said.
    """
    for other in within:
        heard = step.heard if step.heard.keys else other.heard
        if heard.instructions is None:
            heard = replace(heard, instructions=other.heard.instructions)
        step = replace(
            step,
            heard=heard,
            answer=step.answer or other.answer,
            tools=step.tools or other.tools,
            model_name=step.model_name or other.model_name,
            stop_reason=step.stop_reason or other.stop_reason,
            tokens=other.tokens if step.tokens == _NO_TOKENS else step.tokens,
            token_count=other.token_count if step.token_count is None else step.token_count,
            cost_usd=other.cost_usd if step.cost_usd is None else step.cost_usd,
        )
    return step


def said_in(
    attributes: Mapping[str, Any], events: tuple[Event, ...], kind: StepKind
) -> tuple[list[Any], list[Any]]:
    """Give what was said before and what was answered; of a run, also where its function tells."""
    before = older.said_before(attributes, events)
    after = older.said_then(attributes, events)
    if kind is not StepKind.MODEL:
        before = before or older.told(attributes.get(older.ENTITY_INPUT))
        final = attributes.get("final_result", attributes.get(older.ENTITY_OUTPUT))
        after = after or older.told(final)
    return before, after


def own_of(span: Span) -> Mapping[str, Any] | None:
    """Give what this library tells in spans of its own, with the events it puts on them."""
    if span.scope != OWN_SCOPE or not _is_uuid(span.attributes.get(names.TRAJECTORY_ID)):
        return None  # others may have an attribute of that name
    own = {k: v for k, v in span.attributes.items() if k.startswith("trajectory.")}
    own["findings"] = tuple(
        event
        for event in span.events
        if event.name in (names.QUESTION_EVENT, names.VIOLATION_EVENT)
    )
    return own


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(UUID(value).hex)
    except ValueError:
        return False


def _heard(said: list[Said], attributes: Mapping[str, Any], *, is_own: bool) -> Heard:
    # Spans of our own tell the instructions apart, and messages of a turn where they stood.
    told = [each for each in said if is_own or each.role not in _INSTRUCTING]
    system = repeated(attributes.get(names.SYSTEM_INSTRUCTIONS))
    instructions = messages_of(system if isinstance(system, list) else (), Role.SYSTEM)
    if not instructions and not is_own:
        instructions = [each for each in said if each.role in _INSTRUCTING]
    behind = max((n for n, each in enumerate(told) if each.role is Role.ASSISTANT), default=-1) + 1
    return Heard(
        tuple(each.key for each in told),
        tuple((behind + n, each) for n, each in enumerate(told[behind:])),
        next((each for each in reversed(told) if each.role is Role.USER), None),
        "\n\n".join(each.text for each in instructions if each.text) or None,
    )


def _is_handoff(span: Span) -> bool:
    """Say whether a span is of a change of hands, which one instrumentation counts among tools."""
    return older.OI_TOOL_NAME not in span.attributes and span.name.startswith(_HANDOFF)


def _is_old_model_call(attributes: Mapping[str, Any]) -> bool:
    if attributes.get(older.REQUEST_TYPE) in ("chat", "completion"):
        return True
    return older.SYSTEM in attributes and names.REQUEST_MODEL in attributes


def _failure(span: Span, attributes: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Say what failed, as "TypeName: text", and whether it was a cancellation."""
    type_, words = label(attributes.get(names.ERROR_TYPE)), text(span.status_message)
    for event in span.events:
        if event.name == _EXCEPTION:
            type_ = label(event.attributes.get("exception.type")) or type_
            words = text(event.attributes.get("exception.message")) or words
    was_cancelled = (type_ or "").rpartition(".")[2] == _CANCELLED
    if (
        span.status is not StatusCode.ERROR
        and not was_cancelled
        and names.ERROR_TYPE not in attributes
    ):
        return None, False
    if type_ is None or (words or "").startswith(type_):
        return words or "unknown error", was_cancelled
    return f"{type_}: {words}" if words else type_, was_cancelled


def _stop_reason(attributes: Mapping[str, Any]) -> str | None:
    reasons = attributes.get(names.FINISH_REASONS)
    if isinstance(reasons, str):
        reasons = elements(reasons) or [reasons]
    if isinstance(reasons, list | tuple) and reasons:
        return label(reasons[0])
    return label(attributes.get(older.LLM_FINISH))


def _tokens(attributes: Mapping[str, Any]) -> Tokens:
    return Tokens(
        _count(attributes, (names.INPUT_TOKENS, *older.INPUT_TOKENS)),
        _count(attributes, (names.OUTPUT_TOKENS, *older.OUTPUT_TOKENS)),
        _count(attributes, (names.CACHE_READ_TOKENS, *older.CACHE_READ_TOKENS)),
        _count(attributes, (names.CACHE_WRITE_TOKENS, *older.CACHE_WRITE_TOKENS)),
        _count(attributes, (names.REASONING_TOKENS, *older.REASONING_TOKENS)),
    )


def _count(attributes: Mapping[str, Any], keys: Iterable[str]) -> int | None:
    return next(
        (n for k in keys if k in attributes and (n := count(attributes[k])) is not None), None
    )


def _label(attributes: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    return next((t for k in keys if k in attributes and (t := label(attributes[k]))), None)


def _written(attributes: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    found = (written(attributes[key]) for key in keys if key in attributes)
    return next((each for each in found if each is not None), None)
