"""What writing the same thing again means: the one definition that every backend shares."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from trajectory.door import CLEANED_KEY
from trajectory.errors import BatchRejectedError
from trajectory.models import (
    AGENT,
    LATE_POSITION,
    Fact,
    Finding,
    Question,
    Trajectory,
    TrajectoryEnd,
    TrajectoryStatus,
    Turn,
    Violation,
    in_order,
    numbered,
)
from trajectory.values import same_json

_log = logging.getLogger(__name__)
_CHILD_TIMES = frozenset({"created_at", "started_at"})
_FACT_FIELDS = ("questions", "violations")
_FREE_FIELDS = frozenset({"created_at", *_FACT_FIELDS})


def bare_trajectory(turn: Turn) -> Trajectory:
    """Make the parent row of a turn whose trajectory was never started."""
    return Trajectory(id=turn.trajectory_id, status=None, created_at=turn.created_at)


def ended_trajectory(end: TrajectoryEnd) -> Trajectory:
    """Write an end as a trajectory that merges with what is known."""
    return Trajectory(
        id=end.trajectory_id,
        status=end.status,
        error=end.error,
        reward=end.reward,
        created_at=end.ended_at,
        ended_at=end.ended_at,
    )


def merge_trajectory(known: Trajectory, news: Trajectory) -> tuple[Trajectory, tuple[str, ...]]:
    """Merge what is newly heard of a trajectory into what is known.

    A value fills a gap; `running` gives way to an end; `created_at` takes the smallest, `ended_at`
    the largest; of two different values the known one stays, and its field is named in the second
    part of the result. Without such differences the order of merging doesn't matter.
    """
    changes: dict[str, Any] = {}
    differing = []
    for name in Trajectory.model_fields:
        old, new = getattr(known, name), getattr(news, name)
        if name == "id" or new is None or same_json(new, old):
            continue
        if name == "metadata":
            merged = _merged_metadata(old, new)
            if merged is None:
                differing.append(name)
            else:
                changes[name] = merged
        elif name == "created_at":
            changes[name] = min(old, new)
        elif name == "ended_at":
            changes[name] = new if old is None else max(old, new)
        elif old is None:
            changes[name] = new
        elif name == "status" and TrajectoryStatus.RUNNING in (old, new):
            changes[name] = new if old is TrajectoryStatus.RUNNING else old
        else:
            differing.append(name)
    changes = {name: value for name, value in changes.items() if value != getattr(known, name)}
    return (known.replace(**changes) if changes else known), tuple(differing)


def _merged_metadata(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    """Merge metadata; None if they differ. What was cleaned in either is named in the result."""
    plain, plain_new = _without_mark(old), _without_mark(new)
    if plain and plain_new and not same_json(plain, plain_new):
        return None
    mark, mark_new = old.get(CLEANED_KEY), new.get(CLEANED_KEY)
    if mark is None or mark_new is None or same_json(mark, mark_new):
        marks = mark_new if mark is None else mark
    elif _is_mark(mark) and _is_mark(mark_new):
        marks = sorted({*mark, *mark_new})
    else:
        return None  # the caller's own value under our key
    return {**(plain or plain_new), **({} if marks is None else {CLEANED_KEY: marks})}


def _is_mark(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _without_mark(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key != CLEANED_KEY}


def same_turn(stored: Turn, sent: Turn) -> bool:
    """Say whether a turn that is sent again is the one that is stored.

    Its own fields, messages, tool calls and the facts that came with it count. Times of creation
    don't, nor do stored facts that were logged later: those of other sources than the agent, and
    those from `LATE_POSITION` on.
    """
    if any(
        not same_json(getattr(stored, name), getattr(sent, name))
        for name in Turn.model_fields
        if name not in _FREE_FIELDS and name not in ("messages", "tool_calls")
    ):
        return False
    for name in ("messages", "tool_calls"):
        theirs, ours = getattr(stored, name), getattr(sent, name)
        if not same_json([_content(child) for child in theirs], [_content(c) for c in ours]):
            return False
    for name in _FACT_FIELDS:
        known = facts_by_key(getattr(stored, name))
        for key, content in facts_by_key(getattr(sent, name)).items():
            if not same_json(known.pop(key, None), content):
                return False
        if any(source == AGENT and place < LATE_POSITION for source, place in known):
            return False
    return True


def facts_by_key(
    findings: Iterable[Finding],
) -> dict[tuple[str, int], dict[str, Any]]:
    """Give the comparable content of a turn's questions or violations, by source and position."""
    return {
        (finding.source, position): _content(finding) for position, finding in numbered(findings)
    }


def same_finding(stored: Question | Violation, sent: Question | Violation) -> bool:
    """Say whether a fact that is sent again is the one that is stored."""
    return type(stored) is type(sent) and same_json(_content(stored), _content(sent))


def with_fact(turn: Turn, fact: Fact) -> Turn | None:
    """Add a fact to its turn.

    The turn itself comes back where it has the fact already, and None where it has another content
    under that key, which is a conflict.
    """
    name = "questions" if isinstance(fact.finding, Question) else "violations"
    placed = list(numbered(getattr(turn, name)))
    for position, finding in placed:
        if (position, finding.source) == (fact.position, fact.finding.source):
            return turn if same_finding(finding, fact.finding) else None
    return turn.replace(**{name: in_order([*placed, (fact.position, fact.finding)])})


def orphan(fact: Fact) -> BatchRejectedError:
    """Make the error of a fact whose turn is not stored."""
    return BatchRejectedError(
        f"a fact for turn {fact.trajectory_id}/{fact.turn_number}, which is not stored; log the "
        f"turn first"
    )


def warn_of_differing(id_: UUID, names: Iterable[str]) -> None:
    """Log that a trajectory was told a second, different value for some fields."""
    _log.warning(
        "trajectory %s: a second, different value for %s was not stored", id_, ", ".join(names)
    )


def _content(child: Any) -> dict[str, Any]:
    ignored = _CHILD_TIMES | {"position"}
    return {name: value for name, value in child.__dict__.items() if name not in ignored}
