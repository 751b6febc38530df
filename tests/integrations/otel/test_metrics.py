"""A logger's statistics as metrics, collected by the real SDK."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    Gauge,
    InMemoryMetricReader,
    NumberDataPoint,
    Sum,
)

from trajectory import (
    BatchRejectedError,
    LoggerSettings,
    StorageBackend,
    SyncTrajectoryLogger,
    TrajectoryLogger,
    Turn,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.ids import uuid7
from trajectory.integrations.otel import metrics as module
from trajectory.integrations.otel import observe_logger
from trajectory.integrations.otel.metrics import METRICS
from trajectory.testing import FailingBackend, GatedBackend


def turn(prompt: str = "p") -> Turn:
    return Turn(trajectory_id=uuid7(), turn_number=1, prompt=prompt, response="r")


@dataclass
class Meters:
    """A provider, and what its reader finds."""

    provider: MeterProvider
    reader: InMemoryMetricReader

    def found(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def values(self, **attributes: Any) -> dict[str, float]:
        """Give the values for some attributes, by the names of the instruments."""
        return {
            name.removeprefix("trajectory.logger."): point.value
            for name, metric in self.found().items()
            for point in metric.data.data_points
            if isinstance(point, NumberDataPoint) and dict(point.attributes or {}) == attributes
        }


@pytest.fixture
def meters() -> Iterator[Meters]:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    yield Meters(provider, reader)
    provider.shutdown()


async def test_the_statistics_are_told(backend: StorageBackend, meters: Meters) -> None:
    async with TrajectoryLogger(backend) as logger:
        observe_logger(logger, meters.provider)
        async with logger.trajectory(agent_name="a") as run:
            for _ in range(3):
                await run.log_turn("p", "r")
        await logger.flush()
        counts = logger.statistics()
        values = meters.values()
    assert counts.last_stored_at is not None
    assert values == {
        "accepted": 3,
        "stored": 3,
        "dead_lettered": 0,
        "dropped": 0,
        "spilled": 0,
        "replayed": 0,
        "conflicts": 0,
        "others.accepted": 2,
        "others.stored": 2,
        "others.dead_lettered": 0,
        "others.dropped": 0,
        "batches": counts.batches,
        "retries": 0,
        "flush.time": counts.writing_seconds,
        "buffered": 0,
        "buffered.size": 0,
        "journal.size": counts.journal_bytes,
        "oldest.age": 0.0,
        "last_stored": counts.last_stored_at.timestamp(),
    }
    assert values["batches"] > 0
    assert values["flush.time"] > 0


async def test_kinds_and_units_are_those_of_the_table(meters: Meters) -> None:
    async with TrajectoryLogger(MemoryBackend()) as logger:
        observe_logger(logger, meters.provider)
        await logger.log_turn(turn())
        await logger.flush()
        found = meters.found()
    assert list(found) == [metric.name for metric in METRICS]
    for metric in METRICS:
        told = found[metric.name]
        assert (told.unit, told.description) == (metric.unit, metric.description)
        if metric.kind == "gauge":
            assert isinstance(told.data, Gauge)
        else:
            assert isinstance(told.data, Sum)
            assert told.data.is_monotonic is (metric.kind == "counter")


async def test_what_waits_and_what_is_lost_shows(meters: Meters) -> None:
    gated = GatedBackend()
    settings = LoggerSettings(channel_capacity=10, overflow="drop_newest")
    async with TrajectoryLogger(gated, settings) as logger:
        observe_logger(logger, meters.provider)
        for _ in range(12):
            await logger.log_turn(turn())
        await gated.parked(1)
        values = meters.values()
        gated.open_gate()
    assert (values["buffered"], values["dropped"], values["stored"]) == (10, 2, 0)
    assert values["buffered.size"] > 0
    assert values["oldest.age"] > 0
    assert "last_stored" not in values


async def test_dead_letters_show(tmp_path: Path, meters: Meters) -> None:
    backend = FailingBackend(BatchRejectedError("no"), times=None)
    settings = LoggerSettings(journal_dir=tmp_path)
    async with TrajectoryLogger(backend, settings) as logger:
        observe_logger(logger, meters.provider)
        await logger.log_turn(turn())
        await logger.flush()
        assert meters.values()["dead_lettered"] == 1


async def test_loggers_with_equal_attributes_are_told_as_one(meters: Meters) -> None:
    async with TrajectoryLogger(MemoryBackend()) as one, TrajectoryLogger(MemoryBackend()) as two:
        for logger, db in ((one, "a"), (two, "b")):
            observe_logger(logger, meters.provider, attributes={"db": db})
        await one.log_turn(turn())
        for _ in range(2):
            await two.log_turn(turn())
        for logger in (one, two):
            await logger.flush()
        assert meters.values(db="a")["stored"] == 1
        assert meters.values(db="b")["stored"] == 2
        last = meters.values(db="b")["last_stored"]
        assert meters.values() == {}
        for logger in (one, two):
            observe_logger(logger, meters.provider)
        assert meters.values(db="a") == {}
        assert meters.values()["stored"] == 3
        assert meters.values()["last_stored"] >= last


def test_a_logger_is_observed_before_it_is_open_and_after_and_not_kept_alive(
    meters: Meters,
) -> None:
    logger = SyncTrajectoryLogger(MemoryBackend())
    observe_logger(logger, meters.provider)
    assert meters.values() == {}
    with logger:
        logger.log_turn(turn())
        logger.flush()
        assert meters.values()["stored"] == 1
    assert meters.values()["stored"] == 1
    del logger
    gc.collect()
    assert meters.values() == {}


async def test_each_provider_has_instruments_of_its_own(meters: Meters) -> None:
    reader = InMemoryMetricReader()
    other = Meters(MeterProvider(metric_readers=[reader]), reader)
    async with TrajectoryLogger(MemoryBackend()) as logger:
        observe_logger(logger, meters.provider)
        observe_logger(logger, other.provider)
        await logger.log_turn(turn())
        assert meters.values()["accepted"] == other.values()["accepted"] == 1
    other.provider.shutdown()


async def test_the_global_provider_may_come_later(
    meters: Meters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instruments that were made before are then its own, and a second logger shares them."""
    monkeypatch.setattr(module, "_global", [])
    monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", None)
    proxy: Any = type(api.get_meter_provider())()
    monkeypatch.setattr("opentelemetry.metrics._internal._PROXY_METER_PROVIDER", proxy)
    async with TrajectoryLogger(MemoryBackend()) as one, TrajectoryLogger(MemoryBackend()) as two:
        observe_logger(one)
        monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", meters.provider)
        proxy.on_set_meter_provider(meters.provider)
        observe_logger(two)
        observe_logger(two, meters.provider)
        await one.log_turn(turn())
        await two.log_turn(turn())
        assert meters.values()["accepted"] == 2


async def test_it_is_collected_from_other_threads_while_turns_are_logged(meters: Meters) -> None:
    problems: list[BaseException] = []
    done = threading.Event()

    def collect() -> None:
        try:
            while not done.is_set():
                values = meters.values()
                assert 0 <= values.get("buffered", 0) <= 100
        except BaseException as error:  # noqa: BLE001 - told below
            problems.append(error)

    async with TrajectoryLogger(MemoryBackend()) as logger:
        observe_logger(logger, meters.provider)
        threads = [threading.Thread(target=collect) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(2000):
            await logger.log_turn(turn())
        done.set()
        for thread in threads:
            thread.join()
        await logger.flush()
        assert meters.values()["stored"] == 2000
    assert not problems


def test_a_moment_in_which_the_buffer_is_emptied_is_asked_again(meters: Meters) -> None:
    class Racing(SyncTrajectoryLogger):
        asked = 0

        def statistics(self) -> Any:
            self.asked += 1
            if self.asked % 2:
                raise IndexError
            return super().statistics()

    with Racing(MemoryBackend()) as logger:
        observe_logger(logger, meters.provider)
        logger.log_turn(turn())
        assert meters.values()["accepted"] == 1
