"""The door of the pytest plugin: all of it that a test run loads which doesn't use it.

A module of its own beside the package, because importing from the package loads the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from trajectory.integrations.pytest_plugin import MemoryLogger, SyncMemoryLogger


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--trajectory-db`."""
    parser.getgroup("trajectory").addoption(
        "--trajectory-db",
        metavar="URL",
        help="record each test's agent runs in this database (a URL or a path), with the outcome "
        "as status and reward",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load the recording part where it is asked for."""
    url = config.getoption("trajectory_db")
    if url:
        from trajectory.integrations.pytest_plugin import Recorder  # noqa: PLC0415

        config.pluginmanager.register(Recorder(url, config), "trajectory-recorder")


@pytest.fixture
def trajectory_logger(request: pytest.FixtureRequest) -> Iterator[MemoryLogger]:
    """Give a logger that keeps in memory what an async test logs, and opens by itself."""
    from trajectory.integrations.pytest_plugin import MemoryLogger, backend_for  # noqa: PLC0415

    logger = MemoryLogger(backend_for(request.node, request.config))
    yield logger
    logger.leave()


@pytest.fixture
def sync_trajectory_logger(request: pytest.FixtureRequest) -> Iterator[SyncMemoryLogger]:
    """Give an open logger that keeps in memory what a test without an event loop logs."""
    from trajectory.integrations.pytest_plugin import SyncMemoryLogger, backend_for  # noqa: PLC0415

    with SyncMemoryLogger(backend_for(request.node, request.config)) as logger:
        yield logger
