"""`trajectory show`: a conversation that can be read, and nothing in it that is obeyed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hostile import HOSTILE, obeyed
from looking import answered, done, id_of, ran, refused, started, store, turn_of

from trajectory import (
    Message,
    Question,
    ToolCall,
    Trajectory,
    TrajectoryStore,
    Turn,
    Violation,
    summary,
)
from trajectory.cli import show
from trajectory.testing.samples import NOON, full_trajectory, full_turn

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from trajectory.cli import main; main()"]


def environment(**more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TRAJECTORY_")}
    return {**ours, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **more}


PARENT = started(
    1,
    agent_name="coder",
    agent_version="1.2",
    spec_id="S-1",
    run_id="r",
    session_id="s",
    user_id="u",
    system_prompt="Be kind.",
    reward=0.5,
    ended_at=NOON + timedelta(minutes=3, milliseconds=500),
)
FIRST = turn_of(
    1,
    1,
    prompt="Add a login\nplease",
    response="Which provider?",
    token_count=1500,
    latency_ms=2345.6,
    model_name="m-1",
    stop_reason="stop",
    messages=[
        Message(role="user", content="Add a login\nplease"),
        Message(role="assistant", content="I look first.", reasoning="Where is it?"),
        Message(role="tool", content="main.py", call_id="c-1"),
        Message(role="assistant", content=[{"type": "image"}, {"type": "text", "text": "Seen."}]),
        Message(role="assistant", content="Which provider?"),
    ],
    tool_calls=[
        ToolCall(
            tool_name="bash",
            arguments='{"command":\n "ls"}',
            result="main.py",
            call_id="c-1",
            message_position=1,
            latency_ms=12.0,
        ),
        ToolCall(tool_name="read", arguments="{}", result="no", is_error=True),
    ],
    questions=[Question(question_text="Which provider?", effort_level="medium")],
    violations=[
        Violation(
            preference_name="short", severity="major", expected="one line", actual="two lines"
        )
    ],
)
SECOND = turn_of(1, 2, prompt="Google", response="", error="timeout", reward=-1.0)
FOLDED = f"""\
trajectory {id_of(1)}
agent coder, version 1.2, spec S-1, run r, session s, user u
completed, 2026-01-02 12:01:00 UTC, took 2.01 min
2 turns, 1,500 tokens, reward 0.5, score -0.13 (asks -0.1, keeps to preferences -0.03)
(system prompt, 8 characters)
parent of {id_of(2)} (reviewer)

turn 1 · 2026-01-02 12:01:01 · 2.35 s · 1,500 tokens · m-1 · stopped: stop
  user:
    Add a login
    please
  (reasoning, 12 characters)
  assistant: I look first.
  → bash({{"command": "ls"}}) → 7 characters, 12 ms
  assistant: (image) Seen.
  → read({{}}) → 2 characters, error
  agent:
    Which provider?
  ? medium effort (agent): Which provider?
  ! major (agent): short: expected one line, was two lines

turn 2 · 2026-01-02 12:01:02 · reward -1
  user:
    Google
  agent:

  error:
    timeout
