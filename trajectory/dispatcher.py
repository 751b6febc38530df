"""Between the logger and a backend: a bounded buffer, filled here and emptied by the writer.

What comes in is the intake's (see `trajectory.intake`), what goes out the writer's; here they are
put together, counted, flushed and drained.

**Failure.** Once the writer has stopped for good, every later call raises (or, with
`on_failure="warn"`, drops and counts).

**Extracting.** With an extractor, stored turns are looked at beside all this (see
`trajectory.extracting`). What it finds comes in as facts; flushing and closing wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from trajectory.backend import StorageBackend
from trajectory.buffer import Buffer
from trajectory.dead_letters import DeadLetters
from trajectory.delivery import Delivery
from trajectory.errors import (
    BackendUnavailableError,
    LoggerClosedError,
    WriteFailedError,
)
from trajectory.extracting import Extracting
from trajectory.intake import Intake
from trajectory.journal import Journal, Orphan
from trajectory.ledger import Ledger
from trajectory.models import Fact
from trajectory.report import ACCEPTED, DROPPED, Accepted, Dropped, FlushReport, Statistics
from trajectory.scoring.extraction import QuestionExtractor
from trajectory.settings import LoggerSettings, OnFailure
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
        self.intake = Intake(
            settings,
            self._buffer,
            self._ledger,
            self._writer,
            self._settlement,
            journal=journal,
            spill=self._spill,
            failed=lambda: self._writer.failed(self.report()),
        )

    def start(self) -> None:
        """Start the writer on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._writer.start()

    def forget(self) -> None:
        """In a forked child: the writer is the parent's, and so is what it replays."""
        self._writer.forget()
        self._delivery.release()
        self._extracting.forget()

    async def _accept_found(self, fact: Fact, size: int) -> int:
        return await self.intake.accept_found(fact, size)

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
        self.intake.close()
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
