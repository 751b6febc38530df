"""What a value must pass before anything keeps it: its type, the redaction hook, its size."""

from __future__ import annotations

from uuid import UUID

from trajectory.errors import InvalidTurnError
from trajectory.late import TimePositions
from trajectory.models import Fact, Question, Trajectory, TrajectoryEnd, Turn, Violation
from trajectory.redaction import Redact, redacted
from trajectory.sizes import turn_bytes, value_bytes


class Admission:
    """Lets values in, each with its estimated bytes, or raises `InvalidTurnError`."""

    def __init__(self, max_bytes: int, redact: Redact | None) -> None:
        self._max_bytes = max_bytes
        self._redact = redact
        self._late = TimePositions()

    def plain_size(self, turn: Turn) -> int | None:
        """Give the bytes of a turn that needs no more than that look; else None."""
        if self._redact is not None or turn.__class__ is not Turn:
            return None
        size = turn_bytes(turn)
        return size if size <= self._max_bytes else None

    def turn(self, turn: Turn) -> tuple[Turn, int]:
        """Let a turn in, without what the hook takes out."""
        if not isinstance(turn, Turn):
            raise InvalidTurnError(f"a {type(turn).__name__} is no Turn; make a Turn of it first")
        if self._redact is not None:
            turn = redacted(turn, self._redact)
        size = turn_bytes(turn)
        if size > self._max_bytes:
            raise self._too_large(f"turn {turn.trajectory_id}/{turn.turn_number}", size)
        return turn, size

    def fact(
        self, trajectory_id: UUID, turn_number: int, finding: Question | Violation
    ) -> tuple[Fact, int]:
        """Let in what was found late, placed by time where it has no position."""
        if not isinstance(finding, Question | Violation):
            raise InvalidTurnError(
                f"a {type(finding).__name__} is no Question or Violation; the arguments are the "
                f"trajectory's id, the turn's number, and what was found"
            )
        fact = Fact(
            trajectory_id=trajectory_id,
            turn_number=turn_number,
            finding=self._late.place(finding),
        )
        return fact, self._sized(fact, f"a fact for turn {trajectory_id}/{turn_number}")

    def trajectory(self, trajectory: Trajectory) -> int:
        """Let in the start of a trajectory."""
        if not isinstance(trajectory, Trajectory):
            raise InvalidTurnError(
                f"a {type(trajectory).__name__} is no Trajectory; make a Trajectory of it first"
            )
        return self._sized(trajectory, f"trajectory {trajectory.id}")

    def end(self, end: TrajectoryEnd) -> int:
        """Let in the end of a trajectory."""
        return self._sized(end, f"the end of trajectory {end.trajectory_id}")

    def _sized(self, value: Fact | Trajectory | TrajectoryEnd, name: str) -> int:
        size = value_bytes(value)
        if size > self._max_bytes:
            raise self._too_large(name, size)
        return size

    def _too_large(self, name: str, size: int) -> InvalidTurnError:
        return InvalidTurnError(
            f"{name} takes {size} bytes, more than max_turn_bytes = {self._max_bytes}; shorten it "
            f"or raise the setting"
        )
