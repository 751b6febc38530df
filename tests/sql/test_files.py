"""SQLite files: private, with the right pragmas, and shared without surprises."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trajectory import BackendError, Batch, SchemaError, Turn, TurnQuery, open_backend
from trajectory.backends.sql import SqlBackend, engine
from trajectory.ids import uuid7
from trajectory.testing.samples import a_turn, turns_of


@pytest.mark.parametrize("umask", [0o000, 0o022])
async def test_files_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        backend = open_backend(tmp_path / "t.db")
        await backend.open()
        await backend.write(Batch(turns=(a_turn(),)))
        files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        await backend.close()
    finally:
        os.umask(before)
    assert files == {"t.db": 0o600, "t.db-wal": 0o600, "t.db-shm": 0o600}


@pytest.mark.parametrize("mode", ["wal", "delete"])
async def test_pragmas_follow_the_file(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "t.db"
    backend = SqlBackend(str(path))
    await backend.open()
    await backend.close()
    _run(path, f"PRAGMA journal_mode={mode}")
    await backend.open()
    transport = backend._transport
    raw = (await transport._connection.get_raw_connection()).driver_connection  # type: ignore[union-attr]

    def pragmas(connection: sqlite3.Connection) -> dict[str, object]:
        names = ("foreign_keys", "synchronous", "application_id", "auto_vacuum", "journal_mode")
        return {n: connection.execute(f"PRAGMA {n}").fetchone()[0] for n in names}

    found = await raw._execute(pragmas, raw._conn)  # type: ignore[union-attr]
    async with transport.readers.connect() as reader:
        query_only = (await reader.exec_driver_sql("PRAGMA query_only")).scalar()
    await backend.close()
    assert found == {
        "foreign_keys": 1,
        "synchronous": 1 if mode == "wal" else 2,
        "application_id": engine.APPLICATION_ID,
        "auto_vacuum": 2,
        "journal_mode": mode,
    }
    assert query_only == 1
    survives = {"wal": "process_crash", "delete": "power_loss"}[mode]
    assert backend.capabilities.survives == survives


WRITER = """
import asyncio, sys
from trajectory import Batch, Turn, BackendUnavailableError, open_backend
from trajectory.ids import uuid7

async def main():
    backend = open_backend(sys.argv[1])
    await backend.open()
    id_ = uuid7()
    for number in range(60):
        turns = [Turn(trajectory_id=id_, turn_number=number * 5 + n, prompt="p", response="r")
                 for n in range(5)]
        await backend.write(Batch(turns=tuple(turns)))
        # What a plain BEGIN would break on: a read between writes, while others write.
        await backend.delete_trajectories([uuid7()])
    await backend.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("mode", ["wal", "delete"])
async def test_two_processes_write_to_one_file(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "t.db"
    backend = open_backend(path)
    await backend.open()
    await backend.close()
    _run(path, f"PRAGMA journal_mode={mode}")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [(await asyncio.to_thread(writer.communicate))[1] for writer in writers]
    assert [(writer.returncode, error) for writer, error in zip(writers, errors, strict=True)] == [
        (0, ""),
        (0, ""),
    ]
    await backend.open()
    assert len(await turns_of(backend)) == 600
    await backend.close()


OPENERS = """
import asyncio, os, sys, time
from trajectory import migrations, open_backend

async def opened(path, start):
    backend = open_backend(path)
    while time.monotonic() < start:
        pass
    await backend.open()
    await backend.close()

for round_ in range(6):
    start = time.monotonic() + 0.1
    children = []
    for _ in range(4):
        child = os.fork()
        if not child:
            asyncio.run(opened(f"{sys.argv[1]}/{round_}.db", start))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
"""


async def test_processes_that_make_a_file_at_once_all_open_it(tmp_path: Path) -> None:
    """Invariant: one makes it, the others find it ready or make it ready; and it is in WAL."""
    openers = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OPENERS, str(tmp_path), stderr=subprocess.PIPE
    )
    _output, errors = await openers.communicate()
    assert errors.decode() == ""
    files = sorted(tmp_path.iterdir())
    assert [_run(file, "PRAGMA journal_mode") for file in files] == [("wal",)] * 6


async def test_a_file_whose_maker_was_killed_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    assert engine.prepare_file(path)  # and no more
    async with asyncio.timeout(10):
        backend = open_backend(path)
        await backend.open()
        await backend.write(Batch(turns=(a_turn(),)))
        await backend.close()


async def test_a_file_of_somebody_else_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    _run(path, "CREATE TABLE theirs (x)")
    with pytest.raises(SchemaError, match="the schema is missing; run `trajectory db upgrade"):
        await open_backend(path).open()
    assert _run(path, "SELECT group_concat(name) FROM sqlite_master") == ("theirs",)


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("instead", ["nothing", "another"])
async def test_a_file_that_is_deleted_while_open_is_noticed(
    tmp_path: Path, mode: str, instead: str
) -> None:
    """In WAL mode SQLite reports success for what it writes into a deleted file."""
    path = tmp_path / "t.db"
    backend = open_backend(path)
    await backend.open()
    await backend.close()
    _run(path, f"PRAGMA journal_mode={mode}")
    await backend.open()
    await backend.write(Batch(turns=(a_turn(),)))
    for file in tmp_path.iterdir():
        file.rename(file.with_name(f"gone-{file.name}"))
    if instead == "another":
        path.write_bytes(b"")
    with pytest.raises(BackendError, match=r"deleted or replaced|READONLY_DBMOVED") as caught:
        await backend.write(Batch(turns=(a_turn(),)))
    assert type(caught.value) is BackendError
    await backend.close()


