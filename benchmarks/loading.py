"""The groups about load and reading: stalls, sizes, callers, processes, agents, imports, peers."""

from __future__ import annotations

import sys

from benchmarks.callers import AGENTS, EVERY_S
from benchmarks.groups import Group, Subject
from benchmarks.lateness import LARGE_BYTES, LARGE_PER_S, STALL_PER_S
from benchmarks.peers import is_there

OFF, ON = "logging off", "logging on"
IDLE = "an agent"
ONE_PROCESS, FOUR_PROCESSES = "one process", "four processes"
IMPORT_BASE = "import sqlalchemy.ext.asyncio, pydantic"
IMPORT_OURS, HELP = "import trajectory", "trajectory --help"
CURSOR = "bare sqlite3 cursor"
CURSOR_MODELS = "the same, a Turn made of each row"
STORE = "TrajectoryStore.turns"
CURSOR_JSONL, EXPORT_JSONL = "bare cursor, json.dumps", "export jsonl"
OURS = "trajectory, journaled (the default)"
FILLED_TIMES = 5
"""The filled file has so many times the turns of a round."""


def loading_groups(turns: int, *, quick: bool) -> tuple[Group, ...]:
    """Give the groups about the event loop and many callers."""
    added = {"late_p999_ms": "added_p999_ms"}
    return (
        Group(
            "stall",
            f"How late the event loop gets at {STALL_PER_S:,} turns/s",
            [
                Subject(label, "lateness.stall", turns, "wal", {"logs": logs, "per_s": STALL_PER_S})
                for label, logs in ((OFF, False), (ON, True))
            ],
            ["added_p999_ms", "late_p999_ms", "late_worst_ms", "offered_per_s"],
            differences=added,
        ),
        Group(
            "stall-large",
            f"The same with turns of 100 KB, {LARGE_PER_S} a second",
            [
                Subject(
                    label,
                    "lateness.stall",
                    turns // 66,
                    "wal",
                    {"logs": logs, "per_s": LARGE_PER_S, "response_bytes": LARGE_BYTES},
                )
                for label, logs in ((OFF, False), (ON, True))
            ],
            ["added_p999_ms", "late_p999_ms", "late_worst_ms", "offered_per_s"],
            differences=added,
        ),
        Group(
            "stall-huge",
            "The same with one turn of 10 MB, until it is stored",
            [
                Subject(label, "lateness.huge", 1, "wal", {"logs": logs})
                for label, logs in ((OFF, False), (ON, True))
            ],
            ["added_worst_ms", "late_worst_ms"],
            differences={"late_worst_ms": "added_worst_ms"},
        ),
        Group(
            "turn-size",
            "Size of a turn's response: turns/s at full speed (SQLite, WAL, journaled)",
            [
                Subject(
                    f"{label}{', bare sqlite3' if bare else ''}",
                    f"{'baselines.bare_sqlite3' if bare else 'durability.level_throughput'}",
                    max(100, turns // part),
                    "wal",
                    {"response_bytes": size, **({} if bare else {"level": "journaled"})},
                )
                for label, size, part in (
                    ("240 bytes", 240, 1),
                    ("10 KB", 10_000, 10),
                    ("100 KB", 100_000, 100),
                )
                for bare in (True, False)
            ],
            ["turns_per_s"],
            rounds=2,
        ),
        Group(
            "callers",
            "Tasks that log at once, at full speed (SQLite, WAL, journaled)",
            [
                Subject(
                    f"{count:,} task{'s' if count > 1 else ''}",
                    "callers.tasks",
                    turns,
                    "wal",
                    {"count": count},
                )
                for count in (1, 10, 100, 1000)
            ],
            ["ratio", "turns_per_s", "caller_us", "caller_p99_us"],
            "turns_per_s",
            rounds=2,
        ),
        Group(
            "processes",
            "Processes that log into one SQLite file at full speed (WAL, journaled)",
            [
                Subject(
                    label,
                    "callers.processes",
                    0,
                    "wal",
                    {"count": count, "seconds": 0.3 if quick else 2.0},
                )
                for label, count in ((ONE_PROCESS, 1), (FOUR_PROCESSES, 4))
            ],
            ["ratio", "turns_per_s", "unfair", "wait_worst_ms"],
            "turns_per_s",
            rounds=3,
        ),
        _agents(quick=quick),
        Group(
            "idle-agents",
            f"Memory of each of {AGENTS:,} agents that have logged a turn and wait",
            [
                Subject(IDLE, "callers.idle_agents", count, "wal", {"count": count})
                for count in ((100,) if quick else (AGENTS,))
            ],
            ["agent_bytes"],
            rounds=1,
        ),
    )


def _agents(*, quick: bool) -> Group:
    count, every_s = (100, 0.3) if quick else (AGENTS, EVERY_S)
    return Group(
        "agents",
        f"{count:,} agents in one process, each a turn of 10 KB every {every_s:g} s",
        [
            Subject(
                label,
                "callers.agents",
                2 * count,
                "wal",
                {"logs": logs, "count": count, "every_s": every_s},
            )
            for label, logs in ((OFF, False), (ON, True))
        ],
        ["added_cpu_percent", "cpu_percent", "caller_us", "caller_p99_us"],
        rounds=3,
        differences={"cpu_percent": "added_cpu_percent"},
    )


def reading_groups(turns: int) -> tuple[Group, ...]:
    """Give the groups about reading, exporting and loading the library."""
    count = FILLED_TIMES * turns

    def reads(label: str, function: str) -> Subject:
        return Subject(label, f"reading.{function}", count, "filled", {})

    return (
        Group(
            "reading",
            f"All of {count:,} turns read from SQLite",
            [
                reads(CURSOR, "cursor"),
                reads(CURSOR_MODELS, "cursor_models"),
                reads(STORE, "store_turns"),
            ],
            ["ratio", "turns_per_s"],
            "turns_per_s",
            rounds=3,
        ),
        Group(
            "exporting",
            f"All of {count:,} turns written as JSON Lines",
            [reads(CURSOR_JSONL, "cursor_jsonl"), reads(EXPORT_JSONL, "export_jsonl")],
            ["ratio", "turns_per_s"],
            "turns_per_s",
            rounds=3,
        ),
        Group(
            "imports",
            "What is loaded, in a fresh interpreter",
            [
                Subject(
                    IMPORT_BASE,
                    "imports.imported",
                    1,
                    None,
                    {"modules": "sqlalchemy.ext.asyncio, pydantic"},
                ),
                Subject(IMPORT_OURS, "imports.imported", 1, None, {"modules": "trajectory"}),
                Subject(HELP, "imports.help_shown", 1, None, {}),
            ],
            ["ratio", "import_ms", "modules", "heavy_modules"],
            "import_ms",
        ),
    )


def peer_group(turns: int, *, quick: bool) -> Group:
    """Give the peers that are installed, beside this library; of the others a line says so."""
    some = max(turns // 20, 50)
    everyone = (
        Subject(OURS, "peers.ours", turns, "folder", {"level": "journaled"}),
        Subject("trajectory, queued", "peers.ours", turns, "folder", {"level": "queued"}),
        Subject("QueueHandler and sqlite3", "peers.queue_handler", turns, "folder", {}),
        Subject("aiosqlite, a commit a turn", "peers.by_hand", turns // 4, "folder", {}),
        Subject("OpenTelemetry BatchSpanProcessor", "peers.otel", turns, "folder", {}),
        Subject("OpenAI Agents SQLiteSession", "peers.agents_sqlite", 2 * some, "folder", {}),
        Subject(
            "OpenAI Agents AsyncSQLiteSession", "peers.agents_async_sqlite", some, "folder", {}
        ),
        Subject("OpenAI Agents SQLAlchemySession", "peers.agents_sqlalchemy", some, "folder", {}),
        Subject("LangGraph AsyncSqliteSaver", "peers.langgraph", some, "folder", {}),
        Subject("MLflow tracing", "peers.mlflow", 10 if quick else 50, "folder", {}),
    )
    there = [subject for subject in everyone if is_there(subject.function)]
    absent = [subject.label for subject in everyone if subject not in there]
    if absent:
        sys.stderr.write(f"not installed, so left out (extra `peers`): {', '.join(absent)}\n")
    return Group(
        "peers",
        "What people use instead, each storing into SQLite",
        there,
        ["ratio", "turns_per_s", "caller_us", "caller_p99_us", "stored_percent"],
        "turns_per_s",
        rounds=3,
    )
