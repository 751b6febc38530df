"""What the return of `log_turn` means at each level, and where the journal lies."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from pathlib import Path
from typing import Any
from uuid import uuid4

import platformdirs
import pytest

from trajectory import (
    Capabilities,
    ConfigurationError,
    Durability,
    LoggerSettings,
    Overflow,
    Survives,
    TrajectoryLogger,
    Turn,
    TurnQuery,
    open_backend,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.journal import JournalError
from trajectory.journal.os_layer import REAL
from trajectory.placement import folder_of, placed
from trajectory.testing import GatedBackend

CANARY = "canary-1b9e"


def turn(number: int = 1, prompt: str = "p") -> Turn:
    return Turn(trajectory_id=uuid4(), turn_number=number, prompt=prompt, response="r")


def journals(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal")) if folder.exists() else []


def holds(folder: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in journals(folder))


async def test_a_file_s_turns_are_journaled_beside_it_before_the_call_returns(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "t.db.turns"
    async with TrajectoryLogger(tmp_path / "t.db") as logger:
        assert logger.settings.durability is Durability.JOURNALED
        await logger.log_turn(turn(prompt=CANARY))
        assert holds(folder, CANARY)
        assert logger.statistics().journal_bytes > 100
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        await logger.flush()
    assert not folder.exists()  # all is stored, nothing is left


@pytest.mark.parametrize("level", ["queued", "journaled", "synced", "stored"])
async def test_each_level_has_a_journal_but_queued(tmp_path: Path, level: str) -> None:
    settings = LoggerSettings(durability=level)
    async with TrajectoryLogger(tmp_path / "t.db", settings) as logger:
        await logger.log_turn(turn())
        assert bool(journals(tmp_path / "t.db.turns")) == (level != "queued")
        assert (logger.statistics().stored == 1) == (level == "stored")
    assert logger.statistics().stored == 1


async def test_synced_turns_share_their_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []

    def sync(fd: int) -> None:
        syncs.append(fd)
        os.fdatasync(fd)

    monkeypatch.setattr(type(REAL), "sync", staticmethod(sync))
    settings = LoggerSettings(durability="synced", flush_interval_ms=60_000, buffer_size=100)
    async with TrajectoryLogger(tmp_path / "t.db", settings) as logger:
        await asyncio.gather(*(logger.log_turn(turn(n)) for n in range(50)))
        assert 1 <= len(syncs) <= 3
        assert logger.statistics().stored == 0


async def test_a_journal_that_fails_fails_the_call_and_gives_the_room_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: what could not be made safe was not accepted, and the agent goes on."""

    def full(_fd: int, _content: bytes) -> int:
        raise OSError(28, "No space left on device")

    settings = LoggerSettings(channel_capacity=2, buffer_size=2, log_timeout_ms=500)
    async with TrajectoryLogger(tmp_path / "t.db", settings) as logger:
        run = await logger.start_trajectory()
        [segment] = logger._life._journal._segments  # type: ignore[union-attr]
        write = segment._write
        segment._write = full
        for _ in range(5):
            with pytest.raises(JournalError, match="No space left"):
                await run.log_turn(CANARY, "r")
        assert logger.statistics().accepted == 0
        segment._write = write
        assert (await run.log_turn("p", "r")).turn_number == 1
        assert await logger.flush() == (1, 0, 0)
    async with open_backend_of(tmp_path / "t.db") as backend:
        assert [t.prompt async for t in backend.read_turns(TurnQuery())] == ["p"]


async def test_a_folder_that_can_t_be_made_is_an_error_at_open(tmp_path: Path) -> None:
    (tmp_path / "t.db.turns").write_text("a file is in the way")
    logger = TrajectoryLogger(tmp_path / "t.db")
    with pytest.raises(JournalError, match=r"journal_dir.*durability"):
        await logger.open()
    settings = LoggerSettings(durability="queued")
    async with TrajectoryLogger(tmp_path / "t.db", settings) as logger:
        await logger.log_turn(turn())


class Elsewhere(MemoryBackend):
    """A plug-in's backend, with an identity or none."""

    def __init__(self, identity: str | None) -> None:
        super().__init__()
        self.capabilities = Capabilities(identity=identity)


def test_the_folder_follows_the_identity(tmp_path: Path) -> None:
    state = platformdirs.user_state_path("trajectory") / "journals"
    assert folder_of("/data/t.db", None) == Path("/data/t.db.turns")
    server = folder_of("postgresql://u@h/db", None)
    assert server is not None
    assert server.parent == state
    assert folder_of("postgresql://u@h/other", None) != server
    given = folder_of("postgresql://u@h/db", tmp_path)
    assert given is not None
    assert (given.parent, given.name) == (tmp_path, server.name)
    assert folder_of("/data/t.db", tmp_path) not in (None, tmp_path)
    assert folder_of(None, None) is None
    assert folder_of(None, tmp_path) == tmp_path


def test_no_password_takes_part_in_the_folder_s_name() -> None:
    one, two = (
        folder_of(open_backend(f"postgresql://u:{word}@h/db").capabilities.identity, None)
        for word in ("secret", "other")
    )
    assert one == two


