"""The server is away for long, or frozen: agents go on, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest
from faults.figures import Figures, Reporter, controls, count
from faults.jobs import try_once
from faults.ledger import Told, add_up, content_of, judge, postgres_rows
from faults.proxy import Proxy
from faults.server import Server

from trajectory import LoggerSettings, TrajectoryLogger
from trajectory.retry import Retry

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

AGENTS = 4
PAUSE_S = 0.02
"""Between two turns of an agent: 200 turns a second in all."""
MOST_WAIT_S = 0.5
"""For one call: far above what it takes, and far below any wait for a server."""


@asynccontextmanager
async def agents(logger: TrajectoryLogger, told: Told, took: list[float]) -> AsyncIterator[None]:
    """Log from several tasks within the block, and time each call."""
    over = False

    async def agent() -> None:
        run = await logger.start_trajectory()
        told.starts.add(run.id)
        number = 0
        while not over:
            number += 1
            content = content_of(run.id, number)
            began = time.perf_counter()
            await run.log_turn(**content)
            took.append(time.perf_counter() - began)
            told.turns.add((run.id, number))
            await asyncio.sleep(PAUSE_S)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AGENTS):
            tasks.create_task(agent())
        try:
            yield
        finally:
            over = True


@asynccontextmanager
async def watched(url: str, told: Told) -> AsyncIterator[list[int]]:
    """Look into the database from outside, again and again; give the gaps that were seen."""
    gaps: list[int] = []
    connection = await asyncpg.connect(url)

    async def look() -> None:
        while True:
            gaps.append(
                await connection.fetchval(
                    "SELECT count(*) FROM (SELECT 1 FROM trajectory_turns WHERE trajectory_id = "
                    "ANY($1) GROUP BY trajectory_id HAVING count(*) <> max(turn_number)) g",
                    list(told.starts),
                )
            )
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    try:
        yield gaps
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        await connection.close()


async def go_away(
    logger: TrajectoryLogger, pg: Server, told: Told, took: list[float], seconds: float
) -> tuple[float, list[int]]:
    """Stop the server for so long while agents log; give the seconds to catch up, and gaps."""
    async with agents(logger, told, took):
        await asyncio.sleep(1)
        await asyncio.to_thread(pg.stop)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(pg.start)
        began = time.monotonic()
        async with watched(pg.url, told) as gaps:
            assert (await logger.flush(60)).pending == 0
            caught_up = time.monotonic() - began
            await asyncio.sleep(1)
    assert (await logger.flush(60)).pending == 0
    return caught_up, gaps


@pytest.mark.parametrize("seconds", [20, 120])
async def test_an_outage(
    pg: Server, tmp_path: Path, report: Reporter, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """Invariant: no call waits, the server isn't stormed, all comes in order when it is back."""
    away = count(f"outage_{seconds}", seconds)
    found = Figures(f"outage of {seconds} s, Postgres, spill", 1, control="one try a batch")
    found.besides["seconds"] = away
    settings = LoggerSettings(journal_dir=tmp_path, overflow="spill")
    proxy = Proxy(pg.url)
    told, took = Told(), list[float]()
    async with proxy.serving() as url, TrajectoryLogger(url, settings) as logger:
        before = len(proxy.connections)
        caught_up, gaps = await go_away(logger, pg, told, took, away)
        tried = proxy.connections[before:]
        got = logger.statistics()
    verdict = judge(told, await postgres_rows(pg.url, told.starts))
    add_up(found, verdict)
    busiest = max(sum(first <= at < first + 1 for at in tried) for first in tried)
    took.sort()
    found.besides |= {
        "spilled": got.spilled,
        "connection_tries": len(tried),
        "tries_in_the_busiest_second": busiest,
        "caught_up_after_s": round(caught_up, 2),
        "slowest_log_turn_ms": round(took[-1] * 1e3, 1),
        "log_turn_p99_ms": round(took[len(took) * 99 // 100] * 1e3, 2),
    }
    assert (got.accepted, got.stored, verdict.unasked) == (len(took), len(took), 0)
    assert (got.dead_lettered, got.dropped, got.buffered, got.conflicts) == (0, 0, 0, 0)
    assert got.spilled > 0
    assert took[-1] < MOST_WAIT_S
    assert len(tried) / away < 5
    assert max((b - a for a, b in pairwise(tried)), default=0) <= 6  # it never stops trying
    assert gaps
    assert not any(gaps), "a later turn was stored before an earlier one"
    assert caught_up < settings.retry_max_ms / 1000 + 2
    monkeypatch.setattr(Retry, "until_done", try_once)
    lost_to = Told()
    async with TrajectoryLogger(pg.url, settings) as logger:
        await go_away(logger, pg, lost_to, [], 2)
    found.control_trials = 1
    found.control_losses = int(judge(lost_to, await postgres_rows(pg.url, lost_to.starts)).lost > 0)
    report(found)


async def test_a_frozen_server(pg: Server, tmp_path: Path, report: Reporter) -> None:
    """Invariant: a flush keeps its timeout whatever the server does, and the next one works."""
    trials = count("freezes", 20)
    found = Figures("frozen server", trials, control="asyncpg as it comes: no answer in time")
    settings = LoggerSettings(journal_dir=tmp_path, retry_max_ms=500)
    told, took, flushes = Told(), list[float](), list[float]()
    async with TrajectoryLogger(f"{pg.url}?command_timeout=1", settings) as logger:
        for trial in range(trials):
            async with agents(logger, told, took):
                await asyncio.sleep(0.05)
                with pg.frozen():
                    await asyncio.sleep(2 * PAUSE_S)  # something is logged now
                    began = time.monotonic()
                    report_ = await logger.flush(0.3)
                    flushes.append(time.monotonic() - began)
                    assert report_.pending > 0
                    if trial % 2:  # longer than a command may take: the write fails, is repeated
                        await asyncio.sleep(2)
                assert (await logger.flush(30)).pending == 0
        await logger.flush(30)  # what the agents logged after the last one
        got = logger.statistics()
        connections = len(await asyncio.to_thread(lambda: pg.backends))
    add_up(found, judge(told, await postgres_rows(pg.url, told.starts)))
    took.sort()
    found.besides |= {
        "slowest_flush_of_300_ms_s": round(max(flushes), 2),
        "slowest_log_turn_ms": round(took[-1] * 1e3, 1),
        "retries": got.retries,
        "connections_at_the_end": connections,
    }
    assert max(flushes) < 0.3 + MOST_WAIT_S
    assert took[-1] < MOST_WAIT_S
    assert (got.accepted, got.stored, got.buffered) == (len(took), len(took), 0)
    assert got.retries > 0 or trials == 1
    assert connections <= 2
    found.control_trials = controls(trials)
    found.control_losses = await _hung(pg, found.control_trials)
    report(found)


async def _hung(pg: Server, trials: int) -> int:
    """Control: count the statements of a plain connection that have no answer in a long time."""
    hung = 0
    connection = await asyncpg.connect(pg.url)
    for _ in range(trials):
        with pg.frozen():
            asking = asyncio.create_task(connection.fetchval("SELECT 1"))
            hung += not (await asyncio.wait({asking}, timeout=0.3 + MOST_WAIT_S))[0]
        await asking
    await connection.close()
    return hung
