"""The part of the suite about filters: pushed down or not, they mean what `matches` says."""

from __future__ import annotations

from itertools import product
from typing import Any
from uuid import UUID

from trajectory.backend import Batch, StorageBackend
from trajectory.models import Fact, Question, ToolCall, Trajectory, Turn, Violation
from trajectory.query import CROSS_FILTERS, FILTERS, TrajectoryQuery, TurnQuery
from trajectory.store import TrajectoryStore
from trajectory.testing.samples import NOON, Suite, a_turn, trajectories_of, turns_of

HOSTILE = ("'; DROP TABLE trajectories; --", '"', "\\", "%", "_", "$.a", "{}", "\x1b[2J", "\0")
"""Text that some language takes for more than text."""

_OBJECTS: tuple[Any, ...] = (
    *({}, {"k": 1}, {"k": 1.0}, {"k": True}, {"k": None}, {"k": "1"}, {"k": {"l": [1, "x"]}}),
    *({"k": {"l": 1}}, {"k.l": 1}, {"$.k": 1}, {"k": [1]}, {"l": 1}),
)


def trajectory_filters() -> list[dict[str, Any]]:
    """Give filters of trajectories: each alone, and some together."""
    alone: list[dict[str, Any]] = [
        {name: text}
        for name in ("spec_id", "agent_name", "run_id", "session_id", "user_id")
        for text in ("a", "A", "", "ä", "x", *HOSTILE)
    ]
    alone += [{"parent_trajectory_id": UUID(int=n)} for n in (1, 2, 9)]
    alone += [{"status": status} for status in ("running", "completed", "failed", "cancelled")]
    both = [{"spec_id": "a", "agent_name": "A"}, {"user_id": "a", "status": "completed"}]
    return [*alone, *_of_metadata(), *both, {"spec_id": "a", "metadata": {"k": 1}}]


def turn_filters() -> list[dict[str, Any]]:
    """Give filters of turns: each alone, and those of findings together."""
    alone: list[dict[str, Any]] = [
        {name: text}
        for name in ("text", "tool", "preference", "source")
        for text in ("a", "A", "", "ä", "agent", "judge:x", *HOSTILE)
    ]
    findings: list[dict[str, Any]] = [
        {
            name: value
            for name, value in zip(
                ("effort", "severity", "preference", "source"), values, strict=True
            )
            if value is not None
        }
        for values in product(
            (None, "low", "high"), (None, "minor", "major"), (None, "a"), (None, "agent", "judge:x")
        )
    ]
    return [*alone, *_of_metadata(), *findings, {"text": "a", "tool": "a", "metadata": {"k": 1}}]


def _of_metadata() -> list[dict[str, Any]]:
    values = (1, 1.0, True, None, "1", {"l": 1}, {"l": [1, "x"]}, [1], 0)
    found: list[dict[str, Any]] = [{"metadata": {"k": value}} for value in values]
    found += [{"metadata": {("k", "l"): value}} for value in (1, 1.0, [1, "x"])]
    found += [{"metadata": {key: 1}} for key in ("k.l", "$.k", "$", "l", "", *HOSTILE)]
    return [*found, {"metadata": {}}, {"metadata": {"k": {"l": 1}, ("k", "l"): 1}}]


