"""A check-up: the state of a database, of its journals and of the disk, and what to do about it.

Changes nothing, and works where the database is away or was never made.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from trajectory.backend import StorageBackend, Survives
from trajectory.backends import open_backend, scheme_of
from trajectory.dead_letters import FILE, DeadLetterError, DeadLetterFile
from trajectory.disk import file_system, permissions, space, type_of
from trajectory.errors import ConfigurationError, SchemaError, TrajectoryError
from trajectory.finding import Finding, Verdict, counted, in_bytes, ok, some
from trajectory.journal import JournalError
from trajectory.journal.segment import BAD, SUFFIX
from trajectory.placement import folder_of
from trajectory.settings import LoggerSettings
from trajectory.survey import Owner, Segment, look

PATIENCE_S = 15
"""How long a database has for its answer."""

SOUND_SQLITE = (3, 51, 3)
"""The first version without the WAL-reset bug, which came with 3.7.0."""

_LOCK_S = 2
_LOCKED = "locked"

LARGE_WAL = 64 * 2**20
_RECOVER = "run `trajectory recover`; the next start of a logger does the same"


def check_up(url: str, settings: LoggerSettings) -> list[Finding]:
    """Check a database and its surroundings. Not for use on a running event loop.

    `settings` say where the journals are and how large they may get. Raises `ConfigurationError`
    for a URL that can't be used; all else is a finding.
    """
    backend = open_backend(url)
    capabilities = backend.capabilities
    if capabilities.survives is Survives.NOTHING:
        return [ok("database", "lives in memory, and goes with its process")]
    identity = capabilities.identity
    folder = folder_of(identity, settings.journal_dir)
    file = Path(identity) if identity is not None and scheme_of(url) == "sqlite" else None
    # A look at the files comes first: a connection to the database may tidy them.
    found: list[Finding] = []
    if file is not None:
        found += _seen("database file", _file(file))
    if folder is not None:
        found += _seen("journals", _folder(folder, settings))
    found += _seen("permissions", _private(file, folder))
    return [*_seen("database", _database(url, backend, file)), *found]


def _seen(check: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Give findings; that the system lets us not even look is one as well."""
    try:
        yield from findings
    except OSError as error:
        advice = "run this as the user that the loggers run as, and check the path"
        told = f"can't look at {error.filename}: {error.strerror}"
        yield Finding(check, Verdict.PROBLEM, told, advice)


# The database.


def _database(url: str, backend: StorageBackend, file: Path | None) -> Iterator[Finding]:
    if file is not None and not (file.exists() and file.stat().st_size):
        if file.parent.is_dir():
            told = f"{file} is not there yet; the first logger that opens it makes it"
            yield Finding("database", Verdict.WARNING, told, "check that this is the path you mean")
        else:
            told = f"the folder {file.parent} does not exist"
            yield Finding("database", Verdict.PROBLEM, told, "make it, or change the path")
        return
    if file is not None and not file.is_file():
        told = f"{file} is no file"
        yield Finding("database", Verdict.PROBLEM, told, "name the path of a file")
        return
    if file is not None and _asked(file) is _LOCKED:
        told = f"another program keeps {file} locked, for more than {_LOCK_S} s now"
        advice = "find the program that writes, or was stopped while it did, and end it"
        yield Finding("database", Verdict.PROBLEM, told, advice)
        return
    try:
        schema = asyncio.run(_answer(url, backend))
    except SchemaError as error:
        yield ok("database", "answers")
        told, _, advice = str(error).partition("; ")
        yield Finding("schema", Verdict.PROBLEM, told, advice or None)
    except TimeoutError:
        told = f"gave no answer within {PATIENCE_S} s"
        advice = "see what its server waits for; loggers keep what they accept in their journals"
        yield Finding("database", Verdict.PROBLEM, told, advice)
    except ConfigurationError:
        raise
    except TrajectoryError as error:
        advice = "start it; loggers keep what they accept in their journals until then"
        yield Finding("database", Verdict.PROBLEM, str(error), advice)
    else:
        yield ok("database", "answers")
        if schema is not None:
            yield ok("schema", schema)


async def _answer(url: str, backend: StorageBackend) -> str | None:
    """Ask a database for its schema; only open a backend of another kind."""
    async with asyncio.timeout(PATIENCE_S):
        if scheme_of(url) in {"sqlite", "postgresql"}:
            from trajectory import migrations  # noqa: PLC0415 - it loads SQLAlchemy

            schema = await migrations.check_async(url)
            return (
                f"revision {schema.revision} ({schema.standing}), this version needs "
                f"{schema.needed}"
            )
        try:
            await backend.open()
        finally:
            await backend.close()
        return None


# A SQLite file.


