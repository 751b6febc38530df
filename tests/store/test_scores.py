"""Scores: from counts in a database, in memory, or by reading, the same numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from trajectory import (
    Batch,
    Question,
    StorageBackend,
    Trajectory,
    TrajectoryQuery,
    TrajectoryStore,
    Turn,
    TurnQuery,
    Violation,
)
from trajectory.backends.sql import SqlBackend
from trajectory.ids import uuid7
from trajectory.scoring import PPPWeights, score_turns
from trajectory.testing.samples import NOON


@asynccontextmanager
async def aclosing_backend(backend: SqlBackend) -> AsyncIterator[SqlBackend]:
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


WORKED = {
    "nothing": ([], [], 0.05, 0.05),
    "one low question": (["low"], [], 0.05, 0.05),
    "two high questions": (["high", "high"], [], -1.0, 0.05),
    "major and critical": ([], ["major", "critical"], 0.05, -0.08),
    "all": (["low", "medium", "high"], ["minor", "minor", "critical"], -0.6, -0.07),
}


def turn_of(
    id_: UUID, levels: list[str], severities: list[str], source: str = "agent", number: int = 1
) -> Turn:
    return Turn(
        trajectory_id=id_,
        turn_number=number,
        prompt="",
        response="",
        questions=[Question(question_text="?", effort_level=e, source=source) for e in levels],
        violations=[
            Violation(preference_name="concise", severity=s, source=source) for s in severities
        ],
    )


@pytest.mark.parametrize("case", WORKED)
async def test_the_worked_cases(backend: StorageBackend, case: str) -> None:
    levels, severities, proact, pers = WORKED[case]
    run = Trajectory()
    await backend.write(Batch(starts=(run,), turns=(turn_of(run.id, levels, severities),)))
    async with TrajectoryStore(backend) as store:
        score = await store.score(run.id)
        assert score is not None
        assert (score.r_proact, score.r_pers) == (proact, pers)
        assert score.total == pytest.approx(proact + pers)
        assert score == score_turns([turn async for turn in store.turns()])


async def test_one_source_is_scored_and_named(backend: StorageBackend) -> None:
    run = Trajectory()
    turns = (
        turn_of(run.id, ["high"], ["minor"], "judge:x", 1),
        turn_of(run.id, ["medium"], [], "agent", 2),
    )
    await backend.write(Batch(starts=(run,), turns=turns))
    async with TrajectoryStore(backend) as store:
        judged = await store.score(run.id, source="judge:x")
        assert judged is not None
        assert (judged.r_proact, judged.r_pers, judged.source) == (-0.5, -0.01, "judge:x")
        own = await store.score(run.id)
        assert own is not None
        assert (own.r_proact, own.r_pers, own.source) == (-0.1, 0.05, "agent")
        nobody = await store.score(run.id, source="nobody")
        assert nobody is not None
        assert nobody.total == 0.1


async def test_what_is_unknown_has_no_score(backend: StorageBackend) -> None:
    async with TrajectoryStore(backend) as store:
        assert await store.score(uuid7()) is None
        assert [each async for each in store.scores()] == []


async def test_weights_of_single_preferences_count(backend: StorageBackend) -> None:
    run = Trajectory()
    await backend.write(Batch(starts=(run,), turns=(turn_of(run.id, [], ["major"]),)))
    weights = PPPWeights(preferences={"concise": 2.0})
    async with TrajectoryStore(backend) as store:
        score = await store.score(run.id, weights=weights)
        assert score is not None
        assert (score.r_pers, score.weights) == (-0.06, weights)


async def test_many_come_in_the_order_of_the_query(
    backend: StorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trajectory.store._SCORED_AT_ONCE", 3)
    runs = [
        Trajectory(created_at=NOON + timedelta(seconds=n), agent_name="ab"[n % 2]) for n in range(8)
    ]
    turns = tuple(turn_of(run.id, ["medium"] * n, []) for n, run in enumerate(runs) if n % 3)
    await backend.write(Batch(starts=tuple(runs), turns=turns))
    async with TrajectoryStore(backend) as store:
        found = [each async for each in store.scores(TrajectoryQuery(descending=True))]
        assert [each.trajectory_id for each in found] == [run.id for run in runs[::-1]]
        for each in found:
            query = TurnQuery(ids=(each.trajectory_id,))
            assert each.score == score_turns([turn async for turn in store.turns(query)])
        some = [each async for each in store.scores(TrajectoryQuery(agent_name="b", limit=2))]
        assert [each.trajectory_id for each in some] == [runs[1].id, runs[3].id]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_score_takes_a_statement_of_counts_however_long_the_run(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path / "t.db") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    run = Trajectory()
    turns = tuple(turn_of(run.id, ["low", "high"], ["minor"], number=n) for n in range(100))
    async with aclosing_backend(SqlBackend(url)) as backend:
        await backend.write(Batch(starts=(run,), turns=turns))
        said: list[str] = []
        sa.event.listen(
            backend._transport.readers.sync_engine,
            "before_cursor_execute",
            lambda _c, _k, text, *_rest: said.append(text),
        )
        async with TrajectoryStore(backend) as store:
            await store.score(run.id)
            assert sum(text.startswith("SELECT") for text in said) == 2  # itself, and its counts
            said.clear()
            assert (await store.totals([run.id]))[run.id].turns == 100
            assert sum(text.startswith("SELECT") for text in said) == 1
