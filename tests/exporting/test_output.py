"""Files appear whole, with names that content has no part in, and nothing is replaced unasked."""

from __future__ import annotations

import io
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from trajectory.errors import ConfigurationError
from trajectory.exporting.output import Stream, Target


def write(target: Target, content: bytes = b"x") -> None:
    target.check([None])
    with target.opened([None]) as opened:
        opened[None].write(content)
        opened[None].push()
        target.complete(b"{}")


@pytest.mark.parametrize(
    ("path", "part", "file"),
    [
        ("x.jsonl", None, "x.jsonl"),
        ("x.jsonl", "train", "x.train.jsonl"),
        ("x.y.jsonl", "train", "x.y.train.jsonl"),
        ("x.json", "train", "x.train.json"),
        ("x", "train", "x.train"),
        (".", "train", "trajectories.train.jsonl"),
        (".", None, "trajectories.jsonl"),
    ],
)
def test_names_of_files(tmp_path: Path, path: str, part: str | None, file: str) -> None:
    assert Target(tmp_path / path, ".jsonl").file_of(part) == tmp_path / file


def test_what_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write(Target(path, ".jsonl"), b"one")
    with pytest.raises(ConfigurationError, match=r"there already.*--force"):
        write(Target(path, ".jsonl"), b"two")
    assert path.read_bytes() == b"one"
    write(Target(path, ".jsonl", force=True), b"two")
    assert path.read_bytes() == b"two"
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"manifest\.json is there already"):
        write(Target(path, ".jsonl"))


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = Target(tmp_path / "x.jsonl", ".jsonl")
    target.check([None])
    with target.opened([None]) as opened:
        opened[None].push()
        (tmp_path / "x.jsonl").write_text("theirs")
        with pytest.raises(ConfigurationError, match="there already"):
            target.complete(b"{}")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.jsonl", "theirs")]


def test_a_file_system_without_links_works_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    target = Target(tmp_path / "x.jsonl", ".jsonl")
    write(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "x.jsonl",
        "x.jsonl.manifest.json",
    ]
    (tmp_path / "x.jsonl.manifest.json").unlink()
    with target.opened([None]), pytest.raises(ConfigurationError, match="there already"):
        target.complete(b"{}")


def test_what_is_not_completed_leaves_nothing(tmp_path: Path) -> None:
    target = Target(tmp_path / "x.jsonl", ".jsonl")
    with suppress(KeyboardInterrupt), target.opened(["a", "b"]) as opened:
        opened["a"].write(b"x" * 2**20)
        assert len(list(tmp_path.iterdir())) == 3
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder.jsonl.manifest.json").mkdir()
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    for name in ("pipe", "folder.jsonl", "lost"):
        with pytest.raises(ConfigurationError, match="is no file that could be replaced"):
            Target(tmp_path / name, ".jsonl", force=True).check([None])
    with pytest.raises(ConfigurationError, match="no file that could be replaced"):
        Target(Path("/dev/null"), ".jsonl", force=True).check([None])


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no folder .*make it first"):
        Target(tmp_path / "no" / "x.jsonl", ".jsonl").check([None])
    with pytest.raises(ConfigurationError, match="two of the files would be"):
        file = tmp_path / "x.jsonl"
        Target(file, ".jsonl", manifest=file).check([None])


def test_the_longest_name_that_a_disk_takes(tmp_path: Path) -> None:
    name = "n" * (255 - len(".manifest.json"))
    write(Target(tmp_path / name, ".jsonl"))
    assert {path.name for path in tmp_path.iterdir()} == {name, f"{name}.manifest.json"}


def test_a_manifest_that_can_t_be_written_is_told_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    make = tempfile.mkstemp

    def refuse(*, prefix: str, suffix: str, dir: Path) -> tuple[int, str]:  # noqa: A002
        if dir.name == "closed":
            raise PermissionError(13, "Permission denied")
        return make(prefix=prefix, suffix=suffix, dir=dir)

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    for target in (
        Target(tmp_path / "x", ".jsonl", manifest=tmp_path / "closed" / "m"),
        Stream(io.BytesIO(), manifest=tmp_path / "closed" / "m"),
    ):
        target.check([None])
        with pytest.raises(PermissionError), target.opened([None]):
            pytest.fail("it was opened")
    assert [path.name for path in tmp_path.iterdir()] == ["closed"]


def test_where_a_name_is_taken_meanwhile_no_file_is_left(tmp_path: Path) -> None:
    target = Target(tmp_path / "x.jsonl", ".jsonl")
    with target.opened(["a", "b"]):
        (tmp_path / "x.jsonl.manifest.json").write_text("theirs")
        with pytest.raises(ConfigurationError, match=r"manifest\.json is there already"):
            target.complete(b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl.manifest.json"]


def test_by_force_too_only_what_was_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.a").write_text("old")
    rename = Path.replace

    def refuse(path: Path, other: Path) -> Path:
        if other.name.endswith(".json"):
            raise OSError(5, "Input/output error")
        return rename(path, other)

    monkeypatch.setattr(Path, "replace", refuse)
    target = Target(tmp_path / "x", ".jsonl", force=True)
    with target.opened(["a", "b"]) as opened:
        opened["a"].write(b"new")
        with pytest.raises(OSError, match="Input/output"):
            target.complete(b"{}")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.a", "new")]


def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    for name in ("n" * 300, f"{'n' * 300}/x"):
        with pytest.raises(ConfigurationError, match="File name too long; choose another name"):
            Target(tmp_path / name, ".jsonl").check([None])
    with pytest.raises(ConfigurationError, match="File name too long; choose another name"):
        Stream(io.BytesIO(), manifest=tmp_path / ("n" * 300)).check([None])


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_the_database_that_is_read_is_never_replaced(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / "t.db"
    (tmp_path / "link").symlink_to(f"t.db{suffix}")
    for target in (
        Target(tmp_path / f"t.db{suffix}", ".jsonl", force=True, spared=file),
        Target(tmp_path / "link", ".jsonl", force=True, spared=file),
        Target(tmp_path / "x", ".jsonl", manifest=tmp_path / "link", force=True, spared=file),
        Stream(io.BytesIO(), manifest=tmp_path / "link", force=True, spared=file),
    ):
        with pytest.raises(ConfigurationError, match="is the database that is read"):
            target.check([None])
