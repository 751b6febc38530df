"""`TrajectoryStore`: what people hold to read what is stored."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar
from uuid import UUID

from trajectory.backend import StorageBackend, Survives
from trajectory.backends import open_backend
from trajectory.counts import StoreStatistics, Totals, counts_of, findings_of, totals_of
from trajectory.errors import ConfigurationError, TrajectoryError
from trajectory.forks import forget_in_child
from trajectory.models import AGENT, Trajectory, Turn
from trajectory.placement import folder_of
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.retention import Pruned, prune
from trajectory.scoring.score import Score, weigh
from trajectory.scoring.weights import DEFAULT_WEIGHTS, PPPWeights
from trajectory.sieve import sifted

_SCORED_AT_ONCE = 500
"""Trajectories in one grouped statement."""

_Row = TypeVar("_Row", Trajectory, Turn)


class TrajectoryScore(NamedTuple):
    """A trajectory's score."""

    trajectory_id: UUID
    score: Score


class TrajectoryStore:
    """Reads trajectories and turns.

    `backend` is what a `TrajectoryLogger` takes: a URL, a path, or a `StorageBackend`. What is made
    of a URL or path is closed with the store; a backend that is handed in is opened and stays its
    owner's to close.

    With `read_only`, a database of a URL or path is opened so that nothing can be written through
    the store, not even by `prune`: it may be a file or a role without the right to write, or a
    standby. A backend that is handed in, or one of a plugin without `only_read`, is opened as ever.

    Reading makes nothing: a SQLite file that is not there is an error. It waits for no writer, sees
    whole batches, and nothing that a logger has accepted and not stored yet. Use it in one event
    loop, between `open` and `aclose`, or in `async with`.
    """

    def __init__(
        self,
        backend: str | os.PathLike[str] | StorageBackend = "trajectories.db",
        *,
        read_only: bool = False,
    ) -> None:
        self._owns_backend = not isinstance(backend, StorageBackend)
        self._backend = backend if isinstance(backend, StorageBackend) else open_backend(backend)
        self._read_only = read_only
        only_read = getattr(self._backend, "only_read", None)
        if read_only and self._owns_backend and only_read is not None:
            only_read()
        self._is_open = False
        forget_in_child(self)

    def __repr__(self) -> str:
        return f"<TrajectoryStore {'open' if self._is_open else 'not open'}, {self._backend!r}>"

    @property
    def backend(self) -> StorageBackend:
        """Where it reads."""
        return self._backend

    async def open(self) -> None:
        """Connect. A no-op while open.

        Raises `ConfigurationError` where there is no file, `BackendUnavailableError` where a server
        can't be reached, `SchemaError` where its schema is not ours.
        """
        if self._is_open:
            return
        if self._owns_backend:
            _refuse_missing(self._backend.capabilities.identity)
        await self._backend.open()
        self._is_open = True

    async def aclose(self) -> None:
        """Let go of the backend, if it was made here. Safe twice; `open` may follow."""
        self._is_open = False
        if self._owns_backend:
            await self._backend.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def forget(self) -> None:
        """In a forked child: leave the parent's connections alone; `open` makes others."""
        forget = getattr(self._backend, "forget", None)
        if self._is_open and self._owns_backend and forget is not None:
            forget()
        self._is_open = False

    async def get(self, trajectory_id: UUID) -> Trajectory | None:
        """Read one trajectory; None if there is none. Its turns: `turns(TurnQuery(ids=[id]))`."""
        async with aclosing(self.trajectories(TrajectoryQuery(ids=(trajectory_id,)))) as found:
            return await anext(found, None)

    def trajectories(
        self, query: TrajectoryQuery | None = None
    ) -> AsyncGenerator[Trajectory, None]:
        """Stream trajectories in the order of the query, all of them without one.

        What is in memory at a time is one page. `limit` counts what passes all filters.
        """
        query = TrajectoryQuery() if query is None else query
        return sifted(self._opened(), query)

    def turns(self, query: TurnQuery | None = None) -> AsyncGenerator[Turn, None]:
        """Stream turns in the order of the query, all of them without one.

        Each comes with its children and all that was found later. What is in memory at a time is
        one page. `limit` counts what passes all filters.
        """
        query = TurnQuery() if query is None else query
        return sifted(self._opened(), query)

    async def score(
        self,
        trajectory_id: UUID,
        *,
        weights: PPPWeights = DEFAULT_WEIGHTS,
        source: str = AGENT,
    ) -> Score | None:
        """Score one trajectory by the findings of one source; None if there is no trajectory.

        R_Proact and R_Pers as in `trajectory.scoring`, of all its turns.
        """
        query = TrajectoryQuery(ids=(trajectory_id,))
        async with aclosing(self.scores(query, weights=weights, source=source)) as found:
            scored = await anext(found, None)
        return None if scored is None else scored.score

    async def scores(
        self,
        query: TrajectoryQuery | None = None,
        *,
        weights: PPPWeights = DEFAULT_WEIGHTS,
        source: str = AGENT,
    ) -> AsyncGenerator[TrajectoryScore, None]:
        """Score trajectories by the findings of one source, in the order of the query.

        One without findings is scored too. The database counts, hundreds of trajectories at a time;
        what is in memory is one page.
        """
        backend = self._opened()
        async with aclosing(self.trajectories(query)) as found:
            while ids := [each.id async for each in _first(found, _SCORED_AT_ONCE)]:
                counts = await findings_of(backend, ids, source)
                for id_ in ids:
                    score = weigh(counts[id_], weights, source=source)
                    yield TrajectoryScore(id_, score)

    async def prune(
        self,
        older_than: timedelta | datetime,
        *,
        dry_run: bool = False,
        journal_dir: Path | None = None,
    ) -> Pruned:
        """Delete what has been silent for so long, or since an instant: `timedelta(days=30)`.

        Goes by last activity: start, end or newest turn. What runs is left alone: it has not ended,
        and was not silent for an hour. With a trajectory go its turns, all that belongs to them,
        and its dead letters; what dead processes left in journals is stored first. `journal_dir` is
        that of the loggers, if they have one. In small transactions, so a writer goes on; but one
        trajectory goes whole, and writers wait seconds for one of 100,000 turns. A SQLite file
        gives the space back to the disk.

        A dry run counts what is stored now, and changes nothing. Raises `BackendError` where what
        was left in a journal could not be stored, `ConfigurationError` for a negative age, or an
        instant in the future or without a timezone.
        """
        backend = self._opened()
        if self._read_only:
            raise ConfigurationError("the store is read-only; make one without read_only to prune")
        before = _instant(older_than)
        capabilities = backend.capabilities
        # What nothing outlives has no journal: those in a folder that is named are of others.
        lives = capabilities.survives is not Survives.NOTHING
        folder = folder_of(capabilities.identity, journal_dir) if lives else None
        return await prune(backend, folder, before, dry_run=dry_run)

    async def totals(self, ids: Sequence[UUID]) -> dict[UUID, Totals]:
        """Count the turns and tokens of some trajectories; one that is unknown has none."""
        return await totals_of(self._opened(), ids)

    async def statistics(self) -> StoreStatistics:
        """Count what is stored."""
        return await counts_of(self._opened())

    def _opened(self) -> StorageBackend:
        if not self._is_open:
            raise TrajectoryError(
                "the store is not open; use `async with`, or `await store.open()` first"
            )
        return self._backend


