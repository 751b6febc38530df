"""Tables for spreadsheets: readable by any reader of CSV, and no cell is a formula."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from drawn import conversations
from formats.written import Conversation, written
from hypothesis import given, settings
from hypothesis import strategies as st

from trajectory import Question, Trajectory, Turn, Violation
from trajectory.formats.csv_ import COLUMNS
from trajectory.testing.samples import full_trajectory, full_turn

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
ID = UUID("018f0000-0000-7000-8000-000000000001")
FORMULA = "text that begins like a formula, written with an apostrophe"
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
NUMBERS = {
    *("trajectory_reward", "turn_number", "token_count", "latency_ms", "input_tokens"),
    *("output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cost_usd", "reward", "messages", "tool_calls"),
}


def rows(data: bytes) -> list[dict[str, str]]:
    text = io.StringIO(data.decode(), newline="")
    return list(csv.DictReader(text, strict=True))


def turn(number: int = 1, **fields: Any) -> Turn:
    values = {"prompt": "p", "response": "r", "created_at": NOON, **fields}
    return Turn(trajectory_id=ID, turn_number=number, **values)


def one(*turns: Turn, **labels: Any) -> tuple[list[dict[str, str]], dict[str, int]]:
    data, left_out = written("csv", [(Trajectory(id=ID, created_at=NOON, **labels), turns)])
    return rows(data), dict(left_out)


def test_a_row_has_the_labels_the_fields_and_the_counts() -> None:
    trajectory = full_trajectory()
    data, left_out = written("csv", [(trajectory, [full_turn(trajectory.id)])])
    assert data.startswith(b"trajectory_id,spec_id,agent_name,")
    assert data.split(b"\r\n")[0].decode().split(",") == list(COLUMNS)
    [row] = rows(data)
    assert row == {
        "trajectory_id": str(trajectory.id),
        "spec_id": "S",
        "agent_name": "a",
        "agent_version": "1",
        "run_id": "r",
        "session_id": "s",
        "user_id": "u",
        "parent_trajectory_id": str(trajectory.parent_trajectory_id),
        "root_trajectory_id": str(trajectory.root_trajectory_id),
        "trajectory_status": "failed",
        "trajectory_error": "e",
        "trajectory_reward": "0.5",
        "source_format": "test",
        "trajectory_created_at": "2026-01-02T12:00:00.123456Z",
        "ended_at": "2026-01-02T12:00:01.123456Z",
        "turn_number": "2147483647",
        "prompt": "Grüße, 世界 \U0001f30d\n\t'quoted' \"twice\"",
        "response": "",
        "token_count": "9223372036854775807",
        "latency_ms": "0.1",
        "created_at": "2026-03-28T21:00:00.000001Z",
        "model_name": "m",
        "input_tokens": "0",
        "output_tokens": "1",
        "cache_read_tokens": "2",
        "cache_write_tokens": "3",
        "reasoning_tokens": "4",
        "cost_usd": "1e-09",
        "stop_reason": "stop",
        "error": "e",
        "reward": "-1.5",
        "is_copied_context": "false",
        "messages": "4",
        "tool_calls": "2",
        "questions_low": "1",
        "questions_medium": "0",
        "questions_high": "1",
        "violations_minor": "1",
        "violations_major": "0",
        "violations_critical": "1",
    }
    assert left_out == {
        "system_prompt of a trajectory": 1,
        "tools of a trajectory": 1,
        "tags of a trajectory": 1,
        "metadata of a trajectory": 1,
        "metadata of a turn": 1,
        "content of a message": 4,
        "content of a tool call": 2,
        "content of a question": 2,
        "content of a violation": 2,
        "question that another source than the agent found": 1,
    }


@pytest.mark.parametrize(
    "text",
    [
        *(f"{sign}1+1" for sign in ("=", "+", "-", "@", "\t", "\r", "\n")),
        '=HYPERLINK("https://x","y")',
        "=cmd|' /C calc'!A0",
        "  =1+1",
        "\u00a0=1+1",
        "\uff1d1+1",
        "-2",
    ],
    ids=ascii,
)
def test_text_that_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    [row], left_out = one(turn(prompt=text), agent_name=text)
    assert (row["prompt"], row["agent_name"], row["response"]) == (f"'{text}", f"'{text}", "r")
    assert left_out == {FORMULA: 2}


@pytest.mark.parametrize("text", ["1=1", "a-b", "'=1", ".", "a@b.c", "x\n=1"])
def test_other_text_stays_as_it_is(text: str) -> None:
    [row], left_out = one(turn(prompt=text))
    assert (row["prompt"], left_out) == (text, {})


def test_numbers_stay_numbers() -> None:
    [row], left_out = one(turn(reward=-1.5, cost_usd=1e-7), reward=-0.0)
    assert (row["reward"], row["cost_usd"], row["trajectory_reward"]) == ("-1.5", "1e-07", "-0.0")
    assert left_out == {}


@pytest.mark.parametrize("text", ['a"b', "a,b", "a\r\nb", "a\rb", "a\nb", 'x"', "\u2028", " a "])
def test_quoting_keeps_text_and_line_ends(text: str) -> None:
    found, _ = one(turn(prompt=text), turn(2))
    assert [row["prompt"] for row in found] == [text, "p"]


def test_findings_of_others_are_told_of_and_not_counted_among_the_agent_s() -> None:
    judged = turn(
        questions=[Question(question_text="?", effort_level="low", source="judge:x")],
        violations=[
            Violation(preference_name="p", severity="minor", source="human:y"),
            Violation(preference_name="p", severity="major"),
        ],
    )
    [row], left_out = one(judged)
    assert (row["questions_low"], row["violations_minor"], row["violations_major"]) == (
        *("0", "0", "1"),
    )
    assert left_out == {
        "content of a violation": 1,
        "question that another source than the agent found": 1,
        "violation that another source than the agent found": 1,
    }


def test_a_trajectory_without_turns_has_no_row_and_is_counted() -> None:
    assert one() == ([], {"trajectory without turns, so without a row": 1})


@settings(max_examples=100, deadline=None)
@given(st.lists(conversations(), max_size=3))
def test_any_trajectory_gives_rows_without_formulas(sent: list[Conversation]) -> None:
    data, _ = written("csv", sent)
    found = rows(data)
    assert len(found) == sum(len(turns) for _, turns in sent)
    for row in found:
        assert row.keys() == set(COLUMNS)
        assert None not in row.values()
        for column, cell in row.items():
            if column in NUMBERS or column.startswith(("questions_", "violations_")):
                assert not cell or float(cell) == float(cell)
            else:
                assert not cell.startswith(DANGEROUS)
    assert written("csv", sent)[0] == data
