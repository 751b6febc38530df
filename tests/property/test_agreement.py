"""Memory, SQLite and Postgres are driven with the same random calls, and agree about everything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trajectory import (
    Batch,
    ConflictError,
    EffortLevel,
    Fact,
    InvalidTurnError,
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
    open_backend,
)
from trajectory.backends.memory import MemoryBackend

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
IDS = [UUID(int=n) for n in (1, 2**127, 2**64)]

# Few ids, numbers and texts, so that keys meet again, with the same content or another.
ids = st.sampled_from(IDS)
instants = st.integers(0, 3).map(lambda n: NOON + timedelta(seconds=n))
words = st.sampled_from(["a", "b", "Ä"])
maybe_words = st.none() | words
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
    places: dict[str, int] = {}
    keys = set()
    for finding in findings:
        place = places.get(finding.source, 0)
        places[finding.source] = place + 1
        keys.add((finding.source, place if finding.position is None else finding.position))
    return len(keys) == len(findings)


turns = st.builds(
    Turn,
    trajectory_id=ids,
    turn_number=st.integers(0, 2),
    prompt=words,
    response=st.just("r"),
    token_count=st.none() | st.just(5),
    created_at=instants,
    questions=st.lists(questions, max_size=2).filter(_unique),
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
    metadata=st.just({}) | st.just({"k": 1}),
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
    turn_number=st.integers(0, 2),
    finding=st.builds(
        Question,
        question_text=words,
        effort_level=st.just("low"),
        source=st.sampled_from(["judge:x", "agent"]),
        position=st.integers(2**41, 2**41 + 1),
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
    facts=st.lists(facts, max_size=2).map(tuple),
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
calls = st.lists(batches | deletes | queries, min_size=1, max_size=8)


class Databases:
    """The three, on an event loop that lives as long as they do."""

    def __init__(self, path: Path, url: str) -> None:
        self.runner = asyncio.Runner()
        self.backends: list[StorageBackend] = [
            MemoryBackend(),
            open_backend(path),
            open_backend(url),
        ]
        self.run(*(backend.open() for backend in self.backends))

    def run(self, *coroutines: Any) -> list[Any]:
        async def together() -> list[Any]:
            return [await coroutine for coroutine in coroutines]

        return self.runner.run(together())

    def empty(self) -> None:
        for backend in self.backends:
            found = self.run(_trajectories(backend, TrajectoryQuery()))[0]
            self.run(backend.delete_trajectories([t.id for t in found]))

    def close(self) -> None:
        self.run(*(backend.close() for backend in self.backends))
        self.runner.close()


@pytest.fixture
def databases(tmp_path: Path, postgres_url: str) -> Iterator[Databases]:
    made = Databases(tmp_path / "t.db", postgres_url)
    yield made
    made.close()


async def _trajectories(backend: StorageBackend, query: TrajectoryQuery) -> list[Trajectory]:
    return [t async for t in backend.read_trajectories(query)]


async def _turns(backend: StorageBackend, query: TurnQuery) -> list[Turn]:
    return [t async for t in backend.read_turns(query)]


async def _call(backend: StorageBackend, call: Any) -> Any:
    """Make a call, and give its answer or its error in a form that can be compared."""
    try:
        if isinstance(call, Batch):
            await backend.write(call)
            return None
        if isinstance(call, TurnQuery):
            return await _turns(backend, call)
        if isinstance(call, TrajectoryQuery):
            return await _trajectories(backend, call)
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
    for call in made:
        answers = databases.run(*(_call(backend, call) for backend in databases.backends))
        assert answers[1] == answers[0]
        assert answers[2] == answers[0]
    read = [
        databases.run(_trajectories(b, TrajectoryQuery()), _turns(b, TurnQuery()))
        for b in databases.backends
    ]
    assert read[1] == read[0]
    assert read[2] == read[0]


texts = st.text(st.characters(exclude_categories=()), max_size=20)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**66), 2**66)
    | st.floats()
    | texts
    | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=20,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=texts, metadata=st.dictionaries(texts, json_values, max_size=4))
def test_a_value_is_refused_at_the_door_or_comes_back_equal_everywhere(
    databases: Databases, text: str, metadata: dict[str, Any]
) -> None:
    """Invariant: no value that is accepted harms its neighbours or later reads."""
    databases.empty()
    neighbours = [
        Turn(trajectory_id=IDS[0], turn_number=n, prompt="p", response="r") for n in (0, 2)
    ]
    sent: list[Turn] = list(neighbours)
    try:
        odd = Turn(
            trajectory_id=IDS[0], turn_number=1, prompt=text, response=text, metadata=metadata
        )
    except InvalidTurnError:
        pass
    else:
        sent.insert(1, odd)
    for backend in databases.backends:
        databases.run(backend.write(Batch(turns=tuple(sent))))
        [read] = databases.run(_turns(backend, TurnQuery()))
        assert read == sent
        assert [repr(turn.metadata) for turn in read] == [repr(turn.metadata) for turn in sent] or (
            _unordered(read) == _unordered(sent)
        )


def _unordered(found: list[Turn]) -> list[str]:
    """Give the metadata with its keys sorted: JSONB keeps no order. -0.0 may come back as 0.0."""
    import json

    return [json.dumps(turn.metadata, sort_keys=True).replace("-0.0", "0.0") for turn in found]
