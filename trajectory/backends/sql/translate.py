"""Foreign exceptions, translated in one place: try again, don't, or stop.

A driver's message may quote the values it was given, so no text of theirs goes into ours, and the
original is the `__cause__` only where its own message can't hold content.
"""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import ssl
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

# What asyncpg says, without an SQLSTATE, of a connection that went away under it, or of servers
# of which none is the primary (yet).
_GONE = (
    "InterfaceError",
    "InternalClientError",
    "ProtocolError",
    "TargetServerAttributeNotMatched",
)
_AWAY_STATES = ("08", "53", "57P", "57014", "40001", "40P01", "25006", "55P03")
_CONTENT_STATES = ("22", "23", "54")  # 54: too long for an index, or for the server at all
_AWAY = {
    "SQLITE_BUSY": "another connection holds the lock of the file",
    "SQLITE_FULL": "no room is left on the disk; make some",
    "SQLITE_IOERR": "the disk could not be read or written",
    "53300": "the server takes no more connections; close some, or raise max_connections",
}
_ADVICE = {
    "28": "check the user and password in the URL",
    "3D": "create the database first, or check its name in the URL",
    "42501": (
        "as the owner of the tables, GRANT its role SELECT on all of them, and INSERT, UPDATE and "
        "DELETE on those it writes to"
    ),
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
        try:
            raise ours from ours.__cause__
        finally:
            # No traceback shows it, but whatever walks the chain would find the content there.
            ours.__context__ = None


def translate(error: Exception, where: str) -> TrajectoryError:
    """Give our error for a driver's, with its cause set."""
    original = _original(error)
    code = error_code(original)
    text = f"{where}: {type(original).__name__}{f' ({code})' if code else ''}"
    ours: TrajectoryError
    if _is_away(error, original, code):
        ours = BackendUnavailableError(f"{text}; {_why_away(original, code)}")
    elif _is_content(original, code):
        ours = BatchRejectedError(f"{text}: the database refuses a value of the batch")
    else:
        todo = _starting(_ADVICE, code)
        if isinstance(original, ssl.SSLCertVerificationError):
            todo = "the server's certificate is not trusted; check sslmode and sslrootcert"
        ours = BackendError(f"{text}{f'; {todo}' if todo else ''}")
    stand_in = DriverError(f"{type(original).__module__}.{type(original).__name__} {code}".rstrip())
    # The traceback of the stand-in is that of the original: frames, without the message.
    ours.__cause__ = stand_in.with_traceback(error.__traceback__)
    return ours


def _original(error: BaseException) -> BaseException:
    """Look through SQLAlchemy's wrapping and its driver adapters."""
    if isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
        error = error.orig
    if isinstance(error.__cause__, asyncio.CancelledError):
        return error  # a timeout, which cancels what it ends
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


def _starting(table: dict[str, str], code: str) -> str:
    return next((text for start, text in table.items() if code.startswith(start)), "")


def _why_away(original: BaseException, code: str) -> str:
    if isinstance(original, socket.gaierror):
        return "its host is not known here; check the name in the URL"
    if isinstance(original, TimeoutError):
        return "the database gave no answer in time"
    if type(original) is ConnectionError:  # asyncpg's, of a server that answers "no" to TLS
        return "the server broke off, or has no TLS; see sslmode in the URL"
    if isinstance(original, OSError):
        return "can't reach the database; check that it runs, and the address in the URL"
    return _starting(_AWAY, code) or "the database is away or busy"


def _is_away(error: BaseException, original: BaseException, code: str) -> bool:
    if code:
        return code.startswith(_BUSY) or code.startswith(_AWAY_STATES)
    if isinstance(original, ssl.SSLCertVerificationError):
        return False
    if isinstance(original, OSError | TimeoutError | asyncio.IncompleteReadError):
        return True
    if getattr(error, "connection_invalidated", False):
        return True
    gone = type(original).__name__ in _GONE
    return gone or isinstance(error, sa.exc.TimeoutError)


def _is_content(original: BaseException, code: str) -> bool:
    if code:
        return code.startswith(_CONTENT) or code.startswith(_CONTENT_STATES)
    return isinstance(original, _CONTENT_ERRORS) or type(original).__name__ == "DataError"
