"""What a span says of one model call, in the forms in which the SDK's models give it.

Input is a list of Responses items or of chat messages; output is a `Response`, its dict, or chat
messages. Models of others fill their spans with the same, more or less: what is of another form is
passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from trajectory.draft import as_json, as_text
from trajectory.genai.usage import Tokens, of_usage
from trajectory.models import Role
from trajectory.values import INT64_MAX, RefusedValueError, clean_text, freeze_json

_INDEXED_BYTES = 1024
_SPOKEN = {"user": Role.USER, "system": Role.SYSTEM, "developer": Role.DEVELOPER}
_LOOKED_AT = 1_000
"""So many items of an input are looked at, from its end: what is new stands there."""


class Asked(NamedTuple):
    """A tool call that the model asked for, or that its provider made (then with a result)."""

    name: str
    arguments: str | None
    call_id: str | None
    result: str | None = None
    is_error: bool | None = None


class Heard(NamedTuple):
    """A new message before the call: someone's words, or (with `call_id`) a tool's result."""

    role: Role
    content: str | list[Any] | None
    call_id: str | None = None


@dataclass(slots=True)
class ModelCall:
    """One call of a model."""

    model_name: str | None = None
    text: str | None = None
    reasoning: str | None = None
    stop_reason: str | None = None
    tokens: Tokens | None = None
    system_prompt: str | None = None
    asked: list[Asked] = field(default_factory=list)
    refused: bool = False


class Tail(NamedTuple):
    """The end of an input: what is new in it, and the user's last words."""

    heard: list[Heard]
    prompt: str


def label(value: Any) -> str | None:
    """Make a label that can be stored and searched by; None of what is no text, or empty."""
    if not isinstance(value, str) or not value:
        return None
    return clean_text(value).encode()[:_INDEXED_BYTES].decode(errors="ignore")


def storable(value: Any) -> Any:
    """Make JSON that every backend stores as it is: what is told twice must be the same."""
    try:
        return freeze_json(as_json(value))[0]
    except RefusedValueError:
        return None


def tools_of(names: Any) -> list[dict[str, Any]] | None:
    """Make definitions of tools of which only the names are known."""
    if not isinstance(names, list | tuple):
        return None
    return [{"type": "function", "name": clean_text(as_text(name))} for name in names] or None


def tokens_of(usage: Any) -> Tokens | None:
    """Read the usage of a span, in numbers that can be stored."""
    if not isinstance(usage, dict):
        return None
    written = _get(usage.get("input_tokens_details"), "cache_write_tokens")
    if isinstance(usage.get("input_tokens"), int):  # as the SDK writes it, several times a turn
        found = Tokens(
            usage["input_tokens"],
            usage.get("output_tokens"),
            usage.get("cached_input_tokens", _get(usage.get("input_tokens_details"), _CACHED)),
            usage.get("cache_write_input_tokens", written),
            _get(usage.get("output_tokens_details"), "reasoning_tokens"),
        )
    else:
        others = of_usage(usage)
        if others is None:
            return None
        found = others if others.cache_write is not None else others._replace(cache_write=written)
    return Tokens(*map(_count, found))


_CACHED = "cached_tokens"


def _count(value: Any) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return min(value, INT64_MAX) if known else None


def input_of(data: Any) -> Sequence[Any]:
    """Give the items or messages that a model was sent."""
    given = data.input
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return given if isinstance(given, list | tuple) else ()


def output_of(data: Any) -> str | None:
    """Give what a tool returned, as text."""
    output = data.output
    if type(output).__name__ == "FunctionToolResult":  # of one that waits for approval, once
        output = _get(output, "output")
    return None if output is None else as_text(output)


def tail_of(given: Sequence[Any]) -> Tail:
    """Find what is new in an input: what follows the model's own last words.

    Without any word of the user's among it (as after a handoff), the last before it is the prompt.
    """
    heard: list[Heard] = []
    prompts: list[str] = []
    is_new = True
    for item in given[: -_LOOKED_AT - 1 : -1]:
        message = _heard(item)
        is_new = is_new and message is not None
        if message is None:
            if prompts:
                break
            continue
        if message.role is Role.USER:
            prompts.append(_spoken_text(message.content))
        elif prompts and not is_new:
            break
        if is_new:
            heard.append(message)
    return Tail(heard[::-1], "\n\n".join(text for text in prompts[::-1] if text))


def _heard(item: Any) -> Heard | None:
    """Read an item that is not the model's own."""
    kind, role = _text_or_none(_get(item, "type")), _text_or_none(_get(item, "role"))
    if role == "tool":
        return Heard(Role.TOOL, _content(_get(item, "content")), label(_get(item, "tool_call_id")))
    if role is not None and role in _SPOKEN and kind in (None, "message"):
        return Heard(_SPOKEN[role], _content(_get(item, "content")))
    if kind is not None and kind.endswith("_output"):
        return Heard(Role.TOOL, _content(_get(item, "output")), label(_get(item, "call_id")))
    return None


def _content(content: Any) -> str | list[Any] | None:
    if content is None or isinstance(content, str):
        return content
    plain = as_json(content)
    return plain if isinstance(plain, list) else as_text(plain)


