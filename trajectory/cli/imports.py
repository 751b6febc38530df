"""`trajectory import`: conversations of other tools become trajectories of turns."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple, cast

import typer

from trajectory.cli import progress, screen
from trajectory.cli.input import STDIN, Input, ReadError, pulled
from trajectory.cli.intake import Intake, leave, take_in
from trajectory.cli.log import Strict
from trajectory.cli.options import DEFAULT_DB, Db, Json
from trajectory.cli.sources import Source, existing, sources
from trajectory.cli.tally import Place, Tally
from trajectory.errors import ConfigurationError
from trajectory.formats import (
    Exporter,
    Findable,
    ImportedTrajectory,
    Importer,
    Problem,
    importer,
    importer_names,
)
from trajectory.models import Trajectory, Turn
from trajectory.words import counted

_SUFFIXES = (".jsonl", ".json")
"""What the files of a format end with that says nothing of it."""


def import_(
    format_: Annotated[
        str,
        typer.Argument(metavar="FORMAT", help=f"One of: {', '.join(importer_names())}."),
    ],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE",
            help="Files, folders, patterns (in quotes: '**/*.jsonl'); - is standard input. "
            "Without any: your own sessions, where the format knows where they are.",
        ),
    ] = None,
    *,
    db: Db = DEFAULT_DB,
    strict: Strict = False,
    yes: Annotated[bool, typer.Option("--yes", help="Read your own sessions unasked.")] = False,
    json: Json = False,
) -> None:
    """Import conversations of another tool as trajectories with their turns.

    Ids are derived from the content and its occurrence in the file, or from those of the tool, so
    importing the same file again changes nothing. A conversation that can't be read is reported
    and left out whole, and the next one is read; what has no place in a trajectory is counted.

    Exit codes: 0 all is stored; 1 something is not, or the database failed; 2 wrong use;
    130 interrupted (what came before is stored).
    """
    reader = importer(format_)
    tally = Tally(strict=strict)
    # A wrong path is told before anything is stored.
    chosen = sources(files, _suffixes(reader)) if files else _own(reader, asks=not yes)
    if any(source.path == STDIN for source in chosen):
        Input(STDIN).close()
    take_in(db, tally, partial(_read, reader, chosen, tally))
    if json:
        counts = {
            "files": tally.files,
            "empty_files": tally.empty_files,
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


def _suffixes(reader: Importer) -> tuple[str, ...]:
    written = (reader.suffix,) if isinstance(reader, Exporter) else _SUFFIXES
    return tuple(getattr(reader, "suffixes", written))


def _own(reader: Importer, *, asks: bool) -> list[Source]:
    """Find the person's own files, and ask before any of them is read."""
    name = f"trajectory import {reader.name} FILE"
    if not isinstance(reader, Findable):
        raise ConfigurationError(
            f"name the files ({name}), or - for standard input: where your own of the format "
            f"{reader.name!r} would be is not known"
        )
    found = list(existing(reader.find()))
    if not found:
        raise ConfigurationError(
            f"there are no files of yours in the format {reader.name!r} where they are by default; "
            f"name them: {name}"
        )
    folder = os.path.commonpath([Path(source.path).parent for source in found])
    told = (
        f"found {counted(len(found), 'file')} of yours, "
        f"{sum(source.size or 0 for source in found) / 1e6:,.1f} MB, in {folder}"
    )
    if asks:
        if not progress.can_be_asked():
            raise ConfigurationError(f"{told}; say --yes to read them all, or name files")
        screen.note(told)
        typer.confirm("import them?", default=True, abort=True, err=True)
    return found


class _Found(NamedTuple):
    """What was found at a place: a trajectory, or the reason why it is none."""

    place: Place
    what: ImportedTrajectory | str


_AT_ONCE = 64
"""So many conversations are looked up at once; those of a pipe are taken as they come."""

_BYTES_AT_ONCE = 2**20