@pytest.mark.parametrize("given", [{}, {"durability": "journaled"}, {"durability": "synced"}])
async def test_without_a_place_the_level_is_queued_and_that_is_said(
    given: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with TrajectoryLogger(Elsewhere(None), LoggerSettings(**given)) as logger:
        assert logger.settings.durability is Durability.QUEUED
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert bool(warned) == bool(given)  # nothing outlives a backend in memory: no word by default
    assert all("journal_dir" in record.message for record in warned)


async def test_a_journal_dir_gives_a_backend_without_identity_its_place(tmp_path: Path) -> None:
    backend = GatedBackend(Elsewhere(None))
    async with TrajectoryLogger(backend, LoggerSettings(journal_dir=tmp_path / "j")) as logger:
        await logger.log_turn(turn(prompt=CANARY))
        assert holds(tmp_path / "j", CANARY)
        backend.open_gate()
    assert not journals(tmp_path / "j")


def test_a_server_spills_unless_told_otherwise(tmp_path: Path) -> None:
    server, file = Elsewhere("postgresql://h/db"), Elsewhere(str(tmp_path / "t.db"))
    assert placed(server, LoggerSettings()).settings.overflow is Overflow.SPILL
    assert placed(file, LoggerSettings()).settings.overflow is Overflow.WAIT
    for given in ({"overflow": "wait"}, {"durability": "queued"}):
        assert placed(server, LoggerSettings(**given)).settings.overflow is Overflow.WAIT
    assert placed(file, LoggerSettings(overflow="spill")).settings.overflow is Overflow.SPILL


def test_spill_needs_a_journal() -> None:
    with pytest.raises(ConfigurationError, match="journal_dir"):
        placed(Elsewhere(None), LoggerSettings(overflow="spill"))
    with pytest.raises(ConfigurationError, match="journaled"):
        LoggerSettings(overflow="spill", durability="queued")


def test_the_default_comes_from_toml_and_environment_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.toml"
    path.write_text('[ppp.trajectory]\nbuffer_size = 5\njournal_dir = "/j"\n')
    settings = LoggerSettings.from_toml(path)
    assert settings.journal_dir == Path("/j")
    server = Elsewhere("postgresql://h/db")
    assert placed(server, settings).settings.overflow is Overflow.SPILL
    path.write_text('[ppp.trajectory]\noverflow = "wait"\n')
    assert placed(server, LoggerSettings.from_toml(path)).settings.overflow is Overflow.WAIT
    monkeypatch.setenv("TRAJECTORY_OVERFLOW", "raise")
    assert placed(server, LoggerSettings()).settings.overflow is Overflow.RAISE


async def test_dead_letters_lie_beside_the_journal_private_and_whole(tmp_path: Path) -> None:
    sent = turn(prompt="first")
    async with TrajectoryLogger(tmp_path / "t.db") as logger:
        await logger.log_turn(sent)
        await logger.flush()
        await logger.log_turn(sent.replace(prompt=CANARY))
        assert await logger.flush() == (1, 1, 0)
    file = tmp_path / "t.db.turns" / "dead-letters.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert CANARY in file.read_text()
    assert not journals(tmp_path / "t.db.turns")


async def test_dead_letters_need_no_journal(tmp_path: Path) -> None:
    sent = turn(prompt="first")
    settings = LoggerSettings(durability="queued")
    async with TrajectoryLogger(tmp_path / "t.db", settings) as logger:
        for prompt in ("first", CANARY):
            await logger.log_turn(sent.replace(prompt=prompt))
        assert await logger.flush() == (1, 1, 0)
    assert CANARY in (tmp_path / "t.db.turns" / "dead-letters.jsonl").read_text()


def open_backend_of(path: Path) -> Any:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened() -> Any:
        backend = open_backend(path)
        await backend.open()
        try:
            yield backend
        finally:
            await backend.close()

    return opened()


async def test_a_hook_that_fails_leaves_the_raw_text_nowhere(tmp_path: Path) -> None:
    """Invariant: redaction comes before journal, buffer and dead letters, and fails closed."""

    def hook(_turn: Turn) -> Turn:
        raise RuntimeError("broken hook")

    sent = turn(prompt=CANARY)
    async with TrajectoryLogger(tmp_path / "t.db", redact=hook) as logger:
        await logger.log_turn(sent)
        await logger.log_turn(sent.replace(token_count=7, response=CANARY))
        for path in tmp_path.rglob("*"):
            assert path.is_dir() or CANARY.encode() not in path.read_bytes()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes()


@pytest.mark.parametrize("level", ["journaled", "synced", "stored"])
async def test_a_level_that_promises_power_loss_makes_each_commit_wait_for_the_disk(
    tmp_path: Path, level: str
) -> None:
    """Invariant: what the journal lets go of after a commit is as safe in the database."""
    async with TrajectoryLogger(tmp_path / "t.db", LoggerSettings(durability=level)) as logger:
        connection = logger.backend._transport._connection  # type: ignore[attr-defined]
        raw = (await connection.get_raw_connection()).driver_connection
        mode = await (await raw.execute("PRAGMA synchronous")).fetchone()
        assert mode == ((1,) if level == "journaled" else (2,))
        survives = Survives.PROCESS_CRASH if level == "journaled" else Survives.POWER_LOSS
        assert logger.backend.capabilities.survives is survives
    async with TrajectoryLogger(tmp_path / "t.db") as logger:
        assert logger.backend.capabilities.survives is Survives.PROCESS_CRASH


async def test_a_backend_that_can_t_promise_it_is_named(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    backend = Elsewhere(str(tmp_path / "t.db"))
    backend.capabilities = Capabilities(
        identity=backend.capabilities.identity, survives=Survives.PROCESS_CRASH
    )
    async with TrajectoryLogger(backend, LoggerSettings(durability="synced")):
        assert "may lose its last batches with the power" in caplog.text
