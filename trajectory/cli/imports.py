"""`trajectory import`: conversations of other tools become trajectories of turns."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, BinaryIO, cast

import typer

from trajectory.cli import screen
from trajectory.cli.input import Input, pulled
from trajectory.cli.intake import Intake, leave, take_in
from trajectory.cli.log import Strict
from trajectory.cli.options import DEFAULT_DB, Db, Json
from trajectory.cli.progress import watched
from trajectory.cli.tally import Place, Tally
from trajectory.formats import ImportedTrajectory, Importer, Problem, importer, importer_names
from trajectory.models import Trajectory, Turn
from trajectory.words import counted


def import_(
    format_: Annotated[
        str,
        typer.Argument(metavar="FORMAT", help=f"One of: {', '.join(importer_names())}."),
    ],
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files; - is standard input.")],
    *,
    db: Db = DEFAULT_DB,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Import conversations of another tool as trajectories with their turns.

    Ids are derived from the content and its occurrence in the file, so importing the same file
    again changes nothing. A conversation that can't be read is reported and left out whole; what
    has no place in a trajectory is counted.

    Exit codes: 0 all is stored; 1 something is not, or the database failed; 2 wrong use;
    130 interrupted (what came before is stored).
    """
    reader = importer(format_)
    tally = Tally(strict=strict)
    with ExitStack() as stack:
        # Opened first, all of them: a wrong path is told before anything is stored.
        sources = [stack.enter_context(Input(file)) for file in files]
        take_in(db, tally, partial(_read, reader, sources, tally))
    if json:
        counts = {
            "trajectories": tally.trajectories,
            "turns": tally.turns,
            "messages": tally.messages,
            "tool_calls": tally.tool_calls,
            "left_out": dict(sorted(tally.left_out.items())),
        }
        screen.answer(tally.as_json(**counts))
    else:
        tally.show(
            f"{counted(tally.trajectories, 'trajectory', 'trajectories')} stored: "
            f"{counted(tally.turns, 'turn')}{tally.news()}, {counted(tally.messages, 'message')}, "
            f"{counted(tally.tool_calls, 'tool call')}"
        )
        if tally.error is not None:
            screen.fail(tally.error)
    leave(tally)


async def _read(reader: Importer, sources: list[Input], tally: Tally, intake: Intake) -> None:
    sizes = [source.size for source in sources]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    with watched("importing", total) as progress:
        for source in sources:
            name = source.label if len(sources) > 1 else None
            as_of = source.changed_at or datetime.now(UTC)
            # Importers read a stream; only `read` is asked of it, and that `Input` has.
            found = reader.read(cast("BinaryIO", source), as_of=as_of)
            pieces: AsyncGenerator[list[_Found]] = pulled(source, partial(_next, found, source))
            async with aclosing(pieces) as batches:
                async for batch in batches:
                    read = (each for each in batch if isinstance(each, ImportedTrajectory))
                    await intake.look_up(turn for each in read for turn in each.turns)
                    for conversation in batch:
                        await _log(conversation, name, tally, intake)
                        if tally.stopped:
                            return
                    progress(sum(each.position for each in sources), tally.turns)


_Found = ImportedTrajectory | Problem

_AT_ONCE = 64
"""So many conversations of a file are looked up at once; those of a pipe are taken as they come."""

_BYTES_AT_ONCE = 2**20


def _next(found: Iterator[_Found], source: Input) -> list[_Found]:
    start = source.position
    batch: list[_Found] = []
    for conversation in found:
        batch.append(conversation)
        enough = len(batch) >= _AT_ONCE or source.position - start >= _BYTES_AT_ONCE
        if source.size is None or enough:
            break
    return batch


async def _log(
    conversation: ImportedTrajectory | Problem, name: str | None, tally: Tally, intake: Intake
) -> None:
    place = Place(name, conversation.line)
    if isinstance(conversation, Problem):
        await intake.refuse(place, conversation.reason)
        return
    values: tuple[Trajectory | Turn, ...] = (conversation.trajectory, *conversation.turns)
    if (reason := intake.too_large(*values)) is not None:
        await intake.refuse(place, reason)
        return
    tally.left_out.update(conversation.left_out)
    await intake.log(place, *values)
