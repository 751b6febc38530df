"""`@logger.observe`: records the calls of a function, and leaves the function as it is."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, overload

from trajectory.errors import InvalidTurnError
from trajectory.guard import Guard
from trajectory.models import Logged, Trajectory
from trajectory.observed import Recording, Watch

if TYPE_CHECKING:
    from trajectory.logger import TrajectoryLogger

_F = TypeVar("_F", bound=Callable[..., Any])

_OURS = frozenset({"id", "status", "error", "created_at", "ended_at", "source_format"})


class Observing:
    """What makes a logger observe functions."""

    def offer(self, value: Logged) -> None:
        """Log from code that may neither wait nor fail."""
        raise NotImplementedError

    def _recorder(self) -> TrajectoryLogger:
        raise NotImplementedError

    @overload
    def observe(self, function: _F, /) -> _F: ...

    @overload
    def observe(
        self,
        /,
        *,
        name: str | None = None,
        capture_input: bool = True,
        capture_output: bool = True,
        prompt: Callable[..., Any] | None = None,
        response: Callable[[Any], Any] | None = None,
        as_child: bool = False,
        **fields: Any,
    ) -> Callable[[_F], _F]: ...

    def observe(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        capture_input: bool = True,
        capture_output: bool = True,
        prompt: Callable[..., Any] | None = None,
        response: Callable[[Any], Any] | None = None,
        as_child: bool = False,
        **fields: Any,
    ) -> Callable[..., Any]:
        """Record the calls of a function: `@logger.observe`, or `@logger.observe(name=...)`.

        For functions, coroutines, generators and async generators, also as methods. An outermost
        call is a trajectory with one turn: the arguments are the prompt, the result (of a stream,
        all that it gave) the response. Inside a running trajectory of the same logger a call is a
        tool call of the open turn, or where none is open a turn; with `as_child`, a trajectory of
        its own, whose parent is the running one.

        `fields` are those of `Trajectory`, for the calls that are one: `agent_name` (otherwise the
        name), `spec_id`, `tags`, ... `prompt` and `response` say what is recorded: they get the
        arguments, and the result (of a stream, the list of what it gave). Without `capture_input`
        and `capture_output` neither is kept.

        A call is recorded when it ends, by an exception too, which goes on. Nothing that fails in
        recording reaches the caller; see `offer`. The logger must be open when the call is made,
        not when the function is decorated.

        Raises `InvalidTurnError` for fields that no trajectory has, and what can't be observed.
        """
        _check(fields)

        def observing(target: Any) -> Any:
            if isinstance(target, classmethod | staticmethod):
                return type(target)(observing(target.__func__))
            if isinstance(target, type) or not callable(target):
                raise InvalidTurnError(
                    f"a {type(target).__name__} can't be observed; observe functions and methods"
                )
            label = name or str(getattr(target, "__qualname__", type(target).__name__))
            label = label.rpartition("<locals>.")[2]
            watch = Watch(
                logger=self,
                function=target,
                name=label[:200],
                fields=dict(fields),
                guard=Guard(f"observing {label[:200]}"),
                capture_input=capture_input,
                capture_output=capture_output,
                prompt=prompt,
                response=response,
                as_child=as_child,
            )
            return _wrapped(target, watch)

        return observing if function is None else observing(function)


def _check(fields: dict[str, Any]) -> None:
    if not _OURS.isdisjoint(fields):
        named = ", ".join(sorted(_OURS & fields.keys()))
        raise InvalidTurnError(f"{named}: an observed call decides that by itself; leave it out")
    Trajectory(**fields)


def _wrapped(function: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):
        return _async_generator(function, watch)
    if inspect.iscoroutinefunction(function):
        return _coroutine(function, watch)
    if inspect.isgeneratorfunction(function):
        return _generator(function, watch)
    return _plain(function, watch)


def _plain(function: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    @wraps(function)
    def observed(*args: Any, **kwargs: Any) -> Any:
        with Recording(watch, args, kwargs) as recording, recording.step:
            result = function(*args, **kwargs)
            recording.returned(result)
            return result

    return observed


def _coroutine(function: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    @wraps(function)
    async def observed(*args: Any, **kwargs: Any) -> Any:
        with Recording(watch, args, kwargs) as recording, recording.step:
            result = await function(*args, **kwargs)
            recording.returned(result)
            return result

    return observed


# A generator runs in the context of whoever reads it: ours is there while it runs, not between.


def _generator(function: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    @wraps(function)
    def observed(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with Recording(watch, args, kwargs) as recording:
            stream = function(*args, **kwargs)
            sent: Any = None
            thrown: BaseException | None = None
            while True:
                try:
                    with recording.step:
                        given = stream.send(sent) if thrown is None else stream.throw(thrown)
                except StopIteration as end:
                    recording.returned(end.value)
                    return end.value
                finally:
                    thrown = None
                recording.heard(given)
                try:
                    sent = yield given
                except GeneratorExit:
                    with recording.step:
                        stream.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - it is the stream's
                    thrown, sent = error, None

    return observed


def _async_generator(function: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    @wraps(function)
    async def observed(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        with Recording(watch, args, kwargs) as recording:
            stream = function(*args, **kwargs)
            following = _first(stream)
            while True:
                try:
                    with recording.step:
                        given = await following
                except StopAsyncIteration:
                    return
                recording.heard(given)
                try:
                    sent = yield given
                except GeneratorExit:
                    with recording.step:
                        await stream.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - it is the stream's
                    following = stream.athrow(error)
                else:
                    following = stream.asend(sent)

    return observed


def _first(stream: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """Give the first step of a stream, which the event loop doesn't get to know.

    At its end a loop closes all that it knows at once, the wrapper with the stream that the wrapper
    closes; and nothing can be closed by two.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return stream.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
