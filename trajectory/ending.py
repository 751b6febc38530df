"""How a trajectory ended."""

from __future__ import annotations

import asyncio

from trajectory.errors import InvalidTurnError
from trajectory.handed import as_error
from trajectory.models import TrajectoryStatus

_ENDS = frozenset(TrajectoryStatus) - {TrajectoryStatus.RUNNING}


def known_end(status: TrajectoryStatus | str) -> TrajectoryStatus:
    """Give the status of an end. Raises `InvalidTurnError` where it is none."""
    if status not in _ENDS:
        known = ", ".join(sorted(_ENDS))
        raise InvalidTurnError(f"a trajectory ends with one of the statuses {known}")
    return TrajectoryStatus(status)


def how_it_ended(error: BaseException | None) -> tuple[TrajectoryStatus, str | None]:
    """Give the status, and the error's text, of what an exception has ended, or none."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return TrajectoryStatus.COMPLETED, None
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit):
        return TrajectoryStatus.CANCELLED, None
    return TrajectoryStatus.FAILED, as_error(error)
