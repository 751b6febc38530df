"""The pytest plugin, as the test runs of others see it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trajectory import Trajectory, TrajectoryStore, Turn

ROOT = Path(__file__).parents[3]
NAME = "_trajectory_pytest"
PLUGINS = ("pytest_asyncio.plugin", "anyio.pytest_plugin", "xdist.plugin", NAME)

ASYNC = """
import asyncio
import pytest
from trajectory import SyncTrajectoryLogger, TrajectoryLogger, current_turn


async def agent(logger, question):
    async with logger.trajectory(agent_name="tested") as run:
        async with run.turn(question) as turn:
            turn.message("assistant", question.upper())
        return turn.response
"""


def run(folder: Path, program: str, *options: str, expect: int = 0, mode: str = "auto") -> str:
    """Run pytest on a program, with warnings as errors, and give what it prints."""
    (folder / "test_it.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-W", "error", "-q", "--rootdir", str(folder)),
            *(part for plugin in PLUGINS for part in ("-p", plugin)),
            *("-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function"),
            *(*options, "test_it.py"),
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


def recorded(url: str | Path) -> dict[str, tuple[Trajectory, list[Turn]]]:
    """Read what is recorded, by the test that it belongs to."""

    async def read() -> dict[str, tuple[Trajectory, list[Turn]]]:
        async with TrajectoryStore(url) as store:
            found = [trajectory async for trajectory in store.trajectories()]
            return {
                str(t.metadata.get("pytest.test")).rpartition("::")[2]: (
                    t,
                    [turn async for turn in store.turns() if turn.trajectory_id == t.id],
                )
                for t in found
            }

    return asyncio.run(read())


@pytest.mark.parametrize("how", ["asyncio-strict", "asyncio-auto", "anyio"])
def test_an_async_test_has_a_logger_in_memory(how: str, tmp_path: Path) -> None:
    mark = {"asyncio-strict": "@pytest.mark.asyncio", "anyio": "@pytest.mark.anyio"}.get(how, "")
    backend = "@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n" if how == "anyio" else ""
    program = f"""{ASYNC}
{backend}
{mark}
async def test_agent(trajectory_logger):
    assert isinstance(trajectory_logger, TrajectoryLogger)
    assert await agent(trajectory_logger, "who?") == "WHO?"
    (turn,) = await trajectory_logger.turns()
    assert (turn.prompt, turn.response) == ("who?", "WHO?")
    (trajectory,) = await trajectory_logger.trajectories()
    assert (trajectory.agent_name, trajectory.status) == ("tested", "completed")

{mark}
async def test_each_has_its_own(trajectory_logger):
    assert await trajectory_logger.turns() == []

{mark}
async def test_it_may_be_opened_and_closed(trajectory_logger):
    async with trajectory_logger as logger:
        await agent(logger, "a")
    assert len(await logger.turns()) == 1

{mark}
async def test_it_may_be_left_open_with_turns(trajectory_logger):
    await agent(trajectory_logger, "a")

{mark}
async def test_it_observes(trajectory_logger):
    @trajectory_logger.observe
    async def ask(question):
        return question

    assert await ask("q") == "q"
    assert [turn.response for turn in await trajectory_logger.turns()] == ["q"]

def test_it_may_be_unused(trajectory_logger):
    pass

def test_it_may_run_in_a_loop_of_the_test(trajectory_logger):
    assert asyncio.run(agent(trajectory_logger, "a")) == "A"
"""
    out = run(tmp_path, program, mode="auto" if how == "asyncio-auto" else "strict")
    assert "7 passed" in out


def test_a_test_without_a_loop_has_a_logger_in_memory(tmp_path: Path) -> None:
    program = f"""{ASYNC}
def test_agent(sync_trajectory_logger):
    assert isinstance(sync_trajectory_logger, SyncTrajectoryLogger)

    @sync_trajectory_logger.observe
    def ask(question):
        return question

    ask("first")
    with sync_trajectory_logger.trajectory() as run:
        run.log_turn("second", "r")
    assert [turn.prompt for turn in sync_trajectory_logger.turns()] == ["first", "second"]
    assert len(sync_trajectory_logger.trajectories()) == 2
