"""The handle of a running trajectory, and which one runs in this context."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from trajectory.ending import how_it_ended, known_end
from trajectory.errors import InvalidTurnError, LoggerClosedError, TrajectoryError
from trajectory.models import (
    Question,
    Trajectory,
    TrajectoryEnd,
    TrajectoryStatus,
    Turn,
    Violation,
    turn_of,
)
from trajectory.open_turn import OpenTurn, RunTurn, open_turn
from trajectory.report import Accepted, Dropped
from trajectory.words import counted

if TYPE_CHECKING:
    from trajectory.logger import TrajectoryLogger

_current: ContextVar[Run | None] = ContextVar("trajectory_current", default=None)


def current() -> Run | None:
    """Give the trajectory that runs in this context (task), or None.

    `logger.trajectory(...)` sets it for its block, and tasks that start inside inherit it; threads
    do through `carry`. In the block of a `SyncTrajectoryLogger` it tells the ids, and is no use for
    logging.
    """
    return _current.get()


def current_turn() -> OpenTurn | None:
    """Give the open turn of the trajectory that runs in this context, or None.

    So code deep inside a `run.turn(...)` block, or inside an observed function, can add to it.
    """
    run, turn = _current.get(), open_turn()
    return turn if run is not None and turn is not None and turn.trajectory_id == run.id else None


class Running:
    """Makes a run the running one of this context, and undoes it."""

    def __init__(self, run: Run) -> None:
        self._token: Token[Run | None] | None = _current.set(run)

    def leave(self) -> None:
        """Make the run before it the running one again."""
        token, self._token = self._token, None
        if token is not None:
            # A block may end in another context, as fixtures do.
            with contextlib.suppress(ValueError):
                _current.reset(token)


class Run:
    """A running trajectory: numbers turns from 1 and logs them. Made by a `TrajectoryLogger`."""

    def __init__(
        self,
        logger: TrajectoryLogger,
        id: UUID,  # noqa: A002
        last_turn_number: int = 0,
        *,
        root_id: UUID | None = None,
    ) -> None:
        self._logger = logger
        self._id = id
        self._root_id = root_id or id
        self._last = last_turn_number
        self._dropped: set[int] = set()
        self._open: set[int] = set()
        self._ended = False
        self._life = logger._life  # noqa: SLF001
        self._epoch = self._life.epoch

    def __repr__(self) -> str:
        ended = ", ended" if self._ended else ""
        return f"<Run {self._id}, {counted(self._last, 'turn')}{ended}>"

    @property
    def id(self) -> UUID:
        """The trajectory's id."""
        return self._id

    @property
    def root_id(self) -> UUID:
        """The id of the outermost trajectory that this one is known to belong to."""
        return self._root_id

    def as_parent(self) -> dict[str, UUID]:
        """Give the fields with which a child starts: `logger.trajectory(**run.as_parent())`.

        They can be handed to another process, which logs as a trajectory of its own.
        """
        return {"parent_trajectory_id": self._id, "root_trajectory_id": self._root_id}

    @property
    def last_turn_number(self) -> int:
        """The highest turn number that was given out; 0 before the first turn."""
        return self._last

    async def log_turn(self, prompt: str, response: str, **fields: Any) -> Turn:
        """Log the next turn and return it. `fields` are those of `Turn`.

        Turns are numbered in the order of the calls. A call that raises gives its number back if
        no later one was given out; a dropped turn keeps its number, so the gap can be seen.

        Raises what `TrajectoryLogger.log_turn` raises. At level `stored` a
        `BackendUnavailableError` says that the turn was accepted; don't log it again.
        """
        logger = self._logger
        deadline = logger._deadline() if logger._waits else 0.0  # noqa: SLF001 - its other half
        turn = self._number(prompt, response, fields)
        try:
            # A plain call where it can be: a coroutine more costs a tenth of logging a turn.
            outcome = logger._accept_at_once(turn) or await logger._accept_turn(turn)  # noqa: SLF001
        except BaseException:
            self._take_back(turn)
            raise
        if not outcome:
            self._dropped.add(turn.turn_number)
        elif logger._waits:  # noqa: SLF001
            # It is accepted, and keeps its number whatever happens.
            await logger._until_durable(outcome, deadline)  # noqa: SLF001
        return turn

    def log_turn_nowait(self, prompt: str, response: str, **fields: Any) -> Turn:
        """Log the next turn without waiting; see `TrajectoryLogger.log_turn_nowait`."""
        turn = self._number(prompt, response, fields)
        try:
            outcome = self._logger.log_turn_nowait(turn)
        except BaseException:
            self._take_back(turn)
            raise
        if not outcome:
            self._dropped.add(turn.turn_number)
        return turn

    def turn(self, prompt: Any = "", **fields: Any) -> RunTurn:
        """Log the next turn as the `async with` block in which it happens.

        The block fills it: `turn.message(...)`, `turn.tool_call(...)`, `turn.count(...)`,
        `turn.response = ...`; see `TurnDraft`. `fields` are those of `Turn`. It is logged, with its
        latency, when the block ends; also by an exception or a cancellation, which is the turn's
        error and goes on.

        Turns are numbered in the order in which their blocks begin. A block that ends well raises
        what `log_turn` raises; one that ends by an exception raises that and nothing else, and
        waits for nothing.
        """
        return RunTurn(self, prompt, fields)

    def _goes_on_in(self, logger: TrajectoryLogger) -> bool:
        ours = self._logger is logger and self._epoch == self._life.epoch
        return ours and not self._ended

    def _take_number(self) -> int:
        self._last += 1
        self._open.add(self._last)
        return self._last

    def _begin_turn(self) -> int:
        self._require_running()
        return self._take_number()

    def _offer_turn(self, turn: Turn) -> None:
        self._open.discard(turn.turn_number)
        if self._epoch == self._life.epoch:
            self._logger.offer(turn)

    async def _log_open(self, turn: Turn) -> None:
        logger = self._logger
        deadline = logger._deadline()  # noqa: SLF001
        self._open.discard(turn.turn_number)
        try:
            self._require_running()
            outcome = await logger._accept_turn(turn)  # noqa: SLF001
        except asyncio.CancelledError:
            logger.offer(turn)  # it has happened, whoever waits for room no longer
            raise
        except BaseException:
            self._take_back(turn)
            raise
        if not outcome:
            self._dropped.add(turn.turn_number)
        else:
            await logger._until_durable(outcome, deadline)  # noqa: SLF001

    def _require_running(self) -> None:
        self._require_own()
        if self._ended:
            raise LoggerClosedError(f"trajectory {self._id} has ended; start or resume one")

    def _require_own(self) -> None:
        if self._epoch != self._life.epoch:
            raise LoggerClosedError(
                f"trajectory {self._id} belongs to the parent process, which goes on with its "
                f"numbers; start another one with parent_trajectory_id={self._id}"
            )

    def _number(self, prompt: str, response: str, fields: dict[str, Any]) -> Turn:
        if self._ended or self._epoch != self._life.epoch:
            self._require_running()
        if "turn_number" in fields or "trajectory_id" in fields:
            raise InvalidTurnError(
                "a run names and numbers its turns by itself; to choose a number, log a Turn with "
                "logger.log_turn()"
            )
        fields["trajectory_id"] = self._id
        fields["turn_number"] = self._last + 1
        fields["prompt"] = prompt
        fields["response"] = response
        turn = turn_of(fields)
        self._last += 1
        return turn

    def _take_back(self, turn: Turn) -> None:
        if self._last == turn.turn_number:
            self._last -= 1

    async def log_question(self, turn_number: int, question: Question) -> Accepted | Dropped:
        """Log a question that was found after its turn was logged.

        For a turn that was dropped it is dropped as well. Raises `InvalidTurnError` for a number
        that this run has not given out, else as `TrajectoryLogger.log_question` does.
        """
        return await self._log_fact(turn_number, question)

    async def log_violation(self, turn_number: int, violation: Violation) -> Accepted | Dropped:
        """Log a violation that was found after its turn was logged; see `log_question`."""
        return await self._log_fact(turn_number, violation)

    async def _log_fact(
        self, turn_number: int, finding: Question | Violation
    ) -> Accepted | Dropped:
        if not isinstance(turn_number, int):
            raise InvalidTurnError(
                f"the number of a turn is an int, not a {type(turn_number).__name__}; give "
                f"turn.turn_number"
            )
        if turn_number in self._dropped:
            return await self._logger._drop(self._id, turn_number, finding)  # noqa: SLF001
        if turn_number in self._open:
            raise InvalidTurnError(
                f"turn {turn_number} of trajectory {self._id} is still open; add to it in its "
                f"block, with turn.add()"
            )
        if turn_number > self._last:
            raise InvalidTurnError(
                f"turn {turn_number} of trajectory {self._id} was not logged yet; its last is "
                f"{self._last}"
            )
        return await self._logger._log_fact(self._id, turn_number, finding)  # noqa: SLF001

    async def end(
        self,
        status: TrajectoryStatus | str = TrajectoryStatus.COMPLETED,
        *,
        error: str | None = None,
        reward: float | None = None,
        ended_at: datetime | None = None,
    ) -> None:
        """End the trajectory. It never waits for room, and only the first call counts.

        Raises `InvalidTurnError` for a status that is none, or an error text that is too large.
        """
        await self._end(known_end(status), error=error, reward=reward, ended_at=ended_at)

    async def _end(
        self,
        status: TrajectoryStatus,
        *,
        error: str | None = None,
        reward: float | None = None,
        ended_at: datetime | None = None,
    ) -> None:
        if self._ended:
            return
        end = TrajectoryEnd(
            trajectory_id=self._id,
            status=status,
            error=error,
            reward=reward,
            ended_at=datetime.now(UTC) if ended_at is None else ended_at,
        )
        self._require_own()
        await self._logger._accept_end(end)  # noqa: SLF001 - the run is the logger's other half
        self._ended = True

    async def _end_with_block(self, error: BaseException | None) -> None:
        status, text = how_it_ended(error)
        await self._end(status, error=text)


class RunContext:
    """What `logger.trajectory(...)` returns: starts a trajectory, ends it with its block.

    The block's end decides the status: `completed`, `failed` (with the error), or `cancelled`.
    """

    def __init__(self, logger: TrajectoryLogger, start: Trajectory) -> None:
        self._logger = logger
        self._start = start
        self._run: Run | None = None
        self._running: Running | None = None

    async def __aenter__(self) -> Run:
        if self._run is not None:
            raise TrajectoryError("this trajectory has run already; call logger.trajectory() again")
        run = self._run = await self._logger._start(self._start)  # noqa: SLF001
        self._running = Running(run)
        return run

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        run, running = self._run, self._running
        if run is None or running is None:
            return
        self._running = None
        running.leave()
        try:
            await run._end_with_block(error)  # noqa: SLF001
        except TrajectoryError:
            if error is None:
                raise  # else the body's own exception says more