def _instant(older_than: timedelta | datetime) -> datetime:
    if isinstance(older_than, timedelta):
        if older_than < timedelta():
            raise ConfigurationError(f"older_than is {older_than}, and must not be negative")
        try:
            return datetime.now(UTC) - older_than
        except OverflowError:
            raise ConfigurationError("older_than reaches back beyond the year 1") from None
    if older_than.tzinfo is None:
        raise ConfigurationError("older_than has no timezone; give an aware datetime, or an age")
    if older_than > datetime.now(UTC):  # what is logged while it runs would go as well
        raise ConfigurationError(
            f"older_than is {older_than.isoformat()}, in the future; give an instant in the past, "
            f"or an age"
        )
    return older_than


async def _first(rows: AsyncIterator[_Row], count: int) -> AsyncIterator[_Row]:
    """Give the next so many rows, and leave the others."""
    for _ in range(count):
        try:
            yield await anext(rows)
        except StopAsyncIteration:
            return


def _refuse_missing(identity: str | None) -> None:
    """Raise `ConfigurationError` for a file that is not there: to open it would make it."""
    if identity is None or not Path(identity).is_absolute():
        return
    file = Path(identity)
    if not file.exists():
        raise ConfigurationError(
            f"there is no file {file} to read; check the path, or let a logger or "
            f"`trajectory import` make it"
        )
    if file.is_file() and not file.stat().st_size:
        raise ConfigurationError(
            f"the file {file} is empty, no database yet; check the path, or let a logger fill it"
        )
