"""The limits: what the database takes without any library around it, in batches of 100."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from datetime import UTC, datetime

from benchmarks.work import FIELDS, PROMPT, RESPONSE, Figures, database
from trajectory.ids import uuid7

BATCH = 100
COLUMNS = (
    "trajectory_id",
    "turn_number",
    "prompt",
    "response",
    "token_count",
    "latency_ms",
    "created_at",
)
INSERT = f"INSERT INTO trajectory_turns ({', '.join(COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608


def bare_sqlite3(turns: int, *, wal: bool) -> Figures:
    """Insert ready tuples with `executemany` of the standard library, a transaction a batch."""
    id_, now = uuid7().hex, "2026-01-01 00:00:00.000000"
    with database(wal=wal) as path:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA synchronous={'NORMAL' if wal else 'FULL'}")
        connection.execute("INSERT INTO trajectories (id, created_at) VALUES (?, ?)", (id_, now))
        began = time.perf_counter()
        for start in range(0, turns, BATCH):
            numbers = range(start, min(start + BATCH, turns))
            rows = [
                (id_, n, PROMPT, RESPONSE, FIELDS["token_count"], FIELDS["latency_ms"], now)
                for n in numbers
            ]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT, rows)
            connection.execute("COMMIT")
        seconds = time.perf_counter() - began
        connection.close()
    return {"turns_per_s": turns / seconds}


def bare_copy(turns: int, *, url: str) -> Figures:
    """Copy ready tuples with asyncpg's binary COPY, a transaction a batch."""
    return asyncio.run(_copy(turns, url))


async def _copy(turns: int, url: str) -> Figures:
    import asyncpg

    id_, now = uuid7(), datetime.now(UTC)
    connection = await asyncpg.connect(url)
    await connection.execute("INSERT INTO trajectories (id, created_at) VALUES ($1, $2)", id_, now)
    began = time.perf_counter()
    for start in range(0, turns, BATCH):
        rows = [
            (id_, n, PROMPT, RESPONSE, FIELDS["token_count"], FIELDS["latency_ms"], now)
            for n in range(start, min(start + BATCH, turns))
        ]
        await connection.copy_records_to_table("trajectory_turns", records=rows, columns=COLUMNS)
    seconds = time.perf_counter() - began
    await connection.close()
    return {"turns_per_s": turns / seconds}
