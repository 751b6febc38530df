"""Instants as people write them: a date, a time, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from trajectory.errors import ConfigurationError

_AGE = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_WHEN = "2026-01-31, 2026-01-31T10:00+01:00 (UTC if it names no zone) or an age such as 30d or 12h"


def instant(text: str, now: datetime, option: str) -> datetime:
    """Read a date, a time or an age before `now`. Raises `ConfigurationError`."""
    age = _AGE.fullmatch(text)
    try:
        if age:
            return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigurationError(f"{option} {text[:60]!r} is no time; give {_WHEN}") from None
