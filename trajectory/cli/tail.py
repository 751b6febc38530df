"""`trajectory tail`: the newest turns, and with `-f` those that come."""

from __future__ import annotations

import asyncio
import errno
import json as json_
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Annotated

import typer

from trajectory.cli import lines, outlet, screen
from trajectory.cli.filters import Filters, Limit, filtered
from trajectory.cli.following import Feed, Heard
from trajectory.cli.options import DEFAULT_DB, Db
from trajectory.cli.running import run
from trajectory.counts import tokens_of
from trajectory.errors import BackendUnavailableError
from trajectory.store import TrajectoryStore
from trajectory.words import counted

_FOLD = 60
_NEWEST = 10


@filtered
def tail(
    db: Db = DEFAULT_DB,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is logged from now on.")
    ] = False,
    limit: Limit = _NEWEST,
    interval: Annotated[
        float,
        typer.Option(min=0.05, max=3600, metavar="SECONDS", help="How often -f looks for more."),
    ] = 1.0,
    chosen: Filters,
    json: Annotated[
        bool, typer.Option("--json", help="Print each turn as a JSON object on a line.")
    ] = False,
) -> None:
    """Show the newest turns, a line each; with -f go on, while other processes log.

    The newest by the time they were created; what comes then is shown when it is committed, late
    ones too. Each turn is shown once. --since and --until look at when the turn was created.
    `trajectory show ID --turn N` shows all of one.

    Exit codes: 0 done; 1 the database failed; 2 wrong use; 130 interrupted, as -f always ends.
    """
    run(_tail(db, chosen, limit or 0, interval if follow else None, json=json))


async def _tail(
    db: str, chosen: Filters, count: int, interval: float | None, *, json: bool
) -> None:
    goes_on = interval is not None
    show = as_json if json else Shown(at_once=goes_on)
    parents, wanted = chosen.parents(), chosen.own_turns()
    async with TrajectoryStore(db) as store:
        feed = Feed(store, parents, wanted)
        for heard in await feed.newest(count, goes_on=goes_on):
            show(heard)
        if interval is not None:
            await follow_on(feed, show, lambda: asyncio.sleep(interval))


async def follow_on(
    feed: Feed, show: Callable[[Heard], None], pause: Callable[[], Awaitable[object]]
) -> None:
    """Show what comes, until it is cancelled or nobody reads any more; `pause` between two looks.

    A database that is away is told once, and looked for again.
    """
    is_away = False
    while True:
        if sys.stdout is None:
            return  # at the end of a command that is told
        if not outlet.is_read():
            raise BrokenPipeError(errno.EPIPE, "nobody reads any more")
        try:
            async with aclosing(feed.news()) as news:
                async for heard in news:
                    show(heard)
        except BackendUnavailableError as error:
            if not is_away:
                screen.note(f"{error}; trying again", "yellow")
            is_away = True
        else:
            if is_away:
                screen.note("the database is back", "yellow")
            is_away = False
        await pause()


class Shown:
    """Prints turns for a person, a line each."""

    def __init__(self, *, at_once: bool = False) -> None:
        self._page = screen.Page(at_once=at_once)

    def __call__(self, heard: Heard) -> None:
        """Print a turn."""
        turn = heard.turn
        parts = [
            lines.second(turn.created_at),
            f"{turn.trajectory_id} {turn.turn_number:>3}",
            lines.label(heard.agent_name),
            f"{lines.folded(turn.prompt, _FOLD)} → {lines.folded(turn.response, _FOLD)}",
        ]
        measured = []
        if (tokens := tokens_of(turn)) is not None:
            measured.append(counted(tokens, "token"))
        if turn.latency_ms is not None:
            measured.append(lines.milliseconds(turn.latency_ms))
        if turn.tool_calls:
            measured.append(counted(len(turn.tool_calls), "tool call"))
        if measured:
            parts.append(f"({', '.join(measured)})")
        self._page.line("  ".join(parts), "red" if turn.error is not None else "")


def as_json(heard: Heard) -> None:
    """Print a turn for a program."""
    screen.out(
        json_.dumps({**heard.turn.model_dump(mode="json"), "agent_name": heard.agent_name}) + "\n"
    )
