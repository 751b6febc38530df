"""What the factories make is whole, and goes through a backend whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from factories import (
    FactFactory,
    MessageFactory,
    QuestionFactory,
    ToolCallFactory,
    TrajectoryEndFactory,
    TrajectoryFactory,
    TurnFactory,
    ViolationFactory,
    run,
)

from trajectory import Batch, Trajectory, Turn, open_backend
from trajectory.merge import ended_trajectory, merge_trajectory
from trajectory.models import in_order, numbered
from trajectory.query import TrajectoryQuery, TurnQuery


@pytest.mark.parametrize(
    ("made", "left_out"),
    [
        (MessageFactory(full=True), set()),
        (ToolCallFactory(full=True), set()),
        (QuestionFactory(full=True), {"position", "source"}),
        (ViolationFactory(full=True), {"position", "source"}),
        (TurnFactory(full=True), set()),
        (TrajectoryFactory(full=True, ended=True), set()),
        (TrajectoryEndFactory(failed=True), set()),
        (FactFactory(violation=True), set()),
    ],
    ids=lambda value: "" if isinstance(value, set) else type(value).__name__,
)
def test_full_values_have_every_field(made: Any, left_out: set[str]) -> None:
    assert made.model_fields_set == set(type(made).model_fields) - left_out
    assert not [name for name in made.model_fields_set if getattr(made, name) in (None, (), {})]


@pytest.mark.parametrize("place", ["memory://", ":memory:", "t.db"])
async def test_a_whole_run_goes_in_and_comes_out(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sent, other = run(turns=3, full=True), run(turns=1)
    backend = open_backend(place)
    await backend.open()
    try:
        await backend.write(sent)
        await backend.write(other)
        await backend.write(sent)
        query = {"ids": [sent.starts[0].id]}
        trajectories = [t async for t in backend.read_trajectories(TrajectoryQuery(**query))]
        turns = [t async for t in backend.read_turns(TurnQuery(**query))]
    finally:
        await backend.close()
    assert trajectories == [ended(sent)]
    assert turns == [with_late_question(sent), *sent.turns[1:]]


def ended(batch: Batch) -> Trajectory:
    """Give the row that a run leaves."""
    merged, differing = merge_trajectory(batch.starts[0], ended_trajectory(batch.ends[0]))
    assert not differing
    return merged


def with_late_question(batch: Batch) -> Turn:
    """Give the first turn with the question that was logged later."""
    turn = batch.turns[0]
    late: Any = batch.facts[0].finding
    placed = [*numbered(turn.questions), (batch.facts[0].position, late)]
    return turn.replace(questions=in_order(placed))


def test_a_batch_counts_what_it_holds_and_can_leave_trajectories_out() -> None:
    one, other = run(turns=3), run(turns=2)
    both = Batch(
        one.starts + other.starts,
        one.turns + other.turns,
        one.facts + other.facts,
        one.ends + other.ends,
    )
    assert (len(Batch()), len(one), len(both)) == (0, 6, 11)
    assert both.without(frozenset({one.starts[0].id})) == other
    assert both.without(frozenset({one.starts[0].id, other.starts[0].id})) == Batch()
    assert both.without(frozenset({uuid4()})) == both
