"""With the database away, the disk full and the journal refused the program goes on as without us.

And without the SDK it is told which extra to install.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeSDKClient
from integrations.troubles import TROUBLES, troubled

from benchmarks.scripted import claude_agent_sdk as scripted
from benchmarks.scripted.claude_agent_sdk import ANSWERS, ScriptedCli, options, session
from trajectory import TrajectoryLogger
from trajectory.guard import Guard
from trajectory.integrations.claude_agent_sdk import RecordedClient, client, recording

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("kind", TROUBLES)
async def test_the_program_ends_as_without_us(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs = 5
    async with troubled(kind, tmp_path, monkeypatch) as trouble:
        with scripted.attached(trouble.logger):
            assert await scripted.program(runs) == [list(ANSWERS)] * runs
    assert trouble.statistics is not None
    if kind == "away":  # all of it lay in the journal
        assert (trouble.stored, trouble.turns) == (2 * runs, 4 * runs)
    else:
        told = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
        assert len(told) == 1
        assert "JournalError" in told[0]


class Broken:
    """A logger that is no logger."""

    def offer(self, _value: Any) -> None:
        raise ZeroDivisionError("the prompt: secret")


async def test_what_fails_here_is_one_warning_a_kind_and_no_prompt(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = Guard("the Claude Agent SDK integration")
    for module in (client, recording):
        monkeypatch.setattr(module, "GUARD", guard)
    for _ in range(3):
        made = RecordedClient(options(), ScriptedCli(), logger=Broken())
        assert await session(made) == list(ANSWERS)
    places = [each.getMessage() for each in caplog.records]
    assert places
    assert len(set(places)) == len(places)
    assert not any("secret" in each for each in places)


async def test_ctrl_c_goes_through(memory: TrajectoryLogger) -> None:
    class Interrupts:
        def offer(self, _value: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await RecordedClient(options(), ScriptedCli(), logger=Interrupts()).connect()


async def test_no_step_holds_the_loop_for_long(memory: TrajectoryLogger) -> None:
    """Beside our client another task gets its turn as often as beside theirs."""

    async def steps(make: Any) -> int:
        count = 0

        async def counts() -> None:
            nonlocal count
            while True:
                count += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(counts())
        await session(make(options(), ScriptedCli()))
        task.cancel()
        return count

    theirs = await steps(ClaudeSDKClient)
    ours = await steps(lambda *given: RecordedClient(*given, logger=memory))
    assert ours >= theirs


def test_without_the_sdk_the_extra_is_named() -> None:
    program = (
        "import sys\n"
        "sys.modules['claude_agent_sdk'] = None\n"
        "from trajectory import MissingDependencyError\n"
        "try:\n"
        "    import trajectory.integrations.claude_agent_sdk\n"
        "except MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 'pip install "trajectory-log[claude-agent-sdk]"' in done.stdout
