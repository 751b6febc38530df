"""The newest turns, and those that are committed from now on, wherever they belong.

Turns of different trajectories and processes are not committed in the order of their times: one
may come late, with an earlier time, and a lower number than what is there. So nothing here is
found by time. A turn is new if its trajectory has more turns than it had, and its number was not
there before.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappush, heappushpop
from typing import NamedTuple
from uuid import UUID

from trajectory.counts import Totals
from trajectory.door import now_utc
from trajectory.models import Trajectory, Turn
from trajectory.query import TrajectoryCursor, TrajectoryQuery, TurnCursor, TurnQuery
from trajectory.store import TrajectoryStore

LOOK_BACK = timedelta(hours=1)
"""What had a turn since then, or began, is looked at each time."""

WATCHED = 1000
"""So many trajectories are looked at each time, at most."""

ROUND = 500
"""So many of the others are looked at each time, in turn, until all were."""

_COUNTED_AT_ONCE = 500
_READ_AT_ONCE = 50


class Heard(NamedTuple):
    """A turn, and who the agent was."""

    turn: Turn
    agent_name: str | None


@dataclass(slots=True)
class _Known:
    """What is known of a trajectory. Without `numbers` only how many turns it had."""

    agent_name: str | None
    count: int = 0
    numbers: set[int] | None = None


class Feed:
    """Reads one store, again and again.

    `parents` says which trajectories are looked at, `wanted` which of their turns are given.
    """

    def __init__(
        self,
        store: TrajectoryStore,
        parents: TrajectoryQuery,
        wanted: TurnQuery,
        *,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._store = store
        self._parents = parents
        self._wanted = wanted
        self._clock = clock
        self._known: dict[UUID, _Known] = {}
        self._active: dict[UUID, datetime] = {}
        """When there was last something new in a trajectory, the latest last."""
        self._given: set[tuple[UUID, int]] = set()
        self._round: TrajectoryCursor | None = None

    async def newest(self, count: int, *, goes_on: bool) -> list[Heard]:
        """Give the newest turns, the oldest of them first. `goes_on` if `news` will be asked for.

        Counts the turns of all trajectories.
        """
        last = await self._count_all()
        if goes_on:
            await self._learn_active(last)
        found: list[tuple[datetime, UUID, int, Turn]] = []
        order = sorted(last, key=lambda id_: last[id_], reverse=True) if count else []
        for start in range(0, len(order), _READ_AT_ONCE):
            ids = order[start : start + _READ_AT_ONCE]
            if len(found) == count and found[0][0] > last[ids[0]]:
                break  # what follows has nothing that is newer
            query = self._wanted.model_copy(update={"ids": tuple(ids)})
            async with aclosing(self._store.turns(query)) as turns:
                async for turn in turns:
                    place = (turn.created_at, *turn.key, turn)
                    if len(found) < count:
                        heappush(found, place)
                    else:
                        heappushpop(found, place)
        turns_ = [place[-1] for place in sorted(found, key=lambda place: place[:3])]
        self._given = {turn.key for turn in turns_}
        return [self._heard(turn) for turn in turns_]

    async def news(self) -> AsyncGenerator[Heard, None]:
        """Give what was committed since it was last asked, as far as it can be known by now."""
        looked_at = await self._to_look_at()
        for ids in _parts(looked_at, _COUNTED_AT_ONCE):
            totals = await self._store.totals(ids)
            for id_ in ids:
                async with aclosing(self._grown(id_, totals[id_])) as turns:
                    async for turn in turns:
                        if turn.key not in self._given and self._wanted.matches(turn):
                            yield self._heard(turn)

    def _heard(self, turn: Turn) -> Heard:
        return Heard(turn, self._known[turn.trajectory_id].agent_name)

    async def _count_all(self) -> dict[UUID, datetime]:
        """Count the turns of all trajectories; give the time of the last one of each."""
        last: dict[UUID, datetime] = {}
        async with aclosing(self._store.trajectories(self._parents)) as all_:
            chunk: list[Trajectory] = []
            async for each in all_:
                chunk.append(each)
                if len(chunk) == _COUNTED_AT_ONCE:
                    await self._count(chunk, last)
                    chunk = []
            await self._count(chunk, last)
        return last

    async def _count(self, chunk: list[Trajectory], last: dict[UUID, datetime]) -> None:
        totals = await self._store.totals([each.id for each in chunk])
        for each in chunk:
            total = totals[each.id]
            self._known[each.id] = _Known(each.agent_name, total.turns)
            if total.last_turn_at is not None:
                last[each.id] = total.last_turn_at

    async def _learn_active(self, last: dict[UUID, datetime]) -> None:
        """Learn the numbers of the turns that are there, where more are likely to come."""
        now = self._clock()
        recent = [id_ for id_, at in last.items() if at >= now - LOOK_BACK]
        recent = sorted(recent, key=lambda id_: last[id_])[-WATCHED:]
        there: dict[UUID, set[int]] = {id_: set() for id_ in recent}
        for id_, numbers in there.items():
            self._known[id_].numbers = numbers
            self._active[id_] = min(last[id_], now)
        for ids in _parts(recent, _READ_AT_ONCE):
            async with aclosing(self._store.turns(TurnQuery(ids=tuple(ids)))) as turns:
                async for turn in turns:
                    there[turn.trajectory_id].add(turn.turn_number)
                    # One that came since they were counted.
                    last[turn.trajectory_id] = max(last[turn.trajectory_id], turn.created_at)

    async def _to_look_at(self) -> list[UUID]:
        now = self._clock()
        for id_ in list(self._active)[:-WATCHED]:
            del self._active[id_]
        for id_ in [id_ for id_, at in self._active.items() if at < now - LOOK_BACK]:
            del self._active[id_]
        fresh = self._parents.model_copy(
            update={"since": now - LOOK_BACK, "descending": True, "limit": WATCHED}
        )
        others = self._parents.model_copy(update={"after": self._round, "limit": ROUND})
        looked_at = dict.fromkeys(self._active)
        for query in (fresh, others):
            count = 0
            async with aclosing(self._store.trajectories(query)) as found:
                async for each in found:
                    count += 1
                    known = self._known.setdefault(each.id, _Known(None, 0, set()))
                    known.agent_name = each.agent_name  # its start may come after its turns
                    looked_at[each.id] = None
                    if query is others:
                        self._round = TrajectoryQuery.cursor(each)
            if query is others and count < ROUND:
                self._round = None
        return list(looked_at)

    async def _grown(self, id_: UUID, total: Totals) -> AsyncGenerator[Turn, None]:
        """Give the turns of a trajectory that were not there before."""
        known = self._known[id_]
        before = known.count if known.numbers is None else len(known.numbers)
        if total.turns == before:
            return
        if total.turns < before:  # some were deleted
            known.count, known.numbers = total.turns, None
            return
        self._active.pop(id_, None)
        self._active[id_] = self._clock()
        if known.numbers is None:
            known.numbers = await self._numbers(id_, known.count)
        numbers = known.numbers
        # As a rule they are the last ones; else all have to be looked at.
        starts = (None,) if not numbers else (TurnCursor(id_, max(numbers)), None)
        for after in starts:
            async with aclosing(self._store.turns(TurnQuery(ids=(id_,), after=after))) as turns:
                async for turn in turns:
                    if turn.turn_number not in numbers:
                        numbers.add(turn.turn_number)
                        yield turn
            if len(numbers) >= total.turns:
                break

    async def _numbers(self, id_: UUID, count: int) -> set[int]:
        """Say which turns of a trajectory were there before, if there were so many.

        Those that were given are known. Of the others the first ones are taken for them.
        """
        async with aclosing(self._store.turns(TurnQuery(ids=(id_,)))) as turns:
            numbers = [turn.turn_number async for turn in turns]
        numbers.sort(key=lambda number: ((id_, number) not in self._given, number))
        return set(numbers[:count])


def _parts(ids: Iterable[UUID], size: int) -> list[list[UUID]]:
    all_ = list(ids)
    return [all_[start : start + size] for start in range(0, len(all_), size)]
