"""The connection is cut between COMMIT and its answer, so that nobody knows the outcome."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
from faults.figures import Figures, Reporter, controls, count
from faults.ledger import Told, add_up, content_of, judge, postgres_rows
from faults.proxy import Proxy

from trajectory import LoggerSettings, TrajectoryLogger

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


async def test_each_turn_is_stored_once(
    postgres_url: str, tmp_path: Path, report: Reporter
) -> None:
    """Invariant: what may be stored is written again by key, which changes nothing."""
    trials = count("cut_commits", 200)
    found = Figures("connection cut from the answer to COMMIT", trials, control="no key")
    settings = LoggerSettings(journal_dir=tmp_path, retry_initial_ms=1, retry_max_ms=20)
    proxy = Proxy(postgres_url)
    async with proxy.serving() as url:
        async with TrajectoryLogger(url, settings) as logger:
            run = await logger.start_trajectory()
            told = Told(starts={run.id})
            number = 0
            for trial in range(trials):
                proxy.cutting = True
                for _ in range(1 + trial % 25):  # small batches are inserted, large ones copied
                    number += 1
                    await run.log_turn(**content_of(run.id, number))
                    told.turns.add((run.id, number))
                assert (await logger.flush()).pending == 0
                assert proxy.cuts == trial + 1
            got = logger.statistics()
        found.control_trials = controls(trials)
        found.control_losses = await _doubled_without_a_key(proxy, url, found.control_trials)
    verdict = judge(told, await postgres_rows(postgres_url, told.starts))
    add_up(found, verdict)
    assert (got.accepted, got.stored, got.buffered) == (number, number, 0)
    assert (got.dead_lettered, got.conflicts, got.dropped, verdict.unasked) == (0, 0, 0, 0)
    found.besides["retries"] = got.retries
    report(found)


async def _doubled_without_a_key(proxy: Proxy, url: str, trials: int) -> int:
    """Control: write the same way into a table whose key the database makes; count doubles."""

    async def execute(statement: str) -> None:
        while True:
            try:
                connection = await asyncpg.connect(url)
                try:
                    async with connection.transaction():
                        await connection.execute(statement)
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.01)
            else:
                return

    await execute("CREATE TABLE keyless (id bigint GENERATED ALWAYS AS IDENTITY, trial int)")
    for trial in range(trials):
        proxy.cutting = True
        await execute(f"INSERT INTO keyless (trial) VALUES ({trial})")  # noqa: S608
    connection = await asyncpg.connect(url)
    try:
        doubled: int = await connection.fetchval(
            "SELECT count(*) FROM (SELECT trial FROM keyless GROUP BY trial HAVING count(*) > 1) d"
        )
    finally:
        await connection.close()
    return doubled
