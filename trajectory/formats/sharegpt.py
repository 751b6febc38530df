"""ShareGPT conversations: a JSON list of them, or JSON Lines, `{"conversations": [...]}`.

Reading: a turn begins at `human` and takes all up to the next; its response is the last `gpt`.
What stands before the first `human` is turn 0. `function_call` is JSON in a text: a tool call, or
a list of them, whose arguments are kept byte for byte; each `observation` answers the oldest call
that waits. `tools`, JSON in a text as well, is parsed. Of a list one conversation is held at a
time.

The form has no times, and often no ids: the id is derived from the content (with the `id`, where
there is one) and from how often the same stood there before.

Writing: see `trajectory.formats.sharegpt_write`.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO

from trajectory.formats.base import ImportedTrajectory, Problem, Writing
from trajectory.formats.documents import Make, read_documents
from trajectory.formats.foreign import digest, label, shown, storable, text, written
from trajectory.formats.jsonlines import BadLineError, Line, parse_object
from trajectory.formats.sharegpt_write import ShareGPTFile, refuse_constant
from trajectory.ids import derived_id
from trajectory.models import Message, Role, ToolCall, Trajectory, TrajectoryStatus, Turn

NAME = "sharegpt"

_ROLES = {
    **dict.fromkeys(("human", "user"), Role.USER),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "function_call"), Role.ASSISTANT),
    **dict.fromkeys(("observation", "tool"), Role.TOOL),
    "system": Role.SYSTEM,
}
_KEYS = frozenset({"conversations", "tools", "system", "id"})
_MESSAGE_KEYS = frozenset({"from", "value"})
_BLANK = " \t\r\n"
_decoder = json.JSONDecoder(parse_constant=refuse_constant)


class ShareGPT:
    """Reads and writes ShareGPT conversations."""

    name = NAME
    version = "1"
    suffix = ".json"
    for_training = True

    def read(self, stream: BinaryIO, *, as_of: datetime) -> Iterator[ImportedTrajectory | Problem]:
        """Read a stream to its end. Each conversation is dated a microsecond after the last."""
        return read_documents(stream, as_of, _take)

    def begin(self, out: BinaryIO) -> Writing:
        """Begin a file, which is a JSON list with one conversation a line."""
        return ShareGPTFile(out)


def _take(document: dict[str, Any]) -> tuple[str, Make]:
    key = digest({name: document.get(name) for name in _KEYS})
    conversation = _Conversation(document)

    def make(line: int, own: tuple[str, str], dated: datetime) -> list[ImportedTrajectory]:
        return [conversation.imported(line, key=own, created_at=dated)]

    return key, make


@dataclass(slots=True)
class _Exchange:
    """A turn in the making."""

    prompt: str = ""
    response: str = ""
    messages: list[Message] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)


class _Conversation:
    """One conversation, taken apart message by message."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._left_out: Counter[str] = Counter()
        self._system: list[str] = []
        self._exchanges: list[_Exchange] = []
        self._has_preamble = False
        self._waiting: deque[dict[str, Any]] = deque()
        self._note_keys("", document, _KEYS)
        conversations = document.get("conversations")
        if not isinstance(conversations, list):
            raise BadLineError("has no list of `conversations`")
        if (system := text(document.get("system"))) is not None:
            self._system.append(system)
        for index, message in enumerate(conversations):
            if not isinstance(message, dict):
                raise BadLineError(f"conversations[{index}] is not an object")
            self._take(message)
        if not self._system and not self._exchanges:
            raise BadLineError("has no message of a known role in its `conversations`")

    def _take(self, message: Mapping[str, Any]) -> None:
        said = message.get("from")
        role = _ROLES.get(said) if isinstance(said, str) else None
        if role is None:
            self._left_out[f"message from unknown {shown(said)}"] += 1
            return
        self._note_keys("message ", message, _MESSAGE_KEYS)
        content: str | None = written(message.get("value")) or ""
        if role is Role.SYSTEM and not self._exchanges:
            self._system.append(content or "")
            return
        if role is Role.USER or not self._exchanges:
            self._has_preamble = self._has_preamble or role is not Role.USER
            self._exchanges.append(_Exchange())
        exchange = self._exchanges[-1]
        if role is Role.USER:
            exchange.prompt = content or ""
        elif role is Role.TOOL:
            self._answer(content or "")
        elif said == "function_call":
            content = self._call(content or "", exchange)
        elif role is Role.ASSISTANT:
            exchange.response = content or exchange.response
        exchange.messages.append(Message(role=role, content=content))

    def _call(self, value: str, exchange: _Exchange) -> str | None:
        """Take the calls; give the text back where it holds none."""
        calls = _calls(value)
        if not calls:
            self._left_out["function_call that can't be read (kept as a message)"] += 1
            return value
        for call in calls:
            call["message_position"] = len(exchange.messages)
        exchange.calls += calls
        self._waiting = deque(calls)
        return None

    def _answer(self, result: str) -> None:
        if self._waiting:
            self._waiting.popleft()["result"] = result
        else:
            self._left_out["observation without its call (kept as a message)"] += 1

    def _note_keys(self, what: str, document: Mapping[str, Any], known: frozenset[str]) -> None:
        for key in document.keys() - known:
            if document[key] not in (None, [], {}, ""):
                self._left_out[f"{what}key {shown(key)}"] += 1

    def imported(
        self, line: int, *, key: tuple[str, str], created_at: datetime
    ) -> ImportedTrajectory:
        """Make the values. Raises `InvalidTurnError`."""
        id_ = derived_id(NAME, *key)
        own = self._document.get("id")
        trajectory = Trajectory(
            id=id_,
            status=TrajectoryStatus.COMPLETED,
            system_prompt="\n\n".join(self._system) if self._system else None,
            tools=_tools(self._document.get("tools")),
            source_format=NAME,
            created_at=created_at,
            metadata={"id": own} if storable(own) is not None else {},
        )
        turns = tuple(
            Turn(
                trajectory_id=id_,
                turn_number=number,
                prompt=exchange.prompt,
                response=exchange.response,
                created_at=created_at,
                messages=tuple(exchange.messages),
                tool_calls=tuple(ToolCall(**call) for call in exchange.calls),
            )
            for number, exchange in enumerate(self._exchanges, 0 if self._has_preamble else 1)
        )
        return ImportedTrajectory(line, trajectory, turns, dict(self._left_out))


