"""The suite fails for backends with one fault each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

import pytest

from trajectory import StorageBackend, Trajectory, TrajectoryQuery, Turn, TurnQuery
from trajectory.backends.memory import MemoryBackend
from trajectory.counts import totals_of
from trajectory.testing import BackendConformance
from trajectory.testing.pruning import PruningConformance


class Timeless(MemoryBackend):
    """Leaves a filter by time out, inside a filter on the other."""

    def __init__(self, field: str) -> None:
        super().__init__()
        self._field = frozenset({field})

    def read_trajectories(self, query: TrajectoryQuery, /) -> AsyncIterator[Trajectory]:
        if query.turn is not None:
            query = query.model_copy(update={"turn": query.turn.without(self._field)})
        return super().read_trajectories(query)

    def read_turns(self, query: TurnQuery, /) -> AsyncIterator[Turn]:
        if query.trajectory is not None:
            query = query.model_copy(update={"trajectory": query.trajectory.without(self._field)})
        return super().read_turns(query)


class Suite(BackendConformance):
    __test__ = False

    def __init__(self, backend: StorageBackend) -> None:
        self._backend = backend

    def make_backend(self) -> StorageBackend:
        return self._backend


@pytest.mark.parametrize("field", ["since", "until", "limit"])
async def test_times_inside_a_filter_on_the_other_are_looked_at(field: str) -> None:
    for run in (
        Suite(Timeless(field)).test_turns_are_filtered_by_their_trajectory,
        Suite(Timeless(field)).test_trajectories_are_filtered_by_their_turns,
    ):
        if field == "limit":  # there is none inside: nothing is left out
            await run()
        else:
            with pytest.raises(AssertionError, match=field):
                await run()


class Hasty(MemoryBackend):
    """Prunes with a look that leaves something out."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self._fault = fault

    async def give_back_space(self) -> int:
        return 0

    async def delete_silent(self, ids: Sequence[UUID], before: datetime, /) -> Sequence[UUID]:
        query = TrajectoryQuery(ids=None if self._fault == "ids" else tuple(ids))
        found = [each async for each in self.read_trajectories(query)]
        totals = await totals_of(self, [each.id for each in found])
        gone = []
        for each in found:
            known = {
                "start": each.created_at,
                "end": each.ended_at,
                "turn": totals[each.id].last_turn_at,
            }
            known.pop(self._fault, None)
            last = max(instant for instant in known.values() if instant is not None)
            if last < before or (self._fault == "equal" and last == before):
                gone.append(each.id)
        await self.delete_trajectories(gone)
        return [*gone, *ids] if self._fault == "unknown" else gone


@pytest.mark.parametrize("fault", ["", "ids", "end", "turn", "equal", "unknown"])
async def test_what_is_pruned_is_looked_at(fault: str) -> None:
    failed = 0
    for name in vars(PruningConformance):
        if name.startswith("test_"):
            try:
                await getattr(Suite(Hasty(fault)), name)()
            except (AssertionError, KeyError):  # prune itself trips over what was not named
                failed += 1
    assert bool(failed) == bool(fault)
