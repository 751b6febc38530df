"""Texts, figures and tables as lines of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.cells import cell_len, set_cell_size

from trajectory.cli.screen import visible

NOTHING = "-"
"""Stands for what is not known."""

_SCAN = 4


def label(text: str | None, width: int = 24) -> str:
    """Write a name on one line, line ends and tabs as escapes, and cut it to a width."""
    if text is None:
        return NOTHING
    shown = visible(text[: width + 1]).replace("\n", r"\n").replace("\t", r"\t")
    return cut(shown, width)


def folded(text: str, width: int = 80) -> str:
    """Write a text on one line, blanks and line ends as one blank, and cut it to a width."""
    # Only the beginning is looked at: a text may have megabytes.
    start = " ".join(text[: _SCAN * width].split())
    more = len(text) > _SCAN * width
    return cut(visible(start) + (" …" if more else ""), width)


def cut(text: str, width: int) -> str:
    """Cut a line to a width, with a mark at its end where something is left out."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…"


def indented(text: str, margin: str) -> list[str]:
    """Give the lines of a text behind a margin."""
    return [f"{margin}{line}".rstrip() for line in visible(text).split("\n")]


def short(id_: str) -> str:
    """Shorten an id to where it begins, which `trajectory show` takes as well."""
    return id_[:13]


def width_of(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Say how many columns of the terminal a table takes."""
    widths = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    return sum(widths) + 2 * (len(widths) - 1)


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str] = frozenset()
) -> list[str]:
    """Write a table as lines. Columns whose head is in `right` hold figures.

    Cells must be lines already, as `label` makes them.
    """
    widths = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    lines = []
    for row in (heads, *rows):
        cells = [
            _filled(cell, width, right=head in right)
            for head, cell, width in zip(heads, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _filled(cell: str, width: int, *, right: bool) -> str:
    blank = " " * (width - cell_len(cell))
    return blank + cell if right else cell + blank


def minute(instant: datetime) -> str:
    """Write an instant as 2026-01-31 10:00."""
    return instant.isoformat(" ", "minutes")[:16]


def second(instant: datetime) -> str:
    """Write an instant as 2026-01-31 10:00:00."""
    return instant.isoformat(" ", "seconds")[:19]


def figure(number: int | None) -> str:
    """Write a whole number, or that it is not known."""
    return NOTHING if number is None else f"{number:,}"


def signed(score: float) -> str:
    """Write a score: +0.1, -0.08."""
    return f"{score:+.6g}"


def milliseconds(number: float) -> str:
    """Write a length of time that is known in milliseconds, shortly: 12.5 ms, 3.21 s, 5 min."""
    if number < 1000:
        return f"{number:.3g} ms"
    if number < 60_000:
        return f"{number / 1000:.3g} s"
    if number < 3_600_000:
        return f"{number / 60_000:.3g} min"
    return f"{number / 3_600_000:,.4g} h"


def length(time: timedelta) -> str:
    """Write a length of time shortly."""
    return milliseconds(time / timedelta(milliseconds=1))
