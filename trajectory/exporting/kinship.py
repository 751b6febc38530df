"""Whom a trajectory belongs to: its own labels, or those of the trajectories that started it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import aclosing
from typing import NamedTuple, Self, TypeVar
from uuid import UUID

from trajectory.exporting.parts import SplitBy
from trajectory.models import Trajectory
from trajectory.query import TrajectoryQuery
from trajectory.store import TrajectoryStore

_REMEMBERED = 100_000
_IDS_AT_ONCE = 500

_Key = TypeVar("_Key", UUID, str)


class Owner(NamedTuple):
    """What never goes into two parts: a user, a session or a run, and its label."""

    kind: str
    label: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.label}"


class _Row(NamedTuple):
    """What is looked at of a trajectory; a system prompt may be large."""

    id: UUID
    up: UUID | None
    user: str | None
    session: str | None
    run: str | None

    @classmethod
    def of(cls, row: Trajectory) -> Self:
        return cls(row.id, _up(row), row.user_id, row.session_id, row.run_id)


class _Root(NamedTuple):
    id: UUID
    is_stored: bool = False
    user: str | None = None
    session: str | None = None

    @classmethod
    def of(cls, row: _Row) -> Self:
        return cls(row.id, is_stored=True, user=row.user, session=row.session)


class _Kin(NamedTuple):
    user: str | None
    session: str | None
    run: str | None
    root: _Root


class Kinship:
    """Finds owners. Ancestors are looked up many at once, also those that are not exported.

    The root of a trajectory is the first one that is reached by roots and parents. A run is the
    `run_id` of the root; of a root that is not stored, the nearest to it that is known; and without
    one, the root's id.

    A user is the nearest one that is known on the way to the root. Without any it is one that
    another trajectory of the same root has, or else one of the same session: of several, the first
    by name. Without one it is the nearest session, and without a session the run. So that no user
    and no session is in two parts, all stored trajectories are read once, as soon as one without a
    user comes; the users of sessions, and of runs whose root has none, are kept in memory.
    """

    def __init__(self, store: TrajectoryStore, by: SplitBy) -> None:
        self._store = store
        self._by = by
        self._known: OrderedDict[UUID, _Kin] = OrderedDict()
        self._has_learned = False
        self._of_root: dict[UUID, str] = {}
        self._of_session: dict[str, str] = {}

    async def owners(self, trajectories: Iterable[Trajectory]) -> dict[UUID, Owner]:
        """Find the owners of some trajectories."""
        kin = await self._kin_of({each.id: _Row.of(each) for each in trajectories})
        needs_users = self._by is SplitBy.USER and any(each.user is None for each in kin.values())
        if needs_users and not self._has_learned:
            await self._learn_users()
            self._has_learned = True
        return {id_: self._owner(each) for id_, each in kin.items()}

    async def _learn_users(self) -> None:
        """Read whose the runs and sessions are that have a user for a part of them alone."""
        rows: dict[UUID, _Row | None] = {}
        async with aclosing(self._store.trajectories(TrajectoryQuery())) as stored:
            async for row in stored:
                rows[row.id] = _Row.of(row)
                if len(rows) >= _IDS_AT_ONCE:
                    await self._learn_users_of(rows)
                    rows = {}
        await self._learn_users_of(rows)

    async def _learn_users_of(self, rows: dict[UUID, _Row | None]) -> None:
        for kin in (await self._kin_of(rows)).values():
            if kin.user is None:
                continue
            sessions = {kin.session}
            if kin.root.user is None:
                _keep_first(self._of_root, kin.root.id, kin.user)
                sessions.add(kin.root.session)
            for session in sessions:
                if session is not None:
                    _keep_first(self._of_session, session, kin.user)

    async def _kin_of(self, rows: dict[UUID, _Row | None]) -> dict[UUID, _Kin]:
        wanted = tuple(rows)
        await self._look_up(rows)
        found = {id_: self._kin(id_, rows) for id_ in wanted}
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _look_up(self, rows: dict[UUID, _Row | None]) -> None:
        """Read all ancestors that are not known yet; None for one that is not stored."""
        edge = list(rows.values())
        while missing := {
            up
            for row in edge
            if row is not None
            and (up := row.up) is not None
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
                        rows[row.id] = found = _Row.of(row)
                        edge.append(found)

    def _kin(self, id_: UUID, rows: dict[UUID, _Row | None]) -> _Kin:
        way: dict[UUID, _Row | None] = {}
        at: UUID | None = id_
        while at is not None and at not in way and at not in self._known:
            way[at] = rows[at]
            row = way[at]
            at = None if row is None else row.up
        if at is None:
            top = way[last := next(reversed(way))]
            root = _Root(last) if top is None else _Root.of(top)
            kin = _Kin(None, None, None if top is None else top.run, root)
        elif at in way:  # a circle, which no run makes: all of it is one run
            ring = list(way)[list(way).index(at) :]
            first = way[min(ring)]
            run = None if first is None else first.run
            kin = _Kin(None, None, run, _Root(min(ring), is_stored=True))
        else:
            self._known.move_to_end(at)
            kin = self._known[at]
        for step, row in reversed(way.items()):
            if row is not None:
                run = kin.run if kin.run is not None or kin.root.is_stored else row.run
                kin = _Kin(row.user or kin.user, row.session or kin.session, run, kin.root)
            self._known[step] = kin
        return self._known.get(id_, kin)

    def _owner(self, kin: _Kin) -> Owner:
        if self._by is SplitBy.USER:
            user = kin.user or self._of_root.get(kin.root.id)
            if user is None and kin.session is not None:
                user = self._of_session.get(kin.session)
            if user is not None:
                return Owner("user", user)
            if kin.session is not None:
                return Owner("session", kin.session)
        return Owner("run", kin.run or str(kin.root.id))


def _keep_first(known: dict[_Key, str], key: _Key, user: str) -> None:
    known[key] = min(user, known.get(key, user))


def _up(row: Trajectory) -> UUID | None:
    """Give the root of a trajectory, else its parent; None for one that is the first itself."""
    for up in (row.root_trajectory_id, row.parent_trajectory_id):
        if up is not None and up != row.id:
            return up
    return None
