"""Between the logger and a backend: a bounded buffer, filled here and emptied by the writer.

**Accepting.** From the reservation of room to the add there is no await, so a call that is refused
or cancelled leaves nothing behind. What was accepted is the writer's (see `trajectory.writer`).

**Waiting.** Callers only ever wait for futures, so cancelling one reaches no write. Every wait has
an end: after its timeout, or once the writer has stopped.

**Failure.** Once the writer has stopped for good, every later call raises (or, with
`on_failure="warn"`, drops and counts).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from trajectory.backend import StorageBackend
from trajectory.buffer import Buffer, RoomWaiter
from trajectory.errors import (
    BackendUnavailableError,
    BufferFullError,
    LoggerClosedError,
    TrajectoryError,
    WriteFailedError,
    in_words,
)
from trajectory.ledger import Ledger
from trajectory.models import Logged, TrajectoryEnd, Turn
from trajectory.report import ACCEPTED, DROPPED, Accepted, Dropped, FlushReport, Statistics
from trajectory.settings import LoggerSettings, OnFailure, Overflow
from trajectory.writer import Writer

_log = logging.getLogger(__name__)


class Dispatcher:
    """Accepts and bounds; owns the writer. Belongs to one event loop, from `start` to `drain`."""

    def __init__(
        self,
        backend: StorageBackend,
        settings: LoggerSettings,
        *,
        at_loop_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._log_timeout = settings.log_timeout_ms / 1000
        self._waits = settings.overflow is Overflow.WAIT
        # All mutable state. Only the loop's thread touches it.
        self._buffer = Buffer(settings.channel_capacity, settings.channel_bytes)
        self._ledger = Ledger()
        self._writer = Writer(
            backend, settings, self._buffer, self._ledger, at_loop_end=at_loop_end
        )
        self._closing = False

    def start(self) -> None:
        """Start the writer on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._writer.start()

    # Accepting.

    def accept_nowait(self, value: Logged, size: int) -> Accepted | Dropped:
        """Accept now, or raise `BufferFullError` (with `drop_newest`: drop and count)."""
        if self._refuses:
            return self._turn_down(value)
        if self._buffer.reserve(is_turn=isinstance(value, Turn), size=size):
            return self._add(value, size)
        if self._settings.overflow is Overflow.DROP_NEWEST:
            return self.drop(value)
        raise BufferFullError(self._full())

    async def accept(self, value: Logged, size: int) -> Accepted | Dropped:
        """Accept, waiting for room where the settings say so."""
        if not self._waits:
            return self.accept_nowait(value, size)
        if self._refuses:
            return self._turn_down(value)
        is_turn = isinstance(value, Turn)
        if not self._buffer.reserve(is_turn=is_turn, size=size):
            try:
                await self._room(RoomWaiter(is_turn, size, self._loop.create_future()))
            except TrajectoryError:
                if not self._refuses:
                    raise
                return self._turn_down(value)  # closed, or failed for good, in the meantime
            if self._refuses:
                self._buffer.release(is_turn=is_turn, size=size)
                return self._turn_down(value)
        return self._add(value, size)

    def accept_end(self, end: TrajectoryEnd, size: int) -> Accepted | Dropped:
        """Accept an end, which never waits for room."""
        if self._refuses:
            return self._turn_down(end)
        self._buffer.reserve_beyond_limits(size)
        return self._add(end, size)

    def drop(self, value: Logged) -> Dropped:
        """Leave a value out, and count it."""
        self._ledger.note_dropped(value)
        return DROPPED

    async def _room(self, waiter: RoomWaiter) -> None:
        self._buffer.wait(waiter)
        self._writer.write_now()
        try:
            async with asyncio.timeout(self._log_timeout):
                await waiter.granted
        except TimeoutError:
            self._buffer.leave(waiter)
            raise BufferFullError(
                f"{self._full()}; waited log_timeout_ms = {self._settings.log_timeout_ms:g}"
            ) from None
        except asyncio.CancelledError:
            self._buffer.leave(waiter)
            raise

    def _add(self, value: Logged, size: int) -> Accepted:
        self._buffer.add((value, size, self._loop.time()))
        is_turn = isinstance(value, Turn)
        self._ledger.note_accepted(is_turn=is_turn)
        self._writer.note_added(is_turn=is_turn)
        return ACCEPTED

    @property
    def _refuses(self) -> bool:
        return self._closing or self._writer.failure is not None

    def _turn_down(self, value: Logged) -> Dropped:
        if self._closing:
            raise LoggerClosedError("the logger is closed; nothing was accepted")
        if self._settings.on_failure is OnFailure.WARN:
            return self.drop(value)
        raise self._failed()

    def _full(self) -> str:
        return (
            f"the buffer is full ({self._buffer.turns} turns, {self._buffer.bytes} bytes; limits: "
            f"channel_capacity = {self._settings.channel_capacity}, channel_bytes = "
            f"{self._settings.channel_bytes}): the backend is slower than the agent, or away"
        )

    # Waiting for what was accepted.

    async def flush(self, timeout: float) -> FlushReport:  # noqa: ASYNC109 - it reports, not raises
        """Store all that was accepted so far; report by number what is not, after `timeout`."""
        turns = self._ledger.turns_accepted
        await self._stored(timeout)
        report = self._ledger.report(turns)
        if (error := self.failure(report)) is not None:
            raise error
        return report

    async def stored(self, deadline: float) -> Accepted | Dropped:
        """Wait until all that was accepted so far is committed (the level `stored`).

        `deadline` is a time of the loop. Raises `BackendUnavailableError` where it passes.
        """
        if await self._stored(max(0.0, deadline - self._loop.time())):
            return ACCEPTED
        if self._writer.failure is not None:
            if self._settings.on_failure is OnFailure.WARN:
                return DROPPED
            raise self._failed()
        if self._writer.ended:
            raise LoggerClosedError(
                "the turn was accepted, but the logger was closed before it was stored"
            )
        raise BackendUnavailableError(
            f"the turn was accepted but not stored within log_timeout_ms = "
            f"{self._settings.log_timeout_ms:g}; it waits in the buffer for the database"
        )

    async def drain(self, timeout: float) -> FlushReport:  # noqa: ASYNC109
        """Refuse new turns, store what is there, stop the writer; report within `timeout`."""
        self._closing = True
        self._buffer.turn_away(LoggerClosedError("the logger is closed"))
        turns = self._ledger.turns_accepted
        if not self._writer.ended:
            if await self._stored(timeout):
                await self._writer.stop()
            else:
                await self._writer.abandon()
        report = self._ledger.report(turns)
        if report.pending and self._writer.failure is None:
            _log.error("closed with %d turns not stored", report.pending)
        return report

    async def _stored(self, timeout: float) -> bool:  # noqa: ASYNC109
        target = self._ledger.accepted
        if self._ledger.stored >= target:
            return True
        if self._writer.ended:
            return False
        self._writer.write_now()
        return await self._ledger.wait(target, timeout)

    @property
    def ended(self) -> bool:
        """Whether the writer has ended."""
        return self._writer.ended

    def report(self) -> FlushReport:
        """Say what became of all turns so far."""
        return self._ledger.report(self._ledger.turns_accepted)

    def failure(self, report: FlushReport | None = None) -> WriteFailedError | None:
        """Give the error that a caller must see, if the writer failed for good."""
        if self._writer.failure is None or self._settings.on_failure is OnFailure.WARN:
            return None
        return self._failed(report)

    def _failed(self, report: FlushReport | None = None) -> WriteFailedError:
        cause = self._writer.failure
        report = report or self.report()
        error = WriteFailedError(
            f"the writer stopped after {in_words(cause)}; {report.stored} turns are "
            f"stored, {report.pending} are not. Mend the cause, then open a new logger",
            report,
        )
        error.__cause__ = cause
        return error

    def statistics(self) -> Statistics:
        """Count what happened since `start`."""
        oldest = self._buffer.oldest()
        return self._ledger.statistics(
            buffered_bytes=self._buffer.bytes,
            oldest_age=0.0 if oldest is None else max(0.0, self._loop.time() - oldest),
            merge_conflicts=getattr(self._backend, "merge_conflicts", 0),
        )
