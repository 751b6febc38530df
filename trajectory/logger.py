"""What people hold to write: `TrajectoryLogger`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import warnings
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from trajectory.admission import Admission
from trajectory.backend import StorageBackend
from trajectory.errors import (
    BackendUnavailableError,
    LoggerClosedError,
    TrajectoryError,
)
from trajectory.extracting import checked_extractor
from trajectory.lifecycle import Lifecycle
from trajectory.models import Logged, Question, Trajectory, TrajectoryEnd, Turn, Violation
from trajectory.observe import Observing
from trajectory.offering import Offering
from trajectory.redaction import Redact, checked_hook
from trajectory.report import Accepted, Dropped, FlushReport, Statistics
from trajectory.resume import last_turn_number
from trajectory.run import Run, RunContext
from trajectory.scoring.extraction import QuestionExtractor
from trajectory.settings import Durability, LoggerSettings, checked_settings
from trajectory.words import counted

_log = logging.getLogger(__name__)


class TrajectoryLogger(Observing):
    """Records turns while an agent runs, in batches, into a storage backend.

    `backend` is a SQLAlchemy URL, a file path, `":memory:"`, `memory://` or a `StorageBackend`.
    What the logger makes (from a URL or path) it closes; what it is handed stays yours: it is
    opened if need be, and never closed.

    `redact` sees every turn before anything keeps it, but no late facts and no trajectories.
    `extractor` looks for questions in the responses of stored turns, which become late facts under
    its source; without one, `extract_questions` puts in rules.

    Use it with `async with`, or `open` and `aclose`. It belongs to the event loop that opened it;
    from other threads call `log_turn_threadsafe`. In a forked child it begins anew at the next
    call, with a journal of its own; the parent stores what it had accepted.

    Promised: what was accepted is stored in order, once, whatever is cancelled; `aclose` and
    `flush` say by number what is not. If the loop ends without `aclose`, what was accepted is
    stored first. What the return of `log_turn` means is the level, `settings.durability`: by
    default (`journaled`) an accepted turn outlives a kill of the process.
    """

    def __init__(
        self,
        backend: str | os.PathLike[str] | StorageBackend = "trajectories.db",
        settings: LoggerSettings | None = None,
        *,
        redact: Redact | None = None,
        extractor: QuestionExtractor | None = None,
    ) -> None:
        settings = checked_settings(settings)
        self._waits = settings.durability in (Durability.SYNCED, Durability.STORED)
        self._admission = Admission(settings.max_turn_bytes, checked_hook(redact))
        extractor = checked_extractor(extractor, wanted=settings.extract_questions)
        self._life = Lifecycle(backend, settings, extractor=extractor)
        self._offering = Offering(self._life, self._admission)

    def __repr__(self) -> str:
        return f"<TrajectoryLogger {self._life}, backend {self.backend!r}>"

    @property
    def backend(self) -> StorageBackend:
        """The backend: what a reader of the same data uses, also for `:memory:`."""
        return self._life.backend

    @property
    def settings(self) -> LoggerSettings:
        """How this logger behaves; once it is open, with what the backend decides."""
        return self._life.settings

    async def open(self) -> Self:
        """Open the backend and start the writer.

        Raises `ConfigurationError`, `SchemaError`, `BackendUnavailableError` or another
        `BackendError`, each with what to do. A logger is opened once.
        """
        await self._life.open()
        _log.debug("opened %r", self)
        return self

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        try:
            await self.aclose()
        except TrajectoryError as failure:
            if error is None:
                raise
            # The body's exception goes on; ours must not take its place.
            error.add_note(f"besides, the trajectory logger failed: {failure}")

    def __del__(self) -> None:
        life: Lifecycle | None = getattr(self, "_life", None)  # None if the constructor raised
        if life is None or life.pending is None:
            return
        warnings.warn(
            f"unclosed {self!r} with {counted(life.pending, 'turn')} not stored; use `async with`, "
            f"or `await logger.aclose()` when done",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )

    # Logging.

    async def log_turn(self, turn: Turn) -> Accepted | Dropped:
        """Accept a turn; it will be stored (with `durability="stored"`: it is, on return).

        Waits for room while the buffer is full, up to `log_timeout_ms`. Raises `InvalidTurnError`
        (too large), `BufferFullError`, `LoggerClosedError`, or `WriteFailedError` after a failure
        for good; then, and when it is cancelled before the turn was accepted, nothing was taken.
        At level `stored` a `BackendUnavailableError` says that the turn was accepted and waits.
        Of a large turn (from 128 KiB) the journal's frame is made first, in slices between which
        the event loop goes on: what others log meanwhile may be accepted before it.
        """
        if not self._waits:
            return self._accept_at_once(turn) or await self._accept_turn(turn)
        deadline = self._deadline()
        return await self._until_durable(await self._accept_turn(turn), deadline)

    def log_turn_nowait(self, turn: Turn) -> Accepted | Dropped:
        """Accept a turn without waiting, `journaled` at most. Call it on the logger's loop.

        Raises as `log_turn` does, `BufferFullError` at once. Where there is a journal, a large turn
        keeps the event loop for up to 3 ms a megabyte, which `log_turn` does not.
        """
        dispatcher = self._life.dispatcher()
        turn, size = self._admission.turn(turn)
        return dispatcher.intake.accept_nowait(turn, size)

    def log_turn_threadsafe(self, turn: Turn) -> concurrent.futures.Future[Accepted | Dropped]:
        """Log a turn from another thread; the future has the outcome of `log_turn`.

        Don't wait for the future on the loop's own thread: it would wait for itself.
        """
        self._life.dispatcher(other_thread=True)
        loop = self._life.loop
        if loop is None or loop.is_closed():
            raise LoggerClosedError("the event loop of this logger is closed")
        return asyncio.run_coroutine_threadsafe(self.log_turn(turn), loop)

    async def log_question(
        self, trajectory_id: UUID, turn_number: int, question: Question
    ) -> Accepted | Dropped:
        """Log a question that was found after its turn was logged.

        Its `source` says who found it. Without a `position` it is placed by time, after the turn's
        own; with one, logging it again changes nothing. Raises as `log_turn` does.
        """
        return await self._log_fact(trajectory_id, turn_number, question)

    async def log_violation(
        self, trajectory_id: UUID, turn_number: int, violation: Violation
    ) -> Accepted | Dropped:
        """Log a violation that was found after its turn was logged; see `log_question`."""
        return await self._log_fact(trajectory_id, turn_number, violation)

    async def _log_fact(
        self, trajectory_id: UUID, turn_number: int, finding: Question | Violation
    ) -> Accepted | Dropped:
        dispatcher, deadline = await self._life.ready(), self._deadline()
        fact, size = self._admission.fact(trajectory_id, turn_number, finding)
        return await self._until_durable(await dispatcher.intake.accept(fact, size), deadline)

    async def _drop(
        self, trajectory_id: UUID, turn_number: int, finding: Question | Violation
    ) -> Dropped:
        """Leave out a fact whose turn was left out."""
        fact, _ = self._admission.fact(trajectory_id, turn_number, finding)
        return (await self._life.ready()).intake.drop(fact)

    def offer(self, value: Logged) -> None:
        """Log any value from code that may neither wait nor fail.

        A `Turn`, `Trajectory`, `Fact` or `TrajectoryEnd`; for callbacks of a framework, from any
        thread, with an event loop or without. It neither
        blocks nor raises an `Exception`: a failure is one warning a kind. Where the buffer is full
        it goes beyond, up to ten times `channel_capacity`; what is more is dropped and counted.
        On the logger's own loop the value is accepted on return, and survives a crash where the
        level is `journaled` or above; from another thread, once the loop has come to it. `flush`
        and `aclose` cover all that was offered before. A large one keeps the event loop as with
        `log_turn_nowait`.
        """
        self._offering.offer(value)

    def _recorder(self) -> TrajectoryLogger:
        return self

    # Trajectories.

    def trajectory(self, **fields: Any) -> RunContext:
        """Start a trajectory with an `async with` block, which gives its `Run`, and end it with it.

        `fields` are those of `Trajectory`: `spec_id`, `agent_name`, `run_id`, ... The id is new
        unless given. `trajectory.current()` gives the run inside the block.
        """
        return RunContext(self, Trajectory(**fields))

    async def start_trajectory(self, **fields: Any) -> Run:
        """Start a trajectory; call `end` on the run yourself. `fields`: as for `trajectory`."""
        return await self._start(Trajectory(**fields))

    async def log_trajectory(self, trajectory: Trajectory) -> Accepted | Dropped:
        """Log a start that is known as a value, with its end if that is known too.

        It merges with what is stored of it, in any order and any number of times.
        """
        dispatcher, deadline = await self._life.ready(), self._deadline()
        size = self._admission.trajectory(trajectory)
        return await self._until_durable(await dispatcher.intake.accept(trajectory, size), deadline)

    async def resume_trajectory(self, trajectory_id: UUID) -> Run:
        """Go on with a trajectory after the highest turn number that is stored or accepted.

        It must have one writer at a time: two that resume it give out the same numbers.

        Raises `BackendUnavailableError` where what was accepted could not be stored first: its
        highest number is not known then.
        """
        report = await self.flush()
        if report.pending:
            raise BackendUnavailableError(
                f"can't resume trajectory {trajectory_id} with {counted(report.pending, 'turn')} "
                f"not stored yet: its last number is not known; try again once the database answers"
            )
        return Run(self, trajectory_id, await last_turn_number(self.backend, trajectory_id))

    async def _start(self, start: Trajectory) -> Run:
        await self.log_trajectory(start)
        root_id = start.root_trajectory_id or start.parent_trajectory_id
        return Run(self, start.id, root_id=root_id)

    async def _accept_end(self, end: TrajectoryEnd) -> None:
        (await self._life.ready()).intake.accept_end(end, self._admission.end(end))

    # Waiting, closing, counting.

    async def flush(self, timeout: float | None = None) -> FlushReport:  # noqa: ASYNC109
        """Store all that was accepted before the call, and say what became of it.

        With an extractor: also the questions that are found in it.

        Not needed for safety; needed to read your own writes. It returns after `timeout` seconds
        (None: `flush_timeout_ms`) at the latest, with the rest as `pending`.

        Raises `WriteFailedError` (with the report) after a failure for good.
        """
        seconds = self.settings.flush_timeout_ms / 1000 if timeout is None else timeout
        dispatcher = await self._life.ready()
        await self._offering.arrived()
        return await dispatcher.flush(seconds)

    async def aclose(self, timeout: float | None = None) -> FlushReport:  # noqa: ASYNC109
        """Refuse new turns, store what was accepted, stop; say what became of it. Safe twice.

        It returns after `timeout` seconds (None: `close_timeout_ms`), or shortly after, with what
        could not be stored as `pending`. If its caller is cancelled, closing goes on.

        Raises `WriteFailedError` (with the report) after a failure for good, once.
        """
        seconds = self.settings.close_timeout_ms / 1000 if timeout is None else timeout
        await self._offering.arrived()
        return await self._life.close(seconds)

    def statistics(self) -> Statistics:
        """Count what happened since `open`. Takes a microsecond or two; never waits."""
        return self._life.dispatcher(other_thread=True).statistics()

    def _accept_at_once(self, turn: Turn) -> Accepted | None:
        """Accept a turn that finds room; None where it is for `_accept_turn` to decide."""
        intake = self._life.at_hand()
        size = self._admission.plain_size(turn)
        if intake is None or size is None:
            return None
        return intake.accept_at_once(turn, size)

    async def _accept_turn(self, turn: Turn) -> Accepted | Dropped:
        dispatcher = await self._life.ready()
        turn, size = self._admission.turn(turn)
        return await dispatcher.intake.accept(turn, size)

    def _deadline(self) -> float:
        """Give the loop's time by which a call that waits must have its answer."""
        if not self._waits:
            return 0.0
        return asyncio.get_running_loop().time() + self.settings.log_timeout_ms / 1000

    async def _until_durable(
        self, outcome: Accepted | Dropped, deadline: float
    ) -> Accepted | Dropped:
        if not self._waits or not outcome:
            return outcome
        dispatcher = self._life.dispatcher()
        if self.settings.durability is Durability.STORED:
            return await dispatcher.stored(deadline)
        await dispatcher.synced(deadline)
        return outcome
