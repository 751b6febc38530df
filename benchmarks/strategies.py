"""The four strategies of the requirements: sync or async, one write a turn or batches.

A turn is timed from its making to its commit: until `flush` has returned. A single write flushes
after each turn. Opening and closing the database are left out, here and for the baselines.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from benchmarks.work import FIELDS, PROMPT, RESPONSE, Figures, Ticker, caller_figures, idle
from trajectory import Durability, LoggerSettings, SyncTrajectoryLogger, TrajectoryLogger

SETTINGS = LoggerSettings(durability="queued")
"""The ways to write are compared; what the journal costs beside them has a group of its own."""

IDLE_PER_TURN_S, IDLE_AT_MOST_S = 1e-4, 0.3


def sync_strategy(turns: int, *, target: str, batched: bool) -> Figures:
    """Log from a program without an event loop."""
    with SyncTrajectoryLogger(target, SETTINGS) as logger:
        run = logger.start_trajectory()
        logger.flush()
        calls = []
        began = perf_counter()
        for _ in range(turns):
            before = perf_counter()
            run.log_turn(PROMPT, RESPONSE, **FIELDS)
            if not batched:
                logger.flush()
            calls.append(perf_counter() - before)
        logger.flush()
        seconds = perf_counter() - began
    return {"turns": turns, "turns_per_s": turns / seconds, **caller_figures(calls)}


def async_strategy(turns: int, *, target: str, batched: bool, level: str = "queued") -> Figures:
    """Log from an event loop as fast as it goes, and watch how late the loop gets."""
    settings = LoggerSettings(durability=Durability(level))
    return asyncio.run(_log(target, turns, settings, batched=batched))


async def _log(target: str, turns: int, settings: LoggerSettings, *, batched: bool) -> Figures:
    off = await idle(min(turns * IDLE_PER_TURN_S, IDLE_AT_MOST_S))
    async with TrajectoryLogger(target, settings) as logger:
        run = await logger.start_trajectory()
        await logger.flush()
        batches = logger.statistics().batches
        calls = []
        async with Ticker() as ticker:
            began = perf_counter()
            for _ in range(turns):
                before = perf_counter()
                await run.log_turn(PROMPT, RESPONSE, **FIELDS)
                if not batched:
                    await logger.flush()
                calls.append(perf_counter() - before)
            await logger.flush()
            seconds = perf_counter() - began
        batches = logger.statistics().batches - batches
    on = ticker.figures()
    return {
        "turns": turns,
        "turns_per_s": turns / seconds,
        "turns_per_batch": turns / batches,
        **caller_figures(calls),
        **on,
        "stall_ms": on["late_worst_ms"] - off["late_worst_ms"],
    }
