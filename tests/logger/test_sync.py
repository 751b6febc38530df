"""The logger for programs without an event loop."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from trajectory import (
    BackendError,
    ConfigurationError,
    LoggerClosedError,
    Question,
    SyncTrajectoryLogger,
    Trajectory,
    TrajectoryError,
    TrajectoryQuery,
    Turn,
    TurnQuery,
    Violation,
    WriteFailedError,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.testing import FailingBackend


def turns(backend: MemoryBackend) -> list[Turn]:
    async def read() -> list[Turn]:
        return [turn async for turn in backend.read_turns(TurnQuery())]

    return asyncio.run(read())


def statuses(backend: MemoryBackend) -> list[str | None]:
    async def read() -> list[str | None]:
        return [t.status async for t in backend.read_trajectories(TrajectoryQuery())]

    return asyncio.run(read())


def test_the_whole_way_without_await() -> None:
    backend = MemoryBackend()
    with SyncTrajectoryLogger(backend) as logger:
        with logger.trajectory(run_id="r") as run:
            turn = run.log_turn("p", "r", token_count=3)
            run.log_question(1, Question(question_text="q", effort_level="low"))
            run.log_violation(1, Violation(preference_name="tone", severity="minor"))
        logger.log_turn(Turn(trajectory_id=uuid4(), turn_number=0, prompt="p", response="r"))
        logger.log_trajectory(Trajectory(id=run.id, reward=1.0, status=None))
        assert logger.flush() == (2, 0, 0)
        assert logger.resume_trajectory(run.id).log_turn("p", "r").turn_number == 2
        other = logger.start_trajectory()
        other.end("cancelled")
        assert logger.statistics().accepted == 3
        assert logger.backend is backend
    assert logger.close() == (3, 0, 0)
    assert len(turns(backend)) == 3
    assert turn.key in {stored.key for stored in turns(backend)}
    assert sorted(map(str, statuses(backend))) == ["None", "cancelled", "completed"]


def test_many_threads_log_at_once() -> None:
    backend = MemoryBackend()
    with SyncTrajectoryLogger(backend) as logger, ThreadPoolExecutor(8) as pool:

        def work(_index: int) -> None:
            with logger.trajectory() as run:
                for _ in range(20):
                    run.log_turn("p", "r")

        list(pool.map(work, range(8)))
    assert len(turns(backend)) == 160


def test_a_failing_block_is_recorded_and_goes_on() -> None:
    backend = MemoryBackend()
    with SyncTrajectoryLogger(backend) as logger:
        with pytest.raises(ZeroDivisionError), logger.trajectory():
            _ = 1 / 0
    assert statuses(backend) == ["failed"]


@pytest.mark.parametrize("call", [lambda x: x.flush(), lambda x: x.start_trajectory()])
def test_not_open_and_closed_are_clear_errors(
    call: Callable[[SyncTrajectoryLogger], object],
) -> None:
    logger = SyncTrajectoryLogger(MemoryBackend())
    assert logger.close() == (0, 0, 0)
    with pytest.raises(LoggerClosedError, match="not open"):
        call(logger)
    with logger:
        pass
    with pytest.raises(LoggerClosedError, match="is closed; nothing was accepted"):
        call(logger)
    with pytest.raises(TrajectoryError, match="opened already"):
        logger.open()


def test_a_failing_open_leaves_no_thread() -> None:
    class Refuses(MemoryBackend):
        async def open(self) -> None:
            raise ConfigurationError("no such folder")

    before = threading.active_count()
    with pytest.raises(ConfigurationError), SyncTrajectoryLogger(Refuses()):
        pass
    assert threading.active_count() == before


def test_forgotten_it_warns_and_stores_what_it_accepted() -> None:
    backend = MemoryBackend()
    logger = SyncTrajectoryLogger(backend).open()
    thread = logger._thread
    with logger.trajectory() as run:
        run.log_turn("p", "r")
    del run
    with pytest.warns(ResourceWarning, match=r"call `close\(\)`"):
        del logger
        gc.collect()
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    assert len(turns(backend)) == 1


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "1 / 0"])
def test_left_open_it_is_closed_when_the_program_ends(tmp_path: Path, end: str) -> None:
    """Invariant: acknowledged 25, stored 25, with the program's own exit code."""
    program = f"""
from trajectory import SyncTrajectoryLogger
logger = SyncTrajectoryLogger("t.db").open()
run = logger.start_trajectory()
for _ in range(25):
    run.log_turn("p", "r")
{end}
"""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", program],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == {"": 0, "raise SystemExit(3)": 3, "1 / 0": 1}[end], done.stderr
    assert "unclosed" in done.stderr
    connection = sqlite3.connect(tmp_path / "t.db")
    assert connection.execute("SELECT count(*) FROM trajectory_turns").fetchone() == (25,)
    connection.close()


@pytest.mark.parametrize("_round", range(20))
def test_closing_leaves_no_thread_waiting(_round: int) -> None:
    """Invariant: a call that another thread's close meets raises, or has been accepted."""
    backend = MemoryBackend()
    logger = SyncTrajectoryLogger(backend).open()
    returned = []
    refused = threading.Barrier(7)

    def work() -> None:
        while True:
            try:
                logger.log_turn(
                    Turn(trajectory_id=uuid4(), turn_number=1, prompt="p", response="r")
                )
                returned.append(1)
            except LoggerClosedError:
                refused.wait(20)
                return

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    while len(returned) < 20:
        threading.Event().wait(0.001)
    logger.close()
    refused.wait(20)  # all six have been told
    for thread in threads:
        thread.join()
    assert len(backend._turns) >= len(returned)


def test_closing_after_a_failure_is_safe_twice() -> None:
    logger = SyncTrajectoryLogger(FailingBackend(BackendError("broken"))).open()
    logger.log_turn(Turn(trajectory_id=uuid4(), turn_number=1, prompt="p", response="r"))
    with pytest.raises(WriteFailedError):
        logger.close()
    assert logger.close() == (0, 0, 1)
    refused = SyncTrajectoryLogger("/nowhere/at/all/t.db")
    with pytest.raises(ConfigurationError):
        refused.open()
    assert refused.close() == (0, 0, 0)


def test_forgotten_in_a_function_it_stores_all_before_the_program_ends(tmp_path: Path) -> None:
    program = """
from trajectory import SyncTrajectoryLogger
def main():
    logger = SyncTrajectoryLogger("t.db").open()
    run = logger.start_trajectory()
    for _ in range(50):
        run.log_turn("p", "r")
main()
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, timeout=30)
    connection = sqlite3.connect(tmp_path / "t.db")
    assert connection.execute("SELECT count(*) FROM trajectory_turns").fetchone() == (50,)
    connection.close()


def test_what_is_offered_to_a_closed_logger_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with SyncTrajectoryLogger(MemoryBackend()) as logger:
        pass
    logger.observe(lambda: "a")()
    assert "the logger is closed; nothing was accepted" in caplog.text
