"""The laws of merging: starts and ends give one row in any order, any number of times."""

from __future__ import annotations

from datetime import timedelta
from functools import reduce
from typing import Any
from uuid import UUID

import pytest
from factories import (
    EPOCH,
    MessageFactory,
    QuestionFactory,
    ToolCallFactory,
    TrajectoryEndFactory,
    TrajectoryFactory,
    TurnFactory,
    ViolationFactory,
)
from hypothesis import given
from hypothesis import strategies as st

from trajectory import EffortLevel, Severity, Trajectory, TrajectoryStatus, Turn
from trajectory.merge import (
    bare_trajectory,
    ended_trajectory,
    merge_trajectory,
    same_finding,
    same_turn,
)
from trajectory.models import LATE_POSITION
from trajectory.values import same_json

ID = UUID(int=7)
TRUTH: dict[str, Any] = TrajectoryFactory(full=True, ended=True, id=ID).model_dump()
"""What there is to know of one trajectory; each start and end tells a part of it."""

instants = st.integers(0, 5).map(lambda n: EPOCH + timedelta(seconds=n))


@st.composite
def parts(draw: st.DrawFn) -> Trajectory:
    """Draw a trajectory that knows some of the truth, and times of its own."""
    names = draw(st.sets(st.sampled_from(sorted(TRUTH))))
    known = {name: TRUTH[name] for name in names}
    status = draw(st.sampled_from([None, TrajectoryStatus.RUNNING, TRUTH["status"]]))
    times = {"created_at": draw(instants), "ended_at": draw(st.none() | instants)}
    return Trajectory(**{**known, **times, "id": ID, "status": status})


def merged(news: list[Trajectory]) -> Trajectory:
    """Merge in order; none of these may differ."""

    def step(known: Trajectory, one: Trajectory) -> Trajectory:
        result, differing = merge_trajectory(known, one)
        assert differing == ()
        return result

    return reduce(step, news)


@given(news=st.lists(parts(), min_size=1, max_size=6), data=st.data())
def test_the_order_does_not_matter(news: list[Trajectory], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(news))
    assert merged(shuffled) == merged(news)


@given(news=st.lists(parts(), min_size=1, max_size=5), data=st.data())
def test_repeats_do_not_matter(news: list[Trajectory], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(news), max_size=5))
    assert merged([*news, *again]) == merged(news)


@given(a=parts(), b=parts(), c=parts())
def test_it_does_not_matter_which_two_are_merged_first(
    a: Trajectory, b: Trajectory, c: Trajectory
) -> None:
    assert merged([merged([a, b]), c]) == merged([a, merged([b, c])])


@given(news=st.lists(parts(), min_size=1, max_size=6))
def test_nothing_that_was_told_is_forgotten(news: list[Trajectory]) -> None:
    result = merged(news)
    assert result.created_at == min(one.created_at for one in news)
    assert result.ended_at == max(
        (one.ended_at for one in news if one.ended_at is not None), default=None
    )
    for name in TRUTH.keys() - {"created_at", "ended_at", "status"}:
        told = [getattr(one, name) for one in news if getattr(one, name) not in (None, {})]
        assert getattr(result, name) == (told[0] if told else Trajectory(id=ID).__dict__[name])
    statuses = {one.status for one in news}
    expected = [s for s in (TRUTH["status"], TrajectoryStatus.RUNNING, None) if s in statuses]
    assert result.status == expected[0]


@given(known=parts(), news=parts())
def test_the_values_that_are_merged_stay_as_they_were(known: Trajectory, news: Trajectory) -> None:
    before = known.model_dump(), news.model_dump()
    merge_trajectory(known, news)
    assert (known.model_dump(), news.model_dump()) == before


DIFFERENT: dict[str, Any] = {
    "spec_id": "other",
    "agent_name": "other",
    "agent_version": "other",
    "run_id": "other",
    "session_id": "other",
    "user_id": "other",
    "parent_trajectory_id": UUID(int=1),
    "root_trajectory_id": UUID(int=1),
    "status": "completed",
    "error": "other",
    "reward": 9.0,
    "system_prompt": "other",
    "tools": [],
    "tags": {},
    "source_format": "other",
    "metadata": {"other": 1},
}


def test_each_field_has_a_rule() -> None:
    assert {*DIFFERENT, "id", "created_at", "ended_at"} == set(Trajectory.model_fields)


@pytest.mark.parametrize("name", DIFFERENT)
def test_of_two_values_the_known_one_stays_and_is_named(name: str) -> None:
    known = Trajectory(**TRUTH)
    news = known.replace(**{name: DIFFERENT[name]})
    result, differing = merge_trajectory(known, news)
    assert (result, differing) == (known, (name,))
    assert merge_trajectory(result, news) == (known, (name,))


def test_running_gives_way_and_does_not_come_back() -> None:
    running = TrajectoryFactory(id=ID)
    for end in ("completed", "failed", "cancelled"):
        ended = running.replace(status=end)
        assert merge_trajectory(running, ended) == (ended, ())
        assert merge_trajectory(ended, running) == (ended, ())


def test_a_bare_parent_and_an_end_know_nothing_that_they_were_not_told() -> None:
    turn, end = TurnFactory(full=True), TrajectoryEndFactory(failed=True)
    start = TrajectoryFactory(full=True, id=turn.trajectory_id, created_at=turn.created_at)
    assert merge_trajectory(bare_trajectory(turn), start) == (start, ())
    row = ended_trajectory(end)
    assert row.replace(status=None, error=None, reward=None, ended_at=None) == Trajectory(
        id=end.trajectory_id, status=None, created_at=end.ended_at
    )
    assert (row.status, row.error, row.reward) == (end.status, end.error, end.reward)
    assert row.ended_at == end.ended_at


