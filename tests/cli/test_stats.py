"""`trajectory stats`: what many turns come to, in little memory, and drawn in plain text."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hostile import HOSTILE, obeyed
from hypothesis import given
from hypothesis import strategies as st
from looking import answered, at, done, ran, started, store, turn_of

from trajectory import Question, ToolCall, Trajectory, Turn, Violation, figures, measures
from trajectory.measures import BARS, Percentiles, Ranking, Timeline
from trajectory.testing.samples import NOON

HARD = Question(question_text="Which?", effort_level="high")
EASY = Question(question_text="Go?", effort_level="low")
BROKEN = Violation(preference_name="short", severity="critical")


def two_days() -> tuple[list[Trajectory], list[Turn]]:
    starts = [
        started(1, agent_name="coder"),
        started(2, agent_name="reviewer", status="failed"),
        started(3, status=None),
    ]
    call = ToolCall(tool_name="bash")
    turns = [
        turn_of(1, 1, created_at=NOON, token_count=100, latency_ms=100, tool_calls=[call, call]),
        turn_of(1, 2, created_at=NOON, token_count=50, latency_ms=200, questions=[HARD, EASY]),
        turn_of(
            1,
            3,
            created_at=NOON + timedelta(hours=2),
            latency_ms=4000,
            error="e",
            tool_calls=[ToolCall(tool_name="read", is_error=True)],
        ),
        turn_of(
            2,
            1,
            created_at=NOON + timedelta(hours=3),
            input_tokens=1000,
            violations=[BROKEN],
            questions=[EASY.replace(source="heuristic/1")],
        ),
    ]
    return starts, turns


def test_counts_everything(database: str) -> None:
    store(database, *two_days())
    assert answered("stats", "--db", database) == {
        "trajectories": 3,
        "statuses": {"completed": 1, "failed": 1, "unknown": 1},
        "turns": 4,
        "failed_turns": 1,
        "tokens": 1150,
        "over_time": {
            "unit": "hour",
            "bars": [
                {"start": "2026-01-02 12:00", "turns": 2, "tokens": 150},
                {"start": "2026-01-02 13:00", "turns": 0, "tokens": 0},
                {"start": "2026-01-02 14:00", "turns": 1, "tokens": 0},
                {"start": "2026-01-02 15:00", "turns": 1, "tokens": 1000},
            ],
        },
        "latency_ms": {"turns": 3, "p50": 200, "p90": 4000, "p99": 4000, "exact": True},
        "source": "agent",
        "questions": {"low": 1, "medium": 0, "high": 1},
        "violations": {"minor": 0, "major": 0, "critical": 1},
        "tool_calls": 3,
        "tool_errors": 1,
        "agents": [{"name": "coder", "turns": 3}, {"name": "reviewer", "turns": 1}],
        "tools": [{"name": "bash", "calls": 2}, {"name": "read", "calls": 1}],
        "names_exact": True,
    }


def test_draws_bars(database: str) -> None:
    store(database, *two_days())
    assert done("stats", "--db", database).splitlines() == [
        "3 trajectories (1 completed, 1 failed, 1 unknown)",
        "4 turns (1 with an error), 1,150 tokens",
        "",
        "by hour (UTC)",
        "                                                  turns  tokens",
        "2026-01-02 12:00  ##############################      2     150",
        "2026-01-02 13:00                                      0       0",
        "2026-01-02 14:00  ###############                     1       0",
        "2026-01-02 15:00  ###############                     1   1,000",
        "",
        "latency of 3 turns: p50 200 ms, p90 4 s, p99 4 s",
        "questions (agent): 1 low, 0 medium, 1 high",
        "violations (agent): 0 minor, 0 major, 1 critical",
        "3 tool calls, 1 failed",
        "",
        "agent     turns",
        "coder         3",
        "reviewer      1",
        "",
        "tool  calls",
        "bash      2",
        "read      1",
    ]


@pytest.mark.parametrize(
    ("options", "trajectories", "turns"),
    [
        (["--agent", "coder"], 1, 3),
        (["--status", "failed"], 1, 1),
        (["--tool", "bash"], 1, 1),
        (["--effort", "high"], 1, 1),
        (["--severity", "critical", "--agent", "coder"], 0, 0),
        (["--text", "p2-"], 1, 1),
        (["--since", at(NOON + timedelta(hours=1))], 2, 2),
        (["--until", at(NOON)], 0, 0),
        (["--agent", "nobody"], 0, 0),
    ],
)
def test_filters_choose_turns(
    tmp_path: Path, options: list[str], trajectories: int, turns: int
) -> None:
    db = str(tmp_path / "t.db")
    store(db, *two_days())
    found = answered("stats", "--db", db, *options)
    assert (found["trajectories"], found["turns"]) == (trajectories, turns)
    assert ran("stats", "--db", db, *options).exit_code == 0


def test_the_findings_of_another_source(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    store(db, *two_days())
    found = answered("stats", "--db", db, "--source", "heuristic/1")
    assert (found["questions"]["low"], found["violations"]["critical"]) == (1, 0)


def test_nothing_is_known_of_nothing(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    store(db)
    assert done("stats", "--db", db).splitlines() == ["0 trajectories", "0 turns"]
    found = answered("stats", "--db", db)
    assert (found["tokens"], found["latency_ms"]["p50"]) == (None, None)


def test_counts_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_AT_ONCE", 3)
    db = str(tmp_path / "t.db")
    numbers = range(1, 12)
    store(db, [started(n) for n in numbers], [turn_of(n, e) for n in numbers for e in range(n)])
    found = answered("stats", "--db", db)
    assert (found["trajectories"], found["turns"]) == (11, sum(numbers))


def test_hostile_names_are_shown_and_not_obeyed(database: str) -> None:
    numbers = range(1, len(HOSTILE) + 1)
    store(
        database,
        [started(number, agent_name=text) for number, text in zip(numbers, HOSTILE, strict=True)],
        [
            turn_of(
                number,
                prompt=text,
                tool_calls=[ToolCall(tool_name=text)],
                questions=[EASY.replace(source=text)] if text else [],
            )
            for number, text in zip(numbers, HOSTILE, strict=True)
        ],
    )
    assert not obeyed(done("stats", "--db", database))
    found = answered("stats", "--db", database)
    assert (found["turns"], found["tool_calls"]) == (len(HOSTILE), len(HOSTILE))
    for text in filter(None, HOSTILE[::25]):
        options = "--db", database, f"--agent={text}", f"--tool={text}", f"--source={text}"
        assert not obeyed(done("stats", *options))
        found = answered("stats", *options)
        assert found["agents"] == [{"name": text, "turns": 1}]
        assert found["tools"] == [{"name": text, "calls": 1}]
        assert (found["source"], found["questions"]["low"]) == (text, 1)


def exactly(numbers: list[float], share: float) -> float:
    return sorted(numbers)[max(1, math.ceil(share * len(numbers))) - 1]


@given(st.lists(st.floats(0, 1e300), min_size=1), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_percentiles_of_some_are_exact(numbers: list[float], share: float) -> None:
    percentiles = Percentiles()
    for number in numbers:
        percentiles.add(number)
    assert percentiles.is_exact
    assert percentiles.of(share) == exactly(numbers, share)


class _Few(Percentiles):
    EXACT = 3


@given(
    st.lists(st.one_of(st.just(0.0), st.floats(1e-300, 1e300)), min_size=4),
    st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]),
)
def test_percentiles_of_many_are_within_one_per_cent(numbers: list[float], share: float) -> None:
    percentiles = _Few()
    for number in numbers:
        percentiles.add(number)
    assert not percentiles.is_exact
    assert percentiles.of(share) == pytest.approx(exactly(numbers, share), rel=0.01, abs=0)


def test_percentiles_take_little_memory() -> None:
    percentiles, chance = Percentiles(), random.Random(3)
    for _ in range(50_000):
        percentiles.add(chance.lognormvariate(6, 2))
    assert len(percentiles._all) + len(percentiles._classes) < 1500


@pytest.mark.parametrize(
    ("span", "unit", "bars"),
    [
        (timedelta(0), "hour", 1),
        (timedelta(hours=BARS - 1), "hour", BARS),
        (timedelta(hours=BARS), "day", 3),
        (timedelta(days=BARS - 1), "day", BARS),
        (timedelta(days=BARS), "month", 2),
        (timedelta(days=365 * 3), "month", 37),
        (timedelta(days=365 * 5), "year", 6),
    ],
    ids=str,
)
def test_the_unit_is_the_shortest_that_fits(span: timedelta, unit: str, bars: int) -> None:
    timeline = Timeline()
    timeline.add(NOON, 1)
    timeline.add(NOON + span, 2)
    name, found = timeline.bars()
    assert (name, len(found)) == (unit, bars)
    assert sum(bar.turns for bar in found) == 2
    assert sum(bar.tokens for bar in found) == 3
    assert all(one.start < other.start for one, other in pairwise(found))


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1, max_size=60))
def test_any_times_are_counted_in_a_bounded_number_of_bars(times: list[datetime]) -> None:
    timeline = Timeline()
    for time in times:
        timeline.add(time, 1)
    unit, bars = timeline.bars()
    assert len(bars) <= BARS
    if unit != "year":
        assert sum(bar.turns for bar in bars) == len(times)


def test_very_many_hours_become_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "_KEPT", 20)
    timeline = Timeline()
    for hour in range(24 * 400):
        timeline.add(NOON + timedelta(hours=hour), 1)
        assert len(timeline._counts) <= 20
    unit, bars = timeline.bars()
    assert (unit, sum(bar.turns for bar in bars)) == ("month", 24 * 400)


def test_a_ranking_of_very_many_names_keeps_the_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranking, "KEPT", 50)
    ranking = Ranking()
    for number in range(5000):
        ranking.add(f"rare {number}")
        ranking.add("often")
        if number % 2:
            ranking.add("half")
    assert ranking.top(2) == [("often", 5000), ("half", 2500)]
    assert not ranking.is_exact
    assert len(ranking._counts) <= 101


def test_what_is_equal_is_ranked_by_name() -> None:
    ranking, names = Ranking(), ["c", "a", "b"]
    for name in names:
        ranking.add(name)
    found: list[tuple[str, Any]] = ranking.top(2)
    assert found == [("a", 1), ("b", 1)]
