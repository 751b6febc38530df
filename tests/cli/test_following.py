"""What `tail -f` finds: each turn once, however late it is committed and wherever it belongs."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from looking import started, turn_of

from trajectory import (
    StorageBackend,
    Trajectory,
    TrajectoryEnd,
    TrajectoryStore,
    Turn,
    TurnQuery,
    open_backend,
)
from trajectory.backend import Batch
from trajectory.backends.memory import MemoryBackend
from trajectory.cli import following, newest
from trajectory.cli.filters import Filters
from trajectory.cli.following import Feed, Heard
from trajectory.cli.tail import follow_on
from trajectory.errors import BackendUnavailableError
from trajectory.models import TrajectoryStatus
from trajectory.testing.samples import NOON

NOW = NOON + timedelta(hours=12)
OLD, RECENT = NOW - timedelta(days=30), NOW - timedelta(minutes=5)
Name = tuple[int, int]


class Watch:
    """A store that is followed, and what came of it."""

    def __init__(self, backend: StorageBackend, store: TrajectoryStore, chosen: Filters) -> None:
        self._backend = backend
        self.now = NOW
        self.feed = Feed(store, chosen.parents(), chosen.own_turns(), clock=lambda: self.now)

    async def begin(self, count: int = 10) -> list[Name]:
        return names(await self.feed.newest(count, goes_on=True))

    async def news(self) -> list[Name]:
        async with aclosing(self.feed.news()) as found:
            return names([each async for each in found])

    async def write(self, *rows: Trajectory | Turn | TrajectoryEnd) -> None:
        starts = tuple(each for each in rows if isinstance(each, Trajectory))
        turns = tuple(each for each in rows if isinstance(each, Turn))
        ends = tuple(each for each in rows if isinstance(each, TrajectoryEnd))
        await self._backend.write(Batch(starts=starts, turns=turns, ends=ends))


def names(heard: Iterable[Heard]) -> list[Name]:
    """Name turns by the numbers that `looking` makes them with."""
    return [(2**127 - each.turn.trajectory_id.int, each.turn.turn_number) for each in heard]


@asynccontextmanager
async def watching(
    backend: StorageBackend, *rows: Trajectory | Turn, **filters: Any
) -> AsyncIterator[Watch]:
    await backend.open()
    async with TrajectoryStore(backend) as store:
        watch = Watch(backend, store, Filters(**filters))
        await watch.write(*rows)
        yield watch


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def backend(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[StorageBackend]:
    made: StorageBackend = MemoryBackend()
    if request.param == "sqlite":
        made = open_backend(tmp_path / "t.db")
    elif request.param == "postgres":
        made = open_backend(request.getfixturevalue("postgres_url"))
    yield made
    await made.close()


async def test_the_newest_by_their_time_the_oldest_of_them_first(backend: StorageBackend) -> None:
    rows: list[Trajectory | Turn] = [
        started(1, created_at=OLD),
        started(2, created_at=RECENT),
        turn_of(1, 1, created_at=OLD),
        turn_of(1, 2, created_at=NOW),  # of an old trajectory
        turn_of(2, 1, created_at=RECENT),
        turn_of(2, 2, created_at=OLD + timedelta(days=1)),
    ]
    async with watching(backend, *rows) as watch:
        assert await watch.begin(3) == [(2, 2), (2, 1), (1, 2)]
        assert await watch.begin(0) == []
        assert await watch.begin(99) == [(1, 1), (2, 2), (2, 1), (1, 2)]


async def test_the_newest_of_many_trajectories() -> None:
    numbers = list(range(1, 301))
    random.Random(5).shuffle(numbers)
    rows: list[Trajectory | Turn] = [started(number) for number in numbers]
    for age, number in enumerate(numbers):
        rows += [
            turn_of(number, each, created_at=NOW - timedelta(seconds=age, days=each - 1))
            for each in (1, 2)
        ]
    async with watching(MemoryBackend(), *rows) as watch:
        assert await watch.begin(20) == [(number, 1) for number in reversed(numbers[:20])]
    async with watching(MemoryBackend(), *rows, text=f"p{numbers[280]}-") as watch:
        assert await watch.begin(20) == [(numbers[280], 2), (numbers[280], 1)]


async def test_what_comes_is_given_once(backend: StorageBackend) -> None:
    async with watching(backend, started(1), turn_of(1, 1, created_at=RECENT)) as watch:
        assert await watch.begin() == [(1, 1)]
        assert await watch.news() == []
        await watch.write(turn_of(1, 2), turn_of(1, 3))
        assert await watch.news() == [(1, 2), (1, 3)]
        assert await watch.news() == []
        await watch.write(turn_of(1, 3), turn_of(1, 4))  # a repeat is no change
        assert await watch.news() == [(1, 4)]


async def test_a_late_commit_with_an_earlier_time_and_a_lower_number(
    backend: StorageBackend,
) -> None:
    turns = [turn_of(1, each, created_at=RECENT) for each in (2, 5, 6)]
    async with watching(backend, started(1), *turns) as watch:
        await watch.begin()
        await watch.write(turn_of(1, 3, created_at=OLD))
        assert await watch.news() == [(1, 3)]
        await watch.write(turn_of(1, 1, created_at=OLD), turn_of(1, 7), turn_of(1, 4))
        assert sorted(await watch.news()) == [(1, 1), (1, 4), (1, 7)]
        await watch.write(turn_of(1, 0))
        assert await watch.news() == [(1, 0)]
        assert await watch.news() == []


async def test_a_trajectory_that_comes_late_with_an_early_time(backend: StorageBackend) -> None:
    async with watching(backend, started(1), turn_of(1, 1)) as watch:
        await watch.begin()
        await watch.write(started(2, created_at=OLD, agent_name="late"), turn_of(2, 1), turn_of(2))
        [heard] = [each async for each in watch.feed.news()]
        assert (names([heard]), heard.agent_name) == ([(2, 1)], "late")
        assert await watch.news() == []


async def test_an_old_trajectory_that_goes_on() -> None:
    turns = [turn_of(1, each, created_at=OLD) for each in (1, 3, 4)]
    async with watching(MemoryBackend(), started(1, created_at=OLD), *turns) as watch:
        await watch.begin(1)
        await watch.write(turn_of(1, 5, created_at=NOW), turn_of(1, 6, created_at=NOW))
        assert await watch.news() == [(1, 5), (1, 6)]
        await watch.write(turn_of(1, 2, created_at=OLD))  # known by now, number by number
        assert await watch.news() == [(1, 2)]


async def test_a_low_number_in_an_old_trajectory_that_was_shown() -> None:
    shown = turn_of(1, 3, created_at=OLD)
    async with watching(MemoryBackend(), started(1, created_at=OLD), shown) as watch:
        assert await watch.begin() == [(1, 3)]
        await watch.write(turn_of(1, 1, created_at=OLD))
        assert await watch.news() == [(1, 1)]


async def test_all_others_are_looked_at_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "ROUND", 10)
    old: list[Trajectory | Turn] = [started(n, created_at=OLD) for n in range(1, 46)]
    async with watching(MemoryBackend(), *old) as watch:
        await watch.begin()
        written = {(number, 1) for number in range(1, 46)}
        await watch.write(*(turn_of(number, 1, created_at=OLD) for number, _ in written))
        found: list[Name] = []
        for _ in range(5):  # all of a round
            found += await watch.news()
        assert sorted(found) == sorted(written)
        assert await watch.news() == []


async def test_more_than_is_looked_at_each_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("WATCHED", "ROUND", "_COUNTED_AT_ONCE", "READ_AT_ONCE"):
        monkeypatch.setattr(following, bound, 7)
    monkeypatch.setattr(newest, "READ_AT_ONCE", 7)
    recent: list[Trajectory | Turn] = [started(n, created_at=RECENT) for n in range(1, 30)]
    async with watching(MemoryBackend(), *recent) as watch:
        assert await watch.begin() == []
        chance = random.Random(11)
        written: set[Name] = set()
        found: list[Name] = []
        for _ in range(40):
            name = chance.randint(1, 40), chance.randint(0, 9)
            written.add(name)
            await watch.write(turn_of(*name, created_at=RECENT))
            found += await watch.news()
        for _ in range(10):
            found += await watch.news()
        assert sorted(found) == sorted(written)


async def test_filters_choose_what_is_given() -> None:
    rows = [started(1, agent_name="a"), started(2, agent_name="b")]
    async with watching(MemoryBackend(), *rows, agent="a", text="needle") as watch:
        assert await watch.begin() == []
        hit = {"prompt": "a needle"}
        await watch.write(turn_of(1, 1), turn_of(1, 2, **hit), turn_of(2, 1, **hit))
        await watch.write(started(3, agent_name="a", created_at=RECENT), turn_of(3, 1, **hit))
        assert sorted(await watch.news()) == [(1, 2), (3, 1)]
        assert await watch.news() == []


async def test_what_was_deleted_is_forgotten() -> None:
    backend = MemoryBackend()
    turns = [turn_of(1, each, created_at=RECENT) for each in (1, 2, 3)]
    async with watching(backend, started(1), *turns) as watch:
        await watch.begin()
        await backend.delete_trajectories([UUID(int=2**127 - 1)])
        assert await watch.news() == []
        await watch.write(started(1), turn_of(1, 8), turn_of(1, 9))
        assert await watch.news() == [(1, 8), (1, 9)]


async def test_times_of_the_far_future_push_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "WATCHED", 3)
    monkeypatch.setattr(following, "ROUND", 1)
    end = datetime.max.replace(tzinfo=NOW.tzinfo)
    rows: list[Trajectory | Turn] = [started(1, created_at=RECENT), turn_of(1, 1, created_at=NOW)]
    for number in range(2, 9):
        rows += [started(number, created_at=end), turn_of(number, 1, created_at=end)]
    async with watching(MemoryBackend(), *rows) as watch:
        await watch.begin()
        found: list[Name] = []
        await watch.write(turn_of(1, 2, created_at=NOW))
        for _ in range(9):
            found += await watch.news()
        assert found == [(1, 2)]


class Reading:
    """Counts the turns that stores give, and writes something before they give any."""

    def __init__(self, backend: StorageBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.meanwhile: list[Batch] = []
        read = TrajectoryStore.turns

        async def turns(store: TrajectoryStore, query: TurnQuery) -> AsyncIterator[Turn]:
            if self.meanwhile:
                await backend.write(self.meanwhile.pop())
            async with aclosing(read(store, query)) as found:
                async for turn in found:
                    self.count += 1
                    yield turn

        monkeypatch.setattr(TrajectoryStore, "turns", turns)


async def test_a_status_is_that_of_the_moment(backend: StorageBackend) -> None:
    """What was there before a trajectory came to stand so isn't new then; what comes is."""
    rows: list[Trajectory | Turn] = [
        started(1, status="running", created_at=RECENT),
        started(2, status="completed", created_at=RECENT),
        *(turn_of(number, turn, created_at=RECENT) for number in (1, 2) for turn in (1, 2)),
    ]
    async with watching(backend, *rows, status=TrajectoryStatus.COMPLETED) as watch:
        assert await watch.begin() == [(2, 1), (2, 2)]
        end = TrajectoryEnd(trajectory_id=turn_of(1).trajectory_id, status="completed")
        await watch.write(turn_of(1, 3), end)
        assert await watch.news() == [(1, 3)]
        await watch.write(turn_of(1, 4), turn_of(2, 3))
        assert sorted(await watch.news()) == [(1, 4), (2, 3)]
    async with watching(backend, status=TrajectoryStatus.RUNNING) as watch:
        assert await watch.begin() == []
        await watch.write(turn_of(1, 5))
        assert await watch.news() == []


