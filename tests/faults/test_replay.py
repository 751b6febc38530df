"""kill -9 while what dead processes left is stored: nothing is lost, nothing is doubled."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest
from faults.figures import Figures, Reporter, controls, count
from faults.kills import next_start
from faults.ledger import Told, Verdict, add_up, judge, sqlite_rows
from faults.server import wait_until
from faults.zygote import Zygote

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]

DEAD = 3
TURNS = 500
"""Of each producer of each dead process, of which there are two."""
UNSTORED = {"buffer_size": 10_000, "channel_capacity": 10_000, "flush_interval_ms": 86_400_000}


@pytest.fixture(scope="module")
def left(forks: Zygote, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty database, and the journals of processes that were killed."""
    folder = tmp_path_factory.mktemp("left")
    shutil.copy(template, folder / "t.db")
    pids = []
    for number in range(DEAD):  # all before the first dies: none replays another's
        ledger = folder / f"ledger-{number}"
        url = str(folder / "t.db")
        options = {"settings": UNSTORED, "producers": 2, "turns": TURNS}
        pids.append(forks.start("produce", url=url, ledger=str(ledger), **options))
        wait_until(lambda ledger=ledger: ledger.exists() and "done" in ledger.read_text())
    for pid in pids:
        assert forks.kill(pid)
    return folder


def kill_a_replay(forks: Zygote, folder: Path, job: str, number: int) -> int:
    """Kill a start that replays, at some moment; give how many turns are stored then."""
    ledger = folder / f"replay-{number}"
    pid = forks.start(job, url=str(folder / "t.db"), ledger=str(ledger))
    wait_until(lambda: ledger.exists() and ledger.stat().st_size > 0)
    time.sleep(random.uniform(0, 0.12))
    forks.kill(pid)
    return len(sqlite_rows(folder / "t.db", check=False))


async def trial(
    forks: Zygote, left: Path, folder: Path, job: str, kills: int
) -> tuple[Verdict, int]:
    """Kill so many replays in a row; give the verdict, and how many met one half done."""
    shutil.copytree(left, folder)
    told = Told()
    for number in range(DEAD):
        told.add(folder / f"ledger-{number}")
    between = sum(
        0 < kill_a_replay(forks, folder, job, number) < len(told.turns) for number in range(kills)
    )
    await next_start(str(folder / "t.db"))
    verdict = judge(told, sqlite_rows(folder / "t.db"))
    assert verdict.unasked == 0
    if job == "replay":
        assert not list((folder / "t.db.turns").glob("*"))
    shutil.rmtree(folder)
    return verdict, between


async def test_sqlite(forks: Zygote, left: Path, tmp_path: Path, report: Reporter) -> None:
    trials = count("replays", 200)
    found = Figures("kill -9 during replay, SQLite", trials, control="removed before stored")
    half = kills = 0
    for number in range(trials):
        kills += (in_a_row := 1 + number % 3)
        verdict, between = await trial(forks, left, tmp_path / str(number), "replay", in_a_row)
        add_up(found, verdict)
        half += between
    found.besides |= {"kills": kills, "kills_half_way": half}
    found.control_trials = controls(trials)
    for number in range(found.control_trials):
        folder = tmp_path / f"c{number}"
        verdict, _ = await trial(forks, left, folder, "replay_removing_first", 1)
        found.control_losses += verdict.lost > 0
    assert half > 0
    report(found)
