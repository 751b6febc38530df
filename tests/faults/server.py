"""A Postgres server to do harm to: killed, stopped, frozen and started again, its data kept."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import postgres

from trajectory import migrations


class Server:
    """One server on one port, with a database at head."""

    def __init__(self, folder: Path, starter: ThreadPoolExecutor) -> None:
        self._folder = folder
        # The server ends with the thread that started it, so that none is left behind.
        self._starter = starter
        self._data = folder / "data"
        self._binaries, self._account = postgres._binaries(folder)
        self._port = postgres._free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.admin_url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        """Another database than that of `url`, for who looks from outside."""
        self.url = urlsplit(self.admin_url)._replace(path="/turns").geturl()

    def make(self) -> None:
        self._data.mkdir(mode=0o700)
        self._folder.chmod(0o755)
        if self._account:
            shutil.chown(self._data, self._account["user"], self._account["group"])
        self._run("initdb", "-D", self._data, *postgres._INITDB)

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [self._binaries / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            **self._account,
        )

    def start(self) -> None:
        """Start, and return when it answers: after a crash, when it has recovered."""
        self._process = self._starter.submit(self._started).result()
        self.wait_until_ready()

    def _started(self) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as output:
            return subprocess.Popen(
                [
                    *(self._binaries / "postgres", "-D", self._data, "-p", str(self._port)),
                    *("-k", self._data, *postgres._SERVER),
                ],
                stdout=output,
                stderr=output,
                preexec_fn=postgres._die_with_parent,  # noqa: PLW1509 - it takes no lock
                **self._account,
            )

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT is fast and clean, SIGQUIT `immediate`, as a crash is."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(60)

    def wait_until_ready(self) -> None:
        """Return when it answers again, after it has recovered by itself."""
        self.execute("SELECT 1")

    def execute(self, statement: str) -> Any:
        """Run a statement in the other database, and again while the server recovers."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return postgres.execute(self.admin_url, statement)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                assert time.monotonic() < deadline, (self._folder / "log").read_text()[-2000:]
                time.sleep(0.02)

    @property
    def backends(self) -> list[int]:
        """The processes that serve connections to the database of `url`."""
        found = self.execute(
            "SELECT coalesce(array_agg(pid), '{}') FROM pg_stat_activity WHERE datname = 'turns'"
        )
        return list(found)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes where they are: connections stay, and nothing answers."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)  # from now on it starts no other
        pids = [self._process.pid, *_children(self._process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            pid, _, rest = stat.read_text().partition(" ")
            if int(rest.rpartition(")")[2].split()[1]) == parent:
                found.append(int(pid))
    return found


@contextmanager
def server() -> Iterator[Server]:
    """Start a server with an empty database at head, and leave nothing of it behind."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        with ThreadPoolExecutor(1) as starter:
            made = Server(folder, starter)
            made.make()
            made.start()
            try:
                made.execute("CREATE DATABASE turns")
                migrations.upgrade(made.url)
                yield made
            finally:
                made.stop()
    finally:
        shutil.rmtree(folder)


def wait_until(condition: Any, seconds: float = 30) -> None:
    """Watch from outside until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain")
        time.sleep(0.0005)
