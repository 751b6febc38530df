"""The part of the suite about reading: order, pages, and whole batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from itertools import product
from typing import Any, TypeVar
from uuid import UUID

from trajectory.backend import Batch
from trajectory.ids import uuid7
from trajectory.models import Question, Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.testing.samples import NOON, Suite, a_turn, trajectories_of, turns_of

_Row = TypeVar("_Row", Turn, Trajectory)


def _after(seconds: int) -> datetime:
    return NOON + timedelta(seconds=seconds)


def _expected(ordered: list[_Row], query: Any) -> list[_Row]:
    found = [row for row in ordered if query.matches(row)]
    if query.after is not None:
        found = [
            row
            for row in found
            if (
                query.cursor(row) < query.after
                if query.descending
                else query.cursor(row) > query.after
            )
        ]
    return found[:: -1 if query.descending else 1][: query.limit]


class ReadingConformance(Suite):
    """What must be honoured of every query."""

    async def test_turns_come_by_trajectory_and_number(self) -> None:
        async with self.new_backend() as backend:
            ids = [UUID(int=n << 64 | n) for n in (2**63, 5, 2**64 - 1, 77)]
            turns = [a_turn(id_, number) for id_ in ids for number in (10, 9, 0, 2)]
            await backend.write(Batch(turns=tuple(turns)))
            ordered = sorted(turns, key=lambda turn: turn.key)
            assert await turns_of(backend) == ordered
            assert await turns_of(backend, descending=True) == ordered[::-1]
            assert await turns_of(backend, limit=0) == []
            assert await turns_of(backend, limit=3) == ordered[:3]
            assert await turns_of(backend, limit=99) == ordered
            assert await turns_of(backend, after=ordered[4].key) == ordered[5:]
            assert (
                await turns_of(backend, after=ordered[4].key, descending=True)
                == (ordered[:4][::-1])
            )
            assert await turns_of(backend, after=ordered[-1].key) == []
            assert await turns_of(backend, ids=()) == []
            assert await turns_of(backend, ids=(ids[0], uuid7())) == [
                turn for turn in ordered if turn.trajectory_id == ids[0]
            ]

    async def test_trajectories_come_by_creation_and_id(self) -> None:
        async with self.new_backend() as backend:
            made = [
                Trajectory(id=UUID(int=n), created_at=NOON + timedelta(seconds=n % 3))
                for n in (2**127, 9, 4, 7, 2**128 - 1)
            ]
            await backend.write(Batch(starts=tuple(made)))
            ordered = sorted(made, key=TrajectoryQuery.cursor)
            assert await trajectories_of(backend) == ordered
            assert await trajectories_of(backend, descending=True) == ordered[::-1]
            assert await trajectories_of(backend, limit=0) == []
            assert await trajectories_of(backend, limit=2) == ordered[:2]
            place = TrajectoryQuery.cursor(ordered[1])
            assert await trajectories_of(backend, after=place) == ordered[2:]
            assert await trajectories_of(backend, after=place, descending=True) == ordered[:1]
            assert await trajectories_of(backend, ids=(made[0].id,)) == [made[0]]
            assert await trajectories_of(backend, ids=()) == []

    async def test_filters_order_cursor_and_limit_go_together(self) -> None:
        """Invariant: a read gives what `matches`, sorting and cutting in Python would."""
        async with self.new_backend() as backend:
            ids = [UUID(int=n << 126 | n) for n in (3, 0, 2, 1)]
            runs = [Trajectory(id=id_, created_at=_after(n // 2)) for n, id_ in enumerate(ids)]
            turns = [a_turn(id_, n, created_at=_after(n)) for id_ in ids for n in range(3)]
            await backend.write(Batch(starts=tuple(runs), turns=tuple(turns)))
            by_key = sorted(turns, key=TurnQuery.cursor)
            by_time = sorted(runs, key=TrajectoryQuery.cursor)
            for chosen, since, until, descending, limit in product(
                [None, ids[1:]], [None, _after(1)], [None, _after(1)], [False, True], [None, 2]
            ):
                filters: dict[str, Any] = {"ids": chosen, "since": since, "until": until}
                filters |= {"descending": descending, "limit": limit}
                for after in (None, by_key[5].key, (ids[0], 99)):
                    wanted = _expected(by_key, TurnQuery(**filters, after=after))
                    assert await turns_of(backend, **filters, after=after) == wanted
                for place in (None, TrajectoryQuery.cursor(by_time[1]), (_after(0), ids[3])):
                    found = await trajectories_of(backend, **filters, after=place)
                    assert found == _expected(by_time, TrajectoryQuery(**filters, after=place))

    async def test_times_are_from_and_until(self) -> None:
        async with self.new_backend() as backend:
            id_ = uuid7()
            turns = [a_turn(id_, n, created_at=NOON + timedelta(microseconds=n)) for n in range(5)]
            starts = [
                Trajectory(id=UUID(int=n), created_at=NOON + timedelta(microseconds=n))
                for n in range(5)
            ]
            await backend.write(Batch(starts=tuple(starts), turns=tuple(turns)))
            window = {
                "since": NOON + timedelta(microseconds=1),
                "until": NOON + timedelta(microseconds=3),
            }
            assert await turns_of(backend, **window) == turns[1:3]
            assert (
                await trajectories_of(backend, **window, ids=[s.id for s in starts])
                == (starts[1:3])
            )

    async def test_a_filtered_page_has_its_children_and_no_others(self) -> None:
        async with self.new_backend() as backend:
            id_ = uuid7()
            question = Question(question_text="q", effort_level="low")
            turns = [
                a_turn(id_, n, created_at=NOON + timedelta(seconds=n % 2), questions=[question])
                for n in range(20)
            ]
            await backend.write(Batch(turns=tuple(turns)))
            assert await turns_of(backend, since=NOON + timedelta(seconds=1)) == turns[1::2]

    async def test_pages_join_without_gaps_or_doubles(self) -> None:
        async with self.new_backend() as backend:
            turns = [a_turn(id_, n) for id_ in (uuid7(), uuid7()) for n in range(550)]
            await backend.write(Batch(turns=tuple(turns)))
            assert await turns_of(backend) == turns
            assert await turns_of(backend, descending=True) == turns[::-1]
            paged, after = [], None
            while page := await turns_of(backend, limit=333, after=after):
                paged += page
                after = TurnQuery.cursor(page[-1])
            assert paged == turns

    async def test_pages_of_trajectories_join_where_their_times_are_equal(self) -> None:
        async with self.new_backend() as backend:
            made = [Trajectory(created_at=_after(n // 400)) for n in range(1100)]
            await backend.write(Batch(starts=tuple(made)))
            assert await trajectories_of(backend) == made
            assert await trajectories_of(backend, descending=True) == made[::-1]
            paged, after = [], None
            while page := await trajectories_of(backend, limit=333, after=after):
                paged += page
                after = TrajectoryQuery.cursor(page[-1])
            assert paged == made

    async def test_a_reader_sees_whole_batches(self) -> None:
        """Invariant: whatever a reader finds is a number of whole batches."""
        async with self.new_backend() as backend:
            id_, seen = uuid7(), []
            written = asyncio.Event()

            async def read() -> None:
                while not written.is_set():
                    seen.append(len(await turns_of(backend)))
                    await asyncio.sleep(0)

            reading = asyncio.create_task(read())
            for start in range(0, 400, 10):
                batch = Batch(turns=tuple(a_turn(id_, start + n) for n in range(10)))
                await backend.write(batch)
                await asyncio.sleep(0)
            written.set()
            await reading
            assert not [count for count in seen if count % 10]
            assert len(await turns_of(backend)) == 400

    async def test_a_paused_reader_keeps_nobody_from_writing(self) -> None:
        async with self.new_backend() as backend:
            id_ = uuid7()
            await backend.write(Batch(turns=tuple(a_turn(id_, n) for n in range(1200))))
            reader = aiter(backend.read_turns(TurnQuery()))
            first = await anext(reader)
            async with asyncio.timeout(10):
                await backend.write(Batch(turns=(a_turn(id_, 1200),)))
            numbers = [first.turn_number, *[turn.turn_number async for turn in reader]]
            assert numbers[:1200] == list(range(1200))  # the new one may be seen, or not
            assert len(await turns_of(backend)) == 1201

    async def test_a_reader_that_is_left_early_keeps_nothing(self) -> None:
        async with self.new_backend() as backend:
            id_ = uuid7()
            await backend.write(Batch(turns=tuple(a_turn(id_, n) for n in range(1200))))
            for _ in range(30):  # more than any pool of connections has
                reader = aiter(backend.read_turns(TurnQuery()))
                await anext(reader)
                if isinstance(reader, AsyncGenerator):
                    await reader.aclose()
            async with asyncio.timeout(20):
                assert len(await turns_of(backend)) == 1200
                assert await backend.delete_trajectories([id_]) == 1

    async def test_a_cancelled_reader_keeps_nothing(self) -> None:
        async with self.new_backend() as backend:
            id_ = uuid7()
            turns = [a_turn(id_, n) for n in range(1200)]
            await backend.write(Batch(turns=tuple(turns)))
            for steps in range(12):
                reading = asyncio.ensure_future(turns_of(backend))
                for _ in range(steps):
                    await asyncio.sleep(0)
                reading.cancel()
                await asyncio.wait({reading})
            async with asyncio.timeout(20):
                assert await turns_of(backend) == turns
                assert await backend.delete_trajectories([id_]) == 1

    async def test_many_readers_at_once(self) -> None:
        async with self.new_backend() as backend:
            id_ = uuid7()
            turns = [a_turn(id_, n) for n in range(50)]
            await backend.write(Batch(turns=tuple(turns)))
            async with asyncio.timeout(20):
                found = await asyncio.gather(*(turns_of(backend) for _ in range(20)))
            assert found == [turns] * 20
