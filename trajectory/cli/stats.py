"""`trajectory stats`: turns and tokens over time, how long they took, what was asked and broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any
from uuid import UUID

from trajectory.cli import lines, screen
from trajectory.cli.filters import Filters, Source, filtered
from trajectory.cli.measures import Bar, Percentiles, Ranking, Timeline
from trajectory.cli.options import DEFAULT_DB, Db, Json
from trajectory.cli.progress import watched
from trajectory.cli.running import run
from trajectory.counts import tokens_of
from trajectory.models import AGENT, EffortLevel, Severity, Trajectory, Turn, turn_bytes
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.store import TrajectoryStore
from trajectory.words import counted

_SHARES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
_AT_ONCE = 500
_TOP = 10
_WIDTH = 30
_UNKNOWN = "unknown"


class Statistics:
    """What is told of some turns and their trajectories. Takes little memory for any number."""

    def __init__(self, source: str) -> None:
        self._source = source
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
            if question.source == self._source:
                self.efforts[question.effort_level] += 1
        for violation in turn.violations:
            if violation.source == self._source:
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
                **{name: self.latency.of(share) for name, share in _SHARES},
                "exact": self.latency.is_exact,
            },
            "source": self._source,
            "questions": {each.value: self.efforts[each] for each in EffortLevel},
            "violations": {each.value: self.severities[each] for each in Severity},
            "tool_calls": self.tool_calls,
            "tool_errors": self.tool_errors,
            "agents": [{"name": n, "turns": c} for n, c in self.agents.top(_TOP)],
            "tools": [{"name": n, "calls": c} for n, c in self.tools.top(_TOP)],
            "names_exact": self.agents.is_exact and self.tools.is_exact,
        }


@filtered
def stats(
    db: Db = DEFAULT_DB, *, source: Source = AGENT, chosen: Filters, json: Json = False
) -> None:
    """Show turns and tokens over time, latencies, questions, violations, agents and tools.

    Filters choose turns; --since and --until look at when the turn was created. A trajectory
    counts if one of its turns is among them, or if nothing is asked of turns. Reads all that is
    chosen. Percentiles are exact up to 10,000 turns, then within one per cent.

    Exit codes: 0 done; 1 the database failed; 2 wrong use; 130 interrupted.
    """
    run(_stats(db, chosen, source, json=json))


async def _stats(db: str, chosen: Filters, source: str, *, json: bool) -> None:
    statistics = Statistics(source)
    parents, wanted = chosen.parents(), chosen.own_turns()
    with watched("counting", None) as progress:
        size = 0
        async with TrajectoryStore(db) as store, aclosing(_chunks(store, parents)) as chunks:
            async for chunk in chunks:
                size += await _count(store, chunk, wanted, statistics)
                progress(size, statistics.turns)
    if json:
        screen.answer(statistics.as_json())
    else:
        _show(statistics, source)


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


def _show(statistics: Statistics, source: str) -> None:
    page = screen.Page()
    by_count = sorted(statistics.statuses.items(), key=lambda pair: (-pair[1], pair[0]))
    standing = ", ".join(f"{count:,} {name}" for name, count in by_count)
    failed = f" ({statistics.failed:,} with an error)" if statistics.failed else ""
    page.line(
        f"{counted(statistics.trajectories, 'trajectory', 'trajectories')}"
        + (f" ({standing})" if standing else "")
    )
    tokens = "" if statistics.tokens is None else f", {counted(statistics.tokens, 'token')}"
    page.line(f"{counted(statistics.turns, 'turn')}{failed}{tokens}")
    if not statistics.turns:
        return
    unit, bars = statistics.timeline.bars()
    page.line()
    page.line(f"by {unit} (UTC)", "bold")
    for line in _drawn(bars):
        page.line(line)
    page.line()
    latency = statistics.latency
    told = [
        f"{name} {lines.milliseconds(value)}"
        for name, share in _SHARES
        if (value := latency.of(share)) is not None
    ]
    if told:
        about = "" if latency.is_exact else " (within 1 %)"
        page.line(f"latency of {counted(latency.count, 'turn')}: {', '.join(told)}{about}")
    for what, kinds, counts in (
        ("questions", EffortLevel, statistics.efforts),
        ("violations", Severity, statistics.severities),
    ):
        parts = ", ".join(f"{counts[each]:,} {each}" for each in kinds)
        page.line(f"{what} ({lines.label(source)}): {parts}")
    calls = counted(statistics.tool_calls, "tool call")
    page.line(f"{calls}, {statistics.tool_errors:,} failed")
    for head, figure, ranking in (
        ("agent", "turns", statistics.agents),
        ("tool", "calls", statistics.tools),
    ):
        rows = [(lines.label(name, 40), f"{count:,}") for name, count in ranking.top(_TOP)]
        if rows:
            page.line()
            first, *rest = lines.table((head, figure), rows, frozenset({figure}))
            page.line(first, "bold")
            for line in rest:
                page.line(line)


def _drawn(bars: Sequence[Bar]) -> list[str]:
    most = max(bar.turns for bar in bars)
    rows = []
    for bar in bars:
        # What is there is seen, however small.
        size = max(1, round(_WIDTH * bar.turns / most)) if bar.turns else 0
        rows.append((bar.start, "#" * size, f"{bar.turns:,}", f"{bar.tokens:,}"))
    return lines.table(("", "", "turns", "tokens"), rows, frozenset({"turns", "tokens"}))
