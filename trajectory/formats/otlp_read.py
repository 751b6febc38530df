"""Reads OTLP/JSON: the spans that a collector's file exporter writes, and `trajectory export otlp`.

A line is `{"resourceSpans": [...]}`, with spans of any traces in any order. They are gathered, and
read as trajectories when a root of their trace has come and some lines more, at the end of the file
at the latest. `trajectory.genai.reading` says what becomes of what. Spans that this library wrote
are the trajectories that they tell of, by their ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from trajectory.formats.base import ImportedTrajectory, Problem
from trajectory.formats.jsonlines import BadLineError, Line, parse_object
from trajectory.formats.objects import read_objects
from trajectory.genai.gathering import Gathering
from trajectory.genai.reading import Told
from trajectory.genai.spans import Span
from trajectory.genai.wire_read import NoSpansError, spans_in
from trajectory.models import Trajectory

NAME = "otlp"

_LINES_AFTER = 1000
"""So many lines may the spans of a trace come behind its root."""
_MAX_TRACES = 20_000
_MAX_BYTES = 256 * 2**20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class OtlpImport:
    """Reads spans."""

    name = NAME
    suffixes = (".otlp.jsonl", ".jsonl", ".json")

    def read(self, stream: BinaryIO, *, as_of: datetime) -> Iterator[ImportedTrajectory | Problem]:
        """Read a stream to its end. Spans without a time are dated `as_of`."""
        return _Reading(as_of).read(stream)


class _Reading:
    def __init__(self, as_of: datetime) -> None:
        self._as_of_ns = (as_of - _EPOCH) // timedelta(microseconds=1) * 1000
        self._gathering = Gathering(
            grace_s=_LINES_AFTER, idle_s=float("inf"), max_traces=_MAX_TRACES, max_bytes=_MAX_BYTES
        )
        self._began: dict[str, int] = {}
        """The line where each trace that is gathered begins."""

    def read(self, stream: BinaryIO) -> Iterator[ImportedTrajectory | Problem]:
        number = 0
        for line in read_objects(stream):
            if isinstance(line, Problem):
                yield line
                continue
            number = line.number
            try:
                yield from self._line(line)
            except (BadLineError, NoSpansError) as error:
                yield Problem(number, str(error))
                if isinstance(error, BadLineError) and error.ends_reading:
                    break
            except RecursionError:
                yield Problem(number, "nests too deep")
        yield from self._imported(self._gathering.all(), number)

    def _line(self, line: Line) -> Iterator[ImportedTrajectory | Problem]:
        number = line.number
        nameless = 0
        for found in spans_in(parse_object(line)):
            if found is None:
                nameless += 1
                continue
            span, is_root = found
            self._began.setdefault(span.trace_id, number)
            added = self._gathering.add(self._dated(span), number, is_root=is_root)
            yield from self._imported(added, number)
        yield from self._imported(self._gathering.due(number), number)
        if len(self._began) > 2 * self._gathering.waiting + _LINES_AFTER:
            held = {id_: at for id_, at in self._began.items() if self._gathering.holds(id_)}
            self._began = held
        if nameless:
            yield Problem(number, f"spans without a trace's and a span's id: {nameless}")

    def _imported(self, found: Iterable[Told], number: int) -> Iterator[ImportedTrajectory]:
        for told in found:
            left_out, self._gathering.left_out = self._gathering.left_out, Counter()
            trajectory = told.trajectory
            if trajectory is None:
                created = min((turn.created_at for turn in told.turns), default=_EPOCH)
                trajectory = Trajectory(id=told.trajectory_id, status=None, created_at=created)
            yield ImportedTrajectory(
                line=self._began.get(told.trace_id, number),
                trajectory=trajectory,
                turns=told.turns,
                left_out=left_out,
                continues=told.trajectory is None,
            )

    def _dated(self, span: Span) -> Span:
        if span.start_ns:
            return span
        return replace(span, start_ns=self._as_of_ns, end_ns=max(self._as_of_ns, span.end_ns))
