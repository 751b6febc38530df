"""A program ends the same with its telemetry attached, whatever becomes of that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from integrations.otel.outlets import Taking

from benchmarks.scripted import otel_out
from trajectory import (
    BackendUnavailableError,
    StorageBackend,
    Trajectory,
    TrajectoryLogger,
    TrajectoryQuery,
    TrajectoryStore,
)
from trajectory.integrations.otel import send
from trajectory.testing import WrappedBackend

RUNS = 3


class _Unreadable(WrappedBackend):
    """Takes what is written, and gives nothing back."""

    def read_trajectories(self, query: TrajectoryQuery, /) -> AsyncIterator[Trajectory]:
        raise BackendUnavailableError("away")


async def _ran(logger: TrajectoryLogger) -> int:
    turns = await otel_out.program(RUNS)
    await logger.flush()
    return turns


async def test_attached_it_does_and_stores_the_same(backend: StorageBackend) -> None:
    assert await otel_out.program(RUNS) == RUNS * otel_out.TURNS
    async with TrajectoryLogger(backend) as logger:
        with otel_out.detached(logger):
            assert await _ran(logger) == RUNS * otel_out.TURNS
        with otel_out.attached(logger) as (_spans, metrics):
            assert await _ran(logger) == RUNS * otel_out.TURNS
    assert metrics.collections >= 1
    exporter = Taking()
    async with TrajectoryStore(backend) as store:
        sent = await send(store, exporter)
    # Of each turn two calls of the model and two tools, and the span of the run.
    assert sent.trajectories == 2 * RUNS
    assert sent.spans == 2 * RUNS * (4 * otel_out.TURNS + 1)


async def test_what_ends_is_sent_while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel_out, "INTERVAL_S", 0.01)
    async with TrajectoryLogger(WrappedBackend()) as logger:
        with otel_out.attached(logger) as (spans, _metrics):
            await _ran(logger)
            async with asyncio.timeout(30):
                while spans.spans < RUNS * (4 * otel_out.TURNS + 1):
                    await asyncio.sleep(0.01)
    assert spans.spans == RUNS * (4 * otel_out.TURNS + 1)


@pytest.mark.parametrize("trouble", ["exporter says no", "exporter raises", "store is away"])
async def test_in_trouble_it_ends_the_same_with_one_warning(
    trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Taking()
    failing.fails = ValueError("no") if trouble == "exporter raises" else True
    monkeypatch.setattr(otel_out, "INTERVAL_S", 0.01)
    backend = WrappedBackend()
    if trouble == "store is away":
        backend = _Unreadable()
    else:
        monkeypatch.setattr(otel_out, "Discarding", lambda: failing)
    with caplog.at_level(logging.WARNING):
        async with TrajectoryLogger(backend) as logger:
            with otel_out.attached(logger):
                assert await _ran(logger) == RUNS * otel_out.TURNS
                async with asyncio.timeout(30):
                    while not any("trying again" in text for text in caplog.messages):
                        await asyncio.sleep(0.01)
            assert logger.statistics().stored == RUNS * otel_out.TURNS
    assert len([text for text in caplog.messages if "trying again" in text]) == 1
