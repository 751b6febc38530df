"""What all subjects do: the same turns, and the same ways to say what they cost."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any, Self

PROMPT, RESPONSE = "p" * 200, "r" * 240
"""440 bytes of text a turn."""

FIELDS: dict[str, Any] = {"token_count": 50, "latency_ms": 500.0, "model_name": "a-model"}

Figures = dict[str, float]


def percentile(values: list[float], percent: float) -> float:
    """Give the value below which so many percent of the values lie; 0.0 if there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def caller_figures(seconds: list[float]) -> Figures:
    """Say what the calls cost their caller, in microseconds."""
    return {
        "caller_us": median(seconds) * 1e6,
        "caller_mean_us": fmean(seconds) * 1e6,
        "caller_p99_us": percentile(seconds, 99) * 1e6,
    }


def peak_mib() -> float:
    """Say how much memory this process has taken at most."""
    status = Path("/proc/self/status")
    if status.exists():  # what `getrusage` says may be the peak of whoever started us
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def steadily(step: Callable[[int], Awaitable[None]], turns: int, per_s: float) -> float:
    """Do a step a turn, in bursts of what has become due each ms; give the seconds it took."""
    began = perf_counter()
    done = 0
    while done < turns:
        due = min(turns, int((perf_counter() - began) * per_s) + 1)
        for number in range(done, due):
            await step(number)
        done = max(done, due)
        await asyncio.sleep(0.001)
    return perf_counter() - began


class Ticker:
    """Measures how late the event loop runs what is due: a task that wants to run each ms.

    Use it with `async with`. The loop's own timers are late by up to a ms, so what counts is the
    difference to the same loop without what is measured.
    """

    def __init__(self) -> None:
        self.late_ms: list[float] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _tick(self) -> None:
        while True:
            due = perf_counter() + 0.001
            await asyncio.sleep(0.001)
            self.late_ms.append((perf_counter() - due) * 1e3)

    def figures(self) -> Figures:
        """Say how late, in milliseconds."""
        return {
            "late_p999_ms": percentile(self.late_ms, 99.9),
            "late_worst_ms": max(self.late_ms, default=0.0),
        }


async def idle(seconds: float) -> Figures:
    """Say how late the loop's ticks are while nothing is logged."""
    async with Ticker() as ticker:
        await asyncio.sleep(seconds)
    return ticker.figures()
