"""From a response to the blocks of prose in it: what is code or a quotation is left out.

Not a Markdown parser: it knows as much as it takes to tell prose from what is not. One pass over
the lines, so a long response costs time in proportion to its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_FENCE = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)]) +)*(`{3,}|~{3,})(.*)")
_ITEM = re.compile(r"\s*(?:[-*+\u2022\u2013\u25e6]|\(?(?:\d{1,9}|[A-Za-z])[.)])\s+")
_TASK_BOX = re.compile(r"\[[ xX]\]\s+")
_INDENTED = re.compile(r"(?: {4}| {0,3}\t)")
_NOT_PROSE = re.compile(
    r" {0,3}(?:#{1,6}(?:\s|$)"  # a heading names what follows; it asks nobody
    r"|\|"  # a row of a table
    r"|>"  # somebody else's words
    r"|(?:[-*_=]\s*){3,}$)"  # a line across the page
)
_QUOTE = re.compile(r" {0,3}>")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-{2,})\s*$")
_HIDDEN = re.compile(r"^[ \t]{0,3}<(think|thinking|reasoning|pre)>|<!--", re.MULTILINE)
_LINE_ENDS = re.compile(r"\r\n?|[\u2028\u2029\x0b\x0c\x85]")


class Block(NamedTuple):
    """Prose without line breaks: a paragraph, or what one item of a list says."""

    text: str
    is_item: bool


def prose(response: str) -> Iterator[Block]:
    """Give the blocks of prose of a response, in order."""
    lines: list[str] = []
    is_item = in_list = quoting = False
    fence = ""
    after_blank = True
    for line in _LINE_ENDS.sub("\n", _without_hidden(response)).split("\n"):
        fenced = _FENCE.match(line) if fence == "" else None
        if fence:
            closing = line.strip()
            if closing.startswith(fence) and not closing.strip(fence[0]):
                fence = ""
            continue
        if fenced and not (fenced[1][0] == "`" and "`" in fenced[2]):
            fence = fenced[1]
            yield from _block(lines, is_item=is_item)
            lines, quoting, after_blank = [], False, False
            continue
        if not line.strip():
            yield from _block(lines, is_item=is_item)
            lines, quoting, after_blank = [], False, True
            continue
        item = _ITEM.match(line)
        if _INDENTED.match(line) and after_blank and not in_list:
            continue  # indented code; `after_blank` stays, for the lines below it are code as well
        after_blank = False
        if lines and not is_item and _UNDERLINE.match(line):
            lines = []  # that was a heading
            continue
        if _NOT_PROSE.match(line):
            yield from _block(lines, is_item=is_item)
            lines, quoting, in_list = [], bool(_QUOTE.match(line)), False
            continue
        if item:
            yield from _block(lines, is_item=is_item)
            rest = line[item.end() :]
            rest = _TASK_BOX.sub("", rest, count=1) if _TASK_BOX.match(rest) else rest
            quoting = rest.startswith(">")
            lines, is_item, in_list = [] if quoting else [rest.strip()], True, True
        elif not quoting:  # a quotation goes on until a blank line, with or without its mark
            if not lines:
                indented = line[0] in " \t"
                is_item = in_list and indented
                in_list = is_item
            lines.append(line.strip())
            if lines[-1].endswith(":"):  # what it announces begins on a line of its own
                yield from _block(lines, is_item=is_item)
                lines = []
    yield from _block(lines, is_item=is_item)


def _block(lines: list[str], *, is_item: bool) -> Iterator[Block]:
    text = " ".join(lines).strip()
    if text:
        yield Block(text, is_item)


def _without_hidden(text: str) -> str:
    """Leave out comments, thoughts and code in tags. A tag that is never closed is only text."""
    kept = []
    start = 0
    while opened := _HIDDEN.search(text, start):
        closing = f"</{opened[1]}>" if opened[1] else "-->"
        end = text.find(closing, opened.end())
        if end < 0:
            break
        kept.append(text[start : opened.start()])
        start = end + len(closing)
    return "".join(kept) + text[start:]
