"""Our own form, without loss: JSON Lines, a line for each trajectory, and one for each turn.

`{"trajectory": {...}}` holds the fields of a `Trajectory`; the lines of its turns follow, each the
fields of a `Turn` with its `trajectory_id`, as `trajectory log` reads them too. What is not known
is left out; only an unknown `status` is written, as null, since a missing one means `running`.

Reading takes turns in any order, and of trajectories that have no line of their own. What is whole
or not at all is a line here, not a trajectory: of one with a million turns, those that can be read
are read. Keys that no field has are counted and left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, BinaryIO

from trajectory.errors import InvalidTurnError
from trajectory.formats.base import ImportedTrajectory, Problem
from trajectory.formats.foreign import shown
from trajectory.formats.jsonlines import BadLineError, Line, parse_object, read_lines
from trajectory.models import (
    Message,
    Question,
    ToolCall,
    Trajectory,
    Turn,
    Violation,
)

NAME = "jsonl"
VERSION = "1"

MAX_TURN_LINE_BYTES = 128 * 2**20
"""A longer line is refused. A turn of `max_turn_bytes`, 16 MiB by default, takes six times as much
where all its characters must be escaped, and what stands around its values comes on top."""

TURNS_AT_ONCE = 1000
"""So many turns of a trajectory are given together at most; the next ones continue it."""

_BYTES_AT_ONCE = 4 * 2**20
_LARGE_BYTES = 2**20
"""A larger line is given alone: if it is too large to be stored, no other is left out with it."""

_CHILDREN: Mapping[str, type[Any]] = {
    "questions": Question,
    "violations": Violation,
    "messages": Message,
    "tool_calls": ToolCall,
}
_SINGULAR = {
    "questions": "question",
    "violations": "violation",
    "messages": "message",
    "tool_calls": "tool call",
}
_OFTEN_EMPTY = ("metadata", *_CHILDREN)

_trajectory_json = Trajectory.__pydantic_serializer__.to_json
_turn_json = Turn.__pydantic_serializer__.to_json


class JsonLines:
    """Reads and writes JSON Lines of our own."""

    name = NAME
    version = VERSION
    suffix = ".jsonl"

    def begin(self, out: BinaryIO) -> JsonLinesWriting:
        """Begin a file."""
        return JsonLinesWriting(out)

    def read(self, stream: BinaryIO, *, as_of: datetime) -> Iterator[ImportedTrajectory | Problem]:
        """Read a stream to its end, a thousand turns at a time."""
        reading = _Reading(as_of)
        for line in read_lines(stream, MAX_TURN_LINE_BYTES):
            try:
                yield from reading.take(line)
            except (BadLineError, InvalidTurnError) as error:
                yield from reading.gathered()
                yield Problem(line.number, str(error))
                if isinstance(error, BadLineError) and error.ends_reading:
                    return
        yield from reading.gathered()


class JsonLinesWriting:
    """A file while it is written. Nothing is left out."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.left_out: Counter[str] = Counter()

    def start(self, trajectory: Trajectory) -> None:
        """Write the line of a trajectory."""
        empty = () if trajectory.metadata else ("metadata",)
        text = _trajectory_json(trajectory, exclude_none=True, exclude=set(empty))
        status = b"" if trajectory.status is not None else b',"status":null'
        self._out.write(b'{"trajectory":%b%b}}\n' % (text[:-1], status))

    def turn(self, turn: Turn) -> None:
        """Write the line of a turn."""
        fields = turn.__dict__
        empty = {name for name in _OFTEN_EMPTY if not fields[name]}
        self._out.write(_turn_json(turn, exclude_none=True, exclude=empty) + b"\n")

    def end(self) -> None:
        """Nothing ends a trajectory but the next one."""

    def close(self) -> None:
        """Nothing ends the file but its end."""


