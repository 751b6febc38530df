"""Positions: what names a turn's questions and violations beside their source."""

from __future__ import annotations

from typing import Any

import pytest
from factories import FactFactory, QuestionFactory, TurnFactory, ViolationFactory
from hypothesis import given
from hypothesis import strategies as st

from trajectory import InvalidTurnError, Question
from trajectory.models import LATE_POSITION, in_order, numbered

questions = st.builds(
    Question,
    question_text=st.sampled_from(["a", "b"]),
    effort_level=st.just("low"),
    source=st.sampled_from(["agent", "judge:x"]),
    position=st.none() | st.integers(0, 4),
)


def placed(findings: Any) -> list[tuple[str, int]]:
    return [(finding.source, position) for position, finding in numbered(findings)]


def explicit(findings: Any) -> list[tuple[str, int]]:
    return [(f.source, f.position) for f in findings if f.position is not None]


lists = st.lists(questions, max_size=6).filter(
    lambda made: len(set(explicit(made))) == len(explicit(made))
)


@given(lists)
def test_no_two_have_the_same_and_who_has_one_keeps_it(made: list[Question]) -> None:
    keys = placed(made)
    assert len(set(keys)) == len(made)
    assert set(explicit(made)) <= set(keys)


@given(lists)
def test_what_is_read_back_has_the_positions_it_was_stored_at(made: list[Question]) -> None:
    read = in_order(numbered(made))
    assert sorted(placed(read)) == sorted(placed(made))
    assert in_order(numbered(read)) == read


def test_those_without_one_take_the_first_free_in_order() -> None:
    made = [QuestionFactory(position=position) for position in (1, None, 0, None, 5, None)]
    made.insert(2, QuestionFactory(judged=True))
    agent = [("agent", position) for position in (1, 2, 0, 3, 5, 4)]
    assert placed(made) == [*agent[:2], ("judge:model-1", 0), *agent[2:]]


@pytest.mark.parametrize(
    ("name", "of"), [("questions", QuestionFactory), ("violations", ViolationFactory)]
)
def test_one_position_given_twice_is_refused_by_name(name: str, of: Any) -> None:
    twice = [of(position=7), of(judged=True, position=7), of(position=7)]
    with pytest.raises(InvalidTurnError, match=rf"Turn\.{name}: position 7 is given twice"):
        TurnFactory(**{name: twice})
    turn = TurnFactory(**{name: twice[:2]})
    with pytest.raises(InvalidTurnError, match=r"position 7 is given twice"):
        turn.replace(**{name: twice})
    json = turn.model_dump(mode="json")
    json[name] += json[name]
    with pytest.raises(InvalidTurnError, match=r"position 7 is given twice"):
        type(turn).model_validate(json)


@pytest.mark.parametrize(
    ("source", "given_", "stored"),
    [
        ("agent", None, LATE_POSITION),
        ("agent", 3, LATE_POSITION + 3),
        ("agent", LATE_POSITION - 1, 2 * LATE_POSITION - 1),
        ("agent", LATE_POSITION, LATE_POSITION),
        ("agent", LATE_POSITION + 3, LATE_POSITION + 3),
        ("judge:x", 3, 3),
    ],
)
def test_a_late_finding_of_the_agent_lies_behind_those_of_its_turn(
    source: str, given_: int | None, stored: int
) -> None:
    fact = FactFactory(finding=QuestionFactory(source=source, position=given_))
    assert fact.position == stored
    again = fact.replace(finding=fact.finding.replace(position=fact.position))
    assert again.position == stored  # as it is read back, so it can be logged once more
