"""What the project promises of its speed, each a ratio or a difference within one run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks import loading, writing
from benchmarks.suite import Results, Rounds, medians, quotient


class Target(NamedTuple):
    """A promise beside what was seen."""

    promise: str
    unit: str
    limit: float
    seen: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether what was seen keeps the promise."""
        return self.seen >= self.limit if self.at_least else self.seen <= self.limit

    @property
    def wanted(self) -> str:
        """The limit in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.limit:,.12g}{self.unit}"

    @property
    def found(self) -> str:
        """What was seen, in the same unit."""
        digits = 0 if abs(self.seen) >= 100 else 2 if self.unit else 3
        return f"{self.seen:,.{digits}f}{self.unit}"


class _Promise(NamedTuple):
    promise: str
    unit: str
    limit: float
    at_least: bool
    group: str
    see: Callable[[Rounds, Results], float]


def targets(rounds: Rounds) -> list[Target]:
    """Give the promises about what was measured; the others are left out."""
    results = medians(rounds)
    return [
        Target(each.promise, each.unit, each.limit, each.see(rounds, results), each.at_least)
        for each in _PROMISES
        if each.group in results
    ]


def _through(group: str, figure: str, above: str, below: str) -> Callable[..., float]:
    """See the ratio of two subjects, each round's own."""

    def see(rounds: Rounds, _results: Results) -> float:
        return quotient(rounds, group, figure, above, below)

    return see


def _of(group: str, figure: str, subject: str) -> Callable[..., float]:
    """See a figure of one subject."""

    def see(_rounds: Rounds, results: Results) -> float:
        return results[group][subject][figure]

    return see


def _promise(
    promise: str,
    limit: float,
    see: Callable[..., Callable[..., float]],
    group: str,
    figure: str,
    *subjects: str,
    unit: str = "",
    at_least: bool,
) -> _Promise:
    return _Promise(promise, unit, limit, at_least, group, see(group, figure, *subjects))


_least = partial(_promise, at_least=True)
_most = partial(_promise, at_least=False)
_RATE = "turns_per_s"

_PROMISES = (
    *(
        _least(f"SQLite, WAL, {label}, over bare sqlite3", limit, _of, "levels", "ratio", label)
        for label, limit in (
            (writing.QUEUED, 0.5),
            (writing.JOURNALED, 0.35),
            (writing.QUEUED_1000, 0.6),
            (writing.JOURNALED_1000, 0.45),
        )
    ),
    _least(
        "journaled over queued, turns/s",
        0.7,
        _through,
        "levels",
        _RATE,
        writing.JOURNALED,
        writing.QUEUED,
    ),
    *(
        _least(
            f"{title}: async batched over async single",
            10,
            _through,
            f"strategies-{place}",
            _RATE,
            writing.BATCHED,
            writing.SINGLE,
            unit="x",
        )
        for place, title in (("wal", "WAL"), ("rollback", "rollback journal"))
    ),
    _most(
        "log_turn and its Turn, queued, over Queue.put and the Turn",
        3,
        _of,
        "hot-path",
        "ratio",
        writing.NEW_QUEUED,
        unit="x",
    ),
    _most(
        "log_turn and its Turn, journaled, over Queue.put and the Turn",
        4,
        _of,
        "hot-path",
        "ratio",
        writing.NEW_JOURNALED,
        unit="x",
    ),
    _most(
        "log_turn, queued, at 1000 turns/s: 99th percentile over median",
        10,
        _of,
        "pace",
        "p99_over_median",
        writing.NEW_QUEUED,
        unit="x",
    ),
    _most(
        "log_turn, journaled, at 1000 turns/s: 99th percentile over median",
        10,
        _of,
        "pace",
        "p99_over_median",
        writing.NEW_JOURNALED,
        unit="x",
    ),
    _most(
        "log_turn: mean of 1000 calls",
        100,
        _of,
        "hot-path",
        "caller_mean_us",
        writing.WITHOUT_PAUSE,
        unit=" us",
    ),
    *(
        _most(f"event loop: lateness added{what}", 2, _of, group, figure, loading.ON, unit=" ms")
        for group, figure, what in (
            ("stall", "added_p999_ms", " at 10,000 turns/s, p99.9"),
            ("stall-large", "added_p999_ms", " by 100 KB turns at 200/s, p99.9"),
            ("stall-huge", "added_worst_ms", " by one turn of 10 MB, worst"),
        )
    ),
    _least(
        "Postgres, queued, over bare asyncpg COPY",
        0.5,
        _of,
        "postgres",
        "ratio",
        writing.BATCHED,
    ),
    _least(
        "Postgres 5 ms away, channel_capacity = 10,000, over COPY in batches of 10,000 there",
        0.5,
        _through,
        "postgres-far",
        _RATE,
        writing.FAR_LARGE,
        writing.FAR_COPY_LARGE,
    ),
    _most(
        "Postgres 5 ms away, 1000 turns/s: log_turn over the same without the distance",
        1.2,
        _of,
        "postgres-far-pace",
        "ratio",
        writing.FAR_PACED,
        unit="x",
    ),
    _most(
        "Postgres 5 ms away, 1000 turns/s: turns in the buffer of 100",
        99,
        _of,
        "postgres-far-pace",
        "window_turns",
        writing.FAR_PACED,
    ),
    _most(
        "5,000 agents, 10 KB every 3 s each: share of a core",
        10,
        _of,
        "agents",
        "added_cpu_percent",
        loading.ON,
        unit=" %",
    ),
    _most(
        "memory of an idle agent",
        1024,
        _of,
        "idle-agents",
        "agent_bytes",
        loading.IDLE,
        unit=" bytes",
    ),
    _least(
        "four processes on one file over one",
        0.8,
        _of,
        "processes",
        "ratio",
        loading.FOUR_PROCESSES,
    ),
    _most(
        "four processes on one file: most over fewest turns",
        2,
        _of,
        "processes",
        "unfair",
        loading.FOUR_PROCESSES,
        unit="x",
    ),
    _most(
        "import trajectory over SQLAlchemy and Pydantic alone",
        1.3,
        _of,
        "imports",
        "ratio",
        loading.IMPORT_OURS,
        unit="x",
    ),
    _most(
        "trajectory --help: SQLAlchemy and Alembic loaded",
        0,
        _of,
        "imports",
        "heavy_modules",
        loading.HELP,
    ),
    _least("reading turns over a bare cursor", 0.2, _of, "reading", "ratio", loading.STORE),
    _least(
        "export jsonl over a bare cursor that writes the same",
        0.4,
        _of,
        "exporting",
        "ratio",
        loading.EXPORT_JSONL,
    ),
    _most(
        "added to a batch by one bad turn",
        20,
        _of,
        "bad-turn",
        "added_batch_ms",
        writing.ONE_BAD,
        unit=" ms",
    ),
)
