"""The backend of the page keeps the contract, and the page tells it as it is."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from docs.test_tables import code, table
from recorded import OWN_CHATS

import trajectory.backend
from trajectory import (
    BackendUnavailableError,
    Batch,
    Capabilities,
    ConfigurationError,
    LoggerSettings,
    SchemaError,
    StorageBackend,
    Survives,
    TrajectoryLogger,
    TrajectoryQuery,
    TrajectoryStore,
    Turn,
    TurnQuery,
    open_backend,
)
from trajectory.counts import Counting
from trajectory.ids import uuid7
from trajectory.retention import Pruning

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
PATIENCE_S = 100
CANARY = "CANARY-7f3a"


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert isinstance(found, str)
    return found


def environment(*folders: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if "TRAJECTORY" not in name}
    return {**clean, "PYTHONPATH": os.pathsep.join(map(str, (*folders, ROOT)))}


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "lines.py").write_text(block("python"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lines", raising=False)
    module = __import__("lines")
    assert isinstance(module, ModuleType)
    yield module
    del sys.modules["lines"]


@pytest.fixture
async def backend(lines: Any, tmp_path: Path) -> Any:
    made = lines.LineBackend(tmp_path / "turns.lines")
    await made.open()
    yield made
    await made.close()


def a_turn(number: int = 1, prompt: str = "p") -> Turn:
    return Turn(trajectory_id=uuid7(), turn_number=number, prompt=prompt, response="r")


async def turns_of(backend: Any) -> list[Turn]:
    return [turn async for turn in backend.read_turns(TurnQuery())]


def test_it_passes_the_suite_as_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "lines.py").write_text(block("python"))
    (tmp_path / "test_lines.py").write_text(block("python fragment"))
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        "filterwarnings = error\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly",
         f"--basetemp={tmp_path / 'temporary'}", "test_lines.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip
    [told] = re.findall(r"^(\d+) passed in ", ran.stdout, re.MULTILINE) or [ran.stdout]
    assert ran.returncode == 0, ran.stdout
    assert int(told) >= 80


def test_it_works_through_its_entry_point(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    info = packages / "lines-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "lines.py").write_text(block("python"))
    [point] = re.findall(r'^(lines) = "(.+)"$', block("toml"), re.MULTILINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lines\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[trajectory.backends]\n{} = {}\n".format(*point))

    def ran(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", "from trajectory.cli import main; main()", *arguments],
            cwd=tmp_path,
            env=environment(packages),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    for new in (10, 0):
        told = json.loads(
            ran("import", "openai-chat", str(OWN_CHATS), "--db", "lines://t", "--json")
        )
        assert (told["turns"], told["new"]) == (10, new)
    ran("export", "openai-chat", "-o", "chats.jsonl", "--db", "lines://t")
    assert len((tmp_path / "chats.jsonl").read_text().splitlines()) == 5


async def test_the_file_is_for_its_owner_alone(backend: Any) -> None:
    assert stat.S_IMODE(backend.path.stat().st_mode) == 0o600


async def test_what_a_killed_writer_left_of_a_line_is_cut(lines: Any, backend: Any) -> None:
    first, second = a_turn(), a_turn()
    await backend.write(Batch(turns=(first,)))
    with backend.path.open("ab") as file:
        file.write(b'{"turns": [{"prompt": "half')
    other = lines.LineBackend(backend.path)
    await other.open()
    assert await turns_of(other) == [first]
    await other.write(Batch(turns=(second,)))
    assert await turns_of(other) == await turns_of(backend) == [first, second]
    await other.close()
    assert len(backend.path.read_bytes().splitlines()) == 2


async def test_a_killed_process_loses_nothing_it_was_told_is_stored(
    lines: Any, tmp_path: Path
) -> None:
    program = f"""
import asyncio, os, signal, sys
sys.path.insert(0, {str(tmp_path)!r})
from lines import LineBackend
from trajectory import TrajectoryLogger

async def main():
    logger = await TrajectoryLogger(LineBackend("killed.lines")).open()
    run = await logger.start_trajectory()
    for number in range(25):
        await run.log_turn(str(number), "")
    await logger.flush()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=tmp_path, env=environment(), timeout=PATIENCE_S, check=False)
    assert ran.returncode == -signal.SIGKILL
    backend = lines.LineBackend(tmp_path / "killed.lines")
    async with TrajectoryStore(backend) as store:
        found = [turn.prompt async for turn in store.turns()]
    assert found == [str(number) for number in range(25)]
    await backend.close()


