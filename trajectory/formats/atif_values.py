"""What reading and writing ATIF share: figures that add up, and what only we can tell.

Where a plain reading of a document would not restore a value that we wrote, the fields that differ
stand in it under `extra.trajectory`: of the trajectory in the document's, of a turn in that of its
first step. A step of the user with an empty one belongs to the turn before.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from trajectory.door import MAX_LABEL, Value
from trajectory.formats.foreign import amount, count, shown, storable
from trajectory.formats.jsonlines import BadLineError

MARK = "trajectory"
"""The key in `extra` under which our own stands."""

KEPT = "atif"
"""The key in `metadata` under which stands what has no field of its own."""

FIGURES: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "prompt_tokens": ("input_tokens", count),
    "completion_tokens": ("output_tokens", count),
    "cached_tokens": ("cache_read_tokens", count),
    "cost_usd": ("cost_usd", amount),
}
"""Of `metrics`: the figure's name in a turn, and how it is read."""

_NAMES = ("id", "trajectory_id", "turn_number")
_CHILDREN = ("questions", "violations", "messages", "tool_calls")

Made = TypeVar("Made")
AnyValue = TypeVar("AnyValue", bound=Value)


class Fields:
    """The members of a foreign object, taken one by one.

    What is of a wrong kind when it is taken is None and counted, and so is what nobody took.
    """

    def __init__(self, value: Mapping[str, Any], what: str, left_out: Counter[str]) -> None:
        self._rest = dict(value)
        self._what = what
        self._left_out = left_out

    def take(self, key: str, wanted: Callable[[Any], Made | None]) -> Made | None:
        """Take a member; `wanted` gives None for what can't be used."""
        value = self._rest.pop(key, None)
        made = None if value is None else wanted(value)
        if made is None and value not in (None, ""):
            self._left_out[f"{self._what}{key} of a wrong kind"] += 1
        return made

    def count_rest(self) -> None:
        """Count what was not taken."""
        for key, value in self._rest.items():
            if value not in (None, [], {}):
                self._left_out[f"{self._what}key {shown(key)}"] += 1


def added(metrics: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Add the figures of steps; what is known of no step is not in the sum."""
    total: dict[str, Any] = {}
    for each in metrics:
        for name, (_, read) in FIGURES.items():
            if (figure := read(each.get(name))) is not None:
                total[name] = total[name] + figure if name in total else figure
    return {name: sum_ for name, sum_ in total.items() if FIGURES[name][1](sum_) is not None}


def final_metrics(metrics: Iterable[Mapping[str, Any]], steps: int) -> dict[str, Any]:
    """Make the `final_metrics` of a document without embedded ones."""
    total = {f"total_{name}": figure for name, figure in added(metrics).items()}
    return {**total, "total_steps": steps}


def difference(plain: Value, exact: Value) -> dict[str, Any]:
    """Give the fields of a value that its plain reading doesn't have, for `restored`."""
    read, wanted = plain.model_dump(mode="json"), exact.model_dump(mode="json")
    return {
        name: _by_place(read[name], value) if name in _CHILDREN else value
        for name, value in wanted.items()
        if not _same(read[name], value)
    }


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one) == json.dumps(other)  # which tells 1, 1.0, true and -0.0 apart


def _by_place(read: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> Any:
    """Give only what differs in each child, where there are as many of them."""
    if len(read) != len(wanted):
        return [
            {name: told for name, told in child.items() if told is not None} for child in wanted
        ]
    return {
        str(place): {name: told for name, told in child.items() if not _same(told, plain[name])}
        for place, (plain, child) in enumerate(zip(read, wanted, strict=True))
        if not _same(plain, child)
    }


def restored(plain: AnyValue, told: Mapping[str, Any]) -> AnyValue:
    """Put the fields that a mark tells into a value. Raises BadLineError, InvalidTurnError."""
    fields = plain.model_dump(mode="json")
    for name, value in told.items():
        if name not in fields or name in _NAMES:
            raise BadLineError(f"has an extra.{MARK} with a key that is not known")
        if name in _CHILDREN and isinstance(value, Mapping):
            for place, child in value.items():
                _child_at(fields[name], place).update(child if isinstance(child, dict) else {})
        else:
            fields[name] = value
    return type(plain)(**fields)


def _child_at(children: list[dict[str, Any]], place: str) -> dict[str, Any]:
    if not place.isascii() or not place.isdecimal() or len(place) > len(str(len(children))):
        raise BadLineError(f"has an extra.{MARK} with a place that is not there")
    if int(place) >= len(children):
        raise BadLineError(f"has an extra.{MARK} with a place that is not there")
    return children[int(place)]


def name_(value: Any) -> str | None:
    """Give a text that fits into a label."""
    return value if isinstance(value, str) and len(value) <= MAX_LABEL else None


def list_(value: Any) -> list[Any] | None:
    """Give a list."""
    return value if isinstance(value, list) else None


def object_(value: Any) -> dict[str, Any] | None:
    """Give an object."""
    return value if isinstance(value, dict) else None


def content_(value: Any) -> str | list[Any] | None:
    """Give what a message may have as its content."""
    if isinstance(value, str):
        return value
    return value if isinstance(value, list) and storable(value) is not None else None


def scalar_(value: Any) -> str | int | float | None:
    """Give a text or a number."""
    return value if isinstance(value, str | int | float) else None


def flag_(value: Any) -> bool | None:
    """Give true or false."""
    return value if isinstance(value, bool) else None


def time_(value: Any) -> datetime | None:
    """Give the time that ISO 8601 text says; without a timezone, UTC is meant."""
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
