"""Single values of a chat: what a content says, which tools are functions, what has no place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trajectory.formats.foreign import shown
from trajectory.models import Trajectory

_TEXT_KINDS = (None, "text", "input_text", "output_text")
_FUNCTION_KINDS = (None, "function", "custom")
_TOLD = {
    "trajectory": frozenset({"system_prompt", "tools", "source_format"}),
    "turn": frozenset(
        {"trajectory_id", "turn_number", "prompt", "response", "messages", "tool_calls"}
        | {"is_copied_context"}  # whether such a turn is written is asked before
    ),
    "message": frozenset({"role", "content", "call_id"}),
    "tool_call": frozenset({"tool_name", "arguments", "result", "call_id", "message_position"}),
}


def count_fields(
    value: Any, what: str, left_out: Counter[str], told: frozenset[str] = frozenset()
) -> None:
    """Count the fields of a value that are known and that a chat has no place for."""
    for name in type(value).model_fields.keys() - _TOLD[what]:
        found = getattr(value, name)
        if found not in (None, (), {}) and f"{what}.{name}" not in told:
            left_out[f"{what}.{name}"] += len(found) if isinstance(found, tuple) else 1


def text_of_part(part: Any) -> str | None:
    """Give the text of a part of a content, and None for a part that is no text."""
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return None
    kind = part.get("type")
    text = part.get("refusal") if kind == "refusal" else part.get("text")
    return text if isinstance(text, str) and kind in (*_TEXT_KINDS, "refusal") else None


def text_of(content: str | Sequence[Any] | None, left_out: Counter[str] | None = None) -> str:
    """Give the text of a content; the parts that are none are counted in `left_out`."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = [text_of_part(part) for part in content]
    if left_out is not None:
        left_out.update(
            name_of_part(part) for part, text in zip(content, texts, strict=True) if text is None
        )
    return "".join(text for text in texts if text is not None)


def name_of_part(part: Any) -> str:
    """Name a part that is left out."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    return f"content part {shown(kind)}" if isinstance(kind, str) else "content part without a kind"


def functions(trajectory: Trajectory, left_out: Counter[str]) -> list[Any] | None:
    """Give the tools that are functions in the form `{"type": "function", "function": {...}}`."""
    tools = trajectory.tools
    if tools is None:
        return None
    if not isinstance(tools, list):
        left_out["tools that are no list"] += 1
        return None
    found = []
    for tool in tools:
        function = _function(tool)
        if function is None:
            left_out["tool that is no function"] += 1
        else:
            found.append(function)
    return found or None


def _function(tool: Any) -> Any:
    if not isinstance(tool, Mapping) or tool.get("type") not in _FUNCTION_KINDS:
        return None
    inner = tool.get("function")
    if isinstance(inner, Mapping):
        return tool if isinstance(inner.get("name"), str) else None
    if not isinstance(tool.get("name"), str):
        return None
    members = {key: tool[key] for key in ("name", "description", "strict") if key in tool}
    parameters = tool.get("parameters", tool.get("input_schema"))
    return {
        "type": "function",
        "function": members if parameters is None else {**members, "parameters": parameters},
    }
