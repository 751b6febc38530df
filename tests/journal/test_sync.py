"""What `sync` returned for survives power loss, and one call of the system serves many."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest
from journal.disks import Disk, FailingDisk, ForgetfulDisk, GatedDisk
from journal.logged import replayed, turn, turns

from trajectory import Turn
from trajectory.journal import Journal, JournalError, OsLayer


def opened(folder: Path, disk: OsLayer, segment_bytes: int = 2**20) -> Journal:
    journal = Journal(folder, segment_bytes=segment_bytes, os_layer=disk)
    journal.open()
    return journal


async def test_twenty_who_wait_share_a_sync(folder: Path) -> None:
    disk = GatedDisk()
    journal = opened(folder, disk)

    async def log(number: int) -> None:
        journal.append(turn(number))
        await journal.sync()

    first = asyncio.create_task(log(0))
    await asyncio.to_thread(disk.entered.wait, 20)
    others = [asyncio.create_task(log(number)) for number in range(1, 20)]
    await asyncio.sleep(0)
    assert journal.appended == 20
    disk.gate.set()
    await asyncio.gather(first, *others)
    assert disk.calls.count("sync") == 2
    assert disk.calls.count("sync_folder") == 2  # the folder and where it lies, once
    await journal.sync()
    assert disk.calls.count("sync") == 2  # nothing new
    journal.forget()


async def test_who_comes_while_a_sync_runs_waits_for_the_next(folder: Path) -> None:
    """Its value may have missed the one that runs."""
    disk = GatedDisk()
    journal = opened(folder, disk)
    journal.append(turn(1))
    first = asyncio.create_task(journal.sync())
    await asyncio.to_thread(disk.entered.wait, 20)
    journal.append(turn(2))
    disk.entered.clear()
    second = asyncio.create_task(journal.sync())
    await asyncio.sleep(0)
    disk.gate.set()
    await first
    assert not second.done()
    await second
    assert disk.entered.is_set()
    journal.forget()


async def test_a_cancelled_waiter_leaves_the_others_alone(folder: Path) -> None:
    disk = GatedDisk()
    journal = opened(folder, disk)
    journal.append(turn(1))
    tasks = [asyncio.create_task(journal.sync()) for _ in range(10)]
    await asyncio.to_thread(disk.entered.wait, 20)
    late = [asyncio.create_task(journal.sync()) for _ in range(10)]
    await asyncio.sleep(0)
    for task in (*tasks[::2], *late[::2]):
        task.cancel()
    disk.gate.set()
    answers = await asyncio.gather(*tasks, *late, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in answers] == [True, False] * 10
    await journal.sync()
    journal.forget()


async def test_when_all_who_wait_are_cancelled_the_next_is_served(folder: Path) -> None:
    disk = GatedDisk()
    journal = opened(folder, disk)
    journal.append(turn(1))
    task = asyncio.create_task(journal.sync())
    await asyncio.to_thread(disk.entered.wait, 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    journal.append(turn(2))
    next_one = asyncio.create_task(journal.sync())
    disk.gate.set()
    await next_one
    assert disk.calls.count("sync") == 2
    journal.forget()


def test_an_end_of_the_loop_leaves_nobody_waiting_and_the_journal_usable(folder: Path) -> None:
    disk = GatedDisk()
    journal = opened(folder, disk)
    journal.append(turn(1))

    async def leave() -> None:
        task = asyncio.create_task(journal.sync())
        await asyncio.to_thread(disk.entered.wait, 20)
        asyncio.get_running_loop().call_soon(disk.gate.set)
        del task

    asyncio.run(leave())
    before = disk.calls.count("sync")
    asyncio.run(journal.sync())
    assert disk.calls.count("sync") == before + 1  # the first was never heard of
    journal.forget()


async def test_a_close_during_a_sync_is_told_to_who_waits(folder: Path) -> None:
    disk = GatedDisk()
    journal = opened(folder, disk)
    value = turn(1)
    journal.append(value)
    task = asyncio.create_task(journal.sync())
    await asyncio.to_thread(disk.entered.wait, 20)
    journal.close()
    with pytest.raises(JournalError, match="not open"):
        await journal.sync()
    disk.gate.set()
    with pytest.raises(JournalError, match="not open"):
        await task
    assert replayed(folder)[0] == [value]


async def test_after_a_failed_sync_all_is_written_anew(folder: Path) -> None:
    """fsyncgate: a second sync of the same file may succeed with the data gone."""
    disk = FailingDisk(lambda _, call: call == "sync" and disk.failed == 0)
    journal = opened(folder, disk)
    values = turns(6)
    for value in values[:4]:
        journal.append(value)
    journal.mark(2)
    [old] = folder.iterdir()
    await journal.sync()
    [new] = folder.iterdir()
    assert old != new
    for value in values[4:]:
        journal.append(value)
    await journal.sync()
    assert [value for value, _ in journal.read(2, 9, 2**20)] == values[2:]
    journal.mark(3)
    journal.forget()
    back, damage = replayed(folder)
    assert back == values[3:]
    assert len(damage) == 1


class FoldersFail(Disk):
    """Fails the first sync of each folder, and tells which were synced."""

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[Path] = []
        self.synced: list[Path] = []

    def sync_folder(self, path: Path) -> None:
        self.tried.append(path)
        if self.tried.count(path) == 1:
            raise OSError(errno.EIO, "made to fail")
        super().sync_folder(path)
        self.synced.append(path)


async def test_the_names_are_synced_as_well_in_the_end(folder: Path) -> None:
    """The folder's own name too, although another process may have made it."""
    folder.mkdir()
    disk = FoldersFail()
    journal = opened(folder, disk)
    journal.append(turn(1))
    with pytest.raises(JournalError):
        await journal.sync()
    journal.append(turn(2))
    await journal.sync()
    assert disk.synced[-2:] == [folder, folder.parent]
    journal.forget()


