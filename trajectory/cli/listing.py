"""`trajectory list`: the newest trajectories, each on a line."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime
from typing import Annotated, NamedTuple
from uuid import UUID

import typer

from trajectory.cli import lines, screen
from trajectory.cli.filters import Filters, Source, filtered
from trajectory.cli.options import DEFAULT_DB, Db, Json
from trajectory.cli.running import run
from trajectory.door import now_utc
from trajectory.errors import ConfigurationError
from trajectory.models import AGENT
from trajectory.query import TrajectoryCursor, TrajectoryQuery
from trajectory.store import TrajectoryStore
from trajectory.summary import Summary, summaries

_HEADS = ("when (UTC)", "id", "agent", "spec", "status", "turns", "tokens", "score")
_FIGURES = frozenset({"turns", "tokens", "score"})
_PAGE = 20
_LONG = frozenset({"system_prompt", "tools"})
"""What a list leaves out."""
_NARROW = 8
"""So wide is the column of agents at least, whatever the screen."""
_SHOWN_AT_ONCE = 200
"""Rows that are counted and printed together; their columns are as wide as they need."""


class _Part(NamedTuple):
    summaries: list[Summary]
    next: TrajectoryCursor | None
    """The place behind which there are more; None at the end."""


@filtered
def list_(
    db: Db = DEFAULT_DB,
    *,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most so many.")
    ] = _PAGE,
    after: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Go on behind this place: the `next` of --json."),
    ] = None,
    source: Source = AGENT,
    chosen: Filters,
    json: Json = False,
) -> None:
    """List trajectories, the newest first: when, who, how they stand, how they score.

    What is said of turns (--text, --tool, ...) is so of at least one turn; --since and --until
    look at when the trajectory was created. One that says running, and has been silent for an
    hour, shows as interrupted.

    Exit codes: 0 done; 1 the database failed; 2 wrong use; 130 interrupted.
    """
    cursor = None if after is None else _cursor(after)
    query = chosen.trajectories(descending=True, after=cursor)
    run((_answer if json else _print)(db, query, limit, source))


async def _print(db: str, query: TrajectoryQuery, limit: int, source: str) -> None:
    page = screen.Page()
    left = limit
    async with TrajectoryStore(db) as store:
        while left > 0:
            asked = min(left, _SHOWN_AT_ONCE)
            part = await _part(store, query, asked, source)
            rows = [_row(each, now_utc()) for each in part.summaries]
            head, *body = lines.table(*_fitting(rows, page.width), _FIGURES)
            if left == limit:
                page.line(head, "bold")
            for line in body:
                page.line(line)
            if not rows:
                screen.note("no trajectory was found")
            if part.next is None:
                break
            query = query.model_copy(update={"after": part.next})
            left -= asked


async def _part(store: TrajectoryStore, query: TrajectoryQuery, limit: int, source: str) -> _Part:
    """Read so many, and the place behind them."""
    asked = query.model_copy(update={"limit": limit + 1})
    async with aclosing(store.trajectories(asked)) as found:
        trajectories = [each async for each in found]
    kept = trajectories[:limit]
    next_ = TrajectoryQuery.cursor(kept[-1]) if kept and len(trajectories) > limit else None
    return _Part(await summaries(store, kept, source), next_)


def _row(summary: Summary, now: datetime) -> tuple[str, ...]:
    trajectory = summary.trajectory
    return (
        lines.minute(trajectory.created_at),
        str(trajectory.id),
        lines.label(trajectory.agent_name),
        lines.label(trajectory.spec_id),
        summary.standing(now) or lines.NOTHING,
        lines.figure(summary.totals.turns),
        lines.figure(summary.totals.tokens),
        lines.signed(summary.score.total),
    )


def _fitting(
    rows: list[tuple[str, ...]], width: int | None
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Give heads and rows that fit on a screen, if they can: what can be done without, goes."""
    if width is None or lines.width_of(_HEADS, rows) <= width:
        return _HEADS, rows
    rows = [(when, lines.short(id_), *rest) for when, id_, *rest in rows]
    if lines.width_of(_HEADS, rows) <= width:
        return _HEADS, rows
    heads = tuple(each for each in _HEADS if each != "spec")
    rows = [(when, id_, agent, *rest) for when, id_, agent, _, *rest in rows]
    others = [(*row[:2], *row[3:]) for row in rows]
    left = max(_NARROW, width - 2 - lines.width_of((*heads[:2], *heads[3:]), others))
    return heads, [(*row[:2], lines.cut(row[2], left), *row[3:]) for row in rows]


async def _answer(db: str, query: TrajectoryQuery, limit: int, source: str) -> None:
    async with TrajectoryStore(db) as store:
        part = await _part(store, query, limit, source)
    last = part.next
    next_ = None if last is None else f"{last.created_at.isoformat()}_{last.id}"
    now = now_utc()
    found = [each.as_json(now, without=_LONG) for each in part.summaries]
    screen.answer({"trajectories": found, "next": next_})


def _cursor(text: str) -> TrajectoryCursor:
    created_at, _, id_ = text.partition("_")
    try:
        at = datetime.fromisoformat(created_at)
        cursor = TrajectoryCursor(at, UUID(id_))
    except ValueError:
        cursor = None
    if cursor is None or cursor.created_at.tzinfo is None:
        raise ConfigurationError(
            f"--after {text[:80]!r} is no place in a list; give the `next` of an earlier --json"
        )
    return cursor
