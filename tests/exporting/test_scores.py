"""What is exported and imported again has the same scores, in each kind of database."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from trajectory import Batch, Question, StorageBackend, Trajectory, TrajectoryStore, Turn, Violation
from trajectory.backends import open_backend
from trajectory.backends.memory import MemoryBackend
from trajectory.exporting import Stream, export
from trajectory.formats import ImportedTrajectory, exporter, importer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORKED: list[tuple[list[str], list[str], float, float]] = [
    ([], [], 0.05, 0.05),
    (["low"], [], 0.05, 0.05),
    (["high", "high"], [], -1.0, 0.05),
    ([], ["major", "critical"], 0.05, -0.08),
]


def worked(number: int) -> tuple[Trajectory, Turn]:
    levels, severities, _proact, _pers = WORKED[number]
    id_ = UUID(int=number + 1)
    return Trajectory(id=id_, created_at=NOW), Turn(
        trajectory_id=id_,
        turn_number=1,
        prompt="p",
        response="r",
        created_at=NOW,
        questions=[Question(question_text="?", effort_level=level) for level in levels],
        violations=[Violation(preference_name="concise", severity=each) for each in severities],
    )


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StorageBackend]:
    backend: StorageBackend = MemoryBackend()
    if request.param == "sqlite":
        backend = open_backend(tmp_path / "t.db")
    elif request.param == "postgres":
        backend = open_backend(request.getfixturevalue("postgres_url"))
    await backend.open()
    yield backend
    await backend.close()


@pytest.mark.parametrize("format_", ["jsonl", "atif"])
async def test_the_worked_cases_come_through(format_: str, empty: StorageBackend) -> None:
    source = MemoryBackend()
    runs = [worked(number) for number in range(len(WORKED))]
    await source.write(
        Batch(starts=tuple(run for run, _turn in runs), turns=tuple(turn for _run, turn in runs))
    )
    out = io.BytesIO()
    async with TrajectoryStore(source) as store:
        await export(store, exporter(format_), Stream(out))
        before = [each async for each in store.scores()]
    for found in importer(format_).read(io.BytesIO(out.getvalue()), as_of=NOW):
        assert isinstance(found, ImportedTrajectory)
        await empty.write(Batch(starts=(found.trajectory,), turns=found.turns))
    async with TrajectoryStore(empty) as store:
        after = [each async for each in store.scores()]
    assert after == before
    assert [(each.score.r_proact, each.score.r_pers) for each in after] == [
        (proact, pers) for _levels, _severities, proact, pers in WORKED
    ]