async def test_of_a_long_trajectory_little_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 3000
    for at in (RECENT, OLD):
        backend = MemoryBackend()
        reading = Reading(backend, monkeypatch)
        turns = [turn_of(1, n, created_at=at) for n in range(1, size) if n not in (900, 2500)]
        async with watching(backend, started(1, created_at=at), *turns) as watch:
            found = await watch.begin(2)
            assert found == [(1, size - 2), (1, size - 1)]
            # That two are missing costs one reading of all: numbers can't be read alone.
            known = reading.count
            assert known <= (size + 10 if at == RECENT else 4)
            await watch.write(turn_of(1, 2500, created_at=OLD))
            await watch.news()
            reading.count = 0
            await watch.write(turn_of(1, 900, created_at=OLD), turn_of(1, size, created_at=NOW))
            assert sorted(await watch.news()) == [(1, 900), (1, size)]
            assert reading.count <= 8


async def test_where_no_number_is_missing_they_are_known_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = MemoryBackend()
    reading = Reading(backend, monkeypatch)
    turns = [turn_of(1, number, created_at=RECENT) for number in range(3000)]
    async with watching(backend, started(1, created_at=RECENT), *turns) as watch:
        assert await watch.begin(2) == [(1, 2998), (1, 2999)]
        await watch.write(turn_of(1, 3000, created_at=NOW))
        assert await watch.news() == [(1, 3000)]
        assert reading.count < 10


