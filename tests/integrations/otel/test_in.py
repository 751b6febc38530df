"""Spans of the real SDK become trajectories: compared whole, in three dialects, on each backend."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from integrations.otel.told import expected, recorded
from integrations.troubles import TROUBLES, troubled
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from benchmarks.scripted import otel_in as scripted
from benchmarks.scripted.otel_in import (
    ANSWERS,
    PROMPTS,
    Dialect,
    Instrumented,
    at_once,
    provider_for,
)
from trajectory import StorageBackend, TrajectoryLogger
from trajectory.integrations.otel.exporter import TrajectorySpanExporter

ROOT = Path(__file__).parents[3]
AT_ONCE = 50


@pytest.mark.parametrize("dialect", Dialect)
async def test_a_conversation_is_stored_as_it_was_scripted(
    backend: StorageBackend, dialect: Dialect
) -> None:
    async with TrajectoryLogger(backend) as logger:
        provider = provider_for(TrajectorySpanExporter(logger))
        answers = await at_once(1, provider.get_tracer(scripted.SCOPE), dialect)
        await asyncio.to_thread(provider.shutdown)
        await logger.flush()
        assert answers == [list(ANSWERS)]
        assert await recorded(backend) == expected()
        assert logger.statistics().conflicts == 0


async def test_fifty_at_once_are_kept_apart(backend: StorageBackend) -> None:
    async with TrajectoryLogger(backend) as logger:
        exporter = TrajectorySpanExporter(logger, grace_s=0)
        provider = provider_for(exporter)
        await at_once(AT_ONCE, provider.get_tracer(scripted.SCOPE))
        await asyncio.to_thread(provider.shutdown)
        await logger.flush()
        assert exporter.waiting == 0
        found = await recorded(backend)
        assert logger.statistics().dropped == 0
    for number in range(AT_ONCE):
        of_one = [each for each in found if each["session_id"] == f"session-{number}"]
        assert sorted(of_one, key=str) == sorted(expected(number), key=str)


async def test_each_span_may_be_exported_as_it_ends(backend: StorageBackend) -> None:
    async with TrajectoryLogger(backend) as logger:
        provider = provider_for()
        exporter = TrajectorySpanExporter(logger, grace_s=0)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        await Instrumented(provider.get_tracer(scripted.SCOPE)).conversation()
        assert exporter.waiting == 0
        await logger.flush()
        assert await recorded(backend) == expected()
        provider.shutdown()


async def test_spans_that_are_exported_twice_are_stored_once(backend: StorageBackend) -> None:
    async with TrajectoryLogger(backend) as logger:
        first, second = (TrajectorySpanExporter(logger) for _ in range(2))
        provider = provider_for(first, second)
        await Instrumented(provider.get_tracer(scripted.SCOPE)).conversation()
        await asyncio.to_thread(provider.shutdown)
        await logger.flush()
        assert await recorded(backend) == expected()
        statistics = logger.statistics()
        assert (statistics.conflicts, statistics.dead_lettered) == (0, 0)


@pytest.mark.parametrize("dialect", Dialect)
async def test_without_content_there_are_turns_with_their_figures(dialect: Dialect) -> None:
    async with TrajectoryLogger(":memory:") as logger:
        provider = provider_for(TrajectorySpanExporter(logger))
        tracer = provider.get_tracer(scripted.SCOPE)
        await Instrumented(tracer, dialect, content=False).conversation()
        await asyncio.to_thread(provider.shutdown)
        await logger.flush()
        found = await recorded(logger.backend)
    assert [each["agent_name"] for each in found] == [each["agent_name"] for each in expected()]
    [turn] = found[1]["turns"]
    assert (turn["prompt"], turn["response"]) == ("", "")
    assert (turn["model_name"], turn["input_tokens"]) == (scripted.MODEL, 20)
    assert [message["role"] for message in turn["messages"]] == ["assistant", "assistant"]
    assert [
        (call["tool_name"], call["is_error"], call["message_position"])
        for call in turn["tool_calls"]
    ] == [("lookup_order", False, 0), ("refund", True, 0)]


async def test_a_cancelled_run_is_stored_with_what_is_known(backend: StorageBackend) -> None:
    async with TrajectoryLogger(backend) as logger:
        provider = provider_for(TrajectorySpanExporter(logger))
        reached = asyncio.Event()
        made = Instrumented(provider.get_tracer(scripted.SCOPE))
        task = asyncio.create_task(made.cancelled(reached))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(provider.shutdown)
        await logger.flush()
        [found] = await recorded(backend)
    assert found["status"] == "cancelled"
    assert found["error"] == "asyncio.exceptions.CancelledError"
    [turn] = found["turns"]
    assert turn["error"] == "asyncio.exceptions.CancelledError"
    assert turn["tool_calls"][0]["tool_name"] == "lookup_order"


@pytest.mark.parametrize("kind", TROUBLES)
async def test_trouble_of_ours_is_none_of_the_program(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with troubled(kind, tmp_path, monkeypatch) as trouble:
        provider = provider_for(TrajectorySpanExporter(trouble.logger))
        made = Instrumented(provider.get_tracer(scripted.SCOPE))
        assert await made.conversation() == list(ANSWERS)
        await asyncio.to_thread(provider.shutdown)
        await asyncio.sleep(0)  # the loop takes what other threads have offered
    warnings = [one for one in caplog.records if one.name == "trajectory.guard"]
    if kind == "away":
        assert (trouble.stored, trouble.turns) == (5, 4)  # from the journal
        assert not warnings
    else:
        assert (trouble.stored, trouble.turns) == (0, 0)
        assert len(warnings) == 1
    assert not any(PROMPTS[0] in one.getMessage() for one in caplog.records)


PROGRAM = """
import asyncio, sys
from benchmarks.scripted import otel_in
from trajectory import BackendUnavailableError, LoggerSettings, TrajectoryLogger
from trajectory.integrations.otel import TrajectorySpanExporter
from trajectory.testing import FailingBackend

async def main():
    broken = FailingBackend(BackendUnavailableError("it is away"))
    logger = await TrajectoryLogger(broken, LoggerSettings(close_timeout_ms=50)).open()
    exporters = [TrajectorySpanExporter(logger)] if sys.argv[1] == "with" else []
    provider = otel_in.provider_for(*exporters)
    print(await otel_in.at_once(1, provider.get_tracer("s")))
    provider.shutdown()
    await logger.aclose()
    sys.exit(3)

asyncio.run(main())
"""


def test_the_program_ends_as_without_us(tmp_path: Path) -> None:
    ends = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, way],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        for way in ("without", "with")
    ]
    assert [(end.returncode, end.stdout) for end in ends] == [(3, f"{[list(ANSWERS)]}\n")] * 2


async def test_the_cost_is_measured_on_the_same_program() -> None:
    with scripted.detached():
        alone = await scripted.program(2)
    async with TrajectoryLogger(":memory:") as logger:
        with scripted.attached(logger):
            assert await scripted.program(2) == alone
        await logger.flush()
        assert logger.statistics().stored == 8


MISSING = """
import sys
sys.modules["opentelemetry.sdk"] = None
from trajectory import MissingDependencyError
try:
    from trajectory.integrations.otel import TrajectorySpanExporter
except MissingDependencyError as error:
    print(error)
"""


def test_a_missing_package_is_told_with_its_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MISSING], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 'pip install "trajectory-log[otel]"' in done.stdout
