"""An export as a whole: everything once and in order, in bounded memory, or no file at all."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from exporting.samples import Conversation, Watching, fill, run, stored

from trajectory import Trajectory, TrajectoryQuery, TrajectoryStore, Turn, TurnQuery, open_backend
from trajectory.backends.memory import MemoryBackend
from trajectory.errors import ConfigurationError, TrajectoryError
from trajectory.exporting import Split, SplitBy, Stream, Target, export, reading
from trajectory.formats import Exporter, exporter
from trajectory.models import Message, Role

MANY: list[Conversation] = [run(number, turns=number % 7) for number in range(150)]


def expected(conversations: list[Conversation]) -> str:
    lines = []
    for trajectory, turns in conversations:
        lines.append(f"start {trajectory.id.int - 2**127}")
        lines += [turn.prompt for turn in turns]
        lines.append("end")
    return "\n".join([*lines, "close", ""])


async def text_of(store: TrajectoryStore, query: TrajectoryQuery | None = None) -> str:
    out = io.BytesIO()
    await export(store, Watching(), Stream(out), query)
    return out.getvalue().decode()


@pytest.mark.parametrize("bound", [1, 2, 7, 40, 10_000])
async def test_all_come_once_and_in_order_whatever_is_read_together(
    monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    monkeypatch.setattr(reading, "_TURNS_AT_ONCE", bound)
    async with stored(*MANY) as store:
        assert await text_of(store) == expected(MANY)


async def test_bytes_bound_what_is_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BYTES_AT_ONCE", 1000)
    async with stored(*MANY) as store:
        assert await text_of(store) == expected(MANY)


async def test_the_query_says_which_and_in_which_order() -> None:
    async with stored(*MANY) as store:
        last = TrajectoryQuery(descending=True, limit=3)
        assert await text_of(store, last) == expected(MANY[:-4:-1])
        exported = await export(store, Watching(), Stream(io.BytesIO()), last)
        assert exported.manifest["order"] == "created_at, id, descending; turns by turn_number"
        assert exported.manifest["filter"] == {"descending": True, "limit": 3}
        assert await text_of(store, TrajectoryQuery(ids=[MANY[5][0].id])) == expected([MANY[5]])
        assert await text_of(store, TrajectoryQuery(ids=[])) == "close\n"


async def test_databases_give_the_same_bytes(tmp_path: Path, postgres_url: str) -> None:
    texts = []
    for url in (tmp_path / "t.db", postgres_url):
        backend = open_backend(url)
        await backend.open()
        await fill(backend, MANY)
        await backend.close()
        async with TrajectoryStore(url) as store:
            for format_ in ("jsonl", "csv", "parquet"):
                found = exporter(format_)
                assert isinstance(found, Exporter)
                await export(store, found, Target(tmp_path, found.suffix, force=True))
                texts.append((tmp_path / f"trajectories{found.suffix}").read_bytes())
    assert texts[:3] == texts[3:]


class Streaming(MemoryBackend):
    """Has one trajectory of many turns, and makes them as they are read."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.trajectory, _ = run(1)
        self.turns = turns
        self.read = 0

    async def read_trajectories(self, query: TrajectoryQuery, /) -> AsyncIterator[Trajectory]:
        yield self.trajectory

    async def read_turns(self, query: TurnQuery, /) -> AsyncIterator[Turn]:
        self.read = 0
        made = run(1, 1)[1][0]
        for number in range(self.turns):
            self.read = number + 1
            yield made.replace(turn_number=number)


async def test_no_more_than_a_page_is_held_of_a_trajectory_of_any_length() -> None:
    backend, watching = Streaming(9000), Watching()
    held = []
    async with TrajectoryStore(backend) as store:
        await export(
            store,
            watching,
            Stream(io.BytesIO()),
            progress=lambda _bytes, turns: held.append(backend.read - turns),
        )
    assert watching.written == 9000
    assert 0 <= max(held) <= reading._TURNS_AT_ONCE


