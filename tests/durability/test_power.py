"""Power loss at any call of the system: what was promised is in the database or in the journal."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from journal.disks import ForgetfulDisk

from trajectory import Capabilities, LoggerSettings, Survives, TrajectoryLogger, Turn, lifecycle
from trajectory.backends.memory import MemoryBackend
from trajectory.errors import TurnKey
from trajectory.journal import Journal

TURNS = 40


class Safe(MemoryBackend):
    """A database whose commits survive power loss, at a place on a disk."""

    def __init__(self, path: Path, turns: dict[TurnKey, Turn] | None = None) -> None:
        super().__init__()
        self.capabilities = Capabilities(identity=str(path), survives=Survives.POWER_LOSS)
        self._turns = dict(turns or {})


async def run(
    root: Path, level: str, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Any, dict[Path, bytes]]]:
    """Log some turns; give for each call of the system what a power loss there would leave.

    That is what was acknowledged and what the database has, and the files.
    """
    acknowledged: set[TurnKey] = set()
    backend = Safe(root / "t.db")

    def ledger() -> Any:
        return frozenset(acknowledged), dict(backend._turns)

    disk = ForgetfulDisk(root, ledger)
    monkeypatch.setattr(lifecycle, "Journal", partial(Journal, os_layer=disk))
    settings = LoggerSettings(durability=level, buffer_size=7)
    async with TrajectoryLogger(backend, settings) as logger:
        trajectory = await logger.start_trajectory()

        async def log(number: int) -> None:
            sent = Turn(trajectory_id=trajectory.id, turn_number=number, prompt="p", response="r")
            await logger.log_turn(sent)
            acknowledged.add(sent.key)

        for number in range(0, TURNS, 4):
            await asyncio.gather(*(log(number + each) for each in range(4)))
    monkeypatch.undo()
    return list(disk.moments)


async def lost(after: Path, moments: list[tuple[Any, dict[Path, bytes]]]) -> int:
    """Start again from each of these; count those where something acknowledged is missing."""
    losses = 0
    for number, ((acknowledged, stored), files) in enumerate(moments):
        place = after / str(number)
        for name, content in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        backend = Safe(place / "t.db", stored)
        async with TrajectoryLogger(backend) as logger:
            assert (await logger.flush()).pending == 0
        losses += not acknowledged <= backend._turns.keys()
    return losses


@pytest.mark.parametrize("level", ["synced", "stored"])
async def test_at_any_call_nothing_acknowledged_is_lost(
    tmp_path: Path, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = await run(tmp_path / "disk", level, monkeypatch)
    assert len(moments) > TURNS
    assert await lost(tmp_path / "after", moments) == 0


async def test_control_a_journal_that_waits_for_no_disk_loses_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: level `journaled` leaves the sync out, and promises nothing for the power."""
    moments = await run(tmp_path / "disk", "journaled", monkeypatch)
    assert await lost(tmp_path / "after", moments) > len(moments) // 10
