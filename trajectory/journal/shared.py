"""Work that many wait for is done once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from trajectory.errors import in_words
from trajectory.journal.errors import JournalError


class SharedRound:
    """Runs a function for all who wait; who comes while it runs shares the next run."""

    def __init__(self, run: Callable[[], Awaitable[None]]) -> None:
        self._run = run
        self._waiting: list[asyncio.Future[Exception | None]] = []
        self._served: list[asyncio.Future[Exception | None]] = []
        self._task: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Return when a run that began after the call has ended. Raises `JournalError`.

        A cancelled caller leaves the others, and the run, alone.
        """
        answer: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._rounds(), name="trajectory journal sync")
            self._task.add_done_callback(self._abandon)
        error = await answer
        if error is not None:
            # One error object would collect the tracebacks of all who raise it.
            told = str(error) if isinstance(error, JournalError) else in_words(error)
            raise JournalError(told) from error

    async def _rounds(self) -> None:
        while self._waiting:
            self._served, self._waiting = self._waiting, []
            failed: Exception | None = None
            try:
                await self._run()
            except Exception as error:  # noqa: BLE001 - it belongs to those who wait
                failed = error
            for answer in self._served:
                if not answer.done():
                    answer.set_result(failed)

    def _abandon(self, task: asyncio.Task[None]) -> None:
        """Let nobody wait for ever for a task that ended in the middle, as with its loop."""
        if task is self._task and (task.cancelled() or task.exception() is not None):
            for answer in (*self._served, *self._waiting):
                answer.cancel()
            self._waiting = []
