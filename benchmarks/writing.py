"""The groups about writing: ways, levels, calls, batches, and the database far away."""

from __future__ import annotations

from benchmarks.groups import Group, Subject
from benchmarks.hot_path import PACE_PER_S
from benchmarks.tuning import INTERVAL_PER_S, SIZE_PER_S

BARE, BARE_COPY = "bare sqlite3, batches of 100", "bare asyncpg COPY, batches of 100"
BATCHED, SINGLE = "async, batched", "async, a write a turn"
JOURNALED_BATCHED = "async, batched, journaled"
QUEUED, JOURNALED = "queued", "journaled"
QUEUED_1000, JOURNALED_1000 = (
    "queued, channel_capacity = 1000",
    "journaled, channel_capacity = 1000",
)
PUT = "asyncio.Queue.put of a new Turn"
NEW_QUEUED, NEW_JOURNALED = "log_turn of a new Turn, queued", "log_turn of a new Turn, journaled"
WITHOUT_PAUSE = "1000 calls without a pause, journaled"
GOOD, ONE_BAD = "ten good turns", "one of them a conflict"
FAR_COPY = "bare asyncpg COPY, batches of 100"
FAR_COPY_LARGE = "bare asyncpg COPY, batches of 10,000"
FAR_LARGE = "trajectory, channel_capacity = 10,000"
NEAR_PACED, FAR_PACED = "5 ms nearer", "5 ms away"
SIZES = (1, 5, 10, 50, 100)
INTERVALS_MS = (100, 250, 500, 1000)

_COLUMNS = ["ratio", "turns_per_s", "caller_us", "caller_p99_us", "stall_ms"]
_CALLS = ["ratio", "caller_us", "caller_mean_us", "caller_p99_us"]


