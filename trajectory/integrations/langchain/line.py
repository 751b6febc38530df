"""The order of what happens in one run, whichever threads bring it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from trajectory.guard import Guard


class Line:
    """Does one thing at a time, in the order in which they came, and lets nobody wait.

    A callback may come in the midst of another one on the same thread: the garbage collector closes
    a stream that nobody reads on, or a program's own code for redaction asks a model. A lock would
    stop that thread for ever. So what finds the line at work is left in it, for who is at work.
    """

    __slots__ = ("_guard", "_lock", "_waiting")

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    def do(self, job: Callable[..., None], *about: Any) -> None:
        """Do a job, now or by who is at work. Its `Exception` goes to the guard."""
        waiting = self._waiting
        waiting.append((job, about))
        # Asked again after each release: a job may have come that found the line at work.
        while waiting and self._lock.acquire(blocking=False):
            try:
                while waiting:
                    job, about = waiting.popleft()
                    with self._guard:
                        job(*about)
            finally:
                self._lock.release()
