"""Pruning: by last activity, nothing that runs, all that belongs to it, beside a writer."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from typer.testing import CliRunner

from trajectory import (
    BackendUnavailableError,
    Batch,
    ConfigurationError,
    Fact,
    LoggerSettings,
    Question,
    StorageBackend,
    Trajectory,
    TrajectoryEnd,
    TrajectoryLogger,
    TrajectoryQuery,
    TrajectoryStore,
    Turn,
    TurnQuery,
    open_backend,
)
from trajectory.cli import app
from trajectory.dead_letters import DeadLetter, DeadLetterFile
from trajectory.journal import Journal
from trajectory.recovery import folder_for
from trajectory.retention import INTERRUPTED_AFTER, Pruning, _delete, prune
from trajectory.testing.samples import full_turn

NOW = datetime.now(UTC)
OLD, LIMIT, NEW = NOW - timedelta(days=40), NOW - timedelta(days=30), NOW - timedelta(days=1)


def turn_at(id_: UUID, when: datetime, number: int = 1) -> Turn:
    return Turn(trajectory_id=id_, turn_number=number, prompt="p", response="r", created_at=when)


async def ids_of(backend: StorageBackend) -> set[UUID]:
    return {each.id async for each in backend.read_trajectories(TrajectoryQuery())}


async def test_it_goes_by_last_activity(backend: StorageBackend) -> None:
    old = Trajectory(created_at=OLD, ended_at=OLD, status="completed")
    bare = UUID(int=5)  # of which only a turn is known
    ended_late = Trajectory(created_at=OLD, ended_at=NEW, status="failed")
    new_turn = Trajectory(created_at=OLD)
    silent = Trajectory(created_at=OLD)  # never ended: its process was killed
    new = Trajectory(created_at=NEW)
    turns = (
        turn_at(old.id, OLD),
        turn_at(old.id, OLD, 2),
        turn_at(bare, OLD),
        turn_at(new_turn.id, OLD),
        turn_at(new_turn.id, NEW, 2),
    )
    await backend.write(Batch(starts=(old, ended_late, new_turn, silent, new), turns=turns))
    async with TrajectoryStore(backend) as store:
        trial = await store.prune(LIMIT, dry_run=True)
        assert len(await ids_of(backend)) == 6
        pruned = await store.prune(LIMIT)
        assert (pruned.trajectories, pruned.turns) == (trial.trajectories, trial.turns) == (3, 3)
        assert await ids_of(backend) == {ended_late.id, new_turn.id, new.id}
        assert (await store.prune(LIMIT)).trajectories == 0
        assert [turn.trajectory_id async for turn in store.turns()] == [new_turn.id] * 2


async def test_an_age_is_one_call(backend: StorageBackend) -> None:
    await backend.write(Batch(starts=(Trajectory(created_at=OLD), Trajectory(created_at=NEW))))
    async with TrajectoryStore(backend) as store:
        assert (await store.prune(timedelta(days=30))).trajectories == 1


async def test_what_runs_is_left_alone(backend: StorageBackend) -> None:
    running = Trajectory(created_at=OLD)
    spoke = NOW - INTERRUPTED_AFTER / 2
    interrupted = Trajectory(created_at=OLD)
    fell_silent = NOW - INTERRUPTED_AFTER - timedelta(seconds=1)
    ended = Trajectory(created_at=OLD, ended_at=spoke, status="completed")
    turns = (turn_at(running.id, spoke), turn_at(interrupted.id, fell_silent))
    await backend.write(Batch(starts=(running, interrupted, ended), turns=turns))
    pruned = await prune(backend, None, NOW, now=NOW)
    assert pruned.trajectories == 2
    assert await ids_of(backend) == {running.id}


async def test_all_that_belongs_to_it_goes(backend: StorageBackend) -> None:
    old, new = Trajectory(created_at=OLD), Trajectory(created_at=NEW)
    turns = tuple(full_turn(each.id).replace(created_at=each.created_at) for each in (old, new))
    fact = Fact(
        trajectory_id=old.id,
        turn_number=turns[0].turn_number,
        finding=Question(question_text="late", effort_level="low"),
    )
    await backend.write(Batch(starts=(old, new), turns=turns, facts=(fact,)))
    async with TrajectoryStore(backend) as store:
        await store.prune(LIMIT)
        assert await store.statistics() == (1, 1, 3, 2)
        [left] = [turn async for turn in store.turns()]
        assert left.messages == turns[1].messages


async def test_many_go_in_small_transactions(
    backend: StorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trajectory.retention._LOOKED_AT_ONCE", 4)
    monkeypatch.setattr("trajectory.retention._TURNS_AT_ONCE", 3)
    runs = [
        Trajectory(created_at=(OLD if n % 5 else NEW) + timedelta(seconds=n)) for n in range(30)
    ]
    turns = tuple(
        turn_at(run.id, run.created_at, k) for n, run in enumerate(runs) for k in range(n % 4)
    )
    await backend.write(Batch(starts=tuple(runs), turns=turns))
    deleted: list[int] = []
    name = "delete_silent" if isinstance(backend, Pruning) else "delete_trajectories"
    inner = getattr(backend, name)

    async def count(ids: list[UUID], /, *rest: Any) -> Any:
        deleted.append(sum(turn.trajectory_id in ids for turn in turns))
        return await inner(ids, *rest)

    monkeypatch.setattr(backend, name, count)
    async with TrajectoryStore(backend) as store:
        pruned = await store.prune(LIMIT)
    assert pruned.trajectories == 24
    assert pruned.turns == sum(deleted)
    assert max(deleted) <= 3
    assert await ids_of(backend) == {run.id for run in runs if run.created_at > LIMIT}


async def test_wrong_ages_are_refused(backend: StorageBackend) -> None:
    async with TrajectoryStore(backend) as store:
        with pytest.raises(ConfigurationError, match="negative"):
            await store.prune(timedelta(days=-1))
        with pytest.raises(ConfigurationError, match="timezone"):
            await store.prune(datetime(2026, 1, 1))  # noqa: DTZ001
        with pytest.raises(ConfigurationError, match="year 1"):
            await store.prune(timedelta.max)


async def test_an_instant_in_the_future_is_refused(
    backend: StorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: what is logged in that very moment stays."""
    monkeypatch.setattr("trajectory.retention._delete", None)  # nothing gets so far
    await backend.write(Batch(starts=(Trajectory(created_at=OLD),)))
    async with TrajectoryStore(backend) as store:
        for dry_run in (True, False):
            with pytest.raises(ConfigurationError, match="in the future"):
                await store.prune(datetime.now(UTC) + timedelta(days=1), dry_run=dry_run)
        assert (await store.prune(datetime.now(UTC), dry_run=True)).trajectories == 1


