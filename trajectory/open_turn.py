"""A turn of a running trajectory, while it happens: filled in a block, logged at its end."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar, Token
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from trajectory.door import now_utc
from trajectory.draft import TurnDraft
from trajectory.errors import TrajectoryError
from trajectory.models import Turn

if TYPE_CHECKING:
    from trajectory.run import Run

_open_turn: ContextVar[OpenTurn | None] = ContextVar("trajectory_open_turn", default=None)


def open_turn() -> OpenTurn | None:
    """Give the turn that this context is in, of whatever trajectory, or None."""
    turn = _open_turn.get()
    return turn if turn is not None and turn.is_open else None


class OpenTurn(TurnDraft):
    """A turn that is filled while it happens. It is open from `begin` to `end`."""

    def __init__(self, trajectory_id: UUID, prompt: Any, fields: dict[str, Any]) -> None:
        super().__init__(prompt, **fields)
        self._dated = "created_at" in fields
        self._trajectory_id = trajectory_id
        self._number: int | None = None
        self._token: Token[OpenTurn | None] | None = None
        self._began_once = self._is_open = False
        self.logged: Turn | None = None
        """The turn as it was handed to the logger, once the block is over."""

    @property
    def trajectory_id(self) -> UUID:
        """The id of its trajectory."""
        return self._trajectory_id

    @property
    def turn_number(self) -> int | None:
        """Its number, from the start of its block."""
        return self._number

    @property
    def is_open(self) -> bool:
        """Whether it is happening now. What is added later is not logged."""
        return self._is_open

    @property
    def is_answered(self) -> bool:
        """Whether its response was set."""
        return self._fields.get("response") is not None

    def leave_out(self, key: str) -> None:
        """Count in the metadata that something was left out."""
        before = self._fields.get("metadata", {}).get(key, 0)
        self.set(metadata={key: before + 1})

    def begin(self, number: int | None) -> None:
        """Open it. Its time begins here."""
        self._number = number
        self._began_once = self._is_open = True
        self._began = perf_counter()
        if not self._dated:
            self._fields["created_at"] = now_utc()

    def enter(self) -> None:
        """Make it the open turn of this context."""
        self._token = _open_turn.set(self)

    def leave(self) -> None:
        """Make what was open before the open turn of this context again."""
        token, self._token = self._token, None
        if token is not None:
            with contextlib.suppress(ValueError):  # it was entered in another context
                _open_turn.reset(token)

    def end(self, number: int, error: Any) -> Turn:
        """Close it, and make the turn."""
        self._is_open = False
        self.logged = self.turn(self._trajectory_id, number, error=error)
        return self.logged

    def require_new(self) -> None:
        """Refuse a second use."""
        if self._began_once:
            raise TrajectoryError("this turn has happened already; call run.turn() again")


class RunTurn(OpenTurn):
    """What `run.turn(...)` gives: use it with `async with`."""

    def __init__(self, run: Run, prompt: Any, fields: dict[str, Any]) -> None:
        super().__init__(run.id, prompt, fields)
        self._run = run

    async def __aenter__(self) -> Self:
        self.require_new()
        self.begin(self._run._begin_turn())  # noqa: SLF001 - the run is its other half
        self.enter()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.leave()
        number = self._number
        if number is None or not self._is_open:
            return
        turn = self.end(number, error)
        if error is None:
            await self._run._log_open(turn)  # noqa: SLF001
        else:
            self._run._offer_turn(turn)  # noqa: SLF001 - the error goes on, and waits for nothing
