"""The frame of a large value, made a slice at a time: the same bytes as `frames.encode` makes.

The serializer holds the interpreter for 20 ms where a text has 10 MB; a thread would not help. JSON
escapes each character by itself, so the JSON of a text is that of its slices in a row. The frame
grows in place: to join it at the end would take as long again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from zlib import crc32

from pydantic_core import to_json

from trajectory.door import Value
from trajectory.journal.errors import unfit
from trajectory.journal.frames import (
    KINDS,
    PREFIX_BYTES,
    Journaled,
    check_size,
    encode,
    note_made,
    prefix,
)
from trajectory.models import Message, Question, ToolCall, Violation

LARGE_BYTES = 128 * 1024
"""From so many bytes on a value is worth slices: below, its frame takes half a millisecond."""

SLICE_CHARACTERS = 64 * 1024

_PARTS = frozenset({Message, ToolCall, Question, Violation})


class LargeFrames:
    """Makes frames of large values while others have their turns on the event loop."""

    def __init__(self) -> None:
        self._one = asyncio.Lock()

    async def frame(self, value: Journaled) -> bytearray:
        """Make the frame of a value, for `Journal.append`. Raises `JournalError`.

        One at a time: many at once would keep others waiting as long as one in a single piece.
        """
        async with self._one:
            try:
                for made in encode_in_slices(value):
                    frame = made
                    await asyncio.sleep(0)
            except ValueError as error:
                raise unfit(value, error) from None
        return frame


def encode_in_slices(value: Journaled) -> Iterator[bytearray]:
    """Make the frame of a value: it is whole when the iterator ends, and the same all the time.

    A slice takes a few tenths of a millisecond. Texts of the value and of its parts are cut, all
    else is in one piece. Raises `ValueError` if it gets too long.
    """
    if type(value) not in KINDS:  # a subclass is kept as the model it comes from
        yield bytearray(encode(value))
        return
    frame = bytearray(PREFIX_BYTES)
    checksum = since = 0
    for piece in _pieces(value):
        frame += piece
        checksum = crc32(piece, checksum)
        since += len(piece)
        check_size(len(frame) - PREFIX_BYTES)
        if since >= SLICE_CHARACTERS:
            since = 0
            yield frame
    frame[:PREFIX_BYTES] = prefix(len(frame) - PREFIX_BYTES, checksum)
    yield frame


def _pieces(value: Journaled) -> Iterator[bytes]:
    note_made(value)
    yield bytes([KINDS[type(value)]])
    yield from _model(value)


def _model(value: Value) -> Iterator[bytes]:
    """Give the JSON of a model's given fields, in the order in which Pydantic gives them."""
    before = b'{"'
    for name, field in value.__dict__.items():
        if name not in value.__pydantic_fields_set__:
            continue
        yield before + name.encode() + b'":'
        before = b',"'
        if _is_long(field):
            yield from _text(field)
        elif type(field) is tuple and _are_worth_it(field):
            opening = b"["
            for part in field:
                yield opening
                yield from _model(part)
                opening = b","
            yield b"]"
        else:
            yield _plain(value, name)
    yield b"}"


def _plain(value: Value, name: str) -> bytes:
    """Give the JSON of one field, as the model's serializer writes it."""
    whole = value.__pydantic_serializer__.to_json(value, include={name}, exclude_unset=True)
    return whole[len(name.encode()) + 4 : -1]  # without {"name": and }


def _text(text: str) -> Iterator[bytes]:
    yield b'"'
    for start in range(0, len(text), SLICE_CHARACTERS):
        yield to_json(text[start : start + SLICE_CHARACTERS])[1:-1]
    yield b'"'


def _are_worth_it(parts: tuple[Any, ...]) -> bool:
    return all(type(part) in _PARTS for part in parts) and any(
        _is_long(field) for part in parts for field in part.__dict__.values()
    )


def _is_long(field: Any) -> bool:
    return type(field) is str and len(field) > SLICE_CHARACTERS
