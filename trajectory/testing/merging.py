"""The part of the suite about trajectories: starts and ends merge into one row."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest

from trajectory.backend import Batch
from trajectory.ids import uuid7
from trajectory.models import Trajectory, TrajectoryEnd, TrajectoryStatus
from trajectory.testing.samples import (
    NOON,
    Suite,
    a_turn,
    full_trajectory,
    full_turn,
    trajectories_of,
    turns_of,
)


class MergingConformance(Suite):
    """Starts, ends and bare parents."""

    async def test_starts_and_ends_give_the_same_row_in_any_order(self) -> None:
        def told(id_: UUID) -> list[Batch]:
            start = Trajectory(id=id_, run_id="r", created_at=NOON)
            known = Trajectory(id=id_, user_id="u", created_at=NOON - timedelta(1), status=None)
            end = TrajectoryEnd(
                trajectory_id=id_, status="completed", ended_at=NOON + timedelta(1), reward=1.0
            )
            early = end.replace(ended_at=NOON)
            return [*(Batch(starts=(one,)) for one in (start, known)), Batch(ends=(end, early))]

        async with self.new_backend() as backend:
            # Each part once, and the first and the last once more.
            for order in sorted(set(permutations([0, 1, 2, 0, 2]))):
                id_ = uuid7()
                parts = told(id_)
                for part in order:
                    await backend.write(parts[part])
                [read] = await trajectories_of(backend, ids=(id_,))
                assert read == Trajectory(
                    id=id_,
                    run_id="r",
                    user_id="u",
                    status="completed",
                    reward=1.0,
                    created_at=NOON - timedelta(1),
                    ended_at=NOON + timedelta(1),
                )

    async def test_one_batch_may_tell_of_a_trajectory_many_times(self) -> None:
        async with self.new_backend() as backend:
            id_ = uuid7()
            starts = tuple(
                Trajectory(id=id_, created_at=NOON + timedelta(hours=hour), **fields)
                for hour, fields in ((0, {"run_id": "r"}), (-1, {"tags": ["x"]}), (1, {}))
            )
            ends = tuple(
                TrajectoryEnd(trajectory_id=id_, status="failed", ended_at=instant, error="e")
                for instant in (NOON + timedelta(2), NOON)
            )
            for _ in range(2):
                await backend.write(Batch(starts=starts, turns=(a_turn(id_),), ends=ends))
                assert await trajectories_of(backend) == [
                    Trajectory(
                        id=id_,
                        run_id="r",
                        tags=["x"],
                        status="failed",
                        error="e",
                        created_at=NOON - timedelta(hours=1),
                        ended_at=NOON + timedelta(2),
                    )
                ]

    async def test_a_start_and_an_end_in_one_batch(self) -> None:
        async with self.new_backend() as backend:
            start = Trajectory(run_id="r", created_at=NOON)
            sent = a_turn(start.id)
            end = TrajectoryEnd(trajectory_id=start.id, status="failed", ended_at=NOON, error="e")
            await backend.write(Batch(starts=(start,), turns=(sent,), ends=(end,)))
            [read] = await trajectories_of(backend)
            assert (read.run_id, read.status, read.error) == ("r", "failed", "e")

    async def test_running_gives_way_and_comes_not_back(self) -> None:
        async with self.new_backend() as backend:
            start = Trajectory(created_at=NOON)
            end = TrajectoryEnd(trajectory_id=start.id, status="cancelled", ended_at=NOON)
            await backend.write(Batch(starts=(start,), ends=(end,)))
            await backend.write(Batch(starts=(start,)))
            [read] = await trajectories_of(backend)
            assert read.status is TrajectoryStatus.CANCELLED

    async def test_of_two_values_the_first_stays(self) -> None:
        async with self.new_backend() as backend:
            first = Trajectory(run_id="first", created_at=NOON)
            await backend.write(Batch(starts=(first,)))
            second = Trajectory(id=first.id, run_id="second", user_id="u", created_at=NOON)
            await backend.write(Batch(starts=(second,)))
            [read] = await trajectories_of(backend)
            assert (read.run_id, read.user_id) == ("first", "u")

    async def test_a_value_fills_a_gap_and_absence_takes_nothing_away(self) -> None:
        async with self.new_backend() as backend:
            known = full_trajectory()
            bare = Trajectory(id=known.id, status=None, created_at=known.created_at)
            for part in (bare, known, bare):
                await backend.write(Batch(starts=(part,)))
            assert await trajectories_of(backend) == [known]

    async def test_a_turn_without_a_start_gets_a_bare_parent(self) -> None:
        async with self.new_backend() as backend:
            sent = a_turn()
            await backend.write(Batch(turns=(sent,)))
            bare = Trajectory(id=sent.trajectory_id, status=None, created_at=sent.created_at)
            assert await trajectories_of(backend) == [bare]
            start = Trajectory(
                id=sent.trajectory_id, run_id="late", created_at=NOON - timedelta(hours=1)
            )
            await backend.write(Batch(starts=(start,)))
            assert await trajectories_of(backend) == [start]
            assert await turns_of(backend) == [sent]

    @pytest.mark.parametrize("count", [1, 600])
    async def test_deleting_takes_all_that_belongs_to_a_trajectory(self, count: int) -> None:
        async with self.new_backend() as backend:
            turns = tuple(a_turn() for _ in range(count))
            kept = a_turn()
            await backend.write(Batch(turns=(*turns, kept)))
            ids = [turn.trajectory_id for turn in turns]
            assert await backend.delete_trajectories([*ids, ids[0], uuid7()]) == count
            assert await backend.delete_trajectories(ids) == 0
            assert await backend.delete_trajectories([]) == 0
            assert await turns_of(backend) == [kept]
            assert [t.id for t in await trajectories_of(backend)] == [kept.trajectory_id]
            await backend.write(Batch(turns=turns))
            assert len(await turns_of(backend)) == count + 1

    async def test_nothing_of_what_was_deleted_comes_back(self) -> None:
        none: dict[str, Any] = dict.fromkeys(
            ("questions", "violations", "messages", "tool_calls"), ()
        )
        async with self.new_backend() as backend:
            full, id_ = full_trajectory(), uuid7()
            await backend.write(Batch(starts=(full,), turns=(full_turn(full.id), full_turn(id_))))
            assert await backend.delete_trajectories([full.id, id_]) == 2
            turns = [full_turn(each).replace(**none) for each in sorted([full.id, id_])]
            await backend.write(Batch(turns=tuple(turns)))
            assert await turns_of(backend) == turns
            assert {t.status for t in await trajectories_of(backend)} == {None}
