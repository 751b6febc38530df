"""Spans of many traces, gathered until each trace is whole: they come in any order.

A trace is read when a root of it has ended and a while has passed, so that what ends a little later
is still in it. What comes after that is read when the while has passed again: new turns of the
trajectories that it belongs to. A span that came before, by its id, changes nothing.

What is held is bounded. Beyond it the trace that has waited longest is read as it is.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from trajectory.genai.reading import Known, Reading, Told, read_trace
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


class _Read(NamedTuple):
    """A trace that was read."""

    known: Known
    seen: set[str]
    """The ids of its spans."""
    is_complete: bool


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
        """When a root came of those of which one did, the last at the end."""
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
        """When the next trace will be whole; None if no root has come of any that waits."""
        return next((at + self._grace_s for at in self._ended.values()), None)

    def add(self, span: Span, now: float, *, is_root: bool | None = None) -> Iterator[Told]:
        """Take a span; give what must be read to make room. Unless said, a root has no parent."""
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
            if read is not None and read.is_complete:
                self._end(span.trace_id, now)
        step = step_of(span)
        trace.steps[span.span_id] = step
        trace.tells = trace.tells or step.kind is not StepKind.OTHER
        weight = _weight(step)
        trace.size += weight
        self._size += weight
        trace.heard_at = now
        self._traces.move_to_end(span.trace_id)
        if is_root if is_root is not None else span.parent_span_id is None:
            self._end(span.trace_id, now)
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
        """Read every trace of which a root has come."""
        while self._ended:
            yield from self._take(next(iter(self._ended)))

    def all(self) -> Iterator[Told]:
        """Read every trace, as it is."""
        while self._traces:
            yield from self._take(next(iter(self._traces)))

    def _end(self, trace_id: str, now: float) -> None:
        self._ended[trace_id] = now
        self._ended.move_to_end(trace_id)

    def _take(self, trace_id: str) -> tuple[Told, ...]:
        trace = self._traces.pop(trace_id)
        self._size -= trace.size
        is_complete = self._ended.pop(trace_id, None) is not None
        if not trace.tells and not trace.known.running:
            return ()
        reading = read_trace(trace.steps.values(), trace.known, is_complete=is_complete)
        self._note(trace_id, trace, reading, is_complete=is_complete)
        return reading.told

    def _note(self, trace_id: str, trace: _Trace, reading: Reading, *, is_complete: bool) -> None:
        """Remember what was read."""
        self.left_out += reading.left_out
        before = self._read.pop(trace_id, None)
        seen = set(trace.steps) if before is None else before.seen | trace.steps.keys()
        is_complete = is_complete or (before is not None and before.is_complete)
        self._read[trace_id] = _Read(trace.known, seen, is_complete)
        self._remembered += len(trace.steps)
        while self._remembered > self._max_remembered and len(self._read) > 1:
            _, forgotten = self._read.popitem(last=False)
            self._remembered -= len(forgotten.seen)


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