"""
    assert "1 passed" in run(tmp_path, program)


OUTCOMES = f"""{ASYNC}
@pytest.fixture
def broken():
    yield
    raise OSError("secret text")

async def test_passes(trajectory_logger):
    await agent(trajectory_logger, "a")
    async with trajectory_logger.trajectory(
        spec_id="S-1", agent_name="second", metadata={{"a": 1}}
    ) as run:
        await run.log_turn("b", "B")
        await run.end("failed", reward=0.3, error="the agent's own")

async def test_fails(trajectory_logger):
    await agent(trajectory_logger, "a")
    assert False, "secret text"

async def test_raises(trajectory_logger):
    async with trajectory_logger.trajectory() as run:
        async with run.turn("a"):
            raise LookupError("secret text")

async def test_skips(trajectory_logger):
    await agent(trajectory_logger, "a")
    pytest.skip("secret text")

@pytest.mark.xfail
async def test_expected_to_fail(trajectory_logger):
    await agent(trajectory_logger, "a")
    raise KeyError("secret text")

async def test_fails_afterwards(broken, trajectory_logger):
    await agent(trajectory_logger, "a")

async def test_leaves_it_running(trajectory_logger):
    run = await trajectory_logger.start_trajectory()
    await run.log_turn("a", "A")

def test_without_a_loop(sync_trajectory_logger):
    with sync_trajectory_logger.trajectory() as run:
        run.log_turn("a", "A")

@pytest.mark.parametrize("text", ["x" * 2000, "\\x1b[31m"])
async def test_odd(text, trajectory_logger):
    await agent(trajectory_logger, text)

def test_uses_none():
    pass
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_runs_are_recorded_with_the_outcome(workers: int, tmp_path: Path) -> None:
    options = ("-n", str(workers)) if workers else ()
    out = run(tmp_path, OUTCOMES, "--trajectory-db", "found.db", *options, expect=1)
    assert "recording failed" not in out
    assert "trajectory: 11 trajectories recorded" in out
    assert not list((tmp_path / "found.db.turns").glob("*/*.dead"))

    async def read() -> tuple[list[Trajectory], int]:
        async with TrajectoryStore(tmp_path / "found.db") as store:
            return (
                [t async for t in store.trajectories()],
                len([turn async for turn in store.turns()]),
            )

    found, turns = asyncio.run(read())
    assert turns == 11
    ends = sorted(
        (name(t), str(t.status), t.error or "", t.reward) for t in found if t.spec_id != "S-1"
    )
    assert ends == sorted(
        [
            ("test_passes", "completed", "", 1.0),
            ("test_fails", "failed", "AssertionError", 0.0),
            ("test_raises", "failed", "LookupError", 0.0),
            ("test_skips", "cancelled", "Skipped", None),
            ("test_expected_to_fail", "failed", "KeyError", 0.0),
            ("test_fails_afterwards", "failed", "OSError", 0.0),
            ("test_leaves_it_running", "completed", "", 1.0),
            ("test_without_a_loop", "completed", "", 1.0),
            ("test_odd", "completed", "", 1.0),
            ("test_odd", "completed", "", 1.0),
        ]
    )
    assert all(t.ended_at is not None for t in found)
    assert all(
        t.spec_id is not None and t.spec_id.startswith("test_it.py::test_")
        for t in found
        if t.spec_id != "S-1"
    )
    (own,) = (t for t in found if t.spec_id == "S-1")
    assert own.metadata == {"a": 1, "pytest.test": "test_it.py::test_passes"}
    assert (own.agent_name, own.status, own.reward, own.error) == ("second", "completed", 1.0, None)


def name(trajectory: Trajectory) -> str:
    test = str(trajectory.metadata["pytest.test"])
    return test.rpartition("::")[2].partition("[")[0]


def test_the_first_failure_may_stop_the_session(tmp_path: Path) -> None:
    out = run(tmp_path, OUTCOMES, "--trajectory-db", "found.db", "-x", expect=1)
    assert "trajectory: 3 trajectories recorded" in out
    found = recorded(tmp_path / "found.db")
    assert {test: t.status for test, (t, _) in found.items()} == {
        "test_passes": "completed",
        "test_fails": "failed",
    }


