"""The OpenAI chat form: JSON Lines, one conversation a line, `{"messages": [...]}`.

A turn begins at a `user` message and takes all up to the next; its response is the last text of
the assistant in it. System (and developer) messages before the first other one belong to the
conversation: `Trajectory.system_prompt`. What else stands before the first user message becomes
turn 0, with an empty prompt. Every message of a turn is kept in `Turn.messages`, the user's too.

Tool calls keep their arguments byte for byte; arguments that are an object instead of text (as in
some training sets) are written as JSON. A result finds its call by `tool_call_id`; where an id is
used again, the newest message with such an unanswered call wins. The older `function_call` with
its `function` messages is read as well, matched by the function's name.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, BinaryIO

from trajectory.errors import InvalidTurnError
from trajectory.formats.base import ImportedTrajectory, Problem
from trajectory.formats.foreign import shown
from trajectory.formats.jsonlines import BadLineError, parse_object, read_lines
from trajectory.ids import derived_id
from trajectory.models import Message, Role, ToolCall, Trajectory, TrajectoryStatus, Turn

NAME = "openai-chat"

_ROLES: Mapping[str, Role] = {**{role.value: role for role in Role}, "function": Role.TOOL}
_INSTRUCTIONS = (Role.SYSTEM, Role.DEVELOPER)
_ALWAYS_KEPT = frozenset({"messages", "tools", "functions"})
_MESSAGE_KEYS = frozenset({"role", "content"})
_ROLE_KEYS = {
    Role.ASSISTANT: _MESSAGE_KEYS
    | {"tool_calls", "function_call", "refusal", "reasoning_content", "reasoning"},
    Role.TOOL: _MESSAGE_KEYS | {"tool_call_id", "name"},
}
_CALL_KEYS = frozenset({"id", "type", "function", "custom"})


@dataclass(slots=True)
class _Call:
    """A tool call whose result may still come."""

    tool_name: str
    arguments: str | None
    call_id: str | None
    message_position: int
    result: str | None = None


@dataclass(slots=True)
class _Exchange:
    """A turn in the making."""

    prompt: str = ""
    response: str = ""
    messages: list[Message] = field(default_factory=list)
    calls: list[_Call] = field(default_factory=list)


class OpenAIChat:
    """Reads conversations in the OpenAI chat form."""

    name = NAME

    def read(self, stream: BinaryIO, *, as_of: datetime) -> Iterator[ImportedTrajectory | Problem]:
        """Read a stream to its end.

        The form has no times. A conversation is dated `as_of` plus one microsecond for each line
        before it, so that trajectories come back in the order of the file.
        """
        seen: Counter[bytes] = Counter()
        for line in read_lines(stream):
            try:
                document = parse_object(line)
                conversation = _Conversation(document)
                digest = _digest(document)
                imported = conversation.imported(
                    line.number,
                    occurrence=seen[digest] + 1,
                    digest=digest,
                    created_at=as_of + timedelta(microseconds=line.number - 1),
                )
            except (BadLineError, InvalidTurnError) as error:
                yield Problem(line.number, str(error))
                if isinstance(error, BadLineError) and error.ends_reading:
                    return
            except RecursionError:  # parsed just so, but too deep for the steps after it
                yield Problem(line.number, "nests too deep")
            else:
                seen[digest] += 1
                yield imported


def _digest(document: Mapping[str, Any]) -> bytes:
    """Condense what a conversation is: its messages and tools, whatever the order of the keys."""
    content = {"messages": document["messages"], "tools": _tools(document)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def _tools(document: Mapping[str, Any]) -> Any:
    return document.get("tools", document.get("functions"))


class _Conversation:
    """One conversation, taken apart message by message."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._system: list[str] = []
        self._exchanges: list[_Exchange] = []
        self._has_preamble = False
        self._left_out: Counter[str] = Counter()
        self._waiting: dict[tuple[str, str], list[deque[_Call]]] = {}
        kept = {
            key
            for key, kind in (("model", str), ("metadata", dict))
            if isinstance(document.get(key), kind)
        }
        self._note_keys("", document, _ALWAYS_KEPT | kept)
        messages = document.get("messages")
        if not isinstance(messages, list):
            raise BadLineError("has no list of `messages`")
        if not messages:
            raise BadLineError("has an empty list of `messages`")
        for index, message in enumerate(messages):
            place = f"messages[{index}]"
            if not isinstance(message, dict):
                raise BadLineError(f"{place} is not an object")
            try:
                self._take(place, message)
            except InvalidTurnError as error:
                raise BadLineError(f"{place}: {error}") from None
        if not self._system and not self._exchanges:
            known = ", ".join(_ROLES)
            raise BadLineError(f"has no message of a known role; known are {known}")

    def _take(self, place: str, message: Mapping[str, Any]) -> None:
        role = message.get("role")
        known = _ROLES.get(role) if isinstance(role, str) else None
        if known is None:
            self._left_out[f"message of unknown role {shown(role)}"] += 1
            return
        self._note_keys("message ", message, _ROLE_KEYS.get(known, _MESSAGE_KEYS))
        content = message.get("content")
        if content is not None and not isinstance(content, str | list):
            raise BadLineError(f"{place}.content is neither text nor a list of parts")
        if known in _INSTRUCTIONS and not self._exchanges:
            self._system.append(_text_of(content))
            if isinstance(content, list) and (odd := _parts_without_text(content)):
                self._left_out["system content part without text"] += odd
            return
        if known is Role.USER or not self._exchanges:
            self._has_preamble = self._has_preamble or known is not Role.USER
            self._exchanges.append(_Exchange())
        exchange = self._exchanges[-1]
        stop_reason = None
        if known is Role.USER:
            exchange.prompt = _text_of(content)
        elif known is Role.TOOL:
            self._answer(message, _text_of(content))
        elif known is Role.ASSISTANT:
            self._call(place, message, exchange)
            if content is None and isinstance(message.get("refusal"), str):
                content, stop_reason = message["refusal"], "refusal"
            exchange.response = _text_of(content) or exchange.response
        exchange.messages.append(
            Message(
                role=known,
                content=content,
                call_id=_call_id(message) if known is Role.TOOL else None,
                reasoning=_reasoning(message),
                stop_reason=stop_reason,
            )
        )

    def _call(self, place: str, message: Mapping[str, Any], exchange: _Exchange) -> None:
        position, begin = len(exchange.messages), len(exchange.calls)
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise BadLineError(f"{place}.tool_calls is not a list")
        for index, call in enumerate(calls):
            where = f"{place}.tool_calls[{index}]"
            if not isinstance(call, dict):
                raise BadLineError(f"{where} is not an object")
            self._note_keys("tool call ", call, _CALL_KEYS)
            function = call.get("function", call.get("custom"))
            exchange.calls.append(_made_call(where, function, call.get("id"), position))
        if message.get("function_call") is not None:
            where = f"{place}.function_call"
            exchange.calls.append(_made_call(where, message["function_call"], None, position))
        own: dict[tuple[str, str], deque[_Call]] = {}
        for made in exchange.calls[begin:]:
            own.setdefault(("name", made.tool_name), deque()).append(made)
            if made.call_id is not None:
                own.setdefault(("id", made.call_id), deque()).append(made)
        for key, calls_of_key in own.items():
            self._waiting.setdefault(key, []).append(calls_of_key)

    def _answer(self, message: Mapping[str, Any], result: str) -> None:
        """Give a result to the call it answers, which may stand in an earlier turn."""
        kind, key = "id", message.get("tool_call_id")
        if key is None:
            kind, key = "name", message.get("name")
        waiting = self._waiting.get((kind, key), []) if isinstance(key, str) else []
        while waiting:  # the newest message first, and of its calls the first
            call = waiting[-1].popleft()
            if not waiting[-1]:
                waiting.pop()
            if call.result is None:  # else it was answered by its other key
                call.result = result
                return
        self._left_out["tool result without its call (kept as a message)"] += 1

    def _note_keys(self, what: str, document: Mapping[str, Any], known: frozenset[str]) -> None:
        for key in document.keys() - known:
            if document[key] not in (None, [], {}):  # exporters write out empty members
                self._left_out[f"{what}key {shown(key)}"] += 1

    def imported(
        self, line: int, *, occurrence: int, digest: bytes, created_at: datetime
    ) -> ImportedTrajectory:
        """Make the values. Raises `InvalidTurnError`."""
        id_ = derived_id(NAME, digest.hex(), str(occurrence))
        metadata = self._document.get("metadata")
        model = self._document.get("model")
        trajectory = Trajectory(
            id=id_,
            status=TrajectoryStatus.COMPLETED,
            system_prompt="\n\n".join(self._system) if self._system else None,
            tools=_tools(self._document),
            source_format=NAME,
            created_at=created_at,
            metadata=metadata if isinstance(metadata, dict) else {},
        )
        turns = tuple(
            Turn(
                trajectory_id=id_,
                turn_number=number,
                prompt=exchange.prompt,
                response=exchange.response,
                created_at=created_at,
                model_name=model if isinstance(model, str) else None,
                messages=tuple(exchange.messages),
                tool_calls=tuple(
                    ToolCall(
                        tool_name=call.tool_name,
                        arguments=call.arguments,
                        result=call.result,
                        call_id=call.call_id,
                        message_position=call.message_position,
                    )
                    for call in exchange.calls
                ),
            )
            for number, exchange in enumerate(self._exchanges, 0 if self._has_preamble else 1)
        )
        return ImportedTrajectory(line, trajectory, turns, dict(self._left_out))


def _made_call(where: str, function: Any, call_id: Any, position: int) -> _Call:
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise BadLineError(f"{where} has no function with a name")
    if call_id is not None and not isinstance(call_id, str):
        raise BadLineError(f"{where}.id is not text")
    arguments = function.get("arguments", function.get("input"))
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return _Call(name, arguments, call_id, position)


def _text_of(content: str | list[Any] | None) -> str:
    """Give the text of a content: itself, or its text parts put together."""
    if isinstance(content, list):
        return "".join(text for part in content if (text := _part_text(part)) is not None)
    return content or ""


def _part_text(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    text = part.get("text", part.get("refusal")) if isinstance(part, dict) else None
    return text if isinstance(text, str) else None


def _parts_without_text(content: list[Any]) -> int:
    return sum(_part_text(part) is None for part in content)


def _call_id(message: Mapping[str, Any]) -> str | None:
    call_id = message.get("tool_call_id")
    return call_id if isinstance(call_id, str) else None


def _reasoning(message: Mapping[str, Any]) -> str | None:
    reasoning = message.get("reasoning_content", message.get("reasoning"))
    return reasoning if isinstance(reasoning, str) else None
