"""OpenTelemetry: spans become trajectories; trajectories and a logger's health go out."""

from __future__ import annotations

from trajectory.integrations import extra

with extra("otel"):
    import opentelemetry.sdk  # noqa: F401 - whose absence is told here, by the name of the extra

from trajectory.integrations.otel.exporter import TrajectorySpanExporter
from trajectory.integrations.otel.live import Follower, SendFailedError, Sent, send
from trajectory.integrations.otel.metrics import observe_logger

__all__ = [
    "Follower",
    "SendFailedError",
    "Sent",
    "TrajectorySpanExporter",
    "observe_logger",
    "send",
]
