"""Figures of very many turns in little memory: over time, as percentiles, by name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime
from typing import NamedTuple

_KEPT = 4096
"""So many hours are told apart; of more, all become days, and so on."""

BARS = 48
"""So many bars fit on a screen."""


class Bar(NamedTuple):
    """What happened in an hour, day, month or year, which `start` names."""

    start: str
    turns: int
    tokens: int


class _Unit(NamedTuple):
    """A length of time. Those of its kind are counted from the beginning of time."""

    name: str
    of_shorter: Callable[[int], int]
    """Gives the number of the one in which the one of the shorter kind with this number lies."""
    label: Callable[[int], str]


def _hour(at: datetime) -> int:
    return at.toordinal() * 24 + at.hour


def _day_label(day: int) -> str:
    return date.fromordinal(day).isoformat()


def _month(day: int) -> int:
    at = date.fromordinal(day)
    return at.year * 12 + at.month - 1


_UNITS = (
    _Unit("hour", lambda hour: hour, lambda hour: f"{_day_label(hour // 24)} {hour % 24:02}:00"),
    _Unit("day", lambda hour: hour // 24, _day_label),
    _Unit("month", _month, lambda month: f"{month // 12:04}-{month % 12 + 1:02}"),
    _Unit("year", lambda month: month // 12, lambda year: f"{year:04}"),
)


class Timeline:
    """Turns and tokens by the hour, day, month or year, whatever their range asks for."""

    def __init__(self) -> None:
        self._counts: dict[int, tuple[int, int]] = {}
        self._unit = 0

    def add(self, at: datetime, tokens: int) -> None:
        """Count a turn."""
        number = _hour(at)
        for unit in _UNITS[1 : self._unit + 1]:
            number = unit.of_shorter(number)
        turns, before = self._counts.get(number, (0, 0))
        self._counts[number] = turns + 1, before + tokens
        while len(self._counts) > _KEPT and self._unit < len(_UNITS) - 1:
            self._unit += 1
            self._counts = _merged(self._counts, _UNITS[self._unit])

    def bars(self) -> tuple[str, list[Bar]]:
        """Give the unit, and a bar for each from the first to the last, also where nothing was.

        The unit is the shortest that fits on a screen. Of more than that many years there are
        only those in which something was, the last ones.
        """
        counts, unit = self._counts, self._unit
        while unit < len(_UNITS) - 1 and counts and max(counts) - min(counts) >= BARS:
            unit += 1
            counts = _merged(counts, _UNITS[unit])
        name, _, label = _UNITS[unit]
        if not counts:
            return name, []
        first, last = min(counts), max(counts)
        numbers = range(first, last + 1) if last - first < BARS else sorted(counts)[-BARS:]
        return name, [Bar(label(each), *counts.get(each, (0, 0))) for each in numbers]


def _merged(counts: dict[int, tuple[int, int]], unit: _Unit) -> dict[int, tuple[int, int]]:
    merged: dict[int, tuple[int, int]] = {}
    for number, (turns, tokens) in counts.items():
        longer = unit.of_shorter(number)
        before = merged.get(longer, (0, 0))
        merged[longer] = before[0] + turns, before[1] + tokens
    return merged


class Percentiles:
    """Percentiles of numbers from 0: exact up to so many, then within one per cent."""

    EXACT = 10_000

    _GROWTH = math.log(1.02)

    def __init__(self) -> None:
        self.count = 0
        self._all: list[float] = []
        self._classes: Counter[int] = Counter()
        self._zeros = 0

    def add(self, number: float) -> None:
        """Count a number."""
        self.count += 1
        if self.count <= self.EXACT:
            self._all.append(number)
            return
        while self._all:
            self._classify(self._all.pop())
        self._classify(number)

    @property
    def is_exact(self) -> bool:
        """Whether `of` gives one of the numbers themselves."""
        return self.count <= self.EXACT

    def of(self, share: float) -> float | None:
        """Give the smallest number that at least this share of all is not above; None of none."""
        if not self.count:
            return None
        rank = max(1, math.ceil(share * self.count))
        if self._all:
            return sorted(self._all)[rank - 1]
        passed = self._zeros
        if passed >= rank:
            return 0.0
        for class_ in sorted(self._classes):
            passed += self._classes[class_]
            if passed >= rank:
                break
        # The middle of the class, as far from its lower as from its upper end in per cent.
        return math.exp((class_ - 0.5) * self._GROWTH)

    def _classify(self, number: float) -> None:
        if number == 0:
            self._zeros += 1
        else:
            self._classes[math.ceil(math.log(number) / self._GROWTH)] += 1


class Ranking:
    """The names that are counted most. With very many, the rarest are forgotten on the way."""

    KEPT = 10_000

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.is_exact = True

    def add(self, name: str, count: int = 1) -> None:
        """Count a name."""
        self._counts[name] += count
        if len(self._counts) > 2 * self.KEPT:
            self._counts = Counter(dict(self._counts.most_common(self.KEPT)))
            self.is_exact = False

    def top(self, number: int) -> list[tuple[str, int]]:
        """Give the first ones, by count and then by name."""
        return sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0]))[:number]
