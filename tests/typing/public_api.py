"""Ordinary use of the public names: never run, only type-checked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path
from uuid import UUID

import trajectory
from trajectory import (
    Accepted,
    Dropped,
    FlushReport,
    LoggerSettings,
    Question,
    Run,
    Statistics,
    StorageBackend,
    SyncTrajectoryLogger,
    TrajectoryLogger,
    Turn,
    TurnQuery,
    Violation,
)


async def asynchronous(path: Path, backend: StorageBackend) -> None:
    async with TrajectoryLogger(path) as logger:
        async with logger.trajectory(spec_id="s", agent_name="a", run_id="r") as run:
            turn: Turn = await run.log_turn("p", "r", token_count=50, latency_ms=500)
            number: int = turn.turn_number
            outcome: Accepted | Dropped = await logger.log_turn(turn)
            await logger.log_question(
                run.id, number, Question(question_text="q", effort_level="low")
            )
            await run.log_violation(1, Violation(preference_name="tone", severity="minor"))
            current: Run | None = trajectory.current()
            await run.end("completed", reward=1.0)
        report: FlushReport = await logger.flush(timeout=1)
        pending: int = report.pending
        statistics: Statistics = logger.statistics()
        turns: AsyncIterator[Turn] = logger.backend.read_turns(TurnQuery(ids=(run.id,), limit=10))
        future: Future[Accepted | Dropped] = logger.log_turn_threadsafe(turn)
    TrajectoryLogger(backend, LoggerSettings(buffer_size=5), redact=lambda turn: turn)
    LoggerSettings.from_toml("settings.toml", buffer_size=5)
    _ = (outcome, current, pending, statistics, turns, future)


def synchronous(url: str) -> UUID:
    with SyncTrajectoryLogger(url) as logger, logger.trajectory(run_id="r") as run:
        turn: Turn = run.log_turn("p", "r")
        report: FlushReport = logger.flush()
    _ = report
    return turn.trajectory_id
