"""The lines of Claude Code transcripts: the two forms of a file, and what a content says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import Any, BinaryIO

from trajectory.formats.foreign import storable, written
from trajectory.formats.jsonlines import CHUNK_BYTES, MAX_LINE_BYTES, Line, LineSplitter

_EXPORTED = re.compile(rb'[\s\xef\xbb\xbf]*\{\s*"loglines"\s*:')
_TOLD_BY = 4096
"""After so many bytes it is known which form a file has."""

_INJECTED = (
    *("<local-command-stdout>", "<local-command-stderr>", "<local-command-caveat>"),
    *("<bash-stdout>", "<bash-stderr>", "<task-notification>", "<teammate-message"),
    *("<system-reminder>", "Caveat:", "[Request interrupted"),
)
_INTERRUPTED = "[Request interrupted"
_COMMAND = re.compile(r"<command-(?:name|message)>\s*([^<]{1,200})")
_COMMAND_NAME = re.compile(r"<command-name>\s*([^<]{1,200})")
_SHELL_LINE = re.compile(r"<bash-input>\s*([^<]{1,1000})")


class Kind(Enum):
    """What a line of the type `user` is."""

    PROMPT = auto()
    COMMAND = auto()
    SHELL_LINE = auto()
    INJECTED = auto()
    INTERRUPTION = auto()


def read_documents(stream: BinaryIO) -> Iterator[Line]:
    """Read a stream to its end: line by line, or as one where it is an exported session."""
    begin = b""
    while len(begin) < _TOLD_BY and (chunk := stream.read(CHUNK_BYTES)):
        begin += chunk
    if _EXPORTED.match(begin):
        yield _whole(begin, stream)
        return
    lines = LineSplitter()
    yield from lines.feed(begin)
    while chunk := stream.read(CHUNK_BYTES):
        yield from lines.feed(chunk)
    yield from lines.end()


def _whole(begin: bytes, stream: BinaryIO) -> Line:
    parts, size = [begin.removeprefix(b"\xef\xbb\xbf")], len(begin)
    while chunk := stream.read(CHUNK_BYTES):
        size += len(chunk)
        if size > MAX_LINE_BYTES:
            return Line(1, None)
        parts.append(chunk)
    return Line(1, b"".join(parts))


def kind_of(blocks: Sequence[Any], *, is_sidechain: bool, is_made: bool) -> tuple[Kind, str | None]:
    """Tell what a user line without tool results is, and of a command or shell line its text.

    To a sub-agent everything is a prompt: nobody else speaks to it. `is_made`: the line says that
    Claude Code itself wrote it.
    """
    if is_sidechain:
        return Kind.PROMPT, None
    said = text_of(blocks).lstrip()
    if said.startswith(_INTERRUPTED):
        return Kind.INTERRUPTION, None
    if is_made or said.startswith(_INJECTED):
        return Kind.INJECTED, None
    if _COMMAND.match(said):
        named = _COMMAND_NAME.search(said) or _COMMAND.match(said)
        return Kind.COMMAND, named[1].strip() if named else None
    if typed := _SHELL_LINE.match(said):
        return Kind.SHELL_LINE, typed[1].strip()
    return Kind.PROMPT, None


def blocks_of(content: Any) -> list[Any] | None:
    """Give a content as blocks; None where it is neither text nor a list."""
    if isinstance(content, str):
        return [_text_block(content)]
    if isinstance(content, list):
        return [_text_block(block) if isinstance(block, str) else block for block in content]
    return None


def _text_block(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def block_type(block: Any) -> str:
    """Name the type of a block; empty where it has none."""
    kind = block.get("type") if isinstance(block, dict) else None
    return kind if isinstance(kind, str) else ""


def is_text(block: Any) -> bool:
    """Say whether a block is text."""
    return block_type(block) == "text" and isinstance(block.get("text"), str)


def text_of(blocks: Sequence[Any]) -> str:
    """Give the text of blocks, as paragraphs."""
    return "\n\n".join(block["text"] for block in blocks if is_text(block))


def content_of(blocks: Sequence[Any]) -> Any:
    """Give blocks as the content of a message: text where it is no more than one, else parts."""
    if not blocks:
        return None
    if len(blocks) == 1 and is_text(blocks[0]) and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    parts = list(blocks)
    return parts if storable(parts) is not None else written(parts)


def result_of(content: Any) -> str:
    """Give what a tool answered as text; as JSON where it is more than text."""
    blocks = blocks_of(content)
    if blocks is not None and all(map(is_text, blocks)):
        return text_of(blocks)
    return written(content) or ""
