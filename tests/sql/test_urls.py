"""The ways people write an address, and what is made of each."""

from __future__ import annotations

import os
import sys
from importlib import util
from pathlib import Path

import pytest
from sqlalchemy import make_url

from trajectory import ConfigurationError, MissingDependencyError, TrajectoryLogger, open_backend
from trajectory.backends.sql import SqlBackend
from trajectory.backends.sql.urls import connect_arguments, mask, normalise

SECRET = "s3cr3t-word"


@pytest.mark.parametrize(
    ("given", "database"),
    [
        ("t.db", "t.db"),
        ("./runs/t.db", "./runs/t.db"),
        ("/var/lib/t.db", "/var/lib/t.db"),
        ("odd name? 100%.db", "odd name? 100%.db"),
        ("me@home.db", "me@home.db"),
        (":memory:", ":memory:"),
        ("sqlite://", ":memory:"),
        ("sqlite:///:memory:", ":memory:"),
        ("sqlite:///t.db", "t.db"),
        ("sqlite:////var/lib/t.db", "/var/lib/t.db"),
        ("sqlite+aiosqlite:///t.db", "t.db"),
        ("sqlite+pysqlite:///t.db", "t.db"),
        ("SQLite:///t.db", "t.db"),
    ],
)
def test_ways_to_write_a_file(given: str, database: str) -> None:
    made = normalise(given)
    assert made.drivername == "sqlite+aiosqlite"
    assert made.database == database
    assert not made.query


@pytest.mark.parametrize(
    "given",
    [
        "postgresql://u:p%40ss@host:5433/db",
        "postgres://u:p%40ss@host:5433/db",
        "postgresql+asyncpg://u:p%40ss@host:5433/db",
        "postgresql+psycopg2://u:p%40ss@host:5433/db",
        "PostgreSQL://u:p%40ss@host:5433/db",
        "postgresql://host:5433/db?user=u&password=p%40ss",
    ],
)
def test_ways_to_write_a_server(given: str) -> None:
    made = normalise(given)
    assert made.drivername == "postgresql+asyncpg"
    assert (made.username, made.password) == ("u", "p@ss")
    assert (made.host, made.port, made.database) == ("host", 5433, "db")
    assert not made.query


def test_a_url_object_and_a_path_object_will_do(tmp_path: os.PathLike[str]) -> None:
    url = make_url(f"postgresql://u:{SECRET}@host/db")
    server, file = open_backend(url), open_backend(tmp_path)  # type: ignore[arg-type]
    assert isinstance(server, SqlBackend)
    assert isinstance(file, SqlBackend)
    assert server._url == normalise(f"postgresql://u:{SECRET}@host/db")
    assert file._url.database == os.fspath(tmp_path)


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ("", {}),
        ("?sslmode=require", {"ssl": "require"}),
        ("?ssl=verify-full", {"ssl": "verify-full"}),
        ("?connect_timeout=3", {"timeout": 3.0}),
        ("?command_timeout=0.5", {"command_timeout": 0.5}),
        ("?target_session_attrs=read-write", {"target_session_attrs": "read-write"}),
        (
            "?sslmode=verify-full&sslrootcert=/etc/my%20ca.pem&sslcert=c",
            {"ssl": "verify-full", "dsn": "postgresql:?sslrootcert=%2Fetc%2Fmy+ca.pem&sslcert=c"},
        ),
    ],
)
def test_options_are_asyncpg_s(options: str, arguments: dict[str, object]) -> None:
    plain, made = connect_arguments(normalise("postgresql://host/db" + options))
    assert not plain.query
    assert made == {"server_settings": {"application_name": "trajectory"}, **arguments}


def test_settings_of_the_server_travel_with_the_connection() -> None:
    _plain, made = connect_arguments(
        normalise("postgresql://host/db?application_name=mine&options=-c%20statement_timeout=5s")
    )
    assert made == {
        "server_settings": {"application_name": "mine", "options": "-c statement_timeout=5s"}
    }


