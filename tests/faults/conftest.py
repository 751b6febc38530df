"""What the long tests share: the processes they kill, and a place for their figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.figures import Reporter
from faults.server import Server, server
from faults.zygote import Zygote, zygote

from trajectory import migrations


@pytest.fixture(scope="session")
def forks() -> Iterator[Zygote]:
    """Processes to kill."""
    with zygote() as made:
        yield made


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file at head in WAL mode, to be copied for each trial."""
    path = tmp_path_factory.mktemp("template") / "t.db"
    migrations.upgrade(str(path), wal=True)
    return path


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Reporter:
    """Tells figures at once, past the capture, since a long test says nothing for long."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", flush=True)  # noqa: T201

    return Reporter(say)


@pytest.fixture(scope="module")
def pg() -> Iterator[Server]:
    """A Postgres server to do harm to."""
    with server() as made:
        yield made
