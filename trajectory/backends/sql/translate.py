"""Foreign exceptions, translated in one place: try again, don't, or stop.

A driver's message may quote the values it was given, so no text of theirs goes into ours, and the
original is the `__cause__` only where its own message can't hold content.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from trajectory.errors import (
    BackendError,
    BackendUnavailableError,
    BatchRejectedError,
    TrajectoryError,
)

_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_PROTOCOL")
_CONTENT = ("SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG")
_CONTENT_ERRORS = (UnicodeError, OverflowError, TypeError, RecursionError)

_AWAY_STATES = ("08", "53", "57P", "40001", "40P01", "25006", "55P03")
_CONTENT_STATES = ("22", "23")
_TODO = {
    "28": "check the user and password in the URL",
    "3D": "create the database first, or check its name in the URL",
    "42": "run `trajectory db check`",
    "SQLITE_READONLY": "make the file and its folder writable",
    "SQLITE_CANTOPEN": "check the path and its permissions",
    "SQLITE_NOTADB": "name another file: this one is no database",
    "SQLITE_CORRUPT": "restore the file from a copy, or run SQLite's .recover on it",
    "SQLITE_ERROR": "run `trajectory db check`",
}


class DriverError(Exception):
    """Stands in for a driver's exception whose own message may hold content."""


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise our errors in place of the driver's. `where` names the database, without a password."""
    try:
        yield
    except (TrajectoryError, asyncio.CancelledError):
        raise
    except Exception as error:  # noqa: BLE001 - drivers raise bare OSError, OverflowError, ...
        ours = translate(error, where)
        raise ours from ours.__cause__


def translate(error: Exception, where: str) -> TrajectoryError:
    """Give our error for a driver's, with its cause set."""
    original = _original(error)
    code = error_code(original)
    text = f"{where}: {type(original).__name__}{f' ({code})' if code else ''}"
    ours: TrajectoryError
    if _is_away(error, original, code):
        ours = BackendUnavailableError(f"{text}: the database is away or busy")
    elif _is_content(original, code):
        ours = BatchRejectedError(f"{text}: the database refuses a value of the batch")
    else:
        todo = next((todo for start, todo in _TODO.items() if code.startswith(start)), "")
        ours = BackendError(f"{text}{f'; {todo}' if todo else ''}")
    stand_in = DriverError(f"{type(original).__module__}.{type(original).__name__} {code}".rstrip())
    # The traceback of the stand-in is that of the original: frames, without the message.
    ours.__cause__ = stand_in.with_traceback(error.__traceback__)
    return ours


def _original(error: BaseException) -> BaseException:
    """Look through SQLAlchemy's wrapping and its driver adapters."""
    if isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
        error = error.orig
    if isinstance(error, sqlite3.Error) or error_code(error):
        cause = error.__cause__
        return cause if cause is not None and error_code(cause) else error
    return error.__cause__ or error


def error_code(error: BaseException) -> str:
    """Give the SQLSTATE or SQLite's error name; empty if there is none."""
    return str(getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None) or "")


def is_unique_violation(error: BaseException) -> bool:
    """Say whether a key of the batch was taken."""
    return error_code(error) in (
        "23505",
        "SQLITE_CONSTRAINT_PRIMARYKEY",
        "SQLITE_CONSTRAINT_UNIQUE",
    )


def is_foreign_key_violation(error: BaseException) -> bool:
    """Say whether a parent was missing."""
    return error_code(error) in ("23503", "SQLITE_CONSTRAINT_FOREIGNKEY")


def _is_away(error: BaseException, original: BaseException, code: str) -> bool:
    if code:
        return code.startswith(_BUSY) or code.startswith(_AWAY_STATES)
    if isinstance(original, OSError | TimeoutError | asyncio.IncompleteReadError):
        return True
    if getattr(error, "connection_invalidated", False):
        return True
    # What asyncpg says, without an SQLSTATE, of a connection that went away under it.
    gone = type(original).__name__ in ("InterfaceError", "InternalClientError", "ProtocolError")
    return gone or isinstance(error, sa.exc.TimeoutError)


def _is_content(original: BaseException, code: str) -> bool:
    if code:
        return code.startswith(_CONTENT) or code.startswith(_CONTENT_STATES)
    return isinstance(original, _CONTENT_ERRORS) or type(original).__name__ == "DataError"
