"""What many turns come to: over time, how long they took, what was asked, called and broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from trajectory.counts import tokens_of
from trajectory.measures import Percentiles, Ranking, Timeline
from trajectory.models import EffortLevel, Severity, Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.sizes import turn_bytes
from trajectory.store import TrajectoryScore, TrajectoryStore

SHARES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
"""Percentiles that are told, by name."""

TOP = 10
"""So many names are told."""

COUNTS = (*EffortLevel, *Severity)
"""What a score counts, by name."""

RESULTS = ("r_proact", "r_pers", "total")
"""What a score comes to, by name."""

_AT_ONCE = 500
_UNKNOWN = "unknown"


class Statistics:
    """What is told of some turns and their trajectories. Takes little memory for any number."""

    def __init__(self, source: str) -> None:
        self.source = source
        """Whose questions and violations count."""
        self.trajectories = 0
        self.turns = 0
        self.tokens: int | None = None
        """Of all turns that say how many they took; None where none does."""
        self.timeline = Timeline()
        self.latency = Percentiles()
        self.statuses: Counter[str] = Counter()
        self.efforts: Counter[str] = Counter()
        self.severities: Counter[str] = Counter()
        self.agents = Ranking()
        self.tools = Ranking()
        self.tool_calls = 0
        self.tool_errors = 0
        self.failed = 0

    def begin(self, trajectory: Trajectory) -> None:
        """Count a trajectory."""
        self.trajectories += 1
        self.statuses[trajectory.status or _UNKNOWN] += 1

    def add(self, turn: Turn, agent_name: str | None) -> None:
        """Count a turn."""
        tokens = tokens_of(turn)
        self.turns += 1
        if tokens is not None:
            self.tokens = tokens + (self.tokens or 0)
        self.timeline.add(turn.created_at, tokens or 0)
        if turn.latency_ms is not None:
            self.latency.add(turn.latency_ms)
        self.failed += turn.error is not None
        if agent_name is not None:
            self.agents.add(agent_name)
        for call in turn.tool_calls:
            self.tools.add(call.tool_name)
            self.tool_calls += 1
            self.tool_errors += call.is_error is True
        for question in turn.questions:
            if question.source == self.source:
                self.efforts[question.effort_level] += 1
        for violation in turn.violations:
            if violation.source == self.source:
                self.severities[violation.severity] += 1

    def as_json(self) -> dict[str, Any]:
        """Give all by name."""
        unit, bars = self.timeline.bars()
        return {
            "trajectories": self.trajectories,
            "statuses": dict(sorted(self.statuses.items())),
            "turns": self.turns,
            "failed_turns": self.failed,
            "tokens": self.tokens,
            "over_time": {"unit": unit, "bars": [bar._asdict() for bar in bars]},
            "latency_ms": {
                "turns": self.latency.count,
                **{name: self.latency.of(share) for name, share in SHARES},
                "exact": self.latency.is_exact,
            },
            "source": self.source,
            "questions": {each.value: self.efforts[each] for each in EffortLevel},
            "violations": {each.value: self.severities[each] for each in Severity},
            "tool_calls": self.tool_calls,
            "tool_errors": self.tool_errors,
            "agents": [{"name": n, "turns": c} for n, c in self.agents.top(TOP)],
            "tools": [{"name": n, "calls": c} for n, c in self.tools.top(TOP)],
            "names_exact": self.agents.is_exact and self.tools.is_exact,
        }


async def figures_of(
    store: TrajectoryStore,
    parents: TrajectoryQuery,
    wanted: TurnQuery,
    source: str,
    progress: Callable[[int, int], object] = lambda _size, _turns: None,
) -> Statistics:
    """Count the turns that are wanted of the trajectories that are, and these.

    A trajectory counts if one of its turns does, or if nothing is asked of turns. `source` says
    whose findings count. `progress` is told about how many bytes and how many turns were read.
    """
    statistics = Statistics(source)
    size = 0
    async with aclosing(_chunks(store, parents)) as chunks:
        async for chunk in chunks:
            size += await _count(store, chunk, wanted, statistics)
            progress(size, statistics.turns)
    return statistics


async def _chunks(
    store: TrajectoryStore, parents: TrajectoryQuery
) -> AsyncGenerator[list[Trajectory], None]:
    chunk: list[Trajectory] = []
    async with aclosing(store.trajectories(parents)) as found:
        async for each in found:
            chunk.append(each)
            if len(chunk) == _AT_ONCE:
                yield chunk
                chunk = []
    yield chunk


async def _count(
    store: TrajectoryStore, chunk: list[Trajectory], wanted: TurnQuery, statistics: Statistics
) -> int:
    """Count the turns of some trajectories that are wanted; give about how many bytes they have."""
    size = 0
    by_id = {each.id: each for each in chunk}
    begun: set[UUID] = set()
    query = wanted.model_copy(update={"ids": tuple(by_id)})
    async with aclosing(store.turns(query)) as turns:
        async for turn in turns:
            trajectory = by_id[turn.trajectory_id]
            if trajectory.id not in begun:
                begun.add(trajectory.id)
                statistics.begin(trajectory)
            statistics.add(turn, trajectory.agent_name)
            size += turn_bytes(turn)
    if wanted == TurnQuery():
        for trajectory in chunk:
            if trajectory.id not in begun:
                statistics.begin(trajectory)
    return size


@dataclass(slots=True)
class Sums:
    """The counts of all trajectories together, and the means of their scores."""

    number: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    scores: dict[str, float] = field(default_factory=lambda: dict.fromkeys(RESULTS, 0.0))

    def add(self, scored: TrajectoryScore) -> None:
        """Add one."""
        self.number += 1
        for name in COUNTS:
            self.counts[name] += getattr(scored.score.counts, name)
        for name in RESULTS:
            self.scores[name] += getattr(scored.score, name)

    @property
    def means(self) -> dict[str, float] | None:
        """The means; None of nothing."""
        if not self.number:
            return None
        return {name: round(sum_ / self.number, 6) for name, sum_ in self.scores.items()}
