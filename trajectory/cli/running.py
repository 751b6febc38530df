"""How commands run that a Ctrl-C ends at once, and how they end by it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

from trajectory.cli.alarms import Alarms

_Answer = TypeVar("_Answer")

INTERRUPTED = 130
"""The exit code of a command that was ended by Ctrl-C."""


def run(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """Run a command to its end; Ctrl-C ends it with 130, and nothing is to be told."""
    try:
        with Alarms():
            return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
