"""kill -9 at random moments under load, a thousand times: no acknowledged turn is lost."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from faults.figures import Figures, Reporter, controls, count
from faults.kills import PRODUCERS, kill_under_load, next_start
from faults.ledger import Told, Verdict, add_up, judge, postgres_rows, sqlite_rows
from faults.server import Server
from faults.zygote import Zygote

from trajectory import LoggerSettings

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]


async def trial(forks: Zygote, folder: Path, template: Path, level: str) -> tuple[Verdict, int]:
    folder.mkdir()
    path = folder / "t.db"
    shutil.copy(template, path)
    told = Told()
    kills = random.choice([1, 1, 1, 2, 3])  # several dead processes leave several journals
    for number in range(kills):
        ledger = folder / f"ledger-{number}"
        kill_under_load(forks, str(path), ledger, {"durability": level})
        told.add(ledger)
    replayed = await next_start(str(path))
    verdict = judge(told, sqlite_rows(path))
    assert verdict.unasked <= kills * PRODUCERS  # one answer each may be on its way
    assert not list((folder / "t.db.turns").glob("*.journal"))
    shutil.rmtree(folder)
    return verdict, replayed


async def test_sqlite(forks: Zygote, template: Path, tmp_path: Path, report: Reporter) -> None:
    trials = count("kills", 1000)
    found = Figures("kill -9, SQLite, journaled", trials, control="queued")
    replayed = 0
    for number in range(trials):
        verdict, again = await trial(forks, tmp_path / str(number), template, "journaled")
        add_up(found, verdict)
        replayed += again
    found.besides["replayed"] = replayed
    found.control_trials = controls(trials)
    for number in range(found.control_trials):
        verdict, _ = await trial(forks, tmp_path / f"c{number}", template, "queued")
        found.control_losses += verdict.lost > 0
    report(found)


async def postgres_trial(forks: Zygote, folder: Path, url: str, level: str) -> tuple[Verdict, int]:
    folder.mkdir()
    ledger = folder / "ledger"
    settings = {"durability": level, "journal_dir": str(folder / "journals")}
    # It takes a while to connect; what counts is the time after that.
    kill_under_load(forks, url, ledger, settings, within=0.3)
    told = Told()
    told.add(ledger)
    replayed = await next_start(url, LoggerSettings(journal_dir=folder / "journals"))
    verdict = judge(told, await postgres_rows(url, told.starts))
    assert verdict.unasked <= PRODUCERS
    shutil.rmtree(folder)
    return verdict, replayed


async def test_postgres(forks: Zygote, pg: Server, tmp_path: Path, report: Reporter) -> None:
    trials = count("postgres_kills", 300)
    found = Figures("kill -9 of the client, Postgres, journaled", trials, control="queued")
    replayed = 0
    for number in range(trials):
        verdict, again = await postgres_trial(forks, tmp_path / str(number), pg.url, "journaled")
        add_up(found, verdict)
        replayed += again
    found.besides["replayed"] = replayed
    found.control_trials = controls(trials)
    for number in range(found.control_trials):
        verdict, _ = await postgres_trial(forks, tmp_path / f"c{number}", pg.url, "queued")
        found.control_losses += verdict.lost > 0
    report(found)
