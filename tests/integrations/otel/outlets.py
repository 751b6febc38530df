"""Databases to send from, and exporters that take, fail, raise or wait."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from trajectory.genai.spans import Event, Span, SpanKind, StatusCode

RESOURCE = Resource({"service.name": "tests"})


class Taking(SpanExporter):
    """Keeps what it is given. While `fails` it says so, or raises what `fails` is."""

    def __init__(self, *, at: int | None = None) -> None:
        self.batches: list[list[ReadableSpan]] = []
        self.fails: bool | Exception = False
        self.at = at
        """At which call it fails, counted from 1; at all of them unless given."""
        self.calls = 0
        self.suppressed: set[object] = set()
        self.threads: set[threading.Thread] = set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.calls += 1
        self.suppressed.add(get_value(_SUPPRESS_INSTRUMENTATION_KEY))
        self.threads.add(threading.current_thread())
        if self.fails and self.at in (None, self.calls):
            if isinstance(self.fails, Exception):
                raise self.fails
            return SpanExportResult.FAILURE
        self.batches.append(list(spans))
        return SpanExportResult.SUCCESS

    @property
    def spans(self) -> list[ReadableSpan]:
        """All that it took."""
        return [span for batch in self.batches for span in batch]

    @property
    def agents(self) -> list[str]:
        """The trajectories whose own span it took, by the names of their agents, in order."""
        return [
            name.removeprefix("invoke_agent ")
            for span in self.spans
            if (name := span.name).startswith("invoke_agent")
        ]


class Gated(Taking):
    """Parks each export until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.parked, self.gate = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.parked.set()
        assert self.gate.wait(10)
        return super().export(spans)


def plain(span: ReadableSpan) -> Span:
    """Give a span of the SDK as a plain one."""
    context = span.get_span_context()
    assert context is not None
    assert context.trace_flags.sampled
    assert not context.is_remote
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.instrumentation_scope is not None
    return Span(
        name=span.name,
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        parent_span_id=None if span.parent is None else f"{span.parent.span_id:016x}",
        kind=SpanKind[span.kind.name],
        start_ns=span.start_time,
        end_ns=span.end_time,
        attributes=dict(span.attributes or {}),
        events=tuple(
            Event(each.name, each.timestamp, dict(each.attributes or {})) for each in span.events
        ),
        status=StatusCode[span.status.status_code.name],
        status_message=span.status.description or "",
        resource=dict(span.resource.attributes),
        scope=span.instrumentation_scope.name,
    )
