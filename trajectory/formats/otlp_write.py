"""Writes OTLP/JSON: trajectories as spans, in the form of a collector's files.

A line for each turn, `{"resourceSpans": [...]}`, or several for a large one, and one for the
trajectory's own span behind them, so a file is written while it is read. The `otlpjsonfile`
receiver of the collector reads it, and each line is the body of a request of OTLP/HTTP.
`trajectory.genai.telling` says what is told; the ids of spans are the same in every export.

What was said is left out, and counted, in `otlp`; `otlp-with-content` has it.
"""

from __future__ import annotations

from collections import Counter
from typing import BinaryIO

from trajectory.genai import conventions
from trajectory.genai.conventions import SERVICE_NAME
from trajectory.genai.telling import SCOPE, Telling
from trajectory.genai.wire import in_batches, line_of
from trajectory.models import Trajectory, Turn

NAME = "otlp"
NAME_WITH_CONTENT = "otlp-with-content"
VERSION = f"1/genai-{conventions.VERSION}"

_SPANS_A_LINE = 512
_BYTES_A_LINE = 512 * 2**10
"""A collector cuts lines of more than 1 MiB unless its `max_log_size` says more."""

_RESOURCE = {SERVICE_NAME: SCOPE}


class Otlp:
    """Writes spans without what was said."""

    name = NAME
    version = VERSION
    suffix = ".otlp.jsonl"
    content = False

    def begin(self, out: BinaryIO) -> OtlpWriting:
        """Begin a file."""
        return OtlpWriting(out, content=self.content)


class OtlpWithContent(Otlp):
    """Writes spans with what was said."""

    name = NAME_WITH_CONTENT
    content = True


class OtlpWriting:
    """A file while it is written; what is held is one turn."""

    def __init__(self, out: BinaryIO, *, content: bool) -> None:
        self._out = out
        self._content = content
        self._telling: Telling | None = None
        self._left_out: Counter[str] = Counter()

    @property
    def left_out(self) -> Counter[str]:
        """What no span had so far."""
        if self._telling is None:
            return self._left_out
        return self._left_out + self._telling.left_out

    def start(self, trajectory: Trajectory) -> None:
        """Begin a trajectory."""
        self._telling = Telling(trajectory, content=self._content, resource=_RESOURCE)

    def turn(self, turn: Turn) -> None:
        """Write the line of a turn."""
        assert self._telling is not None  # noqa: S101 - `start` comes first
        for batch in in_batches(self._telling.turn(turn), _SPANS_A_LINE, _BYTES_A_LINE):
            self._out.write(line_of(batch))

    def end(self) -> None:
        """Write the line of the trajectory itself."""
        assert self._telling is not None  # noqa: S101 - `start` comes first
        self._out.write(line_of([self._telling.end()]))
        self._left_out, self._telling = self.left_out, None

    def close(self) -> None:
        """Nothing ends the file but its end."""
