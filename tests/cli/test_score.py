"""`trajectory score`: counts, scores and means; questions found once and stored once."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from trajectory import Question, Trajectory, TrajectoryLogger, Turn, TurnQuery, Violation
from trajectory.backends import open_backend
from trajectory.backends.sql import SqlBackend
from trajectory.cli import app
from trajectory.errors import BackendUnavailableError
from trajectory.ids import uuid7

ASKS = "Which port: 80 or 81? How should it behave when both are taken?"
HOSTILE = "\x1b]52;c;aGk=\x07\u202eWhich `x`; DROP TABLE turns; --?"
START = datetime(2026, 1, 1, tzinfo=UTC)


def run(*arguments: str, code: int = 0) -> Result:
    ran = CliRunner().invoke(app, ["score", *arguments])
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    assert ran.exit_code == code, ran.output
    return ran


def answered(*arguments: str, code: int = 0) -> Any:
    ran = run(*arguments, "--json", code=code)
    assert ran.stdout.isascii()
    [line] = ran.stdout.splitlines()
    return json.loads(line)


def question(level: str, source: str = "agent") -> Question:
    return Question(question_text="Which?", effort_level=level, source=source)


def violation(severity: str, name: str = "concise") -> Violation:
    return Violation(preference_name=name, severity=severity)


def turn(id_: UUID, number: int = 1, response: str = "Done.", **fields: Any) -> Turn:
    return Turn(trajectory_id=id_, turn_number=number, prompt="p", response=response, **fields)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "t.db")
    asked: str = request.getfixturevalue("postgres_url")
    return asked


def store(url: str, *turns: Turn, **labels: Any) -> list[UUID]:
    ids = list(dict.fromkeys(each.trajectory_id for each in turns))

    async def log() -> None:
        async with TrajectoryLogger(url) as logger:
            for place, id_ in enumerate(ids):
                at = START + timedelta(minutes=place)
                await logger.log_trajectory(Trajectory(id=id_, created_at=at, **labels))
            for each in turns:
                await logger.log_turn(each)

    asyncio.run(log())
    return ids


def questions(url: str) -> list[tuple[str, str, str]]:
    async def read() -> list[tuple[str, str, str]]:
        backend = open_backend(url)
        await backend.open()
        try:
            return [
                (asked.source, asked.effort_level.value, asked.question_text)
                async for each in backend.read_turns(TurnQuery())
                for asked in each.questions
            ]
        finally:
            await backend.close()

    return asyncio.run(read())


WORKED: list[tuple[dict[str, Any], tuple[float, float, float]]] = [
    ({}, (0.05, 0.05, 0.1)),
    ({"questions": [question("low")]}, (0.05, 0.05, 0.1)),
    ({"questions": [question("high"), question("high")]}, (-1.0, 0.05, -0.95)),
    ({"violations": [violation("major"), violation("critical")]}, (0.05, -0.08, -0.03)),
]


def test_the_worked_cases_have_their_scores_and_means(url: str) -> None:
    ids = store(url, *(turn(uuid7(), **fields) for fields, _ in WORKED))
    answer = answered("--db", url)
    assert [each["id"] for each in answer["trajectories"]] == [str(id_) for id_ in reversed(ids)]
    scores = [(each["r_proact"], each["r_pers"], each["total"]) for each in answer["trajectories"]]
    assert scores[::-1] == [expected for _, expected in WORKED]
    assert answer["counts"] == {
        "low": 1,
        "medium": 0,
        "high": 2,
        "minor": 0,
        "major": 1,
        "critical": 1,
    }
    assert answer["mean"] == {"r_proact": -0.2125, "r_pers": 0.0175, "total": -0.195}
    assert (answer["source"], answer["formula"]) == ("agent", "ppp/1")
    assert answer["extraction"] is None


def test_a_person_gets_a_table_with_the_means_below(url: str) -> None:
    ids = store(url, *(turn(uuid7(), **fields) for fields, _ in WORKED))
    head, *rows, last = run("--db", url).stdout.splitlines()
    assert head.split() == [
        *("id", "low", "medium", "high", "minor", "major", "critical"),
        *("r_proact", "r_pers", "total"),
    ]
    assert [row.split() for row in rows] == [
        [str(ids[3]), "0", "0", "0", "0", "1", "1", "+0.05", "-0.08", "-0.03"],
        [str(ids[2]), "0", "0", "2", "0", "0", "0", "-1", "+0.05", "-0.95"],
        [str(ids[1]), "1", "0", "0", "0", "0", "0", "+0.05", "+0.05", "+0.1"],
        [str(ids[0]), "0", "0", "0", "0", "0", "0", "+0.05", "+0.05", "+0.1"],
    ]
    assert last.split() == [
        "mean",
        "of",
        "4",
        "1",
        "0",
        "2",
        "0",
        "1",
        "1",
        "-0.2125",
        "+0.0175",
        "-0.195",
    ]


def test_ids_filters_and_a_limit_choose(url: str) -> None:
    first, second, third = (uuid7() for _ in range(3))
    store(url, turn(first), turn(second), agent_name="coder")
    store(url, turn(third), agent_name=HOSTILE)
    assert len(answered("--db", url)["trajectories"]) == 3
    assert len(answered("--db", url, "--limit", "2")["trajectories"]) == 2
    assert len(answered("--db", url, "--agent", "coder")["trajectories"]) == 2
    [one] = answered("--db", url, "--agent", HOSTILE)["trajectories"]
    assert one["id"] == str(third)
    [one] = answered(str(second), str(second), "--db", url)["trajectories"]
    assert one["id"] == str(second)


def test_an_id_that_is_not_there_is_named(url: str) -> None:
    [known] = store(url, turn(uuid7()))
    unknown = uuid7()
    ran = run(str(known), str(unknown), "--db", url, code=1)
    assert str(known) in ran.stdout
    assert f"there is no trajectory {unknown}" in ran.stderr
    assert len(answered(str(known), str(unknown), "--db", url, code=1)["trajectories"]) == 1


def test_nothing_has_no_means(url: str) -> None:
    store(url, turn(uuid7()))
    answer = answered("--db", url, "--agent", "nobody")
    assert (answer["trajectories"], answer["mean"]) == ([], None)
    [head] = run("--db", url, "--agent", "nobody").stdout.splitlines()
    assert head.startswith("id")


def test_questions_are_found_stored_and_scored_and_a_second_run_changes_nothing(url: str) -> None:
    id_ = uuid7()
    store(url, turn(id_, 1, ASKS), turn(id_, 2), turn(uuid7(), 1, HOSTILE))
    ran = run("--db", url, "--extract")
    assert "3 questions in 3 turns: 3 new" in ran.stderr
    stored = questions(url)
    assert [(source, level) for source, level, _ in stored] == [
        *(("heuristic/1", "low"), ("heuristic/1", "medium"), ("heuristic/1", "low"))
    ]
    ran = run("--db", url, "--extract")
    assert "3 questions in 3 turns: 0 new; nothing was changed" in ran.stderr
    assert questions(url) == stored
    answer = answered("--db", url, "--extract")
    assert answer["extraction"] == {"turns": 3, "questions": 3, "new": 0, "differing": 0}
    assert answer["source"] == "heuristic/1"
    assert [each["total"] for each in answer["trajectories"]] == [0.1, -0.05]
    assert answered("--db", url)["counts"]["medium"] == 0
    assert answered("--db", url, "--source", "heuristic/1")["counts"]["medium"] == 1


def test_what_a_run_that_was_cut_short_left_out_is_added(url: str) -> None:
    id_ = uuid7()
    store(url, turn(id_, 1, ASKS))

    async def log_the_second() -> None:
        found = Question(
            question_text="How should it behave when both are taken?",
            effort_level="medium",
            source="heuristic/1",
            position=1,
        )
        async with TrajectoryLogger(url) as logger:
            await logger.log_question(id_, 1, found)

    asyncio.run(log_the_second())
    answer = answered("--db", url, "--extract")
    assert answer["extraction"] == {"turns": 1, "questions": 2, "new": 1, "differing": 0}
    assert len(questions(url)) == 2


def test_other_questions_of_the_source_are_left_as_they_are(url: str) -> None:
    own = question("high", "heuristic/1")
    store(url, turn(uuid7(), 1, ASKS, questions=[own]))
    assert "1 turn with other questions" in run("--db", url, "--extract").stderr
    answer = answered("--db", url, "--extract")
    assert answer["extraction"] == {"turns": 1, "questions": 2, "new": 0, "differing": 1}
    assert questions(url) == [("heuristic/1", "high", "Which?")]


def test_many_turns_are_stored_in_parts(url: str) -> None:
    id_ = uuid7()
    store(url, *(turn(id_, number, f"{ASKS} " * 30) for number in range(1, 41)))
    answer = answered("--db", url, "--extract")
    assert answer["extraction"]["new"] == answer["extraction"]["questions"] == 40 * 60
    assert len(questions(url)) == 40 * 60


def test_only_what_is_chosen_is_looked_at(url: str) -> None:
    first, second = uuid7(), uuid7()
    store(url, turn(first, 1, ASKS), turn(second, 1, ASKS))
    answer = answered(str(first), "--db", url, "--extract")
    assert answer["extraction"]["turns"] == 1
    assert len(questions(url)) == 2


@pytest.fixture
def one(tmp_path: Path) -> str:
    url = str(tmp_path / "t.db")
    broken = [violation("minor"), violation("minor", "loud")]
    store(url, turn(uuid7(), questions=[question("medium")], violations=broken))
    return url


def test_weights_come_from_a_file(one: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.toml"
    file.write_text("medium = -0.25\n[preferences]\nconcise = 3\nloud = 0\n")
    answer = answered("--db", one, "--weights", str(file))
    assert answer["trajectories"][0]["r_proact"] == -0.25
    assert answer["trajectories"][0]["r_pers"] == -0.03
    assert answer["weights"]["medium"] == -0.25
    assert answer["weights"]["high"] == -0.5
    assert answer["weights"]["preferences"] == {"concise": 3.0, "loud": 0.0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"medium = ", "not valid TOML"),
        (b"\xff\xfe", "not valid TOML"),
        (b"medium = '\x1b[31m'", "not valid TOML"),
        (b"medium = 'much'", "PPPWeights.medium"),
        (b"medium = nan", "PPPWeights.medium"),
        (b"medium = 1e300", "PPPWeights.medium"),
        (b"preferences = 5", "PPPWeights.preferences"),
        (b'"\\u001b[31mx" = 1', "is no weight"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "not valid TOML"),
        (b"#" * 2**21, "bytes"),
        (None, "check the path"),
    ],
    ids=[
        *("cut", "not UTF-8", "escape", "text", "nan", "huge", "no table", "unknown", "deep"),
        *("long", "not there"),
    ],
)
def test_weights_that_are_none_are_refused(
    text: bytes | None, told: str, one: str, tmp_path: Path
) -> None:
    file = tmp_path / "weights.toml"
    if text is not None:
        file.write_bytes(text)
    ran = run("--db", one, "--weights", str(file), code=2)
    assert told in ran.stderr.replace("\n", " ")
    assert "\x1b]" not in ran.stderr
    assert told in answered("--db", one, "--weights", str(file), code=2)["error"]


def test_another_source_is_not_extracted(one: str) -> None:
    assert "--source" in run("--db", one, "--extract", "--source", "judge:x", code=2).stderr
    answered("--db", one, "--extract", "--source", "heuristic/1")


def test_wrong_use_is_told(one: str, tmp_path: Path) -> None:
    run("no-id", "--db", one, code=2)
    run("--db", str(tmp_path / "none.db"), code=2)
    run("--db", one, "--since", "soon", code=2)


def test_an_id_that_is_not_there_is_in_the_answer(url: str) -> None:
    [id_] = store(url, turn(uuid7()))
    unknown = uuid7()
    answer = answered(str(unknown), str(id_), "--db", url, code=1)
    assert answer["missing"] == [str(unknown)]
    assert [each["id"] for each in answer["trajectories"]] == [str(id_)]
    assert answered(str(id_), "--db", url)["missing"] == []


def test_a_database_that_goes_away_while_questions_are_stored(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(url, turn(uuid7(), response=ASKS))

    async def away(*_: Any) -> None:
        raise BackendUnavailableError("the server is away")

    with monkeypatch.context() as patched:
        patched.setattr(SqlBackend, "write", away)
        assert "away; run it again" in run("--extract", "--db", url, code=1).stderr
    assert answered("--extract", "--db", url)["extraction"]["new"] > 0
