"""Commands that only read: how they run, and how they end by Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import typer

from trajectory.cli.alarms import Alarms

INTERRUPTED = 130
"""The exit code of a command that was ended by Ctrl-C."""


def run(reading: Coroutine[Any, Any, None]) -> None:
    """Run a command that reads to its end; Ctrl-C ends it with 130, and nothing is to be told."""
    try:
        with Alarms():
            asyncio.run(reading)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
