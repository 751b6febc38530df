"""What was said, in the messages of the conventions: a role, and parts of named kinds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trajectory.genai.conventions import PartKind
from trajectory.models import Message, Role, ToolCall
from trajectory.values import freeze_json

_TEXT_KINDS = (None, "text", "input_text", "output_text")


def as_json(value: Any) -> str:
    """Write a value as spans carry structure: as JSON text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def spoken(role: Role, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make a message."""
    return {"role": role.value, "parts": list(parts)}


def text(content: str) -> dict[str, Any]:
    """Make a part that is text."""
    return {"type": PartKind.TEXT.value, "content": content}


def heard(message: Message) -> dict[str, Any]:
    """Tell a message that a model was given."""
    if message.role is Role.TOOL:
        return answer(message.call_id, _whole(message.content))
    return spoken(message.role, parts_of(message.content))


def answer(call_id: str | None, result: Any) -> dict[str, Any]:
    """Tell the result of a tool call."""
    kind = PartKind.TOOL_CALL_RESPONSE.value
    return spoken(Role.TOOL, [{"type": kind, "id": call_id, "response": result}])


def written(
    message: Message | None, response: str | None, calls: Iterable[ToolCall]
) -> dict[str, Any]:
    """Tell what a model wrote: its reasoning, its text and its calls.

    `response` is the text where the message has none, or there is no message.
    """
    parts: list[dict[str, Any]] = []
    if message is not None and message.reasoning:
        parts.append({"type": PartKind.REASONING.value, "content": message.reasoning})
    said = parts_of(message.content) if message is not None else []
    if not said and response:
        said = [text(response)]
    parts += said
    parts += [
        {
            "type": PartKind.TOOL_CALL.value,
            "id": call.call_id,
            "name": call.tool_name,
            "arguments": arguments_of(call),
        }
        for call in calls
    ]
    return spoken(Role.ASSISTANT, parts)


def arguments_of(call: ToolCall) -> Any:
    """Give the arguments as an object, if they are one; else the text as it is."""
    if call.arguments is None:
        return None
    try:
        found, _ = freeze_json(json.loads(call.arguments))
    except (ValueError, RecursionError):  # no JSON, or such as not every reader takes
        return call.arguments
    return found if isinstance(found, dict) else call.arguments


def definitions(tools: Any) -> Any:
    """Give tool definitions in the form of the conventions, as far as they have a known one."""
    if not isinstance(tools, list):
        return tools
    return [_definition(tool) for tool in tools]


def parts_of(content: str | Sequence[Any] | None) -> list[dict[str, Any]]:
    """Give the parts of a content; what is no text goes on under the kind that it names."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [text(content)]
    return [_part(each) for each in content]


def has_text(message: Message) -> bool:
    """Say whether a message has any text."""
    return any(
        part["type"] == PartKind.TEXT and part["content"] for part in parts_of(message.content)
    )


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, str):
        return text(part)
    if isinstance(part, Mapping):
        kind = part.get("type")
        if kind in _TEXT_KINDS:
            said = part.get("text", part.get("content"))
            if isinstance(said, str):
                return text(said)
        elif isinstance(kind, str):
            return dict(part)
    return {"type": "json", "content": part}


def _whole(content: str | Sequence[Any] | None) -> Any:
    """Give the content of a tool's message: its text, or its parts if not all are text."""
    parts = parts_of(content)
    if all(part["type"] == PartKind.TEXT for part in parts):
        return "".join(part["content"] for part in parts)
    return parts


def _definition(tool: Any) -> Any:
    if not isinstance(tool, Mapping):
        return tool
    inner = tool.get("function")
    if isinstance(inner, Mapping) and isinstance(inner.get("name"), str):
        return {"type": "function", **inner}
    if not isinstance(tool.get("name"), str):
        return tool
    renamed = {"parameters" if key == "input_schema" else key: tool[key] for key in tool}
    return {"type": "function", **renamed}
