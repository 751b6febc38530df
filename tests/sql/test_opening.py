"""What is wrong with a URL, a file or a server is said at `open` or before, with what to do."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

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
    """Give the error of opening a logger; nothing may stay open after it."""
    with pytest.raises(TrajectoryError) as caught:
        async with TrajectoryLogger(url):
            pass
    assert SECRET not in "".join(map(str, [caught.value, repr(caught.value)]))
    return caught.value


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is empty"),
        ("mongodb://host/db", "no backend for the scheme mongodb"),
        (f"postgresql://user:{SECRET}@host:notaport/db", "not a database URL"),
        (f"postgresql://user:{SECRET}@host", "names no database"),
        (f"postgresql://user:{SECRET}@host/db?colour=red", "option colour is unknown"),
        ("sqlite://host/file.db", "names a host"),
        ("sqlite:///file.db?mode=ro", "takes no options"),
    ],
)
def test_a_bad_url_is_refused_before_anything_is_opened(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        TrajectoryLogger(url)
    assert SECRET not in str(caught.value)


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
    assert isinstance(error, BackendError)
    assert "SQLITE_NOTADB" in str(error) or "SQLITE_CORRUPT" in str(error)


async def test_a_read_only_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.db"
    backend = open_backend(path)
    await backend.open()
    await backend.close()
    path.chmod(0o400)
    if os.geteuid() == 0:  # whom no mode stops: let the system call answer as for anybody else
        really = os.open

        def refused(name: str, flags: int, mode: int = 0o777) -> int:
            if Path(name) == path and flags & os.O_RDWR and not flags & os.O_CREAT:
                raise PermissionError(13, "Permission denied", name)
            return really(name, flags, mode)

        monkeypatch.setattr(os, "open", refused)
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
