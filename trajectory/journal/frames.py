"""How a value lies on disk: a frame of length, CRC-32, one byte of kind, and JSON.

The JSON holds what was given and nothing else, so an unset field stays unset. It never holds a
raw byte below 0x20 and each kind is such a byte, so a kind before a brace is the start of a frame:
no text that was logged can look like one when a damaged file is searched for the next good frame.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

from trajectory.errors import TrajectoryError
from trajectory.models import Fact, Trajectory, TrajectoryEnd, Turn

Journaled = Trajectory | Turn | Fact | TrajectoryEnd
Frame = bytes | bytearray

MAGIC = "trajectory journal"
FORMAT = 1
"""Version of the frames. A reader leaves files of a newer one alone."""
MODELS = 1
"""Version of the values in the frames: goes up when an older reader would refuse or lose one."""
MAX_PAYLOAD = 2**28
"""No frame is longer; a length beyond it is damage."""

_PREFIX = Struct("<II")
PREFIX_BYTES = _PREFIX.size
prefix = _pack = _PREFIX.pack
"""Makes what comes before the payload, of its size and CRC-32."""
_START = re.compile(rb"[\x01-\x06]\{")
_CHUNK = 2**18

HEADER, START, TURN, FACT, END, MARK = range(1, 7)
_MODELS: dict[int, type[Journaled]] = {
    START: Trajectory,
    TURN: Turn,
    FACT: Fact,
    END: TrajectoryEnd,
}
VALUES = frozenset(_MODELS)
KINDS = {model: kind for kind, model in _MODELS.items()}


class UndecodableError(ValueError):
    """A frame is whole, and not a value of ours. Holds none of its content."""


def _encoder(kind: int, model: type[Journaled]) -> Callable[[Any], bytes]:
    first = bytes([kind])
    to_json = model.__pydantic_serializer__.to_json
    made = _MADE[model]

    def encode_value(value: Journaled) -> bytes:
        given = value.__pydantic_fields_set__
        for name in made:
            # What the model made itself has to be kept although nobody gave it. Adding it to the
            # JSON afterwards costs half as much again as the serializer.
            if name not in given:
                given.add(name)
        payload = first + to_json(value, exclude_unset=True)
        size = len(payload)
        if size > MAX_PAYLOAD:
            check_size(size)
        return _pack(size, crc32(payload)) + payload

    return encode_value


def note_made(value: Journaled) -> None:
    """Have what the model made itself kept in the frame, although nobody gave it."""
    value.__pydantic_fields_set__.update(_MADE[type(value)])


def check_size(size: int) -> None:
    """Raise `ValueError` for a payload that is too long."""
    if size > MAX_PAYLOAD:
        raise ValueError(f"a frame of {size} bytes is over the limit of {MAX_PAYLOAD}")


def _is_made(model: type[Journaled], name: str) -> bool:
    field = model.model_fields.get(name)
    return field is not None and field.default_factory is not None


_MADE = {
    model: tuple(name for name in ("id", "created_at", "ended_at") if _is_made(model, name))
    for model in KINDS
}
_ENCODERS = {model: _encoder(kind, model) for kind, model in _MODELS.items()}


def encode(value: Journaled) -> bytes:
    """Make the frame of a value. Raises `ValueError` if it is too long."""
    encoder = _ENCODERS.get(value.__class__)
    if encoder is None:  # a subclass is kept as the model it comes from
        encoder = next(_ENCODERS[base] for base in type(value).__mro__ if base in _ENCODERS)
    return encoder(value)


def encode_note(kind: int, note: dict[str, Any]) -> bytes:
    """Make the frame of a header or a mark."""
    payload = bytes([kind]) + json.dumps(note, separators=(",", ":")).encode()
    return _pack(len(payload), crc32(payload)) + payload


def decode(kind: int, body: bytes) -> Journaled:
    """Read the JSON of a value, which passes the same door as when it was logged.

    Raises `UndecodableError`.
    """
    model = _MODELS.get(kind)
    if model is None:
        raise UndecodableError(f"a frame of the unknown kind {kind}")
    try:
        return model.model_validate_json(body)
    except (TrajectoryError, ValueError, RecursionError) as error:
        raise UndecodableError(f"a {model.__name__} that is none: {type(error).__name__}") from None


def decode_note(body: bytes) -> dict[str, Any]:
    """Read the JSON of a header or a mark. Raises `UndecodableError`."""
    try:
        note = json.loads(body)
    except (ValueError, RecursionError):
        raise UndecodableError("a header or mark that is no JSON") from None
    if not isinstance(note, dict):
        raise UndecodableError("a header or mark that is no object")
    return note


class Found(NamedTuple):
    """A stretch of a segment: a good frame, or damage (no kind)."""

    offset: int
    end: int
    kind: int | None
    payload: bytes
    """Kind and JSON of a good frame; empty for damage, which may be of any length."""

    @property
    def body(self) -> bytes:
        """The JSON."""
        return self.payload[1:]

    @property
    def frame(self) -> bytes:
        """The frame as it lies on disk."""
        return _pack(len(self.payload), crc32(self.payload)) + self.payload

    @property
    def size(self) -> int:
        """The bytes it takes on disk."""
        return self.end - self.offset


Reader = Callable[[int, int], bytes]
"""Gives `size` bytes at an offset, fewer only at the end of the file."""


def scan(read: Reader, end: int) -> Iterator[Found]:
    """Go through the frames of a file of `end` bytes, damaged stretches included, in order.

    What follows a damaged stretch is found by its kind, length and CRC. Holds one frame and a
    chunk in memory.
    """
    offset = 0
    while offset < end:
        found = _frame_at(read, offset, end)
        if found is None:
            found_next = _next_frame(read, offset + 1, end)
            yield Found(offset, end if found_next is None else found_next.offset, None, b"")
            if found_next is None:
                return
            found = found_next
        yield found
        offset = found.end


def _frame_at(read: Reader, offset: int, end: int) -> Found | None:
    prefix = read(offset, PREFIX_BYTES)
    if len(prefix) < PREFIX_BYTES:
        return None
    size, checksum = _PREFIX.unpack(prefix)
    start = offset + PREFIX_BYTES
    if not 1 < size <= min(MAX_PAYLOAD, end - start):  # before anything is allocated
        return None
    payload = read(start, size)
    if len(payload) < size or crc32(payload) != checksum:
        return None
    return Found(offset, start + size, payload[0], payload)


def _next_frame(read: Reader, offset: int, end: int) -> Found | None:
    """Find the first good frame at or after an offset."""
    while offset + PREFIX_BYTES < end:
        chunk = read(offset, _CHUNK)
        for match in _START.finditer(chunk, PREFIX_BYTES):
            found = _frame_at(read, offset + match.start() - PREFIX_BYTES, end)
            if found is not None:
                return found
        if len(chunk) < _CHUNK:
            return None
        offset += len(chunk) - PREFIX_BYTES - 1  # a start that lies across the end of the chunk
    return None
