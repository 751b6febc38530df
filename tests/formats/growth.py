"""How the time of a run grows with its input."""

from __future__ import annotations

import time
from collections.abc import Callable

_TIMES_MORE = 8
_RUNS = 2


def check_grows_with_its_input(made: Callable[[int], Callable[[], object]], few: int) -> None:
    """Check that eight times the input takes about eight times as long, and not 64 times.

    `made` makes an input of a size, and gives what reads it. Time of this thread counts, and of
    two runs the faster one, so that what else the machine does changes little.
    """
    small, large = (_fastest(made(few * times)) for times in (1, _TIMES_MORE))
    assert large < small * _TIMES_MORE * 3, f"{small:.3f} s became {large:.3f} s"


def _fastest(run: Callable[[], object]) -> float:
    taken = []
    for _ in range(_RUNS):
        start = time.thread_time()
        run()
        taken.append(time.thread_time() - start)
    return min(taken)
