"""The benchmark of growth runs, and gives a figure for each question at each size."""

from __future__ import annotations

import asyncio
import sqlite3
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import growth, indexes, loading, questions
from benchmarks.growth import Sizes
from benchmarks.places import SqliteFiles
from benchmarks.proxy import far


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "CALLS", 2)
    monkeypatch.setattr(questions, "FIRST_CALLS", 1)


@pytest.mark.usefixtures("quick")
def test_it_measures_all_of_it(tmp_path: Path) -> None:
    least = questions.PAGE * questions.TURNS_EACH
    size = Sizes(1000, 3000, 1000, 1000, 2000, least, 2 * least, 100, 500)
    run = growth.grown(tmp_path, size, 1, Console(file=StringIO()))
    found = {group["name"]: group for group in run["groups"]}
    assert list(found["grown-writing"]["subjects"]) == ["1,000 turns", "3,000 turns"]
    assert {"grown-bare", "grown-memory", "reading", "exporting"} <= set(found)
    for group in run["groups"]:
        for figures in group["subjects"].values():
            assert all(column in figures for column in group["columns"])
    for figures in found["grown-questions"]["subjects"].values():
        assert all(figure > 0 for figure in figures.values())
    assert len(run["targets"]) == 4
    assert not list(tmp_path.rglob("*.jsonl"))
    assert not list(tmp_path.rglob("*.copy*"))


def test_each_index_has_a_price_and_is_there_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "indexes.db"
    with SqliteFiles(tmp_path, wal=True).empty() as empty:
        Path(empty).rename(path)

    def named() -> set[str]:
        connection = sqlite3.connect(path)
        try:
            rows = connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
            ).fetchall()
        finally:
            connection.close()
        return {name for (name,) in rows}

    before = named()
    prices = indexes.prices(path, 1, rows=500, inserted=200)
    assert named() == before
    assert before <= set(prices)
    assert len(prices) == len(before) + 2


def test_sizes_of_ten_million_are_those_that_are_promised() -> None:
    size = growth.sizes(10_000_000)
    assert (size.small, size.large) == (100_000, 10_000_000)
    assert (size.short, size.long) == (10_000, 1_000_000)
    assert size.read * loading.FILLED_TIMES == size.index_rows == 1_000_000


async def test_the_proxy_keeps_order_and_adds_its_time() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1000):
            writer.write(chunk)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    delay_ms = 40.0
    loop = asyncio.get_running_loop()
    with far(f"postgresql://someone@127.0.0.1:{port}/a", delay_ms) as url:
        assert url.startswith("postgresql://someone@127.0.0.1:")
        away = int(url.rpartition(":")[2].partition("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", away)
        began = loop.time()
        for number in range(100):
            writer.write(number.to_bytes())
        got = await reader.readexactly(100)
        assert got == bytes(range(100))
        assert loop.time() - began >= delay_ms / 1000  # and not for each chunk anew
        writer.close()
        assert await reader.read() == b""
        await writer.wait_closed()
    server.close()
    await server.wait_closed()
