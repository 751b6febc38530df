"""Our own form: what goes out comes in again, the same to the last bit, in any pieces."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from drawn import conversations
from formats.mutated import check_never_raises
from formats.stored import read, read_all
from formats.written import Conversation, written
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import OWN_CHATS, real
from typer.testing import CliRunner

from trajectory import Message, Question, Trajectory, TrajectoryStatus, Turn
from trajectory.cli import app
from trajectory.formats import ImportedTrajectory, Problem, importer
from trajectory.formats.jsonl import MAX_TURN_LINE_BYTES, TURNS_AT_ONCE
from trajectory.settings import LoggerSettings
from trajectory.sizes import turn_bytes
from trajectory.testing.samples import full_trajectory, full_turn
from trajectory.values import same_json

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
ID = UUID("018f0000-0000-7000-8000-000000000001")
OTHER = UUID("018f0000-0000-7000-8000-000000000002")
CANARY = "CANARY-7f3a"


def put_together(found: list[ImportedTrajectory]) -> list[Conversation]:
    """Join what was given in parts."""
    joined: dict[UUID, tuple[Trajectory, list[Turn]]] = {}
    for each in found:
        assert each.continues == (each.trajectory.id in joined)
        joined.setdefault(each.trajectory.id, (each.trajectory, []))[1].extend(each.turns)
    return list(joined.values())


def lines(*documents: Any) -> bytes:
    return b"\n".join(json.dumps(document).encode() for document in documents)


def turn_line(number: int = 1, id_: UUID = ID, **fields: Any) -> dict[str, Any]:
    return {"trajectory_id": str(id_), "turn_number": number, "prompt": "p", "response": "r",
            "created_at": NOON.isoformat(), **fields}  # fmt: skip


def same(one: Any, other: Any) -> bool:
    return same_json(json.loads(one.model_dump_json()), json.loads(other.model_dump_json()))


@settings(max_examples=150, deadline=None)
@given(st.lists(conversations(), max_size=3, unique_by=lambda each: each[0].id))
def test_what_is_exported_is_imported_the_same(sent: list[Conversation]) -> None:
    data, left_out = written("jsonl", sent)
    found = put_together(read("jsonl", data))
    assert [(trajectory, tuple(turns)) for trajectory, turns in found] == sent
    for (trajectory, turns), (expected, expected_turns) in zip(found, sent, strict=True):
        assert same(trajectory, expected)  # `1`, `1.0` and `true` are equal to Python
        assert all(map(same, turns, expected_turns))
    assert written("jsonl", found) == (data, left_out)
    assert not left_out
    assert data.count(b"\n") == sum(1 + len(turns) for _, turns in sent)


def test_every_field_and_child_comes_back() -> None:
    trajectory = full_trajectory()
    turn = full_turn(trajectory.id)
    data, _ = written("jsonl", [(trajectory, [turn])])
    [imported] = read("jsonl", data)
    assert imported == ImportedTrajectory(1, trajectory, (turn,), {}, lines=(2,))


def test_the_form_of_a_line() -> None:
    trajectory = Trajectory(id=ID, status=None, created_at=NOON, metadata={"k": None})
    turn = Turn(
        trajectory_id=ID,
        turn_number=1,
        prompt="a\u2028\U0001f30d",
        response="",
        created_at=NOON,
        latency_ms=1e-7,
        reward=-0.0,
        token_count=2**63 - 1,
        questions=[Question(question_text="?", effort_level="low", source="judge:x")],
        messages=[Message(role="user", content=[1.0, 1, None])],
    )
    data, _ = written("jsonl", [(trajectory, [turn])])
    assert data.decode() == (
        '{"trajectory":{"id":"018f0000-0000-7000-8000-000000000001",'
        '"created_at":"2026-01-02T12:00:00.123456Z","metadata":{"k":null},"status":null}}\n'
        '{"trajectory_id":"018f0000-0000-7000-8000-000000000001","turn_number":1,'
        '"prompt":"a\u2028\U0001f30d","response":"","token_count":9223372036854775807,'
        '"latency_ms":1e-7,"created_at":"2026-01-02T12:00:00.123456Z","reward":-0.0,'
        '"questions":[{"question_text":"?","effort_level":"low","source":"judge:x"}],'
        '"messages":[{"role":"user","content":[1.0,1,null]}]}\n'
    )


def test_the_lines_of_turns_are_taken_by_log(tmp_path: Path) -> None:
    trajectory = full_trajectory()
    data, _ = written("jsonl", [(trajectory, [full_turn(trajectory.id)])])
    (tmp_path / "turns.jsonl").write_bytes(data.split(b"\n", 1)[1])
    command = ["log", str(tmp_path / "turns.jsonl"), "--db", str(tmp_path / "t.db"), "--json"]
    ran = CliRunner().invoke(app, command)
    assert (ran.exit_code, json.loads(ran.stdout)["stored"]) == (0, 1)


def test_turns_come_in_parts_that_continue_their_trajectory() -> None:
    count = 2 * TURNS_AT_ONCE + 1
    start = {"trajectory": {"id": str(ID), "created_at": NOON.isoformat()}}
    data = lines(start, *(turn_line(number) for number in range(count)))
    found = read("jsonl", data)
    assert [(each.line, len(each.turns), each.continues) for each in found] == [
        (1, TURNS_AT_ONCE, False),
        (TURNS_AT_ONCE + 2, TURNS_AT_ONCE, True),
        (2 * TURNS_AT_ONCE + 2, 1, True),
    ]
    assert {each.trajectory.id for each in found} == {ID}
    assert [turn.turn_number for each in found for turn in each.turns] == list(range(count))


def test_a_large_turn_is_given_alone() -> None:
    start = {"trajectory": {"id": str(ID), "created_at": NOON.isoformat()}}
    large = turn_line(2, response="x" * 2**20)
    found = read("jsonl", lines(start, turn_line(1), large, turn_line(3), turn_line(4)))
    assert [[turn.turn_number for turn in each.turns] for each in found] == [[1], [2], [3, 4]]


def test_turns_without_their_trajectory_are_taken() -> None:
    found = read("jsonl", lines(turn_line(5), turn_line(7), turn_line(1, OTHER), turn_line(8)))
    assert [(each.trajectory.id, each.continues, len(each.turns)) for each in found] == [
        (ID, True, 2),
        (OTHER, True, 1),
        (ID, True, 1),
    ]
    assert found[0].trajectory == Trajectory(id=ID, status=None, created_at=NOON)


def test_a_trajectory_line_without_a_status_is_running_as_anywhere() -> None:
    given_ = {"id": str(ID)}
    [first] = read("jsonl", lines({"trajectory": given_}))
    [second] = read("jsonl", lines({"trajectory": {**given_, "status": None}}))
    assert first.trajectory.status is TrajectoryStatus.RUNNING
    assert second.trajectory.status is None


def test_what_has_no_time_is_dated_the_same_each_time() -> None:
    data = lines({"trajectory": {"id": str(ID)}}, {**turn_line(), "created_at": None})
    once, twice = (read("jsonl", data, as_of=NOON) for _ in range(2))
    assert once == twice
    assert once[0].trajectory.created_at == once[0].turns[0].created_at == NOON


def test_unknown_keys_are_counted_and_left_out() -> None:
    question = {"question_text": "?", "effort_level": "low", "x\x1b[2J": 1}
    found = read(
        "jsonl",
        lines(
            {"trajectory": {"id": str(ID), "colour": "red"}, "later": 1},
            turn_line(1, colour="red", questions=[question], messages=[{"role": "user", "q": 1}]),
            turn_line(2, colour="red"),
        ),
    )
    assert [each.left_out for each in found] == [
        {
            "key 'later'": 1,
            "trajectory key 'colour'": 1,
            "key 'colour'": 2,
            "question key 'x\\x1b[2J'": 1,
            "message key 'q'": 1,
        }
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "CANARY-7f3a", "response": "r"}', "has no `trajectory_id`.*trajectory log"),
        (b'{"trajectory": {"agent_name": "CANARY-7f3a"}}', "a trajectory without an `id`"),
        (b'{"trajectory": "CANARY-7f3a"}', "has no `trajectory_id`"),
        (b'{"trajectory": {"id": "CANARY-7f3a"}}', r"Trajectory\.id"),
        (lines(turn_line(-1, prompt=CANARY)), r"Turn\.turn_number"),
        (lines(turn_line(messages=[CANARY])), r"Turn\.messages"),
        (lines(turn_line(messages=CANARY)), r"Turn\.messages"),
        (lines(turn_line(messages=[{"role": CANARY}])), r"Message\.role"),
        (b'{"trajectory_id": "CANARY-7f3a"', "is not JSON"),
        (b'["CANARY-7f3a"]', "is an array"),
    ],
)
def test_a_bad_line_is_a_problem_and_its_neighbours_are_read(line: bytes, reason: str) -> None:
    found = list(read_all("jsonl", b"\n".join([lines(turn_line(1)), line, lines(turn_line(2))])))
    assert [each.line for each in found] == [1, 2, 3]
    first, problem, second = found
    assert isinstance(first, ImportedTrajectory)
    assert isinstance(second, ImportedTrajectory)
    assert isinstance(problem, Problem)
    assert [turn.turn_number for turn in first.turns + second.turns] == [1, 2]
    assert re.search(reason, problem.reason)
    assert CANARY not in problem.reason


def test_a_file_of_another_kind_ends_the_reading() -> None:
    assert list(read_all("jsonl", b"\x1f\x8b\x08x\n{}\n")) == [
        Problem(1, "is gzip, not UTF-8 text; convert the input first")
    ]


def test_nothing_is_read_ahead() -> None:
    class Endless(io.RawIOBase):
        asked = 0

        def read(self, size: int = -1, /) -> bytes:
            self.asked += 1
            return lines(*(turn_line(number) for number in range(1000))) + b"\n"

    stream = Endless()
    found = importer("jsonl").read(stream, as_of=NOON)  # type: ignore[arg-type]
    assert isinstance(next(found), ImportedTrajectory)
    assert stream.asked <= 2


def test_it_never_raises() -> None:
    trajectory = full_trajectory()
    data, _ = written("jsonl", [(trajectory, [full_turn(trajectory.id)] * 2)])
    documents = [json.loads(line) for line in data.splitlines()]
    check_never_raises("jsonl", documents, as_list=False, seeds=300)


@pytest.mark.parametrize("which", ["own", "real"])
def test_recorded_conversations_come_back(which: str) -> None:
    file = OWN_CHATS if which == "own" else real("openai-chat/tau-airline.jsonl")
    sent = put_together(read("openai-chat", file))
    data, _ = written("jsonl", sent)
    assert [(t, tuple(turns)) for t, turns in put_together(read("jsonl", data))] == [
        (t, tuple(turns)) for t, turns in sent
    ]


def test_a_turn_of_the_largest_size_comes_back() -> None:
    """Each of its characters takes six bytes of a line."""
    limit = LoggerSettings().max_turn_bytes
    turn = Turn(trajectory_id=ID, turn_number=1, prompt="", response="", created_at=NOON)
    turn = turn.model_copy(update={"response": "\x1b" * (limit - turn_bytes(turn) - 10)})
    assert limit - 10 <= turn_bytes(turn) <= limit
    run = Trajectory(id=ID, created_at=NOON)
    data, _ = written("jsonl", [(run, [turn])])
    assert len(data) > 6 * limit - 10_000
    [(_, [found])] = put_together(read("jsonl", data))
    assert found == turn


def test_a_line_that_is_longer_still_is_refused() -> None:
    class Long(io.BytesIO):
        left = MAX_TURN_LINE_BYTES + 1

        def read(self, size: int | None = -1, /) -> bytes:
            size = min(self.left, size or 0)
            self.left -= size
            return b" " * size

    [problem] = importer("jsonl").read(Long(), as_of=NOON)
    assert problem == Problem(1, "is longer than 128 MiB")