CHANGES: dict[str, Any] = {
    "prompt": "other",
    "response": "other",
    "token_count": 51,
    "latency_ms": 1.0,
    "model_name": None,
    "input_tokens": 1,
    "output_tokens": 1,
    "cache_read_tokens": 1,
    "cache_write_tokens": 1,
    "reasoning_tokens": 1,
    "cost_usd": 1.0,
    "stop_reason": "length",
    "error": "",
    "reward": 0.5,
    "is_copied_context": True,
    "metadata": {"branch": "main"},
    "messages": (),
    "tool_calls": (),
    "questions": (),
    "violations": (),
}


def test_each_field_of_a_turn_is_compared() -> None:
    assert {*CHANGES, "trajectory_id", "turn_number", "created_at"} == set(Turn.model_fields)


@pytest.mark.parametrize("name", CHANGES)
def test_a_turn_with_another_value_is_another_turn(name: str) -> None:
    turn = TurnFactory(full=True)
    assert same_turn(turn, turn.replace())
    assert not same_turn(turn, turn.replace(**{name: CHANGES[name]}))
    assert not same_turn(turn.replace(**{name: CHANGES[name]}), turn)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("messages", {"content": "other"}),
        ("messages", {"token_ids": [9]}),
        ("tool_calls", {"arguments": '{"q":0.5}'}),
        ("tool_calls", {"result": ""}),
        ("questions", {"question_text": "other"}),
        ("questions", {"effort_level": EffortLevel.HIGH}),
        ("questions", {"source": "judge:x"}),
        ("violations", {"severity": Severity.CRITICAL}),
        ("violations", {"actual": "other"}),
    ],
)
def test_a_child_with_another_value_makes_another_turn(name: str, change: dict[str, Any]) -> None:
    children: dict[str, Any] = {
        "messages": MessageFactory(full=True),
        "tool_calls": ToolCallFactory(full=True),
        "questions": QuestionFactory(full=True, effort_level="low"),
        "violations": ViolationFactory(full=True, severity="minor"),
    }
    turn = TurnFactory(**{name: [children[name]]})
    assert not same_turn(turn, turn.replace(**{name: [children[name].replace(**change)]}))


def test_times_of_creation_are_no_difference() -> None:
    turn = TurnFactory(full=True)
    later = turn.replace(
        created_at=turn.created_at + timedelta(1),
        messages=[m.replace(created_at=None) for m in turn.messages],
        tool_calls=[c.replace(started_at=EPOCH) for c in turn.tool_calls],
        questions=[q.replace(created_at=None) for q in turn.questions],
        violations=[v.replace(created_at=EPOCH) for v in turn.violations],
    )
    assert same_turn(turn, later)
    assert same_turn(later, turn)


def test_facts_that_came_later_are_no_difference_to_the_stored_turn() -> None:
    sent = TurnFactory(full=True)
    late = QuestionFactory(position=LATE_POSITION)
    judged = QuestionFactory(judged=True)
    stored = sent.replace(questions=[*sent.questions, late, judged])
    assert same_turn(stored, sent)
    assert not same_turn(sent, stored)  # what is sent must be stored, wherever it came from
    assert not same_turn(sent.replace(questions=[*sent.questions, QuestionFactory()]), sent)


def test_positions_that_say_nothing_new_are_no_difference() -> None:
    turn = TurnFactory(questions=[QuestionFactory(), QuestionFactory()])
    placed = [q.replace(position=n) for n, q in enumerate(turn.questions)]
    assert same_turn(turn, turn.replace(questions=placed))
    assert same_turn(turn, turn.replace(questions=placed[::-1]))
    assert not same_turn(turn, turn.replace(questions=turn.questions[::-1]))


def test_findings_are_the_same_by_kind_and_content() -> None:
    question, violation = QuestionFactory(full=True), ViolationFactory(full=True)
    assert same_finding(question, question.replace(created_at=None, position=3))
    assert not same_finding(question, question.replace(confidence=None))
    assert not same_finding(question, violation)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1, True),
        (1, 1.0, False),
        (1, True, False),
        (0, False, False),
        (0.0, -0.0, True),
        ([1, {"k": [2.5]}], [1, {"k": [2.5]}], True),
        ([1, {"k": [2]}], [1, {"k": [2.0]}], False),
        ({"a": None}, {}, False),
        ([], {}, False),
        ("1", 1, False),
    ],
)
def test_json_is_compared_with_its_types(one: Any, other: Any, *, same: bool) -> None:
    assert same_json(one, other) is same
    assert same_json(other, one) is same
    stored = TurnFactory(metadata={"k": one})
    assert same_turn(stored, stored.replace(metadata={"k": other})) is same


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ({"a": 1}, {"trajectory.cleaned": ["error"]}, {"a": 1, "trajectory.cleaned": ["error"]}),
        ({"trajectory.cleaned": ["error"]}, {"a": 1}, {"a": 1, "trajectory.cleaned": ["error"]}),
        (
            {"trajectory.cleaned": ["tools"]},
            {"trajectory.cleaned": ["error"]},
            {"trajectory.cleaned": ["error", "tools"]},
        ),
        ({"a": 1}, {"a": 2}, None),
        ({"trajectory.cleaned": 1}, {"trajectory.cleaned": ["error"]}, None),
        ({}, {}, {}),
    ],
)
def test_what_was_cleaned_in_a_part_is_named_in_the_whole(
    old: dict[str, Any], new: dict[str, Any], merged: dict[str, Any] | None
) -> None:
    known = Trajectory(id=ID, metadata=old)
    result, differing = merge_trajectory(known, known.replace(metadata=new))
    assert result.metadata == (old if merged is None else merged)
    assert differing == (() if merged is not None else ("metadata",))