async def test_late_ones_in_more_gaps_than_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_GAPS", 3)
    turns = [turn_of(1, number, created_at=RECENT) for number in range(1, 100, 2)]
    async with watching(MemoryBackend(), started(1, created_at=RECENT), *turns) as watch:
        await watch.begin()
        for written in ([98], [0], [50, 96, 2], list(range(4, 50, 2))):
            await watch.write(*(turn_of(1, number) for number in written))
            assert sorted(await watch.news()) == [(1, number) for number in sorted(written)]
        assert await watch.news() == []


@pytest.mark.parametrize("order", ["rising", "falling", "mixed", "equal"])
async def test_the_newest_of_a_long_trajectory_go_by_their_time(order: str) -> None:
    numbers = list(range(1, 400))
    ages = {"rising": numbers[::-1], "falling": numbers, "equal": [1] * len(numbers)}.get(order)
    if ages is None:
        ages = random.Random(3).sample(numbers, len(numbers))
    rows: list[Trajectory | Turn] = [started(1), started(2), turn_of(2, 1, created_at=OLD)]
    rows += [
        turn_of(1, number, created_at=NOW - timedelta(seconds=age))
        for number, age in zip(numbers, ages, strict=True)
    ]
    by_time = sorted(
        (each for each in rows if isinstance(each, Turn)),
        key=lambda turn: (turn.created_at, *turn.key),
    )
    async with watching(MemoryBackend(), *rows) as watch:
        for count in (1, 7, 399, 400, 999):
            expected = [(2 if turn.created_at == OLD else 1, turn.turn_number) for turn in by_time]
            assert await watch.begin(count) == expected[-count:]


