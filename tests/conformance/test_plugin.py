"""A backend of somebody else's: written from the contract, found by its scheme, held to it."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any
from uuid import UUID

import pytest

import trajectory.backends
from trajectory import (
    Batch,
    BatchRejectedError,
    Capabilities,
    ConfigurationError,
    ConflictError,
    MissingDependencyError,
    StorageBackend,
    Trajectory,
    TrajectoryLogger,
    TrajectoryQuery,
    Turn,
    TurnQuery,
    open_backend,
)
from trajectory.merge import bare_trajectory, ended_trajectory, merge_trajectory, same_turn
from trajectory.models import Question, in_order, numbered
from trajectory.testing import BackendConformance


class TinyBackend:
    """Keeps the JSON of everything in two dicts."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self.runs: dict[UUID, str] = {}
        self.turns: dict[tuple[UUID, int], str] = {}

    @classmethod
    def from_url(cls, url: str) -> TinyBackend:
        assert url.startswith("tiny://")
        return cls()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def write(self, batch: Batch, /) -> None:
        runs, turns = dict(self.runs), dict(self.turns)
        conflicts = []
        started = {start.id for start in batch.starts}
        bare = {t.trajectory_id: bare_trajectory(t) for t in reversed(batch.turns)}
        missing = [run for id_, run in bare.items() if id_ not in runs and id_ not in started]
        for run in [*batch.starts, *missing, *map(ended_trajectory, batch.ends)]:
            known = runs.get(run.id)
            merged = merge_trajectory(_run(known), run)[0] if known else run
            runs[run.id] = merged.model_dump_json()
        for sent in batch.turns:
            if sent.key not in turns:
                turns[sent.key] = sent.model_dump_json()
            elif not same_turn(_turn(turns[sent.key]), sent):
                conflicts.append(sent.key)
        for fact in batch.facts:
            if fact.key not in turns:
                raise BatchRejectedError(f"turn {fact.key} is not stored")
            turn = _turn(turns[fact.key])
            name = "questions" if isinstance(fact.finding, Question) else "violations"
            placed = list(numbered(getattr(turn, name)))
            taken = {(p, f.source): f for p, f in placed}.get((fact.position, fact.finding.source))
            if taken is None:
                both = in_order([*placed, (fact.position, fact.finding)])
                turns[fact.key] = turn.replace(**{name: both}).model_dump_json()
            elif taken.replace(position=0) != fact.finding.replace(position=0):
                conflicts.append(fact.key)
        if conflicts:
            raise ConflictError(conflicts)
        self.runs, self.turns = runs, turns

    async def read_trajectories(self, query: TrajectoryQuery, /) -> AsyncIterator[Trajectory]:
        for run in _page(map(_run, self.runs.values()), query):
            yield run

    async def read_turns(self, query: TurnQuery, /) -> AsyncIterator[Turn]:
        for turn in _page(map(_turn, self.turns.values()), query):
            ordered = {
                name: in_order(numbered(getattr(turn, name)))
                for name in ("questions", "violations")
            }
            yield turn.replace(**ordered)

    async def delete_trajectories(self, ids: Sequence[UUID], /) -> int:
        gone = set(ids) & self.runs.keys()
        self.runs = {id_: run for id_, run in self.runs.items() if id_ not in gone}
        self.turns = {key: turn for key, turn in self.turns.items() if key[0] not in gone}
        return len(gone)


def _run(text: str) -> Trajectory:
    return Trajectory.model_validate_json(text)


def _turn(text: str) -> Turn:
    return Turn.model_validate_json(text)


def _page(values: Any, query: Any) -> list[Any]:
    found = sorted(filter(query.matches, values), key=query.cursor, reverse=query.descending)
    after = query.after
    if after is not None:
        beyond = operator.lt if query.descending else operator.gt
        found = [value for value in found if beyond(query.cursor(value), after)]
    return found if query.limit is None else found[: query.limit]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packages are installed that offer backends; one of them lacks what it needs."""
    points = EntryPoints(
        [
            EntryPoint("tiny", f"{__name__}:TinyBackend", trajectory.backends.GROUP),
            EntryPoint("broken", "no_such_module_7f3:Backend", trajectory.backends.GROUP),
            EntryPoint("sqlite", f"{__name__}:TinyBackend", trajectory.backends.GROUP),
        ]
    )
    monkeypatch.setattr(trajectory.backends, "entry_points", lambda **_group: points)
    monkeypatch.setattr(EntryPoint, "load", _load)


def _load(point: EntryPoint) -> Any:
    if point.name == "broken":
        raise ModuleNotFoundError("No module named 'no_such_module_7f3'")
    return TinyBackend


@pytest.mark.usefixtures("installed")
class TestTiny(BackendConformance):
    def make_backend(self) -> StorageBackend:
        return open_backend("tiny://")


async def test_a_plugin_is_found_by_its_scheme(installed: None) -> None:
    async with TrajectoryLogger("tiny://somewhere") as logger:
        assert isinstance(logger.backend, TinyBackend)
        async with logger.trajectory() as run:
            await run.log_turn("p", "r")
        assert (await logger.flush()).stored == 1


def test_a_plugin_that_can_t_be_imported_says_so(installed: None) -> None:
    with pytest.raises(MissingDependencyError, match="broken://"):
        open_backend("broken://x")


def test_an_unknown_scheme_names_the_known_ones(installed: None) -> None:
    with pytest.raises(ConfigurationError, match="broken, memory, postgresql, sqlite, tiny"):
        open_backend("mongodb://x")


def test_a_plugin_can_t_take_the_place_of_ours(installed: None) -> None:
    assert not isinstance(open_backend("sqlite:///x.db"), TinyBackend)


def test_packages_are_only_asked_for_what_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def entry_points(**group: Any) -> EntryPoints:
        asked.append(group)
        return EntryPoints()

    monkeypatch.setattr(trajectory.backends, "entry_points", entry_points)
    for url in ("memory://", "t.db", "sqlite:///t.db", "postgresql://host/db"):
        open_backend(url)
    assert asked == []
    with pytest.raises(ConfigurationError, match="known are memory"):
        open_backend("tiny://x")
    assert asked == [{"group": trajectory.backends.GROUP}]
