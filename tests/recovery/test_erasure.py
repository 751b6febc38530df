"""What is erased is nowhere: not in the database, nor in what was left, nor in dead letters."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from trajectory import (
    BackendError,
    BackendUnavailableError,
    Batch,
    LoggerSettings,
    TrajectoryLogger,
    Turn,
    TurnQuery,
    open_backend,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.cli import app
from trajectory.dead_letters import DeadLetterFile
from trajectory.erasure import erase
from trajectory.journal import Journal
from trajectory.recovery import folder_for

CANARY = "canary-5a1d"
GONE, KEPT = UUID(int=1), UUID(int=2)


def turn(id_: UUID, number: int, response: str = "r") -> Turn:
    return Turn(trajectory_id=id_, turn_number=number, prompt=CANARY, response=response)


async def prepare(url: str, settings: LoggerSettings) -> Path:
    """Leave turns of both in the database, in a dead process's journal, and as dead letters."""
    async with TrajectoryLogger(url, settings) as logger:
        for id_ in (GONE, KEPT):
            await logger.log_turn(turn(id_, 1))
            await logger.log_turn(turn(id_, 1, "other"))
        folder = folder_for(logger.backend, settings.journal_dir)
    journal = Journal(folder)
    journal.open()
    for id_ in (GONE, KEPT):
        journal.append(turn(id_, 2))
    journal.close()
    return folder


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "t.db")
    found: str = request.getfixturevalue("postgres_url")
    return found


async def test_it_is_gone_everywhere_and_does_not_come_back(url: str, tmp_path: Path) -> None:
    settings = LoggerSettings(journal_dir=tmp_path / "j")
    folder = await prepare(url, settings)
    backend = open_backend(url)
    erased = await erase(backend, folder, [GONE])
    assert (erased.trajectories, erased.dead_letters, erased.living) == (1, 1, 0)
    await backend.close()
    async with TrajectoryLogger(url, settings) as logger:
        assert await logger.flush() == (0, 0, 0)
        left = [each.key async for each in logger.backend.read_turns(TurnQuery())]
    assert left == [(KEPT, 1), (KEPT, 2)]
    assert [letter.key for letter in DeadLetterFile(folder).read()] == [f"{KEPT}/1"]
    assert str(GONE) not in "".join(
        path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()
    )


async def test_nothing_is_erased_where_what_was_left_cant_be_stored(tmp_path: Path) -> None:
    class Away(MemoryBackend):
        async def write(self, _batch: Batch, /) -> None:
            raise BackendUnavailableError("refused")

    journal = Journal(tmp_path)
    journal.open()
    journal.append(turn(GONE, 1))
    journal.close()
    with pytest.raises(BackendError, match="nothing was erased"):
        await erase(Away(), tmp_path, [GONE])
    assert len(list(tmp_path.glob("*.journal"))) == 1


async def test_nothing_is_erased_where_what_was_left_cant_be_read(tmp_path: Path) -> None:
    """Invariant: what might come back later is not said to be gone."""
    journal = Journal(tmp_path)
    journal.open()
    journal.append(turn(GONE, 1))
    journal.close()
    [segment] = tmp_path.glob("*.journal")
    content = segment.read_bytes()
    segment.write_bytes(content[: content.index(b'"first"')] + b"?" * 20)
    backend = MemoryBackend()
    await backend.write(Batch(turns=(turn(GONE, 2),)))
    with segment.open("ab") as file:
        file.write(b"\x10\0\0\0" + content)
    with pytest.raises(BackendError, match="nothing was erased"):
        await erase(backend, tmp_path, [GONE])
    assert (GONE, 2) in backend._turns


async def test_running_journals_are_told_of(tmp_path: Path) -> None:
    settings = LoggerSettings(journal_dir=tmp_path / "j")
    async with TrajectoryLogger(tmp_path / "t.db", settings) as logger:
        await logger.log_turn(turn(GONE, 1))
        await logger.flush()
        folder = folder_for(logger.backend, settings.journal_dir)
        erased = await erase(logger.backend, folder, [GONE])
    assert (erased.trajectories, erased.living) == (1, 1)


def test_the_command_asks_and_answers(tmp_path: Path) -> None:
    import asyncio

    url = str(tmp_path / "t.db")
    asyncio.run(prepare(url, LoggerSettings()))
    run = CliRunner().invoke
    assert run(app, ["erase", str(GONE), "--db", url], input="y\n").exit_code == 2
    answer = run(app, ["erase", str(GONE), "--db", url, "--yes", "--json"])
    assert json.loads(answer.stdout) == {"trajectories": 1, "dead_letters": 1, "living_journals": 0}
    again = run(app, ["erase", str(GONE), str(KEPT), "--db", url, "--yes"])
    assert again.stdout.endswith("1 trajectory and 1 dead letter erased\n")
    assert CANARY not in answer.stdout + again.stdout
    assert run(app, ["erase", "no-id", "--db", url, "--yes"]).exit_code == 2
