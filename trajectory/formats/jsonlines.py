"""JSON Lines from outside, taken apart with care: bounded lines, strict JSON, reasons in words.

What is wrong with a line is said without quoting it.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from math import isfinite
from typing import Any, BinaryIO, NamedTuple, NoReturn

MAX_LINE_BYTES = 64 * 2**20
"""A longer line is refused without being held in memory."""

CHUNK_BYTES = 256 * 1024

_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16, whose mark begins the same
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)


_OPENED = (b"[", b"{")
_ONE_DOCUMENT = {
    b"[": "begins an array over many lines; one JSON object a line is expected, which "
    "jq -c '.[]' FILE makes of it",
    b"{": "begins an object over many lines; one JSON object a line is expected, which "
    "jq -c . FILE makes of it",
}


class BadLineError(ValueError):
    """Why a line can't be used, in words that hold none of its content.

    `ends_reading`: the input is something else than JSON Lines, and no line after it is better.
    """

    def __init__(self, reason: str, *, ends_reading: bool = False) -> None:
        super().__init__(reason)
        self.ends_reading = ends_reading


class Line(NamedTuple):
    """A line that is not blank, without its end. `text` is None where it was too long to keep."""

    number: int
    text: bytes | None


class LineSplitter:
    """Cuts chunks of bytes into numbered lines. Blank lines count, but are left out."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._number = 0
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """Give the lines that are complete now."""
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._keep(piece)
            yield from self.end()
        self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max_bytes:
            self._parts.clear()
        elif piece:
            self._parts.append(piece)

    def end(self) -> Iterator[Line]:
        """End the line that is open: nothing more belongs to it."""
        text = b"".join(self._parts)
        too_long = self._size > self._max_bytes
        self._parts.clear()
        self._size = 0
        self._number += 1
        if self._number == 1:
            text = text.removeprefix(codecs.BOM_UTF8)
        text = text.strip(b" \t\r")
        if too_long:
            yield Line(self._number, None)
        elif text:
            yield Line(self._number, text)


def read_lines(stream: BinaryIO, max_bytes: int = MAX_LINE_BYTES) -> Iterator[Line]:
    """Read a stream to its end, line by line, holding no more than one line."""
    splitter = LineSplitter(max_bytes)
    while chunk := stream.read(CHUNK_BYTES):
        yield from splitter.feed(chunk)
    yield from splitter.end()


def parse_object(line: Line, max_bytes: int = MAX_LINE_BYTES) -> dict[str, Any]:
    """Parse a line that must be one JSON object. Raises `BadLineError`.

    Refused as well: names that stand twice in one object (readers disagree about which counts),
    NaN and infinity, also as a number that is too large (1e999), and nesting too deep to parse.
    `max_bytes` is what the line was read with.
    """
    if line.text is None:
        raise BadLineError(f"is longer than {max_bytes // 2**20} MiB")
    if line.number == 1:
        for mark, name in _OTHER_ENCODINGS:
            if line.text.startswith(mark):
                raise BadLineError(
                    f"is {name}, not UTF-8 text; convert the input first", ends_reading=True
                )
    try:
        value = _DECODER.decode(line.text.decode())
    except UnicodeDecodeError as error:
        raise BadLineError(f"is not UTF-8 at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        if line.number == 1 and line.text[:1] in _OPENED and line.text.count(b'"') < 2:
            raise BadLineError(_ONE_DOCUMENT[line.text[:1]], ends_reading=True) from None
        # `error.msg` is one of the parser's own few sentences; the text is in `error.doc`.
        raise BadLineError(f"is not JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise BadLineError("nests too deep") from None
    except BadLineError:
        raise
    except ValueError:
        raise BadLineError("holds a number with thousands of digits") from None
    if not isinstance(value, dict):
        kind = "an array" if isinstance(value, list) else "not an object"
        raise BadLineError(f"is {kind}; one JSON object a line is expected")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadLineError("has an object with the same name twice")
    return members


def _no_constant(_name: str) -> NoReturn:
    raise BadLineError("holds NaN or infinity, which JSON doesn't have")


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):  # written again it would be `Infinity`, which is no JSON
        raise BadLineError("holds a number that is too large")
    return number


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
)
