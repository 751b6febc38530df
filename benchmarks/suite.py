"""What is measured: groups of subjects, each run in a process of its own, rounds interleaved."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

from benchmarks import baselines, hot_path, strategies, tuning
from benchmarks.work import Figures

_FUNCTIONS: dict[str, Callable[..., Figures]] = {
    function.__name__: function
    for function in (
        baselines.bare_sqlite3,
        baselines.bare_copy,
        strategies.sync_strategy,
        strategies.async_strategy,
        tuning.buffer_size,
        tuning.flush_interval,
        hot_path.log_turn,
        hot_path.queue_put,
        hot_path.stall,
    )
}


class Subject(NamedTuple):
    """One thing to measure: a function, how many turns, and its options."""

    label: str
    function: str
    turns: int
    options: dict[str, Any]


class Group(NamedTuple):
    """Subjects that are compared; the first is the baseline of the ratios."""

    name: str
    title: str
    subjects: list[Subject]
    columns: list[str]


PACED = ("buffer-size", "flush-interval")
"""Groups whose subjects wait for the clock most of the time: one round says it all."""

Results = dict[str, dict[str, Figures]]
"""Figures by group and subject: medians over the rounds."""


def groups(turns: int, postgres: str | None) -> list[Group]:
    """Give all groups for a number of turns; single writes get a tenth of them."""
    few = max(turns // 10, 100)
    made = []
    for journal, wal in (("WAL", True), ("rollback journal", False)):
        singles = few if wal else max(few // 4, 50)
        made.append(
            Group(
                f"strategies-{'wal' if wal else 'rollback'}",
                f"Four strategies on SQLite, {journal}",
                [
                    Subject("bare sqlite3, batches of 100", "bare_sqlite3", turns, {"wal": wal}),
                    Subject(
                        "sync, a write a turn",
                        "sync_strategy",
                        singles,
                        {"wal": wal, "batched": False},
                    ),
                    Subject("sync, batched", "sync_strategy", turns, {"wal": wal, "batched": True}),
                    Subject(
                        "async, a write a turn",
                        "async_strategy",
                        singles,
                        {"wal": wal, "batched": False},
                    ),
                    Subject(
                        "async, batched (the default)",
                        "async_strategy",
                        turns,
                        {"wal": wal, "batched": True},
                    ),
                ],
                ["turns_per_s", "ratio", "caller_us", "caller_p99_us", "stall_max_ms"],
            )
        )
    if postgres:
        url = {"url": postgres}
        made.append(
            Group(
                "postgres",
                "Postgres",
                [
                    Subject("bare asyncpg COPY, batches of 100", "bare_copy", turns, url),
                    Subject(
                        "async, a write a turn", "async_strategy", few, {**url, "batched": False}
                    ),
                    Subject(
                        "async, batched (the default)",
                        "async_strategy",
                        turns,
                        {**url, "batched": True},
                    ),
                ],
                ["turns_per_s", "ratio", "caller_us", "caller_p99_us", "stall_max_ms"],
            )
        )
    sizes = [
        Subject(f"buffer_size = {size}", "buffer_size", turns // 5, {"size": size})
        for size in (1, 5, 10, 50, 100)
    ]
    intervals = [
        Subject(
            f"flush_interval_ms = {ms}",
            "flush_interval",
            max(turns // 40, int(ms * tuning.STEADY_PER_S / 1000 * 1.2)),
            {"interval_ms": ms},
        )
        for ms in (100, 250, 500, 1000, 5000)
    ]
    return [
        *made,
        Group(
            "hot-path",
            "A call of log_turn, with the making of its Turn",
            [
                Subject("asyncio.Queue.put", "queue_put", 1000, {}),
                Subject("log_turn, 1000 calls", "log_turn", 1000, {}),
            ],
            ["caller_us", "caller_mean_us", "caller_p99_us"],
        ),
        Group(
            "stall",
            "The event loop at 10,000 turns/s, logging off and on",
            [
                Subject("off", "stall", turns, {"logging": False}),
                Subject("on", "stall", turns, {"logging": True}),
            ],
            ["turns_per_s", "stall_p999_ms", "stall_max_ms"],
        ),
        Group(
            "buffer-size",
            f"Buffer size, {tuning.FAST_PER_S} turns/s (SQLite, WAL)",
            sizes,
            ["window_turns", "window_ms", "flushes_per_s", "caller_us", "caller_p99_us"],
        ),
        Group(
            "flush-interval",
            f"Flush interval, {tuning.STEADY_PER_S} turns/s (SQLite, WAL)",
            intervals,
            ["window_turns", "window_ms", "flushes_per_s", "caller_us", "caller_p99_us"],
        ),
    ]


def measure(chosen: list[Group], rounds: int, say: Callable[[str], None]) -> Results:
    """Run all rounds; each goes through all subjects once."""
    seen: dict[tuple[str, str], list[Figures]] = {}
    for number in range(rounds):
        for group in chosen:
            once = group.name in PACED
            for subject in group.subjects if not (once and number) else []:
                say(f"round {number + 1} of {rounds}: {group.name}: {subject.label}")
                seen.setdefault((group.name, subject.label), []).append(_run(subject))
    return {
        group.name: {
            subject.label: _medians(seen[group.name, subject.label]) for subject in group.subjects
        }
        for group in chosen
    }


def _run(subject: Subject) -> Figures:
    """Run a subject in a process of its own, so that none shares a heap with another."""
    command = [sys.executable, "-m", "benchmarks.suite", json.dumps(subject[1:])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    figures: Figures = json.loads(done.stdout)
    return figures


def _medians(rounds: list[Figures]) -> Figures:
    return {name: median(figures[name] for figures in rounds) for name in rounds[0]}


def ratios(results: dict[str, Figures]) -> Iterator[tuple[str, Figures]]:
    """Add to each subject its ratio of turns/s to the baseline, the first one."""
    baseline = next(iter(results.values())).get("turns_per_s")
    for label, figures in results.items():
        if baseline:
            yield label, {**figures, "ratio": figures["turns_per_s"] / baseline}
        else:
            yield label, figures


if __name__ == "__main__":
    name, count, options = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps(_FUNCTIONS[name](count, **options)))
