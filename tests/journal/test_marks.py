"""What is stored is not replayed, and takes no disk space."""

from __future__ import annotations

from pathlib import Path

import pytest
from journal.disks import Disk, FailingDisk
from journal.logged import one_of_each, replayed, turn, turns, written

from trajectory import Turn
from trajectory.journal import Journal, Journaled, JournalError, leftovers
from trajectory.journal import journal as journal_module


def opened(folder: Path, **options: object) -> Journal:
    journal = Journal(folder, **options)  # type: ignore[arg-type]
    journal.open()
    return journal


@pytest.mark.parametrize("stored", range(6))
def test_marked_values_are_not_replayed(folder: Path, stored: int) -> None:
    values = turns(5)
    written(folder, *values, stored=stored)
    assert replayed(folder)[0] == values[stored:]


@pytest.mark.parametrize("stored", range(21))
def test_segments_in_which_all_is_stored_go(folder: Path, stored: int) -> None:
    values = turns(20)
    journal = opened(folder, segment_bytes=800)
    for value in values:
        journal.append(value)
    before = len(list(folder.iterdir()))
    assert before > 4
    disk_bytes = journal.bytes
    journal.mark(stored)
    assert journal.bytes == sum(each.stat().st_size for each in folder.iterdir())
    assert journal.bytes < disk_bytes + 100
    assert stored < 20 or len(list(folder.iterdir())) == 1
    assert [value for value, _ in journal.read(stored, 99, 2**20)] == values[stored:]
    journal.forget()
    assert replayed(folder)[0] == values[stored:]


def test_marks_in_steps_and_backwards(folder: Path) -> None:
    values = turns(30)
    journal = opened(folder, segment_bytes=800)
    for number, value in enumerate(values, 1):
        journal.append(value)
        journal.mark(number - 3)
        journal.mark(number - 7)
    assert len(list(folder.iterdir())) <= 2
    journal.forget()
    assert replayed(folder)[0] == values[-3:]


def test_a_mark_beyond_what_was_appended_says_no_more_than_that(folder: Path) -> None:
    journal = opened(folder)
    journal.append(turn(1))
    journal.mark(99)
    last = turn(2)
    journal.append(last)
    journal.forget()
    assert replayed(folder)[0] == [last]


def test_the_active_segment_is_cut_when_all_in_it_is_stored(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "CUT_BYTES", 1000)
    journal = opened(folder)
    header = journal.bytes
    values = turns(40)
    for number, value in enumerate(values, 1):
        journal.append(value)
        if number % 10 == 0:
            journal.mark(number - 1)
            assert journal.bytes > 1000
            journal.mark(number)
            assert journal.bytes == header
    assert journal.appended == 40
    more = turns(3)
    for value in more:
        journal.append(value)
    assert [value for value, _ in journal.read(40, 9, 2**20)] == more
    journal.mark(41)
    with pytest.raises(JournalError, match="value 5 "):
        journal.read(4, 1, 2**20)
    journal.forget()
    assert replayed(folder)[0] == more[1:]


def test_a_mark_that_fails_is_said_once_and_harms_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing = False
    disk = FailingDisk(lambda _, call: failing and call != "truncate")
    journal = opened(folder, segment_bytes=800, os_layer=disk)
    values = turns(20)
    for value in values:
        journal.append(value)
    failing = True
    for count in range(1, 16):
        journal.mark(count)
    assert len(caplog.messages) == 1
    assert str(folder) in caplog.text
    failing = False
    journal.mark(16)
    failing = True
    journal.mark(17)
    assert len(caplog.messages) == 2
    journal.forget()
    back, damage = replayed(folder)
    assert back[-4:] == values[-4:]
    assert len(back) == 4
    assert all(each.undecodable == each.torn_bytes == 0 for each in damage)


def test_close_leaves_nothing_when_all_is_stored_and_all_otherwise(folder: Path) -> None:
    values = turns(20)
    for stored in (20, 19):
        journal = opened(folder, segment_bytes=800)
        for value in values:
            journal.append(value)
        journal.mark(stored)
        journal.close()
        journal.close()
        assert journal.bytes == 0
        assert replayed(folder, remove=True)[0] == values[stored:]
        with pytest.raises(JournalError, match="not open"):
            journal.append(turn(1))
        with pytest.raises(JournalError, match="not open"):
            journal.read(0, 1, 1)
        journal.mark(20)
    assert list(folder.iterdir()) == []


def test_it_may_be_opened_again(folder: Path) -> None:
    journal = opened(folder)
    journal.open()
    journal.append(turn(1))
    journal.mark(1)
    journal.close()
    journal.open()
    assert journal.appended == 0
    assert journal.append(turn(1)) == journal.read(0, 1, 1)[0][1]
    journal.mark(1)
    journal.close()


@pytest.mark.parametrize("stored", range(7))
def test_an_orphan_counts_its_turns_without_reading_them(folder: Path, stored: int) -> None:
    values = one_of_each()
    written(folder, *values, stored=stored)
    [orphan] = leftovers(folder)
    assert orphan.turns() == sum(isinstance(value, Turn) for value in values[stored:])
    orphan.release()
    assert orphan.turns() == 0


def test_reading_keeps_to_its_limits(folder: Path) -> None:
    journal = opened(folder, segment_bytes=2000)
    values = turns(50, "r" * 50)
    size = max([journal.append(value) for value in values])
    journal.mark(1)
    assert journal.read(50, 10, 2**20) == []
    assert [value for value, _ in journal.read(3, 10, 2**20)] == values[3:13]
    assert [value for value, _ in journal.read(3, 10, 1)] == values[3:4]
    some = journal.read(3, 40, size * 12)
    assert 6 <= len(some) <= 20
    back: list[Journaled] = []
    while more := journal.read(1 + len(back), 7, 2**20):
        back += [value for value, _ in more]
    assert back == values[1:]
    journal.forget()


def test_a_value_larger_than_a_segment_has_one_for_itself(folder: Path) -> None:
    values = [turn(1), turn(2, "r" * 5000), turn(3), turn(4, "r" * 5000)]
    journal = opened(folder, segment_bytes=1000)
    for value in values:
        journal.append(value)
    assert len(list(folder.iterdir())) == 4
    assert [value for value, _ in journal.read(0, 9, 2**20)] == values
    journal.forget()
    assert replayed(folder)[0] == values


def test_damage_under_a_running_journal_is_an_error(folder: Path) -> None:
    journal = opened(folder)
    journal.append(turn(1))
    journal.append(turn(2))
    [path] = folder.iterdir()
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    assert len(journal.read(0, 1, 2**20)) == 1
    with pytest.raises(JournalError, match="damaged"):
        journal.read(1, 1, 2**20)
    path.write_bytes(content[:-10])
    with pytest.raises(JournalError, match="damaged"):
        journal.read(0, 2, 2**20)
    journal.forget()


def test_a_journal_that_is_not_open_touches_nothing(folder: Path) -> None:
    disk = Disk()
    journal = Journal(folder, os_layer=disk)
    journal.mark(1)
    journal.close()
    journal.forget()
    assert (journal.appended, journal.bytes, disk.calls) == (0, 0, [])
    assert not folder.exists()
