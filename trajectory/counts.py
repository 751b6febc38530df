"""How much is stored: counted by the backend where it can, by reading where it can't."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable
from uuid import UUID

from trajectory.backend import StorageBackend
from trajectory.models import Turn
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.scoring.score import Counts, FindingCounter


class StoreStatistics(NamedTuple):
    """How much is stored. Questions and violations are those of all sources."""

    trajectories: int
    turns: int
    questions: int
    violations: int


class Totals(NamedTuple):
    """How much a trajectory has."""

    turns: int = 0
    tokens: int | None = None
    """Of all its turns that say how many they took; None where none does."""
    last_turn_at: datetime | None = None
    """When the newest of its turns was created."""

    def with_turn(self, turn: Turn) -> Totals:
        """Count a turn more."""
        tokens = tokens_of(turn)
        newest = self.last_turn_at
        return Totals(
            self.turns + 1,
            self.tokens if tokens is None else tokens + (self.tokens or 0),
            turn.created_at if newest is None else max(newest, turn.created_at),
        )


def tokens_of(turn: Turn) -> int | None:
    """Give a turn's tokens: the total that it says, else what went in and out; None if unknown."""
    if turn.token_count is not None:
        return turn.token_count
    if turn.input_tokens is None and turn.output_tokens is None:
        return None
    return (turn.input_tokens or 0) + (turn.output_tokens or 0)


@runtime_checkable
class Counting(Protocol):
    """What a backend may have beside its contract: counts, without reading all."""

    async def count(self) -> StoreStatistics:
        """Count what is stored, in one state of the database."""
        ...

    async def count_turns(self, ids: Sequence[UUID], /) -> Mapping[UUID, Totals]:
        """Count what each of some trajectories has; one without turns may be left out."""
        ...

    async def count_findings(self, ids: Sequence[UUID], source: str, /) -> Mapping[UUID, Counts]:
        """Count the findings of one source in each of some trajectories.

        A trajectory without any may be left out. The counts tell of preferences by name.
        """
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


async def totals_of(backend: StorageBackend, ids: Sequence[UUID]) -> dict[UUID, Totals]:
    """Count what each of some trajectories has, those without turns too."""
    totals = dict.fromkeys(ids, Totals())
    if isinstance(backend, Counting):
        return totals | dict(await backend.count_turns(ids))
    async for turn in backend.read_turns(TurnQuery(ids=tuple(ids))):
        totals[turn.trajectory_id] = totals[turn.trajectory_id].with_turn(turn)
    return totals


async def findings_of(
    backend: StorageBackend, ids: Sequence[UUID], source: str
) -> dict[UUID, Counts]:
    """Count the findings of one source in each of some trajectories, those without any too."""
    if isinstance(backend, Counting):
        return dict.fromkeys(ids, Counts()) | dict(await backend.count_findings(ids, source))
    counters = {id_: FindingCounter(source) for id_ in ids}
    async for turn in backend.read_turns(TurnQuery(ids=tuple(ids))):
        counters[turn.trajectory_id].add(turn)
    return {id_: counter.counts() for id_, counter in counters.items()}
