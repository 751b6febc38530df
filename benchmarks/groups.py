"""What is compared with what: groups of subjects, and the columns of their tables."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.tuning import INTERVAL_PER_S, SIZE_PER_S

BATCHED, SINGLE = "async, batched", "async, a write a turn"
QUEUED, JOURNALED = "queued", "journaled"
ONE_BAD = "one of them a conflict"
SIZES = (1, 5, 10, 50, 100)
INTERVALS_MS = (100, 250, 500, 1000, 5000)


class Subject(NamedTuple):
    """One thing to measure: a function, how many turns, its place and options."""

    label: str
    function: str
    turns: int
    place: str | None
    options: dict[str, Any]


class Group(NamedTuple):
    """Subjects that are compared; the first is the baseline of the ratios."""

    name: str
    title: str
    subjects: list[Subject]
    columns: list[str]
    compares: str | None = None
    """The figure whose ratio to the baseline's counts."""
    rounds: int | None = None
    """At most so many rounds: who waits for the clock most of the time needs few."""


NAMES = (
    "strategies-wal",
    "strategies-rollback",
    "postgres",
    "hot-path",
    "stall",
    "journal",
    "journal-call",
    "bad-turn",
    "buffer-size",
    "flush-interval",
)
_COLUMNS = ["ratio", "turns_per_s", "caller_us", "caller_p99_us", "stall_ms"]


def groups(turns: int, *, quick: bool = False) -> dict[str, Group]:
    """Give all groups by name. Who can't batch gets fewer turns: a rate needs no more."""
    few = max(turns // 20, 100)
    made = (
        _strategies("wal", "WAL", turns, few),
        _strategies("rollback", "rollback journal", turns, max(few // 2, 50)),
        Group(
            "postgres",
            "Postgres",
            [
                Subject("bare asyncpg COPY, batches of 100", "bare_copy", turns, "postgres", {}),
                Subject(SINGLE, "async_strategy", few, "postgres", {"batched": False}),
                Subject(BATCHED, "async_strategy", turns, "postgres", {"batched": True}),
            ],
            _COLUMNS,
            "turns_per_s",
        ),
        Group(
            "hot-path",
            "A call of log_turn",
            [
                Subject("asyncio.Queue.put of a new Turn", "queue_put", 1000, None, {}),
                Subject("log_turn of a new Turn", "log_turn", 1000, "wal", {"pause_every": 50}),
                Subject(
                    "log_turn of a Turn made before",
                    "log_turn",
                    1000,
                    "wal",
                    {"pause_every": 50, "made_before": True},
                ),
                Subject("1000 calls without a pause", "log_turn", 1000, "wal", {}),
            ],
            ["ratio", "caller_us", "caller_mean_us", "caller_p99_us"],
            "caller_us",
        ),
        Group(
            "stall",
            "How late the event loop gets at 10,000 turns/s",
            [
                Subject("logging off", "stall", turns, "wal", {"logging": False}),
                Subject("logging on", "stall", turns, "wal", {"logging": True}),
            ],
            ["added_p999_ms", "late_p999_ms", "late_worst_ms", "offered_per_s"],
        ),
        Group(
            "journal",
            "Durability levels: turns/s at full speed (SQLite, WAL)",
            [
                Subject(QUEUED, "level_throughput", turns, "wal", {"level": "queued"}),
                Subject(JOURNALED, "level_throughput", turns, "wal", {"level": "journaled"}),
            ],
            ["ratio", "turns_per_s"],
            "turns_per_s",
        ),
        Group(
            "journal-call",
            "Durability levels: a call of log_turn (SQLite, WAL)",
            [
                Subject(f"{level}{waits}", "level_call", count, "wal", {"level": level})
                for level, waits, count in (
                    (QUEUED, "", 1000),
                    (JOURNALED, "", 1000),
                    ("synced", ", one caller", 200),
                    ("stored", ", one caller", 200),
                )
            ],
            ["ratio", "caller_us", "caller_mean_us", "caller_p99_us"],
            "caller_us",
        ),
        Group(
            "bad-turn",
            "A batch of ten in which one turn is refused (SQLite, WAL)",
            [
                Subject("ten good turns", "batches", few, "wal", {"bad": False}),
                Subject(ONE_BAD, "batches", few, "wal", {"bad": True}),
            ],
            ["added_batch_ms", "batch_ms", "batch_worst_ms"],
        ),
        Group(
            "buffer-size",
            f"Buffer size: turns/s at full speed, the rest at {SIZE_PER_S} turns/s (SQLite, WAL)",
            [
                Subject(f"buffer_size = {size}", "buffer_size", turns // 5, "wal", {"size": size})
                for size in (SIZES[::2] if quick else SIZES)
            ],
            ["turns_per_s", "window_turns", "window_ms", "flushes_per_s", "caller_p99_us"],
            rounds=3,
        ),
        Group(
            "flush-interval",
            f"Flush interval, {INTERVAL_PER_S} turns/s (SQLite, WAL)",
            [
                Subject(
                    f"flush_interval_ms = {ms}",
                    "flush_interval",
                    int(ms * INTERVAL_PER_S / 1000 * (1.5 if quick else 2.5)),
                    "wal",
                    {"interval_ms": ms},
                )
                for ms in (INTERVALS_MS[:2] if quick else INTERVALS_MS)
            ],
            ["window_turns", "window_ms", "flushes", "flushes_per_s", "caller_p99_us"],
            rounds=1,
        ),
    )
    return {group.name: group for group in made}


def _strategies(place: str, title: str, turns: int, singles: int) -> Group:
    sync = {"function": "sync_strategy", "place": place}
    loop = {"function": "async_strategy", "place": place}
    single, batched = {"batched": False}, {"batched": True}
    return Group(
        f"strategies-{place}",
        f"Four strategies on SQLite, {title}",
        [
            Subject("bare sqlite3, batches of 100", "bare_sqlite3", turns, place, {}),
            Subject("sync, a write a turn", turns=singles, options=single, **sync),
            Subject("sync, batched", turns=max(turns // 5, 200), options=batched, **sync),
            Subject(SINGLE, turns=singles, options=single, **loop),
            Subject(BATCHED, turns=turns, options=batched, **loop),
        ],
        _COLUMNS,
        "turns_per_s",
    )
