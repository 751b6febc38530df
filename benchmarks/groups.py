"""What a comparison is made of: subjects, and the group in which they stand beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Subject(NamedTuple):
    """One thing to measure: a function, how many turns, its place and options."""

    label: str
    function: str
    """As `module.function`, under `benchmarks`."""
    turns: int
    place: str | None
    options: dict[str, Any]


class Group(NamedTuple):
    """Subjects that are compared; the first is the baseline of ratios and differences."""

    name: str
    title: str
    subjects: list[Subject]
    columns: list[str]
    compares: str | None = None
    """The figure whose ratio to the baseline's counts."""
    rounds: int | None = None
    """At most so many rounds: who waits for the clock most of the time needs few."""
    differences: Mapping[str, str] = MappingProxyType({})
    """Figures of which the difference to the baseline's counts, each with the name of that."""
