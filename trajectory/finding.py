"""What a check-up finds, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_SHOWN = 3


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Turns are stored; somebody should know all the same."""
    PROBLEM = "problem"
    """Turns can't be stored, or are in danger."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. Holds nothing of what was logged."""

    check: str
    verdict: Verdict
    told: str
    advice: str | None = None
    """What to do."""


def ok(check: str, told: str) -> Finding:
    """Say that all is well."""
    return Finding(check, Verdict.OK, told)


def some(names: Sequence[object]) -> str:
    """Name the first few."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(str, names[:_SHOWN])) + more


def in_bytes(size: int) -> str:
    """Write a size for a person."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,} {unit}"
        size //= 1024
    return f"{size:,} GiB"


def counted(count: int, one: str) -> str:
    """Write a number with its noun."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"
