"""`trajectory db`, and what all commands share."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import trajectory
from trajectory import migrations
from trajectory.cli import app, screen

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **variables: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env=variables)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "a.db")
    return str(request.getfixturevalue("empty_postgres_url"))


def test_upgrade_current_check(url: str) -> None:
    assert run("db", "check", "--db", url).exit_code == 1
    missing = run("db", "current", "--db", url)
    assert (missing.exit_code, "revision none (missing)" in missing.stdout) == (0, True)

    done = run("db", "upgrade", "--db", url)
    assert done.exit_code == 0, done.output
    assert "revision 0001 (current)" in done.stdout
    assert run("db", "upgrade", "--db", url).exit_code == 0
    assert run("db", "check", "--db", url).exit_code == 0
    assert migrations.check(url).usable


def test_answers_for_programs(url: str) -> None:
    def answer(*arguments: str) -> tuple[int, dict[str, Any]]:
        result = run("db", *arguments, "--db", url, "--json")
        return result.exit_code, json.loads(result.stdout)

    missing = {
        "db": migrations.masked(url),
        "revision": None,
        "needed": "0001",
        "standing": "missing",
        "usable": False,
    }
    reached = {**missing, "revision": "0001", "standing": "current", "usable": True}
    assert answer("check") == (1, missing)
    assert answer("current") == (0, missing)
    assert answer("upgrade") == (0, reached)
    assert answer("current") == (0, reached)
    assert answer("check") == (0, reached)


def test_the_database_can_be_named_in_the_environment(tmp_path: Path) -> None:
    path = str(tmp_path / "named.db")
    assert run("db", "upgrade", TRAJECTORY_URL=path).exit_code == 0
    assert migrations.check(path).usable


def test_the_default_is_a_file_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("db", "upgrade").exit_code == 0
    assert (tmp_path / "trajectories.db").exists()


def test_wal_on_and_off(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    on = run("db", "upgrade", "--db", str(path), "--wal", "on", "--json")
    assert (on.exit_code, json.loads(on.stdout)["wal"]) == (0, "on")
    assert path.read_bytes()[18] == 2  # the format version in the header: WAL
    assert run("db", "upgrade", "--db", str(path), "--wal", "off").exit_code == 0
    assert path.read_bytes()[18] == 1


def test_sql_is_printed_and_nothing_else_happens(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    result = run("db", "upgrade", "--sql", "--db", str(path))
    assert (result.exit_code, result.stdout) == (0, migrations.script(str(path)))
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("db", "check", "--db", "missing.db"), 1, "run `trajectory db upgrade --db missing.db`"),
        (("db", "upgrade", "--db", "no/folder/a.db"), 2, "does not exist"),
        (("db", "upgrade", "--db", "oracle://u:canary@h/d"), 2, "oracle"),
        (("db", "upgrade", "--db", "postgresql://u:canary@127.0.0.1:1/d"), 1, "can't reach"),
        (("db", "upgrade", "--db", "."), 2, ". is a folder; name a file in it"),
        (("db", "check", "--db", "."), 2, ". is a folder; name a file in it"),
        (("db", "current", "--db", "sqlite:///."), 2, ". is a folder; name a file in it"),
        (("db", "upgrade", "--sql", "--wal", "on"), 2, "leave --wal"),
        (("db", "upgrade", "--wal", "maybe"), 2, "maybe"),
        (("db", "nothing"), 2, "nothing"),
        (("--db", "a.db"), 2, "--db"),
    ],
)
def test_failures_are_one_line_and_an_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert "canary" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("db", "check", "--db", "."), 2, "is a folder"),
        (("db", "upgrade", "--db", "postgresql://u:canary@127.0.0.1:1/d"), 1, "can't reach"),
        (("db", "upgrade", "--nope"), 2, "No such option"),
        (("log", "no-such-file"), 2, "can't read no-such-file"),
        (("log", os.devnull, "--run-id", "x" * 2000), 2, "--run-id"),
        (("import", "opnai", os.devnull), 2, "no importer"),
        (("import", "openai-chat"), 2, "name the files"),
        (("import",), 2, "Missing"),
    ],
)
def test_a_failure_is_json_where_a_program_reads(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, list(told)) == (code, ["error"])
    assert words in told["error"]
    assert "canary" not in result.output


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, and not a database at all " * 200)
    for command in ("upgrade", "current", "check"):
        result = run("db", command, "--db", str(path))
        assert result.exit_code in (1, 2), result.output
        assert str(path) in result.stderr
        assert "Traceback" not in result.output
    assert path.read_text().startswith("these are notes")


def test_the_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"trajectory {trajectory.__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["db", "--help"], ["db", "upgrade", "--help"]])
def test_help_loads_no_database_library(arguments: list[str]) -> None:
    program = (
        "import sys, atexit\n"
        "from trajectory.cli import main\n"
        "known = ('sqlalchemy', 'alembic')\n"
        "atexit.register(lambda: print([name for name in known if name in sys.modules]))\n"
        f"sys.argv[1:] = {arguments}\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("[]\n"), done.stdout
    assert "Usage: trajectory" in done.stdout


def test_what_a_terminal_would_obey_is_shown() -> None:
    assert screen.visible("a\x1b]0;title\x07\r\x9b1m\u202eb\nc\td") == (
        "a\\x1b]0;title\\x07\\r\\x9b1m\\u202eb\nc\td"
    )


def test_an_error_with_an_escape_in_a_name_is_harmless(tmp_path: Path) -> None:
    result = run("db", "check", "--db", str(tmp_path / "a\x1b[31m.db"))
    assert result.exit_code == 1
    assert "\x1b[31m" not in result.stderr
    assert "\\x1b[31m" in result.stderr
