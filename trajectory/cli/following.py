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
from typing import NamedTuple
from uuid import UUID

from trajectory.cli.newest import FEW, READ_AT_ONCE, newest_of
from trajectory.counts import Totals
from trajectory.door import now_utc
from trajectory.models import Trajectory, TrajectoryStatus, Turn
from trajectory.query import TrajectoryCursor, TrajectoryQuery, TurnCursor, TurnQuery
from trajectory.store import TrajectoryStore

LOOK_BACK = timedelta(hours=1)
"""What had a turn since then, or began, is looked at each time."""

WATCHED = 1000
"""So many trajectories are looked at each time, at most."""

ROUND = 500
"""So many of the others are looked at each time, in turn, until all were."""

_COUNTED_AT_ONCE = 500
_GAPS = 32
"""In so many gaps between the numbers a late turn is looked for, before all are read."""


class Heard(NamedTuple):
    """A turn, and who the agent was."""

    turn: Turn
    agent_name: str | None


@dataclass(slots=True)
class _Known:
    """What is known of a trajectory. Without `numbers` only how many turns it had."""

    agent_name: str | None
    count: int = 0
    status: TrajectoryStatus | None = None
    numbers: set[int] | None = None


class Feed:
    """Reads one store, again and again.

    `parents` says which trajectories are looked at, `wanted` which of their turns are given. A
    status changes: what goes on is given if the trajectory stands so by then, and what was there
    before is not new when it comes to stand so.
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
        self._status = parents.status
        self._parents = parents.without(frozenset({"status"}))
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
        held = await self._count_all(every=goes_on)
        if goes_on:
            held = await self._learn_active(held)
        chosen = {
            id_: total
            for id_, total in held.items()
            if self._status in (None, self._known[id_].status)
        }
        turns = await newest_of(self._store, self._wanted, chosen, count)
        self._given = {turn.key for turn in turns}
        if goes_on:
            await self._settle({turn.trajectory_id for turn in turns})
        return [self._heard(turn) for turn in turns]

    async def news(self) -> AsyncGenerator[Heard, None]:
        """Give what was committed since it was last asked, as far as it can be known by now."""
        looked_at, next_round = await self._to_look_at()
        for ids in _parts(looked_at, _COUNTED_AT_ONCE):
            totals = await self._store.totals(ids)
            for id_ in ids:
                stands_so: bool | None = None
                async with aclosing(self._grown(id_, totals[id_])) as turns:
                    async for turn in turns:
                        if turn.key in self._given or not self._wanted.matches(turn):
                            continue
                        if stands_so is None:
                            stands_so = await self._stands_so(id_)
                        if stands_so:
                            yield self._heard(turn)
        self._round = next_round  # not before: what a look that failed has missed comes again

    async def _stands_so(self, id_: UUID) -> bool:
        if self._status is None:
            return True
        trajectory = await self._store.get(id_)
        return trajectory is not None and trajectory.status is self._status

    def _heard(self, turn: Turn) -> Heard:
        return Heard(turn, self._known[turn.trajectory_id].agent_name)

    async def _count_all(self, *, every: bool) -> dict[UUID, Totals]:
        """Count the turns of trajectories, with `every` of those that stand otherwise as well.

        Gives the totals of those that have turns.
        """
        held: dict[UUID, Totals] = {}
        status = None if every else self._status
        query = self._parents.model_copy(update={"status": status})
        async with aclosing(self._store.trajectories(query)) as all_:
            chunk: list[Trajectory] = []
            async for each in all_:
                chunk.append(each)
                if len(chunk) == _COUNTED_AT_ONCE:
                    await self._count(chunk, held)
                    chunk = []
            await self._count(chunk, held)
        return held

    async def _count(self, chunk: list[Trajectory], held: dict[UUID, Totals]) -> None:
        totals = await self._store.totals([each.id for each in chunk])
        for each in chunk:
            total = totals[each.id]
            self._known[each.id] = _Known(each.agent_name, total.turns, each.status)
            if total.last_turn_at is not None:
                held[each.id] = total

    async def _learn_active(self, held: dict[UUID, Totals]) -> dict[UUID, Totals]:
        """Learn the numbers of the turns that are there, where more are likely to come.

        Gives the totals with what came since they were counted.
        """
        now = self._clock()
        last = {id_: total.last_turn_at or now for id_, total in held.items()}
        recent = [id_ for id_, at in last.items() if at >= now - LOOK_BACK]
        recent = sorted(recent, key=lambda id_: last[id_])[-WATCHED:]
        there: dict[UUID, set[int]] = {}
        for id_ in recent:
            self._active[id_] = min(last[id_], now)
            known = self._known[id_]
            if known.count > FEW:
                known.numbers = set(await self._numbers(id_, known.count))
            else:
                known.numbers = there[id_] = set()
        for ids in _parts(there, READ_AT_ONCE):
            async with aclosing(self._store.turns(TurnQuery(ids=tuple(ids)))) as turns:
                async for turn in turns:
                    there[turn.trajectory_id].add(turn.turn_number)
        for ids in _parts(recent, _COUNTED_AT_ONCE):
            held = {**held, **await self._store.totals(ids)}
        return held

    async def _settle(self, ids: Iterable[UUID]) -> None:
        """Learn the numbers where turns came while the newest ones were looked for."""
        unsure = [id_ for id_ in ids if self._known[id_].numbers is None]
        for part in _parts(unsure, _COUNTED_AT_ONCE):
            totals = await self._store.totals(part)
            for id_ in part:
                known = self._known[id_]
                if totals[id_].turns > known.count:
                    there = sorted(await self._numbers(id_, totals[id_].turns))[: known.count]
                    shown = {number for of, number in self._given if of == id_}
                    known.numbers = shown.union(there)

    async def _to_look_at(self) -> tuple[list[UUID], TrajectoryCursor | None]:
        """Give what is looked at now, and where the round goes on then."""
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
        next_round: TrajectoryCursor | None = None
        for query in (fresh, others):
            count = 0
            async with aclosing(self._store.trajectories(query)) as found:
                async for each in found:
                    count += 1
                    known = self._known.setdefault(each.id, _Known(None, numbers=set()))
                    known.agent_name = each.agent_name  # its start may come after its turns
                    looked_at[each.id] = None
                    next_round = TrajectoryQuery.cursor(each)
            if count < ROUND:
                next_round = None
        return list(looked_at), next_round

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
            all_ = await self._numbers(id_, total.turns)
            # Those that were given were there. Of the others the first ones are taken for old.
            all_.sort(key=lambda number: ((id_, number) not in self._given, number))
            known.numbers = set(all_[: known.count])
        numbers = known.numbers
        after = TurnCursor(id_, max(numbers)) if numbers else None
        async with aclosing(self._store.turns(TurnQuery(ids=(id_,), after=after))) as turns:
            async for turn in turns:
                numbers.add(turn.turn_number)
                yield turn
        if len(numbers) < total.turns:  # as a rule they are the last ones, but not all
            async with aclosing(self._late(id_, numbers, total.turns)) as turns:
                async for turn in turns:
                    yield turn

    async def _late(self, id_: UUID, numbers: set[int], total: int) -> AsyncGenerator[Turn, None]:
        """Give the turns in the gaps between the numbers, the last gap first, until all are there.

        Holds no more turns than are missing, and reads few that are known.
        """
        for place, (start, end) in enumerate(_gaps(numbers)):
            missing = total - len(numbers)
            if missing <= 0:
                return
            is_rest = place == _GAPS
            query = TurnQuery(
                ids=(id_,),
                after=TurnCursor(id_, -1 if is_rest else start - 1),
                limit=None if is_rest else missing,
            )
            async with aclosing(self._store.turns(query)) as turns:
                async for turn in turns:
                    if turn.turn_number >= end:
                        break
                    if turn.turn_number not in numbers:
                        numbers.add(turn.turn_number)
                        yield turn
            if is_rest:
                return

    async def _numbers(self, id_: UUID, count: int) -> list[int]:
        """Give the numbers of the turns of a trajectory, which was counted just now."""
        query = TurnQuery(ids=(id_,))
        ends: list[int] = []
        for descending in (True, False):
            end = query.model_copy(update={"descending": descending, "limit": 1})
            async with aclosing(self._store.turns(end)) as turns:
                ends += [turn.turn_number async for turn in turns]
        if len(ends) == 2 and ends[0] - ends[1] + 1 == count:
            return list(range(ends[1], ends[0] + 1))  # none is left out, so they are known unread
        async with aclosing(self._store.turns(query)) as turns:
            return [turn.turn_number async for turn in turns]


def _gaps(numbers: set[int]) -> list[tuple[int, int]]:
    """Give where numbers are missing, as start and end, which is there; the last gap first."""
    gaps: list[tuple[int, int]] = []
    start = 0
    for number in sorted(numbers):
        if number > start:
            gaps.append((start, number))
        start = number + 1
    return gaps[::-1]


def _parts(ids: Iterable[UUID], size: int) -> list[list[UUID]]:
    all_ = list(ids)
    return [all_[start : start + size] for start in range(0, len(all_), size)]
