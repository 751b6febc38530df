"""`trajectory stats`: turns and tokens over time, how long they took, what was asked and broken."""

from __future__ import annotations

from collections.abc import Sequence

from trajectory.cli import lines, screen
from trajectory.cli.filters import Filters, Source, filtered
from trajectory.cli.options import DEFAULT_DB, Db, Json
from trajectory.cli.progress import watched
from trajectory.cli.running import run
from trajectory.figures import SHARES, TOP, Statistics, figures_of
from trajectory.measures import Bar
from trajectory.models import AGENT, EffortLevel, Severity
from trajectory.store import TrajectoryStore
from trajectory.words import counted

_WIDTH = 30


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
    parents, wanted = chosen.parents(), chosen.own_turns()
    with watched("counting", None) as progress:
        async with TrajectoryStore(db) as store:
            statistics = await figures_of(store, parents, wanted, source, progress)
    if json:
        screen.answer(statistics.as_json())
    else:
        _show(statistics, source)


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
        for name, share in SHARES
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
        rows = [(lines.label(name, 40), f"{count:,}") for name, count in ranking.top(TOP)]
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
