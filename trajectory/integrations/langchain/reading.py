"""Reads what a program hands to LangChain, and gets from it: messages, states, texts.

Nothing here trusts a type: a state may hold whatever the program put there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from trajectory.draft import as_json, as_text

_ROLES = {
    "human": "user",
    "user": "user",
    "ai": "assistant",
    "assistant": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "function": "tool",
}
_INSTRUCTING = frozenset({"system", "developer"})
THOUGHTS = frozenset({"thinking", "reasoning", "reasoning_content"})
_CALLS = frozenset({"tool_use", "tool_call", "function_call", "input_json_delta"})
_ASKED = ("input", "question", "query", "prompt", "text", "human_input")
_ANSWERED = ("output", "answer", "response", "result", "text", "content")
_DEPTH = 4
_MANY = 1000
_LOOKED_AT = 10


class Said(NamedTuple):
    """One message, of whatever form."""

    role: str
    content: Any
    call_id: str | None
    source: Any
    """The message as it came."""

    @property
    def text(self) -> str:
        """Its text alone, without images, thoughts and tool calls."""
        return text_of(self.content)

    @property
    def failed(self) -> bool:
        """Whether a tool says here that it failed."""
        return getattr(self.source, "status", None) == "error"


def said(value: Any) -> Said | None:
    """Read a message, which may also be a pair, a dict or plain text; None if it is none."""
    if isinstance(value, str):
        return Said("user", value, None, value)
    kind: Any
    content: Any
    if isinstance(value, tuple | list):
        if len(value) != 2 or not isinstance(value[0], str):  # (role, content)
            return None
        kind, content = value
    elif isinstance(value, Mapping):
        kind, content = value.get("role", value.get("type")), value.get("content")
    else:
        kind, content = getattr(value, "type", None), getattr(value, "content", None)
        if kind == "chat":
            kind = getattr(value, "role", None)
        elif content is None:
            return None
    if not isinstance(kind, str):
        return None
    role = _ROLES.get(kind) or _ROLES.get(kind.removesuffix("MessageChunk").lower())
    if role is None:
        return None
    return Said(role, "" if content is None else content, _answered_call(role, value), value)


def _answered_call(role: str, value: Any) -> str | None:
    if role != "tool":  # a message of Pydantic's is slow to say that it has no such field
        return None
    found = value.get if isinstance(value, Mapping) else partial(getattr, value)
    return label(found("tool_call_id", None))


def messages_in(value: Any) -> Sequence[Any]:
    """Find the messages of an input or a state: itself a list or a message, or under `messages`.

    They are as they came; a history may be long, and is read from its end.
    """
    if isinstance(value, str):
        return ()
    if isinstance(value, list | tuple):
        if _is_pair(value):
            return (value,)
        # A plain list of texts is an input like any other.
        few = (one for one in value[:_LOOKED_AT] if not isinstance(one, str))
        return value if any(map(said, few)) else ()
    if isinstance(value, Mapping):
        held = value.get("messages")
    elif said(value) is not None:
        return (value,)
    else:
        held = getattr(value, "messages", None)
    if isinstance(held, list | tuple) and not _is_pair(held):
        return held
    return () if held is None or said(held) is None else (held,)


def news(messages: Sequence[Any]) -> list[Said]:
    """Read what follows the last answer of a model: all before it is history."""
    new: list[Said] = []
    for value in reversed(messages):
        one = said(value)
        if one is None:
            continue
        if one.role == "assistant":
            return new[::-1]
        new.append(one)
    while new and new[-1].role in _INSTRUCTING:
        new.pop()
    return new[::-1]


def instructions(messages: Sequence[Any]) -> str:
    """Give the system messages that come before any other."""
    texts = []
    for value in messages:
        one = said(value)
        if one is None or one.role not in _INSTRUCTING:
            break
        texts.append(one.text)
    return "\n\n".join(texts)


def last_of(messages: Sequence[Any], role: str) -> Said | None:
    """Give the last message of a role."""
    found = (one for value in reversed(messages) if (one := said(value)) and one.role == role)
    return next(found, None)


def asked(value: Any) -> str:
    """Give the text that a run was asked: the user's last words, or the input itself."""
    if messages := messages_in(value):
        last = last_of(messages, "user")
        return "" if last is None else text_of(last.content)
    if resumes(value):
        return as_text(plain(value.resume))
    if isinstance(value, Mapping):
        if "messages" in value:
            return ""
        for key in _ASKED:
            if isinstance(value.get(key), str):
                return str(value[key])
        only = list(value.values())[:2]
        if len(only) == 1 and isinstance(only[0], str):
            return str(only[0])
    return "" if value is None else as_text(plain(value))


