"""What is wrong with a URL, a file or a server is said at `open` or before, with what to do."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import struct
import traceback
from pathlib import Path

import asyncpg
import pytest

from trajectory import (
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    LoggerSettings,
    MissingDependencyError,
    SchemaError,
    TrajectoryError,
    TrajectoryLogger,
    open_backend,
)
from trajectory.backends.sql import urls

SECRET = "s3cr3t-word"


async def opening(url: str) -> TrajectoryError:
    """Give the error of opening a logger, which is a backend's too; neither shows a secret."""
    settings = LoggerSettings(overflow="wait")  # with a journal to spill to, a server may be away
    with pytest.raises(TrajectoryError) as caught:
        async with TrajectoryLogger(url, settings):
            pass
    backend = open_backend(url)
    with pytest.raises(type(caught.value), match=re.escape(str(caught.value))) as again:
        await backend.open()
    for error in (caught.value, again.value):
        assert SECRET not in "".join(traceback.format_exception(error)) + repr(error)
    await backend.close()
    return caught.value


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is empty"),
        ("mongodb://host/db", "no backend for the scheme mongodb"),
        (f"postgresql://user:{SECRET}@host:notaport/db", "not a database URL"),
        (f"postgresql://user:{SECRET}@host", "names no database"),
        (f"postgresql://user:{SECRET}@host/db?colour=red", "option colour is unknown"),
        (f"postgresql://user:x@{SECRET}@host/db", "more than one @"),
        (f"postgresql:/user:{SECRET}@host/db", "begins with postgresql://"),
        (f"postgres//user:{SECRET}@host/db", "begins with postgres://"),
        (f"app:{SECRET}@host/db", r"write postgresql://\*\*\*@host/db"),
        (f"//app:{SECRET}@host/db", r"write postgresql://\*\*\*@host/db"),
        (f"app:/p/{SECRET}@x@host:5432/db", r"write postgresql://\*\*\*@host:5432/db"),
        (f"app:x@host/db?password={SECRET}", r"write postgresql://\*\*\*@host/db,"),
        (f"app:x?{SECRET}@host/db", r"write postgresql://\*\*\*,"),
        ("sqlite://host/file.db", "names a host"),
        ("sqlite:///file.db?mode=ro", "takes no options"),
    ],
)
def test_a_bad_url_is_refused_before_anything_is_opened(url: str, says: str) -> None:
    for make in (TrajectoryLogger, open_backend):
        with pytest.raises(ConfigurationError, match=says) as caught:
            make(url)
        assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("name", ["a@b:c.db", "a:b.db", "folder/a:b@c.db", "C:\\a@b.db"])
def test_a_path_may_hold_a_colon_and_an_at(name: str, tmp_path: Path) -> None:
    for path in (name, tmp_path / name, f"sqlite:///{name}"):
        assert str(open_backend(path).capabilities.identity).endswith(name)


async def test_a_missing_folder(tmp_path: Path) -> None:
    error = await opening(str(tmp_path / "no" / "t.db"))
    assert isinstance(error, ConfigurationError)
    assert "does not exist; make it" in str(error)
    assert not (tmp_path / "no").exists()


async def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert "is a folder" in str(await opening(str(tmp_path)))


async def test_a_garbage_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(b"no database at all" * 100)
    error = await opening(str(path))
    assert "not a SQLite file" in str(error)
    assert path.read_bytes() == b"no database at all" * 100
    assert list(tmp_path.iterdir()) == [path]


