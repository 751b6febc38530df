"""The newest turns of many trajectories, found without reading the others."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from heapq import heappush, heappushpop
from uuid import UUID

from trajectory.counts import Totals
from trajectory.models import Turn
from trajectory.query import TurnQuery
from trajectory.store import TrajectoryStore

FEW = 200
"""Trajectories of more turns are read one by one, and only as far as is needed."""

READ_AT_ONCE = 50
"""So many of the others are read together."""

_TICK = timedelta(microseconds=1)
_END = datetime.max.replace(tzinfo=UTC)


async def newest_of(
    store: TrajectoryStore, wanted: TurnQuery, totals: Mapping[UUID, Totals], count: int
) -> list[Turn]:
    """Read the newest turns that are wanted, the oldest of them first.

    `totals` are those of the trajectories that have turns.
    """
    found: list[tuple[datetime, UUID, int, Turn]] = []
    for ids in _portions(totals):
        since = wanted.since
        if len(found) == count:
            if count == 0 or found[0][0] > _last(totals[ids[0]]):
                break  # what follows has nothing that is newer
            since = found[0][0] if since is None else max(since, found[0][0])
        query = wanted.model_copy(update={"ids": tuple(ids), "since": since})
        is_large = totals[ids[0]].turns > FEW
        read = _highest(store, query, count) if is_large else store.turns(query)
        async with aclosing(read) as turns:
            async for turn in turns:
                place = (turn.created_at, *turn.key, turn)
                if len(found) < count:
                    heappush(found, place)
                else:
                    heappushpop(found, place)
    return [place[-1] for place in sorted(found, key=lambda place: place[:3])]


def _last(total: Totals) -> datetime:
    return _END if total.last_turn_at is None else total.last_turn_at


def _portions(totals: Mapping[UUID, Totals]) -> Iterator[list[UUID]]:
    """Part trajectories, the latest first, into those that are read together; large ones alone."""
    portion: list[UUID] = []
    for id_ in sorted(totals, key=lambda id_: _last(totals[id_]), reverse=True):
        is_large = totals[id_].turns > FEW
        if portion and (is_large or len(portion) == READ_AT_ONCE):
            yield portion
            portion = []
        portion.append(id_)
        if is_large:
            yield portion
            portion = []
    if portion:
        yield portion


async def _highest(
    store: TrajectoryStore, wanted: TurnQuery, count: int
) -> AsyncGenerator[Turn, None]:
    """Give turns of one trajectory, the newest among them.

    As a rule those with the highest numbers are the newest; what is newer than these comes behind.
    """
    highest = wanted.model_copy(update={"descending": True, "limit": count})
    given: dict[int, datetime] = {}
    async with aclosing(store.turns(highest)) as turns:
        async for turn in turns:
            given[turn.turn_number] = turn.created_at
            yield turn
    first = min(given.values(), default=_END)
    if len(given) < count or first == _END:
        return
    newer = wanted.model_copy(update={"since": first + _TICK})
    async with aclosing(store.turns(newer)) as turns:
        async for turn in turns:
            if turn.turn_number not in given:
                yield turn