async def test_the_manifest_tells_what_is_in_the_file(tmp_path: Path) -> None:
    async with stored(*MANY[:3]) as store:
        query = TrajectoryQuery(agent_name=None, since=MANY[1][0].created_at)
        exported = await export(
            store, Watching(), Target(tmp_path / "x.watched", ".watched"), query
        )
    content = (tmp_path / "x.watched").read_bytes()
    assert content.decode() == expected(MANY[1:3])
    manifest = json.loads((tmp_path / "x.watched.manifest.json").read_text())
    assert manifest == exported.manifest
    assert manifest == {
        "format": "watching",
        "format_version": "7",
        "models_version": 1,
        "filter": {"since": "2026-01-02T12:00:01.123456Z"},
        "order": "created_at, id; turns by turn_number",
        "include_copied": True,
        "counts": {"trajectories": 2, "turns": 3, "messages": 0, "tool_calls": 0,
                   "questions": 0, "violations": 0},
        "left_out": {"colour": 2},
        "split": None,
        "files": [
            {
                "name": "x.watched",
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "trajectories": 2,
                "turns": 3,
            }
        ],
    }  # fmt: skip
    for name in ("x.watched", "x.watched.manifest.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


async def test_the_same_export_gives_the_same_bytes_and_manifest(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        async with stored(*MANY) as store:
            await export(store, Watching(), Target(tmp_path / folder, ".watched"))
    for name in ("trajectories.watched", "trajectories.watched.manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


async def test_a_split_writes_each_trajectory_into_one_file(tmp_path: Path) -> None:
    split = Split.of(SplitBy.USER, "train=0.6,valid=0.2,test=0.2")
    people = [run(number, user_id=f"user-{number % 20}") for number in range(100)]
    async with stored(*people) as store:
        exported = await export(
            store, Watching(), Target(tmp_path / "x.watched", ".watched"), split=split
        )
    names = ["x.train.watched", "x.valid.watched", "x.test.watched"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*names, "x.watched.manifest.json"]
    )
    texts = {name: (tmp_path / name).read_text() for name in names}
    starts = [
        line for text in texts.values() for line in text.splitlines() if line.startswith("start")
    ]
    assert len(set(starts)) == len(starts) == 100
    users: dict[str, set[str]] = {}
    for trajectory, _ in people:
        line = f"start {trajectory.id.int - 2**127}\n"
        [name] = [name for name, text in texts.items() if line in text]
        users.setdefault(trajectory.user_id or "", set()).add(name)
    assert all(len(found) == 1 for found in users.values())
    assert {name for found in users.values() for name in found} == set(names)
    assert exported.manifest["split"]["owners"] == {"user": 100}
    assert [(file["name"], file["part"]) for file in exported.manifest["files"]] == list(
        zip(names, ("train", "valid", "test"), strict=True)
    )
    for file in exported.manifest["files"]:
        content = (tmp_path / file["name"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["trajectories"] == content.count(b"start")


def copied(number: int) -> Conversation:
    trajectory, (first, second) = run(number)
    return trajectory, (first.replace(is_copied_context=True), second)


@pytest.mark.parametrize(
    ("for_training", "asked", "kept"),
    [(False, None, True), (True, None, False), (True, True, True), (False, False, False)],
)
async def test_copied_turns_are_left_out_for_training(
    for_training: bool, asked: bool | None, kept: bool
) -> None:
    out = io.BytesIO()
    async with stored(copied(1)) as store:
        exported = await export(
            store, Watching(for_training=for_training), Stream(out), include_copied=asked
        )
    assert ("1-1" in out.getvalue().decode()) is kept
    assert exported.counts.turns == 1 + kept
    assert exported.manifest["include_copied"] is kept
    told = "turn that repeats another trajectory (is_copied_context)"
    assert exported.left_out == {"colour": 1, **({} if kept else {told: 1})}


async def test_what_fails_leaves_nothing_and_replaces_nothing(tmp_path: Path) -> None:
    before = {"x.watched": "old", "x.watched.manifest.json": "old too"}
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    async with stored(*MANY) as store:
        target = Target(tmp_path / "x.watched", ".watched", force=True)
        with pytest.raises(ZeroDivisionError):
            await export(store, Watching(fails_at="149-2"), target)
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
        await export(store, Watching(), target)
    assert (tmp_path / "x.watched").read_text() == expected(MANY)
    assert len(list(tmp_path.iterdir())) == 2


class Gated(MemoryBackend):
    """Waits for ever once the turns are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def read_turns(self, query: TurnQuery, /) -> AsyncIterator[Turn]:
        self.asked.set()
        await asyncio.Event().wait()
        yield run(1)[1][0]


async def test_a_cancelled_export_leaves_nothing(tmp_path: Path) -> None:
    backend = Gated()
    await fill(backend, MANY[:3])
    async with TrajectoryStore(backend) as store:
        task = asyncio.create_task(export(store, Watching(), Target(tmp_path / "x", ".watched")))
        await backend.asked.wait()
        assert len(list(tmp_path.iterdir())) == 2  # that of the manifest waits too
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_is_told_in_words() -> None:
    class Full(io.BytesIO):
        def write(self, data: Any, /) -> int:
            raise OSError(28, "No space left on device")

    async with stored(*MANY[:3]) as store:
        with pytest.raises(TrajectoryError, match="writing the export failed: No space left"):
            await export(store, Watching(), Stream(Full()))


async def test_a_reader_that_left_is_no_error_of_ours() -> None:
    class Left(io.BytesIO):
        def write(self, data: Any, /) -> int:
            raise BrokenPipeError

    async with stored(*MANY[:3]) as store:
        with pytest.raises(BrokenPipeError):
            await export(store, Watching(), Stream(Left()))


async def test_a_stream_stays_open_and_its_manifest_is_a_file(tmp_path: Path) -> None:
    out = io.BytesIO()
    async with stored(*MANY[:3]) as store:
        exported = await export(store, Watching(), Stream(out, manifest=tmp_path / "m.json"))
        assert json.loads((tmp_path / "m.json").read_text()) == exported.manifest
        assert exported.manifest["files"][0]["name"] is None
        with pytest.raises(ConfigurationError, match="there already"):
            await export(store, Watching(), Stream(out, manifest=tmp_path / "m.json"))
        with pytest.raises(ConfigurationError, match="a split needs files"):
            split = Split.of(SplitBy.RUN, "a=0.5,b=0.5")
            await export(store, Watching(), Stream(out), split=split)
    assert out.getvalue().decode() == expected(MANY[:3])


class Completing(Target):
    """Waits, while it gives the files their names."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, ".watched")
        self.began, self.may_end = threading.Event(), threading.Event()

    def complete(self, manifest: bytes) -> None:
        """Wait, then give them."""
        self.began.set()
        assert self.may_end.wait(60)
        super().complete(manifest)


async def test_a_cancellation_while_files_get_their_names_comes_too_late(tmp_path: Path) -> None:
    target = Completing(tmp_path / "x")
    async with stored(*MANY[:3]) as store:
        task = asyncio.create_task(export(store, Watching(), target))
        await asyncio.to_thread(target.began.wait, 60)
        task.cancel()
        target.may_end.set()
        exported = await task
    assert exported.counts.trajectories == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x.manifest.json"]


async def test_a_failure_while_files_get_their_names_is_told_for_all_that(tmp_path: Path) -> None:
    target = Completing(tmp_path / "x")
    async with stored(*MANY[:3]) as store:
        task = asyncio.create_task(export(store, Watching(), target))
        await asyncio.to_thread(target.began.wait, 60)
        (tmp_path / "x").write_text("theirs")
        task.cancel()
        target.may_end.set()
        with pytest.raises(ConfigurationError, match="there already"):
            await task
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("format_", "written"),
    [
        ("openai-chat", 1),
        ("trl", 1),
        ("trl-prompt-completion", 1),
        ("sharegpt", 2),
        ("csv", 2),
        ("parquet", 2),
        ("jsonl", 3),
    ],
)
async def test_counts_are_of_what_was_written(tmp_path: Path, format_: str, written: int) -> None:
    trajectory, (turn, _) = run(2)
    asked = Message(role=Role.USER, content="Hello?")
    unanswered = (trajectory, [turn.replace(response="", messages=(asked,))])
    chosen = exporter(format_)
    assert isinstance(chosen, Exporter)
    async with stored(run(1, 3), unanswered, run(3, 0)) as store:
        exported = await export(store, chosen, Target(tmp_path / "x", chosen.suffix))
    turns = {1: 3, 2: 4, 3: 4}[written]
    assert (exported.counts.trajectories, exported.counts.turns) == (written, turns)
    [file] = exported.manifest["files"]
    assert (file["trajectories"], file["turns"]) == (written, turns)


async def test_large_trajectories_are_read_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BYTES_AT_ONCE", 10_000)
    large = [run(number, 1, system_prompt="x" * 4000) for number in range(10)]
    async with stored(*large) as store:
        sizes = [len(chunk) async for chunk in reading.chunks(store, TrajectoryQuery())]
        assert sizes == [3, 3, 3, 1]
        assert await text_of(store) == expected(large)