def some_trajectories() -> list[Trajectory]:
    """Make trajectories in the order of (`created_at`, `id`), which filters tell apart."""
    texts = (None, "a", "A", "", "ä", *HOSTILE)
    states = ("running", "completed", "failed", "cancelled", None)
    return [
        Trajectory(
            id=UUID(int=n),
            created_at=NOON,
            spec_id=texts[n % len(texts)],
            agent_name=texts[n % 3],
            run_id=texts[n // 2 % len(texts)],
            session_id=texts[n // 3 % len(texts)],
            user_id=texts[n % 2],
            parent_trajectory_id=(None, UUID(int=1), UUID(int=2))[n % 3],
            status=states[n % len(states)],
            metadata=_OBJECTS[n % len(_OBJECTS)],
        )
        for n in range(150)
    ]


def some_turns() -> list[Turn]:
    """Make turns in the order of their keys, with findings that came with them."""
    texts = ("", "a", "xAx", "Ä", "aä", "100%", *HOSTILE)
    made = []
    for n in range(150):
        text, other = texts[n % len(texts)], texts[n // 2 % len(texts)]
        fields: dict[str, Any] = {"metadata": _OBJECTS[n % len(_OBJECTS)]}
        if n % 3:
            fields["questions"] = [
                Question(
                    question_text="q",
                    effort_level=("low", "high")[n % 2],
                    source=("agent", "judge:x")[n // 2 % 2],
                )
            ] * (n % 4)
        if n % 5:
            fields["violations"] = [
                Violation(
                    preference_name=("a", "A", "ä", "")[n % 4],
                    severity=("minor", "major")[n // 3 % 2],
                    source=("agent", "judge:x")[n // 4 % 2],
                ),
                Violation(preference_name=text, severity=("minor", "major")[n % 2]),
            ]
        if n % 2:
            fields["tool_calls"] = [ToolCall(tool_name=text), ToolCall(tool_name=other)]
        id_ = UUID(int=1 + n // 10)
        made.append(a_turn(id_, n % 10, prompt=text, response=other, **fields))
    return made


class FilteringConformance(Suite):
    """What filters must give, through a store."""

    async def test_only_known_filters_are_claimed(self) -> None:
        async with self.new_backend() as backend:
            assert backend.capabilities.filters <= FILTERS | CROSS_FILTERS

    async def test_trajectories_are_filtered_as_matches_says(self) -> None:
        async with self.new_backend() as backend:
            made = some_trajectories()
            telling: set[str] = set()
            await backend.write(Batch(starts=tuple(made)))
            for filters in trajectory_filters():
                query = TrajectoryQuery(**filters)
                wanted = [row for row in made if query.matches(row)]
                assert await _trajectories(backend, query) == wanted, filters
                if 0 < len(wanted) < len(made):
                    telling |= filters.keys()
            assert telling == TrajectoryQuery.model_fields.keys() & FILTERS

    async def test_turns_are_filtered_as_matches_says(self) -> None:
        async with self.new_backend() as backend:
            made = some_turns()
            late = Fact(
                trajectory_id=made[0].trajectory_id,
                turn_number=made[0].turn_number,
                finding=Question(question_text="late", effort_level="high", source="judge:x"),
            )
            await backend.write(Batch(turns=tuple(made)))
            await backend.write(Batch(facts=(late,)))
            made = await turns_of(backend)
            telling: set[str] = set()
            assert made[0].questions
            for filters in turn_filters():
                query = TurnQuery(**filters)
                wanted = [row for row in made if query.matches(row)]
                assert await _turns(backend, query) == wanted, filters
                if 0 < len(wanted) < len(made):
                    telling |= filters.keys()
            assert telling == TurnQuery.model_fields.keys() & FILTERS

    async def test_a_limit_counts_what_passes_all_filters(self) -> None:
        async with self.new_backend() as backend:
            turns, starts = some_turns(), some_trajectories()
            await backend.write(Batch(starts=tuple(starts), turns=tuple(turns)))
            turns, starts = await turns_of(backend), await trajectories_of(backend)
            for filters in ({"metadata": {"k": 1}}, {"metadata": {"k": 1}, "since": NOON}):
                for descending, limit, after in product((False, True), (0, 1, 7, 999), (None, 70)):
                    step = -1 if descending else 1
                    of_turns = TurnQuery(
                        **filters,
                        descending=descending,
                        limit=limit,
                        after=None if after is None else turns[after].key,
                    )
                    behind = turns if after is None else _behind(turns, after, step)
                    assert (
                        await _turns(backend, of_turns)
                        == [t for t in behind[::step] if of_turns.matches(t)][:limit]
                    )
                    of_starts = TrajectoryQuery(
                        **filters,
                        descending=descending,
                        limit=limit,
                        after=None if after is None else TrajectoryQuery.cursor(starts[after]),
                    )
                    found = starts if after is None else _behind(starts, after, step)
                    assert (
                        await _trajectories(backend, of_starts)
                        == [t for t in found[::step] if of_starts.matches(t)][:limit]
                    )

    async def test_pages_of_few_among_many_join(self) -> None:
        async with self.new_backend() as backend:
            turns = [
                a_turn(
                    UUID(int=1 + n % 3),
                    n,
                    prompt="needle" if n % 7 == 0 else "hay",
                    tool_calls=[ToolCall(tool_name=str(n))],
                )
                for n in range(2000)
            ]
            await backend.write(Batch(turns=tuple(turns)))
            wanted = sorted((t for t in turns if t.prompt == "needle"), key=lambda turn: turn.key)
            for descending in (False, True):
                query = TurnQuery(text="needle", descending=descending)
                assert await _turns(backend, query) == wanted[:: -1 if descending else 1]
            assert await _turns(backend, TurnQuery(text="needle", tool="14")) == [turns[14]]

    async def test_what_is_stored_is_counted(self) -> None:
        async with self.new_backend() as backend, TrajectoryStore(backend) as store:
            assert await store.statistics() == (0, 0, 0, 0)
            turns, starts = some_turns(), some_trajectories()
            await backend.write(Batch(starts=tuple(starts), turns=tuple(turns)))
            assert await store.statistics() == (
                len(starts),
                len(turns),
                sum(len(turn.questions) for turn in turns),
                sum(len(turn.violations) for turn in turns),
            )


def _behind(rows: list[Any], place: int, step: int) -> list[Any]:
    return rows[:place] if step < 0 else rows[place + 1 :]


async def _turns(backend: StorageBackend, query: TurnQuery) -> list[Turn]:
    async with TrajectoryStore(backend) as store:
        return [turn async for turn in store.turns(query)]


async def _trajectories(backend: StorageBackend, query: TrajectoryQuery) -> list[Trajectory]:
    async with TrajectoryStore(backend) as store:
        return [each async for each in store.trajectories(query)]
