"""What deletes for good asks first: on stderr, where it can be answered, of what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from looking import done, id_of, ran, refused, started, store, turn_of
from typer.testing import CliRunner

from trajectory.cli import app, progress, prune
from trajectory.retention import Pruned

PRUNE = ("prune", "--older-than", "1d")
ERASE = ("erase", str(id_of(1)))


@pytest.mark.parametrize("command", [PRUNE, ERASE], ids=lambda command: command[0])
def test_without_a_person_it_wants_yes(database: str, command: tuple[str, ...]) -> None:
    store(database, [started(1)], [turn_of(1)])
    assert "--yes" in refused(2, *command, "--db", database)
    outcome = ran(*command, "--db", database, "--json")
    assert outcome.exit_code == 2
    assert "--yes" in json.loads(outcome.stdout)["error"]
    assert len(json.loads(done("list", "--json", "--db", database))["trajectories"]) == 1
    assert json.loads(done(*command, "--db", database, "--json", "--yes"))["trajectories"] == 1


@pytest.mark.parametrize("command", [PRUNE, ERASE], ids=lambda command: command[0])
def test_the_question_is_no_part_of_the_answer(
    tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "can_be_asked", lambda: True)
    url = str(tmp_path / "t.db")
    store(url, [started(1)], [turn_of(1)])
    kept = CliRunner().invoke(app, [*command, "--db", url, "--json"], input="n\n")
    assert kept.exit_code == 1
    assert "{" not in kept.stdout
    gone = CliRunner().invoke(app, [*command, "--db", url, "--json"], input="y\n")
    assert gone.exit_code == 0, gone.output
    echo, answer = gone.stdout.splitlines()
    assert echo.strip() == "y", "what the runner types, and nothing else"
    assert json.loads(answer)["trajectories"] == 1
    assert "[y/N]" in gone.stderr


@pytest.mark.parametrize("command", [PRUNE, ERASE], ids=lambda command: command[0])
def test_a_file_that_is_not_there_is_told_before_anything_is_asked(
    tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "can_be_asked", lambda: True)
    told = refused(2, *command, "--db", str(tmp_path / "none.db"))
    assert "no file" in told
    assert "[y/N]" not in told
    assert not (tmp_path / "none.db").exists()


def test_what_running_programs_hold_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "t.db")
    store(url, [started(1)])

    async def pruned(*_: Any, **__: Any) -> Pruned:
        return Pruned(1, 0, 0, 0, 2)

    monkeypatch.setattr(prune, "_prune", pruned)
    outcome = ran(*PRUNE, "--db", url, "--yes")
    assert outcome.exit_code == 0
    assert "2 journals of running programs" in outcome.stderr
    assert json.loads(done(*PRUNE, "--db", url, "--yes", "--json"))["living_journals"] == 2


@pytest.mark.parametrize("command", ["prune", "show", "list", "score", "erase"])
def test_help_names_the_exit_code_of_an_interrupt(command: str) -> None:
    assert "130" in ran(command, "--help").stdout
