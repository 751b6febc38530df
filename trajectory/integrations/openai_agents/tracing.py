"""`TrajectoryProcessor`: what the SDK calls at the start and end of every trace and span."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from trajectory.forks import forget_in_child
from trajectory.guard import Guard
from trajectory.ids import uuid7
from trajectory.integrations import checked_logger, extra
from trajectory.integrations.openai_agents.live import LiveTrace
from trajectory.integrations.openai_agents.reading import label, storable
from trajectory.models import TrajectoryStatus
from trajectory.run import current

with extra("openai-agents"):
    from agents.tracing import Span, Trace, TracingProcessor

if TYPE_CHECKING:
    from trajectory import SyncTrajectoryLogger, TrajectoryLogger

SOURCE = "openai-agents"
MAX_LIVE = 1_000
"""Traces that may run at once; beyond, the oldest is logged as it is, and its end not awaited."""

_REMEMBERED = 1_000
_BEGINS_A_RUN = frozenset({"task", "agent"})


class _Ended(NamedTuple):
    """What is kept of a trace that has ended, in case it goes on."""

    header: dict[str, Any]
    last_turn: int
    status: TrajectoryStatus | None


class TrajectoryProcessor(TracingProcessor):
    """Records every trace of the OpenAI Agents SDK as a trajectory.

    `agents.add_trace_processor(TrajectoryProcessor(logger))`, once a process. `logger` is an open
    `TrajectoryLogger` or `SyncTrajectoryLogger`, and stays yours to close. A call takes
    microseconds, neither waits nor raises; a failure of ours is one warning a kind by `logging`.

    A call of the runner is a turn; agents that are handed over to, and agents that serve as tools
    or in guardrails, have trajectories of their own below. `run_id` is the id of the trace.
    """

    def __init__(self, logger: TrajectoryLogger | SyncTrajectoryLogger) -> None:
        super().__init__()
        self._logger = checked_logger(logger)
        self._guard = Guard("the OpenAI Agents integration")
        self._begin_anew()
        forget_in_child(self)

    def __repr__(self) -> str:
        return f"<TrajectoryProcessor, {len(self._live)} live traces, {self._logger!r}>"

    def _begin_anew(self) -> None:
        # Tools in threads and runs in other loops call from there; the collector may end a span in
        # the middle of a call.
        self._lock = threading.RLock()
        self._live: OrderedDict[str, LiveTrace] = OrderedDict()
        self._ended: OrderedDict[str, _Ended] = OrderedDict()

    def forget(self) -> None:
        """In a forked child: what runs is the parent's."""
        self._begin_anew()

    def on_trace_start(self, trace: Trace) -> None:
        """Begin a trajectory."""
        with self._guard, self._lock:
            known = self._live.get(trace.trace_id)
            if known is None:
                self._begin(trace.trace_id, _header(trace))
            else:
                known.starts += 1

    def on_trace_end(self, trace: Trace) -> None:
        """End the trajectory."""
        with self._guard, self._lock:
            live = self._live.get(trace.trace_id)
            if live is not None:
                live.starts -= 1
                if live.starts <= 0:
                    self._finish(trace.trace_id, live)

    def on_span_start(self, span: Span[Any]) -> None:
        """Note what began, and whose it is."""
        with self._guard, self._lock:
            live = self._live.get(span.trace_id)
            if live is None and span.span_data.type in _BEGINS_A_RUN:
                live = self._take_up(span)
            if live is not None:
                live.begin(span)

    def on_span_end(self, span: Span[Any]) -> None:
        """Take what a span knows once it has ended."""
        with self._guard, self._lock:
            live = self._live.get(span.trace_id)
            if live is not None:
                live.end(span)
                if live.starts <= 0 and live.is_idle:
                    self._finish(span.trace_id, live)

    def shutdown(self) -> None:
        """Log what is known of traces that have not ended. The SDK calls it as the program ends.

        A logger that is closed by then takes nothing more, and says so in a warning.
        """
        with self._guard, self._lock:
            while self._live:
                self._leave_oldest()

    def force_flush(self) -> None:
        """Do nothing: what was recorded is accepted. `await logger.flush()` stores it."""

    def _begin(self, trace_id: str, header: dict[str, Any]) -> LiveTrace:
        while len(self._live) >= MAX_LIVE:
            self._leave_oldest()
        before = self._ended.get(trace_id)
        live = LiveTrace(self._logger.offer, header if before is None else before.header)
        if before is not None:
            live.last_turn = before.last_turn
        self._live[trace_id] = live
        return live

    def _take_up(self, span: Span[Any]) -> LiveTrace:
        """Go on with a trace whose start was not told: a run that is resumed, or it was too old."""
        metadata = getattr(span, "trace_metadata", None)
        live = self._begin(span.trace_id, _new_header(span.trace_id, metadata=metadata))
        live.starts = 0
        return live

    def _finish(self, trace_id: str, live: LiveTrace) -> None:
        del self._live[trace_id]
        before = self._ended.pop(trace_id, None)
        status = live.finish(None if before is None else before.status)
        header = {key: value for key, value in live.header.items() if key not in _LEARNED}
        self._ended[trace_id] = _Ended(header, live.last_turn, status)
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    def _leave_oldest(self) -> None:
        _, live = self._live.popitem(last=False)
        live.leave()


_LEARNED = frozenset({"system_prompt", "tools"})


def _header(trace: Trace) -> dict[str, Any]:
    return _new_header(
        trace.trace_id,
        group_id=getattr(trace, "group_id", None),
        metadata=getattr(trace, "metadata", None),
        workflow=trace.name,
    )


def _new_header(
    trace_id: str, *, group_id: Any = None, metadata: Any = None, workflow: str | None = None
) -> dict[str, Any]:
    plain = storable(metadata)
    plain = dict(plain) if isinstance(plain, dict) else {}
    if workflow is not None:
        plain["workflow_name"] = storable(workflow)
    header: dict[str, Any] = {
        "id": uuid7(),
        "run_id": label(trace_id),
        "session_id": label(group_id),
        "user_id": label(plain.get("user_id")),
        "source_format": SOURCE,
        "created_at": datetime.now(UTC),
        "metadata": plain,
    }
    running = current()
    if running is not None:
        header["parent_trajectory_id"] = running.id
        header["root_trajectory_id"] = getattr(running, "root_id", running.id)
    return header
