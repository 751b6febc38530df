"""What all tests share: a clean environment, a Postgres, and nothing left behind."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import postgres
import pytest
from clock import leaves_no_task

from trajectory import writer

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
"""Real trajectories of other projects, where they lie beside this checkout."""


@pytest.fixture(autouse=True, scope="session")
def _clean_environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in list(os.environ):
        if name.startswith("TRAJECTORY_") and name != postgres.URL_VARIABLE:
            del os.environ[name]
    # Journals of servers lie there: none of a person's is replayed into a test's database.
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """Fail a test that leaves a writer, a thread or an open database file."""
    threads, files = set(threading.enumerate()), _open_databases()
    yield
    assert not writer._running, "a writer is still running"
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
        assert not thread.is_alive(), f"left a thread: {thread.name}"
    assert _open_databases() <= files, "left a database file open"


@pytest.fixture(autouse=True)
def _leaves_no_task(request: pytest.FixtureRequest, _leaves_nothing_behind: None) -> None:
    """Fail a coroutine test that leaves a task on its loop, which would cancel it in silence.

    The loop is made after the look for threads, and so is closed before it.
    """
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_watched_loop")


@pytest.fixture
async def _watched_loop() -> AsyncIterator[None]:
    yield
    await leaves_no_task()


def _open_databases() -> set[str]:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return set()
    names = set()
    for link in folder.iterdir():
        try:
            target = link.readlink()
        except OSError:
            continue
        if ".db" in target.name:
            names.add(str(target))
    return names


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a Postgres server."""
    with postgres.server() as url:
        yield url


@pytest.fixture(scope="session")
def _migrated_template(postgres_server: str) -> Iterator[str]:
    from trajectory import migrations

    with postgres.database(postgres_server) as url:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(migrations.upgrade, url).result()
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a new, empty database."""
    with postgres.database(postgres_server) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str, _migrated_template: str) -> Iterator[str]:
    """The URL of a new database at head."""
    with postgres.database(postgres_server, _migrated_template) as url:
        yield url


@pytest.fixture
def shared_data() -> Path | None:
    """The folder of real trajectories, or None where this is a checkout alone."""
    return SHARED_DATA if SHARED_DATA.is_dir() else None