async def test_two_that_write_to_one_file_see_each_other(lines: Any, backend: Any) -> None:
    other = lines.LineBackend(backend.path)
    await other.open()
    run = uuid7()
    sent = [a_turn(number).replace(trajectory_id=run) for number in range(40)]
    for first, second in zip(sent[::2], sent[1::2], strict=True):
        await asyncio.gather(
            backend.write(Batch(turns=(first,))), other.write(Batch(turns=(second, first)))
        )
    assert await turns_of(backend) == await turns_of(other) == sent
    assert await other.delete_trajectories([run, uuid7()]) == 1
    assert await turns_of(backend) == []
    assert [each async for each in backend.read_trajectories(TrajectoryQuery())] == []
    await other.close()


async def test_a_full_disk_is_told_without_content_and_the_batch_can_come_again(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, sent = os.write, a_turn(prompt=CANARY)

    def fails(file: int, data: bytes) -> int:
        if file != backend._file:
            return write(file, data)
        write(file, data[:40])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fails)
    with pytest.raises(BackendUnavailableError, match="No space left") as caught:
        await backend.write(Batch(turns=(sent,)))
    assert CANARY not in str(caught.value)
    assert await turns_of(backend) == []
    monkeypatch.undo()
    await backend.write(Batch(turns=(sent,)))
    await backend.write(Batch(turns=(sent,)))
    assert await turns_of(backend) == [sent]
    assert len(backend.path.read_bytes().splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [f"{CANARY}\n", f'{{"a": "{CANARY}"}}\n', "[]\n", '{"trajectories": [1]}\n', "\xff\n"],
)
async def test_a_file_of_somebody_else_is_refused(lines: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "other").write_bytes(content.encode("latin-1"))
    backend = lines.LineBackend(tmp_path / "other")
    with pytest.raises(SchemaError, match="at byte 0") as caught:
        await backend.open()
    assert CANARY not in str(caught.value)
    assert (tmp_path / "other").read_bytes() == content.encode("latin-1")
    await backend.close()


async def test_a_folder_that_is_not_there_is_named(lines: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no_such_folder"):
        await lines.LineBackend(tmp_path / "no_such_folder" / "t").open()


async def test_a_logger_that_promises_more_forces_each_line_to_the_disk(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced, fsync = [], os.fsync

    def noted(file: int) -> None:
        forced.append(file)
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    await backend.write(Batch(turns=(a_turn(),)))
    assert backend._file not in forced
    async with TrajectoryLogger(backend, LoggerSettings(durability="synced")) as logger:
        await logger.log_turn(a_turn())
        assert (await logger.flush()).stored == 1
    assert backend._file in forced


async def test_a_forked_child_leaves_the_file_alone(backend: Any) -> None:
    await backend.write(Batch(turns=(a_turn(),)))
    theirs = backend._file
    try:
        backend.forget()
        assert os.fstat(theirs).st_size
        await backend.open()
        assert len(await turns_of(backend)) == 1
    finally:
        os.close(theirs)


def test_the_tables_are_those_of_the_contract() -> None:
    members = [name for name in vars(StorageBackend) if not name.startswith("_")]
    shown = [row[0].strip("`").partition("(")[0] for row in table("backend")]
    assert shown == members
    fields = {field.name: field.default for field in dataclasses.fields(Capabilities)}
    rows = table("capabilities")
    assert [row[0] for row in rows] == list(map(code, fields))
    for name, default, *_ in rows:
        value = fields[name.strip("`")]
        assert default == (code(value.value) if value else "none")
    told = rows[1][2]
    assert all(code(each.value) in told for each in Survives)


def test_the_methods_that_may_be_there_are_asked_for() -> None:
    optional = [row[0].strip("`").partition("(")[0] for row in table("optional")]
    assert optional == [
        *("from_url", "forget", "survive_power_loss", "only_read", "count", "delete_silent")
    ]
    assert "from_url" in (open_backend.__code__.co_names)
    assert all(f"{name}()" in (trajectory.backend.__doc__ or "") for name in optional[1:4])
    assert "count" in vars(Counting)
    assert {"delete_silent", "give_back_space"} <= vars(Pruning).keys()
