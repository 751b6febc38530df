"""Cursors: places in an answer, as one opaque word that only its own question takes back."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from trajectory.door import now_utc
from trajectory.errors import InvalidQueryError
from trajectory.integrations.mcp.arguments import Page
from trajectory.query import TrajectoryCursor, TurnCursor

_DIGEST_BYTES = 12

_Place = TypeVar("_Place")


class Bookmark:
    """Where an answer goes on, and the instant at which its first page was given.

    Ages such as 30d count from that instant, so all pages have the same range of time. Raises
    `InvalidQueryError` for a cursor that was not given for this question.
    """

    def __init__(self, tool: str, asked: Page) -> None:
        self._question = f"{tool} {asked.question()}"
        self.now = now_utc()
        self._place: list[Any] | None = None
        if asked.cursor is not None:
            self.now, self._place = _read(self._question, asked.cursor)

    @property
    def is_first(self) -> bool:
        """Whether this is the first page."""
        return self._place is None

    def trajectory(self) -> TrajectoryCursor | None:
        """Give the trajectory behind which it goes on."""
        return self._made(lambda at, id_: TrajectoryCursor(_instant(at), UUID(id_)))

    def turn(self) -> TurnCursor | None:
        """Give the turn behind which it goes on."""
        return self._made(lambda id_, number: TurnCursor(UUID(id_), _number(number)))

    def part(self) -> int:
        """Give the part of a list with which it goes on."""
        return self._made(_number) or 0

    def next(self, *place: datetime | UUID | int) -> str:
        """Write the cursor of a place."""
        values = [each if isinstance(each, int) else str(each) for each in place]
        body = json.dumps([str(self.now), *values]).encode()
        return urlsafe_b64encode(_digest(self._question, body) + body).decode().rstrip("=")

    def _made(self, make: Callable[..., _Place]) -> _Place | None:
        if self._place is None:
            return None
        try:
            return make(*self._place)
        except (ValueError, TypeError, AttributeError):
            raise _foreign() from None


def _read(question: str, word: str) -> tuple[datetime, list[Any]]:
    try:
        raw = urlsafe_b64decode(word.encode("ascii") + b"=" * (-len(word) % 4))
        digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        if digest != _digest(question, body):
            raise _foreign()
        now, *place = json.loads(body)
        return _instant(now), place
    except (ValueError, TypeError, RecursionError):
        raise _foreign() from None


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("no instant")
    return at


def _number(value: Any) -> int:
    if type(value) is not int or not -1 <= value < 2**31:
        raise ValueError("no number of a turn or a part")
    return value


def _digest(question: str, body: bytes) -> bytes:
    # Not a secret: a cursor grants nothing. It tells one that was cut or mixed up.
    return hashlib.sha256(question.encode() + b"\0" + body).digest()[:_DIGEST_BYTES]


def _foreign() -> InvalidQueryError:
    return InvalidQueryError(
        "this cursor was not given for these arguments; give the next_cursor of the answer before "
        "unchanged, with the same other arguments, or leave it out to begin again"
    )
