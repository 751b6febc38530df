"""How a program may end: within seconds, with its own exit code, and nothing acknowledged lost."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from trajectory import TrajectoryLogger

PROGRAM = """
import asyncio, os, signal, sqlite3, sys, threading
from trajectory import LoggerSettings, SyncTrajectoryLogger, TrajectoryLogger, Turn

how, url = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
quiet = LoggerSettings(flush_interval_ms=60_000, buffer_size=100)

async def log(logger):
    run = await logger.start_trajectory()
    for _ in range(57):
        await run.log_turn("p", "r")
    print("logged", flush=True)

async def main():
    if how == "handled SIGTERM":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    logger = await TrajectoryLogger(url, quiet).open()
    await log(logger)
    if how == "raise":
        raise RuntimeError("the agent failed")
    if how == "exit":
        sys.exit(3)
    if how == "os._exit":
        os._exit(4)
    if how in ("SIGINT", "SIGTERM"):
        await asyncio.sleep(60)
    if how == "handled SIGTERM":
        await asyncio.sleep(60)
    return logger

def closed_loop():
    loop = asyncio.new_event_loop()
    logger = loop.run_until_complete(main())
    loop.close()
    sys.exit(5)

if how == "closed loop":
    closed_loop()
elif how == "locked":
    logger = None
    async def beside_a_lock():
        global logger, other
        logger = await TrajectoryLogger(url, quiet).open()
        other = sqlite3.connect(url, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await log(logger)
    asyncio.run(beside_a_lock())
elif how == "sync":
    logger = SyncTrajectoryLogger(url, quiet).open()
    run = logger.start_trajectory()
    for _ in range(57):
        run.log_turn("p", "r")
    print("logged", flush=True)
    sys.exit(6)
else:
    asyncio.run(main())
"""

STORED = "the event loop ended while the logger was open: 57 turns stored then, 0 not"
KEPT = "the program ended with 57 turns not stored; the next logger that opens this database"
ENDS = {
    "return": (0, STORED),
    "raise": (1, STORED),
    "exit": (3, STORED),
    "os._exit": (4, ""),
    "closed loop": (5, KEPT),
    "locked": (0, "0 turns stored then, 57 not; the next logger that opens this database"),
    "sync": (6, "unclosed"),
    "SIGINT": (-signal.SIGINT, STORED),
    "SIGTERM": (-signal.SIGTERM, ""),
    "handled SIGTERM": (1, STORED),
}


@pytest.mark.parametrize("how", ENDS)
async def test_what_was_acknowledged_is_stored_or_in_the_journal(tmp_path: Path, how: str) -> None:
    url = str(tmp_path / "t.db")
    child = subprocess.Popen(
        [sys.executable, "-W", "always", "-c", PROGRAM, how, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "logged\n"
        began = time.monotonic()
        if how.endswith(("SIGINT", "SIGTERM")):
            child.send_signal(getattr(signal, how.rsplit(maxsplit=1)[-1]))
        _, said = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait(10)
    assert time.monotonic() - began < 10  # five seconds to close, and a slow machine
    code, line = ENDS[how]
    assert child.returncode == code, said
    assert line in said
    assert how != "sync" or "not stored;" not in said  # it is closed at exit, and all is stored
    async with TrajectoryLogger(url) as logger:
        assert (await logger.flush()).pending == 0
    with closing(sqlite3.connect(url)) as connection:
        assert connection.execute("SELECT count(*) FROM trajectory_turns").fetchone() == (57,)
