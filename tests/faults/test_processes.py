"""Four processes write one SQLite file at once: nothing is lost, and nobody hears of a lock."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from faults.figures import Figures, Reporter, controls, count
from faults.kills import next_start
from faults.ledger import Told, Verdict, add_up, judge, sqlite_rows
from faults.zygote import Zygote

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

PROCESSES = 4
TURNS = 500
"""Of each of two tasks in each process."""


async def trial(
    forks: Zygote, folder: Path, template: Path, job: str, *, one_dies: bool
) -> tuple[Verdict, int]:
    """Let four processes log at once, one killed if so wanted; give the longest call in us too."""
    folder.mkdir()
    path = folder / "t.db"
    shutil.copy(template, path)
    ledgers = [folder / f"ledger-{number}" for number in range(PROCESSES)]
    pids = [
        forks.start(job, url=str(path), ledger=str(ledger), producers=2, turns=TURNS)
        for ledger in ledgers
    ]
    if one_dies:
        assert forks.kill(pids.pop())
    codes = [forks.wait(pid) for pid in pids]
    told, slowest = Told(), 0
    for ledger in ledgers:
        before = told.events["slowest_us"]
        told.add(ledger)
        slowest = max(slowest, told.events["slowest_us"] - before)
    if job == "produce_and_close":
        logs = "".join(log.read_text() for log in folder.glob("*.log"))
        assert codes == [0] * len(codes), logs
        assert told.events["done"] == len(codes)
        await next_start(str(path))
        assert not list((folder / "t.db.turns").glob("*.journal"))
    verdict = judge(told, sqlite_rows(path))
    shutil.rmtree(folder)
    assert job != "produce_and_close" or not told.events["refused"]
    return verdict, slowest


async def test_one_file(forks: Zygote, template: Path, tmp_path: Path, report: Reporter) -> None:
    trials = count("crowds", 25)
    found = Figures("four processes, one SQLite file", trials, control="no wait, one try a batch")
    slowest = 0
    for number in range(trials):
        verdict, longest = await trial(
            forks, tmp_path / str(number), template, "produce_and_close", one_dies=number % 2 == 1
        )
        add_up(found, verdict)
        slowest = max(slowest, longest)
    found.besides["slowest_log_turn_ms"] = round(slowest / 1000, 1)
    found.control_trials = controls(trials)
    for number in range(found.control_trials):
        verdict, _ = await trial(
            forks, tmp_path / f"c{number}", template, "produce_without_waiting", one_dies=False
        )
        found.control_losses += verdict.lost > 0
    report(found)
