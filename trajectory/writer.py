"""The one task that writes: decides when the buffer is delivered (see `trajectory.delivery`).

**Promise.** What was accepted leaves the buffer only after its batch has committed, in order of
acceptance. A batch whose outcome is unknown is written again by key.

**When.** A write starts when `buffer_size` turns wait, when the oldest is `flush_interval_ms` old,
or when somebody waits (for a flush, a commit or room). While a batch is being written the next
one fills, and takes all that is there. An idle writer holds no timer.

**Failure.** An unavailable database is tried again, with pauses that double; what is refused for
its content becomes a dead letter. Any other error stops the writer for good, and wakes all who
wait.

**The end of the loop.** When the loop goes while the logger is open, the writer stores what is
there before it goes, within `close_timeout_ms`, even if it is cancelled again.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
from collections.abc import Awaitable, Callable

from trajectory.buffer import Buffer
from trajectory.delivery import Delivery
from trajectory.errors import TrajectoryError, WriteFailedError, in_words
from trajectory.ledger import Ledger
from trajectory.report import FlushReport
from trajectory.settings import LoggerSettings
from trajectory.words import counted

_log = logging.getLogger(__name__)

_GRACE_S = 0.25
"""How long a cancelled write may take to notice, once the time to close is over."""

_CANCELS = 5
"""So many further cancellations does the end of a loop put up with; a second Ctrl-C is one."""

_running: set[Writer] = set()
"""Holds what runs: a logger that is forgotten while open must not take accepted turns with it."""


class Writer:
    """Stores what a buffer holds. Belongs to one event loop, from `start` to `stop`."""

    def __init__(
        self,
        delivery: Delivery,
        settings: LoggerSettings,
        buffer: Buffer,
        ledger: Ledger,
        *,
        at_loop_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._delivery = delivery
        self._close_timeout = settings.close_timeout_ms / 1000
        self._interval = settings.flush_interval_ms / 1000
        self._buffer_size = settings.buffer_size
        self._buffer = buffer
        self._ledger = ledger
        self._at_loop_end = at_loop_end
        # All mutable state. Only the loop's thread touches it.
        self.failure: Exception | None = None
        self.refuses = False
        """Whether nothing will be stored any more: after a failure, or as the loop has ended."""
        self._turns_due = 0  # accepted since the batch that is being written was taken
        self._now = 0.0  # when the first of them was
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = asyncio.Event()
        self._closing = False
        self._abandoned = False
        self._task: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing will be written any more."""
        return self._task is None or self._task.done()

    def start(self) -> None:
        """Start the task on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="trajectory-writer")
        self._task.add_done_callback(self._note_end)
        _running.add(self)

    def forget(self) -> None:
        """In a forked child: end in silence, should the child go on with its parent's loop."""
        self._closing = self._abandoned = True
        if self._task is not None:
            self._task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
            self._task.cancel()
        _running.discard(self)

    def failed(self, report: FlushReport) -> WriteFailedError:
        """Give the error that says why the writer stopped, and what that means for the turns."""
        error = WriteFailedError(
            f"the writer stopped after {in_words(self.failure)}; {counted(report.stored, 'turn')} "
            f"stored, {report.pending} not{self._delivery.kept}. Mend the cause, then open a new "
            f"logger",
            report,
        )
        error.__cause__ = self.failure
        return error

    def tell_left(self) -> None:
        """At the end of the program, where the loop was closed under the task: say what is left."""
        left = self._ledger.turns_waiting
        if left:
            _log.error(
                "the program ended with %s not stored%s", counted(left, "turn"), self._delivery.kept
            )

    def note_added(self, *, is_turn: bool) -> None:
        """Decide, after something was added to the buffer, when it is due."""
        if is_turn:
            self.note_turn()
        elif self._timer is None and not self._writing:
            self._timer = self._loop.call_later(self._interval, self._due.set)
        if self._buffer.waiting:
            self._due.set()

    def note_turn(self) -> float:
        """Decide, for a turn that comes into the buffer, when it is due; give the loop's time.

        The clock is read for the first turn since a batch was taken, which will be the oldest.
        """
        due = self._turns_due = self._turns_due + 1
        if due == 1:
            self._now = self._loop.time()
        if due == self._buffer_size:
            self._due.set()
        elif self._timer is None and not self._writing and due < self._buffer_size:
            self._timer = self._loop.call_later(self._interval, self._due.set)
        return self._now

    def write_now(self) -> None:
        """Write at once what is there: somebody waits for it."""
        self._due.set()

    async def stop(self) -> None:
        """End once all is written."""
        self._closing = True
        self._due.set()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def abandon(self) -> None:
        """End at once; what is not written stays in the buffer."""
        self._closing = self._abandoned = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_GRACE_S)

    async def _run(self) -> None:
        try:
            await self._delivery.replay()
            while not (self._closing and not self._delivery.left):
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
        self._writing = True
        self._turns_due = 0
        try:
            await self._delivery.deliver()
        finally:
            self._writing = False
        oldest = self._buffer.oldest()
        if oldest is None:
            return
        if (
            self._buffer.turns >= self._buffer_size
            or self._delivery.spilled
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
        before = self._ledger.turns_stored
        deadline = self._loop.time() + self._close_timeout
        cancelled = 0
        watched: set[asyncio.Task[object]] = set()
        while self.failure is None and cancelled < _CANCELS:
            try:
                async with asyncio.timeout_at(deadline):
                    # What waits for a replay that is cut short is in the journal; stored without
                    # it, a fact would not find its turn.
                    while self._delivery.left and not self._delivery.replaying:
                        await self._write_waiting()
                    ending = self._ending_tasks()
                    if self._closing or not ending:  # one of them may be who closes us
                        break
                    for task in ending - watched:
                        task.add_done_callback(self._look_again)
                    watched |= ending
                    await self._due.wait()
            except asyncio.CancelledError:
                cancelled += 1
            except TimeoutError:
                break
            except Exception as error:  # noqa: BLE001
                self._fail(error)
        self.refuses = True
        left = self._ledger.turns_waiting
        _log.log(
            logging.ERROR if left else logging.WARNING,
            "the event loop ended while the logger was open: %s stored then, %d not%s",
            counted(self._ledger.turns_stored - before, "turn"),
            left,
            self._delivery.kept if left else "",
        )
        self._closing = cancelled < _CANCELS  # else the task was killed, which is a failure
        if self._at_loop_end is not None:
            await self._at_loop_end()

    def _ending_tasks(self) -> set[asyncio.Task[object]]:
        """Give the tasks that are cancelled with the loop and still clean up: they may log."""
        writers = {writer._task for writer in _running}  # noqa: SLF001
        return {
            task
            for task in asyncio.all_tasks()
            if task.cancelling() and task not in writers and not task.done()
        }

    def _look_again(self, _task: asyncio.Task[object]) -> None:
        self._due.set()

    def _fail(self, error: Exception) -> None:
        self.failure, self.refuses = error, True
        _log.error(
            "the writer stopped after %s, with %s not stored",
            in_words(error),
            counted(self._ledger.turns_waiting, "turn"),
        )

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """Wake all who wait: nothing will happen any more."""
        self._stop_timer()
        if self.failure is None and not self._closing:
            # asyncio shows an exception that isn't ours to whoever runs the loop.
            cause = None if task.cancelled() else task.exception()
            how = "cancelled" if cause is None else f"ended by {type(cause).__name__}"
            self.failure = TrajectoryError(f"the writer task was {how}")
        self.refuses = True
        self._delivery.release()
        self._buffer.turn_away(TrajectoryError("the writer stopped"))
        self._ledger.wake_all()
        _running.discard(self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@atexit.register  # before any logger is made, so it runs after those that close at exit
def _tell_of_all() -> None:
    for writer in list(_running):
        _running.discard(writer)
        writer.tell_left()
