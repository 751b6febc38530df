"""Whatever call of the system fails: what was acknowledged is there, what was refused is not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from journal.disks import FailingDisk, Failure
from journal.logged import replayed, turn

from trajectory import Turn
from trajectory.journal import REAL, Journal, JournalError, leftovers


class Ledger:
    """What a journal was asked to take and what it answered, kept outside of it."""

    def __init__(self, folder: Path, disk: FailingDisk) -> None:
        self.folder = folder
        self.journal = Journal(folder, segment_bytes=900, os_layer=disk)
        self.taken: list[Turn] = []
        self.refused: list[Turn] = []
        self.stored = 0
        self.unsynced = 0

    def append(self, count: int) -> None:
        for _ in range(count):
            value = turn(len(self.taken) + len(self.refused))
            try:
                self.journal.append(value)
            except JournalError:
                self.refused.append(value)
            else:
                self.taken.append(value)

    def mark(self, count: int) -> None:
        self.journal.mark(count)
        self.stored = min(count, len(self.taken))

    async def sync(self) -> None:
        try:
            await asyncio.wait_for(self.journal.sync(), 10)
        except JournalError:
            self.unsynced += 1

    async def run(self) -> bool:
        """Use all that a journal does; say whether it could be opened."""
        try:
            self.journal.open()
        except JournalError:
            return False
        self.append(3)
        await self.sync()
        self.append(10)
        self.mark(5)
        await self.sync()
        self.append(2)
        self.mark(9)
        self.append(8)
        await self.sync()
        self.append(1)
        return True

    def check(self) -> None:
        """Let the process die, and compare the ledger with what the next start finds."""
        assert self.journal.appended == len(self.taken)
        self.journal.forget()
        back, damage = replayed(self.folder)
        assert all(each.undecodable == 0 for each in damage)
        # What is stored may come again, in whatever segment it still lies.
        missing = [each for each in self.taken[self.stored :] if each not in back]
        assert missing == []
        assert [each for each in back if each in self.refused] == []
        assert all(each in self.taken for each in back)
        # A copy may stand beside its original, each in order: the last of each is in order too.
        last = {each.turn_number: at for at, each in enumerate(back)}  # type: ignore[union-attr]
        assert list(last.values()) == sorted(last.values())


def run_all(tmp_path: Path, fails_from: Callable[[int], Failure], *, short: bool = False) -> int:
    """Run once for each call that may fail, until none does; give the number of runs."""
    for n in range(1, 400):
        folder = tmp_path / str(n)
        disk = FailingDisk(fails_from(n), short=short)
        ledger = Ledger(folder, disk)
        if asyncio.run(ledger.run()):
            ledger.check()
        if not disk.failed:
            assert ledger.refused == []
            assert ledger.unsynced == 0
            return n
    raise AssertionError("some call fails for ever")


def _only(n: int) -> Failure:
    return lambda at, _: at == n


@pytest.mark.parametrize("short", [False, True])
def test_each_call_fails_once(tmp_path: Path, short: bool) -> None:
    assert run_all(tmp_path, _only, short=short) > 60


def test_each_call_fails_twice_in_a_row(tmp_path: Path) -> None:
    assert run_all(tmp_path, lambda n: lambda at, _: at in {n, n + 1}, short=True) > 60


@pytest.mark.parametrize(
    "calls", [{"write"}, {"write", "open"}, {"write", "truncate"}, {"sync"}, {"sync_folder"}]
)
def test_from_each_call_on_all_of_a_kind_fail(tmp_path: Path, calls: set[str]) -> None:
    """A disk that is full, or broken, and stays so."""
    run_all(tmp_path, lambda n: lambda at, call: at >= n and call in calls, short=True)


def test_the_next_start_fails_at_each_call(tmp_path: Path) -> None:
    """Nothing is lost while reading what was left, and no lock stays behind."""
    ledger = Ledger(tmp_path / "t", FailingDisk(lambda *_: False))
    asyncio.run(ledger.run())
    ledger.journal.forget()
    expected = replayed(ledger.folder)[0]
    for n in range(1, 200):
        disk = FailingDisk(_only(n))
        back = []
        for orphan in leftovers(ledger.folder, os_layer=disk):
            with suppress(JournalError):
                back += [value for value, _ in orphan.values()]
            orphan.release()
        assert [each for each in expected if each in back] == back
        assert replayed(ledger.folder)[0] == expected
        if not disk.failed:
            assert back == expected
            return
    raise AssertionError("some call fails for ever")


def test_a_short_write_is_cut_back(folder: Path) -> None:
    """Half a frame in the middle would hide what follows from a reader that stops there."""
    full = False
    journal = Journal(
        folder, os_layer=FailingDisk(lambda _, call: full and call == "write", short=True)
    )
    journal.open()
    first, refused, last = turn(1), turn(2), turn(3)
    journal.append(first)
    [path] = folder.iterdir()
    size = path.stat().st_size
    full = True
    with pytest.raises(JournalError, match=r"can't take \d+ bytes: only \d+ of") as raised:
        journal.append(refused)
    assert str(path) in str(raised.value)
    assert path.stat().st_size == size
    full = False
    journal.append(last)
    assert [value for value, _ in journal.read(0, 9, 2**20)] == [first, last]
    journal.forget()
    back, [damage] = replayed(folder)
    assert (back, damage.torn_bytes, damage.undecodable) == ([first, last], 0, 0)


def test_a_segment_that_cant_be_cut_is_given_up(folder: Path) -> None:
    broken = False
    journal = Journal(folder, os_layer=FailingDisk(lambda _, c: broken and c != "open", short=True))
    journal.open()
    first, refused, last = turn(1), turn(2), turn(3)
    journal.append(first)
    broken = True
    with pytest.raises(JournalError):
        journal.append(refused)
    broken = False
    journal.append(last)
    assert len(list(folder.iterdir())) == 2
    journal.forget()
    back, damage = replayed(folder)
    assert back == [first, last]
    assert [each.torn_bytes > 0 for each in damage] == [True, False]
    assert all(each.undecodable == 0 for each in damage)


def test_it_works_again_when_there_is_room_again(folder: Path) -> None:
    full = False
    journal = Journal(folder, os_layer=FailingDisk(lambda _, call: full and call == "write"))
    journal.open()
    values = [turn(n) for n in range(6)]
    for n, value in enumerate(values):
        full = n in {2, 3}
        with suppress(JournalError):
            journal.append(value)
    expected = [*values[:2], *values[4:]]
    assert journal.appended == 4
    journal.forget()
    assert replayed(folder)[0] == expected


def test_a_folder_that_cant_be_made_is_said_at_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    journal = Journal(tmp_path / "file" / "turns")
    with pytest.raises(JournalError, match="journal_dir") as raised:
        journal.open()
    assert str(tmp_path) in str(raised.value)
    assert isinstance(raised.value.__cause__, OSError)


def test_a_folder_that_was_deleted_is_made_again(folder: Path) -> None:
    journal = Journal(folder, segment_bytes=300)
    journal.open()
    journal.append(turn(1))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    last = turn(2, "r" * 300)
    journal.append(last)
    journal.forget()
    assert replayed(folder)[0] == [last]


def test_leftovers_that_cant_be_removed_stay(folder: Path) -> None:
    journal = Journal(folder)
    journal.open()
    value = turn(1)
    journal.append(value)
    journal.forget()
    [orphan] = leftovers(folder, os_layer=FailingDisk(lambda _, call: call == "unlink"))
    assert [each for each, _ in orphan.values()] == [value]
    with pytest.raises(JournalError, match="can't remove"):
        orphan.remove()
    assert replayed(folder)[0] == [value]


def test_what_cant_be_set_aside_keeps_the_whole_file(folder: Path) -> None:
    journal = Journal(folder)
    journal.open()
    first, last = turn(1), turn(2)
    journal.append(first)
    [path] = folder.iterdir()
    with path.open("ab") as file:
        file.write(b"damage")
    journal.append(last)
    journal.forget()
    content = path.read_bytes()
    [orphan] = leftovers(folder, os_layer=FailingDisk(lambda _, call: call == "write"))
    assert [each for each, _ in orphan.values()] == [first, last]
    assert orphan.damage.undecodable == 1
    orphan.remove()
    assert not path.exists()
    assert path.with_name(path.name + ".bad").read_bytes() == content


def test_the_real_layer_reads_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abcdef")
    fd = REAL.open(path, os.O_RDONLY)
    assert (REAL.read(fd, 4, 0), REAL.read(fd, 4, 4), REAL.read(fd, 4, 9)) == (b"abcd", b"ef", b"")
    REAL.close(fd)
