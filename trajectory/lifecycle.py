"""From `open` to `aclose`: a backend, its journal and its dispatcher, on one event loop."""

from __future__ import annotations

import asyncio
import logging
import os
from asyncio import _get_running_loop  # which raises nothing where none runs
from functools import partial
from pathlib import Path

from trajectory.backend import StorageBackend, Survives
from trajectory.backends import open_backend
from trajectory.dead_letters import DeadLetters, dead_letters_in
from trajectory.dispatcher import Dispatcher
from trajectory.errors import (
    BackendUnavailableError,
    LoggerClosedError,
    TrajectoryError,
    in_words,
)
from trajectory.forks import forget_in_child
from trajectory.intake import Intake
from trajectory.journal import Journal, Orphan, leftovers
from trajectory.placement import placed
from trajectory.report import FlushReport
from trajectory.scoring.extraction import QuestionExtractor
from trajectory.settings import Durability, LoggerSettings, Overflow
from trajectory.threads import in_thread

_log = logging.getLogger(__name__)

_CLOSE_GRACE_S = 1.0
"""For the backend, once the turns' own time to close is over."""


_of_parents: list[Dispatcher] = []
"""Held for ever in a child: its tasks and timers belong to the parent's loop."""


class Lifecycle:
    """Opens once and closes once.

    What it makes (from a URL or path) it closes; a backend that it is handed is only opened.
    """

    def __init__(
        self,
        backend: str | os.PathLike[str] | StorageBackend,
        settings: LoggerSettings,
        dead_letters: DeadLetters | None = None,
        extractor: QuestionExtractor | None = None,
    ) -> None:
        self._owns_backend = not isinstance(backend, StorageBackend)
        self.backend = backend if isinstance(backend, StorageBackend) else open_backend(backend)
        self._dead_letters = dead_letters
        self._extractor = extractor
        self.settings = settings
        """As given; from `open` on, with what the backend decides."""
        # All mutable state.
        self.loop: asyncio.AbstractEventLoop | None = None
        self._dispatcher: Dispatcher | None = None
        self._intake: Intake | None = None
        self._journal: Journal | None = None
        self._orphans: list[tuple[Orphan, int]] = []
        self._began = False
        self.closed = False
        self._told_failure = False
        self._closing: asyncio.Task[FlushReport] | None = None
        self._closing_backend: asyncio.Task[None] | None = None
        self._reopening: asyncio.Task[None] | None = None
        self.epoch = 0
        """Goes up in each forked child."""
        self.forked = False
        """In a child, and not opened again there."""
        forget_in_child(self)

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
        try:
            if other_thread or asyncio.get_running_loop() is self.loop:
                return self._dispatcher
        except RuntimeError:  # no loop runs here
            pass
        raise TrajectoryError(_OTHER_LOOP)

    def at_hand(self) -> Intake | None:
        """Give the intake to code that runs on its loop; None where `ready` must say more."""
        if self._intake is None or _get_running_loop() is not self.loop:
            return None
        return self._intake

    def forget(self) -> None:
        """In a forked child: the parent stores what was accepted, and we begin anew.

        A backend that holds connections must have a `forget` of its own.
        """
        self.epoch += 1
        if not self._began or self.closed:
            return
        if self._dispatcher is not None:
            self._dispatcher.forget()
            _of_parents.append(self._dispatcher)
        self._release()
        if self._journal is not None:
            self._journal.forget()
        if (forget := getattr(self.backend, "forget", None)) is not None:
            forget()
        self._dispatcher = self._intake = self._journal = self.loop = None
        self._closing = self._closing_backend = self._reopening = None
        self._began, self.forked = False, True

    def _release(self) -> None:
        """Let go of what dead processes left."""
        for orphan, _turns in self._orphans:
            orphan.release()

    async def ready(self) -> Dispatcher:
        """Give the dispatcher, to code on its loop; in a child, open anew first."""
        if self.forked:
            if _running_loop() is None:
                raise TrajectoryError(
                    "a forked child can't go on with its parent's event loop; start one of its own "
                    "with asyncio.run()"
                )
            if self._reopening is None or self._reopening.done():  # else another call is at it
                self._reopening = asyncio.create_task(self.open(), name="trajectory-open")
            await asyncio.shield(self._reopening)
        return self.dispatcher()

    async def open(self) -> None:
        """Open the backend and the journal, and start the writer.

        Raises what the backend raises, and `JournalError`. A server that is away is no error where
        a journal can take what comes meanwhile.
        """
        if self._began:
            raise TrajectoryError("this logger was opened already; make a new one to log again")
        self._began = True
        journal = self._journal = None
        orphans = self._orphans = []
        try:
            is_open = await self._open_backend()
            place = placed(self.backend, self.settings)
            if place.journals and place.folder is not None:
                journal = self._journal = Journal(place.folder)
                journal.open()
                await in_thread(partial(_find_left, place.folder, orphans))
        except BaseException:
            self._began = False
            if journal is not None:
                journal.close()
            self._release()
            if self._owns_backend:
                await self.backend.close()
            raise
        self.loop, self.forked = asyncio.get_running_loop(), False
        self.settings = place.settings
        self._dispatcher = Dispatcher(
            self.backend,
            self.settings,
            dead_letters=self._dead_letters or dead_letters_in(place.folder),
            journal=journal,
            orphans=orphans,
            open_first=None if is_open else self._connect,
            at_loop_end=self._let_go,
            extractor=self._extractor,
        )
        self._intake = self._dispatcher.intake
        self._dispatcher.start()
        # The writer's first step: cancelled before it, it would store nothing.
        await asyncio.sleep(0)

    async def _open_backend(self) -> bool:
        """Open the backend; False where it is away and will be opened at the first contact."""
        try:
            await self._connect()
        except BackendUnavailableError as error:
            place = placed(self.backend, self.settings)
            if not place.journals or place.settings.overflow is not Overflow.SPILL:
                raise
            _log.warning(
                "%s; what is logged meanwhile waits in the journal in %s", error, place.folder
            )
            return False
        return True

    async def _connect(self) -> None:
        """Open the backend, and have it promise what the level does."""
        await self.backend.open()
        if self.settings.durability not in (Durability.SYNCED, Durability.STORED):
            return
        if self.backend.capabilities.survives is Survives.PROCESS_CRASH:
            promise = getattr(self.backend, "survive_power_loss", None)
            if promise is None:
                _log.warning("%r may lose its last batches with the power", self.backend)
            else:
                await promise()

    async def _let_go(self) -> None:
        """Close, as the loop ends: what is not stored is left to the next start."""
        if self._journal is not None:
            self._journal.close()
        if self._owns_backend:
            await self._close_backend()

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
        if self._journal is not None:
            self._journal.close()
        if self._owns_backend:
            await self._close_backend()
        return report

    async def _close_backend(self) -> None:
        # A task of its own: a backend may have to wait for its database, we need not.
        closing = self._closing_backend = asyncio.create_task(
            self.backend.close(), name="trajectory-close-backend"
        )
        await asyncio.wait({closing}, timeout=_CLOSE_GRACE_S)
        if not closing.done():
            _log.error("the backend is still closing: %r", self.backend)
        elif (error := closing.exception()) is not None:
            _log.error("the backend did not close: %s", in_words(error))


def _find_left(folder: Path, found: list[tuple[Orphan, int]]) -> None:
    """Find what dead processes left, and count its turns."""
    found += ((orphan, orphan.turns()) for orphan in leftovers(folder))


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