def _tools(value: Any) -> Any:
    """Parse what should be JSON in a text; anything else stays as it is."""
    if isinstance(value, str):
        try:
            held = parse_object(Line(2, b'{"tools":' + value.encode(errors="replace") + b"}"))
        except BadLineError:
            return value or None
        return held["tools"] if held.keys() == {"tools"} else value
    return value


def _calls(value: str) -> list[dict[str, Any]]:
    """Find the calls in a text: `{"name": ..., "arguments": ...}`, or a list of them."""
    try:
        start = _skip(value, 0)
        if value[start : start + 1] != "[":
            call, end = _call(value, start)
            return [call] if not value[end:].strip(_BLANK) else []
        calls: list[dict[str, Any]] = []
        at = start
        while not calls or value[at] == ",":
            call, at = _call(value, _skip(value, at + 1))
            calls.append(call)
            at = _skip(value, at)
    except (ValueError, IndexError, RecursionError):
        return []
    return calls if value[at:].rstrip(_BLANK) == "]" else []


def _call(value: str, at: int) -> tuple[dict[str, Any], int]:
    """Read an object member by member, so that the arguments stay byte for byte."""
    made: dict[str, Any] = {}
    if value[at] != "{":
        raise ValueError
    while value[at] != "}" or not made:
        key, at = _decoder.raw_decode(value, _skip(value, at + 1))
        at = _skip(value, at)
        if value[at] != ":" or not isinstance(key, str) or key in made:
            raise ValueError
        begin = _skip(value, at + 1)
        member, at = _decoder.raw_decode(value, begin)
        made[key] = member if isinstance(member, str) or key == "name" else value[begin:at]
        at = _skip(value, at)
        if value[at] not in ",}":
            raise ValueError
    name = label(made.get("name"))
    if name is None or made.keys() - {"name", "arguments"}:
        raise ValueError
    return {"tool_name": name, "arguments": made.get("arguments")}, at + 1


def _skip(value: str, at: int) -> int:
    while value[at] in _BLANK:
        at += 1
    return at
