"""Whatever is wrong with us, the program ends as it would without us."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import agents
import pytest
from integrations.openai_agents.telling import stored
from integrations.troubles import TROUBLES, troubled

from benchmarks.scripted.openai_agents import (
    ANSWERS,
    Wire,
    attached,
    conversation,
    model_on,
    team,
)
from trajectory import LoggerSettings, TrajectoryLogger
from trajectory.integrations.openai_agents import TrajectoryProcessor, live

ROOT = Path(__file__).parents[3]
CANARY = "CANARY-7f3a"


@pytest.mark.parametrize("kind", TROUBLES)
async def test_the_program_ends_the_same(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with troubled(kind, tmp_path, monkeypatch) as trouble:
        with attached(trouble.logger):
            for _ in range(3):
                assert await conversation(team(model_on(Wire.RESPONSES))) == list(ANSWERS)
    statistics = trouble.statistics
    assert statistics is not None
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    # 3 conversations, 5 turns each: stored once all is well again, or counted, and told once.
    assert trouble.turns == 15 or (statistics.dropped + len(warnings) > 0)
    assert len([text for text in warnings if "integration" in text]) <= 3
    assert not any("order 7" in text for text in warnings)


async def test_a_closed_logger_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    logger = TrajectoryLogger("memory://")
    await logger.open()
    await logger.aclose()
    with attached(logger):
        for _ in range(2):
            assert await conversation(team(model_on(Wire.RESPONSES))) == list(ANSWERS)
    told = [
        record.getMessage() for record in caplog.records if record.name.startswith("trajectory")
    ]
    assert len(told) == 1
    assert "LoggerClosedError" in told[0]


async def test_a_mistake_of_ours_is_one_warning_without_content(
    memory: TrajectoryLogger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_given: Any) -> Any:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(live, "tail_of", broken)
    with attached(memory):
        for _ in range(2):
            assert await conversation(team(model_on(Wire.RESPONSES))) == list(ANSWERS)
    told = [
        record.getMessage() for record in caplog.records if record.name.startswith("trajectory")
    ]
    assert len(told) == 1
    assert "RuntimeError" in told[0]
    assert CANARY not in told[0]
    await memory.flush()
    assert len(await stored(memory.backend)) == 6  # their turns lack what was in those spans


async def test_a_full_buffer_drops_and_counts() -> None:
    settings = LoggerSettings(buffer_size=1, channel_capacity=1, overflow="drop_newest")
    async with TrajectoryLogger("memory://", settings) as logger:
        with attached(logger):
            assert await conversation(team(model_on(Wire.RESPONSES))) == list(ANSWERS)
        report = await logger.flush()
        assert report.stored + logger.statistics().dropped == 5


PROGRAM = """
import asyncio, sys
from agents import Agent, Runner, set_trace_processors
from benchmarks.scripted.openai_agents import Reply, Wire, model_on
from trajectory import TrajectoryLogger
from trajectory.integrations.openai_agents import TrajectoryProcessor

async def main():
    agent = Agent(name="a", model=model_on(Wire.RESPONSES, lambda *_: Reply("ho")))
    logger = await TrajectoryLogger("t.db").open()
    set_trace_processors([TrajectoryProcessor(logger)])
    print((await Runner.run(agent, "hi")).final_output)
    {end}

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("await logger.aclose()", 0), ("pass", 0), ("sys.exit(3)", 3), ("raise KeyError(1)", 1)],
    ids=["closed", "left open", "exit", "error"],
)
def test_exit_codes_stay(end: str, code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{end}", end)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "ho\n"), done.stderr


MISSING = """
import sys
sys.modules["agents"] = None
import trajectory
try:
    import trajectory.integrations.openai_agents
except trajectory.TrajectoryError as error:
    assert isinstance(error, ImportError)
    print(error)
"""


def test_without_the_package_the_extra_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MISSING],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert 'pip install "trajectory-log[openai-agents]"' in done.stdout


def test_the_package_is_not_loaded_unasked() -> None:
    code = "import sys, trajectory, trajectory.integrations; print('agents' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "False\n"


async def test_our_processor_may_stand_beside_others(memory: TrajectoryLogger) -> None:
    class Broken(agents.tracing.TracingProcessor):
        def on_trace_start(self, trace: Any) -> None:
            raise RuntimeError

        def on_trace_end(self, trace: Any) -> None:
            raise RuntimeError

        def on_span_start(self, span: Any) -> None:
            raise RuntimeError

        def on_span_end(self, span: Any) -> None:
            raise RuntimeError

        def shutdown(self) -> None: ...

        def force_flush(self) -> None: ...

    agents.set_trace_processors([Broken(), TrajectoryProcessor(memory)])
    assert await conversation(team(model_on(Wire.RESPONSES))) == list(ANSWERS)
    await memory.flush()
    assert len(await stored(memory.backend)) == 3
