"""Parquet, a row a turn, for data frames and training. Written, not read; the extra `parquet`.

A row has every field of the trajectory and of the turn, with lists of its messages, tool calls,
questions and violations. Ids are text, times have microseconds in UTC, and JSON that has no fixed
form is JSON text. A message's content is `content` where it is text, and `content_parts`, JSON
text, where it is a list of parts. Findings carry their `position`, as stored.

A row group is written whenever enough rows have come, so a file of any length takes the same
memory. The same version of pyarrow gives the same bytes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, BinaryIO

from trajectory.errors import MissingDependencyError
from trajectory.formats.columns import NO_ROW, TRAJECTORY_COLUMNS, TURN_COLUMNS, json_text
from trajectory.models import Message, Question, ToolCall, Trajectory, Turn, Violation, numbered
from trajectory.sizes import turn_bytes

NAME = "parquet"
VERSION = "1"

_ROWS_IN_GROUP = 10_000
_BYTES_IN_GROUP = 32 * 2**20

_JSON = frozenset({"tools", "tags", "metadata", "usage", "token_ids", "logprobs", "content_parts"})
_TIMES = frozenset({"created_at", "ended_at", "started_at"})
_COUNTS = frozenset(name for name in Turn.model_fields if name.endswith(("_tokens", "token_count")))
_INTEGERS = _COUNTS | {"position", "message_position"}
_FLOATS = frozenset({"latency_ms", "cost_usd", "reward", "confidence"})
_FLAGS = frozenset({"is_copied_context", "is_error"})
_CHILDREN: dict[str, type[Any]] = {
    "messages": Message,
    "tool_calls": ToolCall,
    "questions": Question,
    "violations": Violation,
}


class Parquet:
    """Writes Parquet."""

    name = NAME
    version = VERSION
    suffix = ".parquet"

    def begin(self, out: BinaryIO) -> ParquetWriting:
        """Begin a file. Raises `MissingDependencyError` without pyarrow."""
        return ParquetWriting(out)


class ParquetWriting:
    """A file while it is written. Nothing is left out but trajectories without turns."""

    def __init__(self, out: BinaryIO) -> None:
        self._pa, parquet = _pyarrow()
        self._schema = _schema(self._pa)
        self._writer = parquet.ParquetWriter(out, self._schema, compression="zstd")
        self.left_out: Counter[str] = Counter()
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._labels: dict[str, Any] = {}
        self._label_bytes = 0
        self._has_row = False

    def start(self, trajectory: Trajectory) -> None:
        """Begin a trajectory."""
        self._labels = {
            column: _plain(field, getattr(trajectory, field))
            for column, field in TRAJECTORY_COLUMNS.items()
        }
        self._label_bytes = sum(
            len(value) for value in self._labels.values() if isinstance(value, str)
        )
        self._has_row = False

    def turn(self, turn: Turn) -> None:
        """Add a turn to the row group."""
        row = {**self._labels, **{name: _plain(name, getattr(turn, name)) for name in TURN_COLUMNS}}
        for name in ("messages", "tool_calls"):
            row[name] = [_child(child) for child in getattr(turn, name)]
        for name in ("questions", "violations"):
            row[name] = [
                {**_child(finding), "position": position}
                for position, finding in numbered(getattr(turn, name))
            ]
        self._rows.append(row)
        self._has_row = True
        self._bytes += turn_bytes(turn) + self._label_bytes
        if len(self._rows) >= _ROWS_IN_GROUP or self._bytes >= _BYTES_IN_GROUP:
            self._write_group()

    def end(self) -> bool:
        """End a trajectory; one without turns has no row."""
        self.left_out[NO_ROW] += not self._has_row
        return self._has_row

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        if self._rows:
            table = self._pa.Table.from_pylist(self._rows, schema=self._schema)
            self._writer.write_table(table, row_group_size=len(self._rows))
            self._rows.clear()
            self._bytes = 0


def _pyarrow() -> tuple[Any, Any]:
    """Load pyarrow, which takes a third of a second."""
    try:
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError(
            'Parquet needs pyarrow, which is not installed; run pip install "trajectory-log'
            '[parquet]"'
        ) from error
    return pa, parquet


def _schema(pa: Any) -> Any:
    fields = [(column, _type(pa, field)) for column, field in TRAJECTORY_COLUMNS.items()]
    fields += [(name, _type(pa, name)) for name in TURN_COLUMNS]
    for name, model in _CHILDREN.items():
        names = [*model.model_fields]
        if "content" in names:
            names.insert(names.index("content") + 1, "content_parts")
        struct = pa.struct([(field, _type(pa, field)) for field in names])
        fields.append((name, pa.list_(struct)))
    return pa.schema(fields, metadata={"trajectory.format": f"{NAME}/{VERSION}"})


def _type(pa: Any, name: str) -> Any:
    if name in _TIMES:
        return pa.timestamp("us", tz="UTC")
    if name in _INTEGERS:
        return pa.int64()
    if name == "turn_number":
        return pa.int32()
    if name in _FLOATS:
        return pa.float64()
    return pa.bool_() if name in _FLAGS else pa.string()


def _plain(name: str, value: Any) -> Any:
    """Give a field as its column takes it."""
    if name in _JSON:
        return None if name == "metadata" and not value else json_text(value)
    is_plain = value is None or name in _TIMES or isinstance(value, bool | int | float)
    return value if is_plain else str(value)


def _child(child: Any) -> dict[str, Any]:
    row = {name: _plain(name, value) for name, value in child.__dict__.items()}
    if isinstance(child, Message) and not isinstance(child.content, str | None):
        row["content"], row["content_parts"] = None, json_text(child.content)
    return row
