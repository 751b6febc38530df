"""Many tasks at once, on every database: all stored once, in order, and the numbers agree."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from trajectory import TrajectoryLogger, TrajectoryQuery, TurnQuery

TASKS = 20
TURNS = 500


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return str(tmp_path / "t.db")
    url: str = request.getfixturevalue("postgres_url")
    return url


async def test_twenty_tasks_log_five_hundred_turns_each(database: str) -> None:
    """Invariant: each turn is stored once, its trajectory's order is kept, statistics add up."""
    async with TrajectoryLogger(database) as logger:

        async def agent(index: int) -> None:
            async with logger.trajectory(run_id=str(index)) as run:
                for number in range(1, TURNS + 1):
                    await run.log_turn(f"prompt {number}", "r", token_count=number)

        await asyncio.gather(*(agent(index) for index in range(TASKS)))
        report = await logger.flush()
        got = logger.statistics()
        read: dict[object, list[tuple[int, str, int | None]]] = {}
        async for turn in logger.backend.read_turns(TurnQuery()):
            read.setdefault(turn.trajectory_id, []).append(
                (turn.turn_number, turn.prompt, turn.token_count)
            )
        runs = [t async for t in logger.backend.read_trajectories(TrajectoryQuery())]
    assert report == (TASKS * TURNS, 0, 0)
    assert (got.accepted, got.stored, got.buffered, got.dropped) == (10_000, 10_000, 0, 0)
    assert (got.others_accepted, got.others_stored) == (2 * TASKS, 2 * TASKS)
    assert got.batches < 10_000 / 10
    expected = [(number, f"prompt {number}", number) for number in range(1, TURNS + 1)]
    assert list(read.values()) == [expected] * TASKS
    assert {t.run_id for t in runs} == {str(index) for index in range(TASKS)}
    assert {t.status for t in runs} == {"completed"}
