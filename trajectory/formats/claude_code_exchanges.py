"""What a turn of Claude Code is made of while its lines come in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from trajectory.formats.claude_code_lines import Kind, content_of, text_of
from trajectory.formats.foreign import count, members, storable
from trajectory.models import Message, Role, ToolCall, Turn
from trajectory.values import INT64_MAX

_USAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
}
_READ = ("input_tokens", "cache_write_tokens", "cache_read_tokens")
_LISTS = {Kind.COMMAND: "slash_commands", Kind.SHELL_LINE: "shell_lines"}


@dataclass(slots=True, eq=False)
class Said:
    """A message in the making."""

    role: Role
    at: datetime | None
    blocks: list[Any] = field(default_factory=list)
    call_id: str | None = None
    reasoning: list[str] = field(default_factory=list)
    model: str | None = None
    stop_reason: str | None = None
    usage: Any = None
    is_error: bool = False
    typed: tuple[Kind, str] | None = None
    """A slash command or a shell line of the person's."""

    def message(self) -> Message:
        """Make the value. Raises `InvalidTurnError`."""
        return Message(
            role=self.role,
            content=content_of(self.blocks),
            call_id=self.call_id,
            reasoning="\n\n".join(self.reasoning) or None,
            model_name=self.model,
            stop_reason=self.stop_reason,
            usage=storable(self.usage),
            created_at=self.at,
        )


@dataclass(slots=True, eq=False)
class Call:
    """A tool call in the making."""

    name: str
    arguments: str | None
    call_id: str | None
    message_position: int
    at: datetime | None
    exchange: Exchange
    result: str | None = None
    is_error: bool | None = None
    latency_ms: float | None = None


@dataclass(slots=True, eq=False)
class Exchange:
    """A turn in the making."""

    prompt: str = ""
    at: datetime | None = None
    messages: list[Said] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    stop_reason: str | None = None
    latency_ms: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def turn(self, id_: UUID, number: int, otherwise: datetime) -> Turn:
        """Make the value, dated `otherwise` where it has no time. Raises `InvalidTurnError`."""
        answers = [said for said in self.messages if said.role is Role.ASSISTANT]
        texts = [said_text for said in answers if (said_text := text_of(said.blocks))]
        models = [said.model for said in answers if said.model]
        for said in self.messages:
            if said.typed is not None:
                kind, typed = said.typed
                self.metadata.setdefault(_LISTS[kind], []).append(typed)
        failed = bool(answers) and answers[-1].is_error
        return Turn(
            trajectory_id=id_,
            turn_number=number,
            prompt=self.prompt,
            response=texts[-1] if texts else "",
            created_at=self.at or otherwise,
            latency_ms=self.latency_ms,
            model_name=models[-1] if models else None,
            stop_reason=self.stop_reason,
            error=(text_of(answers[-1].blocks) or "unknown") if failed else None,
            metadata=self.metadata,
            messages=tuple(said.message() for said in self.messages),
            tool_calls=tuple(
                ToolCall(
                    tool_name=call.name,
                    arguments=call.arguments,
                    result=call.result,
                    call_id=call.call_id,
                    message_position=call.message_position,
                    is_error=call.is_error,
                    latency_ms=call.latency_ms,
                    started_at=call.at,
                )
                for call in self.calls
            ),
            **_tokens(answers),
        )


def _tokens(answers: list[Said]) -> dict[str, int]:
    """Add up what the answers took. What was read includes what the cache held, as everywhere."""
    total: Counter[str] = Counter()
    for said in answers:
        for theirs, ours in _USAGE.items():
            if (figure := count(members(said.usage).get(theirs))) is not None:
                total[ours] += figure
    if not total:
        return {}
    total["input_tokens"] = sum(total[name] for name in _READ)
    return {name: min(figure, INT64_MAX) for name, figure in total.items()}
