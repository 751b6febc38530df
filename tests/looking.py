"""What tests of the commands that look at runs share: conversations, and ways to run a command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from typer.testing import CliRunner, Result

from trajectory import Trajectory, Turn, open_backend
from trajectory.backend import Batch
from trajectory.cli import app
from trajectory.testing.samples import NOON

LATER = NOON + timedelta(days=2)


def id_of(number: int) -> UUID:
    """Give an id; the larger the number, the smaller the id."""
    return UUID(int=2**127 - number)


def started(number: int, **fields: Any) -> Trajectory:
    """Make a trajectory; those with larger numbers are newer."""
    given = {"created_at": NOON + timedelta(minutes=number), "status": "completed", **fields}
    return Trajectory(id=id_of(number), **given)


def turn_of(number: int, turn: int = 1, **fields: Any) -> Turn:
    """Make a turn of the trajectory with that number."""
    given = {
        "prompt": f"p{number}-{turn}",
        "response": "r",
        "created_at": NOON + timedelta(minutes=number, seconds=turn),
        **fields,
    }
    return Turn(trajectory_id=id_of(number), turn_number=turn, **given)


async def stored(url: str, starts: Iterable[Trajectory] = (), turns: Iterable[Turn] = ()) -> None:
    """Store some of both."""
    backend = open_backend(url)
    await backend.open()
    try:
        await backend.write(Batch(starts=tuple(starts), turns=tuple(turns)))
    finally:
        await backend.close()


def store(url: str, starts: Iterable[Trajectory] = (), turns: Iterable[Turn] = ()) -> None:
    """Store some of both, without an event loop."""
    asyncio.run(stored(url, starts, turns))


def ran(*arguments: str) -> Result:
    """Run a command to its end, whatever that is."""
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def done(*arguments: str) -> str:
    """Run a command that has to succeed; give its standard output."""
    result = ran(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def answered(*arguments: str) -> dict[str, Any]:
    """Run a command with --json; give its answer."""
    found = json.loads(done(*arguments, "--json"))
    assert isinstance(found, dict)
    return found


def refused(code: int, *arguments: str) -> str:
    """Run a command that has to fail; give its standard error on one line."""
    result = ran(*arguments)
    assert result.exit_code == code, result.output
    return " ".join(result.stderr.replace("│", " ").split())


def at(moment: datetime) -> str:
    """Write an instant as an option takes it."""
    return moment.isoformat()
