"""Questions found in what is stored: looked for by the rules, kept as facts, and never twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

from trajectory.backend import Batch
from trajectory.errors import BackendUnavailableError
from trajectory.extracting import facts_of
from trajectory.models import Fact, Question, Trajectory, Turn, numbered
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.scoring import HeuristicExtractor
from trajectory.store import TrajectoryStore

_IDS_AT_ONCE = 200
_FACTS_AT_ONCE = 500


@dataclass(slots=True)
class Extraction:
    """What was found."""

    turns: int = 0
    """Those that were looked at."""
    questions: int = 0
    """Those in their responses."""
    new: int = 0
    """Those of them that were not stored before."""
    differing: int = 0
    """Turns with other questions of this source, which are left as they are."""


async def extract_stored(store: TrajectoryStore, query: TrajectoryQuery) -> Extraction:
    """Look for questions in all turns of some trajectories, and store what is not there yet.

    Facts are written some hundred at a time; what a run that was cut short has left out, the next
    one adds. Raises `BackendUnavailableError` where the database is away, or was busy too long.
    """
    done = Extraction()
    try:
        await _extract(store, query, done)
    except BackendUnavailableError as error:
        raise BackendUnavailableError(
            f"{error}; run it again: the questions that were stored stay, the others are added"
        ) from error
    return done


async def _extract(store: TrajectoryStore, query: TrajectoryQuery, done: Extraction) -> None:
    extractor = HeuristicExtractor()
    new: list[Fact] = []
    async with aclosing(store.trajectories(query)) as found:
        async for ids in _groups(found):
            async with aclosing(store.turns(TurnQuery(ids=ids))) as turns:
                async for turn in turns:
                    new += await _look(turn, extractor, done)
                    if len(new) >= _FACTS_AT_ONCE:
                        await store.backend.write(Batch(facts=tuple(new)))
                        new.clear()
    if new:
        await store.backend.write(Batch(facts=tuple(new)))


async def _groups(found: AsyncIterator[Trajectory]) -> AsyncIterator[tuple[UUID, ...]]:
    ids: list[UUID] = []
    async for trajectory in found:
        ids.append(trajectory.id)
        if len(ids) == _IDS_AT_ONCE:
            yield tuple(ids)
            ids.clear()
    if ids:
        yield tuple(ids)


async def _look(turn: Turn, extractor: HeuristicExtractor, done: Extraction) -> list[Fact]:
    """Give the facts of a turn that are not stored."""
    source = extractor.source
    facts = list(facts_of(turn, source, await extractor.extract(turn)))
    stored = {
        place: _said(asked) for place, asked in numbered(turn.questions) if asked.source == source
    }
    said = {fact.position: _said(fact.finding) for fact in facts}
    done.turns += 1
    done.questions += len(facts)
    if not stored.items() <= said.items():
        done.differing += 1  # of other rules, or brought along: half of each would be neither
        return []
    missing = [fact for fact in facts if fact.position not in stored]
    done.new += len(missing)
    return missing


def _said(finding: object) -> tuple[str, str]:
    assert isinstance(finding, Question)  # noqa: S101 - an extractor gives nothing else
    return finding.question_text, finding.effort_level
