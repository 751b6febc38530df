"""Hostile backends: each wraps another one (a new `MemoryBackend` unless given) and misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from trajectory.backend import Batch, Capabilities, StorageBackend
from trajectory.backends.memory import MemoryBackend
from trajectory.errors import BackendUnavailableError
from trajectory.models import Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnQuery


class WrappedBackend:
    """Passes everything on; the base of the others."""

    def __init__(self, inner: StorageBackend | None = None) -> None:
        self.inner = MemoryBackend() if inner is None else inner

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.inner!r}>"

    @property
    def capabilities(self) -> Capabilities:
        """Those of the wrapped backend."""
        return self.inner.capabilities

    async def open(self) -> None:
        """Open the wrapped backend."""
        await self.inner.open()

    async def write(self, batch: Batch, /) -> None:
        """Write to the wrapped backend."""
        await self.inner.write(batch)

    def read_trajectories(self, query: TrajectoryQuery, /) -> AsyncIterator[Trajectory]:
        """Read from the wrapped backend."""
        return self.inner.read_trajectories(query)

    def read_turns(self, query: TurnQuery, /) -> AsyncIterator[Turn]:
        """Read from the wrapped backend."""
        return self.inner.read_turns(query)

    async def delete_trajectories(self, ids: Sequence[UUID], /) -> int:
        """Delete from the wrapped backend."""
        return await self.inner.delete_trajectories(ids)

    async def close(self) -> None:
        """Close the wrapped backend."""
        await self.inner.close()


class GatedBackend(WrappedBackend):
    """Parks each write at a gate, before anything is written, until it is let through.

    `batches` has all that was asked to be written, in order; `cancelled` counts the writes that
    were cancelled at the gate.
    """

    def __init__(self, inner: StorageBackend | None = None) -> None:
        super().__init__(inner)
        self.batches: list[Batch] = []
        self.cancelled = 0
        self._open = False
        self._passes = 0
        self._at_gate: list[asyncio.Future[None]] = []
        self._watchers: list[tuple[int, asyncio.Future[None]]] = []

    async def parked(self, writes: int) -> None:
        """Wait until so many writes have come to the gate, those let through included."""
        if len(self.batches) < writes:
            watcher = asyncio.get_running_loop().create_future()
            self._watchers.append((writes, watcher))
            await watcher

    def let_through(self, writes: int = 1) -> None:
        """Let so many writes pass."""
        self._passes += writes
        self._wake()

    def open_gate(self) -> None:
        """Let all writes pass from now on."""
        self._open = True
        self._wake()

    def close_gate(self) -> None:
        """Park all writes from now on."""
        self._open = False

    def _wake(self) -> None:
        for waiting in self._at_gate:
            if not waiting.done():
                waiting.set_result(None)
        self._at_gate.clear()

    async def write(self, batch: Batch, /) -> None:
        """Come to the gate; once let through, write."""
        self.batches.append(batch)
        for writes, watcher in self._watchers:
            if writes <= len(self.batches) and not watcher.done():
                watcher.set_result(None)
        try:
            while not self._open and not self._passes:
                waiting = asyncio.get_running_loop().create_future()
                self._at_gate.append(waiting)
                await waiting
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if not self._open:
            self._passes -= 1
        await super().write(batch)


class FailingBackend(WrappedBackend):
    """Raises an error in place of the first so many writes (None: of all), and writes nothing."""

    def __init__(
        self, error: Exception, times: int | None = None, inner: StorageBackend | None = None
    ) -> None:
        super().__init__(inner)
        self._error = error
        self._left = times

    async def write(self, batch: Batch, /) -> None:
        """Fail, or write once the failures are used up."""
        if self._left is None:
            raise self._error
        if self._left:
            self._left -= 1
            raise self._error
        await super().write(batch)


class CommitThenDisconnectBackend(WrappedBackend):
    """Writes, and says of every other write that its outcome is unknown."""

    def __init__(self, inner: StorageBackend | None = None) -> None:
        super().__init__(inner)
        self._writes = 0

    async def write(self, batch: Batch, /) -> None:
        """Write; lose every other answer."""
        await super().write(batch)
        self._writes += 1
        if self._writes % 2:
            raise BackendUnavailableError("the connection was lost before the answer came")


class SlowBackend(WrappedBackend):
    """Takes so many seconds for each write."""

    def __init__(self, delay: float, inner: StorageBackend | None = None) -> None:
        super().__init__(inner)
        self._delay = delay

    async def write(self, batch: Batch, /) -> None:
        """Wait, then write."""
        await asyncio.sleep(self._delay)
        await super().write(batch)
