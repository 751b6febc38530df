"""Several processes, living and dead, in one folder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from journal.logged import replayed, turn, turns

from trajectory.journal import Journal, leftovers
from trajectory.journal.folder import process_started
from trajectory.journal.os_layer import REAL
from trajectory.journal.segment import SUFFIX, TEMPORARY

WRITER = """
import sys
from pathlib import Path
from uuid import UUID
from trajectory import Turn
from trajectory.journal import Journal, leftovers

folder = Path(sys.argv[1])
journal = Journal(folder, segment_bytes=400)
journal.open()
for number in range(5):
    journal.append(Turn(trajectory_id=UUID(int=1), turn_number=number, prompt="p", response="r"))
journal.mark(1)
print(len(leftovers(folder)), flush=True)
sys.stdin.read()
"""


@contextmanager
def writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process that has written and lives, until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, folder],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == "0\n"
            yield process
        finally:
            process.kill()


def test_the_living_are_left_alone_and_the_killed_are_found(folder: Path) -> None:
    journal = Journal(folder)
    journal.open()
    mine = turn(1)
    journal.append(mine)
    with writer(folder) as killed, writer(folder):
        assert leftovers(folder) == []
        killed.kill()
        killed.wait()
        orphans = leftovers(folder)
        assert len(orphans) > 1
        found = [value for orphan in orphans for value, _ in orphan.values()]
        assert [each.turn_number for each in found] == [1, 2, 3, 4]  # type: ignore[union-attr]
        # Two that start at once don't share what was left.
        assert leftovers(folder) == []
        for orphan in orphans:
            orphan.remove()
            orphan.release()
        assert leftovers(folder) == []
        assert journal.read(0, 1, 1)[0][0] == mine
    journal.forget()
    assert len(replayed(folder, remove=True)[0]) == 5
    assert list(folder.iterdir()) == []


def test_several_dead_are_replayed_oldest_first(folder: Path) -> None:
    values = turns(9)
    for start in (0, 3, 6):
        journal = Journal(folder, segment_bytes=400)
        journal.open()
        for value in values[start : start + 3]:
            journal.append(value)
        journal.forget()
    assert replayed(folder)[0] == values


def test_no_folder_means_nothing_was_left(folder: Path) -> None:
    assert leftovers(folder) == []


def test_other_files_are_left_alone(folder: Path) -> None:
    folder.mkdir()
    for name in ("notes.txt", "x.journal.bad", "journal"):
        (folder / name).write_text("x", encoding="utf-8")
    (folder / "link.journal").symlink_to(folder / "notes.txt")
    assert leftovers(folder) == []
    assert len(list(folder.iterdir())) == 4


def test_a_file_that_was_never_finished_goes_once_its_process_is_gone(folder: Path) -> None:
    folder.mkdir()
    path = folder / f"1-2-3-000001{SUFFIX}{TEMPORARY}"
    fd = REAL.open(path, os.O_RDWR | os.O_CREAT)
    REAL.flock(fd)
    assert leftovers(folder) == []
    assert path.exists()
    os.close(fd)
    assert leftovers(folder) == []
    assert not path.exists()


class Faster:
    """Another process stores and removes an orphan just before we lock it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getattr__(self, name: str) -> object:
        if name == "flock":
            self._path.rename(self._path.with_suffix(".gone"))
            self._path.touch()
        return getattr(REAL, name)


def test_a_file_that_has_gone_before_it_is_locked_is_no_orphan(folder: Path) -> None:
    journal = Journal(folder)
    journal.open()
    journal.append(turn(1))
    [path] = folder.iterdir()
    journal.forget()
    assert leftovers(folder, os_layer=Faster(path)) == []  # type: ignore[arg-type]


class Sweeping:
    """Another process looks for leftovers between two calls of ours."""

    def __init__(self, folder: Path, call: str, times: int) -> None:
        self._folder, self._call, self._times = folder, call, times

    def __getattr__(self, name: str) -> object:
        if name == self._call and self._times:
            self._times -= 1
            leftovers(self._folder)
        return getattr(REAL, name)


@pytest.mark.parametrize("call", ["flock", "rename"])
def test_a_new_segment_survives_who_sweeps_meanwhile(folder: Path, call: str) -> None:
    journal = Journal(folder, os_layer=Sweeping(folder, call, 3))  # type: ignore[arg-type]
    journal.open()
    value = turn(1)
    journal.append(value)
    assert leftovers(folder) == []
    journal.forget()
    assert replayed(folder)[0] == [value]


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_files_are_private_under_any_umask(tmp_path: Path, mask: int) -> None:
    folder = tmp_path / "state" / "turns"
    before = os.umask(mask)
    try:
        journal = Journal(folder, segment_bytes=300)
        journal.open()
        for value in turns(3):
            journal.append(value)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {0o600}
    for made in (folder, folder.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    journal.forget()


def test_no_program_that_is_started_inherits_a_segment(folder: Path) -> None:
    journal = Journal(folder)
    journal.open()
    done = subprocess.run(
        ["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, check=True, close_fds=False
    )
    assert SUFFIX not in done.stdout
    journal.mark(0)
    journal.close()


def test_a_forked_child_leaves_the_lock_and_the_files_to_its_parent(folder: Path) -> None:
    journal = Journal(folder)
    journal.open()
    values = turns(4)
    journal.append(values[0])
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            journal.forget()
            journal.mark(1)
            journal.close()
            own = Journal(folder)
            own.open()
            own.append(values[1])
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert replayed(folder, remove=True)[0] == [values[1]]  # the child's alone: ours is locked
    journal.append(values[2])
    assert [value for value, _ in journal.read(0, 9, 2**20)] == [values[0], values[2]]
    journal.forget()
    assert replayed(folder)[0] == [values[0], values[2]]


@pytest.mark.parametrize("forgets", [True, False])
def test_a_child_that_lives_on_keeps_no_lock_of_its_parent(folder: Path, forgets: bool) -> None:
    """The control: a child that does not forget holds on to it."""
    journal = Journal(folder)
    journal.open()
    value = turn(1)
    journal.append(value)
    ready, stop = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if forgets:
                journal.forget()
            os.close(stop[1])
            os.write(ready[1], b"x")
            os.read(stop[0], 1)
        finally:
            os._exit(0)
    os.read(ready[0], 1)
    journal.close()
    found = replayed(folder)[0]
    os.close(stop[1])
    os.waitpid(pid, 0)
    for fd in (*ready, stop[0]):
        os.close(fd)
    assert found == ([value] if forgets else [])
    assert replayed(folder)[0] == [value]


def test_the_header_names_the_process(folder: Path) -> None:
    journal = Journal(folder)
    journal.open()
    [path] = folder.iterdir()
    started = process_started()
    assert started
    assert started > 0
    content = path.read_bytes()
    assert f'"pid":{os.getpid()},"started":{started},'.encode() in content
    journal.close()
    assert f"-{os.getpid()}-" in path.name
