"""The exporter's own behaviour: when a trace is read, what is held, what it does when it can't."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from formats.mutated import ODD
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from benchmarks.scripted.otel_in import provider_for
from trajectory import ConfigurationError, Trajectory, TrajectoryStatus, Turn
from trajectory.genai.telling import tell
from trajectory.integrations.otel.exporter import TrajectorySpanExporter
from trajectory.integrations.otel.sending import readable
from trajectory.models import Logged
from trajectory.testing.samples import full_trajectory, full_turn

PATIENCE_S = 30
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper"}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1"}


class Taking:
    """Takes what is offered; `arrived` is set by the first."""

    def __init__(self) -> None:
        self.taken: list[Logged] = []
        self.arrived = threading.Event()

    def offer(self, value: Logged) -> None:
        self.taken.append(value)
        self.arrived.set()

    @property
    def trajectories(self) -> list[Trajectory]:
        return [each for each in self.taken if isinstance(each, Trajectory)]

    @property
    def turns(self) -> list[Turn]:
        return [each for each in self.taken if isinstance(each, Turn)]


class Refusing(Taking):
    """Fails as no logger does."""

    def offer(self, value: Logged) -> None:
        super().offer(value)
        raise ValueError("canary-77ab")


def provider_with(exporter: TrajectorySpanExporter) -> TracerProvider:
    provider = provider_for()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


@pytest.fixture
def taking() -> Taking:
    return Taking()


@pytest.fixture
def tracer(taking: Taking) -> Iterator[Tracer]:
    """A tracer whose traces are read at once."""
    provider = provider_with(TrajectorySpanExporter(taking, grace_s=0))
    yield provider.get_tracer("tested")
    provider.shutdown()


def chat(tracer: Tracer, **attributes: Any) -> None:
    tracer.start_span("chat", attributes={**CHAT, **attributes}).end()


def test_a_trace_is_read_after_its_grace_with_nobody_asking(taking: Taking) -> None:
    provider = provider_with(TrajectorySpanExporter(taking, grace_s=0.01))
    tracer = provider.get_tracer("tested")
    with tracer.start_as_current_span("run", attributes=AGENT):
        chat(tracer)
    assert taking.arrived.wait(PATIENCE_S)
    provider.shutdown()
    assert len(taking.trajectories) == len(taking.turns) == 1


def test_what_ends_in_the_grace_is_in_the_turn(taking: Taking) -> None:
    exporter = TrajectorySpanExporter(taking, grace_s=PATIENCE_S)
    provider = provider_with(exporter)
    tracer = provider.get_tracer("tested")
    with tracer.start_as_current_span("run", attributes=AGENT):
        late = tracer.start_span("chat", attributes=CHAT)
    late.end()
    assert (taking.taken, exporter.waiting) == ([], 1)
    exporter.force_flush()
    [turn] = taking.turns
    assert [message.model_name for message in turn.messages] == ["m-1"]
    provider.shutdown()
    assert exporter.waiting == 0


def test_what_ends_after_it_is_a_further_turn(taking: Taking, tracer: Tracer) -> None:
    with tracer.start_as_current_span("run", attributes=AGENT) as run:
        chat(tracer)
        late = tracer.start_span("chat", attributes=CHAT)
    late.end()
    run.end()  # an ended span that is ended again is not exported again
    [trajectory] = taking.trajectories
    assert [(turn.trajectory_id, turn.turn_number) for turn in taking.turns] == [
        (trajectory.id, 1),
        (trajectory.id, 2),
    ]


def test_a_trace_whose_root_is_elsewhere_is_read_when_its_own_ends(
    taking: Taking, tracer: Tracer
) -> None:
    remote = SpanContext(7, 9, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    context = set_span_in_context(NonRecordingSpan(remote))
    with tracer.start_as_current_span("run", context=context, attributes=AGENT):
        chat(tracer)
    [trajectory] = taking.trajectories
    assert trajectory.run_id == f"{7:032x}"
    assert trajectory.parent_trajectory_id is None


def test_a_span_that_ends_in_the_midst_of_a_job_is_taken_after_it() -> None:
    """As the garbage collector ends that of an abandoned stream, in whatever thread it runs."""

    class Ending(Taking):
        def offer(self, value: Logged) -> None:
            super().offer(value)
            if not late.end_time:
                late.end()

    ending = Ending()
    exporter = TrajectorySpanExporter(ending, grace_s=0)
    provider = provider_with(exporter)
    tracer = provider.get_tracer("tested")
    late: Any = tracer.start_span("late", attributes=AGENT)
    thread = threading.Thread(
        target=lambda: tracer.start_span("run", attributes=AGENT).end(), daemon=True
    )
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert len(ending.trajectories) == 2
    provider.shutdown()


def test_none_waits_for_the_thread_that_reads() -> None:
    class Slow(Taking):
        def offer(self, value: Logged) -> None:
            super().offer(value)
            gate.wait(PATIENCE_S)

    gate, slow = threading.Event(), Slow()
    exporter = TrajectorySpanExporter(slow, grace_s=0)
    provider = provider_with(exporter)
    tracer = provider.get_tracer("tested")
    thread = threading.Thread(target=lambda: tracer.start_span("run", attributes=AGENT).end())
    thread.start()
    assert slow.arrived.wait(PATIENCE_S)
    tracer.start_span("other", attributes=AGENT).end()
    assert not gate.is_set()
    gate.set()
    thread.join(PATIENCE_S)
    assert len(slow.trajectories) == 2
    provider.shutdown()


def test_a_trace_without_a_root_is_read_with_nobody_asking(taking: Taking) -> None:
    provider = provider_with(TrajectorySpanExporter(taking, idle_s=0.01, grace_s=PATIENCE_S))
    tracer = provider.get_tracer("tested")
    root = tracer.start_span("daemon")
    tracer.start_span("run", set_span_in_context(root), attributes=AGENT).end()
    assert taking.arrived.wait(PATIENCE_S)
    provider.shutdown()


def test_ids_of_another_library_are_not_taken_for_ours(taking: Taking, tracer: Tracer) -> None:
    own: dict[str, Any] = {
        "trajectory.id": "0190a0a0-0000-7000-8000-000000000001",
        "trajectory.turn.number": 7,
    }
    with tracer.start_as_current_span("run", attributes={**AGENT, **own}):
        chat(tracer, **own)
    [trajectory], [turn] = taking.trajectories, taking.turns
    assert (trajectory.source_format, trajectory.status) == ("otel", TrajectoryStatus.COMPLETED)
    assert (str(trajectory.id) != own["trajectory.id"], turn.turn_number) == (True, 1)


def test_other_spans_leave_nothing(taking: Taking, tracer: Tracer) -> None:
    with tracer.start_as_current_span("GET /"), tracer.start_as_current_span("SELECT"):
        pass
    assert taking.taken == []


def test_what_is_in_no_run_is_one_trajectory_of_the_trace(taking: Taking, tracer: Tracer) -> None:
    with tracer.start_as_current_span("GET /"):
        chat(tracer, **{"gen_ai.response.finish_reasons": ["stop"]})
        chat(tracer)
    [trajectory] = taking.trajectories
    assert (trajectory.agent_name, trajectory.status) == ("order-desk", TrajectoryStatus.COMPLETED)
    assert [turn.turn_number for turn in taking.turns] == [1, 2]


def test_shutting_down_takes_what_runs_on_as_it_is(taking: Taking) -> None:
    exporter = TrajectorySpanExporter(taking)
    provider = provider_with(exporter)
    tracer = provider.get_tracer("tested")
    run = tracer.start_span("GET /")
    with tracer.start_as_current_span("other", context=set_span_in_context(run)):
        chat(tracer)
    exporter.force_flush()
    assert taking.taken == []
    provider.shutdown()
    [trajectory] = taking.trajectories
    assert (trajectory.status, trajectory.ended_at) == (TrajectoryStatus.RUNNING, None)
    assert exporter.export([]) is SpanExportResult.FAILURE
    exporter.shutdown()


def test_what_is_held_is_bounded(taking: Taking) -> None:
    exporter = TrajectorySpanExporter(taking, max_traces=3)
    provider = provider_with(exporter)
    tracer = provider.get_tracer("tested")
    runs = [tracer.start_span("GET /") for _ in range(10)]
    for run in runs:
        with tracer.start_as_current_span("run", set_span_in_context(run), attributes=AGENT):
            pass
    assert exporter.waiting == 3
    assert len(taking.trajectories) == 7
    provider.shutdown()
    assert len(taking.trajectories) == 10


def test_what_the_live_way_out_sends_is_not_taken_in(taking: Taking) -> None:
    trajectory = full_trajectory()
    spans = [readable(each, Resource({})) for each in tell(trajectory, [full_turn(trajectory.id)])]
    exporter = TrajectorySpanExporter(taking, grace_s=0)
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    assert (taking.taken, exporter.waiting) == ([], 0)
    exporter.shutdown()


def test_a_failure_is_one_warning_without_content(caplog: pytest.LogCaptureFixture) -> None:
    refusing = Refusing()
    provider = provider_with(TrajectorySpanExporter(refusing, grace_s=0))
    tracer = provider.get_tracer("tested")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with tracer.start_as_current_span("run", attributes=AGENT):
                chat(tracer)
    provider.shutdown()
    assert len(refusing.taken) == 3
    [record] = caplog.records
    assert "the OpenTelemetry exporter failed" in record.getMessage()
    assert "canary" not in caplog.text


class Odd:
    """No span at all."""


def test_what_is_no_span_costs_no_other(taking: Taking, caplog: pytest.LogCaptureFixture) -> None:
    provider, kept = provider_for(), Kept()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with provider.get_tracer("tested").start_as_current_span("run", attributes=AGENT):
        pass
    exporter = TrajectorySpanExporter(taking, grace_s=0)
    odd: Any = Odd()
    assert exporter.export([odd, *kept.spans]) is SpanExportResult.SUCCESS
    assert len(taking.trajectories) == 1
    assert len(caplog.records) == 1
    exporter.shutdown()
    provider.shutdown()


class Kept(TrajectorySpanExporter):
    """Keeps spans as they are."""

    def __init__(self) -> None:
        super().__init__(Taking())
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_odd_values_at_every_attribute(taking: Taking, tracer: Tracer) -> None:
    names = [
        *("gen_ai.agent.name", "gen_ai.conversation.id", "gen_ai.request.model", "error.type"),
        *("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"),
        *("gen_ai.tool.definitions", "gen_ai.usage.input_tokens", "gen_ai.tool.call.arguments"),
        *("gen_ai.tool.call.result", "gen_ai.response.finish_reasons", "gen_ai.tool.name"),
    ]
    plain = [odd for odd in ODD if isinstance(odd, str | bool | float) or odd in (0, -1)]
    for odd in plain:
        attributes = dict.fromkeys(names, odd)
        with tracer.start_as_current_span("run", attributes={**attributes, **AGENT}):
            chat(tracer, **attributes)
            tool = {**attributes, "gen_ai.operation.name": "execute_tool"}
            tracer.start_span("tool", attributes=tool).end()
    assert len(taking.trajectories) == len(taking.turns) == len(plain)


def test_many_threads_may_export(taking: Taking) -> None:
    exporter = TrajectorySpanExporter(taking, grace_s=0)
    provider = provider_with(exporter)
    tracer = provider.get_tracer("tested")
    gate = threading.Barrier(8)

    def run() -> None:
        gate.wait(PATIENCE_S)
        for _ in range(50):
            with tracer.start_as_current_span("run", attributes=AGENT):
                chat(tracer)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    provider.shutdown()
    assert len(taking.turns) == 400


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_leaves_what_waits_to_its_parent(taking: Taking) -> None:
    exporter = TrajectorySpanExporter(taking, grace_s=PATIENCE_S)
    provider = provider_with(exporter)
    tracer = provider.get_tracer("tested")
    with tracer.start_as_current_span("run", attributes=AGENT):
        chat(tracer)
    child = os.fork()
    if not child:
        os._exit(exporter.waiting)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert exporter.waiting == 1
    provider.shutdown()
    assert len(taking.turns) == 1


@pytest.mark.parametrize(
    "given",
    [{"grace_s": -1}, {"grace_s": float("nan")}, {"idle_s": -1}, {"max_traces": 0},
     {"max_bytes": 0}],
)  # fmt: skip
def test_wrong_settings_are_told(given: Any, taking: Taking) -> None:
    with pytest.raises(ConfigurationError, match=f"^{next(iter(given))} = "):
        TrajectorySpanExporter(taking, **given)
