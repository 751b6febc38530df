"""`trajectory recover`: real orphans of killed processes, and dead letters, on both databases."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from durability.children import Account, account, run_and_kill
from journal.logged import turn, turns, written
from recovery.killed import leave
from typer.testing import CliRunner

from trajectory import LoggerSettings, TrajectoryLogger, open_backend
from trajectory.cli import app
from trajectory.dead_letters import FILE
from trajectory.journal import Journal
from trajectory.placement import folder_of

CANARY = "canary-90af"
ID = UUID(int=7)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["recover", *arguments])


def answer(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = run(*arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


def awaited(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()


class Place:
    """A database, and where its journals are."""

    def __init__(self, url: str, journals: Path) -> None:
        self.url = url
        self.journals = journals

    @property
    def options(self) -> tuple[str, ...]:
        return "--db", self.url, "--journal-dir", str(self.journals)

    @property
    def folder(self) -> Path:
        [folder] = self.journals.iterdir()
        return folder

    def kill(self, turns: int) -> set[str]:
        """Let a process log turns, kill it, and give those that it was told are accepted."""
        return leave(self.url, turns, prompt=CANARY, journals=self.journals)

    def account(self, acknowledged: set[str]) -> Account:
        found: Account = awaited(lambda: account(self.url, acknowledged))
        return found

    def refuse(self, *prompts: str) -> None:
        """Leave a dead letter for each, since turn 1 is stored with another content."""

        async def main() -> None:
            settings = LoggerSettings(journal_dir=self.journals)
            async with TrajectoryLogger(self.url, settings) as logger:
                for prompt in ("first", *prompts):
                    await logger.log_turn(turn(1).replace(prompt=prompt))
                    await logger.flush()

        awaited(main)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(str(tmp_path / "t.db"), tmp_path / "journals")
    return Place(str(request.getfixturevalue("postgres_url")), tmp_path / "journals")


def test_what_a_killed_process_left_is_stored(place: Place) -> None:
    acknowledged = place.kill(3)
    assert place.account(acknowledged).lost == acknowledged

    code, dry = answer(*place.options, "--dry-run")
    assert (code, dry["complete"], dry["dry_run"]) == (1, False, True)
    assert (dry["turns"], dry["others"], len(dry["segments"])) == (3, 1, 1)
    assert place.account(acknowledged).lost == acknowledged

    code, done = answer(*place.options)
    assert (code, done["complete"]) == (0, True)
    assert (done["turns"], done["others"]) == (3, 1)
    assert [each["removed"] for each in done["segments"]] == [True]
    assert place.account(acknowledged) == Account(acknowledged, Counter(acknowledged))
    assert list(place.folder.iterdir()) == []

    code, again = answer(*place.options)
    assert (code, again["segments"], again["turns"]) == (0, [], 0)
    assert CANARY not in json.dumps([dry, done, again])


def test_processes_that_were_killed_under_load(place: Place) -> None:
    """Invariant: whenever the kill comes, nothing is lost and nothing stored twice."""
    acknowledged: set[str] = set()
    for tick in range(3):
        acknowledged |= run_and_kill(place.url, "journaled", 0.02 * tick, journals=place.journals)
        code, told = answer(*place.options)
        assert (code, told["complete"]) == (0, True)
    found = place.account(acknowledged)
    assert (found.lost, found.twice) == (set(), [])
    assert list(place.folder.iterdir()) == []


def test_for_a_person_it_says_what_it_did_and_shows_no_prompt(place: Place) -> None:
    place.refuse(CANARY)
    written(place.folder, *(each.replace(prompt=CANARY, turn_number=n) for n in (2, 3)
                            for each in turns(1)))  # fmt: skip
    [segment] = place.folder.glob("*.journal")
    with segment.open("ab") as file:
        file.write(CANARY.encode())
    dry = run(*place.options, "--dry-run")
    assert (dry.exit_code, dry.stderr) == (1, "")
    assert f"{segment.name}: 2 turns to replay; {len(CANARY)} bytes at the end torn\n" in dry.stdout
    assert "2 turns to replay; nothing was changed\n" in dry.stdout
    done = run(*place.options)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"{segment.name}: 2 turns replayed; " in done.stdout
    assert "2 turns replayed, and nothing is left\n" in done.stdout
    assert "1 dead letter waiting; to see them, run `trajectory recover --dead-letters`\n" in (
        done.stdout
    )
    assert CANARY not in dry.output + done.output


def test_a_database_that_is_away_is_one_line_and_everything_stays(tmp_path: Path) -> None:
    url = "postgresql://u:canary@127.0.0.1:1/d"
    place = Place(url, tmp_path)
    identity = "postgresql://u@127.0.0.1:1/d"
    folder = folder_of(identity, tmp_path)
    assert folder is not None
    written(folder, *turns(3))
    result = run(*place.options)
    assert result.exit_code == 1
    assert "can't reach" in result.stderr
    assert "stays in the journal; run this again" in result.stderr
    assert ".journal: not reached; 3 turns to replay\n" in result.stdout
    assert "0 turns replayed, and not all could be stored: see above\n" in result.stdout
    code, told = answer(*place.options)
    assert (code, told["complete"], told["turns"]) == (1, False, 0)
    assert [(each["tried"], each["turns"]) for each in told["segments"]] == [(False, 3)]
    assert "can't reach" in told["error"]
    assert "canary" not in result.output + json.dumps(told)
    assert len(list(folder.glob("*.journal"))) == 1


def test_living_processes_newer_formats_and_what_is_no_file(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "t.db"), tmp_path / "journals")
    folder = folder_of(place.url, place.journals)
    assert folder is not None
    living = Journal(folder)
    living.open()
    try:
        written(folder, turn(1))
        (folder / "z.journal").mkdir()
        result = run(*place.options)
        assert result.exit_code == 1
        assert "belongs to a process that runs; left alone\n" in result.stdout
        assert "1 turn replayed\n" in result.stdout
        assert "z.journal: it is no file; left as it is\n" in result.stdout
        assert "not all could be stored: see above" in result.stdout
        (folder / "z.journal").rmdir()
        assert answer(*place.options)[0] == 0  # what lives is no failure
    finally:
        living.close()


def test_a_schema_that_is_missing_names_the_command(
    tmp_path: Path, empty_postgres_url: str
) -> None:
    place = Place(empty_postgres_url, tmp_path)
    assert run(*place.options).exit_code == 0  # nothing to store, so nobody asks
    assert not list(tmp_path.iterdir())
    folder = folder_of(open_backend(empty_postgres_url).capabilities.identity, tmp_path)
    assert folder is not None
    written(folder, turn(1))
    result = run(*place.options)
    assert result.exit_code == 1
    assert "trajectory db upgrade" in result.stderr


def test_nothing_is_made_where_nothing_is_left(tmp_path: Path) -> None:
    result = run("--db", str(tmp_path / "typo.db"))
    assert result.exit_code == 0
    assert f"journals in {tmp_path / 'typo.db.turns'}\n" in result.stdout
    assert "no process that died has left anything that can be replayed\n" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_journals_are_found_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(str(tmp_path / "t.db"), tmp_path / "journals")
    place.kill(5)
    monkeypatch.setenv("TRAJECTORY_JOURNAL_DIR", str(place.journals))
    code, told = answer("--db", place.url)
    assert (code, told["folder"]) == (0, str(place.folder))
    assert told["turns"] == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--retry",), "add --dead-letters"),
        (("--export", "x.jsonl"), "add --dead-letters"),
        (("--dead-letters", "--retry", "--export", "x.jsonl"), "one of them"),
        (("--dead-letters", "--dry-run"), "no --dry-run"),
        (("--db", ":memory:"), "in memory"),
        (("--db", "memory://"), "in memory"),
        (("--db", "oracle://u:canary@h/d"), "oracle"),
    ],
)
def test_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert "canary" not in result.output
    assert answer(*arguments)[0] == 2
    assert list(tmp_path.iterdir()) == []


# Dead letters.


def test_dead_letters_are_listed_without_their_content(place: Place) -> None:
    place.refuse(CANARY, f"{CANARY} again")
    listed = run(*place.options, "--dead-letters")
    assert (listed.exit_code, listed.stderr) == (0, "")
    lines = listed.stdout.splitlines()
    assert len(lines) == 4
    for line in lines[:2]:
        assert f" turn {ID}/1 ConflictError: stored already with other content" in line
    assert lines[2] == f"2 dead letters in {place.folder / FILE}"
    code, told = answer(*place.options, "--dead-letters")
    assert (code, told["file"]) == (0, str(place.folder / FILE))
    [first, _second] = told["dead_letters"]
    assert sorted(first) == ["error", "key", "kind", "reason", "refused_at"]
    assert (first["key"], first["kind"], first["error"]) == (f"{ID}/1", "turn", "ConflictError")
    assert CANARY not in listed.output + json.dumps(told)


def test_no_dead_letters(tmp_path: Path) -> None:
    options = ("--db", str(tmp_path / "t.db"), "--dead-letters")
    result = run(*options)
    assert (result.exit_code, result.stdout) == (
        0,
        f"no dead letters in {tmp_path / 't.db.turns'}\n",
    )
    assert answer(*options)[1]["dead_letters"] == []
    assert run(*options, "--retry").exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_is_none_is_told_and_left_alone(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "t.db"), tmp_path / "journals")
    place.refuse(CANARY)
    file = place.folder / FILE
    with file.open("a") as lines:
        lines.write(f'{{"reason": "{CANARY}"}}\n')
    result = run(*place.options, "--dead-letters")
    assert (result.exit_code, "1 dead letter in" in result.stdout) == (0, True)
    assert "line 2 is no dead letter; left out" in result.stderr
    assert CANARY not in result.output


def test_an_export_is_a_private_copy(place: Place, tmp_path: Path) -> None:
    place.refuse(CANARY)
    target = tmp_path / "out.jsonl"
    result = run(*place.options, "--dead-letters", "--export", str(target))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"1 dead letter copied to {target}; they hold prompts\n"
    [line] = map(json.loads, target.read_text().splitlines())
    assert line["value"]["prompt"] == CANARY
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert (place.folder / FILE).read_bytes() == target.read_bytes()

    again = run(*place.options, "--dead-letters", "--export", str(target))
    assert (again.exit_code, again.stdout) == (2, "")
    assert "is there already" in again.stderr
    other = tmp_path / "other.jsonl"
    assert answer(*place.options, "--dead-letters", "--export", str(other)) == (
        0,
        {"file": str(other), "exported": 1},
    )


def test_a_retry_stores_what_can_be_stored_now(place: Place) -> None:
    place.refuse(CANARY)
    refused = run(*place.options, "--dead-letters", "--retry")
    assert (refused.exit_code, refused.stderr) == (1, "")
    assert f"turn {ID}/1 ConflictError" in refused.stdout
    assert "0 dead letters stored, 1 refused again\n" in refused.stdout
    assert (place.folder / FILE).exists()

    async def make_room() -> None:
        backend = open_backend(place.url)
        await backend.open()
        try:
            await backend.delete_trajectories([ID])
        finally:
            await backend.close()

    awaited(make_room)
    code, told = answer(*place.options, "--dead-letters", "--retry")
    assert (code, told["stored"], told["refused"], told["dead_letters"]) == (0, 1, 0, [])
    assert not (place.folder / FILE).exists()
    assert set(place.account(set()).stored) == {f"{ID}/1"}
    assert CANARY not in refused.output + json.dumps(told)


def test_a_retry_of_a_database_that_is_away_keeps_them(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "t.db"), tmp_path / "journals")
    place.refuse(CANARY)
    gone = Place("postgresql://u:canary@127.0.0.1:1/d", tmp_path / "others")
    folder = folder_of("postgresql://u@127.0.0.1:1/d", gone.journals)
    assert folder is not None
    folder.mkdir(parents=True)
    os.link(place.folder / FILE, folder / FILE)
    before = (folder / FILE).read_bytes()
    result = run(*gone.options, "--dead-letters", "--retry")
    assert result.exit_code == 1
    assert "can't reach" in result.stderr
    code, told = answer(*gone.options, "--dead-letters", "--retry")
    assert (code, told["stored"], len(told["dead_letters"])) == (1, 0, 1)
    assert "can't reach" in told["error"]
    assert (folder / FILE).read_bytes() == before
    assert CANARY not in result.output
