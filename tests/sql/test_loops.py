"""A backend that is closed while others use it, and one that is used in several event loops."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from trajectory import BackendError, Batch
from trajectory.backends.sql import SqlBackend
from trajectory.testing.samples import a_turn, turns_of

SENT = Batch(turns=(a_turn(),))


async def settled() -> None:
    """Let all tasks run until each waits for something else than the event loop."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_open_during_a_close_comes_after_it(
    backend: SqlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    really = backend._transport.close

    async def gated() -> None:
        await gate.wait()
        await really()

    monkeypatch.setattr(backend._transport, "close", gated)
    closing = asyncio.create_task(backend.close())
    await settled()
    opening = asyncio.create_task(backend.open())
    await settled()
    assert not opening.done()
    gate.set()
    async with asyncio.timeout(10):
        await asyncio.gather(closing, opening)
    await backend.write(SENT)
    assert await turns_of(backend) == list(SENT.turns)


async def test_a_close_waits_for_the_write_before_it_and_refuses_the_next(
    backend: SqlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    really = backend._write

    async def gated(batch: Batch) -> object:
        await gate.wait()
        return await really(batch)

    monkeypatch.setattr(backend, "_write", gated)
    first, second = (asyncio.create_task(backend.write(SENT)) for _ in range(2))
    deleting = asyncio.create_task(backend.delete_trajectories([SENT.turns[0].trajectory_id]))
    await settled()
    closing = asyncio.create_task(backend.close())
    await settled()
    assert not closing.done()
    gate.set()
    async with asyncio.timeout(10):
        await asyncio.gather(first, closing)
        for late in (second, deleting):
            with pytest.raises(BackendError, match="not open; call open"):
                await late
    await backend.open()
    assert await turns_of(backend) == list(SENT.turns)


def test_a_backend_belongs_to_one_event_loop_at_a_time(url: str) -> None:
    backend = SqlBackend(url)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(backend.open())
        one.run(backend.write(SENT))
        for work in (backend.open, lambda: backend.write(SENT), lambda: turns_of(backend)):
            with pytest.raises(BackendError, match="belongs to the event loop"):
                other.run(work())
        with pytest.raises(BackendError, match="belongs to the event loop"):
            other.run(backend.close())
        assert one.run(turns_of(backend)) == list(SENT.turns)
        one.run(backend.close())
        other.run(backend.open())
        assert other.run(turns_of(backend)) == list(SENT.turns)
        other.run(backend.close())


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # nobody closed the connections
def test_a_postgres_backend_that_was_left_open_says_so_in_the_next_loop(postgres_url: str) -> None:
    backend = SqlBackend(postgres_url)
    asyncio.run(backend.open())
    for work in (backend.open, lambda: backend.write(SENT), lambda: turns_of(backend)):
        with pytest.raises(BackendError, match="belongs to the event loop"):
            asyncio.run(work())
    asyncio.run(backend.close())

    async def again() -> None:
        await backend.open()
        await backend.write(SENT)
        await backend.close()

    asyncio.run(again())
    gc.collect()


@pytest.mark.parametrize("name", ["t.db", ":memory:"])
def test_a_sqlite_backend_that_was_left_open_goes_on_in_the_next_loop(
    name: str, tmp_path: Path
) -> None:
    backend = SqlBackend(name if name == ":memory:" else str(tmp_path / name))

    async def begin() -> None:
        await backend.open()
        # So many that some wait for a lock, which then belongs to this loop.
        await asyncio.gather(*(backend.write(SENT) for _ in range(3)), turns_of(backend))

    async def go_on() -> None:
        await asyncio.gather(*(backend.write(SENT) for _ in range(3)), turns_of(backend))
        assert await turns_of(backend) == list(SENT.turns)

    asyncio.run(begin())
    asyncio.run(go_on())
    asyncio.run(backend.close())
