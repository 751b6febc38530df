"""How much is stored: counted by the backend where it can, by reading all where it can't."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from trajectory.backend import StorageBackend
from trajectory.query import TrajectoryQuery, TurnQuery


class StoreStatistics(NamedTuple):
    """How much is stored. Questions and violations are those of all sources."""

    trajectories: int
    turns: int
    questions: int
    violations: int


@runtime_checkable
class Counting(Protocol):
    """What a backend may have beside its contract: counts, without reading all."""

    async def count(self) -> StoreStatistics:
        """Count what is stored, in one state of the database."""
        ...


async def counts_of(backend: StorageBackend) -> StoreStatistics:
    """Count what is stored. Where the backend is not `Counting`, everything is read for it."""
    if isinstance(backend, Counting):
        return await backend.count()
    trajectories = turns = questions = violations = 0
    async for _ in backend.read_trajectories(TrajectoryQuery()):
        trajectories += 1
    async for turn in backend.read_turns(TurnQuery()):
        turns += 1
        questions += len(turn.questions)
        violations += len(turn.violations)
    return StoreStatistics(trajectories, turns, questions, violations)
