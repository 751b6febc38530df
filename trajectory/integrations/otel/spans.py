"""A span of OpenTelemetry's SDK, as a plain value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from trajectory.genai.spans import Event, Span, SpanKind, StatusCode

_STATUS = {"OK": StatusCode.OK, "ERROR": StatusCode.ERROR}


def plain(span: ReadableSpan) -> Span:
    """Make a plain value of a span that has ended."""
    context, parent = span.get_span_context(), span.parent
    scope = span.instrumentation_scope
    return Span(
        name=span.name,
        trace_id=f"{0 if context is None else context.trace_id:032x}",
        span_id=f"{0 if context is None else context.span_id:016x}",
        parent_span_id=None if parent is None else f"{parent.span_id:016x}",
        kind=SpanKind[span.kind.name],
        start_ns=span.start_time or 0,
        end_ns=span.end_time or span.start_time or 0,
        attributes=_copied(span.attributes),
        events=tuple(
            Event(event.name, event.timestamp, _copied(event.attributes)) for event in span.events
        ),
        status=_STATUS.get(span.status.status_code.name, StatusCode.UNSET),
        status_message=span.status.description or "",
        resource=_copied(span.resource.attributes),
        scope="" if scope is None else scope.name,
    )


def is_root(span: ReadableSpan) -> bool:
    """Say whether a span has no parent in this process."""
    return span.parent is None or span.parent.is_remote


def _copied(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if attributes is None else dict(attributes)
