"""Databases that are only read: no byte of a file changes, and no right to write is needed."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import postgres
import pytest
from looking import id_of, started, stored, turn_of

from trajectory import (
    BackendError,
    Batch,
    ConfigurationError,
    SchemaError,
    TrajectoryStore,
    TurnQuery,
    open_backend,
)
from trajectory.backends.sql import SqlBackend, engine

ROOT = Path(__file__).parents[2]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def filled(path: Path, mode: str = "wal") -> None:
    """Make a file with one turn, in a journal mode."""
    await stored(str(path), [started(1)], [turn_of(1)])
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(f"PRAGMA journal_mode={mode}").fetchone() == (mode,)


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("name", ["t.db", "a #?%41 é.db"])
async def test_a_file_is_read_and_no_byte_changes(tmp_path: Path, mode: str, name: str) -> None:
    path = tmp_path / name
    await filled(path, mode)
    before = digest(path)
    async with TrajectoryStore(path, read_only=True) as store:
        assert (await store.statistics()).turns == 1
        assert [turn.prompt async for turn in store.turns()] == ["p1-1"]
        assert (await store.score(id_of(1))) is not None
        with pytest.raises(ConfigurationError, match="the store is read-only"):
            await store.prune(timedelta(days=1))
        with pytest.raises(BackendError, match="opened to be read alone"):
            await store.backend.write(Batch(turns=(turn_of(1, 2),)))
        with pytest.raises(BackendError, match="opened to be read alone"):
            await store.backend.delete_trajectories([id_of(1)])
    assert digest(path) == before


async def test_what_a_killed_writer_left_in_its_log_is_read_and_stays_there(tmp_path: Path) -> None:
    path, copy = tmp_path / "t.db", tmp_path / "copy"
    backend = open_backend(path)
    await backend.open()
    await backend.write(Batch(turns=(turn_of(1),)))
    copy.mkdir()
    for file in ("t.db", "t.db-wal"):  # as a kill leaves them
        shutil.copy(tmp_path / file, copy / file)
    await backend.close()
    before = digest(copy / "t.db"), digest(copy / "t.db-wal")
    async with TrajectoryStore(copy / "t.db", read_only=True) as store:
        assert (await store.statistics()).turns == 1
    assert (digest(copy / "t.db"), digest(copy / "t.db-wal")) == before


async def test_sees_what_others_write_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    await filled(path)
    async with TrajectoryStore(path, read_only=True) as store:
        for count in (1, 2, 3):
            assert (await store.statistics()).turns == count
            await stored(str(path), [], [turn_of(1, count + 1)])


READER = """
import asyncio, json, os, pwd, sys
from trajectory import TrajectoryError, TrajectoryStore

async def read(path, ways):
    for way in ways:
        try:
            async with TrajectoryStore(path, read_only=way == "only") as store:
                for _ in range(2):  # the second after a line of input
                    print((await store.statistics()).turns, flush=True)
                    await asyncio.to_thread(sys.stdin.readline)
                print((await store.statistics()).turns, flush=True)
        except TrajectoryError as error:
            print(type(error).__name__, error, flush=True)

