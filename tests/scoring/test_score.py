"""The formula, to the decimal."""

from __future__ import annotations

import copy
import json
from dataclasses import FrozenInstanceError, asdict
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajectory import ConfigurationError, EffortLevel, Question, Severity, Turn, Violation
from trajectory.scoring import Counts, PPPWeights, Score, count_findings, score_turns, weigh

NUMBERS = st.integers(0, 10_000)


def numbers(score: Score) -> tuple[float, float, float]:
    return score.r_proact, score.r_pers, score.total


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # The four worked cases.
        (Counts(), (0.05, 0.05, 0.1)),
        (Counts(low=1), (0.05, 0.05, 0.1)),
        (Counts(high=2), (-1.0, 0.05, -0.95)),
        (Counts(major=1, critical=1), (0.05, -0.08, -0.03)),
        # Sums that floats get wrong.
        (Counts(minor=3), (0.05, -0.03, 0.02)),
        (Counts(medium=3), (-0.3, 0.05, -0.25)),
        (Counts(low=9, medium=1), (-0.1, 0.05, -0.05)),
        (Counts(low=1, medium=2, high=1, minor=1, major=2, critical=3), (-0.7, -0.22, -0.92)),
    ],
)
def test_counts_weigh_what_the_requirement_says(
    counts: Counts, expected: tuple[float, float, float]
) -> None:
    assert numbers(weigh(counts)) == expected


@given(st.builds(Counts, **dict.fromkeys((*EffortLevel, *Severity), NUMBERS)))
def test_a_score_is_the_decimal_sum(counts: Counts) -> None:
    proact = counts.medium * Decimal("-0.1") + counts.high * Decimal("-0.5")
    pers = sum(
        (
            counts.minor * Decimal("-0.01"),
            counts.major * Decimal("-0.03"),
            counts.critical * Decimal("-0.05"),
        ),
        Decimal(),
    )
    proact, pers = proact or Decimal("0.05"), pers or Decimal("0.05")
    assert numbers(weigh(counts)) == (float(proact), float(pers), float(proact + pers))


def test_a_score_says_what_it_came_from() -> None:
    counts = Counts(high=1)
    score = weigh(counts, source="judge:m")
    assert (score.counts, score.source, score.formula) == (counts, "judge:m", "ppp/1")
    assert score.weights == PPPWeights()


def test_weights_can_be_others() -> None:
    weights = PPPWeights(proact_bonus=1, low=-0.25, medium=-2, pers_bonus=0, critical=-7)
    assert numbers(weigh(Counts(low=2), weights)) == (0.5, 0.0, 0.5)
    assert numbers(weigh(Counts(low=2, medium=1, critical=1), weights)) == (-2.5, -7.0, -9.5)


def test_named_preferences_weigh_more_or_nothing() -> None:
    weights = PPPWeights(preferences={"concise": 3, "emoji": 0})
    counts = Counts(
        minor=3,
        major=1,
        preferences={"concise": {"minor": 1}, "emoji": {"minor": 2}, "x": {"major": 1}},
    )
    assert weigh(counts, weights).r_pers == -0.06
    left_out = Counts(minor=2, preferences={"emoji": {"minor": 2}})
    assert weigh(left_out, weights).r_pers == 0.05
    assert weigh(left_out).r_pers == -0.02


def test_named_preferences_need_named_counts() -> None:
    weights = PPPWeights(preferences={"concise": 3})
    with pytest.raises(ConfigurationError, match="2 violations do not say which were broken"):
        weigh(Counts(minor=2), weights)
    assert weigh(Counts(high=1), weights).r_pers == 0.05


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"high": float("nan")}, "high must lie between"),
        ({"minor": float("inf")}, "minor must lie between"),
        ({"low": "0.1"}, "low is a str"),
        ({"low": True}, "low is a bool"),
        ({"preferences": {"a": -1}}, r"preferences\['a'\] must lie between 0"),
        ({"preferences": {1: 1}}, "name that is not text"),
        ({"preferences": ["a"]}, "must be a mapping"),
    ],
)
def test_weights_that_are_none_are_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"PPPWeights.{named}|{named}"):
        PPPWeights(**fields)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"low": -1}, "low must be a whole number"),
        ({"high": 1.0}, "high must be a whole number"),
        ({"minor": 2, "preferences": {"a": {"minor": 1}}}, "must tell of all violations"),
        ({"minor": 1, "preferences": {"a": {"slight": 1}}}, "the severity 'slight'"),
        ({"minor": 1, "preferences": {"a": {"minor": "1"}}}, "whole number"),
    ],
)
def test_counts_that_are_none_are_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Counts(**fields)


def turns() -> list[Turn]:
    first = Turn(
        trajectory_id=UUID(int=1),
        turn_number=1,
        prompt="p",
        response="r",
        questions=(
            Question(question_text="a?", effort_level="low"),
            Question(question_text="b?", effort_level="high"),
            Question(question_text="b?", effort_level="medium", source="human:1"),
        ),
        violations=(
            Violation(preference_name="concise", severity="major"),
            Violation(preference_name="concise", severity="critical", source="human:1"),
        ),
    )
    second = first.replace(
        turn_number=2,
        questions=(),
        violations=(
            Violation(preference_name="concise", severity="minor"),
            Violation(preference_name="emoji", severity="minor"),
        ),
    )
    return [first, second]


def test_the_findings_of_one_source_are_counted() -> None:
    assert count_findings(turns()) == Counts(
        low=1,
        high=1,
        minor=2,
        major=1,
        preferences={"concise": {"major": 1, "minor": 1}, "emoji": {"minor": 1}},
    )
    human = count_findings(turns(), "human:1")
    assert human == Counts(medium=1, critical=1, preferences={"concise": {"critical": 1}})
    assert (human.questions, human.violations) == (1, 1)
    assert count_findings(turns(), "nobody") == count_findings([]) == Counts()


def test_turns_are_scored_in_one_go() -> None:
    weights = PPPWeights(preferences={"emoji": 2})
    score = score_turns(turns(), weights, source="agent")
    assert score == weigh(count_findings(turns()), weights)
    assert numbers(score) == (-0.5, -0.06, -0.56)
    assert score_turns(turns(), source="human:1").source == "human:1"


def test_a_score_is_a_value() -> None:
    score = score_turns(turns(), PPPWeights(preferences={"emoji": 2}))
    assert copy.deepcopy(score) == score
    assert hash(copy.copy(score)) == hash(score)
    assert json.loads(json.dumps(asdict(score)))["counts"]["preferences"]["emoji"] == {"minor": 1}
    with pytest.raises(FrozenInstanceError):
        score.total = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        score.weights.preferences["emoji"] = 3  # type: ignore[index]


@pytest.mark.parametrize("number", [10**400, -(10**400), float("nan"), float("inf")])
def test_numbers_beyond_all_are_refused(number: float) -> None:
    with pytest.raises(ConfigurationError, match=r"PPPWeights\.high"):
        PPPWeights(high=number)
    if isinstance(number, int):
        with pytest.raises(ConfigurationError, match=r"Counts\.high"):
            Counts(high=number)
