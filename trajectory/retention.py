"""Pruning: what has been silent for long goes, from the database, journals and dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, runtime_checkable
from uuid import UUID

from trajectory.backend import StorageBackend
from trajectory.counts import Totals, totals_of
from trajectory.dead_letters import DeadLetterFile
from trajectory.erasure import living_journals, store_left, trajectory_of
from trajectory.errors import BackendUnavailableError
from trajectory.models import Trajectory, TrajectoryStatus
from trajectory.query import TrajectoryQuery

INTERRUPTED_AFTER = timedelta(hours=1)
"""A trajectory that has not ended counts as running until it has been silent for so long."""

_LOOKED_AT_ONCE = 500
_TURNS_AT_ONCE = 2000
"""About so many turns go in one transaction, so that a writer waits for milliseconds alone.

A trajectory of more goes in one all the same: cut, a reader or an error would find part of it."""

_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds between tries: another writer's transaction may have had to go first."""


@runtime_checkable
class Pruning(Protocol):
    """What a backend may have beside its contract, to prune beside a writer and give space back."""

    async def delete_silent(self, ids: Sequence[UUID], before: datetime, /) -> Sequence[UUID]:
        """Delete those trajectories of which nothing is as new as an instant; say which.

        The look and the deletion are one: what gets a turn in that very moment stays, or its turn
        does.
        """
        ...

    async def give_back_space(self) -> int:
        """Give free space back to the file system, bit by bit; say how many bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was pruned, or would be, and where some of it may lie still."""

    trajectories: int
    turns: int
    dead_letters: int
    freed_bytes: int
    """Given back to the file system. 0 where the database keeps its space for what comes next."""
    living: int
    """Journals of processes that run now; what waits in them is stored later."""


def is_running(trajectory: Trajectory, totals: Totals, now: datetime) -> bool:
    """Say whether a trajectory goes on: it has not ended, and was not silent for an hour."""
    ended = trajectory.ended_at is not None or trajectory.status not in (
        None,
        TrajectoryStatus.RUNNING,
    )
    return not ended and last_activity(trajectory, totals) > now - INTERRUPTED_AFTER


def last_activity(trajectory: Trajectory, totals: Totals) -> datetime:
    """Give the last instant that is known of a trajectory: its start, end, or newest turn."""
    known = (trajectory.created_at, trajectory.ended_at, totals.last_turn_at)
    return max(instant for instant in known if instant is not None)


async def prune(
    backend: StorageBackend,
    folder: Path | None,
    before: datetime,
    *,
    dry_run: bool = False,
    now: datetime | None = None,
) -> Pruned:
    """Delete the trajectories whose last activity lies before an instant, and that don't run.

    Each goes by itself, whatever becomes of its parent or children, with all that belongs to it and
    its dead letters; `folder` is that of its journals. What dead processes left is stored first, so
    it counts, and can't come back. In small transactions: what was deleted before an error or a
    cancellation stays deleted. One trajectory is one transaction, however large: other writers wait
    seconds for one of 100,000 turns. What gets a turn in that very moment stays, or its turn does,
    with a bare parent.

    A dry run counts the same of what is in the database now, and changes nothing.

    Raises `BackendError` where something that was left could not be read or stored: it might come
    back later, so nothing is deleted then; and `BackendUnavailableError` where the database is away
    or busy, try after try.
    """
    now = datetime.now(UTC) if now is None else now
    if folder is not None and not dry_run:
        await store_left(backend, folder)
    letters = None if folder is None else _Letters(DeadLetterFile(folder), before)
    trajectories = turns = freed = 0
    async for found in _silent(backend, before, now):
        for chunk in _chunks(found):
            gone = chunk if dry_run else await _delete(backend, chunk, before)
            trajectories += len(gone)
            turns += sum(gone.values())
            if letters is not None:
                letters.note(gone)
    if trajectories and not dry_run and isinstance(backend, Pruning):
        with suppress(BackendUnavailableError):  # others are at work: the next call does it
            freed = await backend.give_back_space()
    if folder is None or letters is None:
        return Pruned(trajectories, turns, 0, freed, 0)
    refused = await letters.prune(backend, dry_run=dry_run)
    return Pruned(trajectories, turns, refused, freed, living_journals(folder))


