"""What it costs that nothing is lost: the journal, and a bad turn that must not take others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from statistics import median
from time import perf_counter

from benchmarks.work import FIELDS, PROMPT, RESPONSE, Figures, caller_figures
from trajectory import Durability, LoggerSettings, TrajectoryLogger, Turn
from trajectory.ids import uuid7

BATCH = 10
_NEVER_MS = 86_400_000


def level_throughput(
    turns: int, *, target: str, level: str, capacity: int = 100, response_bytes: int = 0
) -> Figures:
    """Log at a durability level as fast as it goes, until all is stored.

    From the making of each turn to the commit of the last.
    """
    settings = LoggerSettings(durability=Durability(level), channel_capacity=capacity)
    response = "r" * response_bytes or RESPONSE
    return asyncio.run(_throughput(target, turns, settings, response))


async def _throughput(target: str, turns: int, settings: LoggerSettings, response: str) -> Figures:
    async with TrajectoryLogger(target, settings) as logger:
        run = await logger.start_trajectory()
        await logger.flush()
        began = perf_counter()
        for _ in range(turns):
            await run.log_turn(PROMPT, response, **FIELDS)
        await logger.flush()
        seconds = perf_counter() - began
    return {"turns": turns, "turns_per_s": turns / seconds}


def level_call(turns: int, *, target: str, level: str) -> Figures:
    """Time the calls of an agent that never outruns the writer: it pauses after each 50."""
    return asyncio.run(_calls(target, turns, Durability(level)))


async def _calls(target: str, turns: int, level: Durability) -> Figures:
    calls = []
    async with TrajectoryLogger(target, LoggerSettings(durability=level)) as logger:
        run = await logger.start_trajectory()
        await logger.flush()
        for number in range(1, turns + 1):
            before = perf_counter()
            await run.log_turn(PROMPT, RESPONSE, **FIELDS)
            calls.append(perf_counter() - before)
            if number % 50 == 0:
                await logger.flush()
    return {"turns": turns, **caller_figures(calls)}


def batches(turns: int, *, target: str, bad: bool) -> Figures:
    """Store batches of ten, one turn of each refused if so wanted, and time each."""
    # What is said of each refusal is made, as it always is, and shown to nobody.
    log = logging.getLogger("trajectory")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    return asyncio.run(_batches(target, turns, bad=bad))


async def _batches(target: str, turns: int, *, bad: bool) -> Figures:
    id_ = uuid7()
    taken = Turn(trajectory_id=id_, turn_number=0, prompt=PROMPT, response=RESPONSE)
    settings = LoggerSettings(flush_interval_ms=_NEVER_MS, buffer_size=BATCH)
    seconds = []
    async with TrajectoryLogger(target, settings) as logger:
        await logger.log_turn(taken)
        await logger.flush()
        for batch in range(turns // BATCH):
            for turn in _turns(taken, batch * BATCH, bad=bad):
                await logger.log_turn(turn)
            before = perf_counter()
            await logger.flush()
            seconds.append(perf_counter() - before)
        got = logger.statistics()
    return {
        "turns": got.stored,
        "refused": got.dead_lettered,
        "batch_ms": median(seconds) * 1e3,
        "batch_worst_ms": max(seconds) * 1e3,
    }


def _turns(taken: Turn, after: int, *, bad: bool) -> Iterator[Turn]:
    """Give a batch; a bad turn has another content under a key that is taken."""
    for number in range(after + 1, after + BATCH + 1):
        if bad and number == after + 6:
            yield taken.replace(response=f"another {number}")
        else:
            yield taken.replace(turn_number=number)
