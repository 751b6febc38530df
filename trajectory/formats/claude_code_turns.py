"""The lines of one Claude Code session, or of one of its sub-agents, put together to turns."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from trajectory.formats.claude_code_exchanges import Call, Exchange, Said
from trajectory.formats.claude_code_lines import (
    Kind,
    block_type,
    blocks_of,
    is_text,
    kind_of,
    result_of,
    text_of,
)
from trajectory.formats.foreign import (
    amount,
    instant,
    label,
    members,
    written,
)
from trajectory.models import Role, Turn

_CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_NO_MODEL = "<synthetic>"


class Conversation:
    """Takes the lines of one session, or of one sub-agent, in the order of the file."""

    def __init__(self, left_out: Counter[str], *, is_sidechain: bool = False) -> None:
        self._left_out = left_out
        self._is_sidechain = is_sidechain
        self._exchanges: list[Exchange] = []
        self._has_preamble = False
        self._held: list[Said] = []  # what stands before the first turn
        self._answers: dict[str, tuple[Exchange, int]] = {}  # by message id: where it stands
        self._waiting: dict[str, deque[Call]] = {}  # by id: the calls without a result
        self._places: dict[str, int] = {}  # by uuid: in which exchange a line stands
        self._passed: dict[str, int] = {}  # the same, of lines that are no part of a turn
        self._sub_agents: list[tuple[Exchange, str, str]] = []

    def held_of(self, uuids: Collection[str]) -> list[str]:
        """Give those of the uuids whose lines were taken here, in the order of the shorter side."""
        fewer, more = sorted((uuids, self._places), key=len)
        return [uuid for uuid in fewer if uuid in more]

    def passed(self, uuid: str) -> None:
        """Note where a line stands that is no part of a turn: a prompt may go on from it."""
        self._passed.setdefault(uuid, len(self._exchanges) - 1)

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
            if uuid is not None:
                self.passed(uuid)
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
                self._add(Said(Role.USER, at, rest))
            return
        is_made = line.get("isMeta") is True or line.get("isCompactSummary") is True
        kind, typed = kind_of(rest, is_sidechain=self._is_sidechain, is_made=is_made)
        said = Said(Role.USER, at, rest)
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

    def _begin(self, line: Mapping[str, Any], said: Said) -> None:
        metadata = {}
        for theirs, ours in (("uuid", "uuid"), ("parentUuid", "parent_uuid")):
            if (name := label(line.get(theirs))) is not None:
                metadata[ours] = name
        last = len(self._exchanges) - 1
        parent = label(line.get("parentUuid")) or label(line.get("logicalParentUuid"))
        if parent is None:
            is_root = "parentUuid" in line and line["parentUuid"] is None
            place = -1 if is_root else last
        else:
            place = self._places.get(parent, self._passed.get(parent, last))
        exchange = Exchange(
            text_of(said.blocks), said.at, [*self._held, said], metadata=dict(metadata)
        )
        if place != last:  # the person went back, and on from there
            exchange.metadata["after_turn"] = max(0, place + (0 if self._has_preamble else 1))
        self._exchanges.append(exchange)
        self._held = []

    def _running(self) -> Exchange:
        """Give the turn in which the model acts: turn 0 where nobody has asked anything yet."""
        if not self._exchanges:
            self._has_preamble = True
            at = self._held[0].at if self._held else None
            self._exchanges.append(Exchange(at=at, messages=self._held))
            self._held = []
        return self._exchanges[-1]

    def _add(self, said: Said) -> None:
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
            self._add(Said(Role.ASSISTANT, at))
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
        self, block: Any, said: Said, exchange: Exchange, position: int, at: datetime | None
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
            call = Call(
                name=label(block.get("name")) or "unknown",
                arguments=written(block.get("input")),
                call_id=label(block.get("id")),
                message_position=position,
                at=at,
                exchange=exchange,
            )
            exchange.calls.append(call)
            if call.call_id is not None:
                self._waiting.setdefault(call.call_id, deque()).append(call)
        elif not is_text(block) or block["text"]:
            said.blocks.append(block)
            if kind.endswith("_tool_result"):  # of a tool that ran where the model runs
                self._give_result(block)

    def _answer(
        self, block: Mapping[str, Any], at: datetime | None, line: Mapping[str, Any]
    ) -> None:
        """Give a result to the call it answers, which may stand in an earlier turn."""
        content, call_id = block.get("content"), label(block.get("tool_use_id"))
        blocks = blocks_of(content)
        if blocks is None and content is not None:
            blocks = [{"type": "text", "text": written(content) or ""}]
        self._add(Said(Role.TOOL, at, blocks or [], call_id))
        structured = members(line.get("toolUseResult"))
        if structured:
            self._left_out["structured form of a tool result"] += 1
        call = self._give_result(block)
        if call is None:
            self._left_out["tool result without its call (kept as a message)"] += 1
            return
        duration = structured.get("durationMs", structured.get("totalDurationMs"))
        call.latency_ms = amount(duration)
        if call_id is not None and (agent := label(structured.get("agentId"))) is not None:
            self._sub_agents.append((call.exchange, call_id, agent))

    def _give_result(self, block: Mapping[str, Any]) -> Call | None:
        """Give a result to the first call with its id that waits for one, if there is one."""
        waiting = self._waiting.get(label(block.get("tool_use_id")) or "")
        if not waiting:
            return None
        call, content = waiting.popleft(), block.get("content")
        call.result = result_of(content)
        if isinstance(block.get("is_error"), bool):
            call.is_error = block["is_error"]
        elif block_type(content).endswith("_tool_result_error"):
            call.is_error = True
        return call

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
