"""The stages of logging a turn, each alone, so that what it takes can be told apart.

Run by its path, by `benchmarks.profile`: it needs `trajectory` alone, which may be of another
checkout. A stage that this one has not is left out.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from trajectory import Durability, LoggerSettings, TrajectoryLogger, Turn
from trajectory.backend import Capabilities
from trajectory.ids import uuid7

PROMPT, RESPONSE = "p" * 200, "r" * 240
FIELDS: dict[str, Any] = {"token_count": 50, "latency_ms": 500.0, "model_name": "a-model"}
BATCH, ROUNDS = 100, 7
LEFT_OUT = 3


class _Takes:
    """A backend that takes all and keeps nothing."""

    capabilities = Capabilities()

    async def open(self) -> None: ...
    async def write(self, _batch: Any, /) -> None:
        await asyncio.sleep(0)

    def read_trajectories(self, _query: Any, /) -> Any: ...
    def read_turns(self, _query: Any, /) -> Any: ...
    async def delete_trajectories(self, _ids: Any, /) -> int:
        return 0

    async def close(self) -> None: ...


def _turn(number: int = 1) -> Turn:
    return Turn(trajectory_id=_ID, turn_number=number, prompt=PROMPT, response=RESPONSE, **FIELDS)


_ID = uuid7()


def made(turns: int) -> None:
    """Make a `Turn` of its fields."""
    for number in range(turns):
        _turn(number)


def encoded(turns: int) -> None:
    """Make the frame of the journal."""
    from trajectory.journal.frames import encode

    turn = _turn()
    for _ in range(turns):
        encode(turn)


def rows(turns: int) -> None:
    """Make the rows of a batch for SQLite."""
    import sqlalchemy as sa

    from trajectory.backends.sql.rows import turn_rows
    from trajectory.backends.sql.statements import Statements

    statements = Statements(sa.create_engine("sqlite://").dialect)
    batch = [_turn(number) for number in range(BATCH)]
    for _ in range(turns // BATCH):
        list(turn_rows(statements, batch))


def taken(turns: int) -> None:
    """Log to a backend that keeps nothing, without a journal."""
    asyncio.run(_log(_Takes(), turns, "queued"))


def queued(turns: int) -> None:
    """Log into SQLite without a journal."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_log(Path(folder, "a.db"), turns, "queued"))


def journaled(turns: int) -> None:
    """Log into SQLite, at the default level."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_log(Path(folder, "a.db"), turns, "journaled"))


async def _log(backend: Any, turns: int, level: str) -> None:
    settings = LoggerSettings(durability=Durability(level))
    async with TrajectoryLogger(backend, settings) as logger:
        run = await logger.start_trajectory()
        await logger.flush()
        for _ in range(turns):
            await run.log_turn(PROMPT, RESPONSE, **FIELDS)
        await logger.flush()


def bare(turns: int) -> None:
    """Insert tuples with `executemany`, a hundred a transaction."""
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(Path(folder, "a.db"), isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute(
            "CREATE TABLE turns (id TEXT, number INTEGER, prompt TEXT, response TEXT, at TEXT,"
            " tokens INTEGER, ms REAL, model TEXT, PRIMARY KEY (id, number))"
        )
        key = _ID.hex
        for start in range(0, turns, BATCH):
            batch = [
                (key, number, PROMPT, RESPONSE, "2026-01-01 00:00:00.000000", *FIELDS.values())
                for number in range(start, start + BATCH)
            ]
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?, ?, ?)", batch)
            database.execute("COMMIT")
        database.close()


STAGES: dict[str, Callable[[int], None]] = {
    stage.__name__: stage for stage in (made, encoded, rows, taken, queued, journaled, bare)
}


def main() -> None:
    """Run a stage once for so many turns; with `time`, several times, and print the best."""
    name, turns = sys.argv[1], int(sys.argv[2])
    stage = STAGES[name]
    try:
        stage(BATCH)
    except (ImportError, AttributeError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        sys.exit(LEFT_OUT)
    best = float("inf")
    for _ in range(ROUNDS if sys.argv[3:] == ["time"] else 1):
        began = perf_counter()
        stage(turns)
        best = min(best, perf_counter() - began)
    sys.stdout.write(f"{best}\n")


if __name__ == "__main__":
    main()
