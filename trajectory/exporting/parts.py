"""Which part of a split an export puts a trajectory in: by whom it belongs to, never by its place.

The same user (or run) lands in the same part in every export with the same parts, whatever else is
exported, so that none is trained on and tested on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple, Self

from trajectory.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}\Z")
_MOST_DIGITS = 12


class SplitBy(StrEnum):
    """What is never in two parts."""

    USER = "user"
    RUN = "run"


class Part(NamedTuple):
    """A part of a split, and which share of the users or runs it gets."""

    name: str
    share: Decimal


@dataclass(frozen=True, slots=True)
class Split:
    """How to divide an export. Raises `ConfigurationError` for parts that can't be."""

    by: SplitBy
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        for name in names:
            if not _NAME.match(name):
                raise ConfigurationError(
                    f"a part can't be called {ascii(name)[:40]}: it becomes part of a file's name, "
                    f"so use letters, digits, - and _, at most 32"
                )
        if len(set(map(str.lower, names))) < len(names):
            raise ConfigurationError("two parts have the same name; give each its own")
        if not all(0 < part.share < 1 for part in self.parts) or sum(self._shares()) != 1:
            raise ConfigurationError(
                "the shares of the parts must be above 0 and add up to 1, as in train=0.9,test=0.1"
            )

    @classmethod
    def of(cls, by: SplitBy, text: str) -> Self:
        """Make a split of parts as a person writes them: `train=0.9,test=0.1`."""
        parts = []
        for piece in text.split(","):
            name, _, share = piece.strip().partition("=")
            parts.append(Part(name, _share(share)))
        return cls(by, tuple(parts))

    def part_of(self, owner: str) -> str:
        """Name the part of an owner: a label with its kind, `user:alice`."""
        number = int.from_bytes(hashlib.sha256(owner.encode()).digest()[:8])
        place, reached = Fraction(number, 2**64), Fraction()
        for part, share in zip(self.parts, self._shares(), strict=True):
            reached += share
            if place < reached:
                return part.name
        raise AssertionError  # the shares add up to 1, and the place lies below it

    def _shares(self) -> Sequence[Fraction]:
        return [Fraction(part.share) for part in self.parts]


def _share(text: str) -> Decimal:
    try:
        share = Decimal(text)
    except InvalidOperation:
        share = Decimal(0)
    if not share.is_finite() or len(text) > _MOST_DIGITS:
        return Decimal(0)  # which is no share
    return share
