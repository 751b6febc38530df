"""What dead processes left is stored by hand: once, whole, and without waiting for ever."""

from __future__ import annotations

import fcntl
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from journal.logged import one_of_each, turn, turns, written

from trajectory import (
    BackendUnavailableError,
    Batch,
    BatchRejectedError,
    Capabilities,
    ConfigurationError,
    PartialWriteError,
    TrajectoryLogger,
    TurnQuery,
    open_backend,
)
from trajectory.backend import Survives
from trajectory.backends.memory import MemoryBackend
from trajectory.dead_letters import DeadLetter, DeadLetterError, DeadLetterFile
from trajectory.journal import Journal
from trajectory.journal.frames import HEADER, encode_note
from trajectory.models import Turn
from trajectory.recovery import export_dead_letters, folder_for, recover, retry_dead_letters
from trajectory.survey import Owner, look
from trajectory.testing import FailingBackend

CANARY = "canary-5d0e"


class Picky(MemoryBackend):
    """Refuses batches with a bad prompt, for a reason that may change."""

    def __init__(self, reason: str = "the database refuses a value") -> None:
        super().__init__()
        self.reason = reason
        self.sizes: list[int] = []

    async def write(self, batch: Batch, /) -> None:
        if any(each.prompt.startswith("bad") for each in batch.turns):
            raise BatchRejectedError(self.reason)
        await super().write(batch)
        self.sizes.append(len(batch))


class Away(MemoryBackend):
    """Goes away after so many writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.left = writes
        self.tries = 0

    async def write(self, batch: Batch, /) -> None:
        self.tries += 1
        if self.tries > self.left:
            raise BackendUnavailableError("the database is away")
        await super().write(batch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "t.db.turns"


async def numbers(backend: MemoryBackend) -> list[int]:
    await backend.open()
    return [each.turn_number async for each in backend.read_turns(TurnQuery())]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a segment as its living owner does."""
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


async def test_all_is_stored_in_batches_and_the_segments_are_gone(folder: Path) -> None:
    written(folder, *turns(250))
    written(folder, *one_of_each()[:1], stored=0)
    backend = Picky()
    done = await recover(backend, folder)
    assert [(each.turns, each.others, each.removed) for each in done.segments] == [
        (250, 0, True),
        (0, 1, True),
    ]
    assert done.is_complete
    assert backend.sizes == [100, 100, 50, 1]
    assert await numbers(backend) == list(range(1, 251))
    assert list(folder.iterdir()) == []


async def test_a_second_time_there_is_nothing_and_the_backend_is_not_even_opened(
    folder: Path,
) -> None:
    written(folder, *turns(2))
    backend = MemoryBackend()
    await recover(backend, folder)

    class Unopened(MemoryBackend):
        async def open(self) -> None:
            raise AssertionError

    again = await recover(Unopened(), folder)
    assert (again.segments, again.is_complete) == ([], True)


async def test_the_same_again_changes_nothing(folder: Path) -> None:
    """Invariant: a replay that was killed before it removed a segment may be repeated."""
    backend = MemoryBackend()
    for _ in range(2):
        written(folder, *turns(5))
        assert (await recover(backend, folder)).is_complete
    assert await numbers(backend) == [1, 2, 3, 4, 5]


async def test_what_is_marked_is_not_replayed(folder: Path) -> None:
    written(folder, *turns(5), stored=3)
    backend = MemoryBackend()
    [segment] = (await recover(backend, folder)).segments
    assert (segment.turns, await numbers(backend)) == (2, [4, 5])


async def test_one_bad_turn_costs_one_turn(folder: Path) -> None:
    bad = turn(42).replace(prompt=f"bad {CANARY}")
    written(folder, *turns(41), bad, *turns(100)[42:])
    backend = Picky()
    done = await recover(backend, folder)
    [segment] = done.segments
    assert (segment.turns, segment.dead_lettered, segment.removed) == (99, 1, True)
    assert not done.is_complete
    assert not segments(folder)
    [letter] = DeadLetterFile(folder).read()
    assert (letter.key, letter.error) == (f"{bad.trajectory_id}/42", "BatchRejectedError")
    assert CANARY not in letter.reason


@pytest.mark.parametrize("writes", [0, 1, 2])
async def test_a_database_that_goes_away_ends_it_and_the_rest_stays(
    folder: Path, writes: int
) -> None:
    written(folder, *turns(100))
    written(folder, *turns(250)[100:])
    backend = Away(writes)
    done = await recover(backend, folder)
    assert done.error is not None
    assert "away" in done.error
    assert backend.tries == writes + 1  # no endless retry
    assert len(segments(folder)) == (2 if writes == 0 else 1)
    assert not done.is_complete
    backend.left = 100
    assert (await recover(backend, folder)).is_complete
    assert await numbers(backend) == list(range(1, 251))
    assert not segments(folder)


async def test_segments_that_were_not_reached_are_told_as_well(folder: Path) -> None:
    written(folder, *turns(1))
    written(folder, *turns(3))
    done = await recover(Away(0), folder)
    assert [(each.tried, each.turns, each.removed) for each in done.segments] == [
        (True, 0, False),
        (False, 3, False),
    ]


