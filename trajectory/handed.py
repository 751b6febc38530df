"""Makes storable values of whatever is handed over: never raises, copies, bounds."""

from __future__ import annotations

import dataclasses
import json
import operator
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from math import isfinite
from pathlib import PurePath
from typing import Any, get_args, get_type_hints
from uuid import UUID

from trajectory.door import MAX_LABEL, Amount, Count, Instant, Label, Number, Object, Position
from trajectory.errors import InvalidTurnError
from trajectory.models import Role
from trajectory.values import INT64_MAX, INT64_MIN, clean_text, is_storable

JSON_DEPTH = 32
"""How deep what `as_json` gives may nest."""

JSON_VALUES = 50_000
"""How many values it may hold."""

_DESCRIBED = 2_000
_ERROR_CHARACTERS = 10_000
_KEY_CHARACTERS = 1_000
_MORE = "…"
_TEXTUAL = (datetime, date, time, timedelta, Decimal, UUID, PurePath, complex)
_LISTED = (list, tuple, deque)
_OTHER_ROLES = {
    "human": Role.USER,
    "ai": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "agent": Role.ASSISTANT,
    "function": Role.TOOL,
}


def as_text(value: Any) -> str:
    """Give a value as text: text as it is, JSON compactly, anything else described in bounds."""
    if isinstance(value, str):
        return str.__str__(value)
    try:
        if isinstance(value, dict | list | tuple) and not hasattr(value, "_fields"):
            return _dumped(value)
    except Exception:  # noqa: BLE001, S110 - it holds what JSON doesn't have: the long way
        pass
    known = as_json(value)
    if isinstance(known, str):
        return known
    try:
        return _dumped(known)
    except Exception:  # noqa: BLE001 - text is promised for any value
        return _described(value)


def as_json(value: Any, *, depth: int = JSON_DEPTH, values: int = JSON_VALUES) -> Any:
    """Copy a value into one that JSON has and every backend stores.

    Pydantic models, dataclasses and named tuples become objects; what JSON has no form for becomes
    text. What nests deeper than `depth`, or comes after so many `values`, is left out, and "…"
    stands for it.
    """
    return _Copier(values).copy(value, depth)


def as_error(error: Any) -> str:
    """Describe an error as `TypeName: text`, in bounds; text stays text."""
    if isinstance(error, BaseException):
        try:
            text = str(error)
        except Exception:  # noqa: BLE001 - whatever its text does, it has a name
            text = "(its text can't be shown)"
        error = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return as_text(error)[:_ERROR_CHARACTERS]


def count_of(value: Any) -> int | None:
    """Give a number of tokens; None where it is none that could be stored."""
    if value.__class__ is int:
        number = value
    elif isinstance(value, bool):
        return None
    elif isinstance(value, float):
        if not value.is_integer():
            return None
        number = int(value)
    else:
        try:
            number = operator.index(value)
        except Exception:  # noqa: BLE001 - no number, or one that fails
            return None
    return number if 0 <= number <= INT64_MAX else None


def number_of(value: Any) -> float | None:
    """Give a finite number; None where it is none."""
    if isinstance(value, bool | str | bytes | bytearray):
        return None
    try:
        number = float(value)
    except Exception:  # noqa: BLE001 - no number, one that fails, or one too large
        return None
    return number if isfinite(number) else None


def role_of(value: Any) -> Role:
    """Give the role of a message, also by the names "human", "ai", "model", "agent", "function".

    Raises `InvalidTurnError` where it is none.
    """
    name = as_text(value).lower()
    try:
        return _OTHER_ROLES.get(name) or Role(name)
    except ValueError:
        known = ", ".join([*Role, *_OTHER_ROLES])
        raise InvalidTurnError(f"Message.role: not a role; give one of {known}") from None


def cleaners(
    model: type, *, leave_out: Iterable[str] = (), **special: Callable[[Any], Any]
) -> dict[str, Callable[[Any], Any]]:
    """Give for each field of a model what makes any value one that the field takes."""
    chosen = dict(special)
    for name, hint in get_type_hints(model, include_extras=True).items():
        if name.startswith("_") or name in {*leave_out, *special, "model_config"}:
            continue
        kinds = (hint, *get_args(hint)[:1])
        chosen[name] = next(clean for kind, clean in _CLEANERS if kind in kinds)
    return chosen


def _label(value: Any) -> str | None:
    return None if value is None else as_text(value)[:MAX_LABEL]


def _text(value: Any) -> str | None:
    return None if value is None else as_text(value)


def _amount(value: Any) -> float | None:
    number = None if value is None else number_of(value)
    return number if number is not None and number >= 0 else None


