"""A table for spreadsheets: CSV by RFC 4180 in UTF-8, a row a turn. Written, not read.

What belongs to a turn is counted, not told; questions and violations are those that the agent
itself found, as a score reads them. Of a trajectory there are the labels, and no system prompt,
tools, tags or metadata. An empty cell is what is not known, or empty.

A spreadsheet takes text that begins with `=`, `+`, `-`, `@`, a tab or a line end for a formula, and
runs it. Such text gets an apostrophe in front, also where blanks stand before it, and is counted.
Numbers are no text: -1.5 stays a number.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, BinaryIO

from trajectory.formats.columns import NO_ROW, TRAJECTORY_COLUMNS, TURN_COLUMNS
from trajectory.models import AGENT, EffortLevel, Severity, Trajectory, Turn

NAME = "csv"
VERSION = "1"

_NOT_CARRIED = ("system_prompt", "tools", "tags", "metadata")
_OF_TRAJECTORY = {
    column: field for column, field in TRAJECTORY_COLUMNS.items() if field not in _NOT_CARRIED
}
_OF_TURN = tuple(column for column in TURN_COLUMNS if column != "metadata")
_COUNTS = (
    "messages",
    "tool_calls",
    *(f"questions_{effort}" for effort in EffortLevel),
    *(f"violations_{severity}" for severity in Severity),
)
COLUMNS = (*_OF_TRAJECTORY, *_OF_TURN, *_COUNTS)

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_LINE_STARTS = ("\t", "\r", "\n")
_QUOTED = "text that begins like a formula, written with an apostrophe"


class Csv:
    """Writes CSV."""

    name = NAME
    version = VERSION
    suffix = ".csv"

    def begin(self, out: BinaryIO) -> CsvWriting:
        """Begin a file with the names of the columns."""
        return CsvWriting(out)


class CsvWriting:
    """A file while it is written."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.left_out: Counter[str] = Counter()
        self._labels: list[Any] = []
        self._rows = 0
        self._write(COLUMNS)

    def start(self, trajectory: Trajectory) -> None:
        """Begin a trajectory."""
        for name in _NOT_CARRIED:
            self.left_out[f"{name} of a trajectory"] += bool(getattr(trajectory, name))
        self._labels = [self._cell(getattr(trajectory, field)) for field in _OF_TRAJECTORY.values()]
        self._rows = 0

    def turn(self, turn: Turn) -> None:
        """Write a turn."""
        self._note_left_out(turn)
        efforts = Counter(q.effort_level for q in turn.questions if q.source == AGENT)
        severities = Counter(v.severity for v in turn.violations if v.source == AGENT)
        self._write(
            [
                *self._labels,
                *(self._cell(getattr(turn, field)) for field in _OF_TURN),
                len(turn.messages),
                len(turn.tool_calls),
                *(efforts[effort] for effort in EffortLevel),
                *(severities[severity] for severity in Severity),
            ]
        )
        self._rows += 1

    def end(self) -> bool:
        """End a trajectory; one without turns has no row."""
        self.left_out[NO_ROW] += not self._rows
        return self._rows > 0

    def close(self) -> None:
        """Nothing ends the file but its end."""

    def _note_left_out(self, turn: Turn) -> None:
        self.left_out["metadata of a turn"] += bool(turn.metadata)
        self.left_out["content of a message"] += len(turn.messages)
        self.left_out["content of a tool call"] += len(turn.tool_calls)
        for what, findings in (("question", turn.questions), ("violation", turn.violations)):
            own = sum(finding.source == AGENT for finding in findings)
            self.left_out[f"content of a {what}"] += own
            self.left_out[f"{what} that another source than the agent found"] += len(findings) - own

    def _cell(self, value: Any) -> Any:
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, datetime):
            return f"{value.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
        if not isinstance(value, str):
            return value  # a number or an id: `csv` writes floats by their shortest form
        text = str(value)
        if text.startswith(_LINE_STARTS) or text.lstrip().startswith(_FORMULA):
            self.left_out[_QUOTED] += 1
            return f"'{text}"
        return text

    def _write(self, cells: Iterable[Any]) -> None:
        row = io.StringIO(newline="")
        csv.writer(row).writerow(cells)
        self._out.write(row.getvalue().encode())
