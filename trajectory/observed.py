"""One call of an observed function: what it becomes, and what is recorded of it."""
# ruff: noqa: SLF001 - it numbers turns where its user could not, as another half of a run

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from trajectory.carrying import inherited
from trajectory.draft import ToolCallDraft
from trajectory.ending import how_it_ended
from trajectory.guard import Guard
from trajectory.handed import as_error, as_json, as_text
from trajectory.models import Logged, Trajectory, TrajectoryEnd, Turn
from trajectory.open_turn import OpenTurn
from trajectory.run import Run, Running, current, current_turn

if TYPE_CHECKING:
    from trajectory.logger import TrajectoryLogger

FUNCTION_KEY = "function"
"""The key in a turn's metadata that names the function which was observed."""

LEFT_OUT_CALLS_KEY = "trajectory.left_out_calls"
"""The key in a turn's metadata that counts the observed calls beyond `MAX_CALLS`."""

MAX_CALLS = 10_000
"""So many observed calls become tool calls of one turn."""

STREAM_VALUES = 500_000
STREAM_CHARACTERS = 8_000_000
"""So much of a stream is kept."""

_ABANDONED = "GeneratorExit: whoever read the stream left before its end"


class Observes(Protocol):
    """A logger, as far as observing goes."""

    def offer(self, value: Logged, /) -> None:
        """Take a value, without waiting or failing."""

    def _recorder(self) -> TrajectoryLogger: ...


