"""`trajectory log`: turns as JSON Lines, from a file or a pipe, into a database."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import typer

from trajectory.cli import screen
from trajectory.cli.input import STDIN, Input, pulled
from trajectory.cli.intake import Intake, leave, take_in
from trajectory.cli.options import DEFAULT_DB, Db, Json
from trajectory.cli.progress import watched
from trajectory.cli.tally import Place, Tally
from trajectory.errors import ConfigurationError, InvalidTurnError
from trajectory.formats.jsonlines import (
    CHUNK_BYTES,
    BadLineError,
    Line,
    LineSplitter,
    parse_object,
)
from trajectory.models import Trajectory, TrajectoryStatus, Turn
from trajectory.words import counted

Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first refused line.")]


def log(
    file: Annotated[
        str, typer.Argument(help="A file of JSON Lines; - or nothing reads standard input.")
    ] = STDIN,
    *,
    db: Db = DEFAULT_DB,
    spec_id: Annotated[str | None, typer.Option(help="For the new trajectory.")] = None,
    agent_name: Annotated[str | None, typer.Option(help="For the new trajectory.")] = None,
    run_id: Annotated[str | None, typer.Option(help="For the new trajectory.")] = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Log turns, one JSON object a line, as they come.

    A line has the fields of a turn: "prompt", "response", and what else is known, with
    "questions", "violations", "messages" and "tool_calls" as lists of objects. Lines with a
    "trajectory_id" need a "turn_number" too. Lines without belong to one new trajectory of this
    call and are numbered from 1, unless they say otherwise.

    A line that can't be stored is reported with its number and reason, and skipped whole.
    Logging the same line again changes nothing, if it names its trajectory.

    Exit codes: 0 all lines are stored; 1 at least one is not, or the database failed; 2 wrong use;
    130 interrupted (what came before is stored).
    """
    tally = Tally(strict=strict)
    fresh = _NewTrajectory(spec_id=spec_id, agent_name=agent_name, run_id=run_id)
    with Input(file) as source:
        if source.is_terminal:
            screen.note("reading turns from the terminal; end with Ctrl-D")
        take_in(db, tally, partial(_read, source, fresh, tally), partial(_end, fresh, tally))
    if json:
        screen.answer(tally.as_json(trajectory_id=str(fresh.id) if fresh.id else None))
    else:
        tally.show(f"{counted(tally.turns, 'turn')} stored{tally.news()}")
        if fresh.id is not None:
            screen.say(f"new trajectory {fresh.id}")
        if tally.error is not None:
            screen.fail(tally.error)
    leave(tally)


class _NewTrajectory:
    """The trajectory of the lines that name none; made when the first of them is stored."""

    def __init__(self, **fields: Any) -> None:
        # Made now, so that a label that can't be stored is refused before anything is read.
        try:
            self._start = Trajectory(**fields)
        except InvalidTurnError as error:
            told = re.sub(
                r"Trajectory\.(\w+)", lambda found: f"--{found[1].replace('_', '-')}", str(error)
            )
            raise ConfigurationError(told) from None
        self._last_number = 0
        self.begun = False

    @property
    def id(self) -> UUID | None:
        """Its id, once it was begun."""
        return self._start.id if self.begun else None

    def owns(self, turn: Turn) -> bool:
        """Say whether a turn belongs to it."""
        return turn.trajectory_id == self._start.id

    def turn(self, fields: dict[str, Any]) -> Turn:
        """Make a turn of it, the next one unless the fields have a number."""
        return Turn(
            **{"turn_number": self._last_number + 1, **fields, "trajectory_id": self._start.id}
        )

    def count(self, turn: Turn) -> None:
        """Let the next turns be numbered after this one, if it is its own."""
        if self.owns(turn):
            self._last_number = max(self._last_number, turn.turn_number)

    def with_start(self, turn: Turn) -> tuple[Trajectory | Turn, ...]:
        """Give what must be logged for a turn: the first one brings the start along."""
        if self.begun or not self.owns(turn):
            return (turn,)
        self.begun = True
        return self._start, turn

    def ended(self, status: TrajectoryStatus) -> Trajectory:
        """Give it with its end, which merges with its start."""
        return self._start.replace(status=status, ended_at=datetime.now(UTC))


async def _read(source: Input, fresh: _NewTrajectory, tally: Tally, intake: Intake) -> None:
    splitter = LineSplitter()
    with watched("logging", source.size) as progress:
        async with aclosing(pulled(source, partial(source.read, CHUNK_BYTES))) as chunks:
            async for chunk in chunks:
                await _log_lines(splitter.feed(chunk), fresh, tally, intake)
                if tally.stopped:
                    return
                progress(source.position, tally.turns)
        await _log_lines(splitter.end(), fresh, tally, intake)


class _Refused(NamedTuple):
    reason: str
    gives_up: bool = False


_CHAT = "; conversations in the OpenAI chat form are read by: trajectory import openai-chat FILE"


async def _log_lines(
    lines: Iterable[Line], fresh: _NewTrajectory, tally: Tally, intake: Intake
) -> None:
    """Log the lines that have come, which are looked up at once, each in its turn."""
    taken: list[tuple[Place, Turn | _Refused]] = []
    for line in lines:
        found = _turn(line, fresh, intake)
        taken.append((Place(None, line.number), found))
        if isinstance(found, _Refused) and (found.gives_up or tally.is_strict):
            break
    await intake.look_up(
        found for _, found in taken if isinstance(found, Turn) and not fresh.owns(found)
    )
    for place, found in taken:
        if isinstance(found, Turn):
            await intake.log(place, *fresh.with_start(found))
        else:
            await intake.refuse(place, found.reason, gives_up=found.gives_up)
        if tally.stopped:
            return


def _turn(line: Line, fresh: _NewTrajectory, intake: Intake) -> Turn | _Refused:
    try:
        fields = parse_object(line)
        turn = fresh.turn(fields) if fields.get("trajectory_id") is None else Turn(**fields)
    except BadLineError as error:
        return _Refused(str(error), error.ends_reading)
    except InvalidTurnError as error:
        is_chat = "messages" in fields and "prompt" not in fields
        return _Refused(f"{error}{_CHAT if is_chat else ''}")
    if (reason := intake.too_large(turn)) is not None:
        return _Refused(reason)
    fresh.count(turn)
    return turn


async def _end(fresh: _NewTrajectory, tally: Tally, intake: Intake) -> None:
    if not fresh.begun:
        return
    status = TrajectoryStatus.COMPLETED
    if tally.signal is not None:
        status = TrajectoryStatus.CANCELLED
    elif tally.stopped:
        status = TrajectoryStatus.FAILED
    await intake.log(Place(None, 0), fresh.ended(status))
