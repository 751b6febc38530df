"""What the disk says of our files: on which file system, who may read them, how much is free."""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from trajectory.finding import Finding, Verdict, in_bytes, ok, some

LEAST_SPACE = 16 * 2**20
"""One segment of a journal."""

MOUNTS = Path("/proc/mounts")

_NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb", "smb3", "smbfs", "ncpfs", "9p", "afs", "coda"),
        *("ceph", "glusterfs", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2", "davfs"),
    }
)
_NETWORK_FUSE = ("sshfs", "s3fs", "gcsfuse", "rclone", "glusterfs", "ceph", "davfs", "juicefs")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def type_of(path: Path, table: Path = MOUNTS) -> str | None:
    """Give the type of the file system of a path; None where the system doesn't say."""
    try:
        text = table.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    path = Path(path.absolute())
    best, found = -1, None
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), fields[1]))
        # Of two at one place the later one lies on top.
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, found = len(point.parts), fields[2]
    return found


def _is_network(type_: str) -> bool:
    """Say whether files of this type of file system are on another machine."""
    kind, _, program = type_.partition(".")
    return kind in _NETWORK or (kind == "fuse" and program.startswith(_NETWORK_FUSE))


def file_system(type_: str | None, *, wal: bool) -> Finding:
    """Judge the file system of a SQLite file."""
    if type_ is None:
        return ok("file system", "not checked: this system doesn't say what it is")
    if not _is_network(type_):
        return ok("file system", type_)
    told = f"{type_} is on the network, where SQLite's locks are not safe"
    if wal:
        told += ", and WAL doesn't work for programs on several machines"
    advice = "move the file to a local disk, or use Postgres"
    return Finding("file system", Verdict.PROBLEM if wal else Verdict.WARNING, told, advice)


def space(folder: Path, wanted: int) -> Finding:
    """Find out whether a folder, which need not be there yet, has room for so many bytes."""
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    told = f"{in_bytes(free)} free"
    if free >= wanted:
        return ok("disk space", told)
    verdict = Verdict.WARNING if free >= LEAST_SPACE else Verdict.PROBLEM
    told += f" in {place}, less than journal_max_bytes ({in_bytes(wanted)})"
    return Finding("disk space", verdict, told, "free some, or set journal_dir to another disk")


def permissions(private: Iterable[tuple[Path, int]]) -> Finding:
    """Find what others than the owner may use."""
    open_ = []
    for path, wanted in private:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue  # gone meanwhile
        if mode & ~wanted:
            open_.append((path, wanted))
    if not open_:
        return ok("permissions", "only the owner can read and write what is stored here")
    told = f"others may use {some([path for path, _wanted in open_])}"
    path, wanted = open_[0]
    advice = f"unless that is meant, run `chmod {wanted:o} {path}`, and so on"
    return Finding("permissions", Verdict.WARNING, told, advice)
