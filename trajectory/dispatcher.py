"""Between the logger and a backend: a bounded buffer and the one task that writes.

**Promise.** What was accepted leaves the buffer only after its batch has committed, in order of
acceptance. A batch whose outcome is unknown is written again by key.

**Flush.** A write starts when `buffer_size` turns wait, when the oldest is `flush_interval_ms`
old, or when somebody waits (for a flush, a commit or room). While a batch is being written the
next one fills, and takes all that is there. An idle dispatcher holds no timer.

**Cancellation.** Callers only ever wait for futures, so cancelling one reaches no write. When the
loop itself ends, the writer stores what is there before it goes, within `close_timeout_ms`.

**Failure.** An unavailable database is tried again, with pauses that double; a rejected batch and
any other error stop the writer for good: all who wait are woken, and every later call raises (or,
with `on_failure="warn"`, drops and counts).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from trajectory.backend import StorageBackend
from trajectory.buffer import Buffer, Item, Waiter, as_batch
from trajectory.errors import (
    BackendUnavailableError,
    BufferFullError,
    ConflictError,
    LoggerClosedError,
    TrajectoryError,
    WriteFailedError,
    in_words,
)
from trajectory.ledger import Ledger
from trajectory.models import TrajectoryEnd, Turn
from trajectory.report import ACCEPTED, DROPPED, Accepted, Dropped, FlushReport, Statistics
from trajectory.retry import write_until_stored
from trajectory.settings import LoggerSettings, OnFailure, Overflow

_log = logging.getLogger(__name__)

_GRACE_S = 0.25
"""How long a cancelled write may take to notice, once the time to close is over."""

_running: set[Dispatcher] = set()
"""Holds what runs: a logger that is forgotten while open must not take accepted turns with it."""


class Dispatcher:
    """Accepts, batches and writes. Belongs to one event loop, from `start` to `drain`."""

    def __init__(
        self,
        backend: StorageBackend,
        settings: LoggerSettings,
        *,
        at_loop_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._at_loop_end = at_loop_end
        self._interval = settings.flush_interval_ms / 1000
        self._buffer_size = settings.buffer_size
        self._waits = settings.overflow is Overflow.WAIT
        # All mutable state. Only the loop's thread touches it.
        self._buffer = Buffer(settings.channel_capacity, settings.channel_bytes)
        self._ledger = Ledger()
        self._turns_due = 0  # accepted since the batch that is being written was taken
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = asyncio.Event()
        self._closing = False
        self._abandoned = False
        self._failure: Exception | None = None
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the writer on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._writer = self._loop.create_task(self._run(), name="trajectory-writer")
        self._writer.add_done_callback(self._writer_ended)
        _running.add(self)

    # Accepting. From the reservation to the add there is no await.

    def accept_nowait(self, item: Item, size: int) -> Accepted | Dropped:
        """Accept now, or raise `BufferFullError` (with `drop_newest`: drop and count)."""
        if self._refuses:
            return self._turn_down(item)
        if self._buffer.reserve(is_turn=isinstance(item, Turn), size=size):
            return self._add(item, size)
        if self._settings.overflow is Overflow.DROP_NEWEST:
            return self._drop(item)
        raise BufferFullError(self._full())

    async def accept(self, item: Item, size: int) -> Accepted | Dropped:
        """Accept, waiting for room where the settings say so."""
        if not self._waits:
            return self.accept_nowait(item, size)
        if self._refuses:
            return self._turn_down(item)
        is_turn = isinstance(item, Turn)
        if not self._buffer.reserve(is_turn=is_turn, size=size):
            try:
                await self._room(Waiter(is_turn, size, self._loop.create_future()))
            except TrajectoryError:
                if not self._refuses:
                    raise
                return self._turn_down(item)  # closed, or failed for good, in the meantime
            if self._refuses:
                self._buffer.release(is_turn=is_turn, size=size)
                return self._turn_down(item)
        return self._add(item, size)

    def accept_end(self, end: TrajectoryEnd, size: int) -> Accepted | Dropped:
        """Accept an end, which never waits for room."""
        if self._refuses:
            return self._turn_down(end)
        self._buffer.reserve_beyond_limits(size)
        return self._add(end, size)

    async def _room(self, waiter: Waiter) -> None:
        self._buffer.wait(waiter)
        self._due.set()
        try:
            async with asyncio.timeout(self._settings.log_timeout_ms / 1000):
                await waiter.granted
        except TimeoutError:
            self._buffer.leave(waiter)
            raise BufferFullError(
                f"{self._full()}; waited log_timeout_ms = {self._settings.log_timeout_ms:g}"
            ) from None
        except asyncio.CancelledError:
            self._buffer.leave(waiter)
            raise

    def _add(self, item: Item, size: int) -> Accepted:
        self._buffer.add((item, size, self._loop.time()))
        if isinstance(item, Turn):
            self._ledger.turns_accepted += 1
            self._turns_due += 1
        else:
            self._ledger.others_accepted += 1
        if self._turns_due >= self._buffer_size or self._buffer.waiting:
            self._due.set()
        elif self._timer is None and not self._writing:
            self._timer = self._loop.call_later(self._interval, self._due.set)
        return ACCEPTED

    @property
    def _refuses(self) -> bool:
        return self._closing or self._failure is not None

    def _turn_down(self, item: Item) -> Dropped:
        if self._closing:
            raise LoggerClosedError("the logger is closed; nothing was accepted")
        if self._settings.on_failure is OnFailure.WARN:
            return self._drop(item)
        raise self._failed()

    def _drop(self, item: Item) -> Dropped:
        self._ledger.note_dropped(item)
        return DROPPED

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

    async def stored(self) -> None:
        """Wait until all that was accepted so far is committed (the level `stored`)."""
        if await self._stored(self._settings.log_timeout_ms / 1000):
            return
        if (error := self.failure()) is not None:
            raise error
        raise BackendUnavailableError(
            f"the turn was accepted but not stored within log_timeout_ms = "
            f"{self._settings.log_timeout_ms:g}; it waits in the buffer for the database"
        )

    async def drain(self, timeout: float) -> FlushReport:  # noqa: ASYNC109
        """Refuse new turns, store what is there, stop the writer; report within `timeout`."""
        self._closing = True
        self._buffer.turn_away(LoggerClosedError("the logger is closed"))
        turns = self._ledger.turns_accepted
        if self._writer is not None and not self._writer.done():
            if await self._stored(timeout):
                self._due.set()
                await asyncio.wait({self._writer})
            else:
                self._abandoned = True
                self._writer.cancel()
                await asyncio.wait({self._writer}, timeout=_GRACE_S)
        report = self._ledger.report(turns)
        if report.pending and self._failure is None:
            _log.error("closed with %d turns not stored", report.pending)
        return report

    async def _stored(self, timeout: float) -> bool:  # noqa: ASYNC109
        target = self._ledger.accepted
        if self._ledger.stored >= target:
            return True
        if self.ended:
            return False
        self._due.set()
        return await self._ledger.wait(target, timeout)

    @property
    def ended(self) -> bool:
        """Whether the writer has ended."""
        return self._writer is None or self._writer.done()

    def report(self) -> FlushReport:
        """Say what became of all turns so far."""
        return self._ledger.report(self._ledger.turns_accepted)

    def failure(self, report: FlushReport | None = None) -> WriteFailedError | None:
        """Give the error that a caller must see, if the writer failed for good."""
        if self._failure is None or self._settings.on_failure is OnFailure.WARN:
            return None
        return self._failed(report)

    def _failed(self, report: FlushReport | None = None) -> WriteFailedError:
        report = report or self.report()
        error = WriteFailedError(
            f"the writer stopped after {in_words(self._failure)}; {report.stored} turns are "
            f"stored, {report.pending} are not. Mend the cause, then open a new logger",
            report,
        )
        error.__cause__ = self._failure
        return error

    def statistics(self) -> Statistics:
        """Count what happened since `start`."""
        oldest = self._buffer.oldest()
        return self._ledger.statistics(
            buffered_bytes=self._buffer.bytes,
            oldest_age=0.0 if oldest is None else max(0.0, self._loop.time() - oldest),
            merge_conflicts=getattr(self._backend, "merge_conflicts", 0),
        )

    # The writer.

    async def _run(self) -> None:
        try:
            while not (self._closing and not len(self._buffer)):
                await self._due.wait()
                await self._write_waiting()
        except asyncio.CancelledError:
            if not self._abandoned:
                await self._last_writes()
            raise
        except Exception as error:  # noqa: BLE001 - whatever a backend raises ends here, loudly
            self._fail(error)

    async def _write_waiting(self) -> None:
        """Write all that waits, as one batch, and decide when the next is due."""
        self._due.clear()
        self._stop_timer()
        waiting = self._buffer.peek()
        if waiting:
            self._writing = True
            self._turns_due = 0
            try:
                await write_until_stored(
                    self._backend,
                    as_batch(waiting),
                    self._settings,
                    note_retry=self._ledger.note_retry,
                )
            finally:
                self._writing = False
            turns = self._buffer.drop(len(waiting))
            self._ledger.note_stored(turns=turns, others=len(waiting) - turns)
            _log.debug("stored a batch of %d turns, %d in all", turns, len(waiting))
        oldest = self._buffer.oldest()
        if oldest is None:
            return
        if (
            self._turns_due >= self._buffer_size
            or self._ledger.awaited
            or self._buffer.waiting
            or self._closing
        ):
            self._due.set()
        elif self._timer is None:
            self._timer = self._loop.call_at(oldest + self._interval, self._due.set)

    async def _last_writes(self) -> None:
        """Store what is there although the loop ends: nothing else will run on it afterwards.

        The batch that the cancellation met has an unknown outcome, and is written again by key.
        """
        _log.warning("the event loop ends while the logger is open; storing what is there")
        try:
            async with asyncio.timeout(self._settings.close_timeout_ms / 1000):
                while len(self._buffer):
                    await self._write_waiting()
        except TimeoutError:
            waiting = self._ledger.turns_waiting
            _log.error("the event loop ended with %d turns not stored", waiting)
        except Exception as error:  # noqa: BLE001
            self._fail(error)
        self._closing = True
        if self._at_loop_end is not None:
            await self._at_loop_end()

    def _fail(self, error: Exception) -> None:
        self._failure = error
        if isinstance(error, ConflictError):
            self._ledger.conflicts += len(error.keys)
        _log.error(
            "the writer stopped after %s; %d turns are not stored",
            in_words(error),
            self._ledger.turns_waiting,
        )

    def _writer_ended(self, writer: asyncio.Task[None]) -> None:
        """Wake all who wait: nothing will happen any more."""
        self._stop_timer()
        if self._failure is None and not self._closing:
            # asyncio shows an exception that isn't ours to whoever runs the loop.
            cause = None if writer.cancelled() else writer.exception()
            how = "cancelled" if cause is None else f"ended by {type(cause).__name__}"
            self._failure = TrajectoryError(f"the writer task was {how}")
        if self._failure is not None:
            self._buffer.turn_away(TrajectoryError("the writer stopped"))
        self._ledger.wake_all()
        _running.discard(self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
