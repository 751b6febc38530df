"""`trajectory log`: every line is stored or refused by number, and nothing of it is quoted."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import os
import signal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from trajectory.backend import Batch, Capabilities, Survives
from trajectory.backends.memory import MemoryBackend
from trajectory.cli import app, intake
from trajectory.cli.tally import Place, Tally
from trajectory.errors import BackendError, BackendUnavailableError, BatchRejectedError
from trajectory.models import Trajectory, TrajectoryStatus, Turn
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.words import counted

CANARY = "CANARY-7f3a"


class Lasting(MemoryBackend):
    """As a database whose turns outlive the command."""

    capabilities = Capabilities(survives=Survives.PROCESS_CRASH)


class Outcome:
    """What a command did: its exit code, its two streams, and what is stored."""

    def __init__(self, backend: MemoryBackend, arguments: tuple[str, ...]) -> None:
        ran = CliRunner().invoke(app, arguments)
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        self.code, self.out, self.err = ran.exit_code, ran.stdout, ran.stderr
        self.turns, self.trajectories = asyncio.run(everything(backend))

    @property
    def summary(self) -> dict[str, Any]:
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


async def everything(backend: MemoryBackend) -> tuple[list[Turn], list[Trajectory]]:
    return (
        [turn async for turn in backend.read_turns(TurnQuery())],
        [found async for found in backend.read_trajectories(TrajectoryQuery())],
    )


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> MemoryBackend:
    memory = Lasting()
    monkeypatch.setattr(intake, "open_backend", lambda _url: memory)
    return memory


def written(path: Path, *lines: Any) -> str:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("\n".join(texts), encoding="utf-8")
    return str(path)


def turn(number: int | None = None, id_: UUID | None = None, **fields: Any) -> dict[str, Any]:
    known = {"prompt": f"p{number}", "response": f"r{number}", **fields}
    if number is not None:
        known["turn_number"] = number
    if id_ is not None:
        known["trajectory_id"] = str(id_)
    return known


def test_lines_without_a_trajectory_belong_to_a_new_one(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    question = {"question_text": "Which?", "effort_level": "high"}
    file = written(
        tmp_path / "turns.jsonl",
        turn(),
        turn(questions=[question], metadata={"a": [1]}, created_at="2025-01-02T03:04:05+01:00"),
        turn(7),
        turn(),
    )
    outcome = Outcome(
        backend,
        ("log", file, "--spec-id", "S-1", "--agent-name", "a", "--run-id", "r", "--json"),
    )
    [trajectory] = outcome.trajectories
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.summary == {
        "stored": 4, "new": 4, "trajectory_id": str(trajectory.id),
        "refused": 0, "refused_lines": [], "problems": [],
        "merge_conflicts": 0, "not_stored": 0, "interrupted": False, "error": None,
        "seconds": outcome.summary["seconds"],
        "turns_per_second": outcome.summary["turns_per_second"],
    }  # fmt: skip
    assert (trajectory.spec_id, trajectory.agent_name, trajectory.run_id) == ("S-1", "a", "r")
    assert trajectory.status is TrajectoryStatus.COMPLETED
    assert trajectory.ended_at is not None
    assert [stored.turn_number for stored in outcome.turns] == [1, 2, 7, 8]
    assert outcome.turns[1].questions[0].question_text == "Which?"
    assert outcome.turns[1].metadata == {"a": [1]}
    assert outcome.turns[1].created_at.isoformat() == "2025-01-02T02:04:05+00:00"


def test_lines_that_name_their_trajectory_can_be_logged_again(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    id_ = uuid4()
    file = written(tmp_path / "turns.jsonl", turn(1, id_), turn(2, id_))
    first = Outcome(backend, ("log", file))
    again = Outcome(backend, ("log", file))
    assert (first.code, again.code) == (0, 0)
    assert first.out.startswith("2 turns stored (")
    assert again.out.startswith("2 turns stored, all of them there already (")
    assert "new trajectory" not in again.out
    assert (again.turns, again.trajectories) == (first.turns, first.trajectories)
    assert [found.id for found in first.trajectories] == [id_]


def test_a_refused_line_is_numbered_skipped_whole_and_not_quoted(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    bad = {"question_text": CANARY, "effort_level": CANARY}
    file = written(
        tmp_path / "turns.jsonl",
        turn(),
        f'{{"prompt": "{CANARY}"',
        turn(questions=[{"question_text": "ok", "effort_level": "low"}, bad]),
        "",
        turn(prompt=7, response=CANARY),
        turn(id_=uuid4(), prompt=CANARY),
        turn(id_=CANARY),  # type: ignore[arg-type]
        turn(metadata=CANARY),
        turn(),
    )
    outcome = Outcome(backend, ("log", file))
    assert outcome.code == 1
    assert [stored.turn_number for stored in outcome.turns] == [1, 2]
    second, third = outcome.err.splitlines()[:2]
    assert second == "line 2: is not JSON: Expecting ',' delimiter at character 25"
    assert third.startswith(
        "line 3: Turn.questions.1: Question.effort_level: Input should be 'low'"
    )
    assert outcome.err.splitlines()[-1] == "6 lines refused: 2-3, 5-8"
    assert outcome.out.startswith("2 turns stored (")
    assert CANARY not in outcome.out + outcome.err


def test_only_the_first_refused_lines_are_shown_but_all_are_counted(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    file = written(tmp_path / "turns.jsonl", *["x"] * 1100, turn())
    outcome = Outcome(backend, ("log", file, "--json"))
    assert outcome.code == 1
    assert outcome.summary["stored"] == 1
    assert outcome.summary["refused"] == 1100
    assert outcome.summary["refused_lines"] == list(range(1, 1001))
    assert [problem["line"] for problem in outcome.summary["problems"]] == list(range(1, 21))
    assert len(outcome.err.splitlines()) == 21
    shown = Outcome(backend, ("log", file))
    assert shown.err.splitlines()[-1] == "1,100 lines refused: 1-1000; and 100 more"


def test_strict_stops_at_the_first_refused_line_and_keeps_what_came_before(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    file = written(tmp_path / "turns.jsonl", turn(), turn(), "x", turn(), "y")
    outcome = Outcome(backend, ("log", file, "--strict", "--json"))
    assert outcome.code == 1
    assert outcome.summary["stored"] == len(outcome.turns) == 2
    assert outcome.summary["refused_lines"] == [3]
    assert outcome.trajectories[0].status is TrajectoryStatus.FAILED


@pytest.mark.parametrize("strict", [False, True])
def test_a_turn_that_is_stored_with_other_content_is_refused_alone(
    backend: MemoryBackend,
    tmp_path: Path,
    strict: bool,
) -> None:
    """Invariant: one conflict takes no neighbour along; with --strict nothing follows it."""
    id_ = uuid4()
    Outcome(backend, ("log", written(tmp_path / "old", turn(3, id_), turn(31, id_))))
    assert not logging.getLogger("trajectory").handlers
    lines = [turn(number, id_) for number in range(1, 41)]
    lines[2]["prompt"] = lines[30]["response"] = CANARY
    file = written(tmp_path / "new", *lines)
    outcome = Outcome(backend, ("log", file, "--json", *(["--strict"] if strict else [])))
    assert outcome.code == 1
    assert outcome.summary["error"] is None
    assert outcome.summary["not_stored"] == 0
    stored = {found.turn_number for found in outcome.turns}
    if strict:
        assert outcome.summary["refused_lines"] == [3]
        assert stored == {1, 2, 3, 31}
        assert outcome.summary["stored"] == 2
    else:
        assert outcome.summary["refused_lines"] == [3, 31]
        assert outcome.summary["stored"] == 38
        assert stored == set(range(1, 41))
    assert CANARY not in str(outcome.turns) + outcome.out + outcome.err
    assert not list(tmp_path.rglob("dead-letters*"))  # the line is named in their place
    assert outcome.err.splitlines() == [
        f"line {n}: turn {n} of its trajectory is stored with other content"
        for n in outcome.summary["refused_lines"]
    ]


def test_of_two_lines_with_one_key_the_first_is_stored(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    id_ = uuid4()
    file = written(
        tmp_path / "turns.jsonl",
        turn(1, id_, prompt="kept"),
        turn(1, id_, prompt="other"),
        turn(1, id_, prompt="kept"),
        turn(2, id_),
    )
    outcome = Outcome(backend, ("log", file, "--json"))
    assert [found.prompt for found in outcome.turns] == ["kept", "p2"]
    assert 2 in outcome.summary["refused_lines"]
    assert outcome.summary["stored"] + outcome.summary["refused"] == 4


def test_a_turn_beyond_the_size_limit_is_refused_before_anything_of_it_is_logged(
    backend: MemoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAJECTORY_MAX_TURN_BYTES", "2000")
    file = written(tmp_path / "turns.jsonl", turn(prompt="x" * 3000), turn())
    outcome = Outcome(backend, ("log", file))
    assert outcome.err.splitlines()[0].startswith("line 1: turn 1 takes 31")
    assert outcome.err.splitlines()[0].endswith("more than max_turn_bytes = 2000")
    assert [stored.turn_number for stored in outcome.turns] == [1]


def test_the_settings_of_an_agent_never_drop_a_line(
    backend: MemoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAJECTORY_OVERFLOW", "drop_newest")
    monkeypatch.setenv("TRAJECTORY_CHANNEL_CAPACITY", "10")
    file = written(tmp_path / "turns.jsonl", *[turn()] * 500)
    assert Outcome(backend, ("log", file, "--json")).summary["stored"] == 500


class Refusing(Lasting):
    """Refuses every batch that holds the turn number 30, or breaks at it."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def write(self, batch: Batch, /) -> None:
        if any(sent.turn_number == 30 for sent in batch.turns):
            raise self._error
        await super().write(batch)


