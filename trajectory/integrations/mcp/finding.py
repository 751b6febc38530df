"""Tools that look among many: lists, searches, scores and figures. They change nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from trajectory.door import now_utc
from trajectory.figures import Sums, figures_of
from trajectory.integrations.mcp import answers, arguments, telling
from trajectory.integrations.mcp.bounds import Filler, Scissors, few_at_once, filled, fitting
from trajectory.integrations.mcp.cursors import Bookmark
from trajectory.models import Trajectory, Turn
from trajectory.query import TrajectoryQuery
from trajectory.scoring import FORMULA
from trajectory.store import TrajectoryStore
from trajectory.summary import Summary, summaries

_EXCERPT = 300


async def list_trajectories(
    store: TrajectoryStore, asked: arguments.ListTrajectories
) -> answers.TrajectoryList:
    """List trajectories, the newest first."""
    mark = Bookmark("list_trajectories", asked)
    query = asked.trajectories(mark.now, descending=True, after=mark.trajectory())
    found, more = await _part(store.trajectories(_more_than(query, asked.limit)), asked.limit)
    now = now_utc()

    def row(summary: Summary) -> answers.TrajectoryRow:
        return fitting(lambda scissors: telling.trajectory_row(summary, now, scissors))

    told = await summaries(store, found, asked.source)
    rows = filled(map(row, told))
    last = told[len(rows) - 1].trajectory if len(rows) < len(told) else found[-1] if more else None
    return answers.TrajectoryList(
        trajectories=rows,
        source=asked.source,
        next_cursor=None if last is None else mark.next(*TrajectoryQuery.cursor(last)),
    )


async def search_turns(store: TrajectoryStore, asked: arguments.SearchTurns) -> answers.FoundTurns:
    """Find turns, those of the newest trajectories first."""
    mark = Bookmark("search_turns", asked)
    query = asked.turns(mark.now, descending=True, after=mark.turn(), limit=asked.limit + 1)
    filler, rows, more = Filler(), list[answers.FoundTurn](), False
    async with aclosing(few_at_once(store, query)) as turns:
        async for turn in turns:
            row = _found_turn(turn, asked.text)
            more = len(rows) == asked.limit or not filler.takes(row)
            if more:
                break
            rows.append(row)
    return answers.FoundTurns(
        turns=rows,
        next_cursor=mark.next(rows[-1].trajectory_id, rows[-1].turn_number) if more else None,
    )


def _found_turn(turn: Turn, wanted: str | None) -> answers.FoundTurn:
    return fitting(lambda scissors: _found(turn, wanted, scissors))


def _found(turn: Turn, wanted: str | None, scissors: Scissors) -> answers.FoundTurn:
    length = min(_EXCERPT, scissors.length)
    return answers.FoundTurn(
        trajectory_id=turn.trajectory_id,
        turn_number=turn.turn_number,
        created_at=turn.created_at,
        model_name=scissors.trimmed("model_name", turn.model_name),
        prompt=telling.excerpt(turn.prompt, wanted, length),
        response=telling.excerpt(turn.response, wanted, length),
        tools=[each.tool_name[:length] for each in turn.tool_calls[: telling.FEW]],
    )


async def score_trajectories(
    store: TrajectoryStore, asked: arguments.ScoreTrajectories
) -> answers.ScoreList:
    """Score trajectories, the newest first."""
    mark = Bookmark("score_trajectories", asked)
    ids = None if asked.ids is None else tuple(dict.fromkeys(asked.ids))
    query = asked.trajectories(mark.now, ids=ids, descending=True, after=mark.trajectory())
    found, more = await _part(store.trajectories(_more_than(query, asked.limit)), asked.limit)
    chosen = TrajectoryQuery(ids=tuple(each.id for each in found))
    scores = {each.trajectory_id: each async for each in store.scores(chosen, source=asked.source)}
    there: set[object] = set()
    if ids is not None and mark.is_first:
        there = {each.id async for each in store.trajectories(TrajectoryQuery(ids=ids))}
    return answers.ScoreList(
        trajectories=[telling.score_row(scores[each.id]) for each in found if each.id in scores],
        missing=[id_ for id_ in ids or () if mark.is_first and id_ not in there],
        source=asked.source,
        formula=FORMULA,
        next_cursor=mark.next(*TrajectoryQuery.cursor(found[-1])) if more else None,
    )


async def statistics(store: TrajectoryStore, asked: arguments.Statistics) -> answers.Figures:
    """Count and score all that passes the filters."""
    now = now_utc()
    figures = await figures_of(store, asked.parents(), asked.own_turns(now), asked.source)
    sums = Sums()
    async with aclosing(store.scores(asked.trajectories(now), source=asked.source)) as scores:
        async for each in scores:
            sums.add(each)
    means = sums.means
    told = figures.as_json()
    for names in (told["agents"], told["tools"]):
        for each_name in names:
            each_name["name"] = each_name["name"][:100]
    return answers.Figures(
        **told, mean_score=None if means is None else answers.ScoreShown(**means)
    )


def _more_than(query: TrajectoryQuery, limit: int) -> TrajectoryQuery:
    """Ask for one more, to see whether there are more."""
    return query.model_copy(update={"limit": limit + 1})


async def _part(
    rows: AsyncGenerator[Trajectory, None], limit: int
) -> tuple[list[Trajectory], bool]:
    """Read so many, and say whether there are more."""
    async with aclosing(rows) as found:
        read = [each async for each in found]
    return read[:limit], len(read) > limit
