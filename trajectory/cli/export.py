"""`trajectory export`: stored trajectories become the files of a format."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from trajectory.backends import open_backend, scheme_of
from trajectory.cli import screen
from trajectory.cli.alarms import Alarms
from trajectory.cli.filters import Filters, Limit, filtered
from trajectory.cli.input import STDIN
from trajectory.cli.options import DEFAULT_DB, Db, Json
from trajectory.cli.progress import watched
from trajectory.errors import ConfigurationError
from trajectory.exporting import Exported, Output, Split, SplitBy, Stream, Target, export
from trajectory.formats import Exporter, exporter, exporter_names
from trajectory.query import TrajectoryQuery
from trajectory.store import TrajectoryStore
from trajectory.words import counted

_STDOUT = STDIN
_PARTS = "train=0.9,test=0.1"


@filtered
def export_(
    format_: Annotated[
        str, typer.Argument(metavar="FORMAT", help=f"One of: {', '.join(exporter_names())}.")
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="A file, or a folder; - is stdout."),
    ] = _STDOUT,
    *,
    db: Db = DEFAULT_DB,
    split: Annotated[
        SplitBy | None,
        typer.Option("--split", help="Write parts; no user (or run) is in two of them."),
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option("--parts", metavar="PARTS", help=f"Names and shares; {_PARTS} unless given."),
    ] = None,
    include_copied: Annotated[
        bool | None,
        typer.Option(
            "--include-copied/--leave-out-copied",
            help="Turns that repeat another trajectory; formats for training leave them out.",
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", metavar="FILE", help="Where the manifest goes."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    ids: Annotated[
        list[UUID] | None,
        typer.Option("--id", metavar="ID", help="Only this trajectory; repeatable."),
    ] = None,
    newest_first: Annotated[
        bool, typer.Option("--newest-first", help="The newest first, also for --limit.")
    ] = False,
    limit: Limit = None,
    chosen: Filters,
    json: Json = False,
) -> None:
    """Export trajectories with all their turns, for evaluation, training or safekeeping.

    Without filters all of them, the oldest first. What is said of turns (--text, --tool, ...) is so
    of at least one turn; --since and --until look at when the trajectory was created.

    The same trajectories give the same bytes. A file appears when it is whole, beside it
    FILE.manifest.json: the filter, counts, sizes and hashes, and what the format has no place for.

    Exit codes: 0 all is written; 1 something failed; 2 wrong use; 130 interrupted. Unless it is 0
    there are no new files.
    """
    writer = exporter(format_)
    division = _split(split, parts)
    to_stdout = output == _STDOUT
    if to_stdout and json:
        raise ConfigurationError(
            "standard output can't take the export and --json; name a file with -o, or one for the "
            "manifest with --manifest"
        )
    target = _output(output, writer, manifest, force=force, spared=_file_of(db))
    query = chosen.trajectories(
        ids=None if ids is None else tuple(ids), descending=newest_first, limit=limit
    )
    with Alarms(), _at_once_by_interrupt() if to_stdout else nullcontext():
        exported = asyncio.run(
            _export(db, writer, target, query, division, include_copied=include_copied)
        )
    if isinstance(exported, int):
        screen.note("interrupted: no file was written", "bold")
        raise typer.Exit(128 + exported)
    if json:
        screen.answer(exported.manifest)
    else:
        _show(exported, to_stdout=to_stdout)


def _split(by: SplitBy | None, parts: str | None) -> Split | None:
    if by is None and parts is not None:
        raise ConfigurationError("--parts needs --split user or --split run")
    return None if by is None else Split.of(by, parts or _PARTS)


def _file_of(db: str) -> Path | None:
    """Give the file of the database that is read, which --force must not replace."""
    identity = open_backend(db).capabilities.identity
    return Path(identity) if identity is not None and scheme_of(db) == "sqlite" else None


def _output(
    output: str, writer: Exporter, manifest: Path | None, *, force: bool, spared: Path | None
) -> Output:
    if output != _STDOUT:
        target = Path(output)
        return Target(target, writer.suffix, manifest=manifest, force=force, spared=spared)
    if sys.stdout is None:
        raise ConfigurationError("standard output is closed; name a file with -o")
    if sys.stdout.isatty():  # which would obey what agents wrote
        raise ConfigurationError(
            "an export isn't written to a terminal; name a file or folder with -o, or pipe it"
        )
    return Stream(sys.stdout.buffer, manifest=manifest, force=force, spared=spared)


async def _export(
    url: str,
    writer: Exporter,
    target: Output,
    query: TrajectoryQuery,
    division: Split | None,
    *,
    include_copied: bool | None,
) -> Exported | int:
    """Export; give the number of the signal that came before the files were whole, if one did.

    A signal that comes while they get their names, or later, changes nothing any more.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    came: list[int] = []
    exported: Exported | None = None

    def end(number: int) -> None:
        if task is not None and exported is None:
            came.append(number)
            task.cancel()

    watches = isinstance(target, Target) and threading.current_thread() is threading.main_thread()
    signals = (signal.SIGINT, signal.SIGTERM) if watches else ()
    for number in signals:
        loop.add_signal_handler(number, end, number)
    try:
        with watched("exporting", None) as progress:
            async with TrajectoryStore(url) as store:
                exported = await export(
                    store,
                    writer,
                    target,
                    query,
                    split=division,
                    include_copied=include_copied,
                    progress=progress,
                )
        return exported  # noqa: TRY300
    except asyncio.CancelledError:
        if not came:
            raise
        return came[0]
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@contextmanager
def _at_once_by_interrupt() -> Iterator[None]:
    """Let Ctrl-C end the command at once, for nothing has to be put away.

    A handler would not be heard while a pipe takes no more.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _show(exported: Exported, *, to_stdout: bool) -> None:
    counts = exported.counts
    line = (
        f"{counted(counts.trajectories, 'trajectory', 'trajectories')} exported: "
        f"{counted(counts.turns, 'turn')}, {counted(counts.messages, 'message')}, "
        f"{counted(counts.tool_calls, 'tool call')}, {counted(exported.bytes, 'byte')}"
    )
    if to_stdout:
        screen.note(line)
    else:
        screen.say(line, "green")
        for file in exported.manifest["files"]:
            screen.say(
                f"{file['name']}: "
                f"{counted(file['trajectories'], 'trajectory', 'trajectories')}, "
                f"{counted(file['turns'], 'turn')}"
            )
    for what, count in exported.left_out.items():
        screen.note(f"not carried over: {what} ({counted(count, 'time')})", "dim")