async def test_a_relative_path_is_that_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    backend = open_backend("t.db")
    await backend.open()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await backend.write(Batch(turns=(a_turn(),)))
    await backend.close()
    await backend.open()
    assert len(await turns_of(backend)) == 1
    await backend.close()
    assert not list((tmp_path / "elsewhere").iterdir())


async def test_a_backend_goes_on_in_another_event_loop(tmp_path: Path) -> None:
    for url in (str(tmp_path / "t.db"), ":memory:"):
        backend = SqlBackend(url)

        async def writers_that_wait(backend: SqlBackend = backend) -> int:
            await asyncio.gather(backend.open(), backend.open())
            await asyncio.gather(*(backend.write(Batch(turns=(a_turn(),))) for _ in range(5)))
            found = await turns_of(backend)
            await backend.close()
            return len(found)

        for _ in range(2):
            stored = await asyncio.to_thread(asyncio.run, writers_that_wait())
        assert stored == (5 if url == ":memory:" else 10)


async def test_an_open_snapshot_keeps_no_writer_waiting(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    backend = open_backend(path)
    await backend.open()
    await backend.write(Batch(turns=(a_turn(),)))
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM trajectory_turns").fetchone() == (1,)
    async with asyncio.timeout(1):
        await backend.write(Batch(turns=(a_turn(),)))
    assert reader.execute("SELECT count(*) FROM trajectory_turns").fetchone() == (1,)
    reader.close()
    assert len(await turns_of(backend)) == 2
    await backend.close()


async def test_two_in_memory_backends_are_two_databases() -> None:
    first, second = open_backend(":memory:"), open_backend("sqlite://")
    await first.open()
    await second.open()
    await first.write(Batch(turns=(a_turn(),)))
    assert len(await turns_of(first)) == 1
    assert await turns_of(second) == []
    await first.close()
    await second.close()


async def test_a_reader_in_memory_undoes_no_write() -> None:
    """The trap of a shared connection: closing the reader rolled the writer's rows back."""
    backend = open_backend(":memory:")
    await backend.open()
    id_ = uuid7()

    async def read() -> None:
        for _ in range(30):
            assert len(await turns_of(backend)) % 10 == 0
            async for turn in backend.read_turns(TurnQuery()):
                assert isinstance(turn, Turn)
                break  # leaves the stream half read
            await asyncio.sleep(0)

    async def write() -> None:
        for start in range(0, 300, 10):
            await backend.write(Batch(turns=tuple(a_turn(id_, start + n) for n in range(10))))

    await asyncio.gather(read(), write())
    assert len(await turns_of(backend)) == 300
    await backend.close()


def _run(path: Path, statement: str) -> object:
    connection = sqlite3.connect(path)
    found = connection.execute(statement).fetchone()
    connection.commit()
    connection.close()
    return found


async def test_a_second_backend_takes_no_lock_of_the_first_away(tmp_path: Path) -> None:
    """Invariant: what was committed stays, though others open and close the same file meanwhile.

    POSIX drops all locks that a process holds on a file when it closes any descriptor of it. Then
    another process that closes last would remove the WAL under our writer.
    """
    path = tmp_path / "t.db"
    look = (
        "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1]);"
        "print(connection.execute('SELECT count(*) FROM trajectory_turns').fetchone()[0])"
    )
    backend, second = open_backend(path), open_backend(path)
    await backend.open()
    await backend.write(Batch(turns=(a_turn(),)))
    await second.open()
    await second.close()
    for stored in (1, 2):
        seen = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", look, str(path)], capture_output=True, check=True
        )
        assert int(seen.stdout) == stored
        assert (tmp_path / "t.db-wal").exists()
        await backend.write(Batch(turns=(a_turn(),)))
    await backend.close()


@pytest.mark.parametrize("kind", ["files", "memory"])
async def test_new_databases_may_be_opened_at_once(tmp_path: Path, kind: str) -> None:
    """Invariant: a migration goes into its own database, whatever else is migrated meanwhile."""
    places = [":memory:" if kind == "memory" else tmp_path / f"{n}.db" for n in range(8)]
    backends = [open_backend(place) for place in places]
    await asyncio.gather(*(backend.open() for backend in backends))
    for backend in backends:
        await backend.write(Batch(turns=(a_turn(),)))
        assert len(await turns_of(backend)) == 1
        await backend.close()


def test_new_databases_may_be_opened_by_threads_at_once(tmp_path: Path) -> None:
    async def use(number: int) -> None:
        backend = open_backend(tmp_path / f"{number}.db")
        await backend.open()
        await backend.write(Batch(turns=(a_turn(),)))
        await backend.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: asyncio.run(use(number)), range(6)))


async def test_an_open_that_is_cancelled_is_cancelled(tmp_path: Path) -> None:
    """Invariant: what tidies up after it puts no error in its place, and it can be tried again."""
    for number in range(25):
        backend = open_backend(tmp_path / f"{number}.db")
        opening = asyncio.ensure_future(backend.open())
        await asyncio.sleep(0.002 * number)
        opening.cancel()
        [outcome] = await asyncio.gather(opening, return_exceptions=True)
        assert outcome is None or isinstance(outcome, asyncio.CancelledError), repr(outcome)
        await backend.open()
        await backend.write(Batch(turns=(a_turn(),)))
        await backend.close()