def _file(file: Path) -> Iterator[Finding]:
    if not file.is_file():
        return
    mode = _asked(file)
    if mode == "wal":
        yield ok("journal mode", "WAL")
    elif mode not in (None, _LOCKED):
        told = f"{mode}: readers and the writer wait for each other"
        advice = "to turn the write-ahead log on, run `trajectory db upgrade --wal on`"
        yield Finding("journal mode", Verdict.OK, told, advice)
    yield _wal_size(Path(f"{file}-wal"))
    yield file_system(type_of(file), wal=mode == "wal")
    yield _library(sqlite3.sqlite_version_info, wal=mode == "wal")


def _asked(file: Path) -> str | None:
    """Ask for the journal mode; `_LOCKED`, or None if there is no answer for another reason.

    Asked of SQLite, for to open and close the file ourselves would free the locks that this
    process may have on it.
    """
    address = f"{file.as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=_LOCK_S)) as database:
            return str(database.execute("PRAGMA journal_mode").fetchone()[0])
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what extends it
        return _LOCKED if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} else None


def _wal_size(wal: Path) -> Finding:
    try:
        size = wal.stat().st_size
    except OSError:
        size = 0
    if size <= LARGE_WAL:
        return ok("write-ahead log", in_bytes(size))
    advice = "end the programs that keep a read open: the log can't be emptied while one lasts"
    return Finding("write-ahead log", Verdict.WARNING, f"{in_bytes(size)} in {wal}", advice)


def _library(version: tuple[int, ...], *, wal: bool) -> Finding:
    told = f"SQLite {'.'.join(map(str, version))}"
    if version >= SOUND_SQLITE or not wal:
        return ok("library", told)
    sound = ".".join(map(str, SOUND_SQLITE))
    told += (
        ": in WAL mode, two connections that write or checkpoint at the same moment can damage the "
        "file (the WAL-reset bug, which is rare)"
    )
    advice = f"use a Python with SQLite {sound} or newer, or run `trajectory db upgrade --wal off`"
    return Finding("library", Verdict.WARNING, told, advice)


# The folder of journals and dead letters.


def _folder(folder: Path, settings: LoggerSettings) -> Iterator[Finding]:
    try:
        segments = look(folder)
        yield from _journals(folder, segments)
    except JournalError as error:
        yield Finding("journals", Verdict.PROBLEM, str(error), "make the folder readable")
    yield _dead_letters(folder)
    yield _set_aside(folder)
    yield space(folder, settings.journal_max_bytes)


def _journals(folder: Path, segments: list[Segment]) -> Iterator[Finding]:
    dead = [each for each in segments if each.owner is Owner.DEAD]
    turns = sum(each.turns for each in dead)
    if dead:
        left = f"{counted(turns, 'turn')} in {_sum(dead)}"
        told = f"{left} that processes which died left in {folder}"
        yield Finding("journals", Verdict.WARNING, told, _RECOVER)
    else:
        yield ok("journals", f"none left by processes that died in {folder}")
    living = [each for each in segments if each.owner is Owner.LIVING]
    if living:
        yield ok("journals in use", f"{_sum(living)} of processes that run")
    newer = [each for each in segments if each.owner is Owner.NEWER]
    if newer:
        advice = "run `trajectory recover` of the version that made them"
        told = f"{_sum(newer)} of a newer format, which this version can't read"
        yield Finding("newer journals", Verdict.PROBLEM, told, advice)
    for each in segments:
        if each.owner is Owner.UNKNOWN:
            told = f"{each.path}: {each.problem}"
            yield Finding("unreadable journal", Verdict.PROBLEM, told, "make it readable")


def _sum(segments: list[Segment]) -> str:
    size = in_bytes(sum(each.bytes for each in segments))
    return f"{counted(len(segments), 'segment')} ({size})"


def _dead_letters(folder: Path) -> Finding:
    try:
        count = sum(1 for _ in DeadLetterFile(folder).read())
    except DeadLetterError as error:
        return Finding("dead letters", Verdict.PROBLEM, str(error), "make the file readable")
    if not count:
        return ok("dead letters", "none")
    advice = "to see what was refused and why, run `trajectory recover --dead-letters`"
    return Finding("dead letters", Verdict.WARNING, f"{count:,} in {folder / FILE}", advice)


def _set_aside(folder: Path) -> Finding:
    files = sorted(folder.glob(f"*{BAD}")) if folder.is_dir() else []
    if not files:
        return ok("damaged journals", "none")
    told = f"{counted(len(files), 'file')} of what could not be read: {some(files)}"
    advice = "keep them if somebody should look at them, else delete them; then check the disk"
    return Finding("damaged journals", Verdict.WARNING, told, advice)


# Permissions.


def _private(file: Path | None, folder: Path | None) -> Iterator[Finding]:
    private: list[tuple[Path, int]] = []
    if file is not None and file.is_file():
        private += [(Path(f"{file}{end}"), 0o600) for end in ("", "-wal", "-shm")]
    if folder is not None and folder.is_dir():
        private.append((folder, 0o700))
        for path in sorted(folder.iterdir()):
            if path.name == FILE or path.name.endswith((SUFFIX, BAD)):
                private.append((path, 0o600))
    yield permissions(private)
