"""The limits: what the database takes without any library around it, in batches of 100."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from benchmarks.work import FIELDS, PROMPT, RESPONSE, Figures
from trajectory.ids import uuid7

BATCH = 100
COLUMNS = ("trajectory_id", "turn_number", "prompt", "response", "created_at", *FIELDS)
INSERT = (
    f"INSERT INTO trajectory_turns ({', '.join(COLUMNS)})"  # noqa: S608 - constants
    f" VALUES ({', '.join('?' * len(COLUMNS))})"
)


def _rows(
    start: int, turns: int, id_: Any, now: Any, *, batch: int = BATCH, text: str = ""
) -> list[tuple[Any, ...]]:
    tokens, latency, model = FIELDS.values()
    return [
        (id_, number, PROMPT, text or RESPONSE, now, tokens, latency, model)
        for number in range(start, min(start + batch, turns))
    ]


def bare_sqlite3(turns: int, *, target: str, response_bytes: int = 0) -> Figures:
    """Insert tuples with `executemany` of the standard library, a transaction a batch.

    The table is the library's own, and so are the order of the keys, the pragmas of the
    connection and BEGIN IMMEDIATE.
    """
    id_, now = uuid7().hex, "2026-01-01 00:00:00.000000"
    connection = sqlite3.connect(target, isolation_level=None)
    wal = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA synchronous={'NORMAL' if wal else 'FULL'}")
    connection.execute("INSERT INTO trajectories (id, created_at) VALUES (?, ?)", (id_, now))
    began = perf_counter()
    for start in range(0, turns, BATCH):
        rows = _rows(start, turns, id_, now, text="r" * response_bytes)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, rows)
        connection.execute("COMMIT")
    seconds = perf_counter() - began
    connection.close()
    return {"turns": turns, "turns_per_s": turns / seconds}


def bare_copy(turns: int, *, target: str, batch: int = BATCH) -> Figures:
    """Copy tuples with asyncpg's binary COPY, a transaction a batch."""
    return asyncio.run(_copy(turns, target, batch))


async def _copy(turns: int, url: str, batch: int) -> Figures:
    import asyncpg

    id_, now = uuid7(), datetime.now(UTC)
    connection = await asyncpg.connect(url)
    await connection.execute("INSERT INTO trajectories (id, created_at) VALUES ($1, $2)", id_, now)
    began = perf_counter()
    for start in range(0, turns, batch):
        rows = _rows(start, turns, id_, now, batch=batch)
        await connection.copy_records_to_table("trajectory_turns", records=rows, columns=COLUMNS)
    seconds = perf_counter() - began
    await connection.close()
    return {"turns": turns, "turns_per_s": turns / seconds}
