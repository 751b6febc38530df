"""Reading through a backend, with the filters that it doesn't apply by itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, overload
from uuid import UUID

from trajectory.backend import StorageBackend
from trajectory.models import Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnQuery


@overload
def sifted(backend: StorageBackend, query: TrajectoryQuery) -> AsyncGenerator[Trajectory, None]: ...


@overload
def sifted(backend: StorageBackend, query: TurnQuery) -> AsyncGenerator[Turn, None]: ...


def sifted(backend: StorageBackend, query: Any) -> AsyncGenerator[Any, None]:
    """Stream what passes a query: what the backend finds, without what it can't tell apart.

    A filter of one on the other that the backend doesn't apply costs a look at the other for each
    trajectory. Holds one row beside the backend's page.
    """
    if isinstance(query, TrajectoryQuery):
        return _sifted(backend.read_trajectories, query, _Look(backend, "turn", query.turn))
    return _sifted(backend.read_turns, query, _Look(backend, "trajectory", query.trajectory))


class _Look:
    """Looks whether a trajectory has a turn, or a turn a trajectory, that passes a query."""

    def __init__(
        self, backend: StorageBackend, field: str, wanted: TrajectoryQuery | TurnQuery | None
    ) -> None:
        self._backend = backend
        self._wanted = wanted
        self.pushed = backend.capabilities.filters
        self.field = field
        self.narrowed: TrajectoryQuery | TurnQuery | None = None
        """As much of it as the backend applies; all that passes `wanted` passes this."""
        self.is_needed = False
        if wanted is not None:
            rest = wanted.filters - self.pushed
            self.is_needed = bool(rest) or field not in self.pushed
            self.narrowed = None if field not in self.pushed else wanted.without(rest)
        self._of: UUID | None = None
        self._answer = False

    async def passes(self, id_: UUID) -> bool:
        """Say it of a trajectory's id. Asked once where it comes several times in a row."""
        if id_ != self._of and self._wanted is not None:
            async with aclosing(sifted(self._backend, self._wanted.of(id_))) as found:
                self._answer = await anext(found, None) is not None
            self._of = id_
        return self._answer


async def _sifted(read: Any, query: Any, look: _Look) -> AsyncGenerator[Any, None]:
    rest = query.filters - look.pushed - {look.field}
    asked = query
    if look.is_needed:
        asked = asked.model_copy(update={look.field: look.narrowed, "limit": None})
    if rest:
        asked = asked.without(rest | {"limit"})
    # Those that the backend applies are looked at again, since some say something together.
    wanted = query.without(frozenset({"ids", "since", "until"}))
    left = query.limit
    if left == 0:
        return
    rows: AsyncIterator[Any] = read(asked)
    try:
        async for row in rows:
            if rest and not wanted.matches(row):
                continue
            if look.is_needed and not await look.passes(_trajectory_of(row)):
                continue
            yield row
            if left is not None:
                left -= 1
                if left == 0:
                    return
    finally:
        if isinstance(rows, AsyncGenerator):
            await rows.aclose()


def _trajectory_of(row: Trajectory | Turn) -> UUID:
    return row.id if isinstance(row, Trajectory) else row.trajectory_id
