"""Between the logger and a backend: a bounded buffer, filled here and emptied by the writer.

**Accepting.** Room is reserved, the journal appended to, the buffer added to, without an await in
between: a call that is refused or cancelled leaves nothing behind, and a journal that fails gives
the room back. What was accepted is the writer's (see `trajectory.writer`).

**Spilling.** With `overflow="spill"`, what finds the buffer full goes into the journal alone, and
all that follows as well, until the writer has taken everything back in order.

**Waiting.** Callers only ever wait for futures, so cancelling one reaches no write. Every wait has
an end: after its timeout, or once the writer has stopped.

**Failure.** Once the writer has stopped for good, every later call raises (or, with
`on_failure="warn"`, drops and counts).

**Extracting.** With an extractor, stored turns are looked at beside all this (see
`trajectory.extracting`). What it finds comes in as facts; flushing and closing wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from trajectory.backend import StorageBackend
from trajectory.buffer import Buffer, RoomWaiter
from trajectory.dead_letters import DeadLetters
from trajectory.delivery import Delivery
from trajectory.errors import (
    BackendUnavailableError,
    BufferFullError,
    LoggerClosedError,
    TrajectoryError,
    WriteFailedError,
)
from trajectory.extracting import Extracting
from trajectory.journal import Journal, Orphan
from trajectory.ledger import Ledger
from trajectory.models import Fact, Logged, TrajectoryEnd, Turn
from trajectory.report import ACCEPTED, DROPPED, Accepted, Dropped, FlushReport, Statistics
from trajectory.scoring.extraction import QuestionExtractor
from trajectory.settings import LoggerSettings, OnFailure, Overflow
from trajectory.settlement import Settlement, synced
from trajectory.spill import Spill
from trajectory.writer import Writer


class Dispatcher:
    """Accepts and bounds; owns the writer. Belongs to one event loop, from `start` to `drain`."""

    def __init__(
        self,
        backend: StorageBackend,
        settings: LoggerSettings,
        *,
        dead_letters: DeadLetters,
        journal: Journal | None = None,
        orphans: Sequence[tuple[Orphan, int]] = (),
        open_first: Callable[[], Awaitable[None]] | None = None,
        at_loop_end: Callable[[], Awaitable[None]] | None = None,
        extractor: QuestionExtractor | None = None,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._log_timeout = settings.log_timeout_ms / 1000
        self._overflow = settings.overflow
        self._waits = settings.overflow in (Overflow.WAIT, Overflow.SPILL)
        self._journal = journal
        # All mutable state. Only the loop's thread touches it.
        self._buffer = Buffer(settings.channel_capacity, settings.channel_bytes)
        self._ledger = Ledger()
        self._spill = Spill(journal, settings.journal_max_bytes)
        self._extracting = Extracting(extractor, settings.channel_bytes, self._accept_found)
        self._delivery = Delivery(
            backend,
            settings,
            self._buffer,
            self._ledger,
            dead_letters=dead_letters,
            journal=journal,
            orphans=orphans,
            open_first=open_first,
            spill=self._spill,
            looking=self._extracting,
        )
        self._writer = Writer(
            self._delivery, settings, self._buffer, self._ledger, at_loop_end=at_loop_end
        )
        self._settlement = Settlement(self._ledger, self._writer, self._extracting)
        self._closing = False

    def start(self) -> None:
        """Start the writer on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._writer.start()

    def forget(self) -> None:
        """In a forked child: the writer is the parent's, and so is what it replays."""
        self._writer.forget()
        self._delivery.release()
        self._extracting.forget()

    # Accepting.

    def accept_at_once(self, turn: Turn, size: int) -> Accepted | None:
        """Accept a turn that finds room; None where it is for `accept` to decide.

        The hot path of logging, of plain calls alone.
        """
        if (
            self._closing
            or self._writer.refuses
            or self._spill.count
            or not self._buffer.reserve(is_turn=True, size=size)
        ):
            return None
        return self._add(turn, size)

    def accept_nowait(self, value: Logged, size: int) -> Accepted | Dropped:
        """Accept now, or raise `BufferFullError` (with `drop_newest`: drop and count)."""
        if self._refuses:
            return self._turn_down(value)
        if self._reserve(value, size):
            return self._add(value, size)
        if self._overflow is Overflow.DROP_NEWEST:
            return self.drop(value)
        if self._overflow is Overflow.SPILL and self._spill.fits(size):
            return self._add_beyond(value)
        raise BufferFullError(self._buffer.full)

    async def accept(self, value: Logged, size: int) -> Accepted | Dropped:
        """Accept, waiting for room where the settings say so."""
        if not self._waits:
            return self.accept_nowait(value, size)
        if self._refuses:
            return self._turn_down(value)
        if self._overflow is Overflow.SPILL:
            return await self._accept_or_spill(value, size)
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

    async def _accept_or_spill(self, value: Logged, size: int) -> Accepted | Dropped:
        deadline = self._loop.time() + self._log_timeout
        while True:
            if self._refuses:
                return self._turn_down(value)
            if self._reserve(value, size):
                return self._add(value, size)
            if self._spill.fits(size):
                return self._add_beyond(value)
            if not await self._spill.progress(deadline):
                raise BufferFullError(
                    f"{self._buffer.full}, and the journal has reached journal_max_bytes = "
                    f"{self._settings.journal_max_bytes}; waited log_timeout_ms = "
                    f"{self._settings.log_timeout_ms:g}"
                )

    def accept_end(self, end: TrajectoryEnd, size: int) -> Accepted | Dropped:
        """Accept an end, which never waits for room."""
        if self._refuses:
            return self._turn_down(end)
        if self._spill.count:
            return self._add_beyond(end)
        self._buffer.reserve_beyond_limits(is_turn=False, size=size)
        return self._add(end, size)

    async def _accept_found(self, fact: Fact, size: int) -> int:
        """Accept what was found in a stored turn, waiting for room; also while closing.

        Gives its number among all that was accepted.
        """
        while not self._writer.refuses:
            if self._spill.count:
                if self._spill.fits(size):
                    self._add_beyond(fact)
                    return self._ledger.accepted
            elif self._buffer.others < self._settings.channel_capacity:
                self._buffer.reserve_beyond_limits(is_turn=False, size=size)
                self._add(fact, size)
                return self._ledger.accepted
            await self._settlement.settled(self._log_timeout)
        raise LoggerClosedError("the writer has ended; the fact was not accepted")

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
                f"{self._buffer.full}; waited log_timeout_ms = {self._settings.log_timeout_ms:g}"
            ) from None
        except asyncio.CancelledError:
            self._buffer.leave(waiter)
            raise

    def _reserve(self, value: Logged, size: int) -> bool:
        """Reserve room, unless something that came earlier waits outside the buffer."""
        if self._spill.count:
            return False
        return self._buffer.reserve(is_turn=isinstance(value, Turn), size=size)

    def _add(self, value: Logged, size: int) -> Accepted:
        """Add what room was reserved for."""
        is_turn = isinstance(value, Turn)
        if self._journal is not None:
            try:
                self._journal.append(value)
            except BaseException:
                self._buffer.release(is_turn=is_turn, size=size)
                raise
        self._buffer.add((value, size, self._loop.time()))
        self._ledger.note_accepted(is_turn=is_turn)
        self._writer.note_added(is_turn=is_turn)
        return ACCEPTED

    def _add_beyond(self, value: Logged) -> Accepted:
        """Add to the journal alone."""
        assert self._journal is not None  # noqa: S101 - nothing fits into a spill without one
        self._journal.append(value)
        self._spill.note_added(self._loop.time())
        is_turn = isinstance(value, Turn)
        self._ledger.note_accepted(is_turn=is_turn)
        self._ledger.turns_spilled += is_turn
        self._writer.write_now()
        return ACCEPTED

    @property
    def _refuses(self) -> bool:
        return self._closing or self._writer.refuses

    def _turn_down(self, value: Logged) -> Dropped:
        if self._closing:
            raise LoggerClosedError("the logger is closed; nothing was accepted")
        if self._writer.failure is None:
            raise LoggerClosedError(
                "the writer has ended, with its event loop or because it was cancelled; nothing "
                "was accepted"
            )
        if self._settings.on_failure is OnFailure.WARN:
            return self.drop(value)
        raise self._writer.failed(self.report())

    # Waiting for what was accepted.

    async def synced(self, deadline: float) -> None:
        """Wait until all that was accepted so far survives power loss (the level `synced`).

        Raises `JournalError`: it was accepted, and survives the end of this process alone.
        """
        told = f"log_timeout_ms = {self._settings.log_timeout_ms:g}"
        await synced(self._journal, deadline, told)

    async def flush(self, timeout: float) -> FlushReport:  # noqa: ASYNC109 - it reports, not raises
        """Store all that was accepted so far; report by number what is not, after `timeout`."""
        turns = self._ledger.turns_accepted
        await self._settlement.complete(timeout)
        report = self._ledger.report(turns)
        if (error := self.failure(report)) is not None:
            raise error
        return report

    async def stored(self, deadline: float) -> Accepted | Dropped:
        """Wait until all that was accepted so far is committed (the level `stored`).

        `deadline` is a time of the loop. Raises `BackendUnavailableError` where it passes, and what
        the backend raised where it refused the value that was accepted last.
        """
        number = self._ledger.accepted
        if await self._settlement.settled(max(0.0, deadline - self._loop.time())):
            refusal = self._ledger.refusal(number)
            if refusal is not None:
                raise refusal
            return ACCEPTED
        if self._writer.failure is not None:
            if self._settings.on_failure is OnFailure.WARN:
                return DROPPED if self._journal is None else ACCEPTED  # it is kept
            raise self._writer.failed(self.report())
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
        self._spill.wake()
        turns = self._ledger.turns_accepted
        complete = await self._settlement.complete_for_good(timeout)
        if not self._writer.ended:
            if complete:
                await self._writer.stop()
            else:
                await self._writer.abandon()
        report = self._ledger.report(turns)
        self._settlement.tell_left(report.pending, self._delivery.kept)
        return report

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
        return self._writer.failed(report or self.report())

    def statistics(self) -> Statistics:
        """Count what happened since `start`."""
        oldest = self._buffer.oldest()
        return self._ledger.statistics(
            buffered_bytes=self._buffer.bytes,
            oldest_age=0.0 if oldest is None else max(0.0, self._loop.time() - oldest),
            merge_conflicts=getattr(self._backend, "merge_conflicts", 0),
            journal_bytes=0 if self._journal is None else self._journal.bytes,
            extraction=self._extracting.counts,
        )
