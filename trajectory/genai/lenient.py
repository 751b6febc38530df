"""Single values of spans from outside, looked at with care: a wrong one is None, and no error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isfinite
from types import MappingProxyType
from typing import Any, NoReturn

from trajectory.genai.instants import LAST_NS
from trajectory.values import (
    INT64_MAX,
    FrozenDict,
    FrozenList,
    RefusedValueError,
    clean_text,
    freeze_json,
    is_storable,
    text_bytes,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONTAINERS = (dict, list, tuple, MappingProxyType)
_MAX_KEPT = 100_000
"""Characters of a text that is parsed once, however often it is told."""
_MAX_LABEL_BYTES = 1024
_MAX_DEPTH = 48
"""Less than a value may nest, where it is put into another."""


def text(value: object) -> str | None:
    """Give a text that is not empty."""
    return _cleaned(value) if isinstance(value, str) and value else None


def label(value: object) -> str | None:
    """Give a text that fits into any label."""
    if not isinstance(value, str) or not value:
        return None
    cleaned = _cleaned(value)
    return cleaned if text_bytes(cleaned) <= _MAX_LABEL_BYTES else None


def count(value: object) -> int | None:
    """Give a whole number from 0, of 64 bits."""
    if isinstance(value, float) and isfinite(value) and value == int(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= INT64_MAX else None


def number(value: object) -> float | None:
    """Give a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if isfinite(found) else None


def amount(value: object) -> float | None:
    """Give a finite number from 0."""
    found = number(value)
    return found if found is not None and found >= 0 else None


def instant(ns: int) -> datetime:
    """Give the instant of nanoseconds since 1970, kept within what OTLP can tell."""
    return _EPOCH + timedelta(microseconds=min(max(ns, 0), LAST_NS) // 1000)


def structure(value: object, depth: int = _MAX_DEPTH) -> Any:
    """Give JSON: of a text that holds an object or array, or of such a value as it is.

    None for any other value, and for JSON that can't be stored.
    """
    if isinstance(value, str):
        return _parsed(value, depth)
    try:
        return freeze_json(value, depth=depth)[0] if isinstance(value, _CONTAINERS) else None
    except (ValueError, RecursionError):
        return None


def repeated(value: object) -> Any:
    """Give what `structure` does, of a text that spans often tell again, as of tools."""
    if isinstance(value, str) and len(value) <= _MAX_KEPT:
        return _kept(value)
    return structure(value)


def _parsed(value: str, depth: int) -> Any:
    if value.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return freeze_json(json.loads(value, parse_constant=_refuse), depth=depth)[0]
    except (ValueError, RecursionError):
        return None


@lru_cache(maxsize=64)
def _kept(value: str) -> Any:
    return _parsed(value, _MAX_DEPTH)


def members(value: object, depth: int = _MAX_DEPTH) -> Mapping[str, Any]:
    """Give an object's members; none of anything else."""
    found = structure(value, depth)
    return found if isinstance(found, FrozenDict) else {}


def elements(value: object) -> list[Any]:
    """Give the elements of an array; none of anything else."""
    found = structure(value)
    return found if isinstance(found, FrozenList) else []


def written(value: object) -> str | None:
    """Give a text as it is, byte for byte, and any other JSON value as compact JSON."""
    if value is None:
        return None
    if isinstance(value, str):
        return _cleaned(value)
    try:
        frozen, _ = freeze_json(value, depth=_MAX_DEPTH)
    except RefusedValueError:
        return None
    return json.dumps(frozen, ensure_ascii=False, separators=(",", ":"))


def _cleaned(value: str) -> str:
    return value if is_storable(value) else clean_text(value)


def _refuse(_name: str) -> NoReturn:
    raise ValueError
