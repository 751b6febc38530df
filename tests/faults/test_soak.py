"""An hour at 20 turns a second into SQLite and Postgres at once: nothing grows, nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest
from faults.figures import Figures, Reporter, count
from faults.ledger import Told, add_up, content_of, judge, postgres_rows, sqlite_rows
from faults.zygote import Zygote

from trajectory import LoggerSettings, TrajectoryLogger, TurnQuery

pytestmark = [pytest.mark.soak, pytest.mark.timeout(90_000)]

PER_S = 20
RUN_TURNS = 50
MIB = 2**20
MOST_WAL = 64 * MIB
MOST_GROWTH = 20 * MIB


class Look(NamedTuple):
    """What a process holds at one moment."""

    fds: int
    threads: int
    tasks: int
    rss: int
    wal: int
    journal: int


def look(path: Path, loggers: list[TrajectoryLogger]) -> Look:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Look(
        fds=len(list(Path("/proc/self/fd").iterdir())),
        threads=threading.active_count(),
        tasks=len(asyncio.all_tasks()),
        rss=pages * os.sysconf("SC_PAGE_SIZE"),
        wal=path.with_name(path.name + "-wal").stat().st_size,
        journal=sum(logger.statistics().journal_bytes for logger in loggers),
    )


async def agents(logger: TrajectoryLogger, last: dict[UUID, int], ends: float) -> None:
    """Log run after run; note how far each came."""
    due = time.monotonic()
    while time.monotonic() < ends:
        async with logger.trajectory() as run:
            for number in range(1, RUN_TURNS + 1):
                await run.log_turn(**content_of(run.id, number))
                last[run.id] = number
                due += 1 / PER_S
                await asyncio.sleep(max(0.0, due - time.monotonic()))


async def reads(logger: TrajectoryLogger, ends: float) -> None:
    """Read back some turns now and then, as a person who looks does."""
    while time.monotonic() < ends:
        found = [turn async for turn in logger.backend.read_turns(TurnQuery(limit=20))]
        assert len(found) <= 20
        await asyncio.sleep(1)


async def test_nothing_grows(
    forks: Zygote, template: Path, tmp_path: Path, postgres_url: str, report: Reporter
) -> None:
    minutes = count("soak_minutes", 60)
    figures = Figures("soak, SQLite and Postgres")
    path = tmp_path / "t.db"
    path.write_bytes(template.read_bytes())
    settings = LoggerSettings(journal_dir=tmp_path / "journals")
    last: list[dict[UUID, int]] = [{}, {}]
    looks: list[Look] = []
    ends = time.monotonic() + minutes * 60
    async with (
        TrajectoryLogger(path, settings) as one,
        TrajectoryLogger(postgres_url, settings) as two,
    ):
        loggers = [one, two]
        async with asyncio.TaskGroup() as tasks:
            for logger, of_it in zip(loggers, last, strict=True):
                tasks.create_task(agents(logger, of_it, ends))
                tasks.create_task(reads(logger, ends))
            # A tenth to warm up, then a look at least every half minute.
            await asyncio.sleep(minutes * 6)
            reader: int | None = None
            held = False
            while time.monotonic() < ends - 1:
                looks.append(look(path, loggers))
                part = 1 - (ends - time.monotonic()) / (minutes * 60)
                if not held and part > 0.5:  # for a sixth of the time
                    ledger = str(tmp_path / "reader")
                    reader = forks.start("hold_snapshot", url=str(path), ledger=ledger)
                    held = True
                elif reader is not None and part > 0.67:
                    forks.kill(reader)
                    reader = None
                await asyncio.sleep(min(30, minutes * 0.6))
            if reader is not None:
                forks.kill(reader)
        for logger in loggers:
            assert (await logger.flush()).pending == 0
        got = [logger.statistics() for logger in loggers]
    for of_it, counted in zip(last, got, strict=True):
        assert counted.accepted == counted.stored == sum(of_it.values())
        assert (counted.dead_lettered, counted.dropped, counted.conflicts) == (0, 0, 0)
    told = [Told() for _ in last]
    for each, of_it in zip(told, last, strict=True):
        each.starts = set(of_it)
        each.turns = {(id_, n) for id_, to in of_it.items() for n in range(1, to + 1)}
    figures.trials = 1
    add_up(figures, judge(told[0], await asyncio.to_thread(sqlite_rows, path)))
    add_up(figures, judge(told[1], await postgres_rows(postgres_url, told[1].starts)))
    first, middle = looks[0], looks[len(looks) // 3]
    figures.besides |= {
        "minutes": minutes,
        "looks": len(looks),
        "fds": [first.fds, looks[-1].fds],
        "threads": [first.threads, looks[-1].threads],
        "tasks": [first.tasks, looks[-1].tasks],
        "rss_mib": [round(each.rss / MIB, 1) for each in (first, middle, looks[-1])],
        "largest_wal_mib": round(max(each.wal for each in looks) / MIB, 1),
        "largest_journal_kib": round(max(each.journal for each in looks) / 1024),
    }
    report(figures)
    for name in ("fds", "threads", "tasks"):
        early = max(getattr(each, name) for each in looks[: len(looks) // 3 + 1])
        assert getattr(looks[-1], name) <= early, name
    assert looks[-1].rss - middle.rss < MOST_GROWTH
    assert max(each.wal for each in looks) < MOST_WAL
