"""A process that has loaded all and opened nothing: each process of a trial is a fork of it.

A fork takes milliseconds where a new interpreter with its imports takes half a second, and so a
thousand kills take minutes. `python -m faults.zygote` reads one command a line and answers each.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faults.jobs import JOBS

_TESTS = Path(__file__).parents[1]


class Zygote:
    """The test's end: starts processes, kills them, waits for them."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def start(self, job: str, **options: Any) -> int:
        """Start a job in a process of its own, whose stderr goes beside its ledger; give its id."""
        return self._ask("start", job, options)

    def kill(self, pid: int) -> bool:
        """Kill -9, and return when it is dead; False where it had ended, and well, before."""
        code = self._ask("kill", pid)
        assert code in {-signal.SIGKILL, 0}, f"it had failed, with exit code {code}"
        return code != 0

    def wait(self, pid: int) -> int:
        """Return when it has ended by itself, with its exit code (negative: its signal)."""
        return self._ask("wait", pid)

    def _ask(self, *command: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the zygote is dead"
        return int(answer)


@contextmanager
def zygote() -> Iterator[Zygote]:
    """Start one, and end it with all that it started."""
    path = os.pathsep.join((str(_TESTS), str(_TESTS.parent)))
    process = subprocess.Popen(
        [sys.executable, "-m", "faults.zygote"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    with process:
        try:
            yield Zygote(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)


def _serve() -> None:
    # What would else be imported in each fork again.
    import aiosqlite  # noqa: F401
    import asyncpg  # noqa: F401
    import sqlalchemy.dialects.postgresql.asyncpg
    import sqlalchemy.dialects.sqlite.aiosqlite  # noqa: F401

    import trajectory.backends.sql  # noqa: F401

    living: set[int] = set()
    for line in sys.stdin.buffer:
        what, *rest = json.loads(line)
        if what == "start":
            pid = os.fork()
            if pid == 0:
                _run(*rest)
            living.add(pid)
            answer = pid
        else:
            [pid] = rest
            if what == "kill":
                os.kill(pid, signal.SIGKILL)
            answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            living.discard(pid)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _run(job: str, options: dict[str, Any]) -> None:
    code = 1
    try:
        log = os.open(options["ledger"] + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDWR)
        for fd, end in ((null, 0), (null, 1), (log, 2)):
            os.dup2(fd, end)
        asyncio.run(JOBS[job](**options))
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the fork must not go on as the zygote
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