def test_a_socket_s_folder_and_many_hosts_stay_in_the_url() -> None:
    plain, _made = connect_arguments(normalise("postgresql://u@/db?host=/run/postgresql"))
    assert plain.query == {"host": "/run/postgresql"}
    plain, _made = connect_arguments(normalise("postgresql://u@/db?host=a:1&host=b:2"))
    assert plain.query == {"host": ("a:1", "b:2")}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("postgresql://host/db?sslmode=banana", "ssl or sslmode must be one of disable"),
        ("postgresql://host/db?connect_timeout=soon", "timeout or connect_timeout must be a num"),
        ("postgresql://host/db?command_timeout=0", "command_timeout must be a number of seconds"),
        ("postgresql://host/db?command_timeout=inf", "must be a number of seconds above 0"),
        ("postgresql://host/db?sslmode=require&sslmode=allow", "given more than once"),
        ("postgresql://host/db?target_session_attrs=best", "must be one of any, primary"),
        ("postgresql://host/db?channel_binding=require", "channel_binding is unknown.*leave it"),
        (f"postgresql://u:{SECRET}@host/", "names no database; write postgresql://"),
        (f"postgresql://host?password={SECRET}", "postgresql://host names no database"),
        (f"postgresql://u:{SECRET}@[::1/db", "is not a database URL"),
        ("postgresql://host:70000/db", "ports are numbers up to 65535"),
        ("postgresql://host/db?port=abc", "hosts and ports can't be used"),
        ("postgresql://u@/db?host=a:1&host=b", "of many hosts each has one"),
        (f"sqlite://u:{SECRET}@host/t.db", "names a host.*three slashes"),
        ("sqlite:///t.db?cache=shared&mode=ro", "takes no options, and has cache, mode"),
    ],
)
def test_what_can_t_be_used_is_named(given: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        TrajectoryLogger(given)
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"


async def test_a_certificate_that_is_not_there_is_named_at_open() -> None:
    backend = open_backend("postgresql://host/db?sslmode=verify-full&sslrootcert=/no/ca.pem")
    with pytest.raises(ConfigurationError, match="sslrootcert names no file"):
        await backend.open()


def test_what_a_place_is_called_does_not_hang_on_how_it_is_reached() -> None:
    """A journal is found by it again, after a change of a timeout as well."""
    plain = open_backend("postgresql://u@h/db?search_path=mine").capabilities.identity
    assert plain == "postgresql://u@h:5432/db?search_path=mine"
    reached = "postgres://u:pw@h/db?search_path=mine&command_timeout=5&sslmode=prefer"
    assert open_backend(reached).capabilities.identity == plain


def test_one_file_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its journal is found from any folder, and through a link."""
    (tmp_path / "linked").symlink_to(tmp_path / "folder")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    ways = ["folder/t.db", "./folder/../folder/t.db", "sqlite:///linked/t.db"]
    names = {open_backend(way).capabilities.identity for way in ways}
    assert names == {str(tmp_path / "folder" / "t.db")}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("t.db", "t.db"),
        ("postgresql://host/db", "postgresql://host/db"),
        (f"postgresql://{SECRET}@host/db", "postgresql://***@host/db"),
        (f"postgresql://u:{SECRET}@host/db", "postgresql://***@host/db"),
        (f"postgresql://u:a@{SECRET}@host/db", "postgresql://***@host/db"),
        (f"postgresql://u:a/{SECRET}@host/db", "postgresql://***@host/db"),
        (f"postgresql://u:a?{SECRET}@host/db", "postgresql://***"),
        (f"postgresql://host/db?password={SECRET}", "postgresql://host/db"),
        (f"postgresql://host/db?password=a@{SECRET}", "postgresql://***"),
    ],
)
def test_a_mask_hides_secrets_wherever_people_put_them(given: str, shown: str) -> None:
    assert mask(given) == shown


@pytest.mark.parametrize("where", [f"u:{SECRET}@host/db", f"host/db?user=u&password={SECRET}"])
def test_no_representation_shows_a_password(where: str) -> None:
    backend = open_backend(f"postgresql://{where}")
    logger = TrajectoryLogger(f"postgresql://{where}")
    for text in (repr(backend), repr(logger), repr(backend.capabilities), str(vars(backend))):
        assert SECRET not in text
    assert backend.capabilities.identity == "postgresql://u@host:5432/db"


def test_a_driver_that_can_t_be_found_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    assert util.find_spec("asyncpg") is None
    for make in (open_backend, TrajectoryLogger):
        with pytest.raises(MissingDependencyError, match=r'"trajectory-log\[postgres\]"'):
            make("postgresql://host/db")
    open_backend(":memory:")  # needs none
