"""From findings to counts, and from counts to a score. Pure functions: no clock, no database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal

from trajectory.errors import ConfigurationError
from trajectory.models import AGENT, EffortLevel, Severity, Turn
from trajectory.scoring.weights import DEFAULT_WEIGHTS, FORMULA, PPPWeights, exact
from trajectory.values import INT64_MAX, FrozenDict

_EFFORTS = tuple(EffortLevel)
_SEVERITIES = tuple(Severity)
_COUNTED: tuple[str, ...] = (*_EFFORTS, *_SEVERITIES)
_ZERO = Decimal()
_MATH = Context(prec=100)
"""Our own, so that nobody's decimal settings change a score. Far finer than a float."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How many questions of each effort level, and violations of each severity.

    `preferences` tells the violations by name: `{"concise": {"minor": 2, "critical": 1}}`. It is
    needed where the weights name preferences, and may be left out elsewhere; where it is given, it
    tells of all violations. Raises `ConfigurationError` for what is not so.
    """

    low: int = 0
    medium: int = 0
    high: int = 0
    minor: int = 0
    major: int = 0
    critical: int = 0
    preferences: Mapping[str, Mapping[str, int]] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        for name in _COUNTED:
            _check_count(name, getattr(self, name))
        if not self.preferences:
            object.__setattr__(self, "preferences", FrozenDict())
            return
        told: Counter[str] = Counter()
        frozen = {}
        for name, severities in self.preferences.items():
            for severity, number in severities.items():
                if severity not in _SEVERITIES:
                    raise ConfigurationError(
                        f"Counts.preferences has the severity {ascii(severity)[:60]}; there are "
                        f"{', '.join(_SEVERITIES)}"
                    )
                _check_count(f"preferences[...][{severity}]", number)
                told[severity] += number
            frozen[name] = FrozenDict({str(s): n for s, n in severities.items()})
        if any(told[severity] != getattr(self, severity) for severity in _SEVERITIES):
            raise ConfigurationError(
                "Counts.preferences must tell of all violations: its sums differ from minor, major "
                "and critical"
            )
        object.__setattr__(self, "preferences", FrozenDict(frozen))

    def __hash__(self) -> int:
        return hash((self.low, self.medium, self.high, self.minor, self.major, self.critical))

    @property
    def questions(self) -> int:
        """All questions."""
        return self.low + self.medium + self.high

    @property
    def violations(self) -> int:
        """All violations."""
        return self.minor + self.major + self.critical


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A PPP score with all that it came from: it can be computed again, and be compared.

    `r_proact` tells how little the agent asked of its user, `r_pers` how well it kept to the user's
    preferences, `total` is their sum. `source` says whose findings were counted.
    """

    r_proact: float
    r_pers: float
    total: float
    counts: Counts
    source: str = AGENT
    weights: PPPWeights = DEFAULT_WEIGHTS
    formula: str = FORMULA


class FindingCounter:
    """Counts the questions and violations of one source, turn by turn."""

    def __init__(self, source: str = AGENT) -> None:
        self._source = source
        self._efforts: Counter[str] = Counter()
        self._severities: Counter[str] = Counter()
        self._preferences: dict[str, Counter[str]] = {}

    def add(self, turn: Turn) -> None:
        """Count those of a turn."""
        for question in turn.questions:
            if question.source == self._source:
                self.add_questions(question.effort_level, 1)
        for violation in turn.violations:
            if violation.source == self._source:
                self.add_violations(violation.severity, violation.preference_name, 1)

    def add_questions(self, level: str, number: int) -> None:
        """Count so many questions of an effort level."""
        self._efforts[level] += number

    def add_violations(self, severity: str, preference: str, number: int) -> None:
        """Count so many violations of a preference."""
        self._severities[severity] += number
        self._preferences.setdefault(preference, Counter())[severity] += number

    def counts(self) -> Counts:
        """Give what was counted so far."""
        return Counts(
            **{level: self._efforts[level] for level in _EFFORTS},
            **{severity: self._severities[severity] for severity in _SEVERITIES},
            preferences=self._preferences,
        )


def count_findings(turns: Iterable[Turn], source: str = AGENT) -> Counts:
    """Count the questions and violations of one source in the turns of a trajectory.

    All turns that are given count, those of copied context as well.
    """
    counter = FindingCounter(source)
    for turn in turns:
        counter.add(turn)
    return counter.counts()


def weigh(counts: Counts, weights: PPPWeights = DEFAULT_WEIGHTS, *, source: str = AGENT) -> Score:
    """Weigh counts. The result is the float nearest to the exact decimal sum.

    Raises `ConfigurationError` where the weights name preferences and the counts do not tell which
    were broken.
    """
    if counts.medium or counts.high:
        proact = _sum(counts, weights, _EFFORTS)
    else:
        proact = _MATH.fma(counts.low, exact(weights.low), exact(weights.proact_bonus))
    pers = _personal(counts, weights)
    return Score(
        r_proact=float(proact),
        r_pers=float(pers),
        total=float(_MATH.add(proact, pers)),
        counts=counts,
        source=source,
        weights=weights,
    )


def score_turns(
    turns: Iterable[Turn], weights: PPPWeights = DEFAULT_WEIGHTS, *, source: str = AGENT
) -> Score:
    """Count and weigh the findings of one source in the turns of a trajectory."""
    return weigh(count_findings(turns, source), weights, source=source)


def _personal(counts: Counts, weights: PPPWeights) -> Decimal:
    if not counts.violations:
        return exact(weights.pers_bonus)
    if not weights.preferences:
        return _sum(counts, weights, _SEVERITIES)
    if not counts.preferences:
        raise ConfigurationError(
            f"the weights name preferences, and the counts of {counts.violations} violations do "
            f"not say which were broken; fill Counts.preferences"
        )
    broken = False
    pers = _ZERO
    for name, severities in counts.preferences.items():
        factor = exact(weights.preferences.get(name, 1.0))
        if factor and any(severities.values()):
            broken = True
            for severity, number in severities.items():
                weight = _MATH.multiply(factor, exact(getattr(weights, severity)))
                pers = _MATH.fma(number, weight, pers)
    return pers if broken else exact(weights.pers_bonus)


def _sum(counts: Counts, weights: PPPWeights, names: Iterable[str]) -> Decimal:
    weighed = _ZERO
    for name in names:
        weighed = _MATH.fma(getattr(counts, name), exact(getattr(weights, name)), weighed)
    return weighed


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= INT64_MAX:
        raise ConfigurationError(f"Counts.{name} must be a whole number from 0 to {INT64_MAX}")
