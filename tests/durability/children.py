"""Programs that log and die, and the account of what they were told: a ledger outside of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from trajectory import TurnQuery, open_backend

PROGRAM = """
import asyncio, os, sys
from trajectory import LoggerSettings, TrajectoryLogger

async def main(url, level, producers):
    settings = LoggerSettings(durability=level, journal_dir=os.environ.get("JOURNALS"))
    logger = await TrajectoryLogger(url, settings).open()
    async def produce(name):
        run = await logger.start_trajectory(run_id=name)
        while True:
            turn = await run.log_turn("prompt " * 40, "response " * 40)
            # One write of the system: what is in the pipe outlives this process.
            os.write(1, f"{turn.trajectory_id}/{turn.turn_number}\\n".encode())
            if turn.turn_number % 50 == 0:
                await asyncio.sleep(0)
    await asyncio.gather(*(produce(f"r{n}") for n in range(producers)))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@dataclass(frozen=True)
class Account:
    """What a child was told is accepted, and what is in the database."""

    acknowledged: set[str]
    stored: Counter[str]

    @property
    def lost(self) -> set[str]:
        return self.acknowledged - self.stored.keys()

    @property
    def twice(self) -> list[str]:
        return [key for key, times in self.stored.items() if times > 1]


def run_and_kill(
    url: str, level: str, after: float, *, producers: int = 3, journals: Path | None = None
) -> set[str]:
    """Let a child log for so many seconds after its first answer, kill -9 it; give its answers."""
    environment = {**os.environ, **({"JOURNALS": str(journals)} if journals else {})}
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, level, str(producers)],
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert child.stdout is not None
    try:
        os.set_blocking(child.stdout.fileno(), True)
        first = child.stdout.readline()
        deadline = time.monotonic() + after
        answers = [first]
        os.set_blocking(child.stdout.fileno(), False)
        while time.monotonic() < deadline:
            answers.append(child.stdout.read() or b"")
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        os.set_blocking(child.stdout.fileno(), True)
        answers.append(child.stdout.read())
    finally:
        child.kill()
        child.wait(10)
        child.stdout.close()
    text = b"".join(answers).decode()
    return {line for line in text.split("\n")[:-1] if line}


async def account(url: str, acknowledged: set[str]) -> Account:
    """Compare the answers with the database itself, read without any logger's counters."""
    backend = open_backend(url)
    await backend.open()
    try:
        stored = Counter(
            [f"{t.trajectory_id}/{t.turn_number}" async for t in backend.read_turns(TurnQuery())]
        )
    finally:
        await backend.close()
    return Account(acknowledged, stored)
