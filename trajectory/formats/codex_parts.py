"""What Codex turns are made of, while they are in the making."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from trajectory.formats.foreign import storable, written
from trajectory.models import Message, Role, ToolCall, Turn

_INJECTED = (
    *("<environment_context>", "<user_instructions>", "<permissions", "<turn_aborted>"),
    *("# AGENTS.md instructions", "<INSTRUCTIONS>", "<collaboration_mode>", "<skill"),
    *("<user_shell_command>", "<subagent_notification>"),
)
_TEXT_PARTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})


@dataclass(slots=True)
class Said:
    """A message in the making."""

    role: Role
    content: Any = None
    at: datetime | None = None
    call_id: str | None = None
    model: str | None = None
    reasoning: list[str] = field(default_factory=list)
    usage: Any = None


@dataclass(slots=True)
class Call:
    """A tool call in the making."""

    name: str
    arguments: str | None
    call_id: str | None
    message_position: int
    at: datetime | None
    result: str | None = None
    is_error: bool | None = None
    latency_ms: float | None = None


@dataclass(slots=True)
class Exchange:
    """A turn in the making."""

    prompt: str = ""
    at: datetime | None = None
    response: str = ""
    messages: list[Said] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    usage: Counter[str] = field(default_factory=Counter)
    model: str | None = None
    latency_ms: float | None = None
    stop_reason: str | None = None
    error: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    typed: Said | None = None
    """The prompt's message, while the item that says the same may still come."""

    def turn(self, id_: UUID, number: int, otherwise: datetime) -> Turn:
        """Make the value, dated `otherwise` where it has no time. Raises `InvalidTurnError`."""
        return Turn(
            trajectory_id=id_,
            turn_number=number,
            prompt=self.prompt,
            response=self.response,
            created_at=self.at or otherwise,
            latency_ms=self.latency_ms,
            model_name=self.model,
            stop_reason=self.stop_reason,
            error=self.error,
            metadata={key: value for key, value in self.metadata.items() if value},
            messages=tuple(map(_message, self.messages)),
            tool_calls=tuple(map(_tool_call, self.calls)),
            **self.usage,
        )


def _message(said: Said) -> Message:
    return Message(
        role=said.role,
        content=said.content,
        call_id=said.call_id,
        reasoning="\n\n".join(said.reasoning) or None,
        model_name=said.model,
        usage=said.usage,
        created_at=said.at,
    )


def _tool_call(call: Call) -> ToolCall:
    return ToolCall(
        tool_name=call.name,
        arguments=call.arguments,
        result=call.result,
        call_id=call.call_id,
        message_position=call.message_position,
        is_error=call.is_error,
        latency_ms=call.latency_ms,
        started_at=call.at,
    )


def is_typed(payload: Mapping[str, Any]) -> bool:
    """Say whether a user_message event was typed: older versions write injected ones as well."""
    return payload.get("kind") in (None, "plain")


def is_injected(content: Any) -> bool:
    """Say whether Codex itself wrote what a user message says."""
    return text_of(content).lstrip().startswith(_INJECTED)


def content_of(value: Any) -> Any:
    """Give a content as text where it is no more than one, else as storable parts.

    Text parts get the type that other formats know.
    """
    if not isinstance(value, list):
        return written(value)
    parts = [
        {**part, "type": "text"} if isinstance(part, dict) and _is_text(part) else part
        for part in value
    ]
    if (
        len(parts) == 1
        and isinstance(parts[0], dict)
        and parts[0].keys() == {"type", "text"}
        and _is_text(parts[0])
    ):
        return parts[0]["text"]
    return parts if storable(parts) is not None else written(value)


def _is_text(part: Mapping[str, Any]) -> bool:
    kind = part.get("type")
    return isinstance(kind, str) and kind in _TEXT_PARTS and isinstance(part.get("text"), str)


def joined(parts: Any) -> str | None:
    """Give the text of a tool's answer in parts; as JSON where it is more than text."""
    if isinstance(parts, list) and all(isinstance(p, dict) and _is_text(p) for p in parts):
        return "".join(part["text"] for part in parts)
    return written(parts)


def texts(parts: Any) -> list[str]:
    """Give the texts of a list of parts."""
    found: Iterable[Any] = parts if isinstance(parts, list) else ()
    return [part["text"] for part in found if isinstance(part, dict) and _is_text(part)]


def text_of(content: Any) -> str:
    """Give the text of a content: itself, or that of its parts."""
    return content if isinstance(content, str) else "".join(texts(content))
