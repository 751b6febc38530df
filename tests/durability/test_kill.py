"""kill -9 under load: every acknowledged turn is stored once the next process has started."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from durability.children import account, run_and_kill

from trajectory import LoggerSettings, TrajectoryLogger


@pytest.mark.parametrize("level", ["journaled", "synced", "stored"])
async def test_no_acknowledged_turn_is_lost_or_doubled(tmp_path: Path, level: str) -> None:
    url = str(tmp_path / "t.db")
    acknowledged: set[str] = set()
    replayed = 0
    for tick in range(4):
        acknowledged |= run_and_kill(url, level, 0.03 * (tick + 1))
        async with TrajectoryLogger(url) as logger:
            assert (await logger.flush()).pending == 0
            got = logger.statistics()
            assert got.accepted + got.replayed == got.stored + got.dead_lettered + got.dropped
            replayed += got.replayed
    found = await account(url, acknowledged)
    assert len(acknowledged) > 20
    assert (found.lost, found.twice) == (set(), [])
    assert replayed > 0 or level == "stored"
    with closing(sqlite3.connect(url)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert not list((tmp_path / "t.db.turns").glob("*.journal"))


async def test_control_without_the_journal_turns_are_lost(tmp_path: Path) -> None:
    """Control: the same kill at level `queued` loses acknowledged turns."""
    url = str(tmp_path / "t.db")
    lost = 0
    for tick in range(4):
        acknowledged = run_and_kill(url, "queued", 0.03 * (tick + 1))
        async with TrajectoryLogger(url):
            pass
        lost += len((await account(url, acknowledged)).lost)
    assert lost > 0


async def test_on_postgres_too(tmp_path: Path, postgres_url: str) -> None:
    settings = LoggerSettings(journal_dir=tmp_path)
    acknowledged: set[str] = set()
    for tick in range(3):
        acknowledged |= run_and_kill(postgres_url, "journaled", 0.05 * tick, journals=tmp_path)
        async with TrajectoryLogger(postgres_url, settings) as logger:
            assert (await logger.flush()).pending == 0
    found = await account(postgres_url, acknowledged)
    assert len(acknowledged) > 20
    assert (found.lost, found.twice) == (set(), [])