def test_a_turn_that_the_database_refuses_is_refused_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Refusing(BatchRejectedError("a turn is refused"))
    monkeypatch.setattr(intake, "open_backend", lambda _url: backend)
    id_ = uuid4()
    file = written(tmp_path / "turns.jsonl", *[turn(n, id_) for n in range(1, 101)])
    outcome = Outcome(backend, ("log", file, "--json"))
    assert outcome.summary["refused_lines"] == [30]
    assert outcome.summary["stored"] == len(outcome.turns) == 99
    assert "turn 30 was refused: BatchRejectedError" in outcome.err


def test_a_failure_of_the_database_ends_with_the_true_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Refusing(BackendError("the disk is broken"))
    monkeypatch.setattr(intake, "open_backend", lambda _url: backend)
    id_ = uuid4()
    file = written(tmp_path / "turns.jsonl", *[turn(n, id_) for n in range(1, 101)])
    outcome = Outcome(backend, ("log", file, "--json"))
    assert outcome.code == 1
    assert outcome.summary["stored"] == len(outcome.turns) < 30
    assert outcome.summary["not_stored"] > 0
    assert "BackendError: the disk is broken" in outcome.summary["error"]
    shown = Outcome(backend, ("log", file))
    assert shown.err.count("the writer stopped") == 1
    assert "error: the writer stopped" in shown.err
    assert "not known to be stored" in shown.err


