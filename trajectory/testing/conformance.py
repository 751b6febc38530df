"""The suite that every backend passes. Needs pytest and pytest-asyncio."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trajectory.backend import StorageBackend
from trajectory.testing.contents import ContentConformance
from trajectory.testing.counting import CountingConformance
from trajectory.testing.crossing import CrossingConformance
from trajectory.testing.filtering import FilteringConformance
from trajectory.testing.merging import MergingConformance
from trajectory.testing.pruning import PruningConformance
from trajectory.testing.reading import ReadingConformance
from trajectory.testing.writing import WritingConformance


class BackendConformance(
    ContentConformance,
    WritingConformance,
    MergingConformance,
    ReadingConformance,
    FilteringConformance,
    CrossingConformance,
    CountingConformance,
    PruningConformance,
):
    """What the contract in `trajectory.backend` promises, as tests.

    Subclass it in a test module and say how to make your backend:

        class TestMyBackend(BackendConformance):
            def make_backend(self) -> StorageBackend:
                return MyBackend(...)  # empty, not opened

    Each test makes one, opens it and closes it. Override `new_backend` instead where that takes
    fixtures or cleaning up. The tests are coroutines: pytest-asyncio must run them
    (`asyncio_mode = "auto"`). Nothing is skipped but what `capabilities` says isn't there.
    """

    @abstractmethod
    def make_backend(self) -> StorageBackend:
        """Make an empty backend; it is opened and closed by the suite."""
        raise NotImplementedError

    @asynccontextmanager
    async def new_backend(self) -> AsyncIterator[StorageBackend]:
        """Give an empty, open backend, and close it afterwards."""
        backend = self.make_backend()
        await backend.open()
        try:
            yield backend
        finally:
            await backend.close()
