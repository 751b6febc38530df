"""What a call costs, and how late the event loop gets while turns are logged."""

from __future__ import annotations

import asyncio
import time

from benchmarks.work import (
    FIELDS,
    PROMPT,
    RESPONSE,
    Figures,
    Ticker,
    caller_figures,
    database,
)
from trajectory import TrajectoryLogger, Turn
from trajectory.ids import uuid7


def log_turn(turns: int) -> Figures:
    """Log at the default settings, as an agent does that never outruns the writer."""
    with database(wal=True) as path:
        return asyncio.run(_calls(path, turns))


async def _calls(path: str, turns: int) -> Figures:
    async with TrajectoryLogger(path) as logger:
        run = await logger.start_trajectory()
        calls = []
        for number in range(turns):
            before = time.perf_counter()
            await run.log_turn(PROMPT, RESPONSE, **FIELDS)
            calls.append(time.perf_counter() - before)
            if number % 50 == 49:
                await logger.flush()
    return caller_figures(calls)


def queue_put(turns: int) -> Figures:
    """Make the turn and put it into an `asyncio.Queue`: the least that a logger could do."""
    return asyncio.run(_puts(turns))


async def _puts(turns: int) -> Figures:
    queue: asyncio.Queue[Turn] = asyncio.Queue()
    id_ = uuid7()
    calls = []
    for number in range(turns):
        before = time.perf_counter()
        await queue.put(
            Turn(trajectory_id=id_, turn_number=number, prompt=PROMPT, response=RESPONSE, **FIELDS)
        )
        calls.append(time.perf_counter() - before)
    return caller_figures(calls)


def stall(turns: int, *, logging: bool, per_s: int = 10_000) -> Figures:
    """Make so many turns a second, in bursts each ms, and log them or not."""
    with database(wal=True) as path:
        return asyncio.run(_paced(path, turns, per_s, logging=logging))


async def _paced(path: str, turns: int, per_s: int, *, logging: bool) -> Figures:
    burst = per_s // 1000
    ticker = Ticker()
    async with TrajectoryLogger(path) as logger:
        run = await logger.start_trajectory()
        ticking = asyncio.create_task(ticker.run())
        began = time.perf_counter()
        for number in range(turns // burst):
            for place in range(burst):
                if logging:
                    await run.log_turn(PROMPT, RESPONSE, **FIELDS)
                else:
                    Turn(
                        trajectory_id=run.id,
                        turn_number=number * burst + place,
                        prompt=PROMPT,
                        response=RESPONSE,
                        **FIELDS,
                    )
            await asyncio.sleep(max(0, began + (number + 1) / 1000 - time.perf_counter()))
        seconds = time.perf_counter() - began
        ticking.cancel()
    return {"turns_per_s": turns / seconds, **ticker.figures()}