async def test_what_wakes_up_meanwhile_stays(
    backend: StorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: a turn that is stored between the look and the deletion is not lost."""
    runs = [Trajectory(id=UUID(int=n), created_at=OLD) for n in range(4)]
    turns = tuple(turn_at(run.id, OLD) for run in runs)
    await backend.write(Batch(starts=tuple(runs), turns=turns))
    ended = TrajectoryEnd(trajectory_id=runs[1].id, status="completed", ended_at=NEW)
    woken = False

    async def wake(inner: Any, *given: Any) -> Any:
        nonlocal woken
        if not woken:
            woken = True
            await backend.write(Batch(turns=(turn_at(runs[0].id, NEW, 2),), ends=(ended,)))
        return await inner(*given)

    if isinstance(backend, Pruning):
        inner = backend.delete_silent
        monkeypatch.setattr(backend, "delete_silent", lambda *given: wake(inner, *given))
        left = {runs[0].id, runs[1].id}
    else:  # counts again; only a turn tells
        monkeypatch.setattr("trajectory.retention._delete", lambda *given: wake(_delete, *given))
        left = {runs[0].id}
    pruned = await prune(backend, None, LIMIT)
    assert woken
    assert await ids_of(backend) == left
    assert (pruned.trajectories, pruned.turns) == (4 - len(left), 4 - len(left))


async def test_a_turn_that_is_being_stored_is_waited_for(postgres_url: str) -> None:
    """Postgres: the parent's row is locked by the turn, so the look comes after it."""
    backend = open_backend(postgres_url)
    await backend.open()
    run = Trajectory(created_at=OLD)
    await backend.write(Batch(starts=(run,), turns=(turn_at(run.id, OLD),)))
    other = await asyncpg.connect(postgres_url)
    try:
        storing = other.transaction()
        await storing.start()
        await other.execute(
            "INSERT INTO trajectory_turns (trajectory_id, turn_number, prompt, response, "
            "created_at) VALUES ($1, 2, '', '', $2)",
            run.id,
            NEW,
        )
        pruning = asyncio.create_task(prune(backend, None, LIMIT))
        async with asyncio.timeout(20):
            while not await other.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event_type = 'Lock'"
            ):
                await asyncio.sleep(0)
        await storing.commit()
        assert (await pruning).trajectories == 0
        assert await ids_of(backend) == {run.id}
    finally:
        await other.close()
        await backend.close()


