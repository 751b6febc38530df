"""Trying again, however often the database goes away."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from time import perf_counter

from trajectory.backend import Batch, StorageBackend
from trajectory.dead_letters import DeadLetterError
from trajectory.errors import BackendUnavailableError, PartialWriteError, in_words
from trajectory.settings import LoggerSettings

_log = logging.getLogger(__name__)


class Retry:
    """Writes to a backend until it has an answer, with pauses that double.

    It gives up never: who waits for it has a timeout of their own. Only what says of itself that a
    repeat may help is repeated; other errors are raised.
    """

    def __init__(
        self,
        backend: StorageBackend,
        settings: LoggerSettings,
        note_retry: Callable[[], None],
        note_written: Callable[[float], None],
        *,
        open_first: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._backend = backend
        self._initial = settings.retry_initial_ms / 1000
        self._longest = settings.retry_max_ms / 1000
        self._note_retry = note_retry
        self._note_written = note_written
        self._open_first = open_first

    async def write(self, batch: Batch) -> None:
        """Write a batch, and open the backend first if it was away till now.

        Writing again is safe after any outcome, since a backend is idempotent by key.
        """
        left = batch

        async def once() -> None:
            nonlocal left
            if self._open_first is not None:
                await self._open_first()
                self._open_first = None
            began = perf_counter()
            try:
                await self._backend.write(left)
            except PartialWriteError as error:
                left = left.without(error.done)
                if isinstance(error.__cause__, BackendUnavailableError):
                    raise error.__cause__ from None
                raise
            self._note_written(perf_counter() - began)

        await self.until_done(once, f"a batch of {len(batch)}")

    async def until_done(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        """Do some work until it succeeds."""
        pause = self._initial
        tries = 1
        while True:
            try:
                await work()
            except (BackendUnavailableError, DeadLetterError) as error:
                reason = in_words(error)
            else:
                if tries > 1:
                    _log.warning("%s is stored now, at try %d", what, tries)
                return
            self._note_retry()
            tries += 1
            # One line a pause: the pauses bound the log as well.
            _log.warning(
                "%s is not stored yet: %s; try %d follows in %.2f s at most",
                what,
                reason,
                tries,
                pause,
            )
            # Jitter, so that many writers don't come back in the same instant.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(2 * pause, self._longest)
