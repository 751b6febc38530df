"""What a row for a turn holds in the formats that are tables: `csv` and `parquet`.

The fields of the trajectory stand in every row of its turns. Those that a turn has too are called
`trajectory_...` there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trajectory.models import Trajectory, Turn

_SHARED = frozenset(Trajectory.model_fields) & frozenset(Turn.model_fields)
_OWN = "trajectory_"

NO_ROW = "trajectory without turns, so without a row"


def _column(field: str) -> str:
    return f"{_OWN}{field}" if field in _SHARED or field in ("id", "status") else field


TRAJECTORY_COLUMNS: Mapping[str, str] = {_column(field): field for field in Trajectory.model_fields}
"""The columns of a trajectory, each with its field, in the order of the fields."""

TURN_COLUMNS: tuple[str, ...] = tuple(
    field
    for field in Turn.model_fields
    if field not in ("trajectory_id", "questions", "violations", "messages", "tool_calls")
)
"""The columns of a turn's own fields, which are called so."""


def json_text(value: Any) -> str | None:
    """Write a JSON value as text; None where there is none."""
    if value is None:
        return None
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
