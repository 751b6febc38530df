"""Takes values from code that may neither wait nor fail: callbacks, other threads.

On the logger's loop a value is accepted within the call, and survives what the level promises.
From another thread it waits in a short queue for the loop's next step: what the loop never came to
take is lost with the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from trajectory.admission import Admission
from trajectory.errors import BufferFullError, InvalidTurnError, LoggerClosedError
from trajectory.forks import forget_in_child
from trajectory.guard import Guard
from trajectory.intake import OFFERS_BEYOND
from trajectory.lifecycle import Lifecycle
from trajectory.models import Fact, Logged, Trajectory, TrajectoryEnd, Turn


class Offering:
    """A way into a logger that never blocks and never raises."""

    def __init__(self, life: Lifecycle, admission: Admission) -> None:
        self._life = life
        self._admission = admission
        self._guard = Guard("the trajectory logger")
        # Filled by any thread; emptied on the loop.
        self._waiting: deque[tuple[Logged, int]] = deque()
        self._lock = threading.Lock()
        self._left_out = [0, 0]
        """Of other values, and of turns, since they were last counted as dropped."""
        self._opening: asyncio.Task[None] | None = None
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: what waits is the parent's."""
        self._waiting.clear()
        self._lock, self._left_out, self._opening = threading.Lock(), [0, 0], None

    def offer(self, value: Logged) -> None:
        """Take a value; what fails is told once a kind, and counted as dropped where it can be."""
        with self._guard:
            value, size = self._admitted(value)
            if self._life.forked:
                self._open_anew(value, size)
            elif _running_loop() is self._life.loop is not None:
                self.take_waiting()
                self._accept(value, size)
            else:
                self._hand_over(value, size)

    async def arrived(self) -> None:
        """On the loop: accept all that was offered before."""
        if self._opening is not None:
            await asyncio.wait({self._opening})
        self.take_waiting()

    def take_waiting(self) -> None:
        """On the loop: accept what other threads have handed over, in their order."""
        while self._waiting:
            value, size = self._waiting.popleft()
            with self._guard:
                self._accept(value, size)
        if any(self._left_out):
            with self._lock:
                others, turns = self._left_out
                self._left_out = [0, 0]
            with self._guard:
                self._life.dispatcher().intake.note_dropped(turns=turns, others=others)

    def _admitted(self, value: Logged) -> tuple[Logged, int]:
        if isinstance(value, Turn):
            return self._admission.turn(value)
        if isinstance(value, Fact):
            return self._admission.fact(value.trajectory_id, value.turn_number, value.finding)
        if isinstance(value, Trajectory):
            return value, self._admission.trajectory(value)
        if isinstance(value, TrajectoryEnd):
            return value, self._admission.end(value)
        raise InvalidTurnError(
            f"a {type(value).__name__} can't be offered; offer a Turn, a Trajectory, a Fact or a "
            f"TrajectoryEnd"
        )

    def _accept(self, value: Logged, size: int) -> None:
        intake = self._life.dispatcher().intake
        if isinstance(value, TrajectoryEnd):
            intake.accept_end(value, size)
        elif not intake.accept_offered(value, size):
            raise BufferFullError(
                f"no room for a {type(value).__name__} that was offered: it was dropped, and is "
                f"counted in statistics()"
            )

    def _hand_over(self, value: Logged, size: int) -> None:
        loop = self._life.loop
        if self._life.closed:
            raise LoggerClosedError("the logger is closed; nothing was accepted")
        if loop is None:
            raise LoggerClosedError("the logger is not open; open it first")
        if loop.is_closed():
            raise LoggerClosedError(
                "the event loop that the logger was opened on has ended; nothing was accepted"
            )
        limit = OFFERS_BEYOND * self._life.settings.channel_capacity
        if len(self._waiting) >= limit:
            with self._lock:
                self._left_out[isinstance(value, Turn)] += 1
            raise BufferFullError(
                f"{limit} values from other threads wait already for the event loop; one was left "
                f"out"
            )
        self._waiting.append((value, size))
        loop.call_soon_threadsafe(self.take_waiting)

    def _open_anew(self, value: Logged, size: int) -> None:
        """In a forked child, whose logger opens again at its first use."""
        loop = asyncio.get_running_loop()
        self._waiting.append((value, size))
        if self._opening is None or self._opening.done():
            self._opening = loop.create_task(self._open_and_take(), name="trajectory-offers")

    async def _open_and_take(self) -> None:
        with self._guard:
            await self._life.ready()
        self.take_waiting()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
