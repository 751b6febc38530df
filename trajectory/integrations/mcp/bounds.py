"""How much an answer holds: texts cut to a length, rows until it is full, all of it visible."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from trajectory.models import Turn
from trajectory.query import TurnQuery
from trajectory.store import TrajectoryStore

ANSWER = 40_000
"""An answer has about so many characters as JSON, at most."""

_ROW = ANSWER // 2
"""What one trajectory, turn or part takes of it, at most."""

_LENGTHS = (4000, 1000, 200, 40, 8)
"""To so many characters each text of a row is cut: the first that makes the row fit."""

_TURNS_AT_ONCE = 8
"""So many turns are held at the same time, since each may have many megabytes."""

# Python counts these as printable, and nothing is seen of them: the rest of Unicode's
# Default_Ignorable_Code_Point (joiners, fillers, variation selectors), and the empty Braille cell.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0000-\U000e0fff]"
)

_Row = TypeVar("_Row", bound=BaseModel)


class Cut(NamedTuple):
    """A text that is given in part: where it is, and how many characters it has."""

    path: str
    characters: int


class Scissors:
    """Cuts the texts of one row to a length, and notes which it cut."""

    def __init__(self, length: int) -> None:
        self.length = length
        """What a text may have."""
        self.cut: list[Cut] = []

    def trimmed(self, path: str, text: str | None) -> str | None:
        """Give a text, or its beginning."""
        if text is None or len(text) <= self.length:
            return text
        self.cut.append(Cut(path, len(text)))
        return text[: self.length]

    def json(self, path: str, value: Any) -> Any:
        """Give a JSON value, or nothing of one that is longer than a text may be."""
        if value is None:
            return None
        size = len(dumped(value))
        if size <= self.length:
            return value
        self.cut.append(Cut(path, size))
        return None


def fitting(make: Callable[[Scissors], _Row]) -> _Row:
    """Make a row whose texts are as long as an answer has room for."""
    for length in _LENGTHS:
        row = make(Scissors(length))
        if size_of(row) <= _ROW:
            break
    return row


class Filler:
    """Takes rows until the answer is full. The first is always taken."""

    def __init__(self, taken: int = 0) -> None:
        self._left = ANSWER - taken
        self._is_empty = True

    def takes(self, row: BaseModel) -> bool:
        """Say whether a row has room, and take it."""
        size = size_of(row)
        if size > self._left and not self._is_empty:
            return False
        self._left -= size
        self._is_empty = False
        return True


def filled(rows: Iterable[_Row], taken: int = 0) -> list[_Row]:
    """Give as many rows as an answer has room for, at least one of them if there is one."""
    filler = Filler(taken)
    kept = []
    for row in rows:
        if not filler.takes(row):
            break
        kept.append(row)
    return kept


async def few_at_once(store: TrajectoryStore, query: TurnQuery) -> AsyncGenerator[Turn, None]:
    """Read what `store.turns` does for a query with a limit, only few turns in memory."""
    left = query.limit or 0
    while left:
        count, asked = 0, min(left, _TURNS_AT_ONCE)
        part = query.model_copy(update={"limit": asked})
        async with aclosing(store.turns(part)) as turns:
            async for turn in turns:
                count += 1
                query = query.model_copy(update={"after": turn.key})
                yield turn
        left = left - asked if count == asked else 0


def size_of(row: BaseModel) -> int:
    """Say how many characters a row has as JSON."""
    return len(visible(dumped(row.model_dump(mode="json"))))


def dumped(value: Any) -> str:
    """Write a JSON value on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def visible(text: str) -> str:
    r"""Write what can't be seen in a JSON text as its escape: `\u001b`, which JSON reads back.

    Controls and line ends that a terminal would obey, marks that reorder text, and letters without
    a shape, in which instructions could hide from a person who reads along.
    """
    if not text.isprintable():
        text = "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
    return text if text.isascii() else _UNSEEN.sub(lambda each: json.dumps(each[0])[1:-1], text)
