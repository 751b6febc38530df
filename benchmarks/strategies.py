"""The four strategies of the requirements: sync or async, one write a turn or batches."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from typing import Any

from benchmarks.work import (
    FIELDS,
    PROMPT,
    RESPONSE,
    Figures,
    Ticker,
    caller_figures,
    database,
)
from trajectory import LoggerSettings, SyncTrajectoryLogger, TrajectoryLogger


def sync_strategy(turns: int, *, wal: bool, batched: bool) -> Figures:
    """Log from a program without an event loop."""
    with database(wal=wal) as path:
        logger = SyncTrajectoryLogger(path, _settings(batched=batched)).open()
        run = logger.start_trajectory()
        logger.flush()
        calls = []
        began = time.perf_counter()
        for _ in range(turns):
            before = time.perf_counter()
            run.log_turn(PROMPT, RESPONSE, **FIELDS)
            calls.append(time.perf_counter() - before)
        logger.close()
        seconds = time.perf_counter() - began
    return {"turns_per_s": turns / seconds, **caller_figures(calls)}


def async_strategy(
    turns: int, *, batched: bool, wal: bool = True, url: str | None = None, **settings: Any
) -> Figures:
    """Log from an event loop as fast as it goes, and watch how late the loop gets."""
    with database(wal=wal) if url is None else nullcontext(url) as target:
        return asyncio.run(_log(target, turns, _settings(batched=batched, **settings)))


async def _log(target: str, turns: int, settings: LoggerSettings) -> Figures:
    logger = await TrajectoryLogger(target, settings).open()
    run = await logger.start_trajectory()
    await logger.flush()
    ticker = Ticker()
    ticking = asyncio.create_task(ticker.run())
    calls = []
    began = time.perf_counter()
    for _ in range(turns):
        before = time.perf_counter()
        await run.log_turn(PROMPT, RESPONSE, **FIELDS)
        calls.append(time.perf_counter() - before)
    await logger.flush()
    seconds = time.perf_counter() - began
    ticking.cancel()
    batches = logger.statistics().batches
    await logger.aclose()
    return {
        "turns_per_s": turns / seconds,
        "batches": batches,
        **caller_figures(calls),
        **ticker.figures(),
    }


def _settings(*, batched: bool, **settings: Any) -> LoggerSettings:
    """Give the defaults, or the level at which each call waits for its own commit."""
    return LoggerSettings(**settings) if batched else LoggerSettings(durability="stored")