"""


def conversation() -> tuple[list[Trajectory], list[Turn]]:
    child = started(2, agent_name="reviewer", parent_trajectory_id=id_of(1))
    return [PARENT, child], [FIRST, SECOND]


def test_shows_a_conversation_with_its_calls_folded(database: str) -> None:
    store(database, *conversation())
    assert done("show", str(id_of(1)), "--db", database) == FOLDED
    assert f"child of {id_of(1)}\n" in done("show", str(id_of(2)), "--db", database)


def test_unfolds(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    store(db, *conversation())
    shown = done("show", str(id_of(1)), "--db", db, "--full").splitlines()
    assert "    Be kind." in shown
    start = shown.index("    reasoning:")
    assert shown[start : start + 10] == [
        "    reasoning:",
        "      Where is it?",
        "    assistant:",
        "      I look first.",
        "  → bash → 7 characters, 12 ms",
        "    arguments:",
        '      {"command":',
        '       "ls"}',
        "    result:",
        "      main.py",
    ]


def test_one_turn(database: str) -> None:
    store(database, *conversation())
    shown = done("show", str(id_of(1)), "--db", database, "--turn", "2")
    assert "turn 2 ·" in shown
    assert "turn 1 ·" not in shown
    assert [t["turn_number"] for t in shown_json(database, id_of(1), "--turn", "2")["turns"]] == [2]
    told = refused(1, "show", str(id_of(1)), "--db", database, "--turn", "3")
    assert told == f"error: trajectory {id_of(1)} has no turn 3; it has 2 turns"


def shown_json(db: str, id_: Any, *more: str) -> dict[str, Any]:
    return answered("show", str(id_), "--db", db, *more)


def test_json_gives_everything_back(database: str) -> None:
    parent = full_trajectory()
    turn = full_turn(parent.id)
    store(database, [parent, started(2, parent_trajectory_id=parent.id)], [turn])
    found = shown_json(database, parent.id)
    known = {name: found["trajectory"][name] for name in Trajectory.model_fields}
    assert Trajectory(**known) == parent
    assert [Turn(**each) for each in found["turns"]] == [turn]
    assert found["children"] == [str(id_of(2))]


def test_a_trajectory_without_turns(database: str) -> None:
    store(database, [started(1)])
    assert "0 turns" in done("show", str(id_of(1)), "--db", database)
    assert shown_json(database, id_of(1))["turns"] == []


def test_the_beginning_of_an_id_is_enough(database: str) -> None:
    near = Trajectory(id=id_of(16))  # differs from others in its last figures alone
    far = Trajectory(id="abcd1234-0000-4000-8000-000000000000")
    store(database, [started(1), near, far], [turn_of(1)])
    for given in ("abcd", "ABCD1234", "abcd1234-00", "abcd12340000", str(far.id), far.id.hex):
        shown = done("show", given, "--db", database)
        assert shown.startswith(f"trajectory {far.id}\n")
    told = refused(1, "show", str(near.id)[:30], "--db", database)
    assert told.startswith(f"error: more than one trajectory begins with {str(near.id)[:30]}: ")
    assert str(near.id) in told
    assert str(id_of(1)) in told


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        ("abc", 2, "'abc' is no id of a trajectory; give one as"),
        ("", 2, "is no id of a trajectory"),
        ("wxyz", 2, "'wxyz' is no id of a trajectory"),
        ("%%%%", 2, "is no id of a trajectory"),
        ("abcd", 1, "there is no trajectory that begins with abcd; `trajectory list` shows"),
        (str(id_of(7)), 1, f"there is no trajectory {id_of(7)}; `trajectory list` shows"),
    ],
)
def test_what_is_not_there_is_told(tmp_path: Path, given: str, code: int, told: str) -> None:
    db = str(tmp_path / "t.db")
    store(db, [started(1)])
    assert told in refused(code, "show", given, "--db", db)
    result = ran("show", given, "--db", db, "--json")
    assert (result.exit_code, set(json.loads(result.stdout))) == (code, {"error"})


def hostile_turns() -> list[Turn]:
    return [
        turn_of(
            1,
            number,
            prompt=text,
            response=text,
            model_name=text,
            stop_reason=text,
            error=text,
            metadata={text: text},
            questions=[Question(question_text=text, effort_level="low", source=text or "s")],
            violations=[
                Violation(
                    preference_name=text,
                    severity="minor",
                    expected=text,
                    actual=text,
                    reason=text,
                )
            ],
            messages=[
                Message(role="assistant", content=f"{text} ", reasoning=text, call_id=text),
                Message(role="tool", content=[{"type": text, text: text}, {"text": text}]),
            ],
            tool_calls=[ToolCall(tool_name=text, arguments=text, result=text)],
        )
        for number, text in enumerate(HOSTILE)
    ]


def test_hostile_text_is_shown_and_not_obeyed(database: str) -> None:
    turns = hostile_turns()
    labels = "agent_name", "agent_version", "spec_id", "run_id", "session_id", "user_id", "error"
    starts = [
        started(
            number + 1,
            **dict.fromkeys(labels, text),
            system_prompt=text,
            source_format=text,
            parent_trajectory_id=id_of(1),
        )
        for number, text in enumerate(HOSTILE)
    ]
    store(database, starts, turns)
    for options in ([], ["--full"]):
        shown = done("show", str(id_of(1)), "--db", database, *options)
        assert not obeyed(shown)
        # No text can look like the head of a turn: what was said stands behind a margin.
        heads = [line for line in shown.splitlines() if line.startswith("turn ")]
        assert len(heads) == len(HOSTILE)
        for number in range(41, len(HOSTILE), 50):
            assert not obeyed(done("show", str(id_of(number)), "--db", database, *options))
    found = shown_json(database, id_of(1))
    assert len(found["children"]) == len(HOSTILE)
    assert [Turn(**each) for each in found["turns"]] == turns


def watched(*arguments: str, **variables: str) -> str:
    """Run a command before a terminal, and give what it wrote there."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env=environment(**variables),
        )
        os.close(theirs)
        written = b""
        while True:
            try:
                read = os.read(ours, 65536)
            except OSError:  # how Linux says that the other side is closed
                break
            if not read:
                break
            written += read
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, b"")
    finally:
        os.close(ours)
    return written.decode()