@pytest.mark.parametrize("failures", [4, 5])
async def test_a_chunk_is_tried_again(
    backend: StorageBackend, failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: a deadlock that the server breaks doesn't end it; a server that is away does."""
    monkeypatch.setattr("trajectory.retention._PAUSES", (0,) * 4)
    await backend.write(Batch(starts=(Trajectory(created_at=OLD),)))
    name = "delete_silent" if isinstance(backend, Pruning) else "delete_trajectories"
    inner = getattr(backend, name)
    tries = 0

    async def fail(*given: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries <= failures:
            raise BackendUnavailableError("a deadlock")
        return await inner(*given)

    monkeypatch.setattr(backend, name, fail)
    if failures == 4:
        assert (await prune(backend, None, LIMIT)).trajectories == 1
    else:
        with pytest.raises(BackendUnavailableError, match="a deadlock"):
            await prune(backend, None, LIMIT)
    assert tries == 5


async def test_a_deadlock_ends_with_all_pruned(postgres_url: str) -> None:
    """Postgres: another one locks the same rows the other way round, and we are the victim."""
    backend = open_backend(postgres_url)
    await backend.open()
    first, second = (Trajectory(id=UUID(int=n), created_at=OLD) for n in (1, 2))
    await backend.write(Batch(starts=(first, second)))
    other = await asyncpg.connect(postgres_url)
    lock = "SELECT id FROM trajectories WHERE id = $1 FOR UPDATE"
    try:
        writing = other.transaction()
        await writing.start()
        # It looks for deadlocks long after the other one has.
        await other.execute("SET LOCAL deadlock_timeout = '60s'")
        await other.execute(lock, second.id)
        pruning = asyncio.create_task(prune(backend, None, LIMIT))
        async with asyncio.timeout(20):
            while not await other.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event_type = 'Lock'"
            ):
                await asyncio.sleep(0)
            await other.execute(lock, first.id)
            await writing.commit()
            assert (await pruning).trajectories == 2
        assert await ids_of(backend) == set()
    finally:
        await other.close()
        await backend.close()


async def test_old_letters_of_nobody_go(tmp_path: Path) -> None:
    """A letter of what isn't stored goes by its age; of what stays, it stays."""
    backend = open_backend(tmp_path / "t.db")
    await backend.open()
    kept = Trajectory(id=UUID(int=1), created_at=NEW)
    await backend.write(Batch(starts=(kept,)))
    file = DeadLetterFile(tmp_path)
    for n, when in ((1, OLD), (2, OLD), (3, NEW)):
        await file.add(DeadLetter(turn_at(UUID(int=n), OLD), "no", "E", when))

    async def pruned(*, dry_run: bool) -> tuple[int, list[str]]:
        told = await prune(backend, tmp_path, LIMIT, dry_run=dry_run)
        return told.dead_letters, [letter.key for letter in file.read()]

    one, two, three = (f"{UUID(int=n)}/1" for n in (1, 2, 3))
    assert await pruned(dry_run=True) == (1, [one, two, three])
    assert await pruned(dry_run=False) == (1, [one, three])
    assert await pruned(dry_run=False) == (0, [one, three])
    await backend.close()


async def test_an_open_file_gives_its_space_back_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with TrajectoryLogger(path) as logger:
        run = await logger.start_trajectory(created_at=OLD)
        for number in range(1, 101):
            turn = turn_at(run.id, OLD, number)
            await logger.log_turn(turn.replace(prompt="x" * 20_000))
        await logger.flush()
        async with TrajectoryStore(logger.backend) as store:
            assert (await store.prune(LIMIT)).freed_bytes > 1_500_000
        assert path.stat().st_size < 500_000


async def test_a_file_gives_its_space_back(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with TrajectoryLogger(path) as logger:
        for when in (OLD, NEW):
            run = await logger.start_trajectory(created_at=when)
            for number in range(1, 101):
                turn = turn_at(run.id, when, number)
                await logger.log_turn(turn.replace(prompt="x" * 20_000))
        await logger.flush()
    before = path.stat().st_size
    async with TrajectoryStore(path) as store:
        pruned = await store.prune(LIMIT)
    assert pruned.freed_bytes > before * 0.4
    pages_of_its_own = before - path.stat().st_size - pruned.freed_bytes
    assert 0 <= pages_of_its_own <= 2 * 4096  # those that said where the others were


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_writer_goes_on_meanwhile(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path / "t.db") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    settings = LoggerSettings(journal_dir=tmp_path / "j")
    async with TrajectoryLogger(url, settings) as logger, TrajectoryStore(url) as store:
        for _ in range(300):
            run = await logger.start_trajectory(created_at=OLD)
            await logger.log_turn(turn_at(run.id, OLD))
        await logger.flush()
        run = await logger.start_trajectory()

        async def log() -> None:
            for number in range(300):
                await run.log_turn("p", str(number))
                await asyncio.sleep(0)

        _, pruned = await asyncio.gather(log(), store.prune(LIMIT, journal_dir=tmp_path / "j"))
        assert (await logger.flush()).pending == 0
        assert pruned.trajectories == 300
        assert pruned.living >= 1
        kept = [turn.response async for turn in store.turns(TurnQuery(ids=(run.id,)))]
        assert kept == [str(number) for number in range(300)]
        assert await store.statistics() == (1, 300, 0, 0)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_journals_and_dead_letters_are_covered(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path / "t.db") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    settings = LoggerSettings(journal_dir=tmp_path / "j")
    old, new = UUID(int=1), UUID(int=2)

    async def prepare() -> Path:
        async with TrajectoryLogger(url, settings) as logger:
            for id_, when in ((old, OLD), (new, NEW)):
                await logger.log_turn(turn_at(id_, when))
                await logger.log_turn(turn_at(id_, when).replace(response="other"))
            folder = folder_for(logger.backend, settings.journal_dir)
        journal = Journal(folder)
        journal.open()
        for id_, when in ((old, OLD), (new, NEW)):
            journal.append(turn_at(id_, when, 2))
        journal.close()
        return folder

    folder = asyncio.run(prepare())
    arguments = ["prune", "--older-than", "30d", "--db", url, "--journal-dir", str(tmp_path / "j")]
    trial = CliRunner().invoke(app, [*arguments, "--dry-run", "--json"])
    assert trial.exit_code == 0, trial.output
    told = json.loads(trial.stdout)
    assert (told["trajectories"], told["turns"], told["dead_letters"]) == (1, 1, 1)
    assert told["dry_run"] is True
    assert len(list(folder.glob("*.journal"))) == 1

    asked = CliRunner().invoke(app, arguments, input="y\n")
    assert asked.exit_code == 2, "nobody can be asked, so nothing is done"
    assert len([*DeadLetterFile(folder).read()]) == 2

    done = CliRunner().invoke(app, [*arguments, "--yes", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["trajectories"], told["turns"], told["dead_letters"]) == (1, 2, 1)
    assert not list(folder.glob("*.journal"))
    assert [letter.value.trajectory_id for letter in DeadLetterFile(folder).read()] == [new]  # type: ignore[union-attr]

    again = CliRunner().invoke(app, [*arguments, "--yes"])
    assert "0 trajectories with 0 turns and 0 dead letters deleted" in again.stdout

    async def left() -> list[tuple[UUID, int]]:
        async with TrajectoryStore(url) as store:
            return [turn.key async for turn in store.turns()]

    assert asyncio.run(left()) == [(new, 1), (new, 2)]


def test_a_wrong_age_is_wrong_use(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["prune", "--older-than", "soon", "--db", str(tmp_path)])
    assert outcome.exit_code == 2
    assert "--older-than 'soon' is no time" in outcome.stderr


async def test_an_end_that_came_late_counts(backend: StorageBackend) -> None:
    run = Trajectory(created_at=OLD)
    await backend.write(Batch(starts=(run,), turns=(turn_at(run.id, OLD),)))
    end = TrajectoryEnd(trajectory_id=run.id, status="completed", ended_at=NEW)
    await backend.write(Batch(ends=(end,)))
    async with TrajectoryStore(backend) as store:
        assert (await store.prune(LIMIT)).trajectories == 0
