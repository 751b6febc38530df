"""What logging costs beside much that is stored already, and what it takes in memory."""

from __future__ import annotations

import asyncio
import sqlite3
from random import Random
from time import perf_counter

from benchmarks.baselines import INSERT
from benchmarks.filling import (
    INSERT_TRAJECTORY,
    LABELS,
    TURNS_EACH,
    trajectory_row,
    turn_rows,
)
from benchmarks.work import FIELDS, PROMPT, RESPONSE, Figures, peak_mib
from trajectory import TrajectoryLogger


def logged(turns: int, *, target: str) -> Figures:
    """Log as fast as it goes, a hundred turns a trajectory, whose labels fall anywhere."""
    return asyncio.run(_logged(target, turns))


async def _logged(target: str, turns: int) -> Figures:
    draw = Random(turns)  # noqa: S311 - not for secrets
    async with TrajectoryLogger(target) as logger:
        await (await logger.start_trajectory()).log_turn(PROMPT, RESPONSE)
        await logger.flush()
        began = perf_counter()
        for _ in range(turns // TURNS_EACH):
            labels = {name: f"{name}-{draw.randrange(10**6):06}" for name in LABELS}
            async with logger.trajectory(**labels) as run:
                for _turn in range(TURNS_EACH):
                    await run.log_turn(PROMPT, RESPONSE, **FIELDS)
        report = await logger.flush()
        seconds = perf_counter() - began
    if report.pending or report.dead_lettered:
        raise RuntimeError(f"not all turns were stored: {report}")
    return {
        "turns": turns + 1,
        "turn_us": seconds / turns * 1e6,
        "turns_per_s": turns / seconds,
        "peak_mib": peak_mib(),
    }


def inserted(turns: int, *, target: str) -> Figures:
    """Insert as many without the library: what the growing table alone costs."""
    draw = Random(turns)  # noqa: S311 - not for secrets
    connection = sqlite3.connect(target, isolation_level=None)
    connection.execute("PRAGMA synchronous=NORMAL")
    began = perf_counter()
    for number in range(turns // TURNS_EACH):
        row = trajectory_row(number, draw)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT_TRAJECTORY, row)
        connection.executemany(INSERT, turn_rows(row[0], number * TURNS_EACH, TURNS_EACH))
        connection.execute("COMMIT")
    seconds = perf_counter() - began
    connection.close()
    return {
        "turns": turns,
        "turn_us": seconds / turns * 1e6,
        "turns_per_s": turns / seconds,
        "peak_mib": peak_mib(),
    }
