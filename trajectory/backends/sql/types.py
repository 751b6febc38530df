"""Column types that come back the same from every database."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles


class _JsonText(sqlite.JSON):
    """JSON on SQLite, in a column declared as text.

    Of the type `JSON`, SQLite only knows that it isn't text: it would store the text `1.0` as a
    number, and a whole one as an integer.
    """


@compiles(_JsonText, "sqlite")
def _declared(_type: _JsonText, _compiler: Any, **_options: Any) -> str:
    return "TEXT"


JSON_VALUE = (
    sa.JSON(none_as_null=True)
    .with_variant(JSONB(none_as_null=True), "postgresql")
    .with_variant(_JsonText(none_as_null=True), "sqlite")
)
"""JSON; binary on Postgres, so that it can be searched and indexed."""


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An instant: aware in Python, `timestamptz` on Postgres, UTC without a zone on SQLite.

    SQLite has no type for it, and SQLAlchemy's text form drops the offset without a word; so only
    UTC goes in, and UTC comes out.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any] | None:
        """Give what turns an instant into the database's form."""
        if dialect.name != "sqlite":
            return super().bind_processor(dialect)
        # The text that SQLAlchemy writes as well, at a fifth of its price.
        return _sqlite_text

    def process_bind_param(self, value: datetime | None, _dialect: Any) -> datetime | None:
        """Give the database UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Any) -> datetime | None:
        """Give Python UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_last_second: tuple[datetime, str] = (datetime(1970, 1, 1, tzinfo=UTC), "1970-01-01 00:00:00.")
"""The second of the text that was made last, and the beginning of that text.

The turns of a batch fall into the same second or two, and formatting an instant takes a
microsecond: as long as all else that is done for a row.
"""


def _sqlite_text(value: datetime | None) -> str | None:
    global _last_second  # noqa: PLW0603 - a memory of one, replaced whole
    if value is None:
        return None
    second, text = _last_second
    since = value - second
    if since.seconds or since.days:
        second = value.astimezone(UTC).replace(microsecond=0)
        text = second.isoformat(" ", "microseconds")[:20]
        _last_second = second, text
    return text + "%06d" % since.microseconds  # noqa: UP031 - a third less than an f-string


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def dump_json(value: Any) -> str:
    """Write JSON that every database gives back equal, types included.

    JSONB keeps numbers as decimals and would give `1e+300` back as an integer; written out with a
    fraction it stays a float.
    """
    text = _encode(value)
    return _spelled_out(value) if "e+" in text else text


def _spelled_out(value: Any) -> str:
    if isinstance(value, float):
        text = repr(value)
        return f"{value:.1f}" if "e+" in text else text
    if isinstance(value, dict):
        pairs = (f"{_encode(key)}:{_spelled_out(member)}" for key, member in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_spelled_out, value)) + "]"
    return _encode(value)
