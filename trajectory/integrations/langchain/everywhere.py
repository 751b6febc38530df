"""Recording all of a program's runs, without a word in any of its calls."""

from __future__ import annotations

from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self, cast

from trajectory.integrations import extra
from trajectory.integrations.langchain.handler import Deaf, TrajectoryCallbackHandler
from trajectory.integrations.offers import Offers

with extra("langchain"):
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.tracers.context import register_configure_hook


class _InForce:
    """What LangChain asks for a handler where it begins a run.

    It expects a `ContextVar`. Ours says the same in every context: a task or a thread that was
    there before `attach` is recorded too.

    It asks twice. Where the last was detached in between, by another thread, it makes a handler of
    the class that is registered, without a word: so that class is one that hears nothing.
    """

    def __init__(self) -> None:
        self.attached: list[Attachment] = []
        self.is_known = False

    def get(self) -> BaseCallbackHandler | None:
        """Give the handler that was attached last."""
        attached = self.attached
        return attached[-1].handler if attached else None


_in_force = _InForce()


class Attachment:
    """That a handler sees every run that begins, until `detach`, or the end of a `with` block.

    Runs that have begun by then are recorded to their end.
    """

    def __init__(self, handler: TrajectoryCallbackHandler) -> None:
        self.handler = handler

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.detach()

    def detach(self) -> None:
        """Record no run that begins from now on. Safe twice."""
        _in_force.attached = [one for one in _in_force.attached if one is not self]


def attach(logger: Offers, **fields: Any) -> Attachment:
    """Record every run of LangChain and LangGraph that begins in this process from now on.

    `fields`: as for `TrajectoryCallbackHandler`. Of several that are attached the last one records.
    A run that has a handler of ours among its callbacks is left to that one.
    """
    if not _in_force.is_known:
        _in_force.is_known = True
        variable = cast("ContextVar[Any]", _in_force)
        register_configure_hook(variable, inheritable=True, handle_class=Deaf)
    attachment = Attachment(TrajectoryCallbackHandler(logger, **fields))
    _in_force.attached = [*_in_force.attached, attachment]
    return attachment
