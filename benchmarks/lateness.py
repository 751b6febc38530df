"""How late the event loop gets while turns are logged: of common size, of 100 KB, of 10 MB."""

from __future__ import annotations

import asyncio

from benchmarks.work import FIELDS, PROMPT, RESPONSE, Figures, Ticker, steadily
from trajectory import TrajectoryLogger

STALL_PER_S = 10_000
LARGE_BYTES, LARGE_PER_S = 100_000, 200
HUGE_BYTES = 10_000_000
_BEFORE_S = 0.1
"""So long the loop only ticks, before and after a huge turn."""


def stall(turns: int, *, target: str, logs: bool, per_s: float, response_bytes: int = 0) -> Figures:
    """Run a loop that logs so many turns a second, or does nothing in their place."""
    response = "r" * response_bytes or RESPONSE
    return asyncio.run(_steady(target, turns, per_s, response, logs=logs))


async def _steady(target: str, turns: int, per_s: float, response: str, *, logs: bool) -> Figures:
    async with TrajectoryLogger(target) as logger:
        run = await logger.start_trajectory()
        await logger.flush()

        async def log(_number: int) -> None:
            await run.log_turn(PROMPT, response, **FIELDS)

        async def nothing(_number: int) -> None:
            pass

        async with Ticker() as ticker:
            seconds = await steadily(log if logs else nothing, turns, per_s)
    logged = turns if logs else 0
    return {"turns": logged, "offered_per_s": turns / seconds, **ticker.figures()}


def huge(turns: int, *, target: str, logs: bool) -> Figures:
    """Log turns of 10 MB, one after the other is stored, or wait as long in their place.

    What counts is the worst tick: one turn makes the loop late once, which no percentile shows.
    """
    return asyncio.run(_huge(target, turns, logs=logs))


async def _huge(target: str, turns: int, *, logs: bool) -> Figures:
    response = "r" * HUGE_BYTES
    async with TrajectoryLogger(target) as logger:
        run = await logger.start_trajectory()
        await logger.flush()
        async with Ticker() as ticker:
            for _ in range(turns):
                await asyncio.sleep(_BEFORE_S)
                if logs:
                    await run.log_turn(PROMPT, response, **FIELDS)
                    await logger.flush()
                await asyncio.sleep(_BEFORE_S)
    return {"turns": turns if logs else 0, **ticker.figures()}
