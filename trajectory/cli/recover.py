"""`trajectory recover`: what dead processes left in their journals, and what was refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from trajectory.backend import StorageBackend
from trajectory.backends import open_backend
from trajectory.cli import screen, variables
from trajectory.cli.alarms import Alarms
from trajectory.cli.options import DEFAULT_DB, Db, JournalDir, Json
from trajectory.dead_letters import DeadLetter, DeadLetterFile
from trajectory.errors import ConfigurationError
from trajectory.recovery import (
    Recovery,
    Retried,
    export_dead_letters,
    folder_for,
    recover,
    retry_dead_letters,
)
from trajectory.survey import Owner, Segment, look
from trajectory.words import counted

T = TypeVar("T")


def recover_(
    db: Db = DEFAULT_DB,
    *,
    journal_dir: JournalDir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is there, and change nothing.")
    ] = False,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="List what the database refused, and why.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Copy the dead letters into a new file of JSON Lines."),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Write the dead letters to the database again.")
    ] = False,
    json: Json = False,
) -> None:
    """Store what processes that died have left in their journals.

    The next logger that opens the same database does the same; this is for when there is none. Safe
    to repeat, and beside programs that log: their journals are left alone. What the database
    refuses for its content becomes a dead letter.

    With `--dead-letters`, lists those; `--export` copies them, content and all; `--retry` writes
    them again, and keeps what is refused again.

    Exit codes: 0 nothing is left; 1 something could not be stored, or the database failed; 2 wrong
    use.
    """
    if not dead_letters and (export is not None or retry):
        raise ConfigurationError("--export and --retry are for dead letters; add --dead-letters")
    if dead_letters and (dry_run or (export is not None and retry)):
        raise ConfigurationError(
            "with --dead-letters goes --export or --retry, one of them, and no --dry-run"
        )
    backend = open_backend(db)
    folder = folder_for(backend, journal_folder(journal_dir))
    file = DeadLetterFile(folder)
    with Alarms() as alarms:
        if export is not None:
            code = _export(file, export, json=json)
        elif retry:
            done = _with(backend, lambda: retry_dead_letters(backend, file))
            code = _show_retried(file, done, json=json)
        elif dead_letters:
            code = _list(file, json=json)
        elif dry_run:
            found = Recovery(folder, look(folder, read=True))
            code = _show(found, file, json=json, dry_run=True)
        else:
            found = _with(backend, lambda: recover(backend, folder))
            code = _show(found, file, json=json, dry_run=False)
        alarms.tell()
    raise typer.Exit(code)


def journal_folder(given: Path | None) -> Path | None:
    """Give the folder of journals that was asked for, here or in the environment."""
    return given if given is not None else variables.settings().journal_dir


def _with(backend: StorageBackend, work: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        try:
            return await work()
        finally:
            await backend.close()

    return asyncio.run(run())


# Journals.


def _show(found: Recovery, file: DeadLetterFile, *, json: bool, dry_run: bool) -> int:
    waiting = sum(1 for _ in file.read())
    code = 0 if found.is_complete else 1
    # Of a replay, only what it did; of a dry run, what it would do.
    met = [segment for segment in found.segments if segment.tried or dry_run]
    if json:
        screen.answer(
            {
                "folder": str(found.folder),
                "dry_run": dry_run,
                "complete": found.is_complete,
                "turns": sum(segment.turns for segment in met),
                "others": sum(segment.others for segment in met),
                "segments": [_as_json(segment) for segment in found.segments],
                "dead_letters": waiting,
                **({} if found.error is None else {"error": found.error}),
            }
        )
    else:
        screen.say(f"journals in {found.folder}")
        for segment in found.segments:
            screen.say(f"{segment.path.name}: {_told(segment, dry_run=dry_run)}")
        _say_sum(found, sum(segment.turns for segment in met), dry_run=dry_run)
        if waiting:
            screen.say(
                f"{counted(waiting, 'dead letter')} waiting; to see them, run "
                f"`trajectory recover --dead-letters`"
            )
    if found.error is not None:
        screen.fail(f"{found.error}; what is not stored stays in the journal; run this again")
    return code


def _say_sum(found: Recovery, turns: int, *, dry_run: bool) -> None:
    if not any(segment.owner is Owner.DEAD for segment in found.segments):
        screen.say("no process that died has left anything that can be replayed")
    elif dry_run:
        screen.say(f"{counted(turns, 'turn')} to replay; nothing was changed")
    elif found.is_complete:
        screen.say(f"{counted(turns, 'turn')} replayed, and nothing is left")
    else:
        told = f"{counted(turns, 'turn')} replayed, and not all could be stored: see above"
        screen.say(told, "bold yellow")


def _told(segment: Segment, *, dry_run: bool) -> str:
    if segment.owner is Owner.LIVING:
        return "belongs to a process that runs; left alone"
    if segment.owner is Owner.NEWER:
        return "has a newer format; left alone: recover it with the version that made it"
    if segment.owner is Owner.UNKNOWN:
        return f"{segment.problem}; left as it is"
    others = f" and {counted(segment.others, 'other value')}" if segment.others else ""
    told = [
        f"{counted(segment.turns, 'turn')}{others} {'replayed' if segment.tried else 'to replay'}"
    ]
    if not segment.tried and not dry_run:
        told.insert(0, "not reached")
    if segment.torn_bytes:
        told.append(f"{counted(segment.torn_bytes, 'byte')} at the end torn")
    if segment.set_aside:
        kept = f", kept in {segment.path.name}.bad" if segment.tried else ""
        told.append(f"{counted(segment.set_aside, 'stretch', 'stretches')} damaged{kept}")
    if segment.dead_lettered:
        told.append(f"{segment.dead_lettered:,} refused, and kept as dead letters")
    if segment.problem is not None:
        told.append(segment.problem)
    elif segment.tried and not segment.removed:
        told.append("not all of it is stored, so it stays")
    return "; ".join(told)


def _as_json(segment: Segment) -> dict[str, Any]:
    return {
        "segment": segment.path.name,
        "owner": segment.owner.value,
        "bytes": segment.bytes,
        "tried": segment.tried,
        "turns": segment.turns,
        "others": segment.others,
        "dead_lettered": segment.dead_lettered,
        "torn_bytes": segment.torn_bytes,
        "set_aside": segment.set_aside,
        "removed": segment.removed,
        "problem": segment.problem,
    }


# Dead letters.


def _list(file: DeadLetterFile, *, json: bool) -> int:
    letters = list(file.read())
    if json:
        screen.answer({"file": str(file.path), "dead_letters": _letters_as_json(letters)})
        return 0
    _say_letters(letters)
    if letters:
        screen.say(f"{counted(len(letters), 'dead letter')} in {file.path}")
        screen.say("to try again, add --retry; to copy them with their content, --export FILE")
    else:
        screen.say(f"no dead letters in {file.path.parent}")
    return 0


def _export(file: DeadLetterFile, target: Path, *, json: bool) -> int:
    count = export_dead_letters(file, target)
    if json:
        screen.answer({"file": str(target), "exported": count})
    else:
        screen.say(f"{counted(count, 'dead letter')} copied to {target}; they hold prompts")
    return 0


def _show_retried(file: DeadLetterFile, done: Retried, *, json: bool) -> int:
    code = 1 if done.error is not None or done.refused else 0
    if json:
        screen.answer(
            {
                "file": str(file.path),
                "stored": done.stored,
                "refused": len(done.refused),
                "dead_letters": _letters_as_json(list(file.read())),
                **({} if done.error is None else {"error": done.error}),
            }
        )
    else:
        _say_letters(done.refused)
        screen.say(
            f"{counted(done.stored, 'dead letter')} stored, {len(done.refused):,} refused again"
        )
    if done.error is not None:
        screen.fail(f"{done.error}; what is not stored stays a dead letter; run this again")
    return code


def _say_letters(letters: Sequence[DeadLetter]) -> None:
    for letter in letters:
        when = letter.refused_at.strftime("%Y-%m-%d %H:%M:%SZ")
        screen.say(f"{when} {letter.kind} {letter.key} {letter.error}: {_bare(letter)}")


def _bare(letter: DeadLetter) -> str:
    """Leave out of a reason the name of the error, which stands before it."""
    return letter.reason.removeprefix(f"{letter.error}: ")


def _letters_as_json(letters: Sequence[DeadLetter]) -> list[dict[str, Any]]:
    return [
        {
            "key": letter.key,
            "kind": letter.kind,
            "refused_at": letter.refused_at.isoformat(),
            "error": letter.error,
            "reason": letter.reason,
        }
        for letter in letters
    ]
