"""What logging costs, as counts: no machine is too slow or too busy for them.

Each limit stands with its reason, and so near above what is seen that twice the work is beyond it;
each test shows that too. A limit may go down, with what makes logging cheaper. One that must go up
wants a reason that is worth more than the speed it costs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from counting import Calls, RoundTrips, batch, kept_bytes, logging, loop_calls, statements, turns

from trajectory.backends.sql.statements import MANY

TURNS = 100

twice = pytest.mark.parametrize("times", [1, 2])
"""Once, and then twice as much where the limit is for once: that must be too much."""


def check(what: str, seen: float, limit: float, times: int) -> None:
    told = f"{what}: {seen:g} where {limit:g} is the limit"
    if times == 1:
        assert seen <= limit, told
    else:
        assert seen > limit, f"{told}: it would not notice twice the work"


@twice
@pytest.mark.parametrize(
    ("size", "inserts"),
    [
        (1, 1),
        (10, 10),  # `executemany`, a row each: cheaper than another text of the statement
        (TURNS, TURNS // MANY),  # `MANY` rows in each
    ],
)
async def test_statements_of_a_batch(tmp_path: Path, size: int, inserts: int, times: int) -> None:
    """BEGIN, the rows, COMMIT: no look at what is stored, no savepoint, no pragma."""
    async with logging(tmp_path / "a.db") as (logger, run):
        raw = logger.backend._transport._raw  # type: ignore[attr-defined]
        with statements(raw._conn) as seen:
            for _ in range(times):
                await batch(logger, run, size)
    kinds = [statement.split()[0] for statement in seen]
    assert kinds.count("COMMIT") == times, "a batch is one transaction"
    check("statements", len(seen), 2 + inserts, times)


@twice
@pytest.mark.parametrize("level", ["queued", "journaled"])
async def test_the_loop_s_part_in_a_batch(tmp_path: Path, level: str, times: int) -> None:
    """One hop to the connection's thread for all of a transaction, and no task.

    One answer of a thread. Callbacks: the writer is woken, the answer wakes it, and it wakes who
    waits for the flush. Timers: the end of the flush's time, the one for the next batch, and the
    flush's own after it; none is for a turn.
    """
    async with logging(tmp_path / "a.db", level) as (logger, run):
        with loop_calls() as seen:
            for _ in range(times):
                await batch(logger, run, TURNS)
    assert seen["create_task"] == 0
    check("hops", seen["call_soon_threadsafe"], 1, times)
    check("callbacks", seen["call_soon"], 3, times)
    check("timers", seen["call_at"], 3, times)


@pytest.mark.parametrize(
    ("level", "each", "a_batch"),
    [
        ("queued", 0, 0),  # there is no journal
        ("journaled", 1, 1),  # a frame with one call, before the call returns; a mark after COMMIT
    ],
)
async def test_writes_to_the_journal(tmp_path: Path, level: str, each: int, a_batch: int) -> None:
    async with logging(tmp_path / "a.db", level) as (logger, run):
        logs, flush = Calls(), Calls()
        with logs.here():
            await turns(run, TURNS)
        with flush.here():
            await logger.flush()
    assert logs.writes == each * TURNS
    assert flush.writes == a_batch


@twice
@pytest.mark.parametrize(("level", "limit"), [("queued", 21), ("journaled", 26)])
async def test_python_calls_of_a_turn(tmp_path: Path, level: str, limit: int, times: int) -> None:
    """From `log_turn` to its return, while there is room: the making of the turn included.

    The journal adds the encoding of a frame and its append. Nobody calls what does nothing here:
    an extractor, a redaction, a wait for room.
    """
    async with logging(tmp_path / "a.db", level) as (logger, run):
        calls = Calls()
        with calls.here():
            await turns(run, times * TURNS)
        await logger.flush()
    check("calls of Python functions a turn", calls.python / TURNS, limit, times)


@twice
@pytest.mark.parametrize(("level", "limit"), [("queued", 240), ("journaled", 260)])
async def test_python_calls_of_a_batch_on_the_loop(
    tmp_path: Path, level: str, limit: int, times: int
) -> None:
    """The loop may look at each turn of a batch once or twice, and at most that.

    It counts what is a turn as it takes the batch and as it drops it; rows are made elsewhere.
    """
    calls = Calls()
    async with logging(tmp_path / "a.db", level) as (logger, run):
        for _ in range(times):
            await turns(run, TURNS)
            with calls.here():
                await logger.flush()
    check("calls on the loop", calls.python, limit, times)


@twice
async def test_python_calls_of_a_batch_in_its_thread(tmp_path: Path, times: int) -> None:
    """A row takes five calls: what SQLite has no type for, the id and the instant, becomes text."""
    calls = Calls()
    with calls.in_threads():
        async with logging(tmp_path / "a.db") as (logger, run):
            calls.on = True
            for _ in range(times):
                await batch(logger, run, TURNS)
            calls.on = False
    check("calls in the thread", calls.python, 600, times)


@pytest.mark.parametrize("level", ["queued", "journaled"])
async def test_what_a_turn_keeps_while_it_waits(tmp_path: Path, level: str) -> None:
    """The turn with its fields and its place in the buffer; its texts are the caller's.

    A Pydantic value with a field set and a dictionary of all its fields takes 1.5 KB of it.
    """
    async with logging(tmp_path / "a.db", level) as (logger, run):
        with kept_bytes() as kept:
            await turns(run, 500)
            waiting = kept() / 500
        await logger.flush()
    assert 100 < waiting <= 1800


@pytest.mark.parametrize("leaks", [False, True])
@pytest.mark.parametrize("level", ["queued", "journaled"])
async def test_a_stored_turn_keeps_nothing(tmp_path: Path, level: str, *, leaks: bool) -> None:
    """Hundreds of batches later the same is held as before: the last batch, and no turn else.

    asyncio keeps up to a hundred cancelled timers of 88 bytes: 3 bytes for each turn here.
    """
    batches, size = 400, 10
    leaked = []
    async with logging(tmp_path / "a.db", level) as (logger, run):
        with kept_bytes() as kept:
            await batch(logger, run, size)
            before = kept()
            for number in range(batches):
                await batch(logger, run, size)
                if leaks:  # what the smallest thing takes that could be kept for each turn
                    leaked += [float(number) for _ in range(size)]
            after = kept()
    assert ((after - before) / (batches * size) < 8) is not leaks


@twice
@pytest.mark.parametrize(
    ("size", "limit"),
    [
        (10, 4),  # BEGIN, the rows as one pipelined executemany, COMMIT, and one to spare
        (TURNS, 5),  # COPY asks the server for the types of the columns, and then sends the rows
    ],
)
async def test_round_trips_of_a_batch_to_postgres(
    postgres_url: str, size: int, limit: int, times: int
) -> None:
    """How often a batch waits for a server that is far away."""
    proxy = RoundTrips(postgres_url)
    async with proxy.serving() as url, logging(url) as (logger, run):
        await batch(logger, run, size)
        before = proxy.seen
        for _ in range(times):
            await batch(logger, run, size)
        seen = proxy.seen - before
    check("round trips", seen, limit, times)
