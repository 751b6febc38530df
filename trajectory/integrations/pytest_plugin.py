"""What the pytest plugin does where it is used: loggers for tests, and a record of their runs.

`_trajectory_pytest` beside the package is what pytest loads; it loads this late.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn
from uuid import UUID

import pytest

from trajectory.backend import Batch, StorageBackend
from trajectory.backends import open_backend
from trajectory.backends.memory import MemoryBackend
from trajectory.errors import ConfigurationError, TrajectoryError, in_words
from trajectory.guard import Guard
from trajectory.logger import TrajectoryLogger
from trajectory.models import Trajectory, TrajectoryEnd, TrajectoryStatus, Turn
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.run import RunContext
from trajectory.settings import LoggerSettings, OnFailure
from trajectory.sync import SyncTrajectoryLogger
from trajectory.words import counted

TEST_KEY = "pytest.test"
"""The key in a trajectory's metadata that names the test."""

_MAX_SPEC_BYTES = 1024
_RECORDER = "trajectory-recorder"
_COUNT, _PROBLEM = "trajectory_count", "trajectory_problem"
_outcome: pytest.StashKey[tuple[TrajectoryStatus, str | None]] = pytest.StashKey()
_over: pytest.StashKey[bool] = pytest.StashKey()
_told: pytest.StashKey[dict[UUID, Told]] = pytest.StashKey()


class MemoryLogger(TrajectoryLogger):
    """A `TrajectoryLogger` for one async test: it opens at its first use, on the test's loop."""

    def __init__(self, backend: MemoryBackend) -> None:
        super().__init__(backend, LoggerSettings(durability="queued"))
        self._life.forked = True  # as in a child: the next call opens it

    def trajectory(self, **fields: Any) -> RunContext:
        """Start a trajectory; see `TrajectoryLogger.trajectory`."""
        return _AsyncOnly(self, Trajectory(**fields))

    async def trajectories(self) -> list[Trajectory]:
        """Give the trajectories that were logged by now."""
        await self._settle()
        return [t async for t in self.backend.read_trajectories(TrajectoryQuery())]

    async def turns(self) -> list[Turn]:
        """Give the turns that were logged by now."""
        await self._settle()
        return [turn async for turn in self.backend.read_turns(TurnQuery())]

    async def _settle(self) -> None:
        if not self._life.closed:
            await self.flush()

    def leave(self) -> None:
        """Close it after the test; a loop that has ended has stored all."""
        life = self._life
        if life.loop is None or life.closed:
            return
        if life.loop.is_closed() or life.loop.is_running():
            life.closed = True
        else:
            life.loop.run_until_complete(self.aclose())


class _AsyncOnly(RunContext):
    """Says what a test without an event loop takes instead."""

    def __enter__(self) -> NoReturn:
        raise TrajectoryError(
            "trajectory_logger is for async tests (`async with`); a test without an event loop "
            "takes the fixture sync_trajectory_logger"
        )

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Never get here: Python asks for it before it enters."""


class SyncMemoryLogger(SyncTrajectoryLogger):
    """A `SyncTrajectoryLogger` for one test."""

    def __init__(self, backend: MemoryBackend) -> None:
        super().__init__(backend, LoggerSettings(durability="queued"))

    def trajectories(self) -> list[Trajectory]:
        """Give the trajectories that were logged by now."""
        return self._wait(self._trajectories())

    def turns(self) -> list[Turn]:
        """Give the turns that were logged by now."""
        return self._wait(self._turns())

    async def _trajectories(self) -> list[Trajectory]:
        await self._logger.flush()
        return [t async for t in self.backend.read_trajectories(TrajectoryQuery())]

    async def _turns(self) -> list[Turn]:
        await self._logger.flush()
        return [turn async for turn in self.backend.read_turns(TurnQuery())]


def backend_for(item: pytest.Item, config: pytest.Config) -> MemoryBackend:
    """Give the backend for a test's logger; a recorder hears what comes to it."""
    recorder: Recorder | None = config.pluginmanager.get_plugin(_RECORDER)
    return MemoryBackend() if recorder is None else HeardBackend(recorder, item)


class HeardBackend(MemoryBackend):
    """Tells the recorder what is written into it."""

    def __init__(self, recorder: Recorder, item: pytest.Item) -> None:
        super().__init__()
        self._recorder = recorder
        self._item = item

    async def write(self, batch: Batch, /) -> None:
        """Store a batch, and tell of it."""
        await super().write(batch)
        self._recorder.hear(batch, self._item)


class Told:
    """What the database was told of one trajectory of a test."""

    def __init__(self, id: UUID, test: str) -> None:  # noqa: A002
        self._id = id
        self._test = test
        self._spec_id: str | None = None
        self._metadata: dict[str, Any] = {}

    def start(self, start: Trajectory | None) -> Trajectory:
        """Give a start as it is recorded: with the test for its spec, where it has none."""
        if start is None:
            start = Trajectory(id=self._id)
        if self._spec_id is None:
            self._spec_id = start.spec_id or _cut(self._test)
        # None yet, and a later start may bring some; what there is takes the test along.
        if start.metadata:
            self._metadata = self._metadata or {**start.metadata, TEST_KEY: self._test}
        return start.replace(
            spec_id=self._spec_id,
            metadata=self._metadata,
            status=TrajectoryStatus.RUNNING,
            error=None,
            reward=None,
            ended_at=None,
        )

    def last(self, status: TrajectoryStatus, error: str | None) -> tuple[Trajectory, TrajectoryEnd]:
        """Give what is recorded when the test is over."""
        rewards = {TrajectoryStatus.COMPLETED: 1.0, TrajectoryStatus.FAILED: 0.0}
        self._metadata = self._metadata or {TEST_KEY: self._test}
        end = TrajectoryEnd(
            trajectory_id=self._id, status=status, error=error, reward=rewards.get(status)
        )
        return self.start(None), end


