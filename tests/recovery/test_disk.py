"""What the disk says, where the machine of the tests has no such disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trajectory import checkup, disk
from trajectory.finding import Verdict, in_bytes, some

MOUNTS = r"""/dev/vda / ext4 rw 0 0
proc /proc proc rw 0 0
server:/nfs /nfs nfs4 rw 0 0
tmpfs /nfs/agent/tmp tmpfs rw 0 0
//pc/share /mnt/with\040space cifs rw 0 0
host /mnt/vm 9p rw 0 0
me@pc: /mnt/ssh fuse.sshfs rw 0 0
/dev/vdb /mnt/twice ext4 rw 0 0
server:/two /mnt/twice nfs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "type_"),
    [
        ("/data/t.db", "ext4"),
        ("/nfs/agent/t.db", "nfs4"),
        ("/nfs/agent/tmp/t.db", "tmpfs"),
        ("/nfsx/t.db", "ext4"),
        ("/mnt/with space/t.db", "cifs"),
        ("/mnt/vm/t.db", "9p"),
        ("/mnt/ssh/t.db", "fuse.sshfs"),
        ("/mnt/twice/t.db", "nfs"),
    ],
)
def test_the_innermost_and_last_mount_counts(tmp_path: Path, path: str, type_: str) -> None:
    table = tmp_path / "mounts"
    table.write_text(MOUNTS)
    assert disk.type_of(Path(path), table) == type_


@pytest.mark.parametrize(
    ("type_", "wal", "verdict"),
    [
        ("ext4", True, Verdict.OK),
        ("tmpfs", True, Verdict.OK),
        ("fuse.encfs", True, Verdict.OK),
        *((kind, True, Verdict.PROBLEM) for kind in ("nfs", "nfs4", "cifs", "9p", "fuse.sshfs")),
        ("nfs", False, Verdict.WARNING),
        (None, True, Verdict.OK),
    ],
)
def test_a_file_system_of_the_network(type_: str | None, wal: bool, verdict: Verdict) -> None:
    found = disk.file_system(type_, wal=wal)
    assert found.verdict is verdict
    assert (found.advice is None) == (verdict is Verdict.OK)


def test_where_the_system_does_not_say(tmp_path: Path) -> None:
    assert disk.type_of(tmp_path, tmp_path / "none") is None
    assert "not checked" in disk.file_system(None, wal=True).told


@pytest.mark.parametrize(
    ("version", "wal", "verdict"),
    [
        ((3, 40, 1), True, Verdict.WARNING),
        ((3, 51, 2), True, Verdict.WARNING),
        ((3, 51, 3), True, Verdict.OK),
        ((3, 53, 0), True, Verdict.OK),
        ((3, 40, 1), False, Verdict.OK),
    ],
)
def test_the_library_with_the_bug(version: tuple[int, ...], wal: bool, verdict: Verdict) -> None:
    found = checkup._library(version, wal=wal)
    assert found.verdict is verdict
    assert ".".join(map(str, version)) in found.told


@pytest.mark.parametrize(
    ("free", "verdict"),
    [(2**40, Verdict.OK), (2**27, Verdict.WARNING), (2**20, Verdict.PROBLEM)],
)
def test_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict
) -> None:
    asked: list[Path] = []

    def usage(path: Path) -> shutil._ntuple_diskusage:
        asked.append(path)
        return shutil._ntuple_diskusage(2**41, 2**41 - free, free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert disk.space(tmp_path / "not" / "yet", 2**28).verdict is verdict
    assert asked == [tmp_path]


def test_sizes_and_lists_for_a_person() -> None:
    sizes = (0, 1023, 1024, 2**20 - 1, 5 * 2**20, 3 * 2**30, 2**41)
    assert [in_bytes(size) for size in sizes] == [
        *("0 bytes", "1,023 bytes", "1 KiB", "1,023 KiB", "5 MiB", "3 GiB", "2,048 GiB"),
    ]
    assert some("ab") == "a, b"
    assert some("abcde") == "a, b, c and 2 more"