asyncio.run(read(sys.argv[1], ["only"]))  # all is loaded, while it may be
if os.geteuid() == 0:  # whom no mode stops
    os.setgroups([])
    nobody = pwd.getpwnam("nobody")
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
print("ready", flush=True)
asyncio.run(read(sys.argv[2], sys.argv[3:]))
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may look into; pytest's own is its user's alone."""
    folder = Path(tempfile.mkdtemp(prefix="read-only-"))
    folder.chmod(0o755)
    yield folder
    for each in [folder, *folder.rglob("*")]:
        each.chmod(0o755)
    shutil.rmtree(folder)


@contextmanager
def reading(sample: Path, path: Path, *ways: str) -> Iterator[subprocess.Popen[str]]:
    """Start a reader that may read the file, and neither write to it nor in its folder."""
    with subprocess.Popen(
        [sys.executable, "-c", READER, sample, path, *ways],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n\n")
            process.stdin.flush()
            assert [process.stdout.readline() for _ in range(4)] == ["1\n"] * 3 + ["ready\n"]
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("mode", ["wal", "delete"])
async def test_needs_no_right_to_write(tmp_path: Path, public: Path, mode: str) -> None:
    """A file in WAL mode without its log is the hard one: SQLite would have to make it."""
    sample, path = tmp_path / "sample.db", public / "folder" / "t.db"
    await filled(sample)
    path.parent.mkdir()
    await filled(path, mode)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    before = digest(path)
    with reading(sample, path, "write", "only") as process:
        assert process.stdout is not None
        assert "can't write to the file" in process.stdout.readline()
        assert process.stdin is not None
        assert process.stdout.readline() == "1\n"
        process.stdin.write("\n\n")
        process.stdin.flush()
        assert process.stdout.read() == "1\n1\n"
    assert digest(path) == before
    assert list(path.parent.iterdir()) == [path]


async def test_notices_the_writer_that_comes_later(tmp_path: Path, public: Path) -> None:
    """Invariant: what is opened as if it never changed is not, once a log lies beside it."""
    if os.geteuid() != 0:
        public.chmod(0o555)
    sample, path = tmp_path / "sample.db", public / "t.db"
    await filled(sample)
    await filled(path)
    path.chmod(0o644)
    with reading(sample, path, "only") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "1\n"
        public.chmod(0o755)
        backend = open_backend(path)
        await backend.open()
        await backend.write(Batch(turns=(turn_of(1, 2),)))
        for file in public.iterdir():
            file.chmod(0o644)
        for _ in range(2):
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "2\n"
        await backend.close()


async def test_a_file_that_can_not_be_read(tmp_path: Path, public: Path) -> None:
    sample, path = tmp_path / "sample.db", public / "t.db"
    await filled(sample)
    await filled(path)
    path.chmod(0o200)
    with reading(sample, path, "only") as process:
        assert process.stdout is not None
        assert "can't read the file" in process.stdout.readline()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no database at all" * 100, "not a SQLite file"),
        (b"SQLite format 3\0" + b"\xff" * 5000, "not a SQLite file|SQLITE_CORRUPT"),
        (None, "is a folder"),
    ],
    ids=["text", "garbage", "folder"],
)
async def test_what_is_no_database_is_told(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "t.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    backend = SqlBackend(str(path))
    backend.only_read()
    with pytest.raises((ConfigurationError, BackendError), match=told):
        await backend.open()
    await backend.close()
    assert list(tmp_path.iterdir()) == [path]


async def test_a_file_of_somebody_else_is_told_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = digest(path)
    with pytest.raises(SchemaError, match="the schema is missing") as caught:
        async with TrajectoryStore(path, read_only=True):
            pass
    assert str(path) in str(caught.value)
    assert digest(path) == before


async def test_a_file_whose_maker_was_killed_is_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    assert engine.prepare_file(path)
    with pytest.raises(SchemaError, match="the schema is missing"):
        async with TrajectoryStore(path, read_only=True):
            pass


async def test_a_role_that_may_only_select(postgres_url: str) -> None:
    await stored(postgres_url, [started(1)], [turn_of(1)])
    role = f"r_{uuid4().hex}"
    postgres.execute(postgres_url, f"CREATE ROLE {role} LOGIN")
    try:
        postgres.execute(postgres_url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        url = urlsplit(postgres_url)
        theirs = url._replace(netloc=f"{role}@{url.hostname}:{url.port}").geturl()
        async with TrajectoryStore(theirs, read_only=True) as store:
            assert (await store.statistics()).turns == 1
            assert [turn.turn_number async for turn in store.turns(TurnQuery())] == [1]
            with pytest.raises(BackendError, match="opened to be read alone"):
                await store.backend.write(Batch(turns=(turn_of(1, 2),)))
    finally:
        postgres.execute(postgres_url, f"DROP OWNED BY {role}")
        postgres.execute(postgres_url, f"DROP ROLE {role}")


async def test_a_backend_that_is_handed_in_is_opened_as_ever(tmp_path: Path) -> None:
    backend = open_backend(tmp_path / "t.db")
    async with TrajectoryStore(backend, read_only=True) as store:
        with pytest.raises(ConfigurationError, match="the store is read-only"):
            await store.prune(timedelta(days=1))
    await backend.write(Batch(turns=(turn_of(1),)))
    await backend.close()


async def test_memory_has_nothing_to_read() -> None:
    async with TrajectoryStore(":memory:", read_only=True) as store:
        assert (await store.statistics()).turns == 0


def test_a_forked_child_reads_on_its_own(tmp_path: Path) -> None:
    backend = SqlBackend(str(tmp_path / "t.db"))
    backend.only_read()
    before = type(backend._transport)
    backend.forget()
    assert type(backend._transport) is before
