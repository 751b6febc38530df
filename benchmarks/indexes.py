"""What each index costs whoever writes a row, with a million rows of its table there.

An index is dropped, rows are inserted as a writer does, and it is made again. What they take longer
with all indexes is its price. The keys that are unique are no part of this: nothing works without.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.filling import INSERT_TRAJECTORY, trajectory_row
from benchmarks.work import Figures
from trajectory.ids import uuid7

ROWS, INSERTED, BATCH = 1_000_000, 20_000, 100
_INSERT_VIOLATION = (
    "INSERT INTO trajectory_violations"
    " (trajectory_id, turn_number, source, position, preference_name, severity)"
    " VALUES (?, 1, 'agent', 0, ?, 'minor')"
)
ALL = "all indexes"


def _trajectories(count: int, draw: Random) -> Iterable[tuple[Any, ...]]:
    return (trajectory_row(number, draw) for number in range(count))


def _violations(count: int, draw: Random) -> Iterable[tuple[Any, ...]]:
    return ((uuid7().hex, f"preference-{draw.randrange(50)}") for _ in range(count))


_TABLES: dict[str, tuple[str, Callable[[int, Random], Iterable[tuple[Any, ...]]]]] = {
    "trajectories": (INSERT_TRAJECTORY, _trajectories),
    "trajectory_violations": (_INSERT_VIOLATION, _violations),
}


def prices(
    path: Path, rounds: int, *, rows: int = ROWS, inserted: int = INSERTED
) -> dict[str, Figures]:
    """Say by index what it adds to the microseconds of a row, the median of interleaved rounds."""
    draw = Random(0)  # noqa: S311 - not for secrets
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=NORMAL")
    found: dict[str, Figures] = {}
    for table, (insert, make) in _TABLES.items():
        connection.execute("BEGIN")
        connection.executemany(insert, make(rows, draw))
        connection.execute("COMMIT")
        indexes: dict[str, str] = dict(
            connection.execute(
                "SELECT name, sql FROM sqlite_master"
                " WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL",
                (table,),
            ).fetchall()
        )
        seen: dict[str, list[float]] = {name: [] for name in (ALL, *indexes)}
        for _ in range(rounds):
            for name, took in seen.items():
                if name in indexes:
                    connection.execute(f'DROP INDEX "{name}"')
                took.append(_insert(connection, table, insert, make(inserted, draw)))
                if name in indexes:
                    connection.execute(indexes[name])
        whole = median(seen[ALL]) / inserted * 1e6
        for name in indexes:
            added = [all_ - one for all_, one in zip(seen[ALL], seen[name], strict=True)]
            price = median(added) / inserted * 1e6
            found[name] = {"index_us": price, "index_percent": 100 * price / whole}
        found[f"{table}: {ALL}"] = {"index_us": whole, "index_percent": 100.0}
    connection.close()
    return found


def _insert(
    connection: sqlite3.Connection, table: str, insert: str, rows: Iterable[tuple[Any, ...]]
) -> float:
    """Insert rows in batches, and take them out again, outside the timing; give the seconds."""
    last = connection.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0]  # noqa: S608
    made = list(rows)
    began = perf_counter()
    for start in range(0, len(made), BATCH):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, made[start : start + BATCH])
        connection.execute("COMMIT")
    seconds = perf_counter() - began
    connection.execute(f"DELETE FROM {table} WHERE rowid > ?", (last,))  # noqa: S608
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return seconds
