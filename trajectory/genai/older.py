"""Names that instrumentations used before the conventions' current ones, and OpenInference's.

Both write lists as attributes with a number in their name: `gen_ai.prompt.0.role`,
`llm.input_messages.0.message.role`. Here they become messages of a shape that `said` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trajectory.genai import conventions as names
from trajectory.genai.lenient import elements, members, repeated, structure, text
from trajectory.genai.spans import Event

SYSTEM = "gen_ai.system"
"""Up to v1.36 of the conventions, the provider."""
REQUEST_TYPE = "llm.request.type"
ENTITY_KIND = "traceloop.span.kind"
ENTITY_NAME = "traceloop.entity.name"
ENTITY_INPUT = "traceloop.entity.input"
ENTITY_OUTPUT = "traceloop.entity.output"
WORKFLOW_NAME = "gen_ai.workflow.name"
PROMPT = "gen_ai.prompt"
COMPLETION = "gen_ai.completion"
FUNCTIONS = "llm.request.functions"

ADK_REQUEST = "gcp.vertex.agent.llm_request"
"""Google's Agent Development Kit has names of its own for what was said."""
ADK_RESPONSE = "gcp.vertex.agent.llm_response"
ADK_ARGUMENTS = "gcp.vertex.agent.tool_call_args"
ADK_RESULT = "gcp.vertex.agent.tool_response"

OPENINFERENCE_KIND = "openinference.span.kind"
INPUT_VALUE = "input.value"
OUTPUT_VALUE = "output.value"
LLM_INPUT = "llm.input_messages"
LLM_OUTPUT = "llm.output_messages"
LLM_TOOLS = "llm.tools"
LLM_MODEL = "llm.model_name"
LLM_REQUEST_MODEL = "llm.request.model_name"
LLM_RESPONSE_MODEL = "llm.response.model_name"
LLM_FINISH = "llm.finish_reason"
LLM_SYSTEM = "llm.system"
LLM_COST = "llm.cost.total"
OI_TOOL_NAME = "tool.name"
OI_CALL_ID = "tool_call.id"
OI_TOOL_ID = "tool.id"
OI_AGENT_NAME = "agent.name"
OI_SESSION_ID = "session.id"

INPUT_TOKENS = ("gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens", "llm.token_count.prompt")
OUTPUT_TOKENS = (
    "gen_ai.usage.completion_tokens",
    "llm.usage.completion_tokens",
    "llm.token_count.completion",
)
CACHE_READ_TOKENS = (
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.details.cache_read_tokens",
    "llm.token_count.prompt_details.cache_read",
)
CACHE_WRITE_TOKENS = (
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.details.cache_write_tokens",
    "llm.token_count.prompt_details.cache_write",
)
REASONING_TOKENS = (
    "gen_ai.usage.reasoning_tokens",
    "llm.usage.reasoning_tokens",
    "gen_ai.usage.details.reasoning_tokens",
    "llm.token_count.completion_details.reasoning",
)
TOTAL_TOKENS = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total")

_EVENT_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_CHOICE_EVENT = "gen_ai.choice"
_PROMPT_EVENT = "gen_ai.content.prompt"
_COMPLETION_EVENT = "gen_ai.content.completion"
_MAX_DEPTH = 12


def with_details(attributes: Mapping[str, Any], events: Iterable[Event]) -> Mapping[str, Any]:
    """Add the content that an event carries, for those who keep it off the span's attributes."""
    for event in events:
        if event.name == names.DETAILS_EVENT:
            attributes = {**event.attributes, **attributes}
    return attributes


def said_before(attributes: Mapping[str, Any], events: tuple[Event, ...]) -> list[Any]:
    """Give what a model was given, in the first form that is there."""
    found: list[Any] = elements(attributes.get(names.INPUT_MESSAGES))
    found = found or _openinference(attributes, LLM_INPUT) or _numbered(attributes, PROMPT)
    found = found or _of_events(events) or told(attributes.get(PROMPT))
    return found or told(attributes.get(ADK_REQUEST)) or told(attributes.get(INPUT_VALUE))


def said_then(attributes: Mapping[str, Any], events: tuple[Event, ...]) -> list[Any]:
    """Give what a model answered, in the first form that is there."""
    found: list[Any] = elements(attributes.get(names.OUTPUT_MESSAGES))
    found = found or _openinference(attributes, LLM_OUTPUT) or _numbered(attributes, COMPLETION)
    found = found or _choices(events) or told(attributes.get(COMPLETION))
    return found or told(attributes.get(ADK_RESPONSE)) or told(attributes.get(OUTPUT_VALUE))


