"""A running trajectory of a program without an event loop."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from trajectory.errors import TrajectoryError
from trajectory.models import Question, Trajectory, TrajectoryStatus, Turn, Violation
from trajectory.open_turn import OpenTurn
from trajectory.report import Accepted, Dropped
from trajectory.run import Run, Running

if TYPE_CHECKING:
    from trajectory.sync import SyncTrajectoryLogger


class SyncRun:
    """A running trajectory of a `SyncTrajectoryLogger`: `Run` without `await`."""

    def __init__(self, logger: SyncTrajectoryLogger, run: Run) -> None:
        self._logger = logger
        self._run = run

    def __repr__(self) -> str:
        return f"<Sync{repr(self._run)[1:]}"

    @property
    def id(self) -> UUID:
        """The trajectory's id."""
        return self._run.id

    def log_turn(self, prompt: str, response: str, **fields: Any) -> Turn:
        """Log the next turn and return it; see `Run.log_turn`."""
        return self._logger._wait(self._run.log_turn(prompt, response, **fields))  # noqa: SLF001

    def turn(self, prompt: Any = "", **fields: Any) -> SyncRunTurn:
        """Log the next turn as the `with` block in which it happens; see `Run.turn`."""
        return SyncRunTurn(self._logger, self._run, prompt, fields)

    def as_parent(self) -> dict[str, UUID]:
        """Give the fields with which a child starts; see `Run.as_parent`."""
        return self._run.as_parent()

    def log_question(self, turn_number: int, question: Question) -> Accepted | Dropped:
        """Log a question that was found after its turn was logged."""
        return self._logger.log_question(self.id, turn_number, question)

    def log_violation(self, turn_number: int, violation: Violation) -> Accepted | Dropped:
        """Log a violation that was found after its turn was logged."""
        return self._logger.log_violation(self.id, turn_number, violation)

    def end(
        self, status: TrajectoryStatus | str = TrajectoryStatus.COMPLETED, **fields: Any
    ) -> None:
        """End the trajectory; see `Run.end`."""
        self._logger._wait(self._run.end(status, **fields))  # noqa: SLF001


class SyncRunTurn(OpenTurn):
    """What `run.turn(...)` gives: use it with `with`."""

    def __init__(
        self, logger: SyncTrajectoryLogger, run: Run, prompt: Any, fields: dict[str, Any]
    ) -> None:
        super().__init__(run.id, prompt, fields)
        self._logger = logger
        self._run = run

    def __enter__(self) -> Self:
        self.require_new()
        self.begin(self._logger._wait(self._begun()))  # noqa: SLF001 - numbers are the loop's
        self.enter()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.leave()
        number = self.turn_number
        if number is None or not self.is_open:
            return
        turn = self.end(number, error)
        if error is None:
            self._logger._wait(self._run._log_open(turn))  # noqa: SLF001
        else:
            self._run._offer_turn(turn)  # noqa: SLF001

    async def _begun(self) -> int:
        return self._run._begin_turn()  # noqa: SLF001


class SyncRunContext:
    """What `SyncTrajectoryLogger.trajectory(...)` returns; the block's end decides the status."""

    def __init__(self, logger: SyncTrajectoryLogger, start: Trajectory) -> None:
        self._logger = logger
        self._start = start
        self._run: Run | None = None
        self._running: Running | None = None

    def __enter__(self) -> SyncRun:
        self._run = self._logger._wait(self._logger._logger._start(self._start))  # noqa: SLF001
        self._running = Running(self._run)
        return SyncRun(self._logger, self._run)

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._run is None or self._running is None:
            return
        self._running.leave()
        try:
            self._logger._wait(self._run._end_with_block(error))  # noqa: SLF001
        except TrajectoryError:
            if error is None:
                raise  # else the body's own exception says more
