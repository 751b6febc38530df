"""What a call costs its caller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter

from benchmarks.work import FIELDS, PROMPT, RESPONSE, Figures, caller_figures, steadily
from trajectory import Durability, LoggerSettings, TrajectoryLogger, Turn
from trajectory.ids import uuid7

PACE_PER_S = 1000


def queue_put(turns: int, *, per_s: float = 0) -> Figures:
    """Make the turn and put it into an `asyncio.Queue`: the least that a logger could do."""
    return asyncio.run(_puts(turns, per_s))


async def _puts(turns: int, per_s: float) -> Figures:
    queue: asyncio.Queue[Turn] = asyncio.Queue()
    id_ = uuid7()

    async def put(number: int) -> None:
        await queue.put(
            Turn(trajectory_id=id_, turn_number=number, prompt=PROMPT, response=RESPONSE, **FIELDS)
        )

    return {"turns": turns, **await _timed(put, turns, per_s)}


def log_turn(
    turns: int,
    *,
    target: str,
    level: str = "journaled",
    pause_every: int = 0,
    made_before: bool = False,
) -> Figures:
    """Log at the default settings, with the making of the turn or without.

    `pause_every` waits, outside the timing, until all is stored: an agent that never outruns the
    writer. Without it the calls wait for room once the buffer is full, which counts.
    """
    return asyncio.run(_calls(target, turns, level, pause_every, made_before=made_before))


async def _calls(
    target: str, turns: int, level: str, pause_every: int, *, made_before: bool
) -> Figures:
    settings = LoggerSettings(durability=Durability(level))
    async with TrajectoryLogger(target, settings) as logger:
        run = await logger.start_trajectory()
        await logger.flush()
        calls = []
        for number in range(1, turns + 1):
            if made_before:
                turn = Turn(
                    trajectory_id=run.id,
                    turn_number=number,
                    prompt=PROMPT,
                    response=RESPONSE,
                    **FIELDS,
                )
                before = perf_counter()
                await logger.log_turn(turn)
            else:
                before = perf_counter()
                await run.log_turn(PROMPT, RESPONSE, **FIELDS)
            calls.append(perf_counter() - before)
            if pause_every and number % pause_every == 0:
                await logger.flush()
    return {"turns": turns, **caller_figures(calls)}


def paced(turns: int, *, target: str, level: str, per_s: float, capacity: int = 100) -> Figures:
    """Log at a steady pace, and say beside the calls' times how full the buffer got."""
    settings = LoggerSettings(durability=Durability(level), channel_capacity=capacity)
    return asyncio.run(_paced(target, turns, settings, per_s))


async def _paced(target: str, turns: int, settings: LoggerSettings, per_s: float) -> Figures:
    most = 0
    async with TrajectoryLogger(target, settings) as logger:
        run = await logger.start_trajectory()
        await logger.flush()

        async def log(_number: int) -> None:
            await run.log_turn(PROMPT, RESPONSE, **FIELDS)

        def look() -> None:
            nonlocal most
            most = max(most, logger.statistics().buffered)

        calls = await _timed(log, turns, per_s, look)
    return {"turns": turns, "window_turns": most, **calls}


async def _timed(
    step: Callable[[int], Awaitable[None]],
    turns: int,
    per_s: float,
    look: Callable[[], None] = lambda: None,
) -> Figures:
    calls: list[float] = []

    async def timed(number: int) -> None:
        look()
        before = perf_counter()
        await step(number)
        calls.append(perf_counter() - before)

    if per_s:
        await steadily(timed, turns, per_s)
    else:
        for number in range(1, turns + 1):
            await timed(number)
    figures = caller_figures(calls)
    return {**figures, "p99_over_median": figures["caller_p99_us"] / figures["caller_us"]}
