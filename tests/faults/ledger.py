"""A ledger outside of the library: what callers were told, compared with the database itself."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from faults.figures import Figures

from trajectory import EffortLevel, Question

Row = tuple[UUID, int, str, str, int]
"""Of a stored turn: trajectory, number, prompt, response, and how many questions belong to it."""

_ROWS = (
    "SELECT t.trajectory_id, t.turn_number, t.prompt, t.response, "
    "(SELECT count(*) FROM trajectory_questions q WHERE q.trajectory_id = t.trajectory_id "
    "AND q.turn_number = t.turn_number) FROM trajectory_turns t"
)


def prompt_of(id_: UUID, number: int) -> str:
    return f"prompt {number} of {id_}"


def response_of(id_: UUID, number: int) -> str:
    """Long or short by its number, so that frames and rows differ in size."""
    return f"response {number} of {id_} " + "r" * (number * 37 % 900)


def content_of(id_: UUID, number: int) -> dict[str, Any]:
    """Give what a turn of that key holds: a prompt, a response, and one question."""
    question = Question(question_text=f"q {number}", effort_level=EffortLevel.LOW)
    return {
        "prompt": prompt_of(id_, number),
        "response": response_of(id_, number),
        "questions": [question],
    }


class Acknowledgements:
    """A file to which a process writes each answer with one call of the system, as it comes.

    What was written outlives the process, however that ends.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def turn(self, id_: UUID, number: int) -> None:
        os.write(self._fd, f"turn {id_} {number}\n".encode())

    def start(self, id_: UUID) -> None:
        os.write(self._fd, f"start {id_} 0\n".encode())

    def event(self, name: str, number: int = 0) -> None:
        """Note that something happened, so many times: `done`, `refused`, `failed`."""
        os.write(self._fd, f"event {name} {number}\n".encode())

    def close(self) -> None:
        os.close(self._fd)


@dataclass
class Told:
    """What callers were told."""

    starts: set[UUID] = field(default_factory=set)
    turns: set[tuple[UUID, int]] = field(default_factory=set)
    events: Counter[str] = field(default_factory=Counter)

    def add(self, path: Path) -> None:
        """Read a file of acknowledgements; one that was never made says nothing."""
        if not path.exists():
            return
        # A kill may cut the last write at the end of a page: what has no end was not told.
        whole, _, _cut = path.read_text().rpartition("\n")
        for line in whole.splitlines():
            kind, name, number = line.split(" ")
            if kind == "turn":
                self.turns.add((UUID(name), int(number)))
            elif kind == "start":
                self.starts.add(UUID(name))
            else:
                self.events[name] += int(number) or 1


@dataclass
class Verdict:
    """What became of what callers were told."""

    acknowledged: int
    stored: int
    lost: int
    twice: int
    partial: int
    """Turns without their question or with other content, and trajectories with a gap."""
    unasked: int
    """Turns that are stored though no caller had an answer yet."""


def judge(told: Told, rows: Iterable[Row]) -> Verdict:
    """Compare."""
    found = list(rows)
    stored = Counter((id_, number) for id_, number, *_ in found)
    partial = sum(
        (prompt, response) != (prompt_of(id_, number), response_of(id_, number)) or questions < 1
        for id_, number, prompt, response, questions in found
    )
    last: Counter[UUID] = Counter()
    for id_, number in stored:
        last[id_] = max(last[id_], number)
    numbers = Counter(id_ for id_, _ in stored)
    gaps = sum(last[id_] != numbers[id_] for id_ in numbers)
    return Verdict(
        acknowledged=len(told.turns),
        stored=len(stored),
        lost=len(told.turns - stored.keys()),
        twice=len(found) - len(stored) + sum(row[4] > 1 for row in found),
        partial=partial + gaps,
        unasked=len(stored.keys() - told.turns),
    )


def add_up(figures: Figures, verdict: Verdict) -> None:
    """Add one trial's verdict to the figures."""
    figures.acknowledged += verdict.acknowledged
    figures.lost += verdict.lost
    figures.twice += verdict.twice
    figures.partial += verdict.partial


def sqlite_rows(path: Path, *, check: bool = True) -> list[Row]:
    """Read a database file without the library, and have SQLite check it."""
    with closing(sqlite3.connect(path)) as connection:
        if check:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return [(UUID(row[0]), *row[1:]) for row in connection.execute(_ROWS)]


async def postgres_rows(url: str, ids: Iterable[UUID]) -> list[Row]:
    """Read the turns of some trajectories without the library."""
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetch(f"{_ROWS} WHERE t.trajectory_id = ANY($1)", list(ids))
    finally:
        await connection.close()
    return [tuple(row) for row in found]
