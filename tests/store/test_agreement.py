"""A store finds the same on memory, SQLite and Postgres, whatever is stored and asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from property.databases import Databases

from trajectory import (
    Batch,
    Capabilities,
    EffortLevel,
    Question,
    Severity,
    StorageBackend,
    ToolCall,
    Trajectory,
    TrajectoryQuery,
    TrajectoryStatus,
    TrajectoryStore,
    Turn,
    TurnQuery,
    Violation,
)
from trajectory.testing import WrappedBackend
from trajectory.testing.samples import NOON

# Few values, so that what is asked for is often there; some that a language would take for its own.
words = st.sampled_from(["", "a", "A", "ä", "%", "'", "a'b", "\\", "$.a", "\0", "e\u0301"])
sources = st.sampled_from(["agent", "judge:x", "'"])
values = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, 1, 1.0, 0.0, "1", "a", 2**53 + 1, 1e300]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(words, values, max_size=2)
ids = st.integers(1, 3).map(lambda n: UUID(int=n))
questions = st.builds(
    Question, question_text=words, effort_level=st.sampled_from(EffortLevel), source=sources
)
violations = st.builds(
    Violation, preference_name=words, severity=st.sampled_from(Severity), source=sources
)
turns = st.builds(
    Turn,
    trajectory_id=ids,
    turn_number=st.integers(0, 5),
    prompt=words,
    response=st.builds("".join, st.lists(words, max_size=3)),
    created_at=st.just(NOON),
    metadata=objects,
    questions=st.lists(questions, max_size=2),
    violations=st.lists(violations, max_size=2),
    tool_calls=st.lists(st.builds(ToolCall, tool_name=words), max_size=2),
)
trajectories = st.builds(
    Trajectory,
    id=ids,
    spec_id=st.none() | words,
    agent_name=st.none() | words,
    run_id=st.none() | words,
    session_id=st.none() | words,
    user_id=st.none() | words,
    parent_trajectory_id=st.none() | ids,
    status=st.none() | st.sampled_from(TrajectoryStatus),
    created_at=st.just(NOON),
    metadata=objects,
)
paths = words | st.lists(words, min_size=1, max_size=2).map(tuple)
_common: dict[str, Any] = {
    "metadata": st.dictionaries(paths, values, max_size=1),
    "descending": st.booleans(),
    "limit": st.integers(0, 3),
}
_of_a_turn: dict[str, Any] = {
    **dict.fromkeys(("text", "tool", "preference"), words),
    "effort": st.sampled_from(EffortLevel),
    "severity": st.sampled_from(Severity),
    "source": sources,
}
_of_a_trajectory: dict[str, Any] = {
    **dict.fromkeys(("spec_id", "agent_name", "run_id", "session_id", "user_id"), words),
    "parent_trajectory_id": ids,
    "status": st.sampled_from(TrajectoryStatus),
}
_metadata = {"metadata": _common["metadata"]}
turn_filters = st.fixed_dictionaries(
    {},
    optional={
        **_common,
        **_of_a_turn,
        "trajectory": st.builds(
            lambda given: TrajectoryQuery(**given),
            st.fixed_dictionaries({}, optional={**_metadata, **_of_a_trajectory}),
        ),
        "after": st.tuples(ids, st.integers(0, 5)),
    },
)
trajectory_filters = st.fixed_dictionaries(
    {},
    optional={
        **_common,
        **_of_a_trajectory,
        "turn": st.builds(
            lambda given: TurnQuery(**given),
            st.fixed_dictionaries({}, optional={**_metadata, **_of_a_turn}),
        ),
    },
)


@pytest.fixture
def databases(tmp_path: Path, postgres_url: str) -> Iterator[Databases]:
    made = Databases(tmp_path / "t.db", postgres_url)
    yield made
    made.close()


class _Plain(WrappedBackend):
    """Filters by nothing."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()


async def _found(
    backend: StorageBackend, of_turns: list[TurnQuery], of_trajectories: list[TrajectoryQuery]
) -> list[list[Any]]:
    async with TrajectoryStore(backend) as store:
        return [
            *[[turn.key async for turn in store.turns(query)] for query in of_turns],
            *[[each.id async for each in store.trajectories(query)] for query in of_trajectories],
            [await store.statistics()],
        ]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    starts=st.lists(trajectories, unique_by=lambda each: each.id, max_size=3),
    stored=st.lists(turns, unique_by=lambda turn: turn.key, max_size=8),
    asked=st.lists(turn_filters, min_size=2, max_size=6),
    also=st.lists(trajectory_filters, min_size=1, max_size=3),
)
def test_the_same_questions_have_the_same_answers(
    databases: Databases,
    starts: list[Trajectory],
    stored: list[Turn],
    asked: list[dict[str, Any]],
    also: list[dict[str, Any]],
) -> None:
    databases.empty()
    of_turns = [TurnQuery(**filters) for filters in asked]
    of_trajectories = [TrajectoryQuery(**filters) for filters in also]
    answers = []
    for backend in databases.all:
        databases.run(backend.write(Batch(starts=tuple(starts), turns=tuple(stored))))
        answers.append(databases.run(_found(backend, of_turns, of_trajectories)))
    answers.append(databases.run(_found(_Plain(databases.memory), of_turns, of_trajectories)))
    memory, sqlite, postgres, plain = answers
    for query, found in zip(of_turns, memory, strict=False):
        wanted = sorted(turn.key for turn in stored if query.matches(turn))
        assert set(found) <= set(wanted)
        if query.after is None and query.trajectory is None:
            assert found == wanted[:: -1 if query.descending else 1][: query.limit]
        event("some" if found else "none")
    assert sqlite == memory
    assert postgres == memory
    assert plain == memory
