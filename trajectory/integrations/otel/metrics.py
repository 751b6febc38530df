"""A logger's health as OpenTelemetry metrics: `observe_logger(logger)`."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from trajectory import SyncTrajectoryLogger, TrajectoryLogger
from trajectory.errors import TrajectoryError
from trajectory.integrations import extra
from trajectory.report import Statistics

with extra("otel"):
    from opentelemetry import metrics

Logger = TrajectoryLogger | SyncTrajectoryLogger
Attributes = Mapping[str, str | bool | int | float]

METER = "trajectory"


class Metric(NamedTuple):
    """One instrument: how it is called and measured, and where it comes from.

    What only grows is a `counter`, what adds up over loggers an `updowncounter`, else a `gauge`,
    which tells the largest.
    """

    name: str
    kind: Literal["counter", "updowncounter", "gauge"]
    unit: str
    description: str
    value: Callable[[Statistics], float | None]


def _last_stored(statistics: Statistics) -> float | None:
    at = statistics.last_stored_at
    return None if at is None else at.timestamp()


METRICS = (
    Metric(
        "trajectory.logger.accepted", "counter", "{turn}",
        "Turns that were taken, dropped ones included.", lambda s: s.accepted,
    ),
    Metric(
        "trajectory.logger.stored", "counter", "{turn}",
        "Turns whose batch has committed.", lambda s: s.stored,
    ),
    Metric(
        "trajectory.logger.dead_lettered", "counter", "{turn}",
        "Turns that the backend refused for their content, kept aside.", lambda s: s.dead_lettered,
    ),
    Metric(
        "trajectory.logger.dropped", "counter", "{turn}",
        "Turns that were left out.", lambda s: s.dropped,
    ),
    Metric(
        "trajectory.logger.spilled", "counter", "{turn}",
        "Turns that waited in the journal alone, since the buffer was full.", lambda s: s.spilled,
    ),
    Metric(
        "trajectory.logger.replayed", "counter", "{turn}",
        "Turns that dead processes had left in their journals.", lambda s: s.replayed,
    ),
    Metric(
        "trajectory.logger.conflicts", "counter", "{conflict}",
        "What was refused because its key is taken by other content.", lambda s: s.conflicts,
    ),
    Metric(
        "trajectory.logger.others.accepted", "counter", "{value}",
        "Facts, starts and ends that were taken.", lambda s: s.others_accepted,
    ),
    Metric(
        "trajectory.logger.others.stored", "counter", "{value}",
        "Facts, starts and ends whose batch has committed.", lambda s: s.others_stored,
    ),
    Metric(
        "trajectory.logger.others.dead_lettered", "counter", "{value}",
        "Facts, starts and ends that the backend refused.", lambda s: s.others_dead_lettered,
    ),
    Metric(
        "trajectory.logger.others.dropped", "counter", "{value}",
        "Facts and starts that were left out.", lambda s: s.others_dropped,
    ),
    Metric(
        "trajectory.logger.batches", "counter", "{batch}",
        "Batches that were committed.", lambda s: s.batches,
    ),
    Metric(
        "trajectory.logger.retries", "counter", "{retry}",
        "Writes that were tried again.", lambda s: s.retries,
    ),
    Metric(
        "trajectory.logger.flush.time", "counter", "s",
        "Seconds that the writes of committed batches took, all together.",
        lambda s: s.writing_seconds,
    ),
    Metric(
        "trajectory.logger.buffered", "updowncounter", "{turn}",
        "Turns that wait or are being written.", lambda s: s.buffered,
    ),
    Metric(
        "trajectory.logger.buffered.size", "updowncounter", "By",
        "Estimated bytes of all that waits.", lambda s: s.buffered_bytes,
    ),
    Metric(
        "trajectory.logger.journal.size", "updowncounter", "By",
        "What the journal takes on disk.", lambda s: s.journal_bytes,
    ),
    Metric(
        "trajectory.logger.oldest.age", "gauge", "s",
        "How long the oldest that waits has waited; 0 if nothing does.", lambda s: s.oldest_age,
    ),
    Metric(
        "trajectory.logger.last_stored", "gauge", "s",
        "When the last batch committed, in seconds since 1970.", _last_stored,
    ),
)  # fmt: skip
"""All instruments, in the order of the page."""


def observe_logger(
    logger: Logger,
    meter_provider: metrics.MeterProvider | None = None,
    *,
    attributes: Attributes | None = None,
) -> None:
    """Tell a logger's statistics as metrics, whenever they are collected, while it is open.

    `meter_provider` is the global one unless given. Loggers with equal `attributes` are told as
    one: give each its own, as `{"db": "eval"}`, to tell them apart. The logger pays nothing, is not
    kept alive, and may be observed before it is open; to observe it again changes its attributes.
    """
    _watch_of(meter_provider).add(logger, attributes or {})


@dataclass(slots=True, eq=False)
class _Observed:
    logger: weakref.ref[Logger]
    attributes: Attributes


class _Watch:
    """The instruments of one meter provider, for all loggers that are observed there.

    A meter takes each instrument once, so a second logger can't bring its own.
    """

    def __init__(self, meter: metrics.Meter) -> None:
        self._lock = threading.Lock()
        self._observed: dict[int, _Observed] = {}
        makers = {
            "counter": meter.create_observable_counter,
            "updowncounter": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }
        for metric in METRICS:
            makers[metric.kind](
                metric.name,
                callbacks=[self._callback(metric)],
                unit=metric.unit,
                description=metric.description,
            )

    def add(self, logger: Logger, attributes: Attributes) -> None:
        """Observe a logger until it is gone."""
        key = id(logger)

        def forget(_gone: object) -> None:
            # No lock: this runs wherever the last reference goes, also in a thread that holds it.
            self._observed.pop(key, None)

        with self._lock:
            self._observed[key] = _Observed(weakref.ref(logger, forget), dict(attributes))

    def _callback(
        self, metric: Metric
    ) -> Callable[[metrics.CallbackOptions], Iterable[metrics.Observation]]:
        def observe(_options: metrics.CallbackOptions) -> list[metrics.Observation]:
            return self._observations(metric)

        return observe

    def _observations(self, metric: Metric) -> list[metrics.Observation]:
        combine = max if metric.kind == "gauge" else sum
        with self._lock:
            observed = tuple(self._observed.copy().values())
        values: dict[frozenset[tuple[str, object]], tuple[Attributes, list[float]]] = {}
        for each in observed:
            statistics = _statistics(each.logger())
            value = None if statistics is None else metric.value(statistics)
            if value is not None:
                key = frozenset(each.attributes.items())
                values.setdefault(key, (each.attributes, []))[1].append(value)
        return [
            metrics.Observation(combine(found), attributes) for attributes, found in values.values()
        ]


_watches: weakref.WeakKeyDictionary[metrics.MeterProvider, _Watch] = weakref.WeakKeyDictionary()
_global: list[_Watch] = []
_making = threading.Lock()


def _watch_of(provider: metrics.MeterProvider | None) -> _Watch:
    """Give the watch of a provider; that of the global one also before it is set."""
    with _making:
        if provider is None or (_global and provider is metrics.get_meter_provider()):
            if not _global:
                _global.append(_Watch(metrics.get_meter(METER)))
            return _global[0]
        watch = _watches.get(provider)
        if watch is None:
            watch = _watches[provider] = _Watch(provider.get_meter(METER))
        return watch


def _statistics(logger: Logger | None) -> Statistics | None:
    """Ask a logger, from a thread that is not its own; None where it is gone or not open."""
    if logger is None:
        return None
    for _ in range(2):
        try:
            return logger.statistics()
        except IndexError:  # the buffer was emptied at that very moment
            continue
        except TrajectoryError:
            break
    return None
