"""How much a question asks of the user: a protocol, and rules that need no model.

Low: answered at once, a choice, yes or no, what the user knows. Medium: needs some thought.
High: something must be looked into, designed, written at length or unblocked first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from trajectory.models import EffortLevel
from trajectory.scoring.signs import rules
from trajectory.scoring.vocabulary import THINKS

HEURISTIC = "heuristic/1"
"""The source of what these rules find. Rules that find something else get another number."""

_LONGEST = 1000


class EffortClassifier(Protocol):
    """Says how much effort a question asks of the user.

    A judge that asks a model fits as well, so it is awaited. The same question must give the same
    level each time it is asked, or a score can't be computed again.
    """

    @property
    def source(self) -> str:
        """Who says so: `heuristic/1`, `judge:<model>`."""
        ...

    async def classify(self, question: str, options: Sequence[str] = ()) -> EffortLevel:
        """Give the level of a question; `options` are the answers offered below it, if any."""
        ...


class HeuristicClassifier:
    """Rules on words, for English and some German, French and Spanish. A tenth of a millisecond."""

    @property
    def source(self) -> str:
        """Always `heuristic/1`."""
        return HEURISTIC

    async def classify(self, question: str, options: Sequence[str] = ()) -> EffortLevel:
        """Give the level by `effort_of`."""
        return effort_of(question, options)


def effort_of(question: str, options: Sequence[str] = ()) -> EffortLevel:
    """Give the level of a question by the rules: the level with the most points, else the lower.

    Pure: the same words give the same level. Of a long question the last 1,000 characters count.
    """
    text = _core(" ".join(question[-_LONGEST:].split()).casefold().replace("\u2019", "'"))
    points = dict.fromkeys(EffortLevel, 0)
    for level, weight, pattern in rules():
        if pattern.search(text):
            points[level] += weight
    level = max(EffortLevel, key=lambda level: points[level])
    if level is EffortLevel.MEDIUM and len(options) > 1 and not _EXPLAIN.search(text):
        return EffortLevel.LOW  # the thinking is done: one of them has to be named
    return level


def _core(text: str) -> str:
    """Leave out what leads to the question: "before I start, ", "let me know "."""
    text = text.translate(_NO_EMPHASIS)
    if not _STARTER.match(text) and (led := _LEAD.match(text)):
        text = text[led.end() :]
    return text


_EXPLAIN = re.compile(rf"\b{THINKS}\b")
_NO_EMPHASIS = {ord(mark): None for mark in "*_~`"}
_STARTER = re.compile(
    r"(?:\u00bf|(?:should|shall|do|does|did|is|are|was|were|has|have|can|could|would|will|may"
    r"|which|what|who|whose|where|when|why|how|want|ready|ok|okay|soll|sollen|ist|sind|kann|kannst"
    r"|könntest|können|könnten|möchtest|willst|darf|hast|welche|welcher|welches|was|wer|wo|wann"
    r"|warum|wie|puedes|voulez|pouvez)\b)"
)
_LEAD = re.compile(
    r"(?:please |kindly |just |also |and |so |but |then |now )*"
    r"(?:let me know |tell me |(?:please )?(?:confirm|specify|advise) |(?:bitte )?sag mir,? )?"
    rf"(?:[^?]{{1,120}}?[,:;\u2013\u2014-] )?(?={_STARTER.pattern})"
)
