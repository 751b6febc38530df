"""Takes the running trajectory to where contextvars don't follow: threads and child processes."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar
from uuid import UUID

from trajectory.run import current

PARENT_VARIABLE = "TRAJECTORY_PARENT"
"""Names the trajectory that a process belongs to: its id, a slash, its root's id."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def carry(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Give a function that runs in the context of now, whichever thread calls it.

    For `loop.run_in_executor`, thread pools and `threading.Thread`: `pool.submit(carry(work), 1)`.
    Tasks and `asyncio.to_thread` carry it by themselves. It may be called many times, and by
    several threads at once.
    """
    context = contextvars.copy_context()

    @wraps(function)
    def carried(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        # A context runs in one thread at a time, a copy of it costs next to nothing.
        return context.copy().run(function, *args, **kwargs)

    return carried


def child_environment() -> dict[str, str]:
    """Give the environment variable that tells a child process the running trajectory.

    `subprocess.run(command, env={**os.environ, **child_environment()})`. Empty where none runs.
    """
    run = current()
    return {} if run is None else {PARENT_VARIABLE: f"{run.id}/{run.root_id}"}


def inherited() -> dict[str, UUID]:
    """Give the fields with which a trajectory starts as a child of the running one.

    `logger.trajectory(**inherited())`. The running one is that of this context, else the one that
    the parent process told by `child_environment`; where there is none, the fields are empty.
    """
    run = current()
    if run is not None:
        return run.as_parent()
    parent, _, root = os.environ.get(PARENT_VARIABLE, "").partition("/")
    try:
        return {"parent_trajectory_id": UUID(parent), "root_trajectory_id": UUID(root)}
    except ValueError:
        return {}  # not told, or by somebody else
