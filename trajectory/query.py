"""What to read: filters, order, cursor and limit as values that know no database.

`matches` says in Python what a filter means; a backend may push it down, and must agree.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trajectory.door import Instant, explained
from trajectory.errors import InvalidQueryError
from trajectory.models import Trajectory, Turn


class TurnCursor(NamedTuple):
    """The place of a turn in the order of turns: reading goes on behind it."""

    trajectory_id: UUID
    turn_number: int


class TrajectoryCursor(NamedTuple):
    """The place of a trajectory in the order of trajectories: reading goes on behind it."""

    created_at: Instant
    id: UUID


class _Query(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __init__(self, /, **filters: Any) -> None:
        try:
            super().__init__(**filters)
        except ValidationError as error:
            raise InvalidQueryError(explained(type(self).__name__, error)) from None

    ids: tuple[UUID, ...] | None = None
    """Only these trajectories; None: all."""
    since: Instant | None = None
    """Only what was created at this instant or later."""
    until: Instant | None = None
    """Only what was created before this instant."""
    descending: bool = False
    limit: Annotated[int, Field(ge=0)] | None = None
    after: Any = None
    """Only what lies behind this place in the order."""

    @staticmethod
    def cursor(_row: Any, /) -> Any:
        """Give the place of what was read, for `after`."""
        raise NotImplementedError


class TurnQuery(_Query):
    """Which turns to read. They come ordered by (`trajectory_id`, `turn_number`)."""

    after: TurnCursor | None = None

    def matches(self, turn: Turn) -> bool:
        """Say whether a turn passes the filters (order, cursor and limit are not filters)."""
        return (
            (self.ids is None or turn.trajectory_id in self.ids)
            and (self.since is None or turn.created_at >= self.since)
            and (self.until is None or turn.created_at < self.until)
        )

    @staticmethod
    def cursor(turn: Turn, /) -> TurnCursor:
        """Give the place of a turn, for `after`."""
        return TurnCursor(turn.trajectory_id, turn.turn_number)


class TrajectoryQuery(_Query):
    """Which trajectories to read. They come ordered by (`created_at`, `id`)."""

    after: TrajectoryCursor | None = None

    def matches(self, trajectory: Trajectory) -> bool:
        """Say whether a trajectory passes the filters (order, cursor and limit are not filters)."""
        return (
            (self.ids is None or trajectory.id in self.ids)
            and (self.since is None or trajectory.created_at >= self.since)
            and (self.until is None or trajectory.created_at < self.until)
        )

    @staticmethod
    def cursor(trajectory: Trajectory, /) -> TrajectoryCursor:
        """Give the place of a trajectory, for `after`."""
        return TrajectoryCursor(trajectory.created_at, trajectory.id)
