"""From stored trajectories to an exporter's hands: spans of the SDK, in batches, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from functools import lru_cache
from time import perf_counter
from typing import NamedTuple
from uuid import UUID

from trajectory.errors import TrajectoryError
from trajectory.exporting.reading import Piece, chunks, with_turns
from trajectory.genai import spans as plain
from trajectory.genai.telling import Telling
from trajectory.genai.wire import weight_of
from trajectory.integrations import extra
from trajectory.models import TrajectoryStatus
from trajectory.query import TrajectoryQuery
from trajectory.store import TrajectoryStore
from trajectory.threads import in_thread
from trajectory.words import counted

with extra("otel"):
    from opentelemetry.context import (
        _SUPPRESS_INSTRUMENTATION_KEY as SUPPRESSED,  # as the SDK's own processors do
    )
    from opentelemetry.context import attach, detach, set_value
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import (
        Link,
        SpanContext,
        SpanKind,
        Status,
        StatusCode,
        TraceFlags,
    )

ENDED = frozenset({TrajectoryStatus.COMPLETED, TrajectoryStatus.FAILED, TrajectoryStatus.CANCELLED})

_SPANS_AT_ONCE = 512
_BYTES_AT_ONCE = 2 * 2**20
"""Receivers take 4 MiB in one request, if nobody has told them otherwise."""

_STEP_S = 0.0005

_KINDS = {
    plain.SpanKind.SERVER: SpanKind.SERVER,
    plain.SpanKind.CLIENT: SpanKind.CLIENT,
    plain.SpanKind.PRODUCER: SpanKind.PRODUCER,
    plain.SpanKind.CONSUMER: SpanKind.CONSUMER,
}
_FLAGS = TraceFlags(TraceFlags.SAMPLED)


class Sent(NamedTuple):
    """What the exporter has taken, and said so."""

    trajectories: int
    spans: int
    running: int
    """Trajectories that were left out, since they have not ended."""


class SendFailedError(TrajectoryError):
    """The exporter failed, or raised what is in `__cause__`. `sent` is what had arrived by then."""

    def __init__(self, message: str, sent: Sent) -> None:
        super().__init__(message)
        self.sent = sent


class Outlet:
    """Sends trajectories to an exporter."""

    def __init__(
        self, exporter: SpanExporter, *, content: bool = False, resource: Resource | None = None
    ) -> None:
        self._exporter = exporter
        self._content = content
        self._resource = Resource.create() if resource is None else resource
        self._telling: Telling | None = None
        self._batch: list[ReadableSpan] = []
        self._size = 0
        self._whole: list[UUID] = []
        """The trajectories that have their last span in the batch."""
        self._pause_at = 0.0
        self.arrived: list[UUID] = []
        """The trajectories that the exporter has taken whole."""
        self.sent = Sent(0, 0, 0)

    async def trajectories(
        self, store: TrajectoryStore, query: TrajectoryQuery, *, ended_only: bool
    ) -> None:
        """Send what a query finds. Raises `SendFailedError`, and what the store raises."""
        async with aclosing(chunks(store, query)) as found:
            async for chunk in found:
                chosen = [each for each in chunk if not ended_only or each.status in ENDED]
                self.sent = self.sent._replace(running=self.sent.running + len(chunk) - len(chosen))
                async with aclosing(with_turns(store, chosen)) as read:
                    async for pieces in read:
                        await self._tell(pieces)
        await self._send()

    async def _tell(self, pieces: Sequence[Piece]) -> None:
        """Make the spans of what was read, and send them when they fill a batch.

        On the loop, in short steps: a thread would hold the interpreter for longer ones.
        """
        for piece in pieces:
            if piece.is_first:
                self._telling = Telling(piece.trajectory, content=self._content)
            assert self._telling is not None  # noqa: S101 - the first piece comes first
            for turn in piece.turns:
                for span in self._telling.turn(turn):
                    await self._take(span)
            if piece.is_last:
                await self._take(self._telling.end())
                self._whole.append(piece.trajectory.id)

    async def _take(self, span: plain.Span) -> None:
        now = perf_counter()
        if now > self._pause_at:
            await asyncio.sleep(0)
            now = perf_counter()
            self._pause_at = now + _STEP_S
        size = weight_of(span)
        if len(self._batch) >= _SPANS_AT_ONCE or self._size + size > _BYTES_AT_ONCE:
            await self._send()
        self._batch.append(readable(span, self._resource))
        self._size += size

    async def _send(self) -> None:
        if not self._batch:
            return
        await in_thread(self._export)  # it may wait for a network
        self.arrived += self._whole
        self.sent = self.sent._replace(
            trajectories=len(self.arrived), spans=self.sent.spans + len(self._batch)
        )
        self._batch, self._size, self._whole = [], 0, []

    def _export(self) -> None:
        error: Exception | None = None
        token = attach(set_value(SUPPRESSED, value=True))  # its own requests are no spans
        try:
            result = self._exporter.export(self._batch)
        except Exception as raised:  # noqa: BLE001 - an exporter may raise anything
            result, error = SpanExportResult.FAILURE, raised
        finally:
            detach(token)
        if result is not SpanExportResult.SUCCESS:
            raised_too = "" if error is None else f" (it raised {type(error).__name__})"
            raise SendFailedError(
                f"{type(self._exporter).__name__} could not send "
                f"{counted(len(self._batch), 'span')}{raised_too}; "
                f"{counted(self.sent.trajectories, 'trajectory', 'trajectories')} had arrived. "
                f"Its own log says why; send again when it is mended",
                self.sent,
            ) from error


def readable(span: plain.Span, resource: Resource) -> ReadableSpan:
    """Make the SDK's span of a plain one."""
    trace_id = int(span.trace_id, 16)
    parent = span.parent_span_id
    code = StatusCode(span.status.value)
    message = span.status_message if code is StatusCode.ERROR else None
    return ReadableSpan(
        name=span.name,
        context=_context(trace_id, span.span_id),
        parent=None if parent is None else _context(trace_id, parent),
        resource=resource,
        attributes=span.attributes,
        events=[
            Event(each.name, attributes=each.attributes, timestamp=each.time_ns)
            for each in span.events
        ],
        links=[
            Link(_context(int(each.trace_id, 16), each.span_id), attributes=each.attributes)
            for each in span.links
        ],
        kind=_KINDS.get(span.kind, SpanKind.INTERNAL),
        status=Status(code, message or None),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_scope(span.scope),
    )


@lru_cache(maxsize=8)
def _scope(name: str) -> InstrumentationScope:
    return InstrumentationScope(name)


def _context(trace_id: int, span_id: str) -> SpanContext:
    return SpanContext(trace_id, int(span_id, 16), is_remote=False, trace_flags=_FLAGS)