async def test_a_sync_that_is_cancelled_from_outside_leaves_nobody_waiting(folder: Path) -> None:
    disk = GatedDisk()
    journal = opened(folder, disk)
    journal.append(turn(1))
    waiting = asyncio.create_task(journal.sync())
    await asyncio.sleep(0)
    [task] = asyncio.all_tasks() - {asyncio.current_task(), waiting}
    task.cancel()  # before its first step
    await asyncio.wait([waiting], timeout=20)
    assert waiting.cancelled()
    disk.gate.set()
    await journal.sync()
    journal.forget()


async def test_a_sync_that_fails_again_is_an_error_and_the_next_starts_anew(folder: Path) -> None:
    broken = True
    disk = FailingDisk(lambda _, call: broken and call == "sync")
    journal = opened(folder, disk)
    values = turns(4)
    journal.append(values[0])
    for value in values[1:3]:
        journal.append(value)
        answers = await asyncio.gather(*(journal.sync() for _ in range(3)), return_exceptions=True)
        assert all(isinstance(each, JournalError) for each in answers)
        assert str(folder) in str(answers[0])
        assert len(list(folder.iterdir())) == 1  # attempts don't pile up
    broken = False
    journal.append(values[3])
    await journal.sync()
    journal.forget()
    assert replayed(folder)[0] == values


async def test_what_was_safe_stays_until_its_copy_is(folder: Path) -> None:
    broken = False
    disk = FailingDisk(lambda _, call: broken and call == "sync")
    journal = opened(folder, disk)
    values = turns(3)
    journal.append(values[0])
    await journal.sync()
    [safe] = folder.iterdir()
    broken = True
    for value in values[1:]:
        journal.append(value)
        with pytest.raises(JournalError):
            await journal.sync()
        assert safe in folder.iterdir()
        assert len(list(folder.iterdir())) == 2
    assert journal.bytes == sum(each.stat().st_size for each in folder.iterdir())
    broken = False
    await journal.sync()
    assert safe not in folder.iterdir()
    journal.mark(3)
    journal.close()
    assert not folder.exists()


async def test_a_rewrite_over_many_segments_keeps_the_order(folder: Path) -> None:
    disk = FailingDisk(lambda _, call: call == "sync" and disk.failed == 0)
    journal = opened(folder, disk, 800)
    values = turns(30)
    for value in values:
        journal.append(value)
    journal.mark(2)
    await journal.sync()
    assert [value for value, _ in journal.read(2, 99, 2**20)] == values[2:]
    journal.mark(9)
    journal.forget()
    assert replayed(folder)[0] == values[9:]


async def test_what_failed_and_is_stored_meanwhile_is_not_rewritten(folder: Path) -> None:
    """The segment whose sync fails is gone by the time that is known."""
    disk = GatedDisk()
    journal = opened(folder, disk, 400)
    values = turns(4)
    for value in values[:3]:
        journal.append(value)
    task = asyncio.create_task(journal.sync())
    await asyncio.to_thread(disk.entered.wait, 20)
    journal.mark(2)
    journal.append(values[3])
    disk.gate.set()
    await task
    journal.mark(3)
    journal.forget()
    assert replayed(folder)[0] == values[3:]


class Outage:
    """A run of a journal, and what each power loss in it would leave."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.values: list[Turn] = []
        self.safe = self.stored = 0
        self.disk = ForgetfulDisk(root, lambda: (self.stored, self.safe))
        self.journal = opened(root / "a" / "turns", self.disk, 700)

    async def run(self, *, synced: bool) -> None:
        for number in range(12):
            self.values.append(turn(number))
            self.journal.append(self.values[-1])
            if synced:
                await self.journal.sync()
            self.safe = len(self.values)
            if number in {4, 8}:
                # What the database has survives with it.
                self.stored = number - 1
                self.journal.mark(number - 1)
        self.journal.forget()

    def lost(self, target: Path) -> int:
        """Cut the power at each moment; count those that lost what had been promised."""
        losses = 0
        for moment, ((stored, safe), files) in enumerate(self.disk.moments):
            for name, content in files.items():
                path = target / str(moment) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            back, damage = replayed(target / str(moment) / "a" / "turns")
            assert all(each.undecodable == 0 for each in damage)
            assert all(each in self.values for each in back)
            losses += any(each not in back for each in self.values[stored:safe])
        return losses


async def test_power_loss_at_any_call_loses_nothing_that_was_synced(tmp_path: Path) -> None:
    outage = Outage(tmp_path / "disk")
    await outage.run(synced=True)
    assert len(outage.disk.moments) > 40
    assert outage.lost(tmp_path / "after") == 0


async def test_without_the_sync_power_loss_does_lose(tmp_path: Path) -> None:
    """The control."""
    outage = Outage(tmp_path / "disk")
    await outage.run(synced=False)
    assert outage.lost(tmp_path / "after") > len(outage.disk.moments) // 2


@pytest.mark.parametrize("left_out", ["sync", "sync_folder"])
async def test_each_half_of_the_sync_is_needed(
    tmp_path: Path, left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control for content and names apart."""
    monkeypatch.setattr(ForgetfulDisk, left_out, getattr(Disk, left_out))
    outage = Outage(tmp_path / "disk")
    await outage.run(synced=True)
    assert outage.lost(tmp_path / "after") > 5
