"""`TRAJECTORY_*` variables: a misspelt one is told in one line, a wrong value by its variable."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from trajectory.cli import app


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(app, arguments, env=variables)


def test_unknown_variables_are_told_in_one_line(tmp_path: Path) -> None:
    ran = run(
        "log", os.devnull, "--db", str(tmp_path / "t.db"),
        TRAJECTORY_BUFER_SIZE="3", TRAJECTORY_COLOUR="CANARY", trajectory_overflow="raise",
    )  # fmt: skip
    assert ran.exit_code == 0
    assert ran.stderr == (
        "warning: ignored, for no setting is called so: "
        "TRAJECTORY_BUFER_SIZE (do you mean TRAJECTORY_BUFFER_SIZE?), TRAJECTORY_COLOUR\n"
    )


def test_known_variables_are_taken_in_silence(tmp_path: Path) -> None:
    ran = run("log", os.devnull, TRAJECTORY_URL=str(tmp_path / "t.db"), TRAJECTORY_BUFFER_SIZE="3")
    assert (ran.exit_code, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("TRAJECTORY_BUFFER_SIZE", "many", "TRAJECTORY_BUFFER_SIZE: Input should be a valid int"),
        ("trajectory_buffer_size", "0", "TRAJECTORY_BUFFER_SIZE: Input should be greater than"),
        ("TRAJECTORY_LOG_TIMEOUT_MS", "-1", "TRAJECTORY_LOG_TIMEOUT_MS: Input should be"),
        ("TRAJECTORY_BUFFER_SIZE", "200", "TRAJECTORY_BUFFER_SIZE (200) is above channel_capacity"),
    ],
)
def test_a_wrong_value_names_its_variable(variable: str, value: str, words: str) -> None:
    ran = run("log", os.devnull, "--db", "memory://", "--json", **{variable: value})
    assert ran.exit_code == 2
    assert json.loads(ran.stdout)["error"].startswith(words)
