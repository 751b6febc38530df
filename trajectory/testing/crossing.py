"""The part of the suite about filters of turns by their trajectory, and the other way round."""

from __future__ import annotations

from datetime import timedelta
from itertools import cycle, product
from typing import Any
from uuid import UUID

from trajectory.backend import Batch
from trajectory.models import Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.store import TrajectoryStore
from trajectory.testing.filtering import some_turns, trajectory_filters, turn_filters
from trajectory.testing.samples import NOON, Suite, trajectories_of, turns_of

_PAGES: tuple[dict[str, Any], ...] = ({}, {"limit": 3}, {"descending": True, "limit": 2})
_SOME = [UUID(int=n) for n in range(1, 9)]
_OUTER: tuple[dict[str, Any], ...] = ({}, {"metadata": {"k": 1}}, {"since": NOON, "ids": _SOME})
_AROUND = [{**outer, **page} for outer, page in product(_OUTER, _PAGES)]
"""What the query around a filter says, in turn: all with all would take minutes, and every third
filter is one of each kind."""
_EARLY, _LATE = NOON + timedelta(seconds=2), NOON + timedelta(seconds=4)
_TIMES: tuple[dict[str, Any], ...] = (
    *({"since": _LATE}, {"until": _EARLY}, {"since": _EARLY, "until": _LATE}),
)
"""Each leaves some in and some out, whatever the query around says."""


def _starts() -> list[Trajectory]:
    """Make the trajectories of `some_turns`, and three that have none."""
    objects: tuple[Any, ...] = ({}, {"k": 1}, {"k": 1.0})
    states = ("running", "completed", None)
    return [
        Trajectory(
            id=UUID(int=n),
            created_at=NOON + timedelta(seconds=n % 7),
            spec_id=("a", "A", "%", None)[n % 4],
            agent_name=("a", "ä")[n // 4 % 2],
            user_id=(None, "'; DROP TABLE trajectories; --")[n % 2],
            status=states[n % 3],
            metadata=objects[n // 2 % 3],
        )
        for n in range(1, 19)
    ]


def _turns() -> list[Turn]:
    """Make `some_turns`, each trajectory's at an instant of its own and a little later."""
    return [
        turn.replace(
            created_at=NOON
            + timedelta(seconds=turn.trajectory_id.int % 5, milliseconds=turn.turn_number)
        )
        for turn in some_turns()
    ]


class CrossingConformance(Suite):
    """What filters on the other must give, through a store."""

    async def test_turns_are_filtered_by_their_trajectory(self) -> None:
        async with self.new_backend() as backend, TrajectoryStore(backend) as store:
            await backend.write(Batch(starts=tuple(_starts()), turns=tuple(_turns())))
            turns, starts = await turns_of(backend), await trajectories_of(backend)
            telling = 0
            inners = sorted(  # those that find something first
                trajectory_filters(),
                key=lambda inner: not any(map(TrajectoryQuery(**inner).matches, starts)),
            )
            around_each = zip(inners[:40], cycle(_AROUND), strict=False)
            for inner, around in (*around_each, *product(_TIMES, _AROUND)):
                asked = TrajectoryQuery(**inner)
                passing = {each.id for each in starts if asked.matches(each)}
                query = TurnQuery(**around, trajectory=asked)
                wanted = [t for t in turns if t.trajectory_id in passing and query.matches(t)][
                    :: -1 if query.descending else 1
                ][: query.limit]
                found = [turn async for turn in store.turns(query)]
                assert found == wanted, (inner, around)
                telling += 0 < len(wanted) < len(turns)
            assert telling > 5

    async def test_trajectories_are_filtered_by_their_turns(self) -> None:
        async with self.new_backend() as backend, TrajectoryStore(backend) as store:
            await backend.write(Batch(starts=tuple(_starts()), turns=tuple(_turns())))
            turns, starts = await turns_of(backend), await trajectories_of(backend)
            telling = 0
            around_each = zip(turn_filters()[::3], cycle(_AROUND), strict=False)
            for inner, around in (*around_each, *product(_TIMES, _AROUND)):
                asked = TurnQuery(**inner)
                passing = {turn.trajectory_id for turn in turns if asked.matches(turn)}
                query = TrajectoryQuery(**around, turn=asked)
                wanted = [t for t in starts if t.id in passing and query.matches(t)][
                    :: -1 if query.descending else 1
                ][: query.limit]
                found = [each async for each in store.trajectories(query)]
                assert found == wanted, (inner, around)
                telling += 0 < len(wanted) < len(starts)
            assert telling > 5

    async def test_what_is_asked_of_a_turn_is_so_of_one_turn(self) -> None:
        async with self.new_backend() as backend, TrajectoryStore(backend) as store:
            turns = [
                Turn(trajectory_id=UUID(int=id_), turn_number=n, prompt=prompt, response=response)
                for id_, texts in enumerate(
                    ([("a", ""), ("", "b")], [("a", "b"), ("", "")], []), start=1
                )
                for n, (prompt, response) in enumerate(texts)
            ]
            lonely = Trajectory(id=UUID(int=3))
            await backend.write(Batch(starts=(lonely,), turns=tuple(turns)))

            async def having(**filters: Any) -> list[int]:
                query = TrajectoryQuery(turn=TurnQuery(**filters))
                return sorted([each.id.int async for each in store.trajectories(query)])

            assert await having(text="a") == [1, 2]
            assert await having() == [1, 2]  # any turn at all
            assert await having(text="c") == []
            later = turns[0].created_at.replace(year=9000)
            assert await having(since=later) == []
            assert await having(until=later, text="b") == [1, 2]
