"""Callers are cancelled at random awaits: nothing partial, nothing twice, no lock left behind."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from faults.figures import Figures, Reporter, controls, count
from faults.ledger import Told, Verdict, add_up, content_of, judge, postgres_rows, sqlite_rows
from sqlalchemy.ext.asyncio import create_async_engine

from trajectory import LoggerSettings, TrajectoryLogger, Turn

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

LEVELS = ("journaled", "synced", "stored")
TASKS = 5


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "t.db")
    made: str = request.getfixturevalue("postgres_url")
    return made


async def cancelled(call: Coroutine[Any, Any, Any]) -> bool:
    """Cancel a call after some steps of the loop, or after some time; say whether it was."""
    task = asyncio.ensure_future(call)
    if random.random() < 0.6:
        for _ in range(random.choice([0, 0, 1, 2, 3, 5, 8, 13])):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(random.uniform(0, random.choice([0.004, 0.03])))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return task.cancelled()


def probe_lock(url: str) -> None:
    """Fail where a write lock is held for longer than 100 ms, seen from outside."""
    if "://" not in url:
        with closing(sqlite3.connect(url, timeout=0.1, isolation_level=None)) as outside:
            outside.execute("BEGIN IMMEDIATE")
            outside.execute("ROLLBACK")


async def rows_of(url: str, told: Told) -> Verdict:
    if "://" in url:
        return judge(told, await postgres_rows(url, told.starts))
    return judge(told, await asyncio.to_thread(sqlite_rows, Path(url)))


async def log_and_cancel(
    url: str, settings: LoggerSettings, trials: int, told: Told, tick: Callable[[], None]
) -> tuple[int, int]:
    """Cancel so many calls among others; give how many were, and how many turns were accepted."""
    cut = 0
    left = iter(range(trials))
    async with TrajectoryLogger(url, settings) as logger:

        async def agent() -> None:
            nonlocal cut
            run = await logger.start_trajectory()
            told.starts.add(run.id)
            for number, trial in enumerate(left, 1):
                turn = Turn(trajectory_id=run.id, turn_number=number, **content_of(run.id, number))
                was_cut = await cancelled(logger.log_turn(turn))
                cut += was_cut
                if not was_cut:
                    told.turns.add((run.id, number))
                if random.random() < 0.2:
                    await cancelled(logger.flush())
                if was_cut:  # nobody knows whether it was accepted: it is logged again
                    await logger.log_turn(turn)
                    told.turns.add((run.id, number))
                if trial % 20 == 0:
                    tick()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(TASKS):
                tasks.create_task(agent())
        assert (await logger.flush()).pending == 0
        got = logger.statistics()
    assert got.accepted == got.stored
    assert (got.dead_lettered, got.conflicts, got.dropped, got.buffered) == (0, 0, 0, 0)
    return cut, got.accepted


async def test_callers(url: str, tmp_path: Path, report: Reporter) -> None:
    """Invariant: a cancelled call's turn is whole or not there; logged again, it is there once."""
    trials = count("cancels", 1000)
    name = "Postgres" if "://" in url else "SQLite"
    found = Figures(f"callers cancelled, {name}", trials, control="callers write by themselves")
    cut = accepted = 0
    told = Told()
    for level in LEVELS:
        settings = LoggerSettings(
            journal_dir=tmp_path / "journals",
            durability=level,
            overflow="wait",
            buffer_size=2,
            channel_capacity=3,  # callers wait for room, and are cancelled there as well
            flush_interval_ms=1,
        )
        some = -(-trials // len(LEVELS))
        got = await log_and_cancel(url, settings, some, told, lambda: probe_lock(url))
        cut, accepted = cut + got[0], accepted + got[1]
    probe_lock(url)
    verdict = await rows_of(url, told)
    add_up(found, verdict)
    assert verdict.unasked == 0
    assert accepted >= len(told.turns)
    found.besides |= {"cancelled": cut, "accepted_again": accepted - len(told.turns)}
    assert cut > trials / 4
    found.control_trials = controls(trials)
    found.control_losses = await naively(url, found.control_trials)
    assert not list((tmp_path / "journals").rglob("*.journal"))
    report(found)


async def naively(url: str, trials: int) -> int:
    """Control: callers own their transactions, repeat what was cancelled, and have no key.

    Count the trials after which a turn is there twice, or can't be written for the lock that the
    cancelled transaction holds.
    """
    if "://" in url:
        engine = create_async_engine(url.replace("://", "+asyncpg://", 1))
    else:
        arguments = {"timeout": 0.1}
        engine = create_async_engine(f"sqlite+aiosqlite:///{url}", connect_args=arguments)
    key = "bigserial" if "://" in url else "integer"
    harmed = 0
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(
                f"CREATE TABLE keyless (id {key} PRIMARY KEY, turn text)"
            )

        async def write(turn: UUID) -> None:
            async with engine.begin() as connection:
                await connection.execute(
                    sa.text("INSERT INTO keyless (turn) VALUES (:turn)"), {"turn": str(turn)}
                )

        for _ in range(trials):
            turn = uuid4()
            writing = asyncio.create_task(write(turn))
            await asyncio.sleep(random.uniform(0.0002, 0.002))
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
            try:
                if writing.cancelled():
                    await write(turn)
            except sa.exc.OperationalError:
                harmed += 1
                continue
            async with engine.connect() as connection:
                rows = await connection.scalar(
                    sa.text("SELECT count(*) FROM keyless WHERE turn = :turn"), {"turn": str(turn)}
                )
            harmed += rows != 1
    finally:
        await engine.dispose()
    return harmed
