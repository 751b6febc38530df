"""Disks that fail and fill up under a logger: what it acknowledged is there, and it works again."""

from __future__ import annotations

import itertools
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from faults.figures import Figures, Reporter, count
from faults.full import CALLS
from faults.kills import next_start
from faults.ledger import Told, Verdict, add_up, judge, sqlite_rows
from faults.zygote import Zygote

from trajectory import migrations

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


async def trial(
    forks: Zygote, folder: Path, template: Path, job: str, **options: Any
) -> tuple[Verdict, Counter[str]]:
    """Run a process on a bad disk to its end; look what the next one, on a good disk, finds."""
    folder.mkdir()
    path, ledger = folder / "t.db", folder / "ledger"
    shutil.copy(template, path)
    pid = forks.start(job, url=str(path), ledger=str(ledger), **options)
    code = forks.wait(pid)
    told = Told()
    told.add(ledger)
    log = ledger.with_name("ledger.log").read_text()
    if not job.endswith("_ignored"):
        died = options["dies"] and not told.events["not_open"]
        assert code == (-signal.SIGKILL if died else 0), log
        await next_start(str(path))
    else:
        await next_start(str(path), strict=False)
    verdict = judge(told, sqlite_rows(path))
    shutil.rmtree(folder)
    return verdict, told.events


@pytest.mark.parametrize("level", ["journaled", "synced"])
async def test_each_call_of_the_journal_fails(
    forks: Zygote, template: Path, tmp_path: Path, report: Reporter, level: str
) -> None:
    """For every n: the n-th call fails, or it and the next, or all of a kind from it on."""
    found = Figures(f"failing calls of the journal, {level}", control="refusals ignored")
    most = count("calls", 400)
    seen: Counter[str] = Counter()
    for kind, short in itertools.product(CALLS, [False, True]):
        for n in range(1, most + 1):
            options = {"kind": kind, "n": n, "short": short, "level": level}
            failed = 0
            for dies in (False, True):
                folder = tmp_path / "t"
                verdict, events = await trial(
                    forks, folder, template, "broken_disk", dies=dies, **options
                )
                assert verdict.unasked <= events["refused"]
                add_up(found, verdict)
                found.trials += 1
                failed += events["failed"]
                seen += events
            if n % 5 == 0:
                found.control_trials += 1
                verdict, _ = await trial(
                    forks, folder, template, "broken_disk_ignored", dies=True, **options
                )
                found.control_losses += verdict.lost > 0
            if not failed:
                break
        else:
            assert most < 400, "some call fails for ever"
    found.besides |= {name: seen[name] for name in ("failed", "refused", "not_open")}
    assert seen["failed"] > 0
    report(found)


@pytest.mark.parametrize("wal", [True, False], ids=["wal", "rollback"])
async def test_no_room(forks: Zygote, tmp_path: Path, report: Reporter, *, wal: bool) -> None:
    """Journal, database and its log may not grow beyond each of many limits; then they may."""
    template = tmp_path / "template.db"
    await migrations.upgrade_async(str(template), wal=wal)
    trials = count("full_disks", 200)
    name = "WAL" if wal else "rollback journal"
    found = Figures(f"no room for any file, SQLite {name}", trials, control="one try a batch")
    seen: Counter[str] = Counter()
    room = template.stat().st_size + 100_000
    for number in range(trials):
        limit = 12_000 + (number * 7919) % room
        verdict, events = await trial(
            forks, tmp_path / "t", template, "full_disk", limit=limit, dies=number % 2 == 1
        )
        add_up(found, verdict)
        seen += events
        if number % 5 == 0:
            found.control_trials += 1
            verdict, _ = await trial(
                forks, tmp_path / "t", template, "full_disk_ignored", limit=limit, dies=False
            )
            found.control_losses += verdict.lost > 0
    found.besides |= {name: seen[name] for name in ("refused", "retried")}
    assert seen["retried"] > 0
    report(found)