async def test_a_file_that_is_garbage_behind_its_header(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    error = await opening(str(path))
    assert "not a SQLite file" in str(error) or "SQLITE_CORRUPT" in str(error)


async def test_a_read_only_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.db"
    backend = open_backend(path)
    await backend.open()
    await backend.close()
    path.chmod(0o400)
    if os.geteuid() == 0:  # whom no mode stops: let the system call answer as for anybody else
        really = os.access
        monkeypatch.setattr(
            os, "access", lambda name, mode: Path(name) != path and really(name, mode)
        )
    error = await opening(str(path))
    assert isinstance(error, ConfigurationError)
    assert "can't write to the file" in str(error)
    assert "change its permissions" in str(error)


async def test_a_server_that_is_not_there() -> None:
    error = await opening(f"postgresql://user:{SECRET}@127.0.0.1:1/db")
    assert isinstance(error, BackendUnavailableError)
    assert "postgresql://user:***@127.0.0.1:1/db" in str(error)


async def test_a_database_that_is_not_there(postgres_server: str) -> None:
    error = await opening(postgres_server.rpartition("/")[0] + "/nowhere")
    assert not isinstance(error, BackendUnavailableError)
    assert "3D000" in str(error)
    assert "create the database first" in str(error)


class RefusingServer:
    """Answers any login the way Postgres does, with an error."""

    def __init__(self, sqlstate: str) -> None:
        fields = ["SFATAL", f"C{sqlstate}", f'Mrefused, and here is why: "{SECRET}"', ""]
        body = b"".join(field.encode() + b"\0" for field in fields)
        self._answer = b"E" + struct.pack("!i", len(body) + 4) + body

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while length := await reader.read(4):
            message = await reader.readexactly(struct.unpack("!i", length)[0] - 4)
            if message == struct.pack("!i", 80877103):  # asks for TLS
                writer.write(b"N")
            else:
                writer.write(self._answer)
                break
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("sqlstate", "ours", "says"),
    [
        ("28P01", BackendError, "28P01.; check the user and password in the URL"),
        ("28000", BackendError, "28000.; check the user and password in the URL"),
        ("3D000", BackendError, "3D000.; create the database first"),
        ("53300", BackendUnavailableError, "53300.; the server takes no more connections"),
        ("57P03", BackendUnavailableError, "57P03.; the database is away or busy"),
    ],
)
async def test_a_server_that_refuses_the_login(
    sqlstate: str, ours: type[BackendError], says: str
) -> None:
    server = await asyncio.start_server(RefusingServer(sqlstate), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await opening(f"postgresql://user:{SECRET}@127.0.0.1:{port}/db")
    assert type(error) is ours
    assert re.search(says, str(error))


async def test_a_role_that_is_not_there(postgres_url: str) -> None:
    error = await opening(postgres_url.replace("//postgres@", f"//nobody-here:{SECRET}@"))
    assert not isinstance(error, BackendUnavailableError)
    assert "check the user and password" in str(error)


async def test_a_failed_open_leaves_no_connection(empty_postgres_url: str) -> None:
    backend = open_backend(empty_postgres_url + "?application_name=probe")
    for _ in range(3):
        with pytest.raises(SchemaError):
            await backend.open()
    outside = await asyncpg.connect(empty_postgres_url)
    async with asyncio.timeout(10):  # the server notices a closed connection a little later
        while await outside.fetch("SELECT FROM pg_stat_activity WHERE application_name = 'probe'"):
            await asyncio.sleep(0.01)
    await outside.close()
    assert backend._transport.readers.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_an_open_that_failed_can_be_tried_again(tmp_path: Path) -> None:
    backend = open_backend(tmp_path / "later" / "t.db")
    with pytest.raises(ConfigurationError):
        await backend.open()
    (tmp_path / "later").mkdir()
    await backend.open()
    await backend.close()


async def test_a_missing_schema_names_the_command(empty_postgres_url: str) -> None:
    error = await opening(empty_postgres_url)
    assert isinstance(error, SchemaError)
    assert "trajectory db upgrade" in str(error)


async def test_a_schema_at_another_revision(url: str) -> None:
    backend = open_backend(url)
    await backend.open()
    await backend.close()
    await _execute(url, "UPDATE trajectory_alembic_version SET version_num = '0999'")
    await _execute(url, "UPDATE trajectory_schema SET oldest_writer = 999")
    error = await opening(url)
    assert isinstance(error, SchemaError)
    assert "0999" in str(error)
    assert "0001" in str(error)


async def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError, match=r"trajectory-log\[postgres\]"):
        TrajectoryLogger("postgresql://host/db")


def test_contradictory_and_unknown_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"buffer_size \(200\) is above channel_capacity"):
        LoggerSettings(buffer_size=200)
    path = tmp_path / "settings.toml"
    path.write_text("[ppp.trajectory]\nbufer_size = 5\n")
    with pytest.raises(ConfigurationError, match="bufer_size: unknown setting"):
        LoggerSettings.from_toml(path)


async def test_a_backend_that_is_not_open_says_so(tmp_path: Path) -> None:
    from trajectory import Batch

    backend = open_backend(tmp_path / "t.db")
    with pytest.raises(BackendError, match="not open"):
        await backend.write(Batch())


async def _execute(url: str, statement: str) -> None:
    if "://" in url:
        import postgres

        await asyncio.to_thread(postgres.execute, url, statement)
        return
    connection = sqlite3.connect(url)
    connection.execute(statement)
    connection.commit()
    connection.close()
