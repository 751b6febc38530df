"""The logger for programs without an event loop: the same, on a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Coroutine
from multiprocessing.util import Finalize
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from trajectory.backend import StorageBackend
from trajectory.errors import LoggerClosedError, TrajectoryError, WriteFailedError
from trajectory.forks import forget_in_child
from trajectory.logger import TrajectoryLogger
from trajectory.models import Logged, Question, Trajectory, Turn, Violation
from trajectory.observe import Observing
from trajectory.redaction import Redact
from trajectory.report import Accepted, Dropped, FlushReport, Statistics
from trajectory.scoring.extraction import QuestionExtractor
from trajectory.settings import LoggerSettings
from trajectory.sync_run import SyncRun, SyncRunContext

_T = TypeVar("_T")

_of_parents: list[asyncio.AbstractEventLoop | None] = []
"""Held for ever in a child: to collect a loop would close what the parent's thread runs on."""

_FORGOTTEN_S = 10
"""How long a program's end waits for loggers that were forgotten while open."""


class SyncTrajectoryLogger(Observing):
    """`TrajectoryLogger` without `await`; any thread may call it. Use it with `with`.

    Each call waits for the background loop to answer: some tens of microseconds, while the turns
    are stored in batches behind it. Left open, it is closed when the program ends. Arguments,
    errors and promises: as for `TrajectoryLogger`.
    """

    def __init__(
        self,
        backend: str | os.PathLike[str] | StorageBackend = "trajectories.db",
        settings: LoggerSettings | None = None,
        *,
        redact: Redact | None = None,
        extractor: QuestionExtractor | None = None,
    ) -> None:
        self._logger = TrajectoryLogger(backend, settings, redact=redact, extractor=extractor)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._report: FlushReport | None = None
        self._gate = threading.Lock()
        self._stopped = False
        self._forked = False
        forget_in_child(self)

    def __repr__(self) -> str:
        return f"<Sync{repr(self._logger)[1:]}"

    @property
    def backend(self) -> StorageBackend:
        """The backend. It is async: read from it with a loop of your own after `close`."""
        return self._logger.backend

    def open(self) -> Self:
        """Start the thread and open the logger on it; raises as `TrajectoryLogger.open` does."""
        if self._thread is not None:
            raise TrajectoryError("this logger was opened already; make a new one to log again")
        self._start()
        self._at_exit = _closing_at_exit(weakref.ref(self))
        atexit.register(self._at_exit)
        try:
            self._wait(self._logger.open())
        except BaseException:
            self._stop()
            raise
        return self

    def _start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=_serve, args=(self._loop,), name="trajectory-logger", daemon=True
        )
        self._thread.start()

    def forget(self) -> None:
        """In a forked child: the thread is the parent's; the next call starts another."""
        if self._thread is None or self._stopped:
            return
        _of_parents.append(self._loop)
        self._loop = self._thread = None
        self._gate = threading.Lock()
        self._forked = True

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except TrajectoryError as failure:
            if error is None:
                raise
            error.add_note(f"besides, the trajectory logger failed: {failure}")

    def __del__(self) -> None:
        loop: asyncio.AbstractEventLoop | None = getattr(self, "_loop", None)
        if loop is None or loop.is_closed():
            return
        atexit.unregister(self._at_exit)
        # Nobody can close it any more, so it closes itself; only the program's end waits for that.
        if self._thread is not None:
            atexit.register(self._thread.join, _FORGOTTEN_S)
        closing = asyncio.run_coroutine_threadsafe(self._logger.aclose(), loop)
        closing.add_done_callback(lambda _done: loop.call_soon_threadsafe(loop.stop))
        self._warn()

    def _warn(self) -> None:
        warnings.warn(
            f"unclosed {self!r}; use `with`, or call `close()` when done. What was accepted is "
            f"stored now",
            ResourceWarning,
            stacklevel=3,
            source=self,
        )

    def log_turn(self, turn: Turn) -> Accepted | Dropped:
        """Accept a turn; see `TrajectoryLogger.log_turn`."""
        return self._wait(self._logger.log_turn(turn))

    def log_question(
        self, trajectory_id: UUID, turn_number: int, question: Question
    ) -> Accepted | Dropped:
        """Log a question late; see `TrajectoryLogger.log_question`."""
        return self._wait(self._logger.log_question(trajectory_id, turn_number, question))

    def log_violation(
        self, trajectory_id: UUID, turn_number: int, violation: Violation
    ) -> Accepted | Dropped:
        """Log a violation late; see `TrajectoryLogger.log_violation`."""
        return self._wait(self._logger.log_violation(trajectory_id, turn_number, violation))

    def log_trajectory(self, trajectory: Trajectory) -> Accepted | Dropped:
        """Log a start as a value; see `TrajectoryLogger.log_trajectory`."""
        return self._wait(self._logger.log_trajectory(trajectory))

    def offer(self, value: Logged) -> None:
        """Log from code that may neither wait nor fail; see `TrajectoryLogger.offer`."""
        if self._forked:
            self._start_in_child()
        if self._loop is not None and self._logger._life.forked:  # noqa: SLF001
            self._loop.call_soon_threadsafe(self._logger.offer, value)  # it opens anew there
        else:
            self._logger.offer(value)

    def _recorder(self) -> TrajectoryLogger:
        return self._logger

    def trajectory(self, **fields: Any) -> SyncRunContext:
        """Start a trajectory with a `with` block, and end it with it."""
        return SyncRunContext(self, Trajectory(**fields))

    def start_trajectory(self, **fields: Any) -> SyncRun:
        """Start a trajectory; call `end` on the run yourself."""
        return SyncRun(self, self._wait(self._logger.start_trajectory(**fields)))

    def resume_trajectory(self, trajectory_id: UUID) -> SyncRun:
        """Go on with a trajectory; see `TrajectoryLogger.resume_trajectory`."""
        return SyncRun(self, self._wait(self._logger.resume_trajectory(trajectory_id)))

    def flush(self, timeout: float | None = None) -> FlushReport:
        """Store all that was accepted before the call; see `TrajectoryLogger.flush`."""
        return self._wait(self._logger.flush(timeout))

    def close(self, timeout: float | None = None) -> FlushReport:
        """Store what was accepted, stop the thread; see `TrajectoryLogger.aclose`. Safe twice.

        Calls of other threads that are still waiting raise `LoggerClosedError`.
        """
        if self._thread is None or not self._thread.is_alive():
            return self._report or FlushReport(0, 0, 0)
        try:
            self._report = self._wait(self._logger.aclose(timeout))
        except WriteFailedError as error:
            self._report = error.report
            raise
        finally:
            self._stop()
        return self._report

    def statistics(self) -> Statistics:
        """Count what happened since `open`; see `TrajectoryLogger.statistics`."""
        return self._logger.statistics()

    def _wait(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise TrajectoryError("called on the logger's own thread, which would wait for itself")
        if self._forked:
            self._start_in_child()
        with self._gate:  # what gets in before the stop has an end; nothing gets in after it
            if self._loop is None or self._stopped:
                coroutine.close()
                raise LoggerClosedError(
                    "the logger is closed; nothing was accepted"
                    if self._stopped
                    else "the logger is not open; use `with`, or call `open()` first"
                )
            answer = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return answer.result()
        except concurrent.futures.CancelledError:
            raise LoggerClosedError("the logger was closed while this call waited") from None

    def _start_in_child(self) -> None:
        with self._gate:
            if self._forked:
                self._forked = False
                self._start()
                # A child of multiprocessing leaves without the functions of `atexit`.
                Finalize(None, self._at_exit, exitpriority=0)

    def _stop(self) -> None:
        if self._loop is None or self._thread is None:
            return
        atexit.unregister(self._at_exit)
        with self._gate:
            if not self._stopped:
                self._stopped = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and leave nothing of it behind, nor anybody waiting."""
    try:
        while True:
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                continue  # it belongs to the caller, whom the loop has still to tell
            break
        loop.run_until_complete(_end_tasks())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _end_tasks() -> None:
    await asyncio.sleep(0)  # calls that came just before the stop become tasks
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=1)


def _closing_at_exit(logger: weakref.ref[SyncTrajectoryLogger]) -> Callable[[], None]:
    """Close a logger that is open when the program ends; the program need not hold it for us."""

    def close() -> None:
        left = logger()
        if left is not None and not left._stopped:  # noqa: SLF001
            left._warn()  # noqa: SLF001
            left.close()

    return close
