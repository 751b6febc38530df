"""What the long tests found, as one line to read and one JSON file for the docs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "FAULTS_FIGURES"
"""Names the folder that the JSON files go to."""
PART_VARIABLE = "FAULTS_PART"
"""Names the part of the full numbers that is run, as 0.1; a number of its own goes before it."""


def count(name: str, full: int) -> int:
    """Say how many trials to run: FAULTS_<NAME>, else the part of the full number; one at least."""
    given = os.environ.get(f"FAULTS_{name.upper()}")
    if given is not None:
        return max(1, int(given))
    return max(1, round(full * float(os.environ.get(PART_VARIABLE, "1"))))


def controls(trials: int) -> int:
    """Say how many trials the control gets: enough to see a rate of a tenth."""
    return max(10, trials // 5)


@dataclass
class Figures:
    """The count of one fault: what callers were told, against what the database has."""

    fault: str
    trials: int = 0
    acknowledged: int = 0
    lost: int = 0
    twice: int = 0
    partial: int = 0
    control: str = ""
    control_trials: int = 0
    control_losses: int = 0
    """Trials in which the control lost something (or stored it twice)."""
    besides: dict[str, Any] = field(default_factory=dict)
    """Figures that only this fault has."""

    @property
    def line(self) -> str:
        told = (
            f"{self.fault}: {self.trials} trials, {self.acknowledged} acknowledged, "
            f"{self.lost} lost, {self.twice} twice, {self.partial} partial"
        )
        control = (
            f"control ({self.control}) failed in {self.control_losses} of {self.control_trials}"
            if self.control
            else "no control"
        )
        others = (f"{name.replace('_', ' ')} {value}" for name, value in self.besides.items())
        return "; ".join((told, control, *others))

    @property
    def is_clean(self) -> bool:
        return (self.lost, self.twice, self.partial) == (0, 0, 0)

    @property
    def control_fails(self) -> bool:
        """Whether the same fault does harm without the protection, often enough to prove it.

        What looks for growth, and breaks nothing, has no control.
        """
        if not self.control:
            return True
        return self.control_losses * 10 >= self.control_trials > 0


@dataclass(frozen=True)
class Reporter:
    """Tells the figures of a fault, and then fails where they are not what is promised."""

    say: Callable[[str], None]

    def __call__(self, figures: Figures) -> None:
        self.say(figures.line)
        if folder := os.environ.get(FOLDER_VARIABLE):
            Path(folder).mkdir(parents=True, exist_ok=True)
            name = "".join(each if each.isalnum() else "-" for each in figures.fault.lower())
            told = {**figures.__dict__, "line": figures.line}
            (Path(folder) / f"{name}.json").write_text(json.dumps(told, indent=2) + "\n")
        assert figures.is_clean, figures.line
        assert figures.control_fails, f"the fault did no harm to the control: {figures.line}"
