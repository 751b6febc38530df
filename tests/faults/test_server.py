"""The server ends under a logger that goes on: its connection, its process, all of it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from faults.figures import Figures, Reporter, controls, count
from faults.jobs import try_once
from faults.ledger import Told, Verdict, add_up, content_of, judge, postgres_rows
from faults.server import Server, wait_until

from trajectory import LoggerSettings, TrajectoryLogger
from trajectory.retry import Retry

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]

PRODUCERS = 3


def terminate(pg: Server) -> None:
    """End the writer's connection from the server's side."""
    pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'turns'")


def kill_backend(pg: Server) -> None:
    """kill -9 the process that serves the writer; the server then restarts all of itself."""
    for pid in pg.backends:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists())  # the server has noticed
    pg.wait_until_ready()


def kill_server(pg: Server) -> None:
    """Stop all processes of the server where they are, and start it again: it recovers."""
    pg.stop(signal.SIGQUIT)
    pg.start()


async def trial(
    logger: TrajectoryLogger, pg: Server, harm: Callable[[Server], None]
) -> tuple[Verdict, float]:
    """Do harm while tasks log; give what became of their turns, and the seconds it then took."""
    told = Told()
    over = asyncio.Event()

    async def agent() -> None:
        run = await logger.start_trajectory()
        told.starts.add(run.id)
        number = last = 0
        while number < last or not last:
            number += 1
            await run.log_turn(**content_of(run.id, number))
            told.turns.add((run.id, number))
            if over.is_set() and not last:
                last = number + random.randint(1, 30)
            if number % 7 == 0:
                await asyncio.sleep(random.choice([0, 0.002, 0.02]))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(PRODUCERS):
            tasks.create_task(agent())
        await asyncio.sleep(random.uniform(0.005, 0.05))
        await asyncio.to_thread(harm, pg)
        over.set()
    began = time.monotonic()
    assert (await logger.flush(60)).pending == 0
    took = time.monotonic() - began
    return judge(told, await postgres_rows(pg.url, told.starts)), took


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (terminate, "pg_terminate_backend of the writer"),
        (kill_backend, "kill -9 of the writer's backend"),
        (kill_server, "postmaster stopped immediate"),
    ],
    ids=["terminate", "kill-backend", "kill-server"],
)
async def test_nothing_is_lost_or_doubled(  # noqa: PLR0917
    pg: Server,
    tmp_path: Path,
    report: Reporter,
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[Server], None],
    fault: str,
) -> None:
    """Invariant: a batch of unknown outcome is written again by key, once the server is back."""
    trials = count("server_kills", 300)
    found = Figures(fault, trials, control="one try a batch")
    slowest = 0.0
    settings = LoggerSettings(journal_dir=tmp_path)
    async with TrajectoryLogger(pg.url, settings) as logger:
        for _ in range(trials):
            verdict, took = await trial(logger, pg, harm)
            add_up(found, verdict)
            assert verdict.unasked == 0
            slowest = max(slowest, took)
        got = logger.statistics()
    assert (got.accepted, got.stored) == (found.acknowledged, found.acknowledged)
    assert (got.dead_lettered, got.dropped, got.buffered, got.conflicts) == (0, 0, 0, 0)
    found.besides |= {"retries": got.retries, "slowest_catch_up_s": round(slowest, 2)}
    monkeypatch.setattr(Retry, "until_done", try_once)
    found.control_trials = controls(trials)
    async with TrajectoryLogger(pg.url, settings) as logger:
        for _ in range(found.control_trials):
            verdict, _ = await trial(logger, pg, harm)
            found.control_losses += verdict.lost > 0
    report(found)
