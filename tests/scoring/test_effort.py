"""How often the rules agree with a person, on questions that they were not made from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring.labelled import Confusion, Labelled, labelled, responses

from trajectory import EffortLevel
from trajectory.scoring import EffortClassifier, HeuristicClassifier, effort_of

QUESTIONS = labelled()
HELD_OUT = [one for one in QUESTIONS if one.held_out]
IN_RESPONSES = [asked for response in responses() for asked in response.asks]
HELD_OUT_IN_RESPONSES = [one for one in IN_RESPONSES if one.held_out]
LEAST_ACCURACY = 0.85


def test_there_are_enough_questions_of_each_level() -> None:
    assert len(QUESTIONS) >= 200
    assert len({one.question for one in QUESTIONS}) == len(QUESTIONS)
    assert 0.4 < len(HELD_OUT) / len(QUESTIONS) < 0.6
    for half in (HELD_OUT, [one for one in QUESTIONS if not one.held_out]):
        assert min(Counter(one.effort for one in half).values()) >= 50


def test_the_rules_are_right_about_questions_they_were_not_made_from() -> None:
    confusion = Confusion(HELD_OUT)
    assert confusion.accuracy >= LEAST_ACCURACY, f"\n{confusion}"


def test_the_rules_are_right_about_questions_of_responses_that_came_later() -> None:
    assert len(IN_RESPONSES) >= 120
    assert 0.4 < len(HELD_OUT_IN_RESPONSES) / len(IN_RESPONSES) < 0.6
    assert not {one.question for one in IN_RESPONSES} & {one.question for one in QUESTIONS}
    confusion = Confusion(HELD_OUT_IN_RESPONSES)
    assert confusion.accuracy >= LEAST_ACCURACY, f"\n{confusion}"


@pytest.mark.parametrize("held_out", [HELD_OUT, HELD_OUT_IN_RESPONSES], ids=["alone", "in place"])
def test_the_page_tells_the_figure_as_it_is(held_out: list[Labelled]) -> None:
    page = Path(__file__).parents[2] / "docs" / "scoring.md"
    told = f"{Confusion(held_out).accuracy * 100:.0f} % of the {len(held_out)} questions"
    assert told in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("level", EffortLevel)
def test_no_level_is_bought_with_another(level: EffortLevel) -> None:
    confusion = Confusion(one for one in HELD_OUT if one.effort == level)
    assert confusion.accuracy >= 0.8, f"\n{confusion}"


def test_a_confusion_is_shown_as_a_matrix() -> None:
    confusion = Confusion(
        [
            Labelled("Do you want it?", EffortLevel.LOW),
            Labelled("What is the root cause?", EffortLevel.HIGH),
            Labelled("Do you want that?", EffortLevel.HIGH),
        ]
    )
    assert str(confusion).splitlines() == [
        "label        low  medium    high",
        "low            1       0       0",
        "medium         0       0       0",
        "high           1       0       1",
        "accuracy 0.667 of 3",
    ]


@pytest.mark.parametrize(
    ("question", "level"),
    [
        ("Before I start: do you want tests?", "low"),
        ("**Should I investigate the root cause of the crash?**", "low"),
        ("Please confirm that you want to go on.", "low"),
        ("Could you please provide your order number?", "low"),
        ("Could you please provide the full server log?", "high"),
        ("Let me know how the retries should behave.", "medium"),
        ("???", "low"),
        ("", "low"),
    ],
)
def test_what_leads_to_a_question_does_not_weigh(question: str, level: str) -> None:
    assert effort_of(question) == level


def test_offered_answers_make_a_question_easier() -> None:
    question = "What should happen when a payment fails?"
    assert effort_of(question) == "medium"
    assert effort_of(question, ("cancel the order", "try again")) == "low"
    assert effort_of(question, ("only one",)) == "medium"


async def test_the_classifier_gives_what_the_rules_say() -> None:
    classifier: EffortClassifier = HeuristicClassifier()
    assert classifier.source == "heuristic/1"
    assert await classifier.classify("What is the root cause?") == "high"
    assert await classifier.classify("How should it behave?", ("so", "or so")) == "low"


@given(st.text(max_size=300))
def test_any_text_has_a_level_and_case_and_space_are_nothing(text: str) -> None:
    level = effort_of(text)
    assert effort_of(text) is level
    assert effort_of(f"  {text}\n") is level
