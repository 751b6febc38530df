"""Spans of many traces, gathered until each trace is whole: they come in any order.

A trace is whole when a root of it has come, and the parent of each of its spans. It is read when a
while has passed since, so that what ends a little later is still in it. What comes after that is
read in the same way: new turns of the trajectories that it belongs to. A span that came before, by
its id, changes nothing.

What is held is bounded. Beyond it the trace that has waited longest is read as it is.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from trajectory.genai.reading import Known, Told, read_trace
from trajectory.genai.said import Said
from trajectory.genai.spans import Span
from trajectory.genai.steps import Step, StepKind, step_of
from trajectory.values import json_bytes, text_bytes

MAX_TRACES = 1000
MAX_BYTES = 64 * 2**20
MAX_REMEMBERED = 50_000
"""Spans of traces that were read."""

_BYTES_A_SPAN = 1000
_BYTES_A_KEY = 40


@dataclass(slots=True)
class _Trace:
    """A trace that waits."""

    heard_at: float
    known: Known
    steps: dict[str, Step] = field(default_factory=dict)
    size: int = 0
    tells: bool = False
    """Whether anything in it is of an agent, a model or a tool."""
    missing: set[str] = field(default_factory=set)
    """Parents, in this process, that are still to come."""
    has_root: bool = False


@dataclass(slots=True)
class _Read:
    """A trace that was read."""

    known: Known
    seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """The ids of its spans, the oldest first."""
    is_complete: bool = False


class Gathering:
    """Gathers spans, and gives trajectories. `now` is a number of seconds that never falls.

    One thread at a time.
    """

    def __init__(
        self,
        *,
        grace_s: float,
        idle_s: float,
        max_traces: int = MAX_TRACES,
        max_bytes: int = MAX_BYTES,
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        self._grace_s = grace_s
        self._idle_s = idle_s
        self._max_traces = max_traces
        self._max_bytes = max_bytes
        self._max_remembered = max_remembered
        self._traces: OrderedDict[str, _Trace] = OrderedDict()
        """Those heard of last stand last."""
        self._ended: OrderedDict[str, float] = OrderedDict()
        """When those became whole that are, the last at the end."""
        self._size = 0
        self._read: OrderedDict[str, _Read] = OrderedDict()
        self._remembered = 0
        self.left_out: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """How many traces wait."""
        return len(self._traces)

    @property
    def size(self) -> int:
        """About how many bytes are held of them."""
        return self._size

    @property
    def due_at(self) -> float | None:
        """When the next trace will be read, if nothing comes; None if none waits."""
        whole = (at + self._grace_s for at in self._ended.values())
        idle = (trace.heard_at + self._idle_s for trace in self._traces.values())
        return min((at for each in (whole, idle) for at in islice(each, 1)), default=None)

    def holds(self, trace_id: str) -> bool:
        """Say whether a trace waits."""
        return trace_id in self._traces

    def add(self, span: Span, now: float, *, is_root: bool | None = None) -> Iterator[Told]:
        """Take a span; give what must be read to make room.

        Unless said, a root has no parent; that of a root is not waited for.
        """
        read, trace = self._read.get(span.trace_id), self._traces.get(span.trace_id)
        if (read is not None and span.span_id in read.seen) or (
            trace is not None and span.span_id in trace.steps
        ):
            self.left_out["span that came before"] += 1
            return
        if trace is None:
            trace = self._traces[span.trace_id] = _Trace(
                now, Known() if read is None else read.known
            )
            trace.has_root = read is not None and read.is_complete
        step = step_of(span)
        trace.steps[span.span_id] = step
        trace.tells = trace.tells or step.kind is not StepKind.OTHER
        weight = _weight(step)
        trace.size += weight
        self._size += weight
        trace.heard_at = now
        self._traces.move_to_end(span.trace_id)
        self._look_whether_whole(span, trace, now, is_root=is_root)
        while len(self._traces) > self._max_traces or self._size > self._max_bytes:
            yield from self._take(next(iter(self._traces)))

    def due(self, now: float) -> Iterator[Told]:
        """Read what is whole, and what has not been heard of for long."""
        while self._ended:
            trace_id, ended_at = next(iter(self._ended.items()))
            if ended_at + self._grace_s > now:
                break
            yield from self._take(trace_id)
        while self._traces:
            trace_id, trace = next(iter(self._traces.items()))
            if trace.heard_at + self._idle_s > now:
                break
            yield from self._take(trace_id)

    def ended(self) -> Iterator[Told]:
        """Read every trace that is whole."""
        while self._ended:
            yield from self._take(next(iter(self._ended)))

    def all(self) -> Iterator[Told]:
        """Read every trace, as it is."""
        while self._traces:
            yield from self._take(next(iter(self._traces)))

    def _look_whether_whole(
        self, span: Span, trace: _Trace, now: float, *, is_root: bool | None
    ) -> None:
        read, parent = self._read.get(span.trace_id), span.parent_span_id
        was_whole = trace.has_root and not trace.missing and span.trace_id in self._ended
        if parent is None or is_root:
            trace.has_root, was_whole = True, False
        elif parent not in trace.steps and (read is None or parent not in read.seen):
            trace.missing.add(parent)
        trace.missing.discard(span.span_id)
        if not trace.has_root or trace.missing:
            self._ended.pop(span.trace_id, None)
        elif not was_whole:
            self._ended[span.trace_id] = now
            self._ended.move_to_end(span.trace_id)

    def _take(self, trace_id: str) -> tuple[Told, ...]:
        trace = self._traces.pop(trace_id)
        self._size -= trace.size
        self._ended.pop(trace_id, None)
        if not trace.tells and not trace.known.running:
            self.left_out["span of another kind"] += len(trace.steps)
            if trace.has_root:  # what comes of it later waits for no root
                self._note(trace_id, trace)
            return ()
        reading = read_trace(trace.steps.values(), trace.known, is_complete=trace.has_root)
        self.left_out += reading.left_out
        self._note(trace_id, trace)
        return reading.told

    def _note(self, trace_id: str, trace: _Trace) -> None:
        """Remember what was read, and forget the oldest of what is too much."""
        read = self._read.pop(trace_id, None) or _Read(trace.known)
        self._read[trace_id] = read
        read.seen.update(dict.fromkeys(trace.steps))
        read.is_complete = read.is_complete or trace.has_root
        self._remembered += len(trace.steps)
        while self._remembered > self._max_remembered and len(self._read) > 1:
            _, forgotten = self._read.popitem(last=False)
            self._remembered -= len(forgotten.seen)
        while self._remembered > self._max_remembered:
            span_id, _ = read.seen.popitem(last=False)
            read.known.owners.pop(span_id, None)
            self._remembered -= 1


def _weight(step: Step) -> int:
    """Estimate what a span takes while it waits."""
    size = _BYTES_A_SPAN + len(step.heard.keys) * _BYTES_A_KEY
    for said in (*(each for _, each in step.heard.tail), step.heard.asked, step.answer):
        size += 0 if said is None else _said_bytes(said)
    for text in (step.heard.instructions, step.arguments, step.result, step.error):
        size += 0 if text is None else text_bytes(text)
    size += 0 if step.tools is None else json_bytes(step.tools)
    return size if step.own is None else size + sum(map(_bytes_of, step.own.values()))


def _said_bytes(said: Said) -> int:
    calls = sum(text_bytes(call.arguments or "") + 100 for call in said.calls)
    return 100 + _bytes_of(said.content) + _bytes_of(said.reasoning) + calls


def _bytes_of(value: object) -> int:
    return json_bytes(value) if isinstance(value, str | dict | list) else 100
