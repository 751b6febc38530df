"""What a call costs, and how late the event loop gets while turns are logged."""

from __future__ import annotations

import asyncio
from time import perf_counter

from benchmarks.work import (
    FIELDS,
    PROMPT,
    RESPONSE,
    Figures,
    Ticker,
    caller_figures,
    steadily,
)
from trajectory import TrajectoryLogger, Turn
from trajectory.ids import uuid7

STALL_PER_S = 10_000


def queue_put(turns: int) -> Figures:
    """Make the turn and put it into an `asyncio.Queue`: the least that a logger could do."""
    return asyncio.run(_puts(turns))


async def _puts(turns: int) -> Figures:
    queue: asyncio.Queue[Turn] = asyncio.Queue()
    id_ = uuid7()
    calls = []
    for number in range(1, turns + 1):
        before = perf_counter()
        await queue.put(
            Turn(trajectory_id=id_, turn_number=number, prompt=PROMPT, response=RESPONSE, **FIELDS)
        )
        calls.append(perf_counter() - before)
    return caller_figures(calls)


def log_turn(
    turns: int, *, target: str, pause_every: int = 0, made_before: bool = False
) -> Figures:
    """Log at the default settings, with the making of the turn or without.

    `pause_every` waits, outside the timing, until all is stored: an agent that never outruns the
    writer. Without it the calls wait for room once the buffer is full, which counts.
    """
    return asyncio.run(_calls(target, turns, pause_every, made_before=made_before))


async def _calls(target: str, turns: int, pause_every: int, *, made_before: bool) -> Figures:
    async with TrajectoryLogger(target) as logger:
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


def stall(turns: int, *, target: str, logging: bool) -> Figures:
    """Run a loop that logs so many turns a second, or does nothing in their place."""
    return asyncio.run(_paced(target, turns, logging=logging))


async def _paced(target: str, turns: int, *, logging: bool) -> Figures:
    async with TrajectoryLogger(target) as logger:
        run = await logger.start_trajectory()
        await logger.flush()

        async def log(_number: int) -> None:
            await run.log_turn(PROMPT, RESPONSE, **FIELDS)

        async def nothing(_number: int) -> None:
            pass

        async with Ticker() as ticker:
            seconds = await steadily(log if logging else nothing, turns, STALL_PER_S)
    logged = turns if logging else 0
    return {"turns": logged, "offered_per_s": turns / seconds, **ticker.figures()}