def writing_groups(turns: int, *, quick: bool) -> tuple[Group, ...]:
    """Give the groups. Who can't batch gets fewer turns: a rate needs no more."""
    few = max(turns // 20, 100)
    return (
        _strategies("wal", "WAL", turns, few),
        _strategies("rollback", "rollback journal", turns, max(few // 2, 50), rounds=3),
        _postgres(turns, few),
        _far(turns),
        Group(
            "postgres-far-pace",
            "Postgres 5 ms away, offered 1000 turns/s",
            [
                Subject(label, "hot_path.paced", few, place, {"level": QUEUED, "per_s": PACE_PER_S})
                for label, place in ((NEAR_PACED, "postgres"), (FAR_PACED, "far"))
            ],
            ["ratio", "caller_us", "caller_p99_us", "window_turns"],
            "caller_us",
        ),
        _levels(2 * turns),
        _calls(20 if quick else 200),
        Group(
            "pace",
            f"A call of log_turn at {PACE_PER_S} turns/s (SQLite, WAL)",
            [
                Subject(PUT, "hot_path.queue_put", few, None, {"per_s": PACE_PER_S}),
                *(
                    Subject(
                        label,
                        "hot_path.paced",
                        few,
                        "wal",
                        {"level": level, "per_s": PACE_PER_S},
                    )
                    for label, level in ((NEW_QUEUED, QUEUED), (NEW_JOURNALED, JOURNALED))
                ),
            ],
            ["p99_over_median", "caller_us", "caller_mean_us", "caller_p99_us"],
        ),
        Group(
            "bad-turn",
            "A batch of ten in which one turn is refused (SQLite, WAL)",
            [
                Subject(GOOD, "durability.batches", few, "wal", {"bad": False}),
                Subject(ONE_BAD, "durability.batches", few, "wal", {"bad": True}),
            ],
            ["added_batch_ms", "batch_ms", "batch_worst_ms"],
            differences={"batch_ms": "added_batch_ms"},
        ),
        Group(
            "buffer-size",
            f"Buffer size: turns/s at full speed, the rest at {SIZE_PER_S} turns/s (SQLite, WAL)",
            [
                Subject(
                    f"buffer_size = {size}", "tuning.buffer_size", turns // 5, "wal", {"size": size}
                )
                for size in (SIZES[::2] if quick else SIZES)
            ],
            ["turns_per_s", "window_turns", "window_ms", "flushes_per_s", "caller_p99_us"],
            rounds=2,
        ),
        Group(
            "flush-interval",
            f"Flush interval, {INTERVAL_PER_S} turns/s (SQLite, WAL)",
            [
                Subject(
                    f"flush_interval_ms = {ms}",
                    "tuning.flush_interval",
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


def _strategies(
    place: str, title: str, turns: int, singles: int, rounds: int | None = None
) -> Group:
    sync = {"function": "strategies.sync_strategy", "place": place}
    loop = {"function": "strategies.async_strategy", "place": place}
    single, batched = {"batched": False}, {"batched": True}
    return Group(
        f"strategies-{place}",
        f"Four strategies on SQLite, {title}",
        [
            Subject(BARE, "baselines.bare_sqlite3", turns, place, {}),
            Subject("sync, a write a turn", turns=singles, options=single, **sync),
            Subject("sync, batched", turns=max(turns // 5, 200), options=batched, **sync),
            Subject(SINGLE, turns=singles, options=single, **loop),
            Subject(BATCHED, turns=turns, options=batched, **loop),
        ],
        _COLUMNS,
        "turns_per_s",
        rounds,
    )


def _postgres(turns: int, few: int) -> Group:
    def ours(label: str, turns: int, *, batched: bool, level: str = QUEUED) -> Subject:
        options = {"batched": batched, "level": level}
        return Subject(label, "strategies.async_strategy", turns, "postgres", options)

    return Group(
        "postgres",
        "Postgres",
        [
            Subject(BARE_COPY, "baselines.bare_copy", turns, "postgres", {}),
            ours(SINGLE, few, batched=False),
            ours(BATCHED, turns, batched=True),
            ours(JOURNALED_BATCHED, turns, batched=True, level=JOURNALED),
        ],
        _COLUMNS,
        "turns_per_s",
    )


def _far(turns: int) -> Group:
    ours = {"level": QUEUED, "capacity": 10_000}
    return Group(
        "postgres-far",
        "Postgres 5 ms away, at full speed",
        [
            Subject(FAR_COPY, "baselines.bare_copy", turns // 4, "far", {}),
            Subject(FAR_COPY_LARGE, "baselines.bare_copy", turns, "far", {"batch": 10_000}),
            Subject(FAR_LARGE, "durability.level_throughput", turns, "far", ours),
        ],
        ["ratio", "turns_per_s"],
        "turns_per_s",
    )


def _levels(turns: int) -> Group:
    return Group(
        "levels",
        "Durability levels beside the limit (SQLite, WAL)",
        [
            Subject(BARE, "baselines.bare_sqlite3", turns, "wal", {}),
            *(
                Subject(
                    label,
                    "durability.level_throughput",
                    turns,
                    "wal",
                    {"level": level, "capacity": capacity},
                )
                for label, level, capacity in (
                    (QUEUED, QUEUED, 100),
                    (JOURNALED, JOURNALED, 100),
                    (QUEUED_1000, QUEUED, 1000),
                    (JOURNALED_1000, JOURNALED, 1000),
                )
            ),
        ],
        ["ratio", "turns_per_s"],
        "turns_per_s",
    )


def _calls(synced: int) -> Group:
    def call(label: str, level: str, turns: int = 1000, pause: int = 50, **more: bool) -> Subject:
        options = {"level": level, "pause_every": pause, **more}
        return Subject(label, "hot_path.log_turn", turns, "wal", options)

    return Group(
        "hot-path",
        "A call of log_turn (SQLite, WAL)",
        [
            Subject(PUT, "hot_path.queue_put", 1000, None, {}),
            call(NEW_QUEUED, QUEUED),
            call(NEW_JOURNALED, JOURNALED),
            call("log_turn of a Turn made before, journaled", JOURNALED, made_before=True),
            call(WITHOUT_PAUSE, JOURNALED, pause=0),
            call("synced, one caller", "synced", synced),
            call("stored, one caller", "stored", synced),
        ],
        _CALLS,
        "caller_us",
    )