@dataclass(frozen=True)
class Watch:
    """What is to be recorded of the calls of a function."""

    logger: Observes
    function: Callable[..., Any]
    name: str
    fields: Mapping[str, Any]
    """Of the trajectories that its outermost calls become."""
    guard: Guard
    capture_input: bool
    capture_output: bool
    prompt: Callable[..., Any] | None
    response: Callable[[Any], Any] | None
    as_child: bool

    @cached_property
    def _signature(self) -> inspect.Signature | None:
        try:
            return inspect.signature(self.function)
        except (TypeError, ValueError):
            return None  # of a builtin

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Give the arguments of a call by name, without `self` and `cls`."""
        try:
            signature = self._signature
            if signature is None:
                raise TypeError  # noqa: TRY301
            named = signature.bind(*args, **kwargs).arguments
        except TypeError:  # the function will say so itself
            return {"args": args, "kwargs": kwargs}
        first = next(iter(signature.parameters), "")
        if first in {"self", "cls"}:
            named.pop(first, None)
        return named

    def asked(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, json: bool) -> str | None:
        """Give the arguments as text; None where they are not to be recorded."""
        if self.prompt is not None:
            return as_text(self.prompt(*args, **kwargs))
        if not self.capture_input:
            return None
        named = self.arguments(args, kwargs)
        if not json and len(named) == 1:
            (only,) = named.values()
            if isinstance(only, str):
                return as_text(only)
        return as_text(as_json(named))

    def answered(self, result: Any) -> str | None:
        """Give a result as text; None where it is not to be recorded."""
        if self.response is not None:
            return as_text(self.response(result))
        return as_text(result) if self.capture_output else None

    def failed(self, error: BaseException) -> str:
        """Give an error as text; its kind alone where what comes out is not to be recorded."""
        if isinstance(error, GeneratorExit):
            return _ABANDONED
        return as_error(error) if self.capture_output else type(error).__name__

    def observed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Observed:
        """Begin to record a call: what it becomes depends on where it is made."""
        run, recorder = current(), self.logger._recorder()
        if self.as_child or run is None or not run._goes_on_in(recorder):
            return _AsTrajectory(self, recorder, args, kwargs)
        turn = current_turn()
        if turn is None:
            return _AsTurn(self, run, args, kwargs)
        return _AsToolCall(self, turn, args, kwargs)


class Observed(Protocol):
    """A call that is being recorded."""

    def enter(self) -> None:
        """Let what the function calls belong to it."""

    def leave(self) -> None:
        """Undo `enter`."""

    def end(self, result: str | None, *, is_none: bool, error: BaseException | None) -> None:
        """Record how it ended. `is_none`: that it gave back nothing."""


class _AsToolCall:
    """A call inside an open turn."""

    def __init__(
        self, watch: Watch, turn: OpenTurn, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._watch = watch
        self._call: ToolCallDraft | None = None
        if turn.call_count < MAX_CALLS:
            self._call = turn.tool_call(watch.name, watch.asked(args, kwargs, json=True))
        else:
            turn.leave_out(LEFT_OUT_CALLS_KEY)

    def enter(self) -> None:
        pass

    def leave(self) -> None:
        pass

    def end(self, result: str | None, *, is_none: bool, error: BaseException | None) -> None:
        if self._call is None:
            return
        if error is not None:
            self._call.failed(self._watch.failed(error))
        elif is_none or result is not None:
            self._call.succeeded(None if is_none else result)
        else:
            self._call.succeeded()
            self._call.set(result=None)


class _AsTurn:
    """A call inside a running trajectory that has no open turn here."""

    def __init__(
        self, watch: Watch, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._watch = watch
        self._run = run
        prompt = watch.asked(args, kwargs, json=False) or ""
        self._turn = OpenTurn(run.id, prompt, {"metadata": {FUNCTION_KEY: watch.name}})
        self._turn.begin(self._number())

    def _number(self) -> int | None:
        """Take the next number, if this is the thread of those who do."""
        try:
            here = asyncio.get_running_loop() is self._run._life.loop
        except RuntimeError:
            here = False
        return self._run._take_number() if here else None

    def enter(self) -> None:
        self._turn.enter()

    def leave(self) -> None:
        self._turn.leave()

    def end(self, result: str | None, *, is_none: bool, error: BaseException | None) -> None:
        turn = self._ended(result, is_none=is_none, error=error)
        run, loop = self._run, self._run._life.loop
        if self._turn.turn_number is not None or loop is None or loop.is_closed():
            run._offer_turn(turn)
        else:
            loop.call_soon_threadsafe(self._number_late, turn)

    def _ended(self, result: str | None, *, is_none: bool, error: BaseException | None) -> Turn:
        if result is not None and not is_none and not self._turn.is_answered:
            self._turn.response = result
        told = None if error is None else self._watch.failed(error)
        return self._turn.end(self._turn.turn_number or 0, told)

    def _number_late(self, turn: Turn) -> None:
        with self._watch.guard:
            self._run._offer_turn(turn.replace(turn_number=self._run._take_number()))


class _AsTrajectory(_AsTurn):
    """An outermost call: a trajectory with one turn."""

    def __init__(
        self,
        watch: Watch,
        recorder: TrajectoryLogger,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        fields = {"agent_name": watch.name, **inherited(), **watch.fields}
        self._start = Trajectory(source_format="observe", **fields)
        root_id = self._start.root_trajectory_id or self._start.parent_trajectory_id
        watch.logger.offer(self._start)
        super().__init__(watch, Run(recorder, self._start.id, root_id=root_id), args, kwargs)
        self._running: Running | None = None

    def _number(self) -> int:
        return self._run._take_number()

    def enter(self) -> None:
        self._running = Running(self._run)
        super().enter()

    def leave(self) -> None:
        super().leave()
        if self._running is not None:
            self._running.leave()

    def end(self, result: str | None, *, is_none: bool, error: BaseException | None) -> None:
        logger = self._watch.logger
        logger.offer(self._ended(result, is_none=is_none, error=error))
        self._run._ended = True
        status, text = how_it_ended(error)
        if error is not None and text is not None:
            text = self._watch.failed(error)
        logger.offer(TrajectoryEnd(trajectory_id=self._run.id, status=status, error=text))


class Recording:
    """Records one call, for its wrapper. Nothing it does raises, but what no `Exception` is.

    `with recording:` for the whole call, `with recording.step:` for what runs in its context.
    """

    def __init__(self, watch: Watch, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._watch = watch
        self._call: Observed | None = None
        self._result: str | None = None
        self._is_none = True
        self._heard: list[Any] = []
        self._characters = 0
        self.step = _Step(self)
        with watch.guard:
            self._call = watch.observed(args, kwargs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        call, self._call = self._call, None
        if call is None:
            return
        with self._watch.guard:
            if self._heard:
                self._take(self._all_heard())
            call.end(self._result, is_none=self._is_none, error=error)

    def enter(self) -> None:
        """Enter its context."""
        if self._call is not None:
            with self._watch.guard:
                self._call.enter()

    def leave(self) -> None:
        """Leave its context."""
        if self._call is not None:
            with self._watch.guard:
                self._call.leave()

    def returned(self, result: Any) -> None:
        """Take what the function gave back."""
        if self._call is not None and not self._heard:
            with self._watch.guard:
                self._take(result)

    def _take(self, result: Any) -> None:
        self._is_none = result is None
        self._result = self._watch.answered(result)

    def heard(self, value: Any) -> None:
        """Take what a stream gave."""
        watch = self._watch
        if self._call is None or not (watch.capture_output or watch.response):
            return
        if len(self._heard) >= STREAM_VALUES or self._characters >= STREAM_CHARACTERS:
            return
        with watch.guard:
            if isinstance(value, str):
                self._characters += len(value)
            elif watch.response is None:
                value = as_json(value)  # it may change, or hold a connection
            self._heard.append(value)

    def _all_heard(self) -> Any:
        if self._watch.response is None and all(isinstance(value, str) for value in self._heard):
            return "".join(self._heard)
        return self._heard


class _Step:
    """The part of a call that runs at one time, in one context."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def __enter__(self) -> None:
        self._recording.enter()

    def __exit__(self, *_error: object) -> None:
        self._recording.leave()
