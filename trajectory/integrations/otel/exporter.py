"""Makes trajectories of the spans that an instrumented program ends.

The spans of agents, models and tools are read (see `trajectory.genai.reading`), by the current
names of OpenTelemetry's conventions, by the older ones, and by those of OpenInference. All others
are passed by.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from trajectory.errors import ConfigurationError
from trajectory.forks import forget_in_child
from trajectory.genai.conventions import TRAJECTORY_ID
from trajectory.genai.gathering import MAX_BYTES, MAX_TRACES, Gathering
from trajectory.genai.reading import Told
from trajectory.genai.telling import SCOPE
from trajectory.guard import Guard
from trajectory.integrations import extra
from trajectory.models import Logged

with extra("otel"):
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    from trajectory.integrations.otel.spans import is_root, plain

GRACE_S = 2.0
IDLE_S = 3600.0


class Offers(Protocol):
    """What a logger is to an exporter."""

    def offer(self, value: Logged) -> None:
        """Take a value without waiting or failing."""
        ...


class TrajectorySpanExporter(SpanExporter):
    """Give it to a `BatchSpanProcessor` or a `SimpleSpanProcessor`, beside other exporters.

    A trace is gathered until its root and the parents of its spans have ended and `grace_s` seconds
    have passed; else until nothing has been heard of it for `idle_s`. Then its trajectories are
    offered to the logger. What ends later becomes further turns of them. Ids are derived from those
    of the spans, so the same spans exported twice are one trajectory.

    At most `max_traces` traces, and about `max_bytes` of what they say, are held: beyond that the
    trace which has waited longest is taken as it is.

    It never raises, and every export succeeds: what fails is one warning a kind. Shut the tracer
    provider down before the logger is closed, so that the last spans arrive; `force_flush` of the
    exporter doesn't wait for the grace, and that of a provider never reaches an exporter.
    """

    def __init__(
        self,
        logger: Offers,
        *,
        grace_s: float = GRACE_S,
        idle_s: float = IDLE_S,
        max_traces: int = MAX_TRACES,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("grace_s", grace_s), ("idle_s", idle_s)):
            if not 0 <= value < threading.TIMEOUT_MAX:
                raise ConfigurationError(f"{name} = {value} must be a number of seconds from 0")
        for name, value in (("max_traces", max_traces), ("max_bytes", max_bytes)):
            if value < 1:
                raise ConfigurationError(f"{name} = {value} must be 1 or more")
        self._logger = logger
        self._guard = Guard("the OpenTelemetry exporter")
        self._grace_s, self._idle_s = grace_s, idle_s
        self._max_traces, self._max_bytes = max_traces, max_bytes
        self._gathering = self._empty()
        self._clock = clock
        self._lock = threading.RLock()
        self._jobs: deque[Callable[[], None]] = deque()
        self._is_working = False
        self._timer: threading.Timer | None = None
        self._wakes_at = 0.0
        self._is_shut = False
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: what waits is the parent's."""
        self._gathering, self._lock, self._timer = self._empty(), threading.RLock(), None
        self._jobs, self._is_working = deque(), False

    @property
    def waiting(self) -> int:
        """How many traces wait to be whole."""
        return self._gathering.waiting

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans that have ended."""
        with self._guard:
            if self._is_shut:
                return SpanExportResult.FAILURE
            self._do(partial(self._add, tuple(spans)))
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - it never waits
        """Offer every trace that is whole, without waiting any longer."""
        with self._guard:
            self._do(lambda: self._offer(self._gathering.ended()), wait=True)
        return True

    def shutdown(self) -> None:
        """Offer all that waits, as it is. What is exported after this is refused."""
        with self._guard:
            self._is_shut = True
            self._do(lambda: self._offer(self._gathering.all()), wait=True)
            timer, self._timer = self._timer, None
            if timer is not None:
                timer.cancel()
                if timer is not threading.current_thread():
                    timer.join()

    def _do(self, job: Callable[[], None], *, wait: bool = False) -> None:
        """Have something done with what is gathered: here, or by the thread that is at it.

        A span may end anywhere, also where the garbage collector ends it in the midst of a job, in
        the thread that does it. So none waits for the other, and what is at it looks again. To
        `wait` is for the job to be done, unless this is within another one.
        """
        self._jobs.append(job)
        while self._lock.acquire(blocking=wait):
            if self._is_working:  # this very thread is, further out
                self._lock.release()
                return
            try:
                self._is_working = True
                while self._jobs:
                    with self._guard:
                        self._jobs.popleft()()
            finally:
                self._is_working = False
                self._lock.release()
            if not self._jobs:
                return

    def _empty(self) -> Gathering:
        return Gathering(
            grace_s=self._grace_s,
            idle_s=self._idle_s,
            max_traces=self._max_traces,
            max_bytes=self._max_bytes,
        )

    def _take(self, span: ReadableSpan, now: float) -> None:
        with self._guard:
            found = plain(span)
            if found.scope == SCOPE and TRAJECTORY_ID in found.attributes:
                return  # told by this library, of what is stored already
            self._offer(self._gathering.add(found, now, is_root=is_root(span)))

    def _offer(self, found: Iterable[Told]) -> None:
        for told in found:
            if told.trajectory is not None:
                self._logger.offer(told.trajectory)
            for turn in told.turns:
                self._logger.offer(turn)

    def _add(self, spans: Sequence[ReadableSpan]) -> None:
        now = self._clock()
        for span in spans:
            self._take(span, now)
        self._look(now)
        if self._is_shut:
            self._offer(self._gathering.all())

    def _look(self, now: float) -> None:
        """Read what is due, and have a thread look when the next will be, which ends then."""
        self._offer(self._gathering.due(now))
        due_at = self._gathering.due_at
        if due_at is None or self._is_shut:
            return
        if self._timer is not None:
            if self._wakes_at <= due_at:
                return
            self._timer.cancel()
        wait_s = min(max(due_at - now, 0), threading.TIMEOUT_MAX)
        self._timer, self._wakes_at = threading.Timer(wait_s, self._wake), due_at
        self._timer.name = "trajectory-spans"
        self._timer.daemon = True
        self._timer.start()

    def _wake(self) -> None:
        woken = threading.current_thread()
        with self._guard:
            self._do(partial(self._woken, woken))

    def _woken(self, timer: threading.Thread) -> None:
        if self._timer is timer:
            self._timer = None
        self._look(self._clock())
