"""Keeps a failure of recording from becoming the agent's."""

from __future__ import annotations

import logging
import traceback
from types import TracebackType
from typing import Self

from trajectory.errors import in_words

_log = logging.getLogger(__name__)

_KINDS_TOLD = 100


class Guard:
    """Lets no `Exception` out of its block, counts them, and warns once of each kind.

    A kind is a type of error at a place. The warning holds the text of our own errors alone: that
    of any other may hold a prompt. What is no `Exception` (a cancellation, Ctrl-C) goes on. A guard
    may be entered by many threads at once, and again inside its own block.
    """

    def __init__(self, name: str) -> None:
        """`name` says in the warnings what failed, as in "the OpenAI Agents integration"."""
        self._name = name
        self._told: set[tuple[type[BaseException], str]] = set()
        self.failures = 0
        """How many were kept in. Of those at the same instant in two threads, one may not count."""

    def __repr__(self) -> str:
        return f"<Guard of {self._name}, {self.failures} failures>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.note(error)
        return True

    def note(self, error: Exception) -> None:
        """Count a failure, and warn of it if it is the first of its kind."""
        self.failures += 1
        place = _place(error)
        kind = type(error), place
        if kind in self._told or len(self._told) >= _KINDS_TOLD:
            return
        self._told.add(kind)
        _log.warning(
            "%s failed, and the program goes on without what it would have recorded: %s (%s; more "
            "of this kind are counted, and not told)",
            self._name,
            in_words(error),
            place,
        )


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no place is known"
