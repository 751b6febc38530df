"""The server as a child process: with a real client, beside a writer, against hostile calls."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hostile import HOSTILE
from looking import answered, id_of, started, stored, turn_of
from mcp import Client
from mcp_clients import COMMAND, Asker, environment, of_child

from trajectory import Question, Violation
from trajectory.integrations.mcp import server

EFFORTS = ("low", "medium", "high")
SEVERITIES = ("minor", "major", "critical")
MANY = 10_000

WRITER = """
import asyncio, sys
from itertools import count
from trajectory import TrajectoryLogger

async def main():
    async with TrajectoryLogger(sys.argv[1]) as logger:
        for number in count():
            if number == 1:
                print("ready", flush=True)
            async with logger.trajectory(agent_name="writer") as run:
                await run.log_turn("p", "r")
            await logger.flush()
            await asyncio.sleep(0.01)  # leaves others room; goes on until it is killed

asyncio.run(main())
"""


async def many(db: str) -> None:
    """Store so many trajectories, of which every third has something to score."""
    for start in range(0, MANY, 2000):
        numbers = range(start + 1, start + 2001)
        turns = [
            turn_of(
                n,
                questions=[Question(question_text="q", effort_level=EFFORTS[n // 3 % 3])],
                violations=[Violation(preference_name="p", severity=SEVERITIES[n // 9 % 3])],
            )
            for n in numbers
            if n % 3 == 0
        ]
        await stored(db, [started(n) for n in numbers], turns)


@asynccontextmanager
async def writing(db: str) -> AsyncIterator[None]:
    """Let another process write new trajectories meanwhile."""
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WRITER, db), env=environment(), stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert await writer.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        writer.kill()
        await writer.communicate()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_pages_through_many_while_another_process_writes(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """Each once, none lost; and the scores are those of the command line."""
    db = str(tmp_path / "t.db") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    await many(db)
    old = {str(id_of(n)) for n in range(1, MANY + 1)}
    async with writing(db), of_child(db) as ask:
        pages = await ask.pages("list_trajectories", limit=100)
        listed = [each["id"] for page in pages for each in page["trajectories"]]
        assert len(listed) == len(set(listed))
        assert set(listed) >= old
        newer = len(listed) - MANY
        written = await ask.answer("statistics", agent_name="writer")
        assert written["trajectories"] > newer > 0  # it wrote meanwhile, behind our back
        pages = await ask.pages("score_trajectories", limit=100, until="2026-02-01")
    scores = [each for page in pages for each in page["trajectories"]]
    told = await asyncio.to_thread(answered, "score", "--db", db, "--until", "2026-02-01")
    assert scores == told["trajectories"]
    assert len(scores) == MANY


CURSOR_OF_NOBODY = "AAAAAAAAAAAAAAAAWyIyMDI2LTAxLTAxIl0"


def calls() -> list[tuple[str, dict[str, Any]]]:
    """Give calls that nobody should make."""
    id_ = str(id_of(1))
    rows: list[tuple[str, dict[str, Any]]] = []
    for text in HOSTILE:
        rows += [
            ("list_trajectories", {"agent_name": text}),
            ("list_trajectories", {"metadata": {text: text}}),
            ("search_turns", {"text": text, "tool": text}),
            ("score_trajectories", {"source": text}),
            ("statistics", {"preference": text}),
            ("list_trajectories", {"cursor": text}),
            ("show_trajectory", {"trajectory_id": text}),
            ("list_trajectories", {"since": text}),
            ("read_text", {"trajectory_id": id_, "path": text}),
            (text, {}),
        ]
    values: tuple[Any, ...] = (
        10**400,
        -1,
        1e300,
        "1",
        None,
        True,
        [],
        {},
        [[]] * 50,
        "x" * 10**6,
        {"a": {"b": []}},
    )
    for tool in server.TOOLS:
        for name in ("limit", "cursor", "ids", "metadata", "trajectory_id", "turn_number", "text"):
            rows += [(tool, {name: value}) for value in values]
        rows.append((tool, {"trajectory_id": id_, "turn_number": 1, "cursor": CURSOR_OF_NOBODY}))
        rows.append((tool, {"cursor": CURSOR_OF_NOBODY}))
        rows.append((tool, {"delete": True}))
    deep: Any = 1
    for _ in range(100):
        deep = {"a": deep}
    rows.append(("list_trajectories", {"metadata": deep}))
    return rows


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.timeout(300)
async def test_nothing_can_be_written_whatever_is_called(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    await stored(
        str(path), [started(1, agent_name="a")], [turn_of(1, n, prompt="p" * 900) for n in (1, 2)]
    )
    before = digest(path)
    refused = 0
    async with of_child(str(path)) as ask:
        for tool, arguments in calls():
            found = await ask.result(tool, **arguments)
            [content] = found.content
            assert content.type == "text"
            assert content.text.isprintable()
            assert len(content.text) < 41_000
            assert "the server failed" not in content.text, (tool, arguments)
            refused += bool(found.is_error)
        [page] = await ask.pages("show_trajectory", trajectory_id=str(id_of(1)))
        assert len(page["turns"]) == 2
    assert refused > 200
    assert digest(path) == before


async def test_a_cursor_belongs_to_its_question(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    await stored(db, [started(n) for n in range(1, 6)], [turn_of(1, n) for n in range(1, 6)])
    async with of_child(db) as ask:
        first = await ask.answer("list_trajectories", limit=2)
        cursor = first["next_cursor"]
        for tool, arguments in (
            ("list_trajectories", {"agent_name": "a", "cursor": cursor}),
            ("score_trajectories", {"cursor": cursor}),
            ("search_turns", {"cursor": cursor}),
            ("list_trajectories", {"cursor": cursor[:-1]}),
            ("list_trajectories", {"cursor": cursor.swapcase()}),
            ("list_trajectories", {"cursor": ""}),
        ):
            told = await ask.refusal(tool, **arguments)
            assert "cursor was not given for these arguments" in told
        # Nothing is kept of it: it serves as often as one likes, and with another limit.
        for limit in (1, 3, 100):
            more = await ask.answer("list_trajectories", limit=limit, cursor=cursor)
            assert len(more["trajectories"]) == min(limit, 3)


async def test_nothing_but_the_protocol_goes_to_standard_output(tmp_path: Path) -> None:
    """Whatever prints, and whatever is sent."""
    db = str(tmp_path / "t.db")
    await stored(db, [started(1)])
    program = (
        "import os\n"
        "from trajectory.integrations.mcp import finding\n"
        "from trajectory.cli import main\n"
        "real = finding.figures_of\n"
        "def loud(*arguments):\n"
        "    print('NOISE', flush=True)\n"
        "    os.system('echo NOISE')\n"
        "    return real(*arguments)\n"
        "finding.figures_of = loud\n"
        "main()\n"
    )
    lines = [
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "x", "version": "1"},
            },
        },
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {
            "jsonrpc": "2.0",
            "id": 2,
            "method": "tools/call",
            "params": {"name": "statistics", "arguments": {}},
        },
    ]
    sent = "".join(json.dumps(each) + "\n" for each in lines)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, "mcp", "--db", db),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b'not JSON\n{"jsonrpc": "2.0"}\n[]\n\xff\n' + sent.encode())
    await process.stdin.drain()
    answers: list[dict[str, Any]] = []
    while not any(each.get("id") == 2 for each in answers):
        answers.append(json.loads(await process.stdout.readline()))
    process.stdin.close()
    out, err = await process.communicate()
    assert process.returncode == 0
    assert out == b""
    assert all(each["jsonrpc"] == "2.0" for each in answers)
    assert err.count(b"NOISE") == 2
    assert b"Traceback" not in err


@asynccontextmanager
async def by_http(db: str) -> AsyncIterator[str]:
    """Serve by HTTP; give the URL."""
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "--db", db, "--http", "0"),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    line = (await process.stderr.readline()).decode()
    assert line.startswith("serving http://127.0.0.1:"), line
    try:
        yield line.split()[1]
    finally:
        process.terminate()
        out, err = await process.communicate()
    assert (process.returncode, out) == (143, b"")
    assert b"Traceback" not in err


async def test_serves_http_on_this_machine_alone(tmp_path: Path) -> None:
    db = tmp_path / "t.db"
    await stored(str(db), [started(n) for n in range(1, 31)])
    before = digest(db)
    async with by_http(str(db)) as url:
        for mode in ("auto", "legacy"):
            async with Client(url, mode=mode) as client:
                ask = Asker(client)
                assert len((await client.list_tools()).tools) == len(server.TOOLS)
                pages = await ask.pages("list_trajectories", limit=10)
                assert [len(page["trajectories"]) for page in pages] == [10, 10, 10]
        port = int(url.split(":")[2].split("/")[0])
        with socket.socket() as probe, pytest.raises(OSError):
            probe.connect(("127.0.0.2", port))
    assert digest(db) == before


HEADERS = [
    ({"host": "evil.example"}, 421),
    ({"host": "evil.example:{port}"}, 421),
    ({"host": "127.0.0.1"}, 421),
    ({"host": "127.0.0.1:1"}, 421),
    ({"host": "127.0.0.1:{port}.evil.example"}, 421),
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "https://127.0.0.1:{port}"}, 403),
    ({"origin": "http://127.0.0.1:{port}.evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"content-type": "text/plain"}, 400),
    ({"host": "localhost:{port}", "origin": "http://localhost:{port}"}, 200),
    ({}, 200),
]


async def test_refuses_what_a_page_in_a_browser_could_send(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    await stored(db, [started(1)])
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "list_trajectories", "arguments": {}},
    }
    async with by_http(db) as url, httpx2.AsyncClient() as client:
        port = url.split(":")[2].split("/")[0]
        for version in ("2025-06-18", "2025-11-25"):
            for headers, status in HEADERS:
                given = {
                    "accept": "application/json, text/event-stream",
                    "content-type": "application/json",
                    "mcp-protocol-version": version,
                    **{name: text.format(port=port) for name, text in headers.items()},
                }
                answer = await client.post(url, content=json.dumps(call), headers=given)
                assert answer.status_code == status, (headers, answer.text)
                assert ("trajectories" in answer.text) is (status == 200)
        large = await client.post(
            url, content=b" " * (2**20 + 1), headers={"content-type": "application/json"}
        )
        assert large.status_code == 413