async def test_what_comes_while_the_newest_are_read_makes_no_old_one_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = MemoryBackend()
    reading = Reading(backend, monkeypatch)
    turns = [turn_of(1, number, created_at=OLD) for number in (1, 2, 3)]
    async with watching(backend, started(1, created_at=OLD), *turns) as watch:
        reading.meanwhile.append(Batch(turns=(turn_of(1, 4, created_at=NOW),)))
        assert await watch.begin(1) == [(1, 4)]
        await watch.write(turn_of(1, 5, created_at=NOW))
        assert await watch.news() == [(1, 5)]


async def test_a_look_that_failed_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "ROUND", 2)
    backend = _AwayAtTimes()
    old: list[Trajectory | Turn] = [started(n, created_at=OLD) for n in range(1, 9)]
    async with watching(backend, *old) as watch:
        await watch.begin()
        await watch.write(turn_of(1, 1, created_at=OLD), turn_of(2, 1, created_at=OLD))
        for _ in range(3):
            assert await watch.news() == []
        backend.is_away = True
        with pytest.raises(BackendUnavailableError):
            await watch.news()
        backend.is_away = False
        assert sorted(await watch.news()) == [(1, 1), (2, 1)]


class _AwayAtTimes(MemoryBackend):
    def __init__(self) -> None:
        super().__init__()
        self.is_away = False

    def read_turns(self, query: TurnQuery, /) -> AsyncIterator[Turn]:
        if self.is_away:
            raise BackendUnavailableError("the server is away")
        return super().read_turns(query)


class _EndError(Exception):
    pass


async def test_a_database_that_is_away_is_told_once_and_looked_for_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    backend = _AwayAtTimes()
    async with watching(backend, started(1)) as watch:
        await watch.begin()
        shown: list[Heard] = []
        steps = iter([(1, True), (2, True), (3, False), (4, False)])

        async def pause() -> None:
            step = next(steps, None)
            if step is None:
                raise _EndError
            number, backend.is_away = step
            await watch.write(turn_of(1, number))

        with pytest.raises(_EndError):
            await follow_on(watch.feed, shown.append, pause)
    assert names(shown) == [(1, 1), (1, 2), (1, 3), (1, 4)]
    err = capsys.readouterr().err
    assert (err.count("away"), err.count("is back")) == (1, 1)
