"""`trajectory tail`: the newest turns, and live while others log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hostile import HOSTILE, obeyed
from looking import done, id_of, ran, refused, started, store, turn_of

from trajectory import LoggerSettings, Question, ToolCall, TrajectoryLogger, Turn, Violation
from trajectory.door import now_utc
from trajectory.testing.samples import NOON

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from trajectory.cli import main; main()"]
PATIENCE_S = 60


def tailed(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done("tail", "--json", *arguments).splitlines()]


@contextlib.contextmanager
def following(url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("TRAJECTORY_")}
    process = subprocess.Popen(
        [*COMMAND, "tail", "-f", "--interval", "0.05", "--db", url, *arguments],
        env={**clean, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def read(process: subprocess.Popen[str], count: int) -> list[str]:
    """Read so many lines, however long they take."""
    assert process.stdout is not None
    lines = []
    for _ in range(count):
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
        lines.append(line)
    return lines


def test_shows_the_newest_a_line_each(database: str) -> None:
    store(
        database,
        [started(1, agent_name="coder"), started(2)],
        [
            turn_of(1, 1),
            turn_of(
                1,
                2,
                prompt="Add\n\na  login",
                response="x" * 100,
                token_count=1234,
                latency_ms=2500,
                tool_calls=[ToolCall(tool_name="t")],
                created_at=NOON + timedelta(days=1),
            ),
            turn_of(2, 1, input_tokens=1, error="broken"),
        ],
    )
    cut, measured = "x" * 59 + "…", "(1,234 tokens, 2.5 s, 1 tool call)"
    assert done("tail", "--db", database, "-n", "2").splitlines() == [
        f"2026-01-02 12:02:01  {id_of(2)}   1  -  p2-1 → r  (1 token)",
        f"2026-01-03 12:00:00  {id_of(1)}   2  coder  Add a login → {cut}  {measured}",
    ]
    assert done("tail", "--db", database, "--limit", "0") == ""
    found = tailed("--db", database)
    assert [(each["trajectory_id"], each["turn_number"]) for each in found] == [
        (str(id_of(1)), 1),
        (str(id_of(2)), 1),
        (str(id_of(1)), 2),
    ]
    assert found[2]["agent_name"] == "coder"
    expected = turn_of(2, 1, input_tokens=1, error="broken")
    assert Turn(**{k: v for k, v in found[1].items() if k != "agent_name"}) == expected


def test_filters_choose(database: str) -> None:
    store(
        database,
        [
            started(1, agent_name="a", spec_id="S", metadata={"branch": "main"}),
            started(2, agent_name="b", status="failed", user_id="u"),
        ],
        [
            turn_of(1, 1, prompt="a needle"),
            turn_of(1, 2, tool_calls=[ToolCall(tool_name="bash")]),
            turn_of(2, 1, questions=[Question(question_text="?", effort_level="high")]),
            turn_of(2, 2, violations=[Violation(preference_name="short", severity="major")]),
        ],
    )
    middle = (NOON + timedelta(minutes=2)).isoformat()
    for options, expected in (
        (["--agent", "a"], ["p1", "p1"]),
        (["--spec", "S"], ["p1", "p1"]),
        (["--status", "failed"], ["p2", "p2"]),
        (["--user", "u"], ["p2", "p2"]),
        (["--meta", "branch=main"], ["p1", "p1"]),
        (["--text", "needle"], ["p1"]),
        (["--tool", "bash"], ["p1"]),
        (["--effort", "high"], ["p2"]),
        (["--severity", "major"], ["p2"]),
        (["--preference", "short"], ["p2"]),
        (["--preference", "long"], []),
        (["--agent", "b", "--text", "needle"], []),
        (["--since", middle], ["p2", "p2"]),
        (["--until", middle], ["p1", "p1"]),
        (["--since", "1h"], []),
    ):
        found = tailed("--db", database, *options)
        numbers = [f"p{2**127 - int(each['trajectory_id'].replace('-', ''), 16)}" for each in found]
        assert numbers == expected, options


def test_wrong_use_is_told(tmp_path: Path) -> None:
    assert "no file" in refused(2, "tail", "--db", str(tmp_path / "none.db"))
    assert "--since" in refused(2, "tail", "--since", "soon")
    assert "--interval" in refused(2, "tail", "-f", "--interval", "0")


@pytest.mark.parametrize("way", ["person", "program"])
def test_hostile_text_is_shown_and_given_back(database: str, way: str) -> None:
    starts = [started(n, agent_name=text) for n, text in enumerate(HOSTILE)]
    turns = [
        turn_of(n, prompt=text, response=text, error=text, tool_calls=[ToolCall(tool_name=text)])
        for n, text in enumerate(HOSTILE)
    ]
    store(database, starts, turns)
    if way == "person":
        out = done("tail", "-n", "1000", "--db", database)
        assert not obeyed(out)
        assert len(out.split("\n")) == len(HOSTILE) + 1
        return
    out = done("tail", "-n", "1000", "--json", "--db", database)
    assert out.isascii()
    found = [json.loads(line) for line in out.splitlines()]
    assert [
        (each["agent_name"], each["prompt"], each["tool_calls"][0]["tool_name"]) for each in found
    ] == [(text, text, text) for text in HOSTILE]


async def _log(url: str, prompts: list[str]) -> None:
    settings = LoggerSettings.low_latency()
    async with TrajectoryLogger(url, settings) as logger:
        async with logger.trajectory(agent_name="live") as run:
            for prompt in prompts:
                await run.log_turn(prompt, "r")


def test_follows_another_process_and_ends_by_an_interrupt(database: str) -> None:
    turns = [turn_of(1, number, created_at=now_utc()) for number in (2, 3)]
    store(database, [started(1)], turns)
    with following(database, "--json", "-n", "1") as process:
        assert json.loads(read(process, 1)[0])["prompt"] == "p1-3"
        prompts = [f"live {number}" for number in range(50)]
        asyncio.run(_log(database, prompts))
        assert [json.loads(line)["prompt"] for line in read(process, 50)] == prompts
        # Late, with an earlier time and a lower number than what is there.
        store(database, [], [turn_of(1, 1, created_at=NOON - timedelta(days=9))])
        assert json.loads(read(process, 1)[0])["prompt"] == "p1-1"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (130, "", "")


def test_ends_when_nobody_reads_any_more(tmp_path: Path) -> None:
    """Without waiting for a turn to come: `| head` must not hold the shell."""
    url = str(tmp_path / "t.db")
    store(url, [started(1)], [turn_of(1, 1), turn_of(1, 2)])
    with following(url) as process:
        read(process, 1)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_pipe_that_is_closed_is_silent(tmp_path: Path) -> None:
    url = str(tmp_path / "t.db")
    store(url, [started(1)], [turn_of(1, number) for number in range(1, 3000)])
    shown = subprocess.run(
        ["sh", "-c", '"$@" | head -n 1', "sh", *COMMAND, "tail", "-n", "3000", "--db", url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert (len(shown.stdout.splitlines()), shown.stderr) == (1, "")


def test_says_what_is_there_before_it_waits(tmp_path: Path) -> None:
    """Lines are written when they are known, not when a buffer is full."""
    url = str(tmp_path / "t.db")
    store(url, [started(1)], [turn_of(1, 1)])
    with following(url) as process:
        assert process.stdout is not None
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        assert poll.poll(PATIENCE_S * 1000)
        assert "p1-1" in process.stdout.readline()


def test_help_tells_of_following() -> None:
    out = ran("tail", "--help").stdout
    assert "--follow" in out
    assert "130" in out
