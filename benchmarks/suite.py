"""Runs the groups: each subject in a process of its own, the rounds of all interleaved."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.groups import Group, Subject
from benchmarks.work import Figures

if TYPE_CHECKING:
    from benchmarks.places import Place

_ROOT = Path(__file__).parents[1]
_TIMEOUT_S = 300

Rounds = dict[str, dict[str, list[Figures]]]
"""Figures by group, subject and round."""
Results = dict[str, dict[str, Figures]]
"""Figures by group and subject: medians over the rounds."""


def measure(
    chosen: list[Group], rounds: int, places: Mapping[str, Place], say: Callable[[str], None]
) -> Rounds:
    """Run all rounds; each goes through all subjects once."""
    seen: Rounds = {
        group.name: {subject.label: [] for subject in group.subjects} for group in chosen
    }
    for number in range(rounds):
        for group in chosen:
            if group.rounds is not None and number >= group.rounds:
                continue
            for subject in group.subjects:
                say(f"round {number + 1} of {rounds}: {group.name}: {subject.label}")
                seen[group.name][subject.label].append(run(subject, places))
            compare(group, {label: figures[-1] for label, figures in seen[group.name].items()})
    return seen


def compare(group: Group, figures: dict[str, Figures]) -> None:
    """Add what only the whole round can tell: ratios and differences to the baseline."""
    baseline = next(iter(figures.values()))
    for found in figures.values():
        if group.compares:
            found["ratio"] = found[group.compares] / baseline[group.compares]
        for figure, added in group.differences.items():
            found[added] = found[figure] - baseline[figure]


def medians(rounds: Rounds) -> Results:
    """Give the median of each figure over the rounds."""
    return {
        name: {
            label: {figure: median(one[figure] for one in seen) for figure in seen[0]}
            for label, seen in subjects.items()
        }
        for name, subjects in rounds.items()
    }


def quotient(rounds: Rounds, group: str, figure: str, above: str, below: str) -> float:
    """Give the median over the rounds of one subject's figure through another's of that round."""
    seen = rounds[group]
    return median(
        one[figure] / other[figure] for one, other in zip(seen[above], seen[below], strict=True)
    )


def run(subject: Subject, places: Mapping[str, Place]) -> Figures:
    """Run a subject in a process of its own, so that none shares a heap with another."""
    place = places[subject.place] if subject.place else None
    with place.empty() if place else nullcontext() as target:
        options = subject.options if target is None else {**subject.options, "target": target}
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "benchmarks.subject",
                json.dumps([subject.function, subject.turns, options]),
            ],
            check=True,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            timeout=_TIMEOUT_S,
        )
        figures: Figures = json.loads(done.stdout)
        if place and target:
            there = place.turns(target)
            # A peer that loses turns says so in its figures; of all others each turn is there.
            if there is not None and there != figures["turns"]:
                raise RuntimeError(
                    f"{subject.label}: {figures['turns']} turns were logged, {there} are stored"
                )
    return figures
