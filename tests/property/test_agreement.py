"""Memory, SQLite and Postgres are driven with the same random calls, and agree about everything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from property.databases import Databases, trajectories_of, turns_of

from trajectory import (
    Batch,
    ConflictError,
    EffortLevel,
    Fact,
    Message,
    Question,
    Severity,
    StorageBackend,
    ToolCall,
    Trajectory,
    TrajectoryEnd,
    TrajectoryError,
    TrajectoryQuery,
    TrajectoryStatus,
    Turn,
    TurnQuery,
    Violation,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PARTS = ("starts", "turns", "facts", "ends")
IDS = [UUID(int=n) for n in (1, 2**127, 2**64)]

# Few ids, numbers and texts, so that keys meet again, with the same content or another.
ids = st.sampled_from(IDS)
instants = st.integers(0, 3).map(lambda n: NOON + timedelta(seconds=n))
words = st.sampled_from(["a", "b", "Ä"])
maybe_words = st.none() | words
# Equal to Python, and three values to JSON.
objects = st.sampled_from([{}, {}, {"k": 1}, {"k": 1.0}, {"k": True}])
questions = st.builds(
    Question,
    question_text=words,
    effort_level=st.sampled_from(EffortLevel),
    source=st.sampled_from(["agent", "human:x"]),
    position=st.none() | st.integers(0, 2),
)
violations = st.builds(
    Violation,
    preference_name=words,
    severity=st.sampled_from(Severity),
    source=st.sampled_from(["agent", "human:x"]),
)


def _unique(findings: list[Any]) -> bool:
    keys = [(each.source, each.position) for each in findings if each.position is not None]
    return len(set(keys)) == len(keys)


turns = st.builds(
    Turn,
    trajectory_id=ids,
    turn_number=st.integers(0, 1),
    prompt=words,
    response=st.just("r"),
    token_count=st.none() | st.just(5),
    created_at=instants,
    metadata=objects,
    questions=st.lists(questions, max_size=3).filter(_unique),
    violations=st.lists(violations, max_size=2),
    messages=st.lists(
        st.builds(Message, role=st.just("user"), content=words | st.just([{"x": 1}])), max_size=1
    ),
    tool_calls=st.lists(st.builds(ToolCall, tool_name=words), max_size=1),
)
starts = st.builds(
    Trajectory,
    id=ids,
    run_id=maybe_words,
    user_id=maybe_words,
    created_at=instants,
    metadata=objects,
)
ends = st.builds(
    TrajectoryEnd,
    trajectory_id=ids,
    status=st.sampled_from([TrajectoryStatus.COMPLETED, TrajectoryStatus.FAILED]),
    ended_at=instants,
    reward=st.none() | st.just(0.5),
)
facts = st.builds(
    Fact,
    trajectory_id=ids,
    turn_number=st.integers(0, 1),
    finding=st.builds(
        Question,
        question_text=words,
        effort_level=st.just("low"),
        source=st.sampled_from(["judge:x", "agent"]),
        position=st.sampled_from([0, 1, 2**41]),
    )
    | st.builds(
        Violation,
        preference_name=words,
        severity=st.just("minor"),
        source=st.sampled_from(["judge:x", "agent"]),
        position=st.sampled_from([0, 2**41]),
    ),
)
batches = st.builds(
    Batch,
    starts=st.lists(starts, max_size=2).map(tuple),
    turns=st.lists(turns, max_size=4).map(tuple),
    facts=st.just(()) | st.lists(facts, max_size=2).map(tuple),
    ends=st.lists(ends, max_size=2).map(tuple),
)
deletes = st.lists(ids, max_size=2)
_filters: dict[str, Any] = {
    "ids": st.none() | st.lists(ids, max_size=2),
    "since": st.none() | instants,
    "until": st.none() | instants,
    "descending": st.booleans(),
    "limit": st.none() | st.integers(0, 4),
}
queries = st.builds(
    TurnQuery, after=st.none() | st.tuples(ids, st.integers(0, 2)), **_filters
) | st.builds(TrajectoryQuery, after=st.none() | st.tuples(instants, ids), **_filters)


@dataclass(frozen=True)
class Again:
    """An earlier batch once more, whole or in part: some of its parts, each `step`-th turn.

    With `changes` the first turn is another one under the same key.
    """

    which: int
    parts: frozenset[str]
    step: int
    changes: dict[str, Any]

    def of(self, earlier: list[Batch]) -> Batch:
        if not earlier:
            return Batch()
        whole = earlier[self.which % len(earlier)]
        chosen = {name: getattr(whole, name) for name in self.parts}
        sent = chosen.get("turns", ())[:: self.step]
        if sent:
            chosen["turns"] = (sent[0].replace(**self.changes), *sent[1:])
        return Batch(**chosen)


repeats = st.builds(
    Again,
    which=st.integers(0, 5),
    parts=st.just(frozenset(PARTS)) | st.frozensets(st.sampled_from(PARTS)),
    step=st.sampled_from([1, 1, -1, 2]),
    changes=st.just({})
    | st.sampled_from(
        [
            {"response": "other"},
            {"created_at": NOON - timedelta(hours=1)},
            {"metadata": {"k": 1.0}},
            {"messages": ()},
            {"questions": ()},
        ]
    ),
)
calls = st.lists(batches | repeats | deletes | queries, min_size=3, max_size=10)


def exact(values: Sequence[Turn | Trajectory]) -> list[str]:
    """Give what was read so that `1`, `1.0` and `true` differ; JSONB keeps no order of keys."""
    return [json.dumps(value.model_dump(mode="json"), sort_keys=True) for value in values]


async def _call(backend: StorageBackend, call: Any) -> Any:
    """Make a call, and give its answer or its error in a form that can be compared."""
    try:
        if isinstance(call, Batch):
            await backend.write(call)
            return "written"
        if isinstance(call, TurnQuery):
            return exact(await turns_of(backend, call))
        if isinstance(call, TrajectoryQuery):
            return exact(await trajectories_of(backend, call))
        return await backend.delete_trajectories(call)
    except ConflictError as error:
        return ConflictError, error.keys
    except TrajectoryError as error:
        return type(error)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(made=calls)
def test_the_same_calls_have_the_same_answers(databases: Databases, made: list[Any]) -> None:
    databases.empty()
    earlier: list[Batch] = []
    for each in made:
        call = each.of(earlier) if isinstance(each, Again) else each
        memory, sqlite, postgres = (databases.run(_call(b, call)) for b in databases.all)
        assert sqlite == memory
        assert postgres == memory
        if isinstance(call, Batch):
            earlier.append(call)
            event(str(memory[0] if isinstance(memory, tuple) else memory))
    stored = [
        [exact(databases.run(read(backend))) for read in (trajectories_of, turns_of)]
        for backend in databases.all
    ]
    assert stored[1] == stored[0]
    assert stored[2] == stored[0]