async def test_a_backend_that_can_not_be_opened_is_an_error_too(folder: Path) -> None:
    class Closed(MemoryBackend):
        async def open(self) -> None:
            raise BackendUnavailableError("the database is away")

    written(folder, *turns(3))
    done = await recover(Closed(), folder)
    assert (done.error, done.is_complete) == ("the database is away", False)
    assert [(each.tried, each.turns) for each in done.segments] == [(False, 3)]
    assert len(segments(folder)) == 1


async def test_a_partial_write_is_looked_through(folder: Path) -> None:
    class Partial(MemoryBackend):
        async def write(self, _batch: Batch, /) -> None:
            raise PartialWriteError([uuid4()]) from BackendUnavailableError("one shard is away")

    written(folder, *turns(3))
    assert (await recover(Partial(), folder)).error == "one shard is away"


async def test_segments_of_living_processes_are_left_alone(folder: Path) -> None:
    journal = Journal(folder)
    journal.open()
    journal.append(turn(1))
    [living] = segments(folder)
    written(folder, turn(2))
    try:
        before = living.read_bytes()
        backend = MemoryBackend()
        done = await recover(backend, folder)
        assert {each.path: each.owner for each in done.segments}[living] is Owner.LIVING
        assert done.is_complete
        assert await numbers(backend) == [2]
        assert segments(folder) == [living]
        assert living.read_bytes() == before
    finally:
        journal.close()