async def _delete(
    backend: StorageBackend, chunk: Mapping[UUID, int], before: datetime
) -> Mapping[UUID, int]:
    """Delete what is silent still. Try again a few times: a server breaks deadlocks with an error.

    Nothing goes in a try that fails, unless its answer was lost; that isn't counted then.
    """
    for pause in _PAUSES:
        try:
            return await _delete_once(backend, chunk, before)
        except BackendUnavailableError:
            await asyncio.sleep(pause)
    return await _delete_once(backend, chunk, before)


async def _delete_once(
    backend: StorageBackend, chunk: Mapping[UUID, int], before: datetime
) -> Mapping[UUID, int]:
    if isinstance(backend, Pruning):
        return {id_: chunk[id_] for id_ in await backend.delete_silent([*chunk], before)}
    now = await totals_of(backend, [*chunk])
    gone = {id_: count for id_, count in chunk.items() if now[id_].turns == count}
    await backend.delete_trajectories([*gone])
    return gone


class _Letters:
    """The dead letters: they go with their trajectory, or by age where it isn't stored."""

    def __init__(self, file: DeadLetterFile, before: datetime) -> None:
        self._file = file
        self._before = before
        self._ids = {trajectory_of(letter) for letter in file.read()}
        self._pruned: set[UUID] = set()

    def note(self, pruned: Iterable[UUID]) -> None:
        """Note what was pruned."""
        self._pruned.update(self._ids.intersection(pruned))

    async def prune(self, backend: StorageBackend, *, dry_run: bool) -> int:
        """Remove those that go; say how many there are."""
        stored = self._pruned | await self._stored(backend)
        done = [
            letter
            for letter in self._file.read()
            if (id_ := trajectory_of(letter)) in self._pruned
            or (id_ not in stored and letter.refused_at < self._before)
        ]
        if done and not dry_run:
            self._file.remove(done)
        return len(done)

    async def _stored(self, backend: StorageBackend) -> set[UUID]:
        ids, stored = sorted(self._ids), set[UUID]()
        for start in range(0, len(ids), _LOOKED_AT_ONCE):
            query = TrajectoryQuery(ids=tuple(ids[start : start + _LOOKED_AT_ONCE]))
            stored.update([each.id async for each in backend.read_trajectories(query)])
        return stored


async def _silent(
    backend: StorageBackend, before: datetime, now: datetime
) -> AsyncIterator[dict[UUID, int]]:
    """Find trajectories that are silent since before an instant, each with its number of turns."""
    query = TrajectoryQuery(until=before, limit=_LOOKED_AT_ONCE)
    while True:
        # A page at a time: nothing is read while its trajectories are deleted.
        page = [each async for each in backend.read_trajectories(query)]
        totals = await totals_of(backend, [each.id for each in page])
        yield {
            each.id: totals[each.id].turns
            for each in page
            if last_activity(each, totals[each.id]) < before
            and not is_running(each, totals[each.id], now)
        }
        if len(page) < _LOOKED_AT_ONCE:
            return
        after = TrajectoryQuery.cursor(page[-1])
        query = TrajectoryQuery(until=before, limit=_LOOKED_AT_ONCE, after=after)


def _chunks(found: Mapping[UUID, int]) -> Iterator[dict[UUID, int]]:
    """Cut into chunks of about so many turns; one trajectory is never cut."""
    chunk: dict[UUID, int] = {}
    turns = 0
    for id_, count in found.items():
        if chunk and turns + count > _TURNS_AT_ONCE:
            yield chunk
            chunk, turns = {}, 0
        chunk[id_] = count
        turns += count
    if chunk:
        yield chunk
