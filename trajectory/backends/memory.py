"""The simplest backend: everything in the memory of this process. The model for all others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Self, TypeVar
from uuid import UUID

from trajectory.backend import Batch, Capabilities, Survives
from trajectory.errors import ConflictError, TurnKey
from trajectory.merge import (
    bare_trajectory,
    ended_trajectory,
    merge_trajectory,
    orphan,
    same_turn,
    warn_of_differing,
    with_fact,
)
from trajectory.models import Trajectory, Turn, in_order, numbered
from trajectory.query import CROSS_FILTERS, FILTERS, TrajectoryQuery, TurnQuery, _Query
from trajectory.words import counted

_Row = TypeVar("_Row", Trajectory, Turn)


class MemoryBackend:
    """Keeps turns in two dicts. They outlive `close`, not the process, and the object is the place.

    `merge_conflicts` counts fields for which a start or end brought a second, different value.
    """

    capabilities = Capabilities(survives=Survives.NOTHING, filters=FILTERS | CROSS_FILTERS)

    def __init__(self) -> None:
        # All state. A write decides first and then changes both without an await in between, so
        # readers see whole batches.
        self._trajectories: dict[UUID, Trajectory] = {}
        self._turns: dict[TurnKey, Turn] = {}
        self.merge_conflicts = 0

    @classmethod
    def from_url(cls, _url: str) -> Self:
        """Make an empty backend; `memory://` has nothing to tell apart."""
        return cls()

    def __repr__(self) -> str:
        trajectories = counted(len(self._trajectories), "trajectory", "trajectories")
        return f"<MemoryBackend {trajectories}, {counted(len(self._turns), 'turn')}>"

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to let go of; what was written can still be read."""

    async def write(self, batch: Batch, /) -> None:
        """Store a batch: all or nothing, idempotent by key."""
        news = [*batch.starts]
        parents = {start.id for start in batch.starts}
        turns: dict[TurnKey, Turn] = {}
        conflicts = []
        for turn in batch.turns:
            if turn.trajectory_id not in parents and turn.trajectory_id not in self._trajectories:
                news.append(bare_trajectory(turn))
                parents.add(turn.trajectory_id)
            stored = turns.get(turn.key) or self._turns.get(turn.key)
            if stored is None:
                turns[turn.key] = _as_read(turn)
            elif not same_turn(stored, turn):
                conflicts.append(turn.key)
        for fact in batch.facts:
            stored = turns.get(fact.key) or self._turns.get(fact.key)
            if stored is None:
                raise orphan(fact)
            added = with_fact(stored, fact)
            if added is None:
                conflicts.append(fact.key)
            else:
                turns[fact.key] = added
        if conflicts:
            raise ConflictError(conflicts)
        news.extend(ended_trajectory(end) for end in batch.ends)
        for trajectory in news:
            self._merge(trajectory)
        self._turns.update(turns)

    def _merge(self, news: Trajectory) -> None:
        known = self._trajectories.get(news.id)
        if known is None:
            self._trajectories[news.id] = news
            return
        self._trajectories[news.id], differing = merge_trajectory(known, news)
        if differing:
            self.merge_conflicts += len(differing)
            warn_of_differing(news.id, differing)

    async def read_trajectories(self, query: TrajectoryQuery, /) -> AsyncIterator[Trajectory]:
        """Stream trajectories in the query's order."""
        rows = sorted(
            (row for row in self._trajectories.values() if query.matches(row)), key=query.cursor
        )
        if query.turn is not None:
            matches = query.turn.matches
            found = {turn.trajectory_id for turn in self._turns.values() if matches(turn)}
            rows = [row for row in rows if row.id in found]
        for trajectory in _page(rows, query):
            yield trajectory

    async def read_turns(self, query: TurnQuery, /) -> AsyncIterator[Turn]:
        """Stream turns in the query's order."""
        rows = sorted((row for row in self._turns.values() if query.matches(row)), key=query.cursor)
        if query.trajectory is not None:
            matches = query.trajectory.matches
            found = {id_ for id_, each in self._trajectories.items() if matches(each)}
            rows = [row for row in rows if row.trajectory_id in found]
        for turn in _page(rows, query):
            yield turn

    async def delete_trajectories(self, ids: Sequence[UUID], /) -> int:
        """Delete trajectories with all that belongs to them; say how many there were."""
        gone = set(ids) & self._trajectories.keys()
        self._trajectories = {id_: t for id_, t in self._trajectories.items() if id_ not in gone}
        self._turns = {key: turn for key, turn in self._turns.items() if key[0] not in gone}
        return len(gone)


def _page(rows: list[_Row], query: _Query) -> list[_Row]:
    if query.descending:
        rows.reverse()
    after = query.after
    if after is not None:
        rows = [
            row
            for row in rows
            if (query.cursor(row) < after if query.descending else query.cursor(row) > after)
        ]
    return rows if query.limit is None else rows[: query.limit]


def _as_read(turn: Turn) -> Turn:
    """Order the findings as every backend gives them back."""
    changes = {
        name: in_order(numbered(findings))
        for name in ("questions", "violations")
        if (findings := getattr(turn, name))
    }
    return turn.replace(**changes) if changes else turn
