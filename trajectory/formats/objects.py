"""Cuts a stream into its JSON objects, one at a time: JSON Lines, one list, or one document.

What is held is one object. One that is broken is given as it stands, and the next ones are found
all the same as long as its brackets and quotes match.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from trajectory.formats.base import Problem
from trajectory.formats.jsonlines import CHUNK_BYTES, MAX_LINE_BYTES, Line, LineSplitter

_BLANK = b" \t\r\n"
_MARKS = re.compile(rb'[\\"{}\[\],\n]')
_FIRST = re.compile(rb"[^ \t\r\n]")
_OPENING = (b"{", b"[")
_CLOSING = (b"}", b"]")


def read_objects(stream: BinaryIO, max_bytes: int = MAX_LINE_BYTES) -> Iterator[Line | Problem]:
    """Read a stream to its end. A `Line` is an object's text, for `parse_object`, or too long."""
    chunks = iter(lambda: stream.read(CHUNK_BYTES), b"")
    begin = _begin(chunks, max_bytes).removeprefix(codecs.BOM_UTF8)
    chunks = chain([begin], chunks)
    if begin.lstrip(_BLANK).startswith(b"[") or _is_document(begin, max_bytes):
        yield from _from_document(chunks, max_bytes)
        return
    lines = LineSplitter(max_bytes)
    for chunk in chunks:
        yield from lines.feed(chunk)
    yield from lines.end()


def _begin(chunks: Iterator[bytes], max_bytes: int) -> bytes:
    """Read until the form can be told: of an object, until its second line has begun."""
    begin = bytearray()
    start = end = -1  # of the first line that isn't blank
    for chunk in chunks:
        searched = len(begin)
        begin += chunk
        if start < 0:
            first = _FIRST.search(begin, len(codecs.BOM_UTF8) * begin.startswith(codecs.BOM_UTF8))
            if first is None or codecs.BOM_UTF8.startswith(begin):
                if len(begin) < CHUNK_BYTES:
                    continue
                break
            start = searched = first.start()
        if begin[start : start + 1] != b"{":
            break
        if end < 0:
            end = searched = begin.find(b"\n", searched)
        if end < 0:
            if len(begin) - start > max_bytes:
                break
        elif _FIRST.search(begin, searched) or len(begin) - end >= CHUNK_BYTES:
            break
    return bytes(begin)


def _is_document(begin: bytes, max_bytes: int) -> bool:
    """Say whether an object goes on after its first line: what it left open, the next continues.

    A line that was cut off, with another object's line behind it, is none.
    """
    first, _, rest = begin.lstrip(_BLANK).partition(b"\n")
    following = rest.lstrip(_BLANK)[:1]
    if not first.startswith(b"{") or not following or len(first) > max_bytes:
        return False
    opened = _left_open(first)
    if following != b"{" or not opened:
        return bool(opened)
    last = first.rstrip(_BLANK)[-1:]
    return (opened == b"[" and last in (b"[", b",")) or (opened == b"{" and last == b":")


def _left_open(first: bytes) -> bytes:
    """Give the innermost bracket or quote that a line leaves open; nothing if its value ends."""
    opened = bytearray()
    in_text, skip = False, 0
    for found in _MARKS.finditer(first):
        mark = found[0]
        if found.start() < skip:
            continue
        if mark == b'"':
            in_text = not in_text
        elif in_text:
            skip = found.end() + 1 if mark == b"\\" else 0
        elif mark in _OPENING:
            opened += mark
        elif mark in _CLOSING:
            opened.pop()
            if not opened:
                return b""
    return b'"' if in_text else bytes(opened[-1:])


def _from_document(chunks: Iterator[bytes], max_bytes: int) -> Iterator[Line | Problem]:
    splitter: _Splitter | None = None
    blank_lines = 1
    for chunk in chunks:
        if splitter is None:
            begin = chunk.lstrip(_BLANK)
            if not begin:
                blank_lines += chunk.count(b"\n")
                continue
            blank_lines += chunk[: len(chunk) - len(begin)].count(b"\n")
            splitter = _Splitter(1 if begin.startswith(b"[") else 0, max_bytes, blank_lines)
            chunk = begin  # noqa: PLW2901 - from its first mark on
        yield from splitter.feed(chunk)
        if splitter.has_more:
            yield Problem(splitter.line, "has something after its end; nothing more is read")
            return
    if splitter is not None:
        yield from splitter.end()


class _Splitter:
    """Finds the values at one depth: 1 for those in a list, 0 for documents in a row."""

    def __init__(self, level: int, max_bytes: int, line: int = 1) -> None:
        self._level = level
        self._max_bytes = max_bytes
        self.line = line
        self.has_more = False
        """Something stands after the end."""
        self._is_over = False
        self._depth = 0
        self._in_text = False
        self._is_escaped = False
        self._parts: list[bytes] = []
        self._size = 0
        self._start = 0  # the line where the value begins, once it has

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """Give the values that are complete now."""
        begin = 0
        skip = 1 if self._is_escaped and chunk else 0
        self._is_escaped = self._is_escaped and not chunk
        for found in _MARKS.finditer(chunk):
            at, mark = found.start(), found[0]
            if mark == b"\n":
                self.line += 1
            if at < skip or self._is_over:
                continue
            if self._in_text:
                if mark == b"\\":
                    skip = at + 2
                    self._is_escaped = skip > len(chunk)
                elif mark == b'"':
                    self._in_text = False
            elif mark == b'"':
                self._in_text = True
                self._start = self._start or self.line
            elif mark in _OPENING:
                self._depth += 1
                if self._depth == self._level:
                    begin = at + 1
                else:
                    self._start = self._start or self.line
            elif mark in _CLOSING:
                self._depth -= 1
                if self._depth <= 0:
                    ends_list = self._level and mark == b"]"
                    self._keep(chunk[begin : at if ends_list else at + 1])
                    yield from self._value()
                    begin = at + 1
                    self._depth, self._is_over = 0, bool(self._level)
            elif mark == b"," and self._depth == self._level:
                self._keep(chunk[begin:at])
                yield from self._value()
                begin = at + 1
        if not self._is_over:
            self._keep(chunk[begin:])
        elif chunk[begin:].strip(_BLANK):
            self.has_more = True

    def _keep(self, piece: bytes) -> None:
        if not self._size:
            piece = piece.lstrip(_BLANK)
        self._size += len(piece)
        if self._size > self._max_bytes:
            self._parts.clear()
        elif piece:
            self._parts.append(piece)

    def _value(self) -> Iterator[Line]:
        text = b"".join(self._parts).rstrip(_BLANK)
        too_long = self._size > self._max_bytes
        start = self._start or self.line
        self._size = self._start = 0
        self._parts.clear()
        if too_long or text:
            yield Line(start, None if too_long else text)

    def end(self) -> Iterator[Line | Problem]:
        """End the stream; a value that is open is given as it stands."""
        if self._is_over:
            return
        yield from self._value()
        if self._level:
            yield Problem(self.line, "ends before its list is closed")
