"""When the parts of a turn began and ended, as far as it is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from trajectory.models import Turn

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

LAST_NS = 2**63 - 1
"""What is later, in the year 2262 or after it, is told as this; what was before 1970, as 0."""


class Window(NamedTuple):
    """From when to when something lasted, in nanoseconds since 1970."""

    start: int
    end: int


def nanoseconds(instant: datetime) -> int:
    """Give an instant in nanoseconds since 1970."""
    return bounded((instant - _EPOCH) // _MICROSECOND * 1000)


def bounded(ns: float) -> int:
    """Keep nanoseconds within what can be told."""
    return int(min(max(ns, 0), LAST_NS))


def lasting(milliseconds: float | None) -> int:
    """Give a latency in nanoseconds; none is 0."""
    return bounded(round(min((milliseconds or 0.0) * 1e6, float(LAST_NS))))


def window_of(turn: Turn, earliest: int) -> Window:
    """Say from when to when a turn lasted, if it can hardly have begun before `earliest`.

    It takes in all instants that the turn knows. With a latency, `created_at` is where it ended,
    as of a turn that is logged when it is over; but where it began, if something of it happened
    later, or if more than half of it would lie before `earliest` otherwise.
    """
    created = nanoseconds(turn.created_at)
    known = [created]
    known += [nanoseconds(each.created_at) for each in turn.messages if each.created_at is not None]
    known += [
        nanoseconds(each.started_at) for each in turn.tool_calls if each.started_at is not None
    ]
    first, last = min(known), max(known)
    latency = lasting(turn.latency_ms)
    if created == last and 2 * (created - earliest) >= latency:
        return Window(min(first, bounded(created - latency)), last)
    return Window(first, max(last, bounded(min(first, created) + latency)))
