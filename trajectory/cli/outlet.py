"""Standard output as the shell gave it: closed or full, it costs one line and no traceback."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from typing import NoReturn

from trajectory.cli.screen import fail, unwritten

FAILED = 1

READER_LEFT = 141
"""The exit code where whoever read the answer left before its end: what a shell gives a program
that SIGPIPE ends, so `trajectory list | head -1` is quiet, and `pipefail` can tell."""


def run(command: Callable[[], object]) -> NoReturn:
    """Run a command to its end, and leave with its exit code.

    Where its answer got lost: with 1, or with 141 and no word if its reader left.
    """
    closed = sys.stdout is None
    _occupy_standard_numbers()
    code: int | str | None = 0
    try:
        command()
    except SystemExit as end:
        code = end.code
    except OSError as error:  # of help and version texts; commands raise our own errors
        fail(unwritten(error))
        code = FAILED
    if closed:
        fail("standard output is closed, so the answer is lost")
        code = FAILED if code in {0, None, READER_LEFT} else code
    else:
        lost = _flush(tells=not code)
        code = code or lost
    sys.exit(code)


def _occupy_standard_numbers() -> None:
    """Keep a database file from getting the number of a standard stream that is closed."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def is_read() -> bool:
    """Say whether anybody may read what is written: it may be closed, or a pipe's reader gone."""
    if sys.stdout is None:
        return False
    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # no file is behind it
        return True
    poll = select.poll()
    poll.register(number, 0)
    return not any(state & select.POLLERR for _, state in poll.poll(0))


def _flush(*, tells: bool) -> int:
    """Write what still waits, and give the exit code for how that went.

    Where it fails, throw it away: Python's end would try again.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        left = isinstance(error, BrokenPipeError)
        if tells and not left:
            fail(unwritten(error))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return READER_LEFT if left else FAILED
    return 0
