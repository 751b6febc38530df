"""What goes wrong with a journal."""

from __future__ import annotations

from trajectory.errors import TrajectoryError


class JournalError(TrajectoryError):
    """The journal can't take, keep or give back a value.

    Says the path, the bytes and what the system answered, never what was logged.
    """


def reason(error: OSError) -> str:
    """Give the system's answer in its own words, without the path that Python adds."""
    return error.strerror or type(error).__name__


def unfit(value: object, error: ValueError) -> JournalError:
    """Give the error for a value of which no frame can be made."""
    return JournalError(f"can't journal a {type(value).__name__}: {error}")
