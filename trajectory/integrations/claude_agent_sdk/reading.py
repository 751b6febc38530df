"""What the SDK's messages say, looked at with care: whatever is in them, nothing here raises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from trajectory.door import MAX_LABEL
from trajectory.draft import as_json, as_text
from trajectory.formats.claude_code_lines import content_of, result_of
from trajectory.formats.foreign import count, members, written
from trajectory.values import clean_text

DELEGATES = frozenset({"Task", "Agent"})
"""The tools that start a sub-agent; the newer name is the second."""

_FIGURES = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
}
_READ = ("input_tokens", "cache_write_tokens", "cache_read_tokens")


def of(message: Any, name: str) -> Any:
    """Give a field of a message; None in a release of the SDK that doesn't have it."""
    return getattr(message, name, None)


def name_of(value: Any) -> str:
    """Give an id as it is stored, so that it is the same wherever it is told."""
    return clean_text(as_text(value))[:MAX_LABEL]


class Asked(NamedTuple):
    """A tool call as the model made it."""

    call_id: str
    name: str
    input: Any

    @property
    def arguments(self) -> str:
        """Its arguments as text; the SDK has parsed them."""
        return written(self.input) or ""


class Answered(NamedTuple):
    """The result of a tool call as the model is given it."""

    call_id: str
    content: Any
    text: str
    is_error: bool


class Spoken(NamedTuple):
    """What the blocks of a message hold."""

    text: list[Any]
    """Blocks of text and of what else is shown, as JSON."""
    reasoning: list[str]
    calls: list[Asked]
    results: list[Answered]


def spoken(content: Any) -> Spoken:
    """Read the content of a message: text, or the SDK's blocks."""
    found = Spoken([], [], [], [])
    if isinstance(content, str):
        content = [content]
    for block in content if isinstance(content, list | tuple) else ():
        kind = type(block).__name__
        if isinstance(block, str):
            found.text.append({"type": "text", "text": block})
        elif kind == "TextBlock":
            if block.text:
                found.text.append({"type": "text", "text": as_text(block.text)})
        elif kind == "ThinkingBlock":
            if block.thinking:
                found.reasoning.append(as_text(block.thinking))
        elif kind in {"ToolUseBlock", "ServerToolUseBlock"}:
            found.calls.append(Asked(name_of(block.id), as_text(block.name), block.input))
        elif kind in {"ToolResultBlock", "ServerToolResultBlock"}:
            found.results.append(_answered(block))
        else:
            found.text.append(as_json(block))
    return found


def _answered(block: Any) -> Answered:
    content = as_json(block.content)
    return Answered(
        call_id=name_of(block.tool_use_id),
        content=content_of(content) if isinstance(content, list) else content,
        text=result_of(content),
        is_error=getattr(block, "is_error", None) is True
        or as_text(members(content).get("type")).endswith("_error"),
    )


def told_prompt(message: Any) -> tuple[str, Any]:
    """Read a prompt as a program sends it: its text, and its content."""
    content = message
    if isinstance(message, dict):
        content = members(message.get("message")).get("content")
    if isinstance(content, str):
        return content, content
    parts = as_json(content)
    return texts_of(parts), parts


def texts_of(parts: Any) -> str:
    """Give the text of a message's parts, as paragraphs."""
    found = parts if isinstance(parts, list) else []
    told = (members(part).get("text") for part in found)
    return "\n\n".join(text for text in told if isinstance(text, str))


def shown(blocks: Sequence[Any]) -> Any:
    """Give blocks as the content of a message: text where they are no more than one text."""
    return content_of(blocks)


def figures(usage: Any) -> dict[str, int]:
    """Read figures of the model's usage. What was read includes what the cache held."""
    told = members(usage)
    found = {
        ours: figure
        for theirs, ours in _FIGURES.items()
        if (figure := count(told.get(theirs))) is not None
    }
    if found:
        found["input_tokens"] = sum(found.get(name, 0) for name in _READ)
    return found


def added(all_figures: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add up figures."""
    total: dict[str, int] = {}
    for each in all_figures:
        for name, figure in each.items():
            total[name] = total.get(name, 0) + figure
    return total
