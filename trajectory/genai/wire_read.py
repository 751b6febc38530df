"""Spans out of OTLP/JSON, from any writer: what can't be read of one is left out, and no error."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from trajectory.genai.instants import bounded
from trajectory.genai.lenient import text
from trajectory.genai.spans import Event, Span, SpanKind, StatusCode

_TRACE_DIGITS, _SPAN_DIGITS = 32, 16
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_HAS_REMOTE, _IS_REMOTE = 0x100, 0x200
"""Bits of a span's `flags`, about its parent."""
_MAX_DEPTH = 40


class NoSpansError(ValueError):
    """A document isn't one of spans. The reason holds nothing of it."""


def spans_in(document: Mapping[str, Any]) -> Iterator[tuple[Span, bool] | None]:
    """Give the spans of a document, each with whether it is a root; None for one without ids.

    Raises `NoSpansError`, before the first is given, where the document has none.
    """
    of_resources = _get(document, "resourceSpans", "resource_spans")
    if of_resources is None:
        of_resources = document.get("batches")  # as Tempo gives a trace
    if not isinstance(of_resources, list):
        raise NoSpansError("has no list of `resourceSpans`; only traces in OTLP/JSON are read")
    return _spans(of_resources)


def _spans(of_resources: list[Any]) -> Iterator[tuple[Span, bool] | None]:
    for of_resource in _objects(of_resources):
        resource = _attributes(_object(of_resource.get("resource")).get("attributes"))
        of_scopes = _get(of_resource, "scopeSpans", "scope_spans")
        if of_scopes is None:
            of_scopes = of_resource.get("instrumentationLibrarySpans")
        for of_scope in _objects(of_scopes):
            named = of_scope.get("scope", of_scope.get("instrumentationLibrary"))
            scope = text(_object(named).get("name")) or ""
            for told in _objects(of_scope.get("spans")):
                yield _span(told, resource, scope)


def _span(
    told: Mapping[str, Any], resource: Mapping[str, Any], scope: str
) -> tuple[Span, bool] | None:
    trace_id = _id(_get(told, "traceId", "trace_id"), _TRACE_DIGITS)
    span_id = _id(_get(told, "spanId", "span_id"), _SPAN_DIGITS)
    if trace_id is None or span_id is None:
        return None
    parent = _id(_get(told, "parentSpanId", "parent_span_id"), _SPAN_DIGITS)
    flags = _whole(told.get("flags"))
    status = _object(told.get("status"))
    start = _whole(_get(told, "startTimeUnixNano", "start_time_unix_nano"))
    end = _whole(_get(told, "endTimeUnixNano", "end_time_unix_nano"))
    span = Span(
        name=text(told.get("name")) or "",
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent,
        kind=_kind(told.get("kind")),
        start_ns=start,
        end_ns=max(start, end),
        attributes=_attributes(told.get("attributes")),
        events=tuple(
            Event(
                text(event.get("name")) or "",
                _whole(_get(event, "timeUnixNano", "time_unix_nano")),
                _attributes(event.get("attributes")),
            )
            for event in _objects(told.get("events"))
        ),
        status=_status(status.get("code")),
        status_message=text(status.get("message")) or "",
        resource=resource,
        scope=scope,
    )
    return span, parent is None or flags & (_HAS_REMOTE | _IS_REMOTE) == _HAS_REMOTE | _IS_REMOTE


def _get(told: Mapping[str, Any], name: str, other: str) -> Any:
    return told.get(name, told.get(other))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (each for each in value if isinstance(each, dict))


def _id(value: Any, digits: int) -> str | None:
    """Read an id: hex, or base64 from writers that take it for any bytes. Zeros are none."""
    if not isinstance(value, str):
        return None
    found = value.lower()
    if len(value) != digits:
        try:
            found = base64.b64decode(value, validate=True).hex()
        except (binascii.Error, ValueError):
            return None
    if len(found) != digits or _HEX.fullmatch(found) is None or not found.strip("0"):
        return None
    return found


def _whole(value: Any) -> int:
    """Read a number of 64 bits, which is text or digits."""
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, float) and not math.isfinite(value):
        return 0
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return bounded(value) if known else 0


def _kind(value: Any) -> SpanKind:
    if isinstance(value, str):
        name = value.removeprefix("SPAN_KIND_")
        return SpanKind.__members__.get(name, SpanKind.UNSPECIFIED)
    known = isinstance(value, int) and value in set(SpanKind)
    return SpanKind(value) if known else SpanKind.UNSPECIFIED


def _status(value: Any) -> StatusCode:
    if isinstance(value, str):
        name = value.removeprefix("STATUS_CODE_")
        return StatusCode.__members__.get(name, StatusCode.UNSET)
    known = isinstance(value, int) and value in set(StatusCode)
    return StatusCode(value) if known else StatusCode.UNSET


def _attributes(value: Any, depth: int = _MAX_DEPTH) -> dict[str, Any]:
    return {
        pair["key"]: _value(pair.get("value"), depth)
        for pair in _objects(value)
        if isinstance(pair.get("key"), str)
    }


def _value(value: Any, depth: int) -> Any:
    if not isinstance(value, dict) or depth <= 0:
        return None
    for name, other, read in (
        ("stringValue", "string_value", _string),
        ("boolValue", "bool_value", _boolean),
        ("intValue", "int_value", _integer),
        ("doubleValue", "double_value", _float),
        ("bytesValue", "bytes_value", _string),
    ):
        if name in value or other in value:
            return read(_get(value, name, other))
    array = _get(value, "arrayValue", "array_value")
    if isinstance(array, dict):
        held = array.get("values")
        return [_value(each, depth - 1) for each in held] if isinstance(held, list) else []
    pairs = _get(value, "kvlistValue", "kvlist_value")
    return _attributes(pairs.get("values"), depth - 1) if isinstance(pairs, dict) else None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _integer(value: Any) -> int | None:
    if isinstance(value, str) and len(value) <= 20:
        try:
            value = int(value)
        except ValueError:
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
