"""The running trajectory in threads and child processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from trajectory import (
    LoggerSettings,
    SyncTrajectoryLogger,
    Trajectory,
    TrajectoryLogger,
    TrajectoryQuery,
    carry,
    child_environment,
    current,
    inherited,
    open_backend,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.carrying import PARENT_VARIABLE

CHILD = """
import sys
from trajectory import SyncTrajectoryLogger, inherited

logger = SyncTrajectoryLogger(sys.argv[1])

@logger.observe(agent_name="observed")
def work(): ...

with logger:
    with logger.trajectory(agent_name="child", **inherited()) as run:
        run.log_turn("p", "r")
    work()
"""


async def test_a_function_carries_the_context_of_its_making() -> None:
    async with TrajectoryLogger(MemoryBackend()) as logger:
        async with logger.trajectory() as run:

            def running() -> object:
                """Say which."""
                return current()

            carried = carry(running)
            assert (carried.__name__, carried.__doc__) == ("running", "Say which.")
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(None, carried) is run
            assert await asyncio.to_thread(running) is run
            assert await loop.run_in_executor(None, running) is None
        assert carried() is run
        assert current() is None


def test_many_threads_carry_at_once() -> None:
    both = threading.Barrier(4)

    def wait(number: int) -> tuple[int, object]:
        both.wait(timeout=30)
        return number, current()

    with SyncTrajectoryLogger(MemoryBackend()) as logger, logger.trajectory() as run:
        with ThreadPoolExecutor(4) as pool:
            seen = list(pool.map(carry(wait), range(4)))
        assert [number for number, _ in seen] == [0, 1, 2, 3]
        assert {getattr(found, "id", None) for _, found in seen} == {run.id}
    assert current() is None


async def test_a_child_process_is_told_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with TrajectoryLogger(path) as logger:
        async with (
            logger.trajectory(agent_name="outer") as outer,
            logger.trajectory(agent_name="parent", **outer.as_parent()),
        ):
            parent = current()
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-c", CHILD, str(path)),
                env={**os.environ, **child_environment()},
            )
            assert await child.wait() == 0
        await logger.flush()
        found: list[Trajectory] = [
            t async for t in logger.backend.read_trajectories(TrajectoryQuery())
        ]
    assert parent is not None
    by_name = {t.agent_name: t for t in found}
    assert by_name["parent"].parent_trajectory_id == outer.id
    for name in ("child", "observed"):
        assert by_name[name].parent_trajectory_id == parent.id
        assert by_name[name].root_trajectory_id == outer.id


def test_where_nothing_runs_nothing_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PARENT_VARIABLE, raising=False)
    assert (inherited(), child_environment()) == ({}, {})
    for odd in (
        "",
        "/",
        "x/y",
        f"{uuid4()}",
        f"{uuid4()}/x",
        "9" * 10_000,
        f"{uuid4()}/{uuid4()}/x",
    ):
        monkeypatch.setenv(PARENT_VARIABLE, odd)
        assert inherited() == {}
    parent, root = uuid4(), uuid4()
    monkeypatch.setenv(PARENT_VARIABLE, f"{parent}/{root}")
    assert inherited() == {"parent_trajectory_id": parent, "root_trajectory_id": root}
    assert LoggerSettings() == LoggerSettings(buffer_size=10)  # it is no setting


async def test_what_runs_here_goes_before_the_parent_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(PARENT_VARIABLE, f"{uuid4()}/{uuid4()}")
    async with TrajectoryLogger(MemoryBackend()) as logger, logger.trajectory() as run:
        assert inherited() == run.as_parent()


def test_a_forked_child_starts_a_child(tmp_path: Path) -> None:
    """The context is inherited by a fork, the run is not."""
    path = tmp_path / "t.db"
    program = f"""
import asyncio, multiprocessing, sys
from trajectory import SyncTrajectoryLogger, current

logger = SyncTrajectoryLogger({str(path)!r})

@logger.observe(agent_name="forked")
def work(): ...

with logger, logger.trajectory(agent_name="parent") as run, run.turn("p"):
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

    async def read() -> list[Trajectory]:
        backend = open_backend(path)
        await backend.open()
        try:
            return [t async for t in backend.read_trajectories(TrajectoryQuery())]
        finally:
            await backend.close()

    by_name = {t.agent_name: t for t in asyncio.run(read())}
    assert by_name["forked"].parent_trajectory_id == by_name["parent"].id