async def test_newer_formats_are_left_alone_and_leave_it_incomplete(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    newer = folder / "1-1-a-000001.journal"
    newer.write_bytes(encode_note(HEADER, {"magic": "trajectory journal", "format": 99}))
    done = await recover(MemoryBackend(), folder)
    assert [each.owner for each in done.segments] == [Owner.NEWER]
    assert not done.is_complete
    assert newer.exists()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_told_and_not_followed(folder: Path, kind: str) -> None:
    folder.mkdir()
    path = folder / "1-1-a-000001.journal"
    if kind == "link":
        (folder / "elsewhere").write_text(CANARY)
        path.symlink_to(folder / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    [segment] = look(folder, read=True)
    assert (segment.owner, segment.problem) == (Owner.UNKNOWN, "it is no file")
    assert segment.needs_care


async def test_damage_is_counted_and_what_is_whole_is_stored(folder: Path) -> None:
    written(folder, *turns(3))
    [path] = segments(folder)
    content = bytearray(path.read_bytes())
    second = content.index(b'"turn_number":2')
    content[second] ^= 1
    path.write_bytes(bytes(content) + b"torn")
    looked = look(folder, read=True)
    backend = MemoryBackend()
    done = await recover(backend, folder)
    for [segment] in (looked, done.segments):
        assert (segment.turns, segment.torn_bytes, segment.set_aside) == (2, 4, 1)
    assert not done.is_complete  # a stretch could not be stored
    assert await numbers(backend) == [1, 3]
    assert [each.name for each in folder.iterdir()] == [f"{path.name}.bad"]


def test_a_look_changes_nothing(folder: Path) -> None:
    """Invariant: not the damaged stretch either, nor what a dying process was about to make."""
    written(folder, *one_of_each(), *turns(3), stored=1)
    [path] = segments(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (folder / "2-2-b-000001.journal.new").touch()
    before = {each: each.read_bytes() for each in folder.iterdir()}
    for read in (False, True):
        [segment] = look(folder, read=read)
        assert segment.turns > 0
    assert {each: each.read_bytes() for each in folder.iterdir()} == before


def test_two_that_look_do_not_take_each_other_for_the_owner(folder: Path) -> None:
    written(folder, turn(1))
    [path] = segments(folder)
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        assert [each.owner for each in look(folder)] == [Owner.DEAD]
    finally:
        os.close(fd)
    with locked(path):
        assert [each.owner for each in look(folder)] == [Owner.LIVING]


def test_a_folder_that_is_not_there_has_nothing(folder: Path) -> None:
    assert look(folder) == []


def test_what_lives_in_memory_is_refused(tmp_path: Path) -> None:
    """Invariant: nothing is taken from a journal into what goes with the process."""
    with pytest.raises(ConfigurationError, match="in memory"):
        folder_for(open_backend(":memory:"), tmp_path)

    class Elsewhere(MemoryBackend):
        def __init__(self) -> None:
            super().__init__()
            self.capabilities = Capabilities(survives=Survives.POWER_LOSS)

    with pytest.raises(ConfigurationError, match="--journal-dir"):
        folder_for(Elsewhere(), None)
    assert folder_for(Elsewhere(), tmp_path) == tmp_path


# Dead letters.


def letter(value: Turn, reason: str = "the database refuses a value") -> DeadLetter:
    return DeadLetter.of(value, BatchRejectedError(reason))


async def add_all(file: DeadLetterFile, letters: list[DeadLetter]) -> None:
    for each in letters:
        await file.add(each)


async def test_stored_letters_leave_and_the_others_stay(folder: Path) -> None:
    file = DeadLetterFile(folder)
    made = [letter(turn(n).replace(prompt="bad" if n in (3, 120) else "p")) for n in range(1, 251)]
    await add_all(file, made)
    backend = Picky()
    done = await retry_dead_letters(backend, file)
    assert (done.stored, len(done.refused), done.error) == (248, 2, None)
    assert await numbers(backend) == [n for n in range(1, 251) if n not in (3, 120)]
    assert list(file.read()) == [made[2], made[119]]  # as they were: the reason is the same
    file.remove([made[2], made[119]])
    assert not file.path.exists()


async def test_every_kind_leaves_once_it_is_stored(folder: Path) -> None:
    """Invariant: a letter is found again in the file, whatever fields its value has."""
    file = DeadLetterFile(folder)
    values = [*one_of_each()[:3], one_of_each()[5]]
    await add_all(file, [DeadLetter.of(value, BatchRejectedError("no")) for value in values])
    done = await retry_dead_letters(MemoryBackend(), file)
    assert (done.stored, file.path.exists()) == (len(values), False)


async def test_a_new_reason_replaces_the_old_one(folder: Path) -> None:
    file = DeadLetterFile(folder)
    bad = turn(1).replace(prompt="bad")
    await file.add(letter(bad))
    done = await retry_dead_letters(Picky("another reason"), file)
    [kept] = file.read()
    assert done.refused == [kept]
    assert "another reason" in kept.reason
    assert kept.value == bad


@pytest.mark.parametrize("writes", [0, 1])
async def test_a_database_that_is_away_leaves_what_was_not_tried(folder: Path, writes: int) -> None:
    file = DeadLetterFile(folder)
    made = [letter(turn(n)) for n in range(1, 151)]
    await add_all(file, made)
    backend = Away(writes)
    done = await retry_dead_letters(backend, file)
    assert (done.error, done.stored) == ("the database is away", 100 * writes)
    assert backend.tries == writes + 1
    assert list(file.read()) == made[100 * writes :]


async def test_letters_that_are_added_meanwhile_stay(folder: Path) -> None:
    file = DeadLetterFile(folder)
    late = letter(turn(99))

    class Busy(MemoryBackend):
        async def write(self, batch: Batch, /) -> None:
            await file.add(late)  # as a living logger does
            await super().write(batch)

    await file.add(letter(turn(1)))
    assert (await retry_dead_letters(Busy(), file)).stored == 1
    assert list(file.read()) == [late]


async def test_without_letters_nothing_is_opened(folder: Path) -> None:
    backend = FailingBackend(AssertionError("it was written to"))
    assert (await retry_dead_letters(backend, DeadLetterFile(folder))).stored == 0
    assert not folder.exists()


async def test_an_export_is_private_whole_and_never_over_another_file(
    folder: Path, tmp_path: Path
) -> None:
    file, target = DeadLetterFile(folder), tmp_path / "out.jsonl"
    made = [letter(turn(n).replace(prompt=CANARY)) for n in (1, 2)]
    await add_all(file, made)
    old = os.umask(0)
    try:
        assert export_dead_letters(file, target) == 2
    finally:
        os.umask(old)
    assert target.stat().st_mode & 0o777 == 0o600
    lines = target.read_bytes().splitlines()
    assert [DeadLetter.from_json(line) for line in lines] == made
    assert list(file.read()) == made
    with pytest.raises(ConfigurationError, match="is there already"):
        export_dead_letters(file, target)
    assert target.read_bytes().splitlines() == lines
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="is there already"):
        export_dead_letters(file, tmp_path / "link")
    with pytest.raises(ConfigurationError, match="No such file"):
        export_dead_letters(file, tmp_path / "no" / "folder")


@pytest.mark.parametrize("failure", ["full", "unreadable"])
async def test_an_export_that_fails_leaves_nothing(
    folder: Path, tmp_path: Path, failure: str
) -> None:
    file, target = DeadLetterFile(folder), tmp_path / "out.jsonl"
    await file.add(letter(turn(1).replace(prompt="x" * 100_000)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if failure == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    else:
        file.path.unlink()
        file.path.mkdir()
    try:
        with pytest.raises(DeadLetterError, match=r"can't (write|read)"):
            export_dead_letters(file, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not target.exists()


async def test_a_replay_beside_a_logger_that_runs(tmp_path: Path) -> None:
    """Invariant: a logger's own turns are its own, and both end up in one file."""
    folder = tmp_path / "t.db.turns"
    async with TrajectoryLogger(tmp_path / "t.db") as logger:
        written(folder, *turns(10))
        run = await logger.start_trajectory()
        await run.log_turn("p", "r")
        backend = open_backend(tmp_path / "t.db")
        try:
            done = await recover(backend, folder)
            assert done.is_complete
            assert [each.owner for each in done.segments] == [Owner.DEAD, Owner.LIVING]
            assert await logger.flush() == (1, 0, 0)
            found = [each async for each in backend.read_turns(TurnQuery())]
        finally:
            await backend.close()
    assert len(found) == 11
