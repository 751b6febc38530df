"""An agent whose runs are logged, while their spans and the logger's metrics go out.

The agent does what agents do between two calls of a model: it writes and reads JSON, and waits for
the loop. The exporters take all and throw it away, so what is measured is ours and the SDK's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from trajectory import Message, Question, ToolCall, TrajectoryLogger, TrajectoryStore
from trajectory.backends.memory import MemoryBackend
from trajectory.integrations.otel import Follower, observe_logger

MODEL = "gpt-scripted-1"
TURNS = 3
INTERVAL_S = 0.25
"""Between two looks for what has ended: four times as often as is usual."""

METRICS_INTERVAL_S = 2.0
"""Between two collections, and as long as one may take; the last is at the end."""

_HISTORY = [{"role": "user", "content": f"message {place} " * 40} for place in range(40)]

_loggers: list[TrajectoryLogger] = []


class Discarding(SpanExporter):
    """Takes spans, and counts them."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take a batch."""
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


class DiscardingMetrics(MetricExporter):
    """Takes metrics, and counts the collections."""

    def __init__(self) -> None:
        super().__init__()
        self.collections = 0

    def export(self, metrics_data: MetricsData, *_args: Any, **_fields: Any) -> MetricExportResult:
        """Take what was collected."""
        self.collections += bool(metrics_data.resource_metrics)
        return MetricExportResult.SUCCESS

    def shutdown(self, *_args: Any, **_fields: Any) -> None:
        """Nothing is held."""

    def force_flush(self, *_args: Any, **_fields: Any) -> bool:
        """Nothing is held."""
        return True


async def program(runs: int) -> int:
    """Do so many runs one after another; give how many turns they had.

    They are logged by the logger that is attached (or detached), else by one in memory.
    """
    if _loggers:
        for number in range(runs):
            await _run(_loggers[-1], number)
    else:
        async with TrajectoryLogger(MemoryBackend()) as logger:
            for number in range(runs):
                await _run(logger, number)
    return runs * TURNS


async def _run(logger: TrajectoryLogger, number: int) -> None:
    async with logger.trajectory(agent_name="scripted", session_id=f"s{number % 7}") as run:
        for turn in range(TURNS):
            answer = await _model(turn)
            await run.log_turn(
                f"Where is order {number}?",
                answer,
                model_name=MODEL,
                input_tokens=10,
                output_tokens=5,
                messages=[
                    Message(role="user", content=f"Where is order {number}?"),
                    Message(role="assistant", stop_reason="tool_calls"),
                    Message(role="tool", content="on its way", call_id="1"),
                    Message(role="assistant", content=answer, stop_reason="stop"),
                ],
                tool_calls=[
                    ToolCall(
                        tool_name="lookup", arguments='{"id": 7}', call_id="1", message_position=1
                    ),
                    ToolCall(
                        tool_name="refund",
                        arguments="{}",
                        result="PaymentError: no such payment",
                        is_error=True,
                        message_position=1,
                    ),
                ],
                questions=[Question(question_text="Which one?", effort_level="low")],
            )


async def _model(turn: int) -> str:
    """Stand for a call of a model: the history is written and read, and the loop goes on."""
    for _ in range(20):
        request = json.dumps({"model": MODEL, "messages": _HISTORY})
        json.loads(request)
        await asyncio.sleep(0)
    return f"It is on its way ({turn})."


@contextmanager
def detached(logger: TrajectoryLogger) -> Iterator[None]:
    """Log with this logger, with nothing else attached."""
    _loggers.append(logger)
    try:
        yield
    finally:
        _loggers.remove(logger)


@contextmanager
def attached(logger: TrajectoryLogger) -> Iterator[tuple[Discarding, DiscardingMetrics]]:
    """Log with this logger, collect its metrics, and send each run when it has ended.

    Needs a running loop, on which the follower is a task until the end of the block.
    """
    spans, metrics = Discarding(), DiscardingMetrics()
    reader = PeriodicExportingMetricReader(
        metrics, export_interval_millis=METRICS_INTERVAL_S * 1000
    )
    provider = MeterProvider(metric_readers=[reader])
    observe_logger(logger, provider)
    following = asyncio.get_running_loop().create_task(_follow(logger, spans))
    try:
        with detached(logger):
            yield spans, metrics
    finally:
        following.cancel()
        provider.shutdown()


async def _follow(logger: TrajectoryLogger, exporter: SpanExporter) -> None:
    with suppress(asyncio.CancelledError):
        async with TrajectoryStore(logger.backend) as store:
            await Follower(store, exporter, content=True).run(INTERVAL_S)
