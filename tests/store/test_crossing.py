"""Filters of turns by their trajectory, and of trajectories by their turns."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from trajectory import (
    Batch,
    Capabilities,
    InvalidQueryError,
    Trajectory,
    TrajectoryQuery,
    TrajectoryStore,
    Turn,
    TurnQuery,
    open_backend,
)
from trajectory.ids import uuid7
from trajectory.query import CROSS_FILTERS, FILTERS
from trajectory.testing import WrappedBackend
from trajectory.testing.samples import NOON, a_turn


class Choosy(WrappedBackend):
    """Applies the filters that it names, and notes what it is asked."""

    def __init__(self, filters: frozenset[str]) -> None:
        super().__init__()
        self._filters = filters
        self.asked: list[TurnQuery | TrajectoryQuery] = []

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(filters=self._filters)

    def read_trajectories(self, query: TrajectoryQuery, /) -> AsyncIterator[Trajectory]:
        self._note(query, query.turn)
        return super().read_trajectories(query)

    def read_turns(self, query: TurnQuery, /) -> AsyncIterator[Turn]:
        self._note(query, query.trajectory)
        return super().read_turns(query)

    def _note(self, *queries: TurnQuery | TrajectoryQuery | None) -> None:
        for query in queries:
            assert query is None or query.filters <= self._filters, "asked for more than it can"
        self.asked.extend(query for query in queries[:1] if query is not None)


ALL = FILTERS | CROSS_FILTERS


@pytest.mark.parametrize(
    "filters",
    [
        frozenset[str](),
        CROSS_FILTERS,
        ALL - {"metadata"},
        ALL - {"source", "agent_name"},
        ALL - {"trajectory", "turn"},
        ALL,
    ],
    ids=["nothing", "cross", "sql", "some", "plain", "all"],
)
async def test_a_store_applies_what_a_backend_does_not(filters: frozenset[str]) -> None:
    backend = Choosy(filters)
    runs = [
        Trajectory(id=UUID(int=n), created_at=NOON, agent_name="ab"[n % 2], metadata={"n": n % 3})
        for n in range(6)
    ]
    turns = [
        a_turn(run.id, n, prompt="xy"[n % 2], metadata={"n": n}, violations=_violated(n))
        for run in runs[1:]
        for n in range(run.id.int)
    ]
    await backend.write(Batch(starts=tuple(runs), turns=tuple(turns)))
    async with TrajectoryStore(backend) as store:

        async def having(**inner: Any) -> list[int]:
            query = TrajectoryQuery(turn=TurnQuery(**inner), limit=3)
            return [each.id.int async for each in store.trajectories(query)]

        async def turns_of(**inner: Any) -> list[tuple[int, int]]:
            query = TurnQuery(trajectory=TrajectoryQuery(**inner), text="x", limit=3)
            return [(t.trajectory_id.int, t.turn_number) async for t in store.turns(query)]

        assert await having(text="y") == [2, 3, 4]
        assert await having(metadata={"n": 2}) == [3, 4, 5]
        assert await having(metadata={"n": 2}, text="y") == []
        assert await having(severity="major", source="judge:x") == [2, 3, 4]
        assert await having(severity="minor", source="judge:x") == []
        assert await turns_of(agent_name="a") == [(2, 0), (4, 0), (4, 2)]
        assert await turns_of(metadata={"n": 2}) == [(2, 0), (5, 0), (5, 2)]
        assert await turns_of(metadata={"n": 2}, agent_name="a") == [(2, 0)]


def _violated(n: int) -> list[dict[str, Any]]:
    return [
        {"preference_name": "p", "severity": "minor"},
        *([{"preference_name": "p", "severity": "major", "source": "judge:x"}] if n % 2 else []),
    ]


async def test_a_trajectory_is_looked_up_once_for_all_its_turns() -> None:
    backend = Choosy(frozenset())
    turns = [a_turn(UUID(int=id_), n) for id_ in (1, 2) for n in range(50)]
    await backend.write(Batch(turns=tuple(turns)))
    async with TrajectoryStore(backend) as store:
        query = TurnQuery(trajectory=TrajectoryQuery(agent_name="nobody"))
        assert [turn async for turn in store.turns(query)] == []
    assert len(backend.asked) == 3
    assert [each.ids for each in backend.asked[1:]] == [(UUID(int=1),), (UUID(int=2),)]


@pytest.mark.parametrize(
    "inner",
    [
        {"limit": 1},
        {"limit": 0},
        {"descending": True},
        {"ids": [UUID(int=1)]},
        {"ids": []},
    ],
    ids=str,
)
def test_a_filter_on_the_other_is_filters_alone(inner: dict[str, Any]) -> None:
    [name] = inner
    with pytest.raises(InvalidQueryError, match=rf"TurnQuery\.trajectory: .*leave its {name} out"):
        TurnQuery(trajectory=TrajectoryQuery(**inner))
    with pytest.raises(InvalidQueryError, match=rf"TrajectoryQuery\.turn: .*leave its {name} out"):
        TrajectoryQuery(turn=TurnQuery(**inner))


def test_what_makes_no_sense_is_refused() -> None:
    for made in (
        lambda: TurnQuery(trajectory=TrajectoryQuery(after=(NOON, UUID(int=1)))),
        lambda: TrajectoryQuery(turn=TurnQuery(after=(UUID(int=1), 1))),
        lambda: TrajectoryQuery(turn=TurnQuery(trajectory=TrajectoryQuery())),
        lambda: TurnQuery(trajectory=TrajectoryQuery(turn=TurnQuery())),
        lambda: TurnQuery(trajectory=TurnQuery()),
        lambda: TrajectoryQuery(turn="needle"),
    ):
        with pytest.raises(InvalidQueryError) as caught:
            made()
        assert "needle" not in str(caught.value)
    assert TurnQuery(trajectory=TrajectoryQuery()).filters == {"trajectory"}
    now = datetime.now(UTC)
    assert TrajectoryQuery(turn=TurnQuery(since=now, until=now)).filters == {"turn"}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_database_refuses_what_it_would_not_filter_inside(
    kind: str, tmp_path: Any, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path / "t.db") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    backend = open_backend(url)
    await backend.open()
    with pytest.raises(InvalidQueryError, match=r"metadata.*TrajectoryStore"):
        query = TurnQuery(trajectory=TrajectoryQuery(metadata={"a": 1}))
        [turn async for turn in backend.read_turns(query)]
    await backend.close()


async def test_looking_up_takes_no_more_memory_for_more(tmp_path: Any) -> None:
    """Invariant: what a store applies itself is read in a few pages' memory, and no list of ids."""
    backend = open_backend(tmp_path / "t.db")
    await backend.open()
    text = "r" * 7000
    for _ in range(40):
        run = Trajectory(id=uuid7(), metadata={"k": 1})
        turns = tuple(a_turn(run.id, n, response=text) for n in range(100))
        await backend.write(Batch(starts=(run,), turns=turns))
    async with TrajectoryStore(backend) as store:
        query = TurnQuery(trajectory=TrajectoryQuery(metadata={"k": 1}))
        tracemalloc.start()
        try:
            read = [turn.turn_number async for turn in store.turns(query)]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    await backend.close()
    assert len(read) == 4000
    assert peak < 14_000_000, peak  # the texts alone are 28 MB
