"""Large batches and pages: made in threads, sent and read bit by bit, so the event loop is free."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from trajectory import Batch, Message, Question, ToolCall, Trajectory, Turn, Violation
from trajectory.backends.sql import SqlBackend, engine, reading, transports, writing
from trajectory.backends.sql.statements import Statement
from trajectory.backends.sql.writing import LARGE, Do, is_large
from trajectory.ids import uuid7
from trajectory.testing.samples import a_fact, a_turn, trajectories_of, turns_of

TEXT = "x" * LARGE


def recording(seen: set[int], of: Callable[..., Any]) -> Callable[..., Any]:
    """Note in which threads a function runs."""

    def recorded(*args: Any, **options: Any) -> Any:
        seen.add(threading.get_ident())
        return of(*args, **options)

    return recorded


def many_messages(number: int) -> Turn:
    messages = [Message(role="user", content="m" * 500, usage={"n": n}) for n in range(30)]
    return a_turn(None, number, metadata={"k": 1}, messages=messages)


async def test_rows_and_turns_of_much_data_are_made_off_the_loop(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: whatever takes long with a large batch or page runs in another thread."""
    threads: dict[str, set[int]] = {}
    for module, name in (
        (engine, "dump_json"),
        (writing, "turn_rows"),
        (writing, "as_turns"),
        (reading, "as_turns"),
        (reading, "as_trajectory"),
    ):
        seen = threads.setdefault(f"{module.__name__}.{name}", set())
        monkeypatch.setattr(module, name, recording(seen, getattr(module, name)))
    backend = SqlBackend(url)
    await backend.open()
    start = Trajectory(system_prompt=TEXT, metadata={"k": 1})
    batch = Batch(starts=(start,), turns=tuple(many_messages(n) for n in range(30)))
    await backend.write(batch)
    await backend.write(batch)  # compared with what is stored
    assert len(await turns_of(backend)) == 30
    assert len(await trajectories_of(backend)) == 31
    await backend.close()
    assert [name for name, seen in threads.items() if not seen] == []
    assert [name for name, seen in threads.items() if threading.get_ident() in seen] == []


@pytest.mark.parametrize(
    "batch",
    [
        Batch(turns=(a_turn(prompt=TEXT),)),
        Batch(turns=(a_turn(response=TEXT),)),
        Batch(turns=(a_turn(error=TEXT),)),
        Batch(turns=(a_turn(metadata={"k": [{"k": TEXT}]}),)),
        Batch(turns=(a_turn(metadata={"k": list(range(LARGE // 16))}),)),
        Batch(turns=(a_turn(messages=[Message(role="user", content=TEXT)]),)),
        Batch(turns=(a_turn(messages=[Message(role="user", content=[{"text": TEXT}])]),)),
        Batch(turns=(a_turn(tool_calls=[ToolCall(tool_name="x", result=TEXT)]),)),
        Batch(turns=(a_turn(questions=[Question(question_text=TEXT, effort_level="low")]),)),
        Batch(
            turns=(
                a_turn(violations=[Violation(preference_name="x", severity="minor", reason=TEXT)]),
            )
        ),
        Batch(turns=tuple(a_turn(None, n) for n in range(LARGE // 256))),
        Batch(starts=(Trajectory(system_prompt=TEXT),)),
        Batch(starts=(Trajectory(tools=[TEXT]),)),
        Batch(facts=(a_fact(a_turn(), question_text=TEXT),)),
    ],
)
def test_a_batch_is_large_wherever_its_bytes_are(batch: Batch) -> None:
    assert is_large(batch)


def test_a_usual_batch_is_not_large() -> None:
    turns = tuple(a_turn(None, n, prompt="x" * 300, response="y" * 300) for n in range(100))
    assert not is_large(Batch(turns=turns))
    assert not is_large(Batch(turns=tuple(many_messages(n) for n in range(5))))
    assert not is_large(Batch())


class Connection:
    """Takes a COPY as the driver does: all it is given, with no pause of its own."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.ticks: list[int] = []
        self.tick = 0

    async def copy_records_to_table(
        self, _table: str, *, columns: Any, records: AsyncIterator[Any]
    ) -> None:
        assert columns == ("prompt",)
        async for row in records:
            self.rows.append(row)
            self.ticks.append(self.tick)

    async def others(self) -> None:
        """Stand for all else on the event loop."""
        while True:
            self.tick += 1
            await asyncio.sleep(0)


@pytest.mark.parametrize("rows", [[["x" * 10]] * 1000, [[TEXT * 2]] * 5])
async def test_others_have_their_turn_between_slices_of_a_large_batch(rows: list[Any]) -> None:
    def steps() -> Iterator[Do]:
        yield Do(Statement("", ("prompt",), (), "trajectory_turns"), rows)

    connection = Connection()
    others = asyncio.create_task(connection.others())
    await transports._run_large(connection, steps())  # type: ignore[arg-type]
    others.cancel()
    assert connection.rows == rows
    assert len(set(connection.ticks)) == 5  # 200 short rows at a time, or a long one


async def test_a_page_takes_no_more_memory_than_it_may(
    backend: SqlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[int] = []
    really = reading._as_turns

    def recorded(rows: Any, children: Any) -> Any:
        pages.append(len(rows))
        return really(rows, children)

    monkeypatch.setattr(reading, "_as_turns", recorded)
    id_ = uuid7()
    short = [a_turn(id_, n) for n in range(1000)]
    await backend.write(Batch(turns=tuple(short)))
    assert await turns_of(backend) == short
    assert pages == [64, 256, 500, 180]
    pages.clear()
    assert await turns_of(backend, limit=70) == short[:70]
    assert pages == [64, 6]
    pages.clear()

    monkeypatch.setattr(reading, "_PAGE_BYTES", 10_000)
    message = Message(role="user", content=["m" * 1000])
    long = [a_turn(id_, n, prompt="x" * 2000, messages=[message]) for n in range(1000, 1101)]
    await backend.write(Batch(turns=tuple(long)))
    assert await turns_of(backend, after=(id_, 999)) == long
    assert pages == [64, *[2] * 18, 1]
    pages.clear()
    monkeypatch.setattr(reading, "_PAGE_BYTES", 1)
    assert await turns_of(backend, after=(id_, 1030)) == long[31:]
    assert pages == [64, *[1] * 6, 0]  # never less than one