def resumes(value: Any) -> bool:
    """Say whether an input is the user's answer, with which a paused graph goes on."""
    return _is_command(value) and getattr(value, "resume", None) is not None


def answered(value: Any) -> str | None:
    """Give the text of what a run returned; None where that is a state that ends with no answer."""
    if value is None:
        return None
    if messages := messages_in(value):
        last = said(messages[-1])
        return last.text if last is not None and last.role == "assistant" else None
    if isinstance(value, Mapping):
        for key in _ANSWERED:
            if isinstance(value.get(key), str):
                return str(value[key])
    return as_text(plain(value))


def text_of(content: Any) -> str:
    """Give the text of a message's content."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        return as_text(content)
    return "".join(_texts(content))


def content_of(content: Any) -> Any:
    """Give a content as text, or as parts where it has more than text. Thoughts and calls go."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        return as_text(content)
    parts = [part for part in content if kind_of(part) not in THOUGHTS | _CALLS]
    if all(isinstance(part, str) or kind_of(part) == "text" for part in parts):
        return "".join(_texts(parts))
    read = as_json(parts)
    return read if isinstance(read, list | tuple) else as_text(read)


def plain(value: Any, depth: int = _DEPTH) -> Any:
    """Put the texts of messages and documents in their place, inside lists and dicts too."""
    if isinstance(value, str | int | float | bool | None) or depth == 0:
        return value
    if isinstance(value, Mapping):
        few = list(value.items())[:_MANY]
        return {str(key): plain(one, depth - 1) for key, one in few}
    if isinstance(value, list | tuple):
        return [plain(one, depth - 1) for one in value[:_MANY]]
    if (found := said(value)) is not None:
        return found.text
    page = getattr(value, "page_content", None)
    if isinstance(page, str):
        return {"page_content": page, "metadata": getattr(value, "metadata", None)}
    return value


def tool_message(output: Any, call_id: str | None) -> Said | None:
    """Find the message that a tool's output is or, as a command of LangGraph's, brings."""
    if (found := said(output)) is not None and found.role == "tool":
        return found
    update = output.update if _is_command(output) else None
    for value in messages_in(update) if isinstance(update, Mapping) else ():
        one = said(value)
        if one is None or one.role != "tool":
            continue
        if call_id is None or one.call_id == call_id:
            return one
    return None


def label(value: Any) -> str | None:
    """Give a name or an id, cut to what a label holds; None for what is none."""
    return value[:256] or None if isinstance(value, str) else None


def _is_command(value: Any) -> bool:
    """Say whether this is LangGraph's `Command`, which is not imported for it."""
    return any(
        kind.__name__ == "Command" and kind.__module__.startswith("langgraph.")
        for kind in type(value).__mro__
    )


def _is_pair(value: list[Any] | tuple[Any, ...]) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2  # (role, content)
        and isinstance(value[0], str)
        and value[0] in _ROLES
    )


def kind_of(part: Any) -> str | None:
    """Give the type that a part of a content says it has."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    return kind if isinstance(kind, str) else None


def _texts(parts: Iterable[Any]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
        elif kind_of(part) == "text" and isinstance(part.get("text"), str):
            yield part["text"]