class Parked(Lasting):
    """Never ends a write."""

    async def write(self, batch: Batch, /) -> None:
        await asyncio.Event().wait()


def test_a_second_signal_ends_what_the_first_one_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant: no state of the database keeps a person from leaving, or from the numbers."""
    monkeypatch.setenv("TRAJECTORY_CLOSE_TIMEOUT_MS", "50")
    monkeypatch.setattr(intake, "open_backend", lambda _url: Parked())
    tally = Tally()

    async def read(into: intake.Intake) -> None:
        sent = Turn(trajectory_id=uuid4(), turn_number=1, prompt="", response="")
        await into.log(Place(None, 1), sent)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    async def end(_into: intake.Intake) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    intake.take_in("any", tally, read, end)
    assert tally.error == "interrupted twice, before all was stored"
    assert (tally.turns, tally.not_stored, tally.exit_code) == (0, 1, 128 + signal.SIGINT)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("no-such-file",), "can't read no-such-file: No such file or directory"),
        (("{folder}",), "is a folder"),
        (("a\0b",), "there is nothing to read from"),
        (("{file}", "--agent-name", "x" * 2000), "error: --agent-name: String should have"),
        (("{file}", "--run-id", "ä" * 600), "error: --run-id: takes more than 1024 bytes"),
        (("{file}", "--no-such-option"), "No such option"),
        (("{file}", "{file}"), "unexpected extra argument"),
    ],
)
def test_wrong_use_is_told_before_anything_is_stored(
    backend: MemoryBackend, tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    file = written(tmp_path / "turns.jsonl", turn())
    filled = [part.format(folder=tmp_path, file=file) for part in arguments]
    outcome = Outcome(backend, ("log", *filled))
    assert outcome.code == 2
    assert reason in outcome.err.replace("\n", " ")
    assert outcome.turns == []


def test_what_is_new_is_counted_line_by_line(backend: MemoryBackend, tmp_path: Path) -> None:
    one, other = uuid4(), uuid4()
    Outcome(backend, ("log", written(tmp_path / "a", turn(0, one), turn(5, one))))
    lines = [turn(n, id_) for n in (0, 4, 5, 6, 5) for id_ in (one, other)]
    outcome = Outcome(backend, ("log", written(tmp_path / "b", *lines, turn())))
    # 0 and 5 of the one were there; a line that stands twice is new once.
    assert outcome.out.startswith("11 turns stored, 7 of them new (")
    assert len(outcome.turns) == 9


def test_what_is_new_is_found_in_small_and_in_large_trajectories(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    """Invariant: it is known without reading all turns of a trajectory that has very many."""
    ids = [UUID(int=n) for n in range(1, 8)]
    many = [turn(n, id_) for id_ in ids for n in range(600 if id_.int % 3 == 0 else 2)]
    Outcome(backend, ("log", written(tmp_path / "a", *many)))
    asked = [turn(n, id_) for id_ in ids for n in (1, 599, 700)]
    outcome = Outcome(backend, ("log", written(tmp_path / "b", *asked), "--json"))
    assert (outcome.summary["stored"], outcome.summary["new"]) == (21, 21 - 7 - 2)


def test_where_the_database_can_not_be_asked_nothing_is_said_of_new_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mute(Lasting):
        async def read_trajectories(self, _query: Any) -> Any:
            raise BackendUnavailableError("away")
            yield

    backend = Mute()
    monkeypatch.setattr(intake, "open_backend", lambda _url: backend)
    file = written(tmp_path / "a", turn(1, uuid4()))
    ran = CliRunner().invoke(app, ["log", file, "--json"])
    assert (ran.exit_code, json.loads(ran.stdout)["new"]) == (0, None)
    assert CliRunner().invoke(app, ["log", file]).stdout.startswith("1 turn stored (")


def test_a_warning_of_the_library_is_shown_and_an_error_that_nobody_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Talking(Lasting):
        async def write(self, batch: Batch, /) -> None:
            logging.getLogger("trajectory.x").error("a mark was lost")
            logging.getLogger("trajectory.x").warning("the database is away")
            await super().write(batch)

    monkeypatch.setattr(intake, "open_backend", lambda _url: Talking())
    ran = CliRunner().invoke(app, ["log", written(tmp_path / "a", turn())])
    assert ran.exit_code == 0
    assert ran.stderr.splitlines()[0] == "the database is away"
    assert ran.stderr.splitlines()[-1] == "a mark was lost"


@pytest.mark.parametrize("document", [[turn(), turn()], turn()])
def test_a_document_over_many_lines_is_told_once(
    backend: MemoryBackend, tmp_path: Path, document: Any
) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(document, indent=1), encoding="utf-8")
    outcome = Outcome(backend, ("log", str(file)))
    assert (outcome.code, outcome.turns) == (1, [])
    assert outcome.err.startswith("line 1: begins an ")
    assert outcome.err.splitlines()[-1] == "1 line refused: 1"


def test_a_packed_file_is_told_once(backend: MemoryBackend, tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(turn(prompt=os.urandom(20).hex())) for _ in range(200))
    (tmp_path / "a.gz").write_bytes(gzip.compress(lines.encode()))
    outcome = Outcome(backend, ("log", str(tmp_path / "a.gz")))
    assert (outcome.code, outcome.turns) == (1, [])
    assert outcome.err.splitlines() == [
        "line 1: is gzip, not UTF-8 text; convert the input first",
        "1 line refused: 1",
    ]


def test_refused_lines_are_told_in_the_order_of_the_file(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    """Although the database finds its own later than the reader does."""
    id_ = uuid4()
    Outcome(backend, ("log", written(tmp_path / "old", turn(1, id_), turn(2, id_))))
    other = [turn(number, id_, prompt="other") for number in (1, 2)]
    file = written(tmp_path / "new", other[0], "x", turn(3, id_), other[1], "y")
    outcome = Outcome(backend, ("log", file, "--json"))
    assert outcome.summary["refused_lines"] == [1, 2, 4, 5]
    assert [line.partition(":")[0] for line in outcome.err.splitlines()] == [
        "line 1", "line 2", "line 4", "line 5",
    ]  # fmt: skip
    assert [found.turn_number for found in outcome.turns] == [1, 2, 3]


def test_a_conversation_is_told_how_it_is_read(backend: MemoryBackend, tmp_path: Path) -> None:
    messages = [{"role": "user", "content": CANARY}]
    file = written(tmp_path / "chats", {"messages": messages}, turn(messages=messages, colour="x"))
    outcome = Outcome(backend, ("log", file))
    first, second, _ = outcome.err.splitlines()
    assert first.endswith("are read by: trajectory import openai-chat FILE")
    assert second == "line 2: Turn.colour: is not a field of Turn"
    assert CANARY not in outcome.err


@pytest.mark.parametrize("db", ["memory://", ":memory:", "sqlite://"])
def test_a_database_in_memory_keeps_nothing_and_that_is_said(tmp_path: Path, db: str) -> None:
    file = written(tmp_path / "turns.jsonl", turn())
    ran = CliRunner().invoke(app, ["log", file, "--db", db])
    assert ran.exit_code == 0
    assert ran.stdout.startswith("1 turn stored (")
    assert "nothing is kept after this command" in ran.stderr


def test_an_empty_input_is_no_failure(backend: MemoryBackend, tmp_path: Path) -> None:
    outcome = Outcome(backend, ("log", written(tmp_path / "empty")))
    assert outcome.code == 0
    assert outcome.out.startswith("0 turns stored")
    assert outcome.trajectories == []


def test_what_a_terminal_would_obey_is_shown_not_sent(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    outcome = Outcome(backend, ("log", written(tmp_path / "x", {"\x1b]0;title\x07": 1})))
    assert "\x1b" not in outcome.err
    assert "\\x1b]0;title\\x07: is not a field of Turn" in outcome.err


def test_the_tally_counts_and_names() -> None:
    now = [10.0]
    tally = Tally(clock=lambda: now[0])
    assert tally.as_json()["turns_per_second"] == 0  # at once is no division by zero
    tally.note_stored(Turn(trajectory_id=uuid4(), turn_number=1, prompt="", response=""))
    now[0] = 10.5
    assert tally.as_json()["turns_per_second"] == 2
    assert tally.news() == ""
    tally.new = 0
    assert tally.news() == ", which was there already"
    for name, line in (("b.jsonl", 3), ("a.jsonl", 7), ("b.jsonl", 2)):
        tally.refuse(Place(name, line), f"why {line}")
    told = tally.as_json()
    assert told["refused_lines"] == [
        {"source": "b.jsonl", "line": 2},
        {"source": "b.jsonl", "line": 3},
        {"source": "a.jsonl", "line": 7},
    ]
    assert [problem["reason"] for problem in told["problems"]] == ["why 2", "why 3", "why 7"]
    assert [counted(1, "turn"), counted(1200, "turn")] == ["1 turn", "1,200 turns"]