def test_an_interrupt_cancels(tmp_path: Path) -> None:
    program = f"""{ASYNC}
def test_stops(sync_trajectory_logger):
    with sync_trajectory_logger.trajectory() as run:
        run.log_turn("a", "A")
    raise KeyboardInterrupt
"""
    run(tmp_path, program, "--trajectory-db", "found.db", expect=2)
    ((trajectory, turns),) = recorded(tmp_path / "found.db").values()
    assert (trajectory.status, trajectory.reward, len(turns)) == ("cancelled", None, 1)


def test_a_crash_leaves_what_was_recorded(tmp_path: Path) -> None:
    program = f"""{ASYNC}
import os

def test_fine(sync_trajectory_logger):
    with sync_trajectory_logger.trajectory() as run:
        run.log_turn("a", "A")

def test_crashes(sync_trajectory_logger, request):
    with sync_trajectory_logger.trajectory() as run:
        run.log_turn("a", "A")
        sync_trajectory_logger.flush()
        request.config.pluginmanager.get_plugin("trajectory-recorder").flush()
        os._exit(3)

def test_goes_on(sync_trajectory_logger):
    with sync_trajectory_logger.trajectory() as run:
        run.log_turn("a", "A")
"""
    run(tmp_path, program, "--trajectory-db", "found.db", "-n", "1", expect=1)
    found = recorded(tmp_path / "found.db")
    rows = {t.spec_id: (t.status, t.reward, len(turns)) for t, turns in found.values()}
    assert rows == {
        "test_it.py::test_fine": ("completed", 1.0, 1),
        "test_it.py::test_crashes": ("running", None, 1),
        "test_it.py::test_goes_on": ("completed", 1.0, 1),
    }


def test_a_server_takes_them_too(postgres_url: str, tmp_path: Path) -> None:
    out = run(tmp_path, OUTCOMES, "--trajectory-db", postgres_url, "-n", "2", expect=1)
    assert "recording failed" not in out
    found = recorded(postgres_url)
    assert found["test_fails"][0].status == "failed"
    assert len(found["test_passes"][1]) == 1


PASSING = f"""{ASYNC}
def test_passes(sync_trajectory_logger):
    with sync_trajectory_logger.trajectory() as run:
        run.log_turn("a", "A")
    assert len(sync_trajectory_logger.turns()) == 1
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_recorded_fails_no_test(workers: int, tmp_path: Path) -> None:
    options = ("-n", str(workers)) if workers else ()
    (tmp_path / "no.db").write_text("this is no database " * 100, encoding="utf-8")
    out = run(tmp_path, PASSING, "--trajectory-db", "no.db", *options)
    assert "1 passed" in out
    assert "trajectory: recording failed: " in out
    assert " recorded" not in out


def test_a_wrong_url_is_wrong_use(tmp_path: Path) -> None:
    run(tmp_path, PASSING, "--trajectory-db", "nonsense://u:hidden@h/db", expect=4)


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    url = "postgresql://u:hidden@127.0.0.1:1/db"
    assert "hidden" not in run(tmp_path, PASSING, "--trajectory-db", url)


def test_who_does_not_use_it_loads_nothing(tmp_path: Path) -> None:
    program = """
import sys

def test_loads_nothing():
    loaded = [n for n in ("trajectory", "pydantic", "sqlalchemy") if n in sys.modules]
    assert loaded == []
"""
    assert "1 passed" in run(tmp_path, program)
    program = """
import sys

def test_loads_no_database(sync_trajectory_logger):
    assert "sqlalchemy" not in sys.modules
"""
    assert "1 passed" in run(tmp_path, program)
    check = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport _trajectory_pytest\nimport json\n"
        "print(json.dumps(sorted(set(sys.modules) - before - {'json', 'json.decoder', "
        "'json.scanner', 'json.encoder', '_json'})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [NAME]


def test_a_place_for_no_file_is_wrong_use(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "none" / "w.db"):
        run(tmp_path, PASSING, "--trajectory-db", str(wrong), expect=4)


def test_a_test_without_a_loop_is_told_of_its_fixture(tmp_path: Path) -> None:
    program = """
def test_it(trajectory_logger):
    with trajectory_logger.trajectory():
        pass
"""
    assert "takes the fixture sync_trajectory_logger" in run(tmp_path, program, expect=1)
