"""One migration at a time in a process: Alembic's operations go through one global object."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trajectory.forks import forget_in_child

_LOOK_S = 0.005


class Turnstile:
    """Lets one caller through at a time, of any event loop and thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: whoever was inside is the parent's."""
        self._lock = threading.Lock()

    @asynccontextmanager
    async def one_at_a_time(self) -> AsyncIterator[None]:
        """Wait for the one who is inside. Looks now and then: no future spans event loops."""
        lock = self._lock
        while not lock.acquire(blocking=False):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        try:
            yield
        finally:
            lock.release()


MIGRATIONS = Turnstile()
