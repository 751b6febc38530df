"""From prose to sentences. A question mark in a quotation, a name or an address ends none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

QUESTION_MARKS = "?\uff1f\u061f\u037e\u2047\u2048\u203d"
"""Of Latin, Chinese, Arabic and Greek script, and the doubled ones."""

_OPAQUE = re.compile(
    r"(?<!`)(?P<ticks>`{1,4})(?!`)[^`]{1,500}(?P=ticks)"
    r"|\]\([^()\s]{1,2000}\)"
    r"|\b[a-z][a-z+.-]{1,15}://[^\s<>\"']{1,2000}(?<![?.,;:!)])"
    r"|\(\s?[?!]{1,3}\s?\)"  # a doubt, not a question
    r"|\?(?=[.\[(]\w)|(?<=\w)\?(?=[a-z0-9_])"  # a?.b, name?key
)
_QUOTED = re.compile(
    r"\"[^\"]{1,1000}\"|\u201c[^\u201c\u201d]{1,1000}\u201d|\u201e[^\u201e\u201c\u201d]{1,1000}[\u201c\u201d]"
    r"|\u00ab[^\u00ab\u00bb]{1,1000}\u00bb|\u300c[^\u300c\u300d]{1,1000}\u300d"
    r"|(?<![\w'])'[^'\s][^']{0,500}'(?!\w)|(?<!\w)\u2018[^\u2018\u2019]{1,500}\u2019(?!\w)"
)
_MARKS = rf"{QUESTION_MARKS}!.\u2026\u3002\uff01"
_END = re.compile(
    rf"(?<![{_MARKS}])(?P<mark>[{_MARKS}]++)"  # only where they begin: no mark is read twice
    r"(?P<close>[*_)\]\"'\u201d\u201c\u00bb\u2019~]{0,6})"
    r"(?=\s|$|(?<=[\u3002\uff01\uff1f]))"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[zduos]|e\.g|i\.e|vs|cf|approx|resp|incl|dr|mr|mrs|ms|prof|st|fig|eq|z\.\s?b|d\.\s?h"
    r"|bzw|ca|ggf|evtl|p\.\s?ex|(?:am|vom|zum|bis|ab|seit|den|dem|der) \d{1,2}|(?:\w\.)+\w)$",
    re.IGNORECASE,
)
_TERNARY = re.compile(r"\s[^?]{1,80}?\s:\s")
_HIDDEN = "\x1a"

_PIECE = 5000
_CUT = re.compile(r"[.?!]\s+(?=[A-Z])")


class Sentence(NamedTuple):
    """A sentence as it was written, and whether it ends in a question mark."""

    text: str
    asks: bool


def sentences(block: str) -> Iterator[Sentence]:
    """Split a paragraph into sentences, in order. Text without an end is a sentence as well."""
    for piece in _pieces(block):
        yield from _sentences(piece)


def _pieces(block: str) -> Iterator[str]:
    """Cut a very long paragraph between sentences.

    Other threads stand still while a pattern is looked for: in all of it, too long.
    """
    start = 0
    while len(block) - start > 2 * _PIECE and (cut := _CUT.search(block, start + _PIECE)):
        yield block[start : cut.end()]
        start = cut.end()
    yield block[start:]


def _sentences(block: str) -> Iterator[Sentence]:
    shape = masked(block)
    start = 0
    for end in _END.finditer(shape):
        if not _ends(shape, start, end):
            continue
        text = block[start : end.end()].strip()
        if text:
            yield Sentence(text, any(mark in QUESTION_MARKS for mark in end["mark"]))
        start = end.end()
    rest = block[start:].strip()
    if rest:
        yield Sentence(rest, asks=False)


def masked(block: str) -> str:
    """Hide code, addresses and quotations. Each character keeps its place."""
    return _QUOTED.sub(_hide_quoted, _OPAQUE.sub(_hide, block))


def _hide(found: re.Match[str]) -> str:
    return _HIDDEN * len(found[0])


def _hide_quoted(found: re.Match[str]) -> str:
    return found[0][0] + _HIDDEN * (len(found[0]) - 2) + found[0][-1]


def _ends(shape: str, start: int, end: re.Match[str]) -> bool:
    follows = shape[end.end() : end.end() + 120]
    ahead = follows.lstrip()
    if any(mark in QUESTION_MARKS for mark in end["mark"]):
        if ")" in end["close"] and ahead[:1].islower():
            return False  # an aside within a sentence
        before = shape[end.start() - 1 : end.start()]
        return not (before.isspace() and _TERNARY.match(follows))
    if end["mark"] == ".":
        last = shape[max(start, end.start() - 12) : end.start()]
        return not (ahead[:1].islower() or _ABBREVIATION.search(last))
    return end["mark"][0] not in ".\u2026" or not ahead[:1].islower()
