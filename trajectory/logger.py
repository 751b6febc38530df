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

from trajectory.backend import StorageBackend
from trajectory.backends import open_backend
from trajectory.dispatcher import Dispatcher
from trajectory.errors import (
    InvalidTurnError,
    LoggerClosedError,
    TrajectoryError,
    in_words,
)
from trajectory.late import TimePositions
from trajectory.models import (
    Fact,
    Question,
    Trajectory,
    TrajectoryEnd,
    Turn,
    Violation,
    turn_bytes,
    value_bytes,
)
from trajectory.query import TurnQuery
from trajectory.redaction import Redact, checked_hook, redacted
from trajectory.report import Accepted, Dropped, FlushReport, Statistics
from trajectory.run import Run, RunContext
from trajectory.settings import Durability, LoggerSettings

_log = logging.getLogger(__name__)


class TrajectoryLogger:
    """Records turns while an agent runs, in batches, into a storage backend.

    `backend` is a SQLAlchemy URL, a file path, `":memory:"`, `memory://` or a `StorageBackend`.
    What the logger makes (from a URL or path) it closes; what it is handed stays yours: it is
    opened if need be, and never closed.

    `redact` sees every turn before anything keeps it, but no late facts and no trajectories.

    Use it with `async with`, or `open` and `aclose`. It belongs to the event loop that opened it;
    from other threads call `log_turn_threadsafe`.

    Promised: what was accepted is stored in order, once, whatever is cancelled; `aclose` and
    `flush` say by number what is not. If the loop ends without `aclose`, what was accepted is
    stored first. Not promised at level `queued` (the default): that accepted turns outlive a kill
    of the process; with `durability="stored"` the return of `log_turn` means that they do.
    """

    def __init__(
        self,
        backend: str | os.PathLike[str] | StorageBackend = "trajectories.db",
        settings: LoggerSettings | None = None,
        *,
        redact: Redact | None = None,
    ) -> None:
        self._closes_backend = not isinstance(backend, StorageBackend)
        self._backend = backend if isinstance(backend, StorageBackend) else open_backend(backend)
        self._settings = LoggerSettings() if settings is None else settings
        self._waits_for_commit = self._settings.durability is Durability.STORED
        self._redact = checked_hook(redact)
        self._dispatcher: Dispatcher | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._closing: asyncio.Task[FlushReport] | None = None
        self._closing_backend: asyncio.Task[None] | None = None
        self._late = TimePositions()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._dispatcher else "not open"
        return f"<TrajectoryLogger {state}, backend {self._backend!r}>"

    @property
    def backend(self) -> StorageBackend:
        """The backend: what a reader of the same data uses, also for `:memory:`."""
        return self._backend

    @property
    def settings(self) -> LoggerSettings:
        """How this logger behaves."""
        return self._settings

    async def open(self) -> Self:
        """Open the backend and start the writer.

        Raises `ConfigurationError`, `SchemaError`, `BackendUnavailableError` or another
        `BackendError`, each with what to do. A logger is opened once.
        """
        if self._dispatcher is not None:
            raise TrajectoryError("this logger was opened already; make a new one to log again")
        try:
            await self._backend.open()
        except BaseException:
            if self._closes_backend:
                await self._backend.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._dispatcher = Dispatcher(
            self._backend,
            self._settings,
            at_loop_end=self._backend.close if self._closes_backend else None,
        )
        self._dispatcher.start()
        await asyncio.sleep(
            0
        )  # the writer's first step: cancelled before it, it would store nothing
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
        dispatcher: Dispatcher | None = getattr(self, "_dispatcher", None)
        if dispatcher is None or self._closed:
            return
        warnings.warn(
            f"unclosed {self!r} with {dispatcher.report().pending} turns not stored; use "
            f"`async with`, or `await logger.aclose()` when done",
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
        """
        return await self._until_durable(await self._accept_turn(turn))

    def log_turn_nowait(self, turn: Turn) -> Accepted | Dropped:
        """Accept a turn without waiting, at level `queued`. Call it on the logger's loop.

        Raises as `log_turn` does, `BufferFullError` at once.
        """
        dispatcher = self._open_dispatcher()
        turn, size = self._at_the_door(turn)
        return dispatcher.accept_nowait(turn, size)

    def log_turn_threadsafe(self, turn: Turn) -> concurrent.futures.Future[Accepted | Dropped]:
        """Log a turn from another thread; the future has the outcome of `log_turn`.

        Don't wait for the future on the loop's own thread: it would wait for itself.
        """
        self._open_dispatcher(other_thread=True)
        assert self._loop is not None  # noqa: S101 - set with the dispatcher
        if self._loop.is_closed():
            raise LoggerClosedError("the event loop of this logger is closed")
        return asyncio.run_coroutine_threadsafe(self.log_turn(turn), self._loop)

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
        dispatcher = self._open_dispatcher()
        placed = self._late.place(finding)
        fact = Fact(trajectory_id=trajectory_id, turn_number=turn_number, finding=placed)
        size = self._checked(value_bytes(fact), f"a fact for turn {trajectory_id}/{turn_number}")
        return await self._until_durable(await dispatcher.accept(fact, size))

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
        dispatcher = self._open_dispatcher()
        size = self._checked(value_bytes(trajectory), f"trajectory {trajectory.id}")
        return await self._until_durable(await dispatcher.accept(trajectory, size))

    async def resume_trajectory(self, trajectory_id: UUID) -> Run:
        """Go on with a trajectory after the highest turn number that is stored or accepted.

        It must have one writer at a time: two that resume it give out the same numbers.
        """
        await self.flush()
        last = 0
        query = TurnQuery(ids=(trajectory_id,), descending=True, limit=1)
        async for turn in self._backend.read_turns(query):
            last = turn.turn_number
        return Run(self, trajectory_id, last)

    async def _start(self, start: Trajectory) -> Run:
        await self.log_trajectory(start)
        return Run(self, start.id)

    def _accept_end(self, end: TrajectoryEnd) -> None:
        self._open_dispatcher().accept_end(end, value_bytes(end))

    # Waiting, closing, counting.

    async def flush(self, timeout: float | None = None) -> FlushReport:  # noqa: ASYNC109
        """Store all that was accepted before the call, and say what became of it.

        Not needed for safety; needed to read your own writes. It returns after `timeout` seconds
        (None: `flush_timeout_ms`) at the latest, with the rest as `pending`.

        Raises `WriteFailedError` (with the report) after a failure for good.
        """
        seconds = self._settings.flush_timeout_ms / 1000 if timeout is None else timeout
        return await self._open_dispatcher().flush(seconds)

    async def aclose(self, timeout: float | None = None) -> FlushReport:  # noqa: ASYNC109
        """Refuse new turns, store what was accepted, stop; say what became of it. Safe twice.

        It returns after `timeout` seconds (None: `close_timeout_ms`), or shortly after, with what
        could not be stored as `pending`. If its caller is cancelled, closing goes on.

        Raises `WriteFailedError` (with the report) after a failure for good, at the first call.
        """
        dispatcher = self._dispatcher
        if dispatcher is None:
            return FlushReport(0, 0, 0)
        if asyncio.get_running_loop() is not self._loop:
            if not dispatcher.ended:
                raise TrajectoryError(_OTHER_LOOP)
            self._closed = True
            return dispatcher.report()  # it ended with its own loop
        seconds = self._settings.close_timeout_ms / 1000 if timeout is None else timeout
        first = self._closing is None
        self._closed = True
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(
                self._close(dispatcher, seconds), name="trajectory-close"
            )
        report = await asyncio.shield(self._closing)
        if first and (error := dispatcher.failure(report)) is not None:
            raise error
        return report

    async def _close(self, dispatcher: Dispatcher, seconds: float) -> FlushReport:
        report = await dispatcher.drain(seconds)
        if self._closes_backend:
            # A task of its own: a backend may have to wait for its database, we need not.
            closing = self._closing_backend = asyncio.create_task(
                self._backend.close(), name="trajectory-close-backend"
            )
            await asyncio.wait({closing}, timeout=_CLOSE_GRACE_S)
            if not closing.done():
                _log.error("the backend is still closing: %r", self._backend)
            elif (error := closing.exception()) is not None:
                _log.error("the backend did not close: %s", in_words(error))
        return report

    def statistics(self) -> Statistics:
        """Count what happened since `open`. Takes a microsecond or two; never waits."""
        return self._open_dispatcher(other_thread=True).statistics()

    async def _accept_turn(self, turn: Turn) -> Accepted | Dropped:
        dispatcher = self._open_dispatcher()
        turn, size = self._at_the_door(turn)
        return await dispatcher.accept(turn, size)

    async def _until_durable(self, outcome: Accepted | Dropped) -> Accepted | Dropped:
        if self._waits_for_commit and outcome:
            await self._open_dispatcher().stored()
        return outcome

    def _at_the_door(self, turn: Turn) -> tuple[Turn, int]:
        if not isinstance(turn, Turn):
            raise InvalidTurnError(f"a {type(turn).__name__} is no Turn; make a Turn of it first")
        if self._redact is not None:
            turn = redacted(turn, self._redact)
        return turn, self._checked(turn_bytes(turn), turn)

    def _checked(self, size: int, what: Turn | str) -> int:
        if size > self._settings.max_turn_bytes:
            name = (
                what if isinstance(what, str) else f"turn {what.trajectory_id}/{what.turn_number}"
            )
            raise InvalidTurnError(
                f"{name} takes {size} bytes, more than max_turn_bytes = "
                f"{self._settings.max_turn_bytes}; shorten it or raise the setting"
            )
        return size

    def _open_dispatcher(self, *, other_thread: bool = False) -> Dispatcher:
        if self._dispatcher is None:
            raise LoggerClosedError(_NOT_OPEN)
        if not other_thread and asyncio.get_running_loop() is not self._loop:
            raise TrajectoryError(_OTHER_LOOP)
        return self._dispatcher


_CLOSE_GRACE_S = 1.0  # for the backend, once the turns' own time to close is over

_OTHER_LOOP = (
    "this logger belongs to another event loop; from another thread call log_turn_threadsafe, and "
    "in another loop open a logger of its own"
)
_NOT_OPEN = "the logger is not open; use `async with`, or `await logger.open()` first"