class _Reading:
    """Gathers the turns of a trajectory, up to a bound."""

    def __init__(self, as_of: datetime) -> None:
        self._as_of = as_of
        self._line = 0
        self._trajectory: Trajectory | None = None
        self._continues = False
        self._turns: list[Turn] = []
        self._lines: list[int] = []
        self._bytes = 0
        self._has_large = False
        self._left_out: Counter[str] = Counter()

    def take(self, line: Line) -> Iterator[ImportedTrajectory]:
        """Read a line; give what it ends. Raises `BadLineError` and `InvalidTurnError`."""
        document = parse_object(line, MAX_TURN_LINE_BYTES)
        left_out: Counter[str] = Counter()
        if isinstance(document.get("trajectory"), dict):
            fields = _known(document.pop("trajectory"), Trajectory, "trajectory key", left_out)
            left_out.update(f"key {shown(key)}" for key in document)
            if fields.get("id") is None:
                raise BadLineError("has a trajectory without an `id`")
            trajectory = Trajectory(**self._dated(fields))
            yield from self._begin(line, trajectory, continues=False)
        else:
            turn = self._turn(document, left_out)
            size = len(line.text or b"")
            limit = 0 if size > _LARGE_BYTES or self._has_large else _BYTES_AT_ONCE
            full = len(self._turns) >= TURNS_AT_ONCE or self._bytes > limit
            if full or self._trajectory is None or self._trajectory.id != turn.trajectory_id:
                known = self._trajectory
                if known is None or known.id != turn.trajectory_id:
                    known = Trajectory(
                        id=turn.trajectory_id, status=None, created_at=turn.created_at
                    )
                yield from self._begin(line, known, continues=True)
            if self._continues and not self._turns:
                self._line = line.number
            self._turns.append(turn)
            self._lines.append(line.number)
            self._has_large = size > _LARGE_BYTES
        self._bytes += len(line.text or b"")
        self._left_out += left_out

    def _turn(self, document: dict[str, Any], left_out: Counter[str]) -> Turn:
        fields = _known(document, Turn, "key", left_out)
        if fields.get("trajectory_id") is None:
            raise BadLineError(
                "has no `trajectory_id`, and is no `trajectory`; turns without one are read by: "
                "trajectory log FILE"
            )
        for name, model in _CHILDREN.items():
            if isinstance(children := fields.get(name), list):
                fields[name] = [
                    _known(child, model, f"{_SINGULAR[name]} key", left_out)
                    if isinstance(child, dict)
                    else child
                    for child in children
                ]
        return Turn(**self._dated(fields))

    def _dated(self, fields: dict[str, Any]) -> dict[str, Any]:
        if fields.get("created_at") is None:
            return {**fields, "created_at": self._as_of}
        return fields

    def _begin(
        self, line: Line, trajectory: Trajectory, *, continues: bool
    ) -> Iterator[ImportedTrajectory]:
        yield from self.gathered()
        self._line, self._trajectory, self._continues = line.number, trajectory, continues

    def gathered(self) -> Iterator[ImportedTrajectory]:
        """Give what was gathered, if anything; what follows of the same trajectory continues it."""
        if self._trajectory is None or (self._continues and not self._turns):
            return
        turns, left_out, lines = tuple(self._turns), dict(self._left_out), tuple(self._lines)
        self._turns.clear()
        self._lines.clear()
        self._left_out.clear()
        self._bytes = 0
        self._has_large = False
        yield ImportedTrajectory(
            self._line, self._trajectory, turns, left_out, self._continues, lines
        )
        self._continues = True


def _known(
    document: dict[str, Any], model: type[Any], what: str, left_out: Counter[str]
) -> dict[str, Any]:
    """Leave out the keys that are no field of a model, and count them."""
    known = model.model_fields
    unknown = document.keys() - known.keys()
    if not unknown:
        return document
    left_out.update(f"{what} {shown(key)}" for key in unknown)
    return {key: value for key, value in document.items() if key in known}
