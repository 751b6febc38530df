"""What a client is told when the database is away, slow or at odds, and what it is never told."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from looking import id_of, started, stored, turn_of
from mcp import Client
from mcp_clients import COMMAND, Asker, environment

from trajectory import TrajectoryStore
from trajectory.backend import Batch
from trajectory.backends.memory import MemoryBackend
from trajectory.errors import BackendUnavailableError
from trajectory.integrations.mcp import server_of
from trajectory.models import Trajectory
from trajectory.query import TrajectoryQuery


class _Troubled(MemoryBackend):
    """Does something before it reads trajectories."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], Any] = lambda: None

    async def read_trajectories(self, query: TrajectoryQuery, /) -> AsyncIterator[Trajectory]:
        if asyncio.iscoroutine(trouble := self.before()):
            await trouble
        async for each in super().read_trajectories(query):
            yield each


@asynccontextmanager
async def troubled(call_s: float = 60) -> AsyncIterator[tuple[_Troubled, Asker]]:
    """Ask a server over a backend that can be made to fail."""
    backend = _Troubled()
    async with TrajectoryStore(backend) as store:
        await backend.write(Batch(starts=(started(1),), turns=(turn_of(1),)))
        async with Client(server_of(store, call_s=call_s)) as client:
            yield backend, Asker(client)
    await backend.close()


async def test_a_database_that_goes_away_is_told_until_it_is_back() -> None:
    async with troubled() as (backend, ask):

        def away() -> None:
            raise BackendUnavailableError("db: the database gave no answer in time")

        backend.before = away
        told = await ask.refusal("list_trajectories")
        assert told == "db: the database gave no answer in time; call the tool again later"
        backend.before = lambda: None
        assert len((await ask.answer("list_trajectories"))["trajectories"]) == 1


async def test_a_call_that_takes_too_long_is_given_up() -> None:
    async with troubled(call_s=0.05) as (backend, ask):
        never = asyncio.Event()
        backend.before = never.wait
        told = await ask.refusal("list_trajectories")
        assert "took longer than 0.05 seconds; ask for less" in told
        backend.before = lambda: None
        assert (await ask.answer("list_trajectories"))["trajectories"]


async def test_calls_that_come_at_once_wait_for_each_other() -> None:
    async with troubled() as (backend, ask):
        at_work, most, gate = 0, 0, asyncio.Event()

        async def work() -> None:
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            if most == 4:
                gate.set()
            await gate.wait()
            at_work -= 1

        backend.before = work
        found = await asyncio.gather(
            *(ask.answer("show_trajectory", trajectory_id=str(id_of(1))) for _ in range(50))
        )
        assert len(found) == 50
        assert most == 4


async def test_what_fails_unforeseen_tells_no_content(caplog: pytest.LogCaptureFixture) -> None:
    async with troubled() as (backend, ask):

        def broken() -> None:
            raise RuntimeError("SECRET prompt")

        backend.before = broken
        with caplog.at_level(logging.DEBUG):
            told = await ask.refusal("list_trajectories")
        assert told.startswith("the server failed: RuntimeError; its log says where")
        assert "the tool list_trajectories failed: RuntimeError at " in caplog.text
        assert "SECRET" not in told + caplog.text


async def test_refusals_name_the_argument_and_not_its_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with troubled() as (_, ask):
        with caplog.at_level(logging.DEBUG):
            for tool, arguments in (
                ("list_trajectories", {"limit": "SECRET"}),
                ("list_trajectories", {"status": "SECRET"}),
                ("list_trajectories", {"cursor": "SECRET"}),
                ("show_trajectory", {"trajectory_id": "SECRET"}),
                ("read_text", {"trajectory_id": str(id_of(1)), "path": "SECRET"}),
                ("list_trajectories", {"metadata": {'["SECRET"': 1}}),
                ("SECRET", {}),
            ):
                told = await ask.refusal(tool, **arguments)
                assert "SECRET" not in told
        assert "SECRET" not in caplog.text


async def test_a_client_that_is_killed_leaves_no_server(tmp_path: Path) -> None:
    """Its pipes end while answers are under way; the server goes without a traceback."""
    db = str(tmp_path / "t.db")
    await stored(db, [started(1)], [turn_of(1, n, prompt="p" * 4000) for n in range(1, 40)])
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "--db", db),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    first = {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "x", "version": "1"},
        },
    }
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "show_trajectory", "arguments": {"trajectory_id": str(id_of(1))}},
    }
    lines = [first, {"jsonrpc": "2.0", "method": "notifications/initialized"}]
    lines += [{**call, "id": number} for number in range(1, 50)]
    process.stdin.write("".join(json.dumps(each) + "\n" for each in lines).encode())
    await process.stdin.drain()
    assert process.stdout is not None
    await process.stdout.readline()
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    process.stdin.close()
    err = await process.stderr.read()
    assert (await process.wait(), err) == (0, b"")
