"""Beyond the buffer: what waits in the journal alone, and those who wait for room there."""

from __future__ import annotations

import asyncio
from collections import deque

from trajectory.journal import Journal, Journaled, decoded
from trajectory.threads import in_thread

_SMALL_BYTES = 32 * 1024
"""So much is decoded on the event loop, within a millisecond; more in a thread."""


class Spill:
    """Counts the values that only the journal holds; all of them come after those in the buffer."""

    def __init__(self, journal: Journal | None, max_bytes: int) -> None:
        self._journal = journal
        self._max_bytes = max_bytes
        self.count = 0
        self.since = 0.0
        """When the first of them was accepted, by the loop's time: none is older."""
        self._waiters: deque[asyncio.Future[None]] = deque()

    def fits(self, size: int) -> bool:
        """Say whether the journal may take so many bytes more."""
        return self._journal is not None and self._journal.bytes + size <= self._max_bytes

    async def progress(self, deadline: float) -> bool:
        """Wait until something was stored; say whether it was, before that time of the loop."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                await waiter
        except TimeoutError:
            return False
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return True

    def wake(self) -> None:
        """Let all who wait look again, in their order."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    async def fetch(self, after: int, limit: int, max_bytes: int) -> list[tuple[Journaled, int]]:
        """Give what comes after a number, each with its bytes; it stays counted here until `take`.

        Raises `JournalError`.
        """
        if self._journal is None:
            return []
        frames = self._journal.frames(after, min(limit, self.count), max_bytes)
        if sum(found.size for _path, found in frames) < _SMALL_BYTES:
            return decoded(frames)
        return await in_thread(lambda: decoded(frames))

    def note_added(self, now: float) -> None:
        """Count a value that was appended to the journal."""
        if not self.count:
            self.since = now
        self.count += 1

    def take(self, count: int) -> None:
        """Note that so many of the first are in the buffer now."""
        self.count -= count
