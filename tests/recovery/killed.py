"""A process that was told its turns are accepted, and is killed before one of them is stored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, os, signal, sys
from trajectory import LoggerSettings, TrajectoryLogger

async def main(url, turns, prompt):
    settings = LoggerSettings(
        flush_interval_ms=60_000, buffer_size=100, journal_dir=os.environ.get("JOURNALS")
    )
    logger = await TrajectoryLogger(url, settings).open()
    await logger.flush()  # what others have left
    run = await logger.start_trajectory(agent_name="a")
    for _ in range(turns):
        turn = await run.log_turn(prompt, "r")
        print(f"{turn.trajectory_id}/{turn.turn_number}", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
"""


def leave(url: str, turns: int, *, prompt: str = "p", journals: Path | None = None) -> set[str]:
    """Let a child log so many turns and kill it; give the keys it was told are accepted."""
    environment = {**os.environ, **({"JOURNALS": str(journals)} if journals else {})}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, str(turns), prompt],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    accepted = set(done.stdout.split())
    assert len(accepted) == turns
    return accepted