class Recorder:
    """Records the runs of a session's tests, in the process where the tests run.

    A failure to record is told at the end of the session, and fails no test.
    """

    def __init__(self, url: str, config: pytest.Config) -> None:
        self._url = url
        self._config = config
        self._guard = Guard("recording the tests' trajectories")
        self._logger: SyncTrajectoryLogger | None = None
        self._count = 0
        self._problems: list[str] = []
        try:
            _check_file(open_backend(url))  # which connects to nothing yet
        except TrajectoryError as error:
            raise pytest.UsageError(f"--trajectory-db: {error}") from error

    def hear(self, batch: Batch, item: pytest.Item) -> None:
        """Record what a test has logged."""
        with self._guard:
            told = item.stash.setdefault(_told, {})
            for start in batch.starts:
                self._start(told, start.id, start, item)
            for turn in batch.turns:
                self._start(told, turn.trajectory_id, None, item)
                self._offer(turn)
            for fact in batch.facts:
                self._offer(fact)
            if _over in item.stash:  # a session that is stopped closes its fixtures late
                self._end(item)

    def _start(
        self, told: dict[UUID, Told], id_: UUID, start: Trajectory | None, item: pytest.Item
    ) -> None:
        known = told.get(id_)
        if known is None:
            known = told[id_] = Told(id_, item.nodeid)
            self._offer(known.start(start))
            self._count += self._logger is not None
        elif start is not None:
            self._offer(known.start(start))

    def _offer(self, value: Any) -> None:
        if self._logger is None and not self._problems:
            logger = SyncTrajectoryLogger(self._url, LoggerSettings(on_failure=OnFailure.WARN))
            try:
                self._logger = logger.open()
            except Exception as error:  # noqa: BLE001 - told at the end
                self._problems.append(in_words(error))
        if self._logger is not None:
            self._logger.offer(value)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note how a test ended: its last part that says so counts."""
        report = yield
        with self._guard:
            # That a test was set up, or taken down, is no outcome of it: it may be stopped between.
            if report.when == "call" or not report.passed:
                item.stash[_outcome] = _outcome_of(report, call)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """End the trajectories of a test when it is over, with its fixtures."""
        try:
            return (yield)
        finally:
            with self._guard:
                self._end(item)

    def _end(self, item: pytest.Item) -> None:
        item.stash[_over] = True
        stopped = (TrajectoryStatus.CANCELLED, "the test session was stopped")
        status, error = item.stash.get(_outcome, stopped)
        for told in item.stash.get(_told, {}).values():
            for value in told.last(status, error):
                self._offer(value)

    def flush(self) -> None:
        """Wait until all that was recorded by now is stored."""
        if self._logger is not None:
            self._logger.flush()

    # The session's end, in a worker of xdist, in its controller, and without it.

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Store the rest."""
        logger, self._logger = self._logger, None
        if logger is not None:
            try:
                report = logger.close(60)
                if report.pending and not report.stored:
                    self._count = 0
                if report.pending or report.dead_lettered:
                    self._problems.append(
                        f"{counted(report.pending, 'turn')} not stored yet, "
                        f"{counted(report.dead_lettered, 'turn')} refused"
                    )
            except Exception as error:  # noqa: BLE001 - told at the end
                self._count = 0  # nobody knows of how many
                self._problems.append(in_words(error))
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[_COUNT], output[_PROBLEM] = self._count, "; ".join(self._problems)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Hear from a worker of xdist."""
        output = getattr(node, "workeroutput", None) or {}
        self._count += output.get(_COUNT, 0)
        problem = output.get(_PROBLEM)
        if problem and problem not in self._problems:
            self._problems.append(problem)

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was recorded, and what was not."""
        if self._count or not self._problems:
            told = counted(self._count, "trajectory", "trajectories")
            terminalreporter.write_line(f"trajectory: {told} recorded")
        for problem in self._problems:
            terminalreporter.write_line(f"trajectory: recording failed: {problem}", yellow=True)


def _check_file(backend: StorageBackend) -> None:
    """Raise `ConfigurationError` where a database file can't be made or written."""
    path = Path(backend.capabilities.identity or "")
    if not path.is_absolute():  # no file
        return
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise ConfigurationError(f"the folder {path.parent} is not there; make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigurationError(f"{path} can't be written by this user")


def _outcome_of(
    report: pytest.TestReport, call: pytest.CallInfo[None]
) -> tuple[TrajectoryStatus, str | None]:
    """Give status and reason: the type of the exception, whose text may hold a prompt."""
    reason = None if call.excinfo is None else call.excinfo.typename
    if report.skipped and hasattr(report, "wasxfail"):
        return TrajectoryStatus.FAILED, reason or "xfailed"
    if report.skipped:
        return TrajectoryStatus.CANCELLED, "Skipped"
    if report.failed:
        return TrajectoryStatus.FAILED, reason or "failed"
    return TrajectoryStatus.COMPLETED, None


def _cut(text: str) -> str:
    return text.encode(errors="replace")[:_MAX_SPEC_BYTES].decode(errors="ignore")
