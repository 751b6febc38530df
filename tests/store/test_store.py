"""What a store promises: it opens what is there, closes what it made, and sees whole batches."""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from trajectory import (
    BackendError,
    BackendUnavailableError,
    Batch,
    Capabilities,
    ConfigurationError,
    InvalidQueryError,
    SchemaError,
    StorageBackend,
    Trajectory,
    TrajectoryError,
    TrajectoryLogger,
    TrajectoryQuery,
    TrajectoryStore,
    Turn,
    TurnQuery,
    open_backend,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.ids import uuid7
from trajectory.testing import WrappedBackend
from trajectory.testing.samples import a_turn, full_trajectory, full_turn


class PlainBackend(WrappedBackend):
    """Does what a backend must, and nothing beyond: it can't filter or count."""

    def __init__(self, inner: StorageBackend | None = None) -> None:
        super().__init__(inner)
        self.asked: list[Any] = []

    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(self.inner.capabilities, filters=frozenset())

    def read_trajectories(self, query: TrajectoryQuery, /) -> AsyncIterator[Trajectory]:
        assert not query.filters
        self.asked.append(query)
        return super().read_trajectories(query)

    def read_turns(self, query: TurnQuery, /) -> AsyncIterator[Turn]:
        assert not query.filters
        self.asked.append(query)
        return super().read_turns(query)


@pytest.fixture(params=["memory", "sqlite", "postgres", "plain"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StorageBackend]:
    """An open, empty backend, of each kind."""
    made: StorageBackend
    if request.param == "memory":
        made = MemoryBackend()
    elif request.param == "plain":
        made = PlainBackend()
    elif request.param == "sqlite":
        made = open_backend(tmp_path / "t.db")
    else:
        made = open_backend(request.getfixturevalue("postgres_url"))
    await made.open()
    yield made
    await made.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with one turn, of each kind."""
    url = str(tmp_path / "t.db")
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    backend = open_backend(url)
    await backend.open()
    await backend.write(Batch(turns=(a_turn(UUID(int=7)),)))
    await backend.close()
    return url


async def test_what_is_stored_is_read_whole(backend: StorageBackend) -> None:
    run = full_trajectory()
    turn = full_turn(run.id)
    await backend.write(Batch(starts=(run,), turns=(turn,)))
    async with TrajectoryStore(backend) as store:
        assert [each async for each in store.trajectories()] == [run]
        [found] = [each async for each in store.turns()]
        assert (found.prompt, found.messages, found.tool_calls) == (
            turn.prompt,
            turn.messages,
            turn.tool_calls,
        )
        assert found.metadata == turn.metadata
        assert await store.statistics() == (1, 1, 3, 2)


async def test_one_is_got_by_its_id(backend: StorageBackend) -> None:
    runs = [Trajectory(run_id=str(n)) for n in range(3)]
    await backend.write(Batch(starts=tuple(runs)))
    async with TrajectoryStore(backend) as store:
        assert await store.get(runs[1].id) == runs[1]
        assert await store.get(uuid7()) is None


async def test_what_is_handed_in_is_not_closed(backend: StorageBackend) -> None:
    await backend.write(Batch(turns=(a_turn(),)))
    store = TrajectoryStore(backend)
    assert store.backend is backend
    async with store:
        assert len([turn async for turn in store.turns()]) == 1
    await backend.write(Batch(turns=(a_turn(),)))
    async with store:  # again, with what came since
        assert len([turn async for turn in store.turns()]) == 2


async def test_what_is_handed_in_is_opened(tmp_path: Path) -> None:
    backend = open_backend(tmp_path / "t.db")  # its owner's choice, so it may be made
    async with TrajectoryStore(backend) as store:
        assert await store.statistics() == (0, 0, 0, 0)
    await backend.close()


async def test_what_is_made_is_closed(url: str) -> None:
    store = TrajectoryStore(url)
    for _ in range(2):
        async with store:
            assert [turn.trajectory_id async for turn in store.turns()] == [UUID(int=7)]
        with pytest.raises(BackendError, match="not open"):
            await store.backend.write(Batch())
        await store.aclose()


async def test_opening_twice_is_opening_once(url: str) -> None:
    store = TrajectoryStore(url)
    await store.open()
    await store.open()
    assert (await store.statistics()).turns == 1
    await store.aclose()


@pytest.mark.parametrize("opened", [False, True])
async def test_a_store_that_is_not_open_says_so(opened: bool) -> None:
    store = TrajectoryStore("memory://")
    if opened:
        await store.open()
        await store.aclose()
    for read in (store.turns, store.trajectories):
        with pytest.raises(TrajectoryError, match="not open"):
            read()
    with pytest.raises(TrajectoryError, match="not open"):
        await store.get(uuid7())
    with pytest.raises(TrajectoryError, match="not open"):
        await store.statistics()
    assert "not open" in repr(store)


async def test_a_file_that_is_not_there_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: whoever only reads leaves no file behind."""
    monkeypatch.chdir(tmp_path)
    for store in (TrajectoryStore(), TrajectoryStore(tmp_path / "no" / "such.db")):
        with pytest.raises(ConfigurationError, match=r"there is no file .*\.db to read"):
            await store.open()
    assert list(tmp_path.iterdir()) == []
    async with TrajectoryLogger() as logger:
        async with logger.trajectory():
            pass
    async with TrajectoryStore() as store:  # the default is that of a logger
        assert (await store.statistics()).trajectories == 1


async def test_an_empty_file_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "t.db").touch()
    with pytest.raises(ConfigurationError, match="is empty"):
        await TrajectoryStore(tmp_path / "t.db").open()
    assert [each.stat().st_size for each in tmp_path.iterdir()] == [0]


async def test_another_programs_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (n)")
    before = path.read_bytes()
    with pytest.raises(SchemaError):
        await TrajectoryStore(path).open()
    assert path.read_bytes() == before


async def test_a_server_that_is_away_is_an_error() -> None:
    store = TrajectoryStore("postgresql://user:s3cr3t@127.0.0.1:1/db")
    with pytest.raises(BackendUnavailableError) as caught:
        await store.open()
    assert "s3cr3t" not in f"{caught.value}{store!r}"
    assert "not open" in repr(store)
    await store.aclose()


async def test_a_servers_schema_is_not_made(empty_postgres_url: str) -> None:
    for _ in range(2):
        with pytest.raises(SchemaError, match="upgrade"):
            await TrajectoryStore(empty_postgres_url).open()


async def test_a_reader_beside_a_writer_sees_whole_batches(url: str) -> None:
    """Invariant: whatever a store finds is a number of whole batches, and it stops no writer."""
    written, seen = asyncio.Event(), []
    writer = open_backend(url)
    await writer.open()
    id_ = uuid7()
    query = TurnQuery(ids=(id_,), text="prompt", metadata={"kind": "x"})

    async def read() -> None:
        async with TrajectoryStore(url) as store:
            while not written.is_set():
                seen.append(len([turn async for turn in store.turns(query)]))
                await asyncio.sleep(0)

    reading = asyncio.create_task(read())
    for start in range(0, 200, 10):
        turns = (a_turn(id_, start + n, metadata={"kind": "x"}) for n in range(10))
        await writer.write(Batch(turns=tuple(turns)))
        await asyncio.sleep(0)
    written.set()
    await reading
    await writer.close()
    assert seen
    assert not [count for count in seen if count % 10]
    assert seen == sorted(seen)
    async with TrajectoryStore(url) as store:
        assert len([turn async for turn in store.turns(query)]) == 200


async def test_a_reader_that_is_left_early_keeps_nothing(backend: StorageBackend) -> None:
    turns = [a_turn(UUID(int=1), n, metadata={"n": n % 2}) for n in range(300)]
    await backend.write(Batch(turns=tuple(turns)))
    async with TrajectoryStore(backend) as store:
        for _ in range(30):  # more than any pool of connections has
            async with aclosing(store.turns(TurnQuery(metadata={"n": 1}))) as found:
                assert (await anext(found)).turn_number == 1
        async with asyncio.timeout(20):
            assert await backend.delete_trajectories([UUID(int=1)]) == 1


async def test_a_limit_ends_the_reading_of_what_a_backend_cant_filter() -> None:
    """A limit that is reached stops the backend's reader: it is not read to its end."""
    inner = MemoryBackend()
    backend = PlainBackend(inner)
    await inner.write(Batch(turns=tuple(a_turn(UUID(int=1), n) for n in range(9))))
    ended = 0

    async def read(query: TurnQuery) -> AsyncIterator[Turn]:
        nonlocal ended
        try:
            async for turn in inner.read_turns(query):
                assert turn.turn_number <= 3
                yield turn
        finally:
            ended += 1

    backend.read_turns = read  # type: ignore[method-assign]
    async with TrajectoryStore(backend) as store:
        found = [turn.turn_number async for turn in store.turns(TurnQuery(text="p", limit=4))]
        assert (found, ended) == ([0, 1, 2, 3], 1)
        assert [turn async for turn in store.turns(TurnQuery(text="p", limit=0))] == []
        assert ended == 1  # for nothing, nobody is asked


async def test_a_backend_is_asked_for_all_that_it_can_do() -> None:
    backend = PlainBackend()
    async with TrajectoryStore(backend) as store:
        ids = (UUID(int=1),)
        query = TurnQuery(ids=ids, limit=3, descending=True)
        assert [turn async for turn in store.turns(query)] == []
        assert backend.asked.pop() == query
        wider = TurnQuery(ids=ids, limit=3, descending=True, text="x")
        assert [turn async for turn in store.turns(wider)] == []
        assert backend.asked.pop() == TurnQuery(ids=ids, descending=True)


async def test_a_database_refuses_what_it_would_not_filter(url: str) -> None:
    """Else a filter would be forgotten in silence where no store is used."""
    backend = open_backend(url)
    await backend.open()
    with pytest.raises(InvalidQueryError, match=r"metadata.*TrajectoryStore"):
        [turn async for turn in backend.read_turns(TurnQuery(metadata={"a": 1}))]
    with pytest.raises(InvalidQueryError, match="metadata"):
        [t async for t in backend.read_trajectories(TrajectoryQuery(metadata={"a": 1}))]
    await backend.close()


async def test_a_cancelled_count_keeps_nothing(url: str) -> None:
    async with TrajectoryStore(url) as store:
        for steps in range(12):
            counting = asyncio.ensure_future(store.statistics())
            for _ in range(steps):
                await asyncio.sleep(0)
            counting.cancel()
            await asyncio.wait({counting})
        async with asyncio.timeout(20):
            assert await store.statistics() == (1, 1, 0, 0)


@pytest.mark.parametrize("filters", [{}, {"text": "r"}, {"metadata": {"kind": "x"}}], ids=str)
async def test_reading_takes_no_more_memory_for_more_turns(
    url: str, filters: dict[str, Any]
) -> None:
    """Invariant: 20,000 turns are read in a few pages' memory; all of them would take 60 MB."""
    backend = open_backend(url)
    await backend.open()
    text = "r" * 700
    for run in range(20):
        turns = (
            a_turn(UUID(int=100 + run), n, response=text, metadata={"kind": "x"})
            for n in range(1000)
        )
        await backend.write(Batch(turns=tuple(turns)))
    await backend.close()
    async with TrajectoryStore(url) as store:
        query = TurnQuery(ids=[UUID(int=100 + run) for run in range(20)], **filters)
        read = 0
        tracemalloc.start()
        try:
            async for _turn in store.turns(query):
                read += 1
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert read == 20_000
    assert peak < 8_000_000, peak
