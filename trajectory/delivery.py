"""From the buffer and the journal to the backend: batches, refusals, replay, and what is settled.

**One bad turn costs one turn.** A batch that is refused is cut until the bad values stand alone;
those become dead letters, the others are stored, in order. A fact that was found here can be
found again, and is of nobody's hand: where its turn is gone, it is not kept.

**Journal.** After each commit it hears up to where all is settled. What was spilled comes back
from it in order, as the buffer has room. What dead processes left is stored before all else.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from trajectory.backend import StorageBackend
from trajectory.buffer import Buffer, Buffered, next_batch
from trajectory.dead_letters import DeadLetter, DeadLetters
from trajectory.errors import ConflictError
from trajectory.isolation import write_isolating
from trajectory.journal import Journal, JournalError, Orphan
from trajectory.ledger import Ledger
from trajectory.models import Turn
from trajectory.retry import Retry
from trajectory.settings import LoggerSettings
from trajectory.spill import Spill
from trajectory.threads import in_thread
from trajectory.words import counted

_log = logging.getLogger(__name__)


class Looking(Protocol):
    """Who looks at what is stored, and logs what it finds there. Is never waited for."""

    def note_stored(self, values: Sequence[Buffered], settled: int) -> None:
        """Hear what was stored, and how many of the accepted values are settled now."""
        ...

    def note_refused(self, number: int) -> bool:
        """Hear that the accepted value of this number is refused; say whether it was found."""
        ...

    def note_replayed(self) -> None:
        """Hear that what dead processes left is stored."""
        ...


class Delivery:
    """Stores what a buffer holds, in order, and what its journal holds beside it."""

    def __init__(
        self,
        backend: StorageBackend,
        settings: LoggerSettings,
        buffer: Buffer,
        ledger: Ledger,
        *,
        dead_letters: DeadLetters,
        journal: Journal | None = None,
        orphans: Sequence[tuple[Orphan, int]] = (),
        spill: Spill,
        open_first: Callable[[], Awaitable[None]] | None = None,
        looking: Looking,
    ) -> None:
        self._retry = Retry(
            backend, settings, ledger.note_retry, ledger.note_written, open_first=open_first
        )
        self._buffer = buffer
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._journal = journal
        self._orphans = orphans
        self._letter: DeadLetter | None = None
        """Of the value that was refused last."""
        self._spill = spill
        self._looking = looking
        if orphans:
            ledger.begin_replay(sum(turns for _orphan, turns in orphans))

    @property
    def left(self) -> int:
        """How many values are accepted and not settled."""
        return len(self._buffer) + self._spill.count

    @property
    def replaying(self) -> bool:
        """Whether what dead processes left is still to be stored, before all else."""
        return bool(self._orphans)

    @property
    def spilled(self) -> bool:
        """Whether something waits in the journal alone."""
        return self._spill.count > 0

    @property
    def kept(self) -> str:
        """Where what is left is kept, as the end of a sentence; nothing where it isn't."""
        if self._journal is None:
            return ""
        return (
            f"; the next logger that opens this database stores them, from the journal in "
            f"{self._journal.folder}"
        )

    async def deliver(self) -> None:
        """Store all that is in the buffer, as one batch."""
        waiting = self._buffer.peek()
        if waiting:
            await write_isolating(waiting, self._retry.write, self._settle)
        if self._spill.count:
            await self._fetch_spilled()

    async def _settle(self, values: Sequence[Buffered], refusal: Exception | None) -> None:
        kept = not self._was_found(refusal)
        if refusal is not None and kept:
            await self._set_aside(values[0], refusal)
        # No await from here on: what is settled leaves buffer, ledger and journal at once.
        turns = self._buffer.drop(len(values))
        if refusal is not None:
            self._ledger.note_refused(values[0][0], refusal, kept=kept)
        else:
            self._ledger.note_stored(turns=turns, others=len(values) - turns)
            _log.debug("stored a batch of %d turns, %d in all", turns, len(values))
        if self._journal is not None:
            self._journal.mark(self._ledger.settled)
        self._spill.wake()
        if refusal is None:
            self._looking.note_stored(values, self._ledger.settled)

    def _was_found(self, refusal: Exception | None) -> bool:
        """Say of the next value, if it is refused, whether it is a fact found in a turn now gone.

        Its dead letter would bring back what was erased. A conflict says that the turn is there.
        """
        if refusal is None or isinstance(refusal, ConflictError):
            return False
        return self._looking.note_refused(self._ledger.settled + 1)

    async def _set_aside(self, buffered: Buffered, refusal: Exception) -> None:
        letter = self._letter
        if letter is None or letter.value is not buffered[0]:
            letter = self._letter = DeadLetter.of(buffered[0], refusal)
        # Whoever is cancelled here comes back with the same letter, which is kept once.
        await self._retry.until_done(
            partial(self._dead_letters.add, letter), f"the dead letter of {letter.key}"
        )
        self._ledger.conflicts += isinstance(refusal, ConflictError)

    async def _fetch_spilled(self) -> None:
        """Take back from the journal what has room now."""
        room, room_bytes = self._buffer.room
        found = await self._spill.fetch(self._after_buffer, room, room_bytes)
        # No await from here on: what comes into the buffer leaves the spill at once.
        self._spill.take(len(found))
        for value, size in found:
            is_turn = isinstance(value, Turn)
            self._buffer.reserve_beyond_limits(is_turn=is_turn, size=size)
            self._buffer.add((value, size, self._spill.since))

    @property
    def _after_buffer(self) -> int:
        """The journal's number of the last value in the buffer: what was spilled follows it."""
        number = self._ledger.settled + len(self._buffer)
        assert number + self._spill.count == self._ledger.accepted  # noqa: S101 - or order is lost
        return number

    # What dead processes left.

    async def replay(self) -> None:
        """Store what dead processes left, and remove their segments."""
        if not self._orphans:
            return
        for orphan, turns in self._orphans:
            await self._replay(orphan, turns)
            orphan.release()
        self._orphans = ()
        self._looking.note_replayed()
        self._ledger.end_replay()

    async def _replay(self, orphan: Orphan, turns: int) -> None:
        before = self._ledger.replay_settled
        values = orphan.values()
        try:
            while chunk := await in_thread(partial(next_batch, values)):
                await write_isolating(chunk, self._retry.write, self._settle_replayed)
            orphan.remove()
        except JournalError as error:
            left = turns - (self._ledger.replay_settled - before)
            self._ledger.replayed -= left  # nobody waits for what can't be read now
            _log.error("%s; %s in it are not stored", error, counted(left, "turn"))
            return
        replayed = self._ledger.replay_settled - before
        self._ledger.replayed -= turns - replayed  # the others can't be read
        damage = orphan.damage
        _log.warning(
            "replayed %s from %s, which was left unfinished%s",
            counted(replayed, "turn"),
            orphan.path,
            f"; {damage.torn_bytes} bytes at its end and {damage.undecodable} damaged stretches "
            f"could not be read"
            if damage.torn_bytes or damage.undecodable
            else "",
        )

    async def _settle_replayed(self, values: Sequence[Buffered], refusal: Exception | None) -> None:
        if refusal is not None:
            await self._set_aside(values[0], refusal)
        turns = sum(isinstance(value, Turn) for value, _size, _time in values)
        self._ledger.note_replayed(turns=turns, stored=refusal is None)
        if refusal is None:
            self._looking.note_stored(values, self._ledger.settled)

    def release(self) -> None:
        """Nothing will be stored any more: leave to the next start what was not replayed."""
        for orphan, _turns in self._orphans:
            orphan.release()
        self._spill.wake()
