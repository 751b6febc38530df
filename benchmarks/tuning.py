"""What the buffer's size and the flush interval change, and what is lost with the process."""

from __future__ import annotations

import asyncio
from time import perf_counter

from benchmarks.work import FIELDS, PROMPT, RESPONSE, Figures, caller_figures, steadily
from trajectory import LoggerSettings, TrajectoryLogger
from trajectory.run import Run

SIZE_PER_S = 2000
"""A pace at which the buffer's size decides when to flush: ten turns come in 5 ms."""
INTERVAL_PER_S = 200


def buffer_size(turns: int, *, target: str, size: int) -> Figures:
    """Log as fast as it goes, and then a quarter of it at a steady pace."""
    return asyncio.run(_sizes(target, turns, LoggerSettings(buffer_size=size)))


def flush_interval(turns: int, *, target: str, interval_ms: float) -> Figures:
    """Log at a steady pace that never fills the buffer, so that only the interval flushes."""
    capacity = 10 * turns
    settings = LoggerSettings(
        buffer_size=capacity, channel_capacity=capacity, flush_interval_ms=interval_ms
    )
    return asyncio.run(_intervals(target, turns, settings))


async def _sizes(target: str, turns: int, settings: LoggerSettings) -> Figures:
    async with TrajectoryLogger(target, settings) as logger:
        run = await logger.start_trajectory()
        await logger.flush()
        began = perf_counter()
        for _ in range(turns):
            await run.log_turn(PROMPT, RESPONSE, **FIELDS)
        await logger.flush()
        seconds = perf_counter() - began
        paced = await _steady(logger, run, turns // 4, SIZE_PER_S)
    return {**paced, "turns": turns + turns // 4, "turns_per_s": turns / seconds}


async def _intervals(target: str, turns: int, settings: LoggerSettings) -> Figures:
    async with TrajectoryLogger(target, settings) as logger:
        run = await logger.start_trajectory()
        await logger.flush()
        return {**await _steady(logger, run, turns, INTERVAL_PER_S), "turns": turns}


async def _steady(logger: TrajectoryLogger, run: Run, turns: int, per_s: int) -> Figures:
    """Log at a pace, and look before each call at what a kill of the process would lose."""
    calls: list[float] = []
    most, oldest = 0, 0.0

    async def log(_number: int) -> None:
        nonlocal most, oldest
        now = logger.statistics()
        most, oldest = max(most, now.buffered), max(oldest, now.oldest_age)
        before = perf_counter()
        await run.log_turn(PROMPT, RESPONSE, **FIELDS)
        calls.append(perf_counter() - before)

    before = logger.statistics().batches
    seconds = await steadily(log, turns, per_s)
    batches = logger.statistics().batches - before
    return {
        "window_turns": most,
        "window_ms": oldest * 1e3,
        "flushes": batches,
        "flushes_per_s": batches / seconds,
        **caller_figures(calls),
    }
