"""The short way into the buffer, for turns that find room, does what the long way does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from clock import run_virtual

from trajectory import LoggerSettings, TrajectoryLogger, Turn, TurnQuery
from trajectory.backends.memory import MemoryBackend
from trajectory.intake import Intake
from trajectory.testing import GatedBackend

CASES: list[tuple[str, dict[str, Any]]] = [
    ("plain", {}),
    ("é" * 100, {"token_count": 5}),
    ("with parts", {"metadata": {"k": 1}, "error": "e"}),
    ("with calls", {"tool_calls": [{"tool_name": "t", "arguments": "{}"}]}),
]
TURNS = [
    Turn(trajectory_id=UUID(int=1), turn_number=number, prompt=prompt, response="r", **fields)
    for number, (prompt, fields) in enumerate(CASES * 20)
]


@pytest.mark.parametrize("level", ["queued", "journaled"])
async def test_both_ways_store_and_count_the_same(
    level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def logged(name: str) -> tuple[list[Turn], tuple[Any, ...], int]:
        backend = MemoryBackend()
        settings = LoggerSettings(durability=level, journal_dir=tmp_path / name)
        async with TrajectoryLogger(GatedBackend(backend), settings) as logger:
            logger.backend.open_gate()  # type: ignore[attr-defined]
            for turn in TURNS:
                await logger.log_turn(turn)
            buffered = logger.statistics().buffered_bytes
            await logger.flush()
            found = logger.statistics()
        stored = [turn async for turn in backend.read_turns(TurnQuery())]
        return stored, (found.accepted, found.stored, found.dropped, found.buffered_bytes), buffered

    short = await logged("short")
    taken: list[int] = []
    monkeypatch.setattr(Intake, "accept_at_once", lambda *_a: taken.append(1))
    assert await logged("long") == short
    assert len(taken) == len(TURNS)
    assert short[0] == TURNS


@run_virtual
async def test_the_oldest_is_as_old_as_it_says() -> None:
    """The clock is read once a batch; a turn that comes during a write starts a count anew."""
    backend = GatedBackend()
    settings = LoggerSettings(buffer_size=3, flush_interval_ms=1000)
    async with TrajectoryLogger(backend, settings) as logger:
        for number in range(3):
            await logger.log_turn(TURNS[number])
        await backend.parked(1)
        await asyncio.sleep(0.4)
        await logger.log_turn(TURNS[3])  # first of the next batch
        await asyncio.sleep(0.3)
        await logger.log_turn(TURNS[4])
        assert logger.statistics().oldest_age == pytest.approx(0.7)
        backend.let_through()
        await asyncio.sleep(0.1)
        assert logger.statistics().oldest_age == pytest.approx(0.4)
        await asyncio.sleep(0.59)
        assert len(backend.batches) == 1
        await asyncio.sleep(0.02)  # a second after the first of them came
        assert len(backend.batches) == 2
        backend.open_gate()
