"""`trajectory show`: one trajectory as a conversation."""

from __future__ import annotations

import json as json_
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from trajectory.cli import lines, screen
from trajectory.cli.conversation import Line, told
from trajectory.cli.filters import Source
from trajectory.cli.options import DEFAULT_DB, Db, Json
from trajectory.cli.running import run
from trajectory.door import now_utc
from trajectory.errors import ConfigurationError, TrajectoryError
from trajectory.models import AGENT, Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnCursor, TurnQuery
from trajectory.store import TrajectoryStore
from trajectory.summary import Summary, summaries
from trajectory.words import counted

_PREFIX = re.compile(r"[0-9a-f]{4,31}", re.ASCII)
_CHILDREN_SHOWN = 20


def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Its id, or how no other id begins.")],
    db: Db = DEFAULT_DB,
    *,
    turn: Annotated[
        int | None, typer.Option(min=0, max=2**31 - 1, metavar="N", help="Only this turn.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Unfold tool calls, reasoning and messages.")
    ] = False,
    source: Source = AGENT,
    json: Json = False,
) -> None:
    """Show a trajectory: what was said, turn by turn, with what was called, asked and broken.

    Tool calls take a line each, and reasoning is folded. Escapes and marks that a terminal would
    obey are shown as text.

    Exit codes: 0 done; 1 there is no such trajectory or turn, or the database failed; 2 wrong use;
    130 interrupted.
    """
    run(_show(db, id_, turn, full=full, source=source, json=json))


async def _show(
    db: str, id_: str, number: int | None, *, full: bool, source: str, json: bool
) -> None:
    async with TrajectoryStore(db) as store:
        trajectory = await _named(store, id_)
        children = await _children(store, trajectory)
        counted_up = await summaries(store, [trajectory], source)
        if not counted_up:  # deleted since
            raise _missing(trajectory.id)
        summary = counted_up[0]
        async with aclosing(_turns(store, trajectory.id, number)) as turns:
            first = await anext(turns, None)
            if first is None and number is not None:
                raise TrajectoryError(
                    f"trajectory {trajectory.id} has no turn {number}; it has "
                    f"{counted(summary.totals.turns, 'turn')}"
                )
            if json:
                await _answer(summary, children.ids, first, turns)
                return
            page = screen.Page()
            for line in _head(summary, children, now_utc(), full=full):
                page.line(*line)
            turn = first
            while turn is not None:
                page.line()
                for line in told(turn, full=full):
                    page.line(*line)
                turn = await anext(turns, None)


def _turns(store: TrajectoryStore, id_: UUID, number: int | None) -> AsyncGenerator[Turn, None]:
    if number is None:
        return store.turns(TurnQuery(ids=(id_,)))
    return _one(store, id_, number)


async def _one(store: TrajectoryStore, id_: UUID, number: int) -> AsyncGenerator[Turn, None]:
    after = TurnCursor(id_, number - 1)
    async with aclosing(store.turns(TurnQuery(ids=(id_,), after=after, limit=1))) as found:
        async for turn in found:
            if turn.turn_number == number:
                yield turn


async def _named(store: TrajectoryStore, text: str) -> Trajectory:
    """Find the one trajectory that is meant. Looks at all of them for the beginning of an id."""
    try:
        id_ = UUID(text)
    except ValueError:
        id_ = None
    if id_ is not None:
        found = await store.get(id_)
        if found is None:
            raise _missing(id_)
        return found
    prefix = text.lower().replace("-", "")
    if not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(
            f"{text[:60]!r} is no id of a trajectory; give one as `trajectory list` shows it, or "
            f"its first 4 characters or more"
        )
    matching: list[Trajectory] = []
    async with aclosing(store.trajectories(TrajectoryQuery(descending=True))) as all_:
        async for each in all_:
            if each.id.hex.startswith(prefix):
                matching.append(each)
                if len(matching) > 1:
                    raise TrajectoryError(
                        f"more than one trajectory begins with {text}: "
                        f"{', '.join(str(each.id) for each in matching)} and perhaps others; "
                        f"give more of it"
                    )
    if not matching:
        raise TrajectoryError(
            f"there is no trajectory that begins with {text}; `trajectory list` shows them"
        )
    return matching[0]


def _missing(id_: UUID) -> TrajectoryError:
    return TrajectoryError(f"there is no trajectory {id_}; `trajectory list` shows them")


@dataclass(slots=True)
class _Children:
    """The trajectories that began in another, of which there may be very many."""

    ids: list[UUID] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    """Who they were; of the first ones alone."""


async def _children(store: TrajectoryStore, parent: Trajectory) -> _Children:
    children = _Children()
    query = TrajectoryQuery(parent_trajectory_id=parent.id)
    async with aclosing(store.trajectories(query)) as found:
        async for each in found:
            children.ids.append(each.id)
            if len(children.names) < _CHILDREN_SHOWN:
                children.names.append(each.agent_name)
    return children


def _head(summary: Summary, children: _Children, now: datetime, *, full: bool) -> Iterator[Line]:
    each = summary.trajectory
    yield Line(f"trajectory {each.id}", "bold")
    named = [
        f"{what} {lines.label(name, 60)}"
        for what, name in (
            ("agent", each.agent_name),
            ("version", each.agent_version),
            ("spec", each.spec_id),
            ("run", each.run_id),
            ("session", each.session_id),
            ("user", each.user_id),
            ("from", each.source_format),
        )
        if name is not None
    ]
    if named:
        yield Line(", ".join(named))
    took = (
        "" if each.ended_at is None else f", took {lines.length(each.ended_at - each.created_at)}"
    )
    standing = summary.standing(now) or "how it stands is not known"
    yield Line(f"{standing}, {lines.second(each.created_at)} UTC{took}")
    if each.error is not None:
        yield Line(f"error: {lines.folded(each.error, 200)}", "red")
    score = summary.score
    parts = [counted(summary.totals.turns, "turn")]
    if summary.totals.tokens is not None:
        parts.append(counted(summary.totals.tokens, "token"))
    if each.reward is not None:
        parts.append(f"reward {each.reward:g}")
    parts.append(
        f"score {lines.signed(score.total)} (asks {lines.signed(score.r_proact)}, keeps to "
        f"preferences {lines.signed(score.r_pers)})"
    )
    yield Line(", ".join(parts))
    if each.system_prompt is not None:
        yield Line(f"(system prompt, {counted(len(each.system_prompt), 'character')})", "dim")
        if full:
            yield from (Line(line, "dim") for line in lines.indented(each.system_prompt, "    "))
    if each.parent_trajectory_id is not None:
        yield Line(f"child of {each.parent_trajectory_id}")
    for id_, agent_name in zip(children.ids, children.names, strict=False):
        name = "" if agent_name is None else f" ({lines.label(agent_name)})"
        yield Line(f"parent of {id_}{name}")
    if len(children.ids) > _CHILDREN_SHOWN:
        yield Line(f"parent of {len(children.ids) - _CHILDREN_SHOWN:,} more")


async def _answer(
    summary: Summary,
    children: Sequence[UUID],
    first: Turn | None,
    turns: AsyncGenerator[Turn, None],
) -> None:
    """Print one JSON object, turn by turn: there may be more of them than memory holds."""
    head = {
        "trajectory": summary.as_json(now_utc()),
        "children": [str(id_) for id_ in children],
    }
    screen.out(json_.dumps(head)[:-1] + ', "turns": [')
    turn, mark = first, ""
    while turn is not None:
        screen.out(mark + json_.dumps(turn.model_dump(mode="json")))
        turn, mark = await anext(turns, None), ", "
    screen.out("]}\n")
