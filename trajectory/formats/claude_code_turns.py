"""The lines of one Claude Code session, or of one of its sub-agents, put together to turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from trajectory.formats.claude_code_lines import (
    Kind,
    block_type,
    blocks_of,
    content_of,
    is_text,
    kind_of,
    result_of,
    text_of,
)
from trajectory.formats.foreign import (
    amount,
    count,
    instant,
    label,
    members,
    storable,
    written,
)
from trajectory.models import Message, Role, ToolCall, Turn
from trajectory.values import INT64_MAX

_CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_NO_MODEL = "<synthetic>"
_USAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
}
_READ = ("input_tokens", "cache_write_tokens", "cache_read_tokens")
_LISTS = {Kind.COMMAND: "slash_commands", Kind.SHELL_LINE: "shell_lines"}


@dataclass(slots=True, eq=False)
class _Said:
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
class _Call:
    """A tool call in the making."""

    name: str
    arguments: str | None
    call_id: str | None
    message_position: int
    at: datetime | None
    exchange: _Exchange
    result: str | None = None
    is_error: bool | None = None
    latency_ms: float | None = None


@dataclass(slots=True, eq=False)
class _Exchange:
    """A turn in the making."""

    prompt: str = ""
    at: datetime | None = None
    messages: list[_Said] = field(default_factory=list)
    calls: list[_Call] = field(default_factory=list)
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


def _tokens(answers: list[_Said]) -> dict[str, int]:
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


class Conversation:
    """Takes the lines of one session, or of one sub-agent, in the order of the file."""

    def __init__(self, left_out: Counter[str], *, is_sidechain: bool = False) -> None:
        self._left_out = left_out
        self._is_sidechain = is_sidechain
        self._exchanges: list[_Exchange] = []
        self._has_preamble = False
        self._held: list[_Said] = []  # what stands before the first turn
        self._answers: dict[str, tuple[_Exchange, int]] = {}  # by message id: where it stands
        self._calls: dict[str, list[_Call]] = {}
        self._places: dict[str, int] = {}  # by uuid: in which exchange a line stands
        self._sub_agents: list[tuple[_Exchange, str, str]] = []

    def held_of(self, uuids: Collection[str]) -> list[str]:
        """Give those of the uuids whose lines were taken here, in the order of the shorter side."""
        fewer, more = sorted((uuids, self._places), key=len)
        return [uuid for uuid in fewer if uuid in more]

    def take(self, line: Mapping[str, Any]) -> None:
        """Take a line of the type user, assistant or system."""
        kind, uuid = line.get("type"), label(line.get("uuid"))
        if uuid is not None and uuid in self._places:
            self._left_out["line that is repeated"] += 1
            return
        message = members(line.get("message"))
        blocks = blocks_of(message.get("content"))
        if kind == "system":
            self._take_system(line)
        elif blocks is None:
            self._left_out[f"{kind} line without content"] += 1
            return
        elif kind == "user":
            self._take_user(line, blocks)
        else:
            self._take_assistant(line, message, blocks)
        if uuid is not None:
            self._places[uuid] = len(self._exchanges) - 1

    def _take_system(self, line: Mapping[str, Any]) -> None:
        duration = amount(line.get("durationMs"))
        if line.get("subtype") == "turn_duration" and duration is not None and self._exchanges:
            exchange = self._exchanges[-1]
            exchange.latency_ms = amount((exchange.latency_ms or 0) + duration)
        else:
            subtype = label(line.get("subtype")) or "other"
            self._left_out[f"system line {subtype[:40]!a}"] += 1

    def _take_user(self, line: Mapping[str, Any], blocks: list[Any]) -> None:
        at = instant(line.get("timestamp"))
        results = [block for block in blocks if block_type(block) == "tool_result"]
        for block in results:
            self._answer(block, at, line if len(results) == 1 else {})
        rest = [block for block in blocks if block_type(block) != "tool_result"]
        if results:
            if rest:
                self._add(_Said(Role.USER, at, rest))
            return
        is_made = line.get("isMeta") is True or line.get("isCompactSummary") is True
        kind, typed = kind_of(rest, is_sidechain=self._is_sidechain, is_made=is_made)
        said = _Said(Role.USER, at, rest)
        if kind is Kind.PROMPT:
            self._begin(line, said)
            return
        if typed is not None:
            said.typed = kind, typed
        if self._exchanges:
            self._exchanges[-1].messages.append(said)
            if kind is Kind.INTERRUPTION:
                self._exchanges[-1].stop_reason = "interrupted"
        else:
            self._held.append(said)

    def _begin(self, line: Mapping[str, Any], said: _Said) -> None:
        metadata = {}
        for theirs, ours in (("uuid", "uuid"), ("parentUuid", "parent_uuid")):
            if (name := label(line.get(theirs))) is not None:
                metadata[ours] = name
        last = len(self._exchanges) - 1
        place = self._places.get(metadata.get("parent_uuid", ""), last)
        exchange = _Exchange(
            text_of(said.blocks), said.at, [*self._held, said], metadata=dict(metadata)
        )
        if place != last:  # the person went back, and on from there
            exchange.metadata["after_turn"] = max(0, place + (0 if self._has_preamble else 1))
        self._exchanges.append(exchange)
        self._held = []

    def _running(self) -> _Exchange:
        """Give the turn in which the model acts: turn 0 where nobody has asked anything yet."""
        if not self._exchanges:
            self._has_preamble = True
            at = self._held[0].at if self._held else None
            self._exchanges.append(_Exchange(at=at, messages=self._held))
            self._held = []
        return self._exchanges[-1]

    def _add(self, said: _Said) -> None:
        exchange = self._running()
        exchange.at = exchange.at or said.at
        exchange.messages.append(said)

    def _take_assistant(
        self, line: Mapping[str, Any], message: Mapping[str, Any], blocks: list[Any]
    ) -> None:
        at, name = instant(line.get("timestamp")), label(message.get("id"))
        exchange, position = self._answers.get(name or "", (None, 0))
        if exchange is None:
            exchange = self._running()
            position = len(exchange.messages)
            self._add(_Said(Role.ASSISTANT, at))
            if name is not None:
                self._answers[name] = exchange, position
        said = exchange.messages[position]
        for block in blocks:
            self._take_block(block, said, exchange, position, at)
        model = label(message.get("model"))
        if model is not None and model != _NO_MODEL:
            said.model = model
        if (stop_reason := label(message.get("stop_reason"))) is not None:
            said.stop_reason = exchange.stop_reason = stop_reason
        if isinstance(message.get("usage"), dict):  # repeated on each line; the last one is whole
            said.usage = message["usage"]
        said.is_error = line.get("isApiErrorMessage") is True

    def _take_block(
        self, block: Any, said: _Said, exchange: _Exchange, position: int, at: datetime | None
    ) -> None:
        kind = block_type(block)
        if kind == "thinking" and isinstance(block.get("thinking"), str):
            if block["thinking"]:
                said.reasoning.append(block["thinking"])
            if block.get("signature"):
                self._left_out["signature of a thought"] += 1
        elif kind == "redacted_thinking":
            self._left_out["thought that can't be read"] += 1
        elif kind in _CALLS:
            call = _Call(
                name=label(block.get("name")) or "unknown",
                arguments=written(block.get("input")),
                call_id=label(block.get("id")),
                message_position=position,
                at=at,
                exchange=exchange,
            )
            exchange.calls.append(call)
            if call.call_id is not None:
                self._calls.setdefault(call.call_id, []).append(call)
        elif not is_text(block) or block["text"]:
            said.blocks.append(block)

    def _answer(
        self, block: Mapping[str, Any], at: datetime | None, line: Mapping[str, Any]
    ) -> None:
        """Give a result to the call it answers, which may stand in an earlier turn."""
        content, call_id = block.get("content"), label(block.get("tool_use_id"))
        blocks = blocks_of(content)
        if blocks is None and content is not None:
            blocks = [{"type": "text", "text": written(content) or ""}]
        self._add(_Said(Role.TOOL, at, blocks or [], call_id))
        structured = members(line.get("toolUseResult"))
        if structured:
            self._left_out["structured form of a tool result"] += 1
        waiting = [call for call in self._calls.get(call_id or "", ()) if call.result is None]
        if not waiting:
            self._left_out["tool result without its call (kept as a message)"] += 1
            return
        call = waiting[0]
        call.result = result_of(content)
        if isinstance(block.get("is_error"), bool):
            call.is_error = block["is_error"]
        duration = structured.get("durationMs", structured.get("totalDurationMs"))
        call.latency_ms = amount(duration)
        if call_id is not None and (agent := label(structured.get("agentId"))) is not None:
            self._sub_agents.append((call.exchange, call_id, agent))

    def name_sub_agents(self, named: Callable[[str], str]) -> None:
        """Note in the turns which sub-agents their tool calls started, as `named` calls them."""
        for exchange, call_id, agent in self._sub_agents:
            exchange.metadata.setdefault("sub_agents", {})[call_id] = named(agent)

    def turns(self, id_: UUID, start: datetime) -> Iterator[Turn]:
        """Make the turns. What carries no time is dated from `start`, in order."""
        if self._held:
            self._running()
        for number, exchange in enumerate(self._exchanges, 0 if self._has_preamble else 1):
            yield exchange.turn(id_, number, start + timedelta(microseconds=number))
