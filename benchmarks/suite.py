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

from benchmarks import baselines, durability, hot_path, strategies, tuning
from benchmarks.groups import Group, Subject
from benchmarks.work import Figures

if TYPE_CHECKING:
    from benchmarks.places import Place  # which loads the migrations: no subject's heap has them

_FUNCTIONS: dict[str, Callable[..., Figures]] = {
    function.__name__: function
    for function in (
        baselines.bare_sqlite3,
        baselines.bare_copy,
        strategies.sync_strategy,
        strategies.async_strategy,
        tuning.buffer_size,
        tuning.flush_interval,
        hot_path.log_turn,
        hot_path.queue_put,
        hot_path.stall,
        durability.level_throughput,
        durability.level_call,
        durability.batches,
    )
}
_DIFFERENCES = {"late_p999_ms": "added_p999_ms", "batch_ms": "added_batch_ms"}
"""Figures of which the difference to the baseline's counts, and its name."""
_ROOT = Path(__file__).parents[1]
_TIMEOUT_S = 120

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
                seen[group.name][subject.label].append(_run(subject, places))
            _compare(group, {label: figures[-1] for label, figures in seen[group.name].items()})
    return seen


def _compare(group: Group, figures: dict[str, Figures]) -> None:
    """Add what only the whole round can tell: ratios and differences to the baseline."""
    baseline = next(iter(figures.values()))
    for found in figures.values():
        if group.compares:
            found["ratio"] = found[group.compares] / baseline[group.compares]
        for figure, added in _DIFFERENCES.items():
            if figure in baseline:
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


def _run(subject: Subject, places: Mapping[str, Place]) -> Figures:
    """Run a subject in a process of its own, so that none shares a heap with another."""
    place = places[subject.place] if subject.place else None
    with place.empty() if place else nullcontext() as target:
        options = subject.options if target is None else {**subject.options, "target": target}
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "benchmarks.suite",
                json.dumps([subject.function, subject.turns, options]),
            ],
            check=True,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            timeout=_TIMEOUT_S,
        )
        figures: Figures = json.loads(done.stdout)
        if place and target and (there := place.turns(target)) != figures["turns"]:
            raise RuntimeError(
                f"{subject.label}: {figures['turns']} turns were logged, {there} are stored"
            )
    return figures


if __name__ == "__main__":
    name, count, given = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps(_FUNCTIONS[name](count, **given)))
