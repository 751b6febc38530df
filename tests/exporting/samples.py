"""Stores to export from, and exporters that watch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, BinaryIO
from uuid import UUID

from trajectory import StorageBackend, Trajectory, TrajectoryStore, Turn
from trajectory.backend import Batch
from trajectory.backends.memory import MemoryBackend
from trajectory.testing.samples import NOON

Conversation = tuple[Trajectory, Sequence[Turn]]


def run(number: int, turns: int = 2, **fields: Any) -> Conversation:
    """Make a trajectory with some turns; later ones have smaller ids and later times."""
    id_ = UUID(int=2**127 - number)
    given = {"created_at": NOON + timedelta(seconds=number), **fields}
    return Trajectory(id=id_, **given), tuple(
        Turn(
            trajectory_id=id_,
            turn_number=each,
            prompt=f"{number}-{each}",
            response="r",
            created_at=NOON,
        )
        for each in range(1, turns + 1)
    )


async def fill(backend: StorageBackend, conversations: Iterable[Conversation]) -> None:
    """Write conversations."""
    found = list(conversations)
    starts = tuple(trajectory for trajectory, _ in found)
    await backend.write(Batch(starts=starts, turns=tuple(t for _, turns in found for t in turns)))


@asynccontextmanager
async def stored(*conversations: Conversation) -> AsyncIterator[TrajectoryStore]:
    """Give a store in memory that holds conversations."""
    backend = MemoryBackend()
    await fill(backend, conversations)
    async with TrajectoryStore(backend) as store:
        yield store


class Watching:
    """An exporter whose files hold a line for each call; it can fail, or wait, at a turn."""

    name, version, suffix = "watching", "7", ".watched"

    def __init__(self, *, fails_at: str | None = None, for_training: bool = False) -> None:
        self.fails_at = fails_at
        self.for_training = for_training
        self.written = 0
        self.began = asyncio.Event()

    def begin(self, out: BinaryIO) -> WatchedFile:
        """Begin a file."""
        return WatchedFile(self, out)


class WatchedFile:
    """A file of `Watching`."""

    def __init__(self, exporter: Watching, out: BinaryIO) -> None:
        self.exporter, self.out = exporter, out
        self.left_out = Counter({"colour": 0})

    def start(self, trajectory: Trajectory) -> None:
        """Write a line."""
        self.out.write(f"start {trajectory.id.int - 2**127}\n".encode())
        self.left_out["colour"] += 1

    def turn(self, turn: Turn) -> None:
        """Write a line, or fail."""
        if turn.prompt == self.exporter.fails_at:
            raise ZeroDivisionError
        self.exporter.written += 1
        self.out.write(f"{turn.prompt}\n".encode())

    def end(self) -> None:
        """Write a line."""
        self.out.write(b"end\n")

    def close(self) -> None:
        """Write a line."""
        self.out.write(b"close\n")
