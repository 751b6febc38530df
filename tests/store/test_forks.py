"""A forked child reads with connections of its own, and its parent goes on with its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trajectory import Batch, open_backend
from trajectory.testing.samples import a_turn

PROGRAM = """
import asyncio, os, sys
from trajectory import TrajectoryError, TrajectoryStore

async def child(store):
    try:
        store.turns()
    except TrajectoryError:
        pass
    else:
        raise AssertionError("open in the child")
    async with store:
        assert (await store.statistics()).turns == 1

async def main(url):
    async with TrajectoryStore(url) as store:
        assert (await store.statistics()).turns == 1
        pid = os.fork()
        if pid == 0:
            try:
                asyncio._set_running_loop(None)
                asyncio.run(child(store))
                os._exit(0)
            except BaseException as error:
                sys.stderr.write(repr(error))
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        assert (await store.statistics()).turns == 1

asyncio.run(main(sys.argv[1]))
print("done")
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_child_reads_by_itself(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = str(tmp_path / "t.db")
    if kind == "postgres":
        url = request.getfixturevalue("postgres_url")
    backend = open_backend(url)
    await backend.open()
    await backend.write(Batch(turns=(a_turn(),)))
    await backend.close()
    ignored = "ignore:This process (pid:DeprecationWarning"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", ignored, "-c", PROGRAM, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
