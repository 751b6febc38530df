"""`trajectory mcp`: what is said where it can't serve, and what it loads."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from looking import ran, refused, started, store, turn_of
from mcp_clients import COMMAND, environment

from trajectory.migrations import Standing


def run(*arguments: str, program: str = COMMAND[2]) -> tuple[int, str, str]:
    """Run the command to its end, with nothing on its input."""
    done = subprocess.run(
        [sys.executable, "-c", program, "mcp", *arguments],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_client_that_leaves_at_once_is_no_failure(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    store(db, [started(1)])
    assert run("--db", db) == (0, "", "")


@pytest.mark.parametrize("options", [(), ("--http", "0")], ids=["stdio", "http"])
def test_a_database_that_is_away_is_one_line(options: tuple[str, ...]) -> None:
    code, out, err = run("--db", "postgresql://me:secret@127.0.0.1:1/db", *options)
    assert (code, out) == (1, "")
    [line] = err.splitlines()
    assert line.startswith("error: postgresql://me:***@127.0.0.1:1/db")
    assert "can't reach the database" in line


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    db = tmp_path / "t.db"
    code, out, err = run("--db", str(db))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: there is no file {db} to read; check the path")
    assert not db.exists()


def test_a_schema_that_is_missing_is_told(empty_postgres_url: str) -> None:
    code, out, err = run("--db", empty_postgres_url)
    assert (code, out) == (1, "")
    assert Standing.MISSING in err
    assert "trajectory db upgrade" in err


@pytest.mark.parametrize("port", ["-1", "65536", "x", "0.0.0.0:80"])
def test_a_port_is_a_number_and_no_address(port: str) -> None:
    assert "--http" in refused(2, "mcp", "--http", port)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    store(db, [started(1)])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = run("--db", db, "--http", str(port))
    assert (code, out) == (2, "")
    assert err == (
        f"error: can't listen on port {port} of 127.0.0.1: Address already in use; give another, "
        f"or 0 for one that is free\n"
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_closed_stream_is_told(tmp_path: Path, closed: str) -> None:
    db = str(tmp_path / "t.db")
    store(db, [started(1)])
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, "--db", db],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "standard input or output is closed" in done.stderr
    assert "Traceback" not in done.stderr
    assert (done.returncode, done.stdout) == (2, "")


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    program = f"import sys; sys.modules['mcp'] = None; {COMMAND[2]}"
    code, out, err = run("--db", str(tmp_path / "t.db"), program=program)
    assert (code, out) == (1, "")
    assert 'pip install "trajectory-log[mcp]"' in err
    assert "Traceback" not in err


@pytest.mark.parametrize("options", [(), ("--http", "0")], ids=["stdio", "http"])
def test_ctrl_c_ends_it_at_once(tmp_path: Path, options: tuple[str, ...]) -> None:
    db = str(tmp_path / "t.db")
    store(db, [started(1)])
    with subprocess.Popen(
        [*COMMAND, "--db", db, *options],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if options:
            assert process.stderr.readline().startswith(b"serving ")
        else:
            process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
            assert b'"id":1' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == (130 if options else -signal.SIGINT)
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


def test_help_loads_no_server() -> None:
    program = f"""
import sys
try:
    {COMMAND[2].replace("; ", chr(10) + "    ")}
except SystemExit as end:
    assert not end.code
loaded = {{"mcp", "starlette", "uvicorn", "sqlalchemy"}} & set(sys.modules)
print(sorted(loaded), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "mcp", "--help"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "[]\n"
    assert "--http" in done.stdout


def test_help_tells_who_can_reach_it() -> None:
    out = " ".join(ran("mcp", "--help").stdout.replace("│", " ").split())
    assert "127.0.0.1" in out
    assert "for every user of it" in out


def test_reads_a_file_that_nobody_may_write_to(tmp_path: Path) -> None:
    db = tmp_path / "t.db"
    store(str(db), [started(1)], [turn_of(1)])
    db.chmod(0o400)
    state = db.stat()
    assert run("--db", str(db)) == (0, "", "")
    assert (db.stat().st_mtime_ns, db.stat().st_size) == (state.st_mtime_ns, state.st_size)
