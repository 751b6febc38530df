"""Numbers in messages."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun: `1 turn`, `2 turns`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
