"""The account of what a command took in: stored, refused and why, how fast; shown or as JSON."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from trajectory.cli import screen
from trajectory.models import Trajectory, Turn
from trajectory.words import counted

SHOWN = 20
"""So many refused lines are shown with their reason; the rest is counted."""

LISTED = 1000
"""So many numbers of refused lines are kept."""


KINDS_SHOWN = 40
"""So many kinds of what was not kept are named: the input may have made them up."""


class Place(NamedTuple):
    """Where a value came from. `source` is None where there is only one, `line` for all of it."""

    source: str | None
    line: int | None

    def __str__(self) -> str:
        line = None if self.line is None else f"line {self.line}"
        return ", ".join(part for part in (self.source, line) if part is not None) or "the input"


class Tally:
    """Counts what is stored and what is refused.

    Refused lines are shown as they come. With `strict`, the first one sets `stopped`.
    """

    def __init__(
        self, *, strict: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.is_strict = strict
        self._given_up = False
        self._clock = clock
        self._began = clock()
        self.trajectories = 0
        self.turns = 0
        self.new = 0
        """Turns among them that were not stored before."""
        self.knows_new = True
        """Whether the database could be asked what is new."""
        self.messages = 0
        self.tool_calls = 0
        self.refused = 0
        self.not_stored = 0
        """Turns that were taken, but are not known to be stored."""
        self.files = 0
        """Files that were opened."""
        self.empty_files = 0
        """Files among them that held nothing to store, and nothing that was refused."""
        self.left_out: Counter[str] = Counter()
        self.merge_conflicts = 0
        """Fields of trajectories that are stored with another value, which stays."""
        self.error: str | None = None
        self.signal: int | None = None
        """The signal that ended the reading early."""
        self._places: list[Place] = []
        self._problems: list[tuple[Place, str]] = []

    def start(self) -> None:
        """Count the seconds from now on: once the database is open, for an honest rate."""
        self._began = self._clock()

    @property
    def stopped(self) -> bool:
        """Whether a reader must read no further: it is strict, or nothing good can follow."""
        return self._given_up or (self.is_strict and self.refused > 0)

    @property
    def failed(self) -> bool:
        """Whether anything that was sent is not stored."""
        return bool(self.refused or self.not_stored or self.error)

    @property
    def exit_code(self) -> int:
        """0: all is stored; 1: something is not; 128 + n: ended early by signal n."""
        return 128 + self.signal if self.signal is not None else int(self.failed)

    def refuse(self, place: Place, reason: str, *, gives_up: bool = False) -> None:
        """Count a line that is not stored, and show why; `gives_up` if it must be the last."""
        self.refused += 1
        self._given_up = self._given_up or gives_up
        if len(self._places) < LISTED:
            self._places.append(place)
        if self.refused <= SHOWN:
            self._problems.append((place, reason))
            screen.note(f"{place}: {reason}", "yellow")
        elif self.refused == SHOWN + 1:
            screen.note("further refused lines are counted, not shown", "yellow")

    def note_stored(self, value: Trajectory | Turn, *, is_new: bool = True) -> None:
        """Count a value that has been committed."""
        if isinstance(value, Turn):
            self.turns += 1
            self.new += is_new
            self.messages += len(value.messages)
            self.tool_calls += len(value.tool_calls)
        else:
            self.trajectories += 1

    def as_json(self, **more: Any) -> dict[str, Any]:
        """Give the account as a JSON object; `more` are a command's own counts."""
        seconds = self._clock() - self._began
        places = sorted(self._places, key=self._order)
        return {
            "stored": self.turns,
            "new": self.new if self.knows_new else None,
            **more,
            "refused": self.refused,
            "refused_lines": [_as_json(place) for place in places]
            if any(place.source for place in places)
            else [place.line for place in places],
            "problems": [
                {**_as_json(place), "reason": reason}
                for place, reason in sorted(self._problems, key=lambda each: self._order(each[0]))
            ],
            "merge_conflicts": self.merge_conflicts,
            "not_stored": self.not_stored,
            "interrupted": self.signal is not None,
            "error": self.error,
            "seconds": round(seconds, 3),
            "turns_per_second": round(self.turns / seconds) if seconds > 0 else 0,
        }

    def news(self) -> str:
        """Say how much of what is stored is new, where not all of it is."""
        if not self.knows_new or self.new == self.turns:
            return ""
        if self.new:
            return f", {self.new:,} of them new"
        return ", which was there already" if self.turns == 1 else ", all of them there already"

    def show(self, stored: str) -> None:
        """Print the account for a person: `stored` on stdout, what went wrong on stderr."""
        seconds = self._clock() - self._began
        rate = f"{self.turns / seconds:,.0f} turns/s" if seconds > 0 else "at once"
        screen.say(f"{stored} ({seconds:.2f} s, {rate})", "green" if not self.failed else "")
        if self.empty_files:
            files = counted(self.files, "file")
            screen.note(f"nothing to store in {self.empty_files:,} of {files}", "dim")
        shown = self.left_out.most_common(KINDS_SHOWN)
        for what, count in sorted(shown):
            screen.note(f"not kept: {what} ({counted(count, 'time')})", "dim")
        if kinds := len(self.left_out) - len(shown):
            times = self.left_out.total() - sum(count for _, count in shown)
            screen.note(
                f"not kept: {counted(kinds, 'more kind')} ({counted(times, 'time')})", "dim"
            )
        if self.refused:
            whole = any(place.line is None for place in self._places)
            refused = f"{self.refused:,}" if whole else counted(self.refused, "line")
            screen.note(f"{refused} refused: {self._listed()}", "bold yellow")
        if self.merge_conflicts:
            fields = counted(self.merge_conflicts, "field")
            screen.note(
                f"not stored: {fields} of trajectories whose stored value is another, and stays",
                "bold yellow",
            )
        if self.not_stored:
            screen.note(f"not known to be stored: {counted(self.not_stored, 'turn')}", "bold red")
        if self.signal is not None:
            screen.note("interrupted: what came before is stored, the rest was not read", "bold")

    def _order(self, place: Place) -> tuple[int, int]:
        """Sort lines as they stand in their files; the database may refuse one late."""
        sources = dict.fromkeys(each.source for each in self._places)
        return list(sources).index(place.source), place.line or 0

    def _listed(self) -> str:
        by_source: dict[str | None, list[int]] = {}
        for place in self._places:
            lines = by_source.setdefault(place.source, [])
            if place.line is not None:
                lines.append(place.line)
        parts = [
            ": ".join(part for part in (source, _ranges(lines)) if part) or "all"
            for source, lines in list(by_source.items())[:SHOWN]
        ]
        if len(by_source) > SHOWN:
            parts.append(f"and in {counted(len(by_source) - SHOWN, 'more file', 'more files')}")
        if self.refused > len(self._places):
            parts.append(f"and {self.refused - len(self._places):,} more")
        return "; ".join(parts)


def _as_json(place: Place) -> dict[str, Any]:
    return {"line": place.line} if place.source is None else place._asdict()


def _ranges(lines: list[int]) -> str:
    """Write line numbers shortly: `3, 7-9`."""
    runs: list[list[int]] = []
    for line in sorted(set(lines)):
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
