"""A span as a plain value, the same whether it came from a wire, a file or an SDK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

OWN_SCOPE = "trajectory"
"""The instrumentation that spans of this library name."""


class SpanKind(IntEnum):
    """On which side of a call a span was measured; the numbers are those of OTLP."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class StatusCode(IntEnum):
    """How a span ended; the numbers are those of OTLP."""

    UNSET = 0
    OK = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at an instant within a span."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """Another span that this one has to do with, also of another trace."""

    trace_id: str
    span_id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """One span, ended.

    Ids are lower-case hex, 32 digits for a trace and 16 for a span; instants are nanoseconds since
    1970. Values of attributes are text, numbers, booleans, bytes, None, and lists and mappings of
    such.
    """

    name: str
    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    kind: SpanKind = SpanKind.INTERNAL
    start_ns: int = 0
    end_ns: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    status: StatusCode = StatusCode.UNSET
    status_message: str = ""
    resource: Mapping[str, Any] = field(default_factory=dict)
    """The attributes of the program it comes from."""
    scope: str = ""
    """The name of the instrumentation that made it."""
