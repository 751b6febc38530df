"""Single values of foreign documents, looked at with care: a wrong one is None, and no error."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from trajectory.values import (
    INT64_MAX,
    RefusedValueError,
    clean_text,
    freeze_json,
    is_storable,
    text_bytes,
)

_MAX_LABEL_BYTES = 1024
_MAX_SHOWN = 40


def text(value: object) -> str | None:
    """Give a text, and None for anything else."""
    return value if isinstance(value, str) else None


def label(value: object) -> str | None:
    """Give a text that fits into any label, and None for anything else."""
    if not isinstance(value, str) or not value:
        return None
    cleaned = value if is_storable(value) else clean_text(value)
    return cleaned if text_bytes(cleaned) <= _MAX_LABEL_BYTES else None


def count(value: object) -> int | None:
    """Give a whole number from 0, of 64 bits, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= INT64_MAX else None


def amount(value: object) -> float | None:
    """Give a number from 0 as a float, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) and number >= 0 else None


def instant(value: object) -> datetime | None:
    """Give the time that an ISO 8601 text with a timezone says, and None for anything else."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return moment.astimezone(UTC) if moment is not None and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def members(value: object) -> Mapping[str, Any]:
    """Give an object's members, and none for anything else."""
    return value if isinstance(value, dict) else {}


def storable(value: Any) -> Any:
    """Give a JSON value that can be stored as it is, and None for one that can't."""
    try:
        freeze_json(value)
    except RefusedValueError:
        return None
    return value


def written(value: Any) -> str | None:
    """Give a text as it is and any other value as JSON; None where there is none, or too deep."""
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return None


def digest(value: Any) -> str:
    """Condense a JSON value, whatever the order of its keys. Raises RecursionError."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def shown(name: object) -> str:
    """Name a key or a kind from outside: short, and with nothing a terminal would act on."""
    if not isinstance(name, str):
        return f"({type(name).__name__})"
    safe = ascii(name[: _MAX_SHOWN + 1])
    return safe if len(safe) <= _MAX_SHOWN + 2 else f"{safe[:_MAX_SHOWN]}...'"
