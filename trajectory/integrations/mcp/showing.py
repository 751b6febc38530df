"""Tools that show one trajectory, turn or text, in parts. They change nothing."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from trajectory.door import Value, now_utc
from trajectory.errors import InvalidQueryError
from trajectory.integrations.mcp import answers, arguments, telling
from trajectory.integrations.mcp.bounds import (
    ANSWER,
    Filler,
    dumped,
    few_at_once,
    fitting,
    size_of,
    visible,
)
from trajectory.integrations.mcp.cursors import Bookmark
from trajectory.models import AGENT, Trajectory, Turn
from trajectory.query import TurnCursor, TurnQuery
from trajectory.store import TrajectoryStore
from trajectory.summary import summaries
from trajectory.words import counted

TURNS_AT_ONCE = 20
"""So many turns are shown at once, at most."""

TEXT = 20_000
"""So many characters of a text are given at once, at most."""


async def show_trajectory(
    store: TrajectoryStore, asked: arguments.ShowTrajectory
) -> answers.TrajectoryPage:
    """Show a trajectory and its turns, in their order."""
    mark = Bookmark("show_trajectory", asked)
    id_ = asked.trajectory_id
    trajectory, now, head = await _trajectory(store, id_), now_utc(), None
    if mark.is_first:
        told = await summaries(store, [trajectory], AGENT)
        if not told:  # deleted since
            raise _missing(id_)
        head = fitting(lambda scissors: telling.trajectory_shown(told[0], now, scissors))
    filler = Filler(0 if head is None else size_of(head))
    rows: list[answers.TurnShown] = []
    more = False
    query = TurnQuery(ids=(id_,), after=mark.turn(), limit=TURNS_AT_ONCE + 1)
    async with aclosing(few_at_once(store, query)) as turns:
        async for turn in turns:
            row = _turn(turn)
            more = len(rows) == TURNS_AT_ONCE or not filler.takes(row)
            if more:
                break
            rows.append(row)
    return answers.TrajectoryPage(
        trajectory=head,
        turns=rows,
        next_cursor=mark.next(id_, rows[-1].turn_number if rows else -1) if more else None,
    )


async def show_turn(store: TrajectoryStore, asked: arguments.ShowTurn) -> answers.TurnPage:
    """Show a turn with its messages, and then its tool calls."""
    mark = Bookmark("show_turn", asked)
    turn = await _the_turn(store, asked.trajectory_id, asked.turn_number)
    head = _turn(turn) if mark.is_first else None
    filler = Filler(0 if head is None else size_of(head))
    messages: list[answers.MessageShown] = []
    calls: list[answers.CallShown] = []
    part, parts = mark.part(), len(turn.messages) + len(turn.tool_calls)
    while part < parts:
        row: BaseModel
        position = part - len(turn.messages)
        if position < 0:
            row = message = _message(turn, part)
            if not filler.takes(row):
                break
            messages.append(message)
        else:
            row = call = _call(turn, position)
            if not filler.takes(row):
                break
            calls.append(call)
        part += 1
    return answers.TurnPage(
        turn=head,
        messages=messages,
        tool_calls=calls,
        next_cursor=mark.next(part) if part < parts else None,
    )


async def read_text(store: TrajectoryStore, asked: arguments.ReadText) -> answers.TextPart:
    """Read a part of one text."""
    value: Value
    if asked.turn_number is None:
        value = await _trajectory(store, asked.trajectory_id)
    else:
        value = await _the_turn(store, asked.trajectory_id, asked.turn_number)
    text = _text(value, asked.path)
    if asked.offset > len(text):
        raise InvalidQueryError(
            f"offset is {asked.offset}, and the text has {counted(len(text), 'character')}"
        )
    length = TEXT
    part = text[asked.offset : asked.offset + length]
    while len(visible(dumped(part))) > ANSWER - 1000:
        length //= 2
        part = part[:length]
    end = asked.offset + len(part)
    return answers.TextPart(
        text=part,
        offset=asked.offset,
        characters=len(text),
        next_offset=end if end < len(text) else None,
    )


def _turn(turn: Turn) -> answers.TurnShown:
    return fitting(lambda scissors: telling.turn_shown(turn, scissors))


def _message(turn: Turn, position: int) -> answers.MessageShown:
    message = turn.messages[position]
    return fitting(lambda scissors: telling.message_shown(position, message, scissors))


def _call(turn: Turn, position: int) -> answers.CallShown:
    call = turn.tool_calls[position]
    return fitting(lambda scissors: telling.call_shown(position, call, scissors))


async def _trajectory(store: TrajectoryStore, id_: UUID) -> Trajectory:
    found = await store.get(id_)
    if found is None:
        raise _missing(id_)
    return found


async def _the_turn(store: TrajectoryStore, id_: UUID, number: int) -> Turn:
    query = TurnQuery(ids=(id_,), after=TurnCursor(id_, number - 1), limit=1)
    async with aclosing(store.turns(query)) as turns:
        async for turn in turns:
            if turn.turn_number == number:
                return turn
    await _trajectory(store, id_)
    totals = await store.totals((id_,))
    raise InvalidQueryError(
        f"trajectory {id_} has no turn {number}; it has {counted(totals[id_].turns, 'turn')}, and "
        f"show_trajectory shows their numbers"
    )


def _missing(id_: UUID) -> InvalidQueryError:
    return InvalidQueryError(f"there is no trajectory {id_}; list_trajectories gives the ids")


def _text(value: Value, path: str) -> str:
    """Find a text by its path; JSON is written as text."""
    found: Any = value
    for key in path.split("/"):
        if isinstance(found, tuple):
            found = found[int(key)] if int(key) < len(found) else None
        elif isinstance(found, Value) and key in type(found).model_fields:
            found = getattr(found, key)
        else:
            found = None
    if isinstance(found, str):
        return str(found)
    if isinstance(found, dict | list):
        return dumped(found)
    raise InvalidQueryError(
        "there is no text at this path; give one that `cut` names, such as prompt, response, "
        "messages/0/content or tool_calls/0/result, with the turn's number; or system_prompt, "
        "tools, metadata of the trajectory, without one"
    )
