"""From `open` to `aclose`: a backend and its dispatcher, on the event loop that opened them."""

from __future__ import annotations

import asyncio
import logging
import os

from trajectory.backend import StorageBackend
from trajectory.backends import open_backend
from trajectory.dispatcher import Dispatcher
from trajectory.errors import LoggerClosedError, TrajectoryError, in_words
from trajectory.report import FlushReport
from trajectory.settings import LoggerSettings

_log = logging.getLogger(__name__)

_CLOSE_GRACE_S = 1.0
"""For the backend, once the turns' own time to close is over."""


class Lifecycle:
    """Opens once and closes once.

    What it makes (from a URL or path) it closes; a backend that it is handed is only opened.
    """

    def __init__(
        self, backend: str | os.PathLike[str] | StorageBackend, settings: LoggerSettings
    ) -> None:
        self._owns_backend = not isinstance(backend, StorageBackend)
        self.backend = backend if isinstance(backend, StorageBackend) else open_backend(backend)
        self._settings = settings
        # All mutable state.
        self.loop: asyncio.AbstractEventLoop | None = None
        self._dispatcher: Dispatcher | None = None
        self._began = False
        self.closed = False
        self._told_failure = False
        self._closing: asyncio.Task[FlushReport] | None = None
        self._closing_backend: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return "closed" if self.closed else "open" if self._dispatcher else "not open"

    @property
    def pending(self) -> int | None:
        """How many turns an open logger has not stored; None if it isn't open."""
        if self._dispatcher is None or self.closed:
            return None
        return self._dispatcher.report().pending

    def dispatcher(self, *, other_thread: bool = False) -> Dispatcher:
        """Give the dispatcher, to code that runs on its loop (or may be on another thread)."""
        if self._dispatcher is None:
            raise LoggerClosedError(_NOT_OPEN)
        if not other_thread and _running_loop() is not self.loop:
            raise TrajectoryError(_OTHER_LOOP)
        return self._dispatcher

    async def open(self) -> None:
        """Open the backend and start the writer. Raises what the backend raises."""
        if self._began:
            raise TrajectoryError("this logger was opened already; make a new one to log again")
        self._began = True
        try:
            await self.backend.open()
        except BaseException:
            self._began = False
            if self._owns_backend:
                await self.backend.close()
            raise
        self.loop = asyncio.get_running_loop()
        self._dispatcher = Dispatcher(
            self.backend,
            self._settings,
            at_loop_end=self.backend.close if self._owns_backend else None,
        )
        self._dispatcher.start()
        # The writer's first step: cancelled before it, it would store nothing.
        await asyncio.sleep(0)

    async def close(self, seconds: float) -> FlushReport:
        """Drain within so many seconds, and close; a later call has the first one's answer.

        Raises `WriteFailedError` after a failure for good, once.
        """
        dispatcher = self._dispatcher
        if dispatcher is None:
            return FlushReport(0, 0, 0)
        if asyncio.get_running_loop() is not self.loop:
            if not dispatcher.ended:
                raise TrajectoryError(_OTHER_LOOP)
            self.closed = True
            return dispatcher.report()  # it ended with its own loop
        self.closed = True
        if self._closing is None:
            self._closing = asyncio.create_task(
                self._close(dispatcher, seconds), name="trajectory-close"
            )
        # The task goes on if this caller is cancelled or has less time than the first one.
        await asyncio.wait({self._closing}, timeout=seconds + 2 * _CLOSE_GRACE_S)
        report = self._closing.result() if self._closing.done() else dispatcher.report()
        if not self._told_failure and (error := dispatcher.failure(report)) is not None:
            self._told_failure = True
            raise error
        return report

    async def _close(self, dispatcher: Dispatcher, seconds: float) -> FlushReport:
        report = await dispatcher.drain(seconds)
        if not self._owns_backend:
            return report
        # A task of its own: a backend may have to wait for its database, we need not.
        closing = self._closing_backend = asyncio.create_task(
            self.backend.close(), name="trajectory-close-backend"
        )
        await asyncio.wait({closing}, timeout=_CLOSE_GRACE_S)
        if not closing.done():
            _log.error("the backend is still closing: %r", self.backend)
        elif (error := closing.exception()) is not None:
            _log.error("the backend did not close: %s", in_words(error))
        return report


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_OTHER_LOOP = (
    "this logger belongs to another event loop; from another thread call log_turn_threadsafe, and "
    "in another loop open a logger of its own"
)
_NOT_OPEN = "the logger is not open; use `async with`, or `await logger.open()` first"
