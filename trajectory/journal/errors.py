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
