"""What a question and a violation weigh: the numbers of the formula, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from functools import lru_cache

from trajectory.errors import ConfigurationError
from trajectory.values import FrozenDict

FORMULA = "ppp/1"
"""The version of the formula. Two scores can be compared if it and the weights are the same."""

_LARGEST = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class PPPWeights:
    """The weights of PPP (arXiv 2511.02208): what is added for each question and each violation.

    R_Proact is `proact_bonus` where nothing harder than low effort was asked, else the sum over
    its `medium` and `high` questions; `low` is added in both cases. R_Pers is `pers_bonus` where
    no preference was broken, else the sum over `minor`, `major` and `critical` violations.
    `preferences` names preferences that weigh more or less: name -> a factor (from 0) on each of
    their violations. At 0 a preference is left out, as if it had not been broken.

    Raises `ConfigurationError` for what is not a number between -1e9 and 1e9.
    """

    proact_bonus: float = 0.05
    low: float = 0.0
    medium: float = -0.1
    high: float = -0.5
    pers_bonus: float = 0.05
    minor: float = -0.01
    major: float = -0.03
    critical: float = -0.05
    preferences: Mapping[str, float] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        for one in fields(self):
            if one.name != "preferences":
                number = _number(one.name, getattr(self, one.name), -_LARGEST)
                object.__setattr__(self, one.name, number)
        if not isinstance(self.preferences, Mapping):
            raise ConfigurationError(
                "PPPWeights.preferences must be a mapping of preference names to factors"
            )
        factors = {}
        for name, factor in self.preferences.items():
            if not isinstance(name, str):
                raise ConfigurationError("PPPWeights.preferences has a name that is not text")
            factors[name] = _number(f"preferences[{ascii(name)[:60]}]", factor, 0)
        object.__setattr__(self, "preferences", FrozenDict(factors))

    def __hash__(self) -> int:
        plain = (getattr(self, one.name) for one in fields(self) if one.name != "preferences")
        return hash((*plain, frozenset(self.preferences.items())))


def _number(name: str, value: object, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"PPPWeights.{name} is a {type(value).__name__}, not a number")
    if not least <= value <= _LARGEST:  # nor is NaN
        raise ConfigurationError(f"PPPWeights.{name} must lie between {least:g} and {_LARGEST:g}")
    return float(value)


@lru_cache(maxsize=256)
def exact(weight: float) -> Decimal:
    """Give the decimal that a person wrote: 0.1 is one tenth, so three minors are exactly -0.03."""
    return Decimal(repr(weight))


DEFAULT_WEIGHTS = PPPWeights()
"""Those of the formula."""
