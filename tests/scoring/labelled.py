"""The labelled questions, and the half of them that no rule was made from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from trajectory import EffortLevel
from trajectory.scoring.effort import effort_of

FILE = Path(__file__).with_name("questions.jsonl")
RESPONSES = Path(__file__).with_name("responses.jsonl")
"""Whole responses, written and labelled after the first rules and before anyone read them again."""


class Labelled(NamedTuple):
    question: str
    effort: EffortLevel

    @property
    def held_out(self) -> bool:
        """Whether the rules were made without it. A hash decides, so nobody chooses."""
        return bool(sha256(self.question.encode()).digest()[0] & 1)


def labelled() -> list[Labelled]:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [Labelled(row["question"], EffortLevel(row["effort"])) for row in rows]


class Response(NamedTuple):
    text: str
    asks: tuple[Labelled, ...]


def responses() -> list[Response]:
    rows = [json.loads(line) for line in RESPONSES.read_text(encoding="utf-8").splitlines()]
    return [
        Response(
            row["response"],
            tuple(
                Labelled(asked["question"], EffortLevel(asked["effort"]))
                for asked in row["questions"]
            ),
        )
        for row in rows
    ]


class Confusion:
    """How often each label was given which level."""

    def __init__(self, questions: Iterable[Labelled]) -> None:
        self.pairs = Counter((one.effort, effort_of(one.question)) for one in questions)

    @property
    def accuracy(self) -> float:
        right = sum(count for (label, level), count in self.pairs.items() if label == level)
        return right / self.pairs.total()

    def __str__(self) -> str:
        head = "label   " + "".join(f"{level:>8}" for level in EffortLevel)
        rows = (
            f"{label:<8}" + "".join(f"{self.pairs[label, level]:>8}" for level in EffortLevel)
            for label in EffortLevel
        )
        return "\n".join((head, *rows, f"accuracy {self.accuracy:.3f} of {self.pairs.total()}"))
