"""Spans in OTLP/JSON, the form in which collectors write them to files.

As the mapping of protocol buffers to JSON has it, but for what OTLP says otherwise: ids are hex,
and enums are numbers. Numbers of 64 bits are text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

from trajectory.genai.spans import Event, Link, Span
from trajectory.values import INT64_MAX, INT64_MIN, text_bytes

_SHORT = 500


def in_batches(spans: Iterable[Span], count: int, size: int) -> Iterator[list[Span]]:
    """Divide spans into batches of so many, and of about so many bytes, or of one that is larger.

    Who takes spans from a wire or a file often takes no more than some MiB at a time.
    """
    batch: list[Span] = []
    held = 0
    for span in spans:
        weight = weight_of(span)
        if batch and (len(batch) >= count or held + weight > size):
            yield batch
            batch, held = [], 0
        batch.append(span)
        held += weight
    if batch:
        yield batch


def line_of(spans: Iterable[Span]) -> bytes:
    """Write spans as one line, with its end: a request of OTLP/HTTP, and a line of a file.

    Spans of one resource and instrumentation stand together, in their order.
    """
    return json.dumps(request_of(spans), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def request_of(spans: Iterable[Span]) -> dict[str, Any]:
    """Give the document that `line_of` writes."""
    grouped: dict[str, tuple[Mapping[str, Any], dict[str, list[Any]]]] = {}
    for span in spans:
        resource = _attributes(span.resource)
        _, scopes = grouped.setdefault(json.dumps(resource), ({"attributes": resource}, {}))
        scopes.setdefault(span.scope, []).append(_span(span))
    return {
        "resourceSpans": [
            {
                "resource": resource,
                "scopeSpans": [
                    {"scope": {"name": name}, "spans": of_scope}
                    for name, of_scope in scopes.items()
                ],
            }
            for resource, scopes in grouped.values()
        ]
    }


def weight_of(span: Span) -> int:
    """Estimate the bytes of a span; never far below where it is large."""
    size = 256
    for attributes in (span.attributes, *(event.attributes for event in span.events)):
        size += 64 * (1 + len(attributes))
        for value in attributes.values():
            if isinstance(value, str):
                length = len(value)
                size += length if length < _SHORT else text_bytes(value)
    return size


def _span(span: Span) -> dict[str, Any]:
    told: dict[str, Any] = {"traceId": span.trace_id, "spanId": span.span_id}
    if span.parent_span_id is not None:
        told["parentSpanId"] = span.parent_span_id
    told |= {
        "name": span.name,
        "kind": int(span.kind),
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(span.attributes),
    }
    if span.events:
        told["events"] = [_event(event) for event in span.events]
    if span.links:
        told["links"] = [_link(link) for link in span.links]
    status: dict[str, Any] = {"code": int(span.status)} if span.status else {}
    if span.status_message:
        status["message"] = span.status_message
    return {**told, "status": status}


def _event(event: Event) -> dict[str, Any]:
    return {
        "timeUnixNano": str(event.time_ns),
        "name": event.name,
        "attributes": _attributes(event.attributes),
    }


def _link(link: Link) -> dict[str, Any]:
    return {
        "traceId": link.trace_id,
        "spanId": link.span_id,
        "attributes": _attributes(link.attributes),
    }


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, int):
        return {"intValue": str(min(max(value, INT64_MIN), INT64_MAX))}
    if isinstance(value, float):
        return {"doubleValue": value if isfinite(value) else _odd(value)}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _attributes(value)}}
    return {"arrayValue": {"values": [_value(each) for each in value]}}


def _odd(value: float) -> str:
    """Name a number that JSON has no digits for."""
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124
