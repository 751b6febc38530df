"""What was said, read out of messages of any shape that instrumentations write.

The conventions' own shape is a role and parts. The shapes of the providers' APIs, with `content`
and `tool_calls`, are read as well, since many instrumentations hand on what they were given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from trajectory.genai.lenient import label, text, written
from trajectory.models import Role

_ROLES = {
    **{role.value: role for role in Role},
    "human": Role.USER,
    "ai": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "function": Role.TOOL,
    "computer": Role.TOOL,
}
_TEXTS = (None, "text", "input_text", "output_text", "summary_text")
_TEXT_KEYS = {"type", "content", "text"}
_REASONING = ("reasoning", "thinking")
_CALLS = ("tool_call", "tool_use", "function_call")
_RESULTS = ("tool_call_response", "tool_result", "function_call_output")


class Call(NamedTuple):
    """A tool call as a model wrote it."""

    call_id: str | None
    name: str
    arguments: str | None


@dataclass(frozen=True, slots=True)
class Said:
    """One message."""

    role: Role
    content: str | list[Any] | None = None
    reasoning: str | None = None
    calls: tuple[Call, ...] = ()
    call_id: str | None = None
    stop_reason: str | None = None

    @property
    def text(self) -> str:
        """The text of the content, without its other parts."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part["text"] for part in self.content if part.get("type") == "text")

    @property
    def key(self) -> int:
        """A number that is the same, within a process, for what says the same."""
        return hash((self.role, written(self.content), self.calls, self.call_id))

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is known."""
        return self.content is None and self.reasoning is None and not self.calls


def messages_of(found: Iterable[Any], role: Role = Role.USER) -> list[Said]:
    """Read messages; `role` is that of those which name none."""
    return [said for message in found for said in _read(message, role)]


def joined(said: Iterable[Said]) -> Said | None:
    """Make one answer of what a model gave as several messages: reasoning, text, calls.

    Of several answers to choose from, each of which says why it ended, it is the first.
    """
    answers = [each for each in said if each.role is Role.ASSISTANT]
    if not answers:
        return None
    if len(answers) == 1 or all(each.stop_reason is not None for each in answers):
        return answers[0]
    parts: list[Any] = []
    for each in answers:
        parts += [_text_part(each.content)] if isinstance(each.content, str) else each.content or ()
    return Said(
        Role.ASSISTANT,
        _content(parts),
        "\n".join(each.reasoning for each in answers if each.reasoning) or None,
        tuple(call for each in answers for call in each.calls),
        stop_reason=next((each.stop_reason for each in answers if each.stop_reason), None),
    )


def role_of(value: object, otherwise: Role) -> Role:
    """Read a role."""
    return _ROLES.get(value.lower(), otherwise) if isinstance(value, str) else otherwise


def _read(message: Any, role: Role) -> Iterator[Said]:
    if isinstance(message, str):
        if message:
            yield Said(role, message)
        return
    if not isinstance(message, Mapping):
        return
    role = role_of(message.get("role"), role)
    texts: list[Any] = []
    reasoning = [text(message.get(key)) for key in ("reasoning_content", "reasoning")]
    calls = [_call(each) for each in _listed(message.get("tool_calls"))]
    calls.append(_call({"function": message.get("function_call")}))
    results: list[Said] = []
    call_id = label(message.get("tool_call_id")) or label(message.get("call_id"))
    if role is Role.TOOL and call_id is None:
        call_id = label(message.get("id"))
    given = [message] if message.get("type") in (*_CALLS, *_RESULTS) else _parts(message)
    for found in given:
        part = _of_google(found)
        kind = part.get("type")
        if kind in _TEXTS and (words := _first(part, "content", "text")) is not None:
            texts.append(_text_part(words))
        elif kind in _REASONING:
            reasoning.append(_first(part, "content", "text", "thinking", "reasoning"))
        elif kind in _CALLS:
            calls.append(_call(part))
        elif kind in _RESULTS:
            results.append(_result(part, call_id))
        elif kind == "text":
            if part.keys() - _TEXT_KEYS:  # it says that it is text, and has none
                texts.append({"type": "json", "content": part})
        elif part:
            texts.append(part)
    yield from results
    if role is Role.TOOL:
        if not results:
            yield Said(role, _whole(texts), call_id=call_id)
        return
    said = Said(
        role,
        _content(texts),
        "\n".join(each for each in reasoning if each) or None,
        tuple(call for call in calls if call is not None),
        stop_reason=label(message.get("finish_reason")),
    )
    if not (said.is_empty and results):
        yield said


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    parts = message.get("parts")
    if not isinstance(parts, list | tuple):
        parts = message.get("content")
    return [
        _text_part(part) if isinstance(part, str) else part
        for part in _listed(parts)
        if isinstance(part, Mapping) or (isinstance(part, str) and part)
    ]


def _of_google(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name the kind of a part that is told by its one key."""
    for key, kind in (("function_call", _CALLS[0]), ("function_response", _RESULTS[0])):
        if isinstance(told := part.get(key), Mapping) and "type" not in part:
            return {"arguments": told.get("args"), **told, "type": kind}
    return part


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _text_part(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def _first(part: Mapping[str, Any], *names: str) -> str | None:
    return next((part[name] for name in names if text(part.get(name)) is not None), None)


def _content(parts: list[Any]) -> str | list[Any] | None:
    if not parts:
        return None
    if len(parts) == 1 and parts[0].get("type") == "text":
        return str(parts[0]["text"])
    return parts


def _whole(parts: list[Any]) -> str | None:
    """Give what a tool returned as text."""
    if all(part.get("type") == "text" for part in parts):
        return "".join(part["text"] for part in parts) if parts else None
    return written(parts)


def _call(part: Any) -> Call | None:
    if not isinstance(part, Mapping):
        return None
    inner = part.get("function")
    told = inner if isinstance(inner, Mapping) else part
    name = label(told.get("name"))
    if name is None:
        return None
    arguments = told.get("arguments", told.get("input"))
    id_ = part.get("call_id") or part.get("id")
    return Call(label(id_), name, written(arguments))


def _result(part: Mapping[str, Any], call_id: str | None) -> Said:
    id_ = next(
        (part[n] for n in ("id", "call_id", "tool_call_id", "tool_use_id") if label(part.get(n))),
        call_id,
    )
    # The conventions' page shows `result` where instrumentations write `response`.
    known = (part[n] for n in ("response", "result", "content", "output") if n in part)
    result = next(known, None)
    if isinstance(result, list | tuple):
        read = messages_of([{"role": "tool", "content": result}])
        result = read[0].content if read else None
    return Said(Role.TOOL, written(result), call_id=label(id_))
