"""Several processes on one SQLite file: none loses a turn, none hears of a lock."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from trajectory import TurnQuery, open_backend

PROGRAM = """
import asyncio, sys
from trajectory import TrajectoryLogger

async def main(url):
    async with TrajectoryLogger(url) as logger:
        print("open", flush=True)
        sys.stdin.readline()
        async with logger.trajectory() as run:
            for number in range(1500):
                await run.log_turn("p", "r")
                if not number % 20:
                    await asyncio.sleep(0)
        report = await logger.flush()
        got = logger.statistics()
        assert report == (1500, 0, 0), report
        assert got.accepted == got.stored == 1500
    print("done", run.id, flush=True)

asyncio.run(main(sys.argv[1]))
"""


async def test_four_processes_lose_nothing_and_hear_of_no_lock(tmp_path: Path) -> None:
    url = str(tmp_path / "t.db")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "open\n", child.communicate()[1]
        for child in children:  # all are open: now they begin at once
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        said = [child.communicate(timeout=60) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait(10)
    for out, err in said:
        assert out.startswith("done"), err
        assert "locked" not in err
    backend = open_backend(url)
    await backend.open()
    turns = Counter([t.trajectory_id async for t in backend.read_turns(TurnQuery())])
    await backend.close()
    assert sorted(turns.values()) == [1500] * 4
    assert not (tmp_path / "t.db.turns").exists()
