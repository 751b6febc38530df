"""Stored trajectories are sent whole to an exporter, and what did not arrive is said."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from exporting.samples import run, stored
from formats.otlp_lines import spans_of, wired
from formats.written import written
from integrations.otel.outlets import RESOURCE, Gated, Taking, plain
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from trajectory import (
    Message,
    StorageBackend,
    ToolCall,
    Trajectory,
    TrajectoryError,
    TrajectoryLogger,
    TrajectoryQuery,
    TrajectoryStore,
    Turn,
    TurnQuery,
)
from trajectory.genai.telling import tell
from trajectory.integrations.otel import SendFailedError, Sent, send
from trajectory.testing.samples import NOON, full_trajectory, full_turn

ROOT = Path(__file__).parents[3]


async def a_run(logger: TrajectoryLogger) -> None:
    """Log a scripted run: a tool that works and one that fails, a child, and a run that fails."""
    async with logger.trajectory(agent_name="parent", session_id="s", system_prompt="Be.") as run_:
        await run_.log_turn(
            "Weather?",
            "Rain. Which day?",
            latency_ms=20.0,
            model_name="gpt-5",
            input_tokens=9,
            output_tokens=4,
            messages=[
                Message(role="user", content="Weather?"),
                Message(role="assistant", reasoning="hm", stop_reason="tool_calls"),
                Message(role="tool", content="rain", call_id="1"),
                Message(role="assistant", content="Rain. Which day?"),
            ],
            tool_calls=[
                ToolCall(tool_name="sky", arguments="{}", call_id="1", message_position=1),
                ToolCall(tool_name="map", result="KeyError: x", message_position=1, is_error=True),
            ],
        )
        await run_.log_turn("Today", "Coat.")
        async with logger.trajectory(
            agent_name="child", parent_trajectory_id=run_.id, root_trajectory_id=run_.id
        ) as child:
            await child.log_turn("a", "b")
    with pytest.raises(ZeroDivisionError):
        async with logger.trajectory(agent_name="broken") as broken:
            await broken.log_turn("x", "")
            raise ZeroDivisionError


async def rows(store: TrajectoryStore) -> list[tuple[Trajectory, list[Turn]]]:
    found = [each async for each in store.trajectories()]
    return [
        (each, [turn async for turn in store.turns(TurnQuery(ids=(each.id,)))]) for each in found
    ]


@pytest.mark.parametrize("content", [False, True])
async def test_what_was_logged_is_sent_whole(backend: StorageBackend, content: bool) -> None:
    async with TrajectoryLogger(backend) as logger:
        await a_run(logger)
    exporter = Taking()
    async with TrajectoryStore(backend) as store:
        sent = await send(store, exporter, content=content, resource=RESOURCE)
        expected = [
            span
            for trajectory, turns in await rows(store)
            for span in tell(trajectory, turns, content=content, resource=dict(RESOURCE.attributes))
        ]
    assert [plain(span) for span in exporter.spans] == expected
    assert sent == Sent(trajectories=3, spans=len(expected), running=0)
    assert sorted(exporter.agents) == ["broken", "child", "parent"]
    roots = {span.name: span for span in exporter.spans if span.name.startswith("invoke_agent")}
    child, parent = roots["invoke_agent child"], roots["invoke_agent parent"]
    assert child.parent is not None
    assert child.parent == parent.get_span_context()
    assert roots["invoke_agent broken"].parent is None
    assert len(exporter.batches) == 1


async def test_it_is_what_the_export_writes() -> None:
    """Sent or imported from a file: the same spans, so both together are no more than one."""
    trajectory = full_trajectory()
    turns = [full_turn(trajectory.id)]
    exporter = Taking()
    async with stored((trajectory, turns)) as store:
        await send(store, exporter, content=True)
        await send(store, exporter, content=True)
    data, _ = written("otlp-with-content", [(trajectory, turns)])
    first, second = exporter.batches
    assert wired([plain(span) for span in first]) == list(spans_of(data))
    assert [plain(span) for span in first] == [plain(span) for span in second]


async def test_a_query_chooses_and_what_runs_is_left_out_unless_asked_for() -> None:
    conversations = [
        run(1, status="completed", agent_name="a"),
        run(2, status="running", agent_name="b"),
        run(3, status="failed", agent_name="c"),
        run(4, status=None, agent_name="d"),
    ]
    async with stored(*conversations) as store:
        exporter = Taking()
        assert await send(store, exporter) == Sent(2, 6, 2)
        assert exporter.agents == ["a", "c"]
        exporter = Taking()
        assert await send(store, exporter, TrajectoryQuery(status="running")) == Sent(1, 3, 0)
        assert exporter.agents == ["b"]
        exporter = Taking()
        assert await send(store, exporter, TrajectoryQuery(agent_name="c")) == Sent(1, 3, 0)
        assert exporter.agents == ["c"]
        exporter = Taking()
        assert await send(store, exporter, TrajectoryQuery(agent_name="x")) == Sent(0, 0, 0)
        assert exporter.calls == 0


async def test_batches_are_bounded_in_count_and_in_bytes() -> None:
    many = run(1, turns=1200, status="completed")
    async with stored(many) as store:
        exporter = Taking()
        assert await send(store, exporter) == Sent(1, 1201, 0)
    assert [len(batch) for batch in exporter.batches] == [512, 512, 177]
    trajectory = many[0]
    large = [
        Turn(
            trajectory_id=trajectory.id,
            turn_number=number,
            prompt="x" * 500_000,
            response="",
            created_at=NOON,
        )
        for number in range(8)
    ]
    async with stored((trajectory, large)) as store:
        exporter = Taking()
        await send(store, exporter, content=True)
    assert [len(batch) for batch in exporter.batches] == [4, 4, 1]


@pytest.mark.parametrize("problem", [True, ValueError("secret prompt")], ids=["says", "raises"])
async def test_a_failure_says_what_had_arrived(problem: bool | Exception) -> None:
    conversations = [run(number, turns=300, status="completed") for number in range(1, 6)]
    exporter = Taking(at=3)
    exporter.fails = problem
    async with stored(*conversations) as store:
        with pytest.raises(SendFailedError, match="Taking could not send 481 spans") as caught:
            await send(store, exporter)
        assert isinstance(caught.value, TrajectoryError)
        assert caught.value.sent == Sent(3, 1024, 0)
        assert caught.value.__cause__ is (None if problem is True else problem)
        assert "secret" not in str(caught.value)
        again = Taking()
        assert (await send(store, again)).trajectories == 5


async def test_the_loop_goes_on_while_an_exporter_waits() -> None:
    exporter = Gated()
    async with stored(run(1, status="completed")) as store:
        task = asyncio.create_task(send(store, exporter))
        await asyncio.to_thread(exporter.parked.wait, 10)
        assert not task.done()
        exporter.gate.set()
        assert (await task).trajectories == 1


async def test_a_cancelled_caller_leaves_no_thread_behind() -> None:
    exporter = Gated()
    async with stored(run(1, status="completed")) as store:
        task = asyncio.create_task(send(store, exporter))
        await asyncio.to_thread(exporter.parked.wait, 10)
        task.cancel()
        exporter.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(exporter.batches) == 1


async def test_its_own_requests_are_not_traced() -> None:
    exporter = Taking()
    async with stored(run(1, status="completed")) as store:
        await send(store, exporter)
    assert exporter.suppressed == {True}


async def test_the_resource_is_that_of_the_environment_unless_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-outside")
    exporter = InMemorySpanExporter()
    async with stored(run(1, status="completed")) as store:
        await send(store, exporter)
    [name] = {span.resource.attributes["service.name"] for span in exporter.get_finished_spans()}
    assert name == "from-outside"


async def test_the_console_exporter_prints_what_is_stored() -> None:
    trajectory = full_trajectory()
    out = io.StringIO()
    async with stored((trajectory, [full_turn(trajectory.id)])) as store:
        await send(store, ConsoleSpanExporter(out=out), content=True, resource=RESOURCE)
    assert trajectory.root_trajectory_id is not None
    assert f'"trace_id": "0x{trajectory.root_trajectory_id.hex}"' in out.getvalue()
    assert "gen_ai.evaluation.result" in out.getvalue()


async def test_many_thousands_are_sent_without_holding_them() -> None:
    count = 3000
    conversations = [run(number, turns=1, status="completed") for number in range(count)]
    exporter = Taking()
    async with stored(*conversations) as store:
        assert await send(store, exporter) == Sent(count, 2 * count, 0)
    assert max(map(len, exporter.batches)) == 512
    assert len({plain(span).span_id for span in exporter.spans}) == 2 * count


BLOCKED = """
import sys

for name in list(sys.modules):
    assert not name.startswith("opentelemetry"), name
sys.modules["opentelemetry"] = None
try:
    import trajectory.integrations.otel{module}
except ImportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("module", ["", ".live", ".metrics"])
def test_a_missing_package_is_told_by_the_name_of_its_extra(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(module=module)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("MissingDependencyError")
    assert 'pip install "trajectory-log[otel]"' in done.stdout


def test_the_exporter_of_files_needs_no_package() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from trajectory.formats import exporter; exporter('otlp')\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


async def test_fifty_at_once(backend: StorageBackend) -> None:
    async with TrajectoryLogger(backend) as logger:

        async def one(number: int) -> None:
            async with logger.trajectory(agent_name=f"a{number}") as run_:
                for _ in range(3):
                    await run_.log_turn("p", "r")

        await asyncio.gather(*map(one, range(50)))
    exporter = Taking()
    async with TrajectoryStore(backend) as store:
        assert await send(store, exporter) == Sent(50, 200, 0)
    assert sorted(exporter.agents) == sorted(f"a{number}" for number in range(50))
