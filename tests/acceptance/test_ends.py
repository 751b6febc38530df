"""How a program may end, on real databases: nothing accepted is lost, and no end takes long."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trajectory import TrajectoryLogger, TrajectoryQuery, TurnQuery, open_backend

PROGRAM = """
import asyncio, sys
from trajectory import TrajectoryLogger

async def main():
    logger = await TrajectoryLogger(sys.argv[1]).open()
    run = await logger.start_trajectory(run_id="left open")
    for _ in range(57):
        await run.log_turn("p", "r")
    if sys.argv[2] == "raise":
        raise RuntimeError("the agent failed")
    if sys.argv[2] == "exit":
        sys.exit(1)

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "t.db")
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.mark.parametrize("how", ["return", "raise", "exit"])
async def test_a_loop_that_ends_without_aclose_stores_what_was_accepted(
    database: str, how: str
) -> None:
    """Invariant: acknowledged 57, stored 57, with the program's own exit code."""
    command = [sys.executable, "-c", PROGRAM, database, how]
    done = await asyncio.to_thread(
        subprocess.run, command, check=False, capture_output=True, timeout=30, text=True
    )
    assert done.returncode == (0 if how == "return" else 1), done.stderr
    assert "the event loop ended while the logger was open: 57 turns stored then, 0 not" in (
        done.stderr
    )
    backend = open_backend(database)
    await backend.open()
    numbers = [turn.turn_number async for turn in backend.read_turns(TurnQuery())]
    [run] = [t async for t in backend.read_trajectories(TrajectoryQuery())]
    await backend.close()
    assert numbers == list(range(1, 58))
    assert run.status == "running"


async def test_aclose_keeps_its_timeout_beside_a_locked_file(tmp_path: Path) -> None:
    """Invariant: another program's lock holds neither the agent nor its end."""
    path = tmp_path / "t.db"
    logger = await TrajectoryLogger(path).open()
    run = await logger.start_trajectory()
    await logger.flush()
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    try:
        for _ in range(12):
            await run.log_turn("p", "r")
        began = time.monotonic()
        report = await logger.aclose(timeout=0.5)
        assert time.monotonic() - began < 4
    finally:
        locker.execute("ROLLBACK")
        locker.close()
    assert report == (0, 0, 12)
    closing = logger._life._closing_backend
    assert closing is not None
    await closing


async def test_a_lock_that_goes_away_is_only_a_wait(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with TrajectoryLogger(path) as logger:
        run = await logger.start_trajectory()
        await logger.flush()
        locker = sqlite3.connect(path, isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        await run.log_turn("p", "r")
        assert (await logger.flush(timeout=0.2)).pending == 1
        locker.execute("ROLLBACK")
        locker.close()
        assert await logger.flush() == (1, 0, 0)
