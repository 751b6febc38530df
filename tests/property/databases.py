"""Memory, SQLite and Postgres side by side, driven with the same calls."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg

from trajectory import (
    StorageBackend,
    Trajectory,
    TrajectoryQuery,
    Turn,
    TurnQuery,
    open_backend,
)
from trajectory.backends.memory import MemoryBackend


class Databases:
    """The three, on an event loop that lives as long as they do."""

    def __init__(self, path: Path, url: str) -> None:
        self.path, self.url = path, url
        self.memory, self.sqlite, self.postgres = self.all = (
            MemoryBackend(),
            open_backend(path),
            open_backend(url),
        )
        self._runner = asyncio.Runner()
        for backend in self.all:
            self.run(backend.open())

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end."""
        return self._runner.run(coroutine)

    def empty(self) -> None:
        """Delete all: a new database for each example would take a second each."""
        for backend in self.all:
            found = self.run(trajectories_of(backend))
            self.run(backend.delete_trajectories([each.id for each in found]))

    def select_sqlite(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the file itself, past our code."""
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(statement).fetchall()

    def select_postgres(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the server itself, past our code."""

        async def select() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(self.url)
            try:
                return [tuple(row) for row in await connection.fetch(statement)]
            finally:
                await connection.close()

        return list(self.run(select()))

    def close(self) -> None:
        for backend in self.all:
            self.run(backend.close())
        self._runner.close()


async def trajectories_of(
    backend: StorageBackend, query: TrajectoryQuery | None = None
) -> list[Trajectory]:
    return [each async for each in backend.read_trajectories(query or TrajectoryQuery())]


async def turns_of(backend: StorageBackend, query: TurnQuery | None = None) -> list[Turn]:
    return [each async for each in backend.read_turns(query or TurnQuery())]
