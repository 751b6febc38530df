"""Parent and child both log: nothing twice, nothing lost, and nobody hangs."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from trajectory import TrajectoryLogger, TurnQuery, open_backend

PROGRAM = """
import asyncio, multiprocessing, os, sys
from trajectory import (
    LoggerClosedError, LoggerSettings, SyncTrajectoryLogger, TrajectoryError, TrajectoryLogger
)

how, url, journals = sys.argv[1:]
# Nothing is stored before the fork: the buffer is full of turns that both processes hold.
settings = LoggerSettings(flush_interval_ms=60_000, buffer_size=100, journal_dir=journals)

async def turns(logger, count):
    run = await logger.start_trajectory(run_id=str(os.getpid()))
    for _ in range(count):
        await run.log_turn("p", "r")
    return run

async def child_main(logger):
    await turns(logger, 5)
    await logger.aclose()

def in_child(logger):
    asyncio.run(child_main(logger))

async def fork_in_loop():
    async with TrajectoryLogger(url, settings) as logger:
        run = await turns(logger, 3) if how != "before the first turn" else None
        if how == "multiprocessing":
            process = multiprocessing.get_context("fork").Process(target=in_child, args=(logger,))
            process.start()
            await asyncio.to_thread(process.join)
            assert process.exitcode == 0
        else:
            pid = os.fork()
            if pid == 0:
                try:
                    in_child(logger)
                    if run is not None:
                        try:
                            asyncio.run(run.log_turn("p", "r"))
                        except LoggerClosedError as error:
                            assert "parent_trajectory_id" in str(error)
                        else:
                            os._exit(9)
                    os._exit(0)
                except BaseException as error:
                    print(repr(error), file=sys.stderr, flush=True)
                    os._exit(7)
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
        await turns(logger, 3)

def preforked_server():
    logger = SyncTrajectoryLogger(url, settings).open()
    run = logger.start_trajectory()
    for _ in range(3):
        run.log_turn("p", "r")
    pids = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            own = logger.start_trajectory()
            for _ in range(5):
                own.log_turn("p", "r")
            if how == "sync, closed":
                logger.close()
                os._exit(0)
            sys.exit(0)
        pids.append(pid)
    for pid in pids:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for _ in range(3):
        run.log_turn("p", "r")
    logger.close()

def log_and_leave(logger, count):
    own = logger.start_trajectory()
    for _ in range(count):
        own.log_turn("p", "r")

def workers():
    queued = settings.model_copy(update={"durability": "queued"})
    with SyncTrajectoryLogger(url, queued) as logger:
        context = multiprocessing.get_context("fork")
        children = [
            context.Process(target=log_and_leave, args=(logger, 5), daemon=bool(number))
            for number in range(3)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
        log_and_leave(logger, 6)

async def goes_on_with_the_loop():
    async with TrajectoryLogger(url, settings) as logger:
        await turns(logger, 3)
        pid = os.fork()
        if pid == 0:
            code = 8
            try:
                await turns(logger, 1)
            except TrajectoryError as error:
                code = 0 if "asyncio.run" in str(error) else 9
            os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        await turns(logger, 3)

if how == "workers of multiprocessing, left open":
    workers()
elif how == "with the parent's loop":
    asyncio.run(goes_on_with_the_loop())
elif how.startswith("sync"):
    preforked_server()
else:
    asyncio.run(fork_in_loop())
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("os.fork", [3, 3, 5]),
        ("before the first turn", [3, 5]),
        ("multiprocessing", [3, 3, 5]),
        ("sync, closed", [5, 5, 5, 6]),
        ("sync, left open", [5, 5, 5, 6]),
        ("workers of multiprocessing, left open", [5, 5, 5, 6]),
        ("with the parent's loop", [3, 3]),
    ],
)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_parent_and_child_store_their_own(
    kind: str, how: str, expected: list[int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path / "t.db") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    if kind == "sqlite":
        async with TrajectoryLogger(url):
            pass
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how, url, str(tmp_path / "j")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    backend = open_backend(url)
    await backend.open()
    turns = Counter([t.trajectory_id async for t in backend.read_turns(TurnQuery())])
    await backend.close()
    assert sorted(turns.values()) == expected
    assert not list((tmp_path / "j").rglob("*.journal"))
    if kind == "sqlite":
        with closing(sqlite3.connect(url)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