def tools_of(attributes: Mapping[str, Any]) -> Any:
    """Give the definitions of the tools that a model was offered."""
    if found := repeated(attributes.get(names.TOOL_DEFINITIONS)):
        return found
    of_inference = (each.get("tool") for each in _list(_nested(attributes, LLM_TOOLS)))
    schemas = [
        schema
        for each in of_inference
        if isinstance(each, dict) and (schema := repeated(each.get("json_schema")))
    ]
    if schemas:
        return schemas
    functions = [each for each in _list(_nested(attributes, FUNCTIONS)) if text(each.get("name"))]
    return [
        {
            "type": "function",
            **{k: repeated(v) or v for k, v in each.items() if isinstance(v, str)},
        }
        for each in functions
    ]


def told(value: object) -> list[Any]:
    """Read a value that holds what was said in no settled form: JSON of messages, or text."""
    found = structure(value)
    if found is None:
        return [value] if text(value) is not None else []
    if isinstance(found, dict):
        for key in ("messages", "contents", "choices", "output", "input", "prompt", "content"):
            if key in found:
                inner = found[key]
                said = _unwrapped(inner) if isinstance(inner, list) else [inner]
                return [*_instructions(found), *said]
        return [value] if isinstance(value, str) else []
    return _unwrapped(found)


def _instructions(request: Mapping[str, Any]) -> list[Any]:
    """Give the instructions of a request that has them beside its messages."""
    config = request.get("config")
    within = config.get("system_instruction") if isinstance(config, dict) else None
    system = text(request.get("system")) or text(within)
    return [] if system is None else [{"role": "system", "content": system}]


def _unwrapped(found: list[Any]) -> list[Any]:
    """Take messages out of choices, responses, and the lists of lists that batches are."""
    inner: list[Any] = []
    for each in found:
        if isinstance(each, list):
            inner += each
        elif isinstance(each, dict) and isinstance(each.get("output"), list):
            inner += each["output"]
        elif isinstance(each, dict) and isinstance(each.get("message"), dict):
            inner.append({"finish_reason": each.get("finish_reason"), **each["message"]})
        else:
            inner.append(each)
    return inner


def _of_events(events: tuple[Event, ...]) -> list[Any]:
    found: list[Any] = []
    for event in events:
        if (role := _EVENT_ROLES.get(event.name)) is not None:
            message = dict(event.attributes)
            calls = elements(message.get("tool_calls"))
            found.append({"role": role, **message, "tool_calls": calls})
        elif event.name == _PROMPT_EVENT:
            found += told(event.attributes.get(PROMPT))
    return found


def _choices(events: tuple[Event, ...]) -> list[Any]:
    found: list[Any] = []
    for event in events:
        if event.name == _CHOICE_EVENT:
            choice = event.attributes
            message = members(choice.get("message")) or choice
            found.append({"finish_reason": choice.get("finish_reason"), **message})
        elif event.name == _COMPLETION_EVENT:
            found += told(event.attributes.get(COMPLETION))
    return found


def _openinference(attributes: Mapping[str, Any], prefix: str) -> list[Any]:
    found = []
    for each in _list(_nested(attributes, prefix)):
        message = each.get("message")
        if not isinstance(message, dict):
            continue
        parts = [
            part["message_content"]
            for part in _list(message.get("contents"))
            if isinstance(part.get("message_content"), dict)
        ]
        calls = [part.get("tool_call") for part in _list(message.get("tool_calls"))]
        found.append(
            {
                "role": message.get("role"),
                "content": parts or message.get("content"),
                "tool_calls": [call for call in calls if isinstance(call, dict)],
                "tool_call_id": message.get("tool_call_id"),
                "function_call": {
                    "name": message.get("function_call_name"),
                    "arguments": message.get("function_call_arguments_json"),
                },
            }
        )
    return found


def _numbered(attributes: Mapping[str, Any], prefix: str) -> list[Any]:
    found = []
    for each in _list(_nested(attributes, prefix)):
        content = each.get("content")
        parts = elements(content)
        if parts and all(isinstance(part, dict) and "type" in part for part in parts):
            content = parts
        found.append({**each, "content": content, "tool_calls": _list(each.get("tool_calls"))})
    return found


def _nested(attributes: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Put together what names with dots took apart."""
    tree: dict[str, Any] = {}
    start = len(prefix) + 1
    for key, value in attributes.items():
        if not key.startswith(prefix) or key[start - 1 : start] != ".":
            continue
        *path, last = key[start:].split(".", _MAX_DEPTH)
        place: Any = tree
        for step in path:
            place = place.setdefault(step, {}) if isinstance(place, dict) else None
        if isinstance(place, dict) and not isinstance(place.get(last), dict):
            place[last] = value
    return tree


def _list(tree: Any) -> list[dict[str, Any]]:
    """Give the members whose names are numbers, in their order."""
    if not isinstance(tree, dict):
        return []
    numbers = sorted(
        (int(key), key) for key in tree if key.isascii() and key.isdigit() and len(key) < 10
    )
    return [tree[key] for _, key in numbers if isinstance(tree[key], dict)]
