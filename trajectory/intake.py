"""The way into the buffer: accept, make wait, or turn down.

**Accepting.** Room is reserved, the journal appended to, the buffer added to, without an await in
between: a call that is refused or cancelled leaves nothing behind, and a journal that fails gives
the room back. What was accepted is the writer's (see `trajectory.writer`).

**Spilling.** With `overflow="spill"`, what finds the buffer full goes into the journal alone, and
all that follows as well, until the writer has taken everything back in order.

**Waiting.** Callers only ever wait for futures, so cancelling one reaches no write. Every wait has
an end: after its timeout, or once the writer has stopped.

**Large values.** Where there is a journal, the frame of a large value is made before all this, in
slices, while others have their turns on the event loop and may be accepted first. Nothing is
reserved meanwhile: who is cancelled leaves nothing, and what has closed or failed by then refuses.

**Offers.** Who can't wait may go beyond the limits, by a stated factor; then it is left out.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from trajectory.buffer import Buffer, RoomWaiter
from trajectory.errors import (
    BufferFullError,
    LoggerClosedError,
    TrajectoryError,
    WriteFailedError,
)
from trajectory.journal import LARGE_BYTES, Frame, Journal, LargeFrames
from trajectory.ledger import Ledger
from trajectory.models import Fact, Logged, TrajectoryEnd, Turn
from trajectory.report import ACCEPTED, DROPPED, Accepted, Dropped
from trajectory.settings import LoggerSettings, OnFailure, Overflow
from trajectory.settlement import Settlement
from trajectory.spill import Spill
from trajectory.writer import Writer

OFFERS_BEYOND = 10
"""What is offered may fill the buffer so many times over."""


class Intake:
    """Accepts and bounds. Belongs to the writer's event loop."""

    def __init__(
        self,
        settings: LoggerSettings,
        buffer: Buffer,
        ledger: Ledger,
        writer: Writer,
        settlement: Settlement,
        *,
        journal: Journal | None,
        spill: Spill,
        failed: Callable[[], WriteFailedError],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._log_timeout = settings.log_timeout_ms / 1000
        self._overflow = settings.overflow
        self._waits = settings.overflow in (Overflow.WAIT, Overflow.SPILL)
        self._buffer = buffer
        self._ledger = ledger
        self._writer = writer
        self._settlement = settlement
        self._journal = journal
        self._frames = LargeFrames()
        self._large = sys.maxsize if journal is None else LARGE_BYTES
        self._spill = spill
        self._failed = failed
        self._closing = False

    def accept_at_once(self, turn: Turn, size: int) -> Accepted | None:
        """Accept a turn that finds room; None where it is for `accept` to decide.

        The hot path of logging: `_reserve` and `_add`, written out for a turn, in half of their
        instructions.
        """
        buffer = self._buffer
        if (
            self._closing
            or self._writer.refuses
            or self._spill.count
            or size >= self._large
            or not buffer.reserve_turn(size)
        ):
            return None
        if self._journal is not None:
            try:
                self._journal.append(turn)
            except BaseException:
                buffer.release(is_turn=True, size=size)
                raise
        buffer.add((turn, size, self._writer.note_turn()))
        self._ledger.turns_accepted += 1
        return ACCEPTED

    def accept_nowait(
        self, value: Logged, size: int, frame: Frame | None = None
    ) -> Accepted | Dropped:
        """Accept now, or raise `BufferFullError` (with `drop_newest`: drop and count)."""
        if self._refuses:
            return self._turn_down(value)
        if self._reserve(value, size):
            return self._add(value, size, frame)
        if self._overflow is Overflow.DROP_NEWEST:
            return self.drop(value)
        if self._overflow is Overflow.SPILL and self._spill.fits(size):
            return self._add_beyond(value, frame)
        raise BufferFullError(self._buffer.full)

    async def accept(self, value: Logged, size: int) -> Accepted | Dropped:
        """Accept, waiting for room where the settings say so."""
        frame = None
        if size >= self._large and not self._refuses:
            frame = await self._frames.frame(value)
        if not self._waits:
            return self.accept_nowait(value, size, frame)
        if self._refuses:
            return self._turn_down(value)
        if self._overflow is Overflow.SPILL:
            return await self._accept_or_spill(value, size, frame)
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
        return self._add(value, size, frame)

    async def _accept_or_spill(
        self, value: Logged, size: int, frame: Frame | None
    ) -> Accepted | Dropped:
        deadline = self._loop.time() + self._log_timeout
        while True:
            if self._refuses:
                return self._turn_down(value)
            if self._reserve(value, size):
                return self._add(value, size, frame)
            if self._spill.fits(size):
                return self._add_beyond(value, frame)
            if not await self._spill.progress(deadline):
                raise BufferFullError(
                    f"{self._buffer.full}, and the journal has reached journal_max_bytes = "
                    f"{self._settings.journal_max_bytes}; waited log_timeout_ms = "
                    f"{self._settings.log_timeout_ms:g}"
                )

    def accept_offered(self, value: Logged, size: int) -> Accepted | Dropped:
        """Accept what can't wait: beyond the limits where they are reached, or drop and count."""
        if self._refuses:
            return self._turn_down(value)
        if self._reserve(value, size):
            return self._add(value, size)
        if self._overflow is Overflow.SPILL and self._spill.fits(size):
            return self._add_beyond(value)
        is_turn = isinstance(value, Turn)
        beyond = self._overflow is not Overflow.DROP_NEWEST and not self._spill.count
        if not beyond or not self._buffer.fits_beyond(OFFERS_BEYOND, is_turn=is_turn, size=size):
            return self.drop(value)
        self._buffer.reserve_beyond_limits(is_turn=is_turn, size=size)
        return self._add(value, size)

    def accept_end(self, end: TrajectoryEnd, size: int) -> Accepted | Dropped:
        """Accept an end, which never waits for room."""
        if self._refuses:
            return self._turn_down(end)
        if self._spill.count:
            return self._add_beyond(end)
        self._buffer.reserve_beyond_limits(is_turn=False, size=size)
        return self._add(end, size)

    async def accept_found(self, fact: Fact, size: int) -> int:
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

    def close(self) -> None:
        """Refuse all that comes from now on, and wake who waits for room."""
        self._closing = True
        self._buffer.turn_away(LoggerClosedError("the logger is closed"))
        self._spill.wake()

    def drop(self, value: Logged) -> Dropped:
        """Leave a value out, and count it."""
        self._ledger.note_dropped(value)
        return DROPPED

    def note_dropped(self, *, turns: int, others: int) -> None:
        """Count what was left out before it came here."""
        self._ledger.turns_dropped += turns
        self._ledger.others_dropped += others

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

    def _add(self, value: Logged, size: int, frame: Frame | None = None) -> Accepted:
        """Add what room was reserved for."""
        is_turn = isinstance(value, Turn)
        if self._journal is not None:
            try:
                self._journal.append(value, frame)
            except BaseException:
                self._buffer.release(is_turn=is_turn, size=size)
                raise
        self._buffer.add((value, size, self._loop.time()))
        self._ledger.note_accepted(is_turn=is_turn)
        self._writer.note_added(is_turn=is_turn)
        return ACCEPTED

    def _add_beyond(self, value: Logged, frame: Frame | None = None) -> Accepted:
        """Add to the journal alone."""
        assert self._journal is not None  # noqa: S101 - nothing fits into a spill without one
        self._journal.append(value, frame)
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
        raise self._failed()
