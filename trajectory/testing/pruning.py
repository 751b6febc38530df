"""The part of the suite about pruning: what is silent goes, and nothing that isn't."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from trajectory.backend import Batch, StorageBackend
from trajectory.models import Trajectory, Turn
from trajectory.retention import Pruning, prune
from trajectory.testing.samples import NOON, Suite, a_turn, full_turn, trajectories_of, turns_of

_OLD, _LIMIT = NOON - timedelta(days=2), NOON - timedelta(days=1)
_TICK = timedelta(microseconds=1)
_UNKNOWN = UUID(int=99)


def _some() -> tuple[set[UUID], Batch]:
    """Make trajectories; say which of them were silent at the limit."""
    silent, loud = (
        [Trajectory(id=UUID(int=first + n), created_at=_OLD) for n in range(3)] for first in (1, 11)
    )
    silent += [
        Trajectory(id=UUID(int=4), created_at=_OLD, ended_at=_LIMIT - _TICK, status="failed"),
        Trajectory(id=UUID(int=5), created_at=_LIMIT - _TICK),
    ]
    loud += [
        Trajectory(id=UUID(int=14), created_at=_OLD, ended_at=NOON, status="completed"),
        Trajectory(id=UUID(int=15), created_at=_OLD, ended_at=_LIMIT, status="completed"),
        Trajectory(id=UUID(int=16), created_at=_LIMIT),
        Trajectory(id=UUID(int=17), created_at=NOON),
    ]
    newest = {
        silent[0].id: _LIMIT - _TICK,
        silent[1].id: _OLD,
        loud[0].id: NOON,
        loud[1].id: _LIMIT,
        loud[2].id: _LIMIT + _TICK,
    }
    turns = [a_turn(id_, 1, created_at=when) for id_, when in newest.items()]
    # The newest is not the last one, and has children.
    turns += [full_turn(id_).replace(created_at=_OLD) for id_ in newest]
    return {each.id for each in silent}, Batch(starts=(*silent, *loud), turns=tuple(turns))


class PruningConformance(Suite):
    """What pruning must do: `delete_silent` where there is one, the contract's deletion elsewhere.

    A backend that is not `Pruning` is told what to delete, and passes by doing that.
    """

    async def test_what_is_silent_goes_whole(self) -> None:
        async with self.new_backend() as backend:
            silent, batch = _some()
            await backend.write(batch)
            before = await _all_of(backend)
            pruned = await prune(backend, None, _LIMIT, now=NOON)
            assert (pruned.trajectories, pruned.turns) == (len(silent), 4)
            assert await _all_of(backend) == _without(silent, before)
            assert (await prune(backend, None, _LIMIT, now=NOON)).trajectories == 0

    async def test_what_is_not_silent_stays_though_it_is_named(self) -> None:
        async with self.new_backend() as backend:
            silent, batch = _some()
            await backend.write(batch)
            before = await _all_of(backend)
            named = [_UNKNOWN, *(each.id for each in batch.starts)]
            gone = await _delete(backend, named, silent)
            assert sorted(gone) == sorted(silent)
            assert await _all_of(backend) == _without(silent, before)
            assert list(await _delete(backend, [_UNKNOWN], set())) == []
            assert list(await _delete(backend, [], set())) == []
            assert await _all_of(backend) == _without(silent, before)

    async def test_silent_ones_that_are_not_named_stay(self) -> None:
        async with self.new_backend() as backend:
            silent, batch = _some()
            await backend.write(batch)
            before = await _all_of(backend)
            one = min(silent)
            assert list(await _delete(backend, [one], silent)) == [one]
            assert await _all_of(backend) == _without({one}, before)

    async def test_what_runs_stays(self) -> None:
        async with self.new_backend() as backend:
            spoke = NOON - timedelta(minutes=10)
            running = Trajectory(id=UUID(int=1), created_at=_OLD, status="running")
            ended = Trajectory(id=UUID(int=2), created_at=_OLD, ended_at=_OLD, status="completed")
            turns = [a_turn(each.id, created_at=spoke) for each in (running, ended)]
            await backend.write(Batch(starts=(running, ended), turns=tuple(turns)))
            pruned = await prune(backend, None, spoke + _TICK, now=NOON)
            assert pruned.trajectories == 1
            assert await _all_of(backend) == ([running], turns[:1])

    async def test_what_was_deleted_can_be_written_anew(self) -> None:
        async with self.new_backend() as backend:
            silent, batch = _some()
            await backend.write(batch)
            before = await _all_of(backend)
            await prune(backend, None, _LIMIT, now=NOON)
            turn = a_turn(min(silent), 1, prompt="another", created_at=NOON)
            await backend.write(Batch(turns=(turn,)))
            starts, turns = await _all_of(backend)
            assert turn in turns
            assert len(turns) == len(_without(silent, before)[1]) + 1
            assert turn.trajectory_id in {each.id for each in starts}

    async def test_space_can_be_given_back_at_any_time(self) -> None:
        async with self.new_backend() as backend:
            _, batch = _some()
            for _ in range(2):
                if isinstance(backend, Pruning):
                    assert await backend.give_back_space() >= 0
                await backend.write(batch)
            starts, turns = await _all_of(backend)
            assert (len(starts), len(turns)) == (len(batch.starts), len(batch.turns))


async def _delete(backend: StorageBackend, ids: list[UUID], silent: set[UUID]) -> list[UUID]:
    """Delete those that are silent; one that is not `Pruning` must be told which they are."""
    if isinstance(backend, Pruning):
        return list(await backend.delete_silent(ids, _LIMIT))
    found = [id_ for id_ in ids if id_ in silent]
    assert await backend.delete_trajectories(found) == len(found)
    return found


_All = tuple[list[Trajectory], list[Turn]]


async def _all_of(backend: StorageBackend) -> _All:
    return await trajectories_of(backend), await turns_of(backend)


def _without(ids: set[UUID], stored: _All) -> _All:
    starts, turns = stored
    return (
        [each for each in starts if each.id not in ids],
        [turn for turn in turns if turn.trajectory_id not in ids],
    )