async def _read(reader: Importer, chosen: list[Source], tally: Tally, intake: Intake) -> None:
    sizes = [source.size for source in chosen]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    files = _Files(reader, chosen, tally)
    with progress.watched("importing", total) as show, closing(files):
        async with aclosing(pulled(files, files.batch)) as batches:
            async for batch in batches:
                trajectories = (each.what for each in batch if not isinstance(each.what, str))
                await intake.look_up(turn for each in trajectories for turn in each.turns)
                for place, what in batch:
                    await _log(place, what, tally, intake)
                    if tally.stopped:
                        return
                show(files.position, tally.turns)


async def _log(place: Place, what: ImportedTrajectory | str, tally: Tally, intake: Intake) -> None:
    if isinstance(what, str):
        await intake.refuse(place, what)
        return
    if what.lines:
        await _log_lines(place, what, tally, intake)
        return
    values = _values(what)
    if (reason := intake.too_large(*values)) is not None:
        await intake.refuse(place, reason)
        return
    tally.left_out.update(what.left_out)
    await intake.log(place, *values)


async def _log_lines(place: Place, what: ImportedTrajectory, tally: Tally, intake: Intake) -> None:
    """Log what stands on lines of its own: one that is too large is refused, and no other."""
    tally.left_out.update(what.left_out)
    start = () if what.continues else (what.line,)
    fitting: list[tuple[Place, Trajectory | Turn]] = []
    for line, value in zip((*start, *what.lines), _values(what), strict=True):
        own = place._replace(line=line)
        if (reason := intake.too_large(value)) is None:
            fitting.append((own, value))
            continue
        await intake.log_each(fitting)
        fitting.clear()
        if not tally.stopped:
            await intake.refuse(own, reason)
        if tally.stopped:
            return
    await intake.log_each(fitting)


def _values(what: ImportedTrajectory) -> tuple[Trajectory | Turn, ...]:
    return what.turns if what.continues else (what.trajectory, *what.turns)


class _Files:
    """Reads file after file, each open only while it is read: there may be very many.

    A file that can't be read to its end is told, and the next one is read.
    """

    def __init__(self, reader: Importer, chosen: list[Source], tally: Tally) -> None:
        self._reader = reader
        self._chosen = chosen
        self._tally = tally
        self._open: Input | None = None
        self._done = 0
        self._is_stopped = False
        self._lock = threading.Lock()  # `stop` must not reach an input that is being closed
        self._found = self._all()

    @property
    def position(self) -> int:
        """Bytes read of all files."""
        stream = self._open
        return self._done + (0 if stream is None else stream.position)

    def stop(self) -> None:
        """End the reading, from any thread."""
        with self._lock:
            self._is_stopped = True
            if self._open is not None:
                self._open.stop()

    def close(self) -> None:
        """Close what is open. Nothing may be reading any more."""
        self._found.close()

    def batch(self) -> list[_Found]:
        """Take what comes next, from one file or many; nothing at the end."""
        start = self.position
        batch: list[_Found] = []
        for found in self._found:
            batch.append(found)
            is_pipe = self._open is not None and self._open.size is None
            if is_pipe or len(batch) >= _AT_ONCE or self.position - start >= _BYTES_AT_ONCE:
                break
        return batch

    def _all(self) -> Generator[_Found]:
        for source in self._chosen:
            name = source.label if len(self._chosen) > 1 else None
            try:
                with self._opened(source) as stream:
                    yield from self._one(stream, name)
            except (ConfigurationError, ReadError) as error:
                yield _Found(Place(name, None), str(error))
            if self._is_stopped:
                return

    @contextmanager
    def _opened(self, source: Source) -> Iterator[Input]:
        with Input(source.path) as stream:
            with self._lock:
                self._open = stream
                if self._is_stopped:
                    stream.stop()
            try:
                yield stream
            finally:
                with self._lock:
                    self._open = None
                    self._done += stream.position

    def _one(self, stream: Input, name: str | None) -> Iterator[_Found]:
        self._tally.files += 1
        is_empty = True
        # Importers read a stream; only `read` is asked of it, and that `Input` has.
        source = cast("BinaryIO", stream)
        for found in self._reader.read(source, as_of=stream.changed_at or datetime.now(UTC)):
            is_empty = False
            what = found.reason if isinstance(found, Problem) else found
            yield _Found(Place(name, found.line), what)
        self._tally.empty_files += is_empty and not self._is_stopped
