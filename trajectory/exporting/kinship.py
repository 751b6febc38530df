"""Whom a trajectory belongs to: its own labels, or those of the trajectories that started it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import aclosing
from typing import NamedTuple
from uuid import UUID

from trajectory.exporting.parts import SplitBy
from trajectory.models import Trajectory
from trajectory.query import TrajectoryQuery
from trajectory.store import TrajectoryStore

_REMEMBERED = 100_000
_IDS_AT_ONCE = 500


class Owner(NamedTuple):
    """What never goes into two parts: a user, a session or a run, and its label."""

    kind: str
    label: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.label}"


class _Kin(NamedTuple):
    user: str | None
    session: str | None
    root: UUID


class Kinship:
    """Finds owners. Ancestors are looked up many at once, also those that are not exported.

    A run is the first trajectory that is reached by roots and parents. A user is the nearest one
    that is known on that way; without any it is the nearest session, and without one the run.
    """

    def __init__(self, store: TrajectoryStore, by: SplitBy) -> None:
        self._store = store
        self._by = by
        self._known: OrderedDict[UUID, _Kin] = OrderedDict()

    async def owners(self, trajectories: Iterable[Trajectory]) -> dict[UUID, Owner]:
        """Find the owners of some trajectories."""
        rows: dict[UUID, Trajectory | None] = {each.id: each for each in trajectories}
        wanted = tuple(rows)
        await self._look_up(rows)
        found = {id_: self._owner(self._kin(id_, rows)) for id_ in wanted}
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _look_up(self, rows: dict[UUID, Trajectory | None]) -> None:
        """Read all ancestors that are not known yet; None for one that is not stored."""
        edge = list(rows.values())
        while missing := {
            up
            for row in edge
            if row is not None
            and (up := _up(row)) is not None
            and up not in rows
            and up not in self._known
        }:
            rows.update(dict.fromkeys(missing))
            edge = []
            ids = sorted(missing)
            for start in range(0, len(ids), _IDS_AT_ONCE):
                query = TrajectoryQuery(ids=tuple(ids[start : start + _IDS_AT_ONCE]))
                async with aclosing(self._store.trajectories(query)) as stored:
                    async for row in stored:
                        rows[row.id] = row
                        edge.append(row)

    def _kin(self, id_: UUID, rows: dict[UUID, Trajectory | None]) -> _Kin:
        way: dict[UUID, Trajectory | None] = {}
        at: UUID | None = id_
        while at is not None and at not in way and at not in self._known:
            way[at] = rows[at]
            row = way[at]
            at = None if row is None else _up(row)
        if at is None:
            kin = _Kin(None, None, next(reversed(way)))
        elif at in way:  # a circle, which no run makes: all of it is one run
            ring = list(way)[list(way).index(at) :]
            kin = _Kin(None, None, min(ring))
        else:
            self._known.move_to_end(at)
            kin = self._known[at]
        for step, row in reversed(way.items()):
            if row is not None:
                kin = _Kin(row.user_id or kin.user, row.session_id or kin.session, kin.root)
            self._known[step] = kin
        return self._known.get(id_, kin)

    def _owner(self, kin: _Kin) -> Owner:
        if self._by is SplitBy.USER:
            if kin.user is not None:
                return Owner("user", kin.user)
            if kin.session is not None:
                return Owner("session", kin.session)
        return Owner("run", str(kin.root))


def _up(row: Trajectory) -> UUID | None:
    """Give the root of a trajectory, else its parent; None for one that is the first itself."""
    for up in (row.root_trajectory_id, row.parent_trajectory_id):
        if up is not None and up != row.id:
            return up
    return None