def test_colours_are_for_a_person_who_wants_them(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    store(db, *conversation())
    arguments = "show", str(id_of(1)), "--db", db
    assert "\x1b[36m  user:" in watched(*arguments)
    plain = watched(*arguments, NO_COLOR="1")
    assert "  user:" in plain
    assert "\x1b[3" not in plain
    assert "\x1b" not in done(*arguments)


def test_a_reader_that_has_enough_ends_it_in_silence(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    store(db, [started(1)], [turn_of(1, each, prompt="p" * 2000) for each in range(300)])
    for options in ("", "--json"):
        ended = subprocess.run(
            ["sh", "-c", f'"$@" show {id_of(1)} --db {db} {options} | head -c 100', "sh", *COMMAND],
            env=environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (len(ended.stdout), ended.stderr) == (100, b"")


def test_letters_that_the_output_does_not_have_are_escapes(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    store(db, [started(1)], [turn_of(1, prompt="Grüße 世界")])
    ended = subprocess.run(
        [*COMMAND, "show", str(id_of(1)), "--db", db],
        env=environment(PYTHONIOENCODING="ascii"),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"Gr\\xfc\\xdfe \\u4e16\\u754c" in ended.stdout


def test_one_that_goes_between_two_looks_is_missing(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(database, [started(1)], [turn_of(1)])
    read = summary.summaries

    async def late(opened: TrajectoryStore, *rest: Any) -> list[summary.Summary]:
        await opened.backend.delete_trajectories([id_of(1)])
        return await read(opened, *rest)

    monkeypatch.setattr(show, "summaries", late)
    assert f"there is no trajectory {id_of(1)}" in refused(
        1, "show", str(id_of(1)), "--db", database
    )


def test_of_many_children_the_first_are_named_and_all_are_counted(tmp_path: Path) -> None:
    url = str(tmp_path / "t.db")
    children = [
        started(number, parent_trajectory_id=id_of(1), agent_name=f"a{number}")
        for number in range(2, 25)
    ]
    store(url, [started(1), *children])
    named = [
        line for line in done("show", str(id_of(1)), "--db", url).splitlines() if "parent" in line
    ]
    expected = [f"parent of {id_of(number)} (a{number})" for number in range(2, 22)]
    assert named == [*expected, "parent of 3 more"]
    answer = answered("show", str(id_of(1)), "--db", url)
    assert answer["children"] == [str(id_of(number)) for number in range(2, 25)]
