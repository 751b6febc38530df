"""What the buffer's size and the flush interval change, and what is lost with the process."""

from __future__ import annotations

import asyncio
import time

from benchmarks.work import FIELDS, PROMPT, RESPONSE, Figures, caller_figures, database
from trajectory import LoggerSettings, TrajectoryLogger

FAST_PER_S = 2000
STEADY_PER_S = 200


def buffer_size(turns: int, *, size: int) -> Figures:
    """Log at a pace at which the size decides when to flush, not the interval."""
    with database(wal=True) as path:
        return asyncio.run(_paced(path, turns, FAST_PER_S, LoggerSettings(buffer_size=size)))


def flush_interval(turns: int, *, interval_ms: float) -> Figures:
    """Log at a pace that never fills the buffer, so that only the interval flushes."""
    capacity = 10 * turns
    settings = LoggerSettings(
        buffer_size=capacity, channel_capacity=capacity, flush_interval_ms=interval_ms
    )
    with database(wal=True) as path:
        return asyncio.run(_paced(path, turns, STEADY_PER_S, settings))


async def _paced(path: str, turns: int, per_s: int, settings: LoggerSettings) -> Figures:
    async with TrajectoryLogger(path, settings) as logger:
        run = await logger.start_trajectory()
        calls, most, oldest = [], 0, 0.0
        began = time.perf_counter()
        for number in range(turns):
            before = time.perf_counter()
            await run.log_turn(PROMPT, RESPONSE, **FIELDS)
            calls.append(time.perf_counter() - before)
            now = logger.statistics()
            most, oldest = max(most, now.buffered), max(oldest, now.oldest_age)
            await asyncio.sleep(max(0, began + (number + 1) / per_s - time.perf_counter()))
        flushes = logger.statistics().batches
        seconds = time.perf_counter() - began
    return {
        "window_turns": most,
        "window_ms": oldest * 1e3,
        "flushes_per_s": flushes / seconds,
        **caller_figures(calls),
    }