def _instant(value: Any) -> datetime | None:
    """Keep an instant that can be one in UTC; a naive one is no instant."""
    try:
        if isinstance(value, datetime) and value.utcoffset() is not None:
            return value.astimezone(UTC)
    except Exception:  # noqa: BLE001, S110 - a timezone of somebody else's making
        pass
    return None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _object(value: Any) -> dict[str, Any]:
    known = as_json(value)
    if isinstance(known, dict):
        return known
    return {} if known is None else {"value": known}


_CLEANERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Label, _label),
    (Count, count_of),
    (Position, count_of),
    (Amount, _amount),
    (Number, number_of),
    (Instant, _instant),
    (Object, _object),
    (str, _text),
    (bool, _flag),
    (Any, as_json),
)


_dumped = partial(json.dumps, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class _Copier:
    """Copies one value; counts how many members it may still hold."""

    def __init__(self, values: int) -> None:
        self._left = values

    def copy(self, value: Any, depth: int) -> Any:
        kind = value.__class__
        if value is None or kind is bool or kind is str:
            return value
        try:
            return self._copied(value, depth)
        except Exception:  # noqa: BLE001 - a foreign object may fail at anything
            return _described(value)

    def _copied(self, value: Any, depth: int) -> Any:
        if isinstance(value, Enum):
            return self.copy(value.value, depth - 1) if depth > 0 else _MORE
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return int(value) if INT64_MIN <= value <= INT64_MAX else _huge(value)
        if isinstance(value, float):
            return float(value) if isfinite(value) else _not_finite(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return _decoded(value)
        if isinstance(value, BaseException):
            return as_error(value)
        if isinstance(value, _TEXTUAL):
            return str(value)[:_DESCRIBED]
        return self._members(value, depth)

    def _members(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if isinstance(value, Mapping):
            return self._object(value.items(), depth)
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return self._object(zip(kind._fields, value, strict=False), depth)
        if isinstance(value, _LISTED):
            return self._list(value, depth)
        if isinstance(value, AbstractSet):
            return sorted(self._list(value, depth), key=as_text)
        if isinstance(value, type):
            return _described(value)
        if callable(getattr(kind, "model_dump", None)):
            return self._nested(value.model_dump(mode="json", warnings=False), depth)
        if dataclasses.is_dataclass(value):
            # What its author keeps out of its repr is large, or secret.
            pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if f.repr)
            return self._object(pairs, depth)
        number = count_of(value) if hasattr(kind, "__index__") else None
        return _described(value) if number is None else number

    def _nested(self, value: Any, depth: int) -> Any:
        return self.copy(value, depth - 1) if depth > 0 else _MORE

    def _object(self, pairs: Iterable[tuple[Any, Any]], depth: int) -> Any:
        if depth <= 0:
            return _MORE
        copied: dict[str, Any] = {}
        for key, member in pairs:
            self._left -= 1
            if self._left < 0:
                copied[_MORE] = _MORE
                break
            name = _key(key)
            if name in copied:
                name = _free(name, copied)
            copied[name] = self.copy(member, depth - 1)
        return copied

    def _list(self, values: Iterable[Any], depth: int) -> Any:
        if depth <= 0:
            return _MORE
        copied: list[Any] = []
        for member in values:
            self._left -= 1
            if self._left < 0:
                copied.append(_MORE)
                break
            copied.append(self.copy(member, depth - 1))
        return copied


def _key(key: Any) -> str:
    name = key if key.__class__ is str else as_text(key)
    name = name[:_KEY_CHARACTERS]
    return name if is_storable(name) else clean_text(name)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """Find a name for a key that is another's once it is text."""
    number = 2
    while f"{name}~{number}" in taken:
        number += 1
    return f"{name}~{number}"


def _huge(value: int) -> str:
    bits = value.bit_length()
    return str(int(value)) if bits < _ERROR_CHARACTERS else f"<an integer of {bits} bits>"


def _not_finite(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124


def _decoded(value: bytes | bytearray | memoryview) -> str:
    try:
        text = bytes(value).decode()
    except UnicodeDecodeError:
        return f"<{len(value):,} bytes>"
    return text if is_storable(text) else f"<{len(value):,} bytes>"


def _described(value: Any) -> str:
    """Describe an object in bounds; without its address in memory, which says nothing."""
    kind = type(value)
    plain: Any = object.__repr__
    try:
        if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
            return f"<{value.__module__}.{value.__qualname__}>"[:_DESCRIBED]
        if kind.__repr__ is not plain:
            return repr(value)[:_DESCRIBED]
    except Exception:  # noqa: BLE001, S110 - its type's name is all that is left
        pass
    return f"<{kind.__module__}.{kind.__qualname__}>"[:_DESCRIBED]