def text_of(item: Any) -> str:
    """Give the text of a message."""
    content = _get(item, "content")
    return content if isinstance(content, str) else "".join(_texts(content))


def _spoken_text(content: str | list[Any] | None) -> str:
    if isinstance(content, list):
        return "".join(_texts(content))
    return content or ""


def system_prompt_in(given: Sequence[Any]) -> str | None:
    """Find the instructions in chat messages, which begin with them."""
    if given and _get(given[0], "role") == "system":
        text = _spoken_text(_content(_get(given[0], "content")))
        return clean_text(text) or None
    return None


def response_call(data: Any) -> ModelCall:
    """Read a response span."""
    call = ModelCall(tokens=tokens_of(data.usage))
    if data.response is not None:
        _read_response(call, data.response)
    return call


def tools_in(data: Any) -> Any:
    """Find the definitions of tools in a response span: they may be large, and are read once."""
    tools = list(_members(_get(_get(data, "response"), "tools")))
    try:
        # What comes from JSON goes back to it in one step; `storable` looks at each member.
        return freeze_json([each.model_dump(mode="json") for each in tools])[0] or None
    except Exception:  # noqa: BLE001 - other objects than the service's own
        return storable(tools) or None


def generation_call(data: Any) -> ModelCall:
    """Read a generation span."""
    call = ModelCall(tokens=tokens_of(data.usage), model_name=label(data.model))
    for part in _members(data.output):
        if isinstance(_get(part, "output"), list):
            _read_response(call, part)
        elif _get(part, "role") == "assistant":
            _read_chat(call, part)
    return call


def _read_response(call: ModelCall, response: Any) -> None:
    call.model_name = label(_get(response, "model")) or call.model_name
    instructions = _get(response, "instructions")
    call.system_prompt = clean_text(instructions) if isinstance(instructions, str) else None
    texts: list[str] = []
    thoughts: list[str] = []
    for item in _members(_get(response, "output")):
        kind = _get(item, "type")
        if kind == "message":
            texts += _texts(_get(item, "content"))
            call.refused = call.refused or _has_refusal(_get(item, "content"))
        elif kind == "reasoning":
            thoughts += _texts(_get(item, "content")) or _texts(_get(item, "summary"))
        elif isinstance(kind, str) and kind.endswith("_call"):
            call.asked.append(_asked(kind, item))
    call.text = "".join(texts) if texts else None
    call.reasoning = "\n\n".join(thoughts) if thoughts else None
    reason = _get(_get(response, "incomplete_details"), "reason")
    call.stop_reason = "refusal" if call.refused else label(reason or _get(response, "status"))


def _read_chat(call: ModelCall, message: Any) -> None:
    content, refusal = _get(message, "content"), _get(message, "refusal")
    call.text = "".join(_texts(content)) if isinstance(content, list) else _text_or_none(content)
    if call.text is None and isinstance(refusal, str):
        call.text, call.stop_reason, call.refused = refusal, "refusal", True
    for name in ("reasoning_content", "reasoning"):
        call.reasoning = call.reasoning or _text_or_none(_get(message, name))
    for each in _members(_get(message, "tool_calls")):
        function = _get(each, "function") or _get(each, "custom")
        arguments = _get(function, "arguments") or _get(function, "input")
        name = label(_get(function, "name")) or "(unnamed)"
        call.asked.append(Asked(name, _text_or_none(arguments), label(_get(each, "id"))))


_ASKED_WITH = ("arguments", "input", "action", "operation", "queries", "code")
"""Where kinds of calls have what they were called with."""


def _asked(kind: str, item: Any) -> Asked:
    given = next((value for key in _ASKED_WITH if (value := _get(item, key)) is not None), None)
    arguments = given if given is None or isinstance(given, str) else as_text(as_json(given))
    result, error = _get(item, "output"), _get(item, "error")
    failed = error is not None
    told = error if failed else result
    return Asked(
        label(_get(item, "name")) or kind.removesuffix("_call"),
        arguments,
        label(_get(item, "call_id") or _get(item, "id")),
        None if told is None else as_text(told),
        True if failed else None if told is None else False,
    )


def _texts(parts: Any) -> list[str]:
    """Give the texts of a content's parts."""
    return [text for part in _members(parts) if (text := _part_text(part))]


def _part_text(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    return _text_or_none(_get(part, "text")) or _text_or_none(_get(part, "refusal"))


def _has_refusal(parts: Any) -> bool:
    return any(_get(part, "type") == "refusal" for part in _members(parts))


def _members(parts: Any) -> Iterator[Any]:
    yield from parts if isinstance(parts, list | tuple) else ()


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _get(value: Any, name: str) -> Any:
    """Give a member of a dict or of a model; None too where the model fails at that."""
    try:
        return value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    except Exception:  # noqa: BLE001 - a foreign object: what else the span says is kept
        return None


def instant_of(span: Any, name: str = "started_at") -> datetime | None:
    """Read when a span began, or ended."""
    text = getattr(span, name)
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
