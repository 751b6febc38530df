"""What all subjects do: the same turns into the same tables."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from trajectory import open_backend

PROMPT, RESPONSE = "p" * 200, "r" * 240
"""440 bytes of text a turn."""

FIELDS: dict[str, Any] = {"token_count": 50, "latency_ms": 500.0}

Figures = dict[str, float]


@contextmanager
def database(*, wal: bool) -> Iterator[str]:
    """Give the path of a new SQLite file with the library's schema, in a journal mode."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "turns.db")

        async def make() -> None:
            backend = open_backend(path)
            await backend.open()
            await backend.close()

        asyncio.run(make())
        if not wal:
            connection = sqlite3.connect(path)
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.close()
        yield path


def percentile(values: list[float], percent: float) -> float:
    """Give the value below which so many percent of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def caller_figures(seconds: list[float]) -> Figures:
    """Say what the calls cost their caller, in microseconds."""
    return {
        "caller_us": median(seconds) * 1e6,
        "caller_mean_us": sum(seconds) / len(seconds) * 1e6,
        "caller_p99_us": percentile(seconds, 99) * 1e6,
    }


class Ticker:
    """Measures how late the event loop runs what is due: a task that wants to run each ms."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []

    async def run(self) -> None:
        """Tick until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.001
            await asyncio.sleep(0.001)
            self.late_ms.append((loop.time() - due) * 1e3)

    def figures(self) -> Figures:
        """Say how late, in milliseconds."""
        return {
            "stall_p999_ms": percentile(self.late_ms, 99.9),
            "stall_max_ms": max(self.late_ms, default=0.0),
        }
