"""A SQLite file with many turns, filled without the library so that ten million take minutes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.baselines import INSERT
from benchmarks.work import FIELDS, PROMPT, RESPONSE
from trajectory.ids import uuid7

TURNS_EACH = 100
_AT_ONCE = 50 * TURNS_EACH
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = ("spec_id", "agent_name", "run_id", "session_id", "user_id")
TRAJECTORY_COLUMNS = ("id", *LABELS, "parent_trajectory_id", "root_trajectory_id", "created_at")
INSERT_TRAJECTORY = (
    f"INSERT INTO trajectories ({', '.join(TRAJECTORY_COLUMNS)})"  # noqa: S608 - constants
    f" VALUES ({', '.join('?' * len(TRAJECTORY_COLUMNS))})"
)


def instant(number: int) -> str:
    """Give the time of the turn of this number, as the library stores it: a millisecond a turn."""
    return (_EPOCH + timedelta(milliseconds=number, microseconds=1)).strftime(
        "%Y-%m-%d %H:%M:%S.%f"
    )


def trajectory_row(number: int, draw: Random) -> tuple[Any, ...]:
    """Make a trajectory whose labels fall anywhere among the others', as those of live runs do."""
    labels = (f"{name}-{draw.randrange(10**6):06}" for name in LABELS)
    root = uuid7().hex
    return (uuid7().hex, *labels, root, root, instant(number * TURNS_EACH))


def fill(path: Path, turns: int, *, start: int = 0) -> None:
    """Insert turns number `start` to `turns`, a hundred a trajectory; leave the WAL empty."""
    draw = Random(start)  # noqa: S311 - not for secrets
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    for first in range(start, turns, _AT_ONCE):
        connection.execute("BEGIN")
        for number in range(first, min(first + _AT_ONCE, turns), TURNS_EACH):
            row = trajectory_row(number // TURNS_EACH, draw)
            connection.execute(INSERT_TRAJECTORY, row)
            connection.executemany(
                INSERT, turn_rows(row[0], number, min(TURNS_EACH, turns - number))
            )
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def turn_rows(id_: str, first: int, count: int) -> Iterable[tuple[Any, ...]]:
    """Make the turns of a trajectory, the first of them number `first` of all."""
    fields = tuple(FIELDS.values())
    return (
        (id_, number, PROMPT, RESPONSE, instant(first + number), *fields)
        for number in range(1, count + 1)
    )
