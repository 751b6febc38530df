"""Where a trajectory stands in the database, to go on from there."""

from __future__ import annotations

import logging
from uuid import UUID

from trajectory.backend import StorageBackend
from trajectory.query import TrajectoryQuery, TurnQuery

_log = logging.getLogger(__name__)


async def last_turn_number(backend: StorageBackend, trajectory_id: UUID) -> int:
    """Give the highest turn number that is stored; 0 for a trajectory without turns.

    Nothing stored at all is no error, since a process may die before its first turn is stored; it
    is logged, since the id may be wrong.
    """
    turns = TurnQuery(ids=(trajectory_id,), descending=True, limit=1)
    async for turn in backend.read_turns(turns):
        return turn.turn_number
    async for _ in backend.read_trajectories(TrajectoryQuery(ids=(trajectory_id,))):
        return 0
    _log.warning(
        "nothing is stored of trajectory %s, which is resumed; its turns begin at 1", trajectory_id
    )
    return 0
