"""Waiting until what was accepted is safe: on the disk, stored, looked at."""

from __future__ import annotations

import asyncio

from trajectory.extracting import Extracting
from trajectory.journal import Journal, JournalError
from trajectory.ledger import Ledger
from trajectory.writer import Writer


class Settlement:
    """Waits, and has the writer write meanwhile. Every wait has an end."""

    def __init__(self, ledger: Ledger, writer: Writer, extracting: Extracting) -> None:
        self._ledger = ledger
        self._writer = writer
        self._extracting = extracting

    async def settled(self, timeout: float) -> bool:  # noqa: ASYNC109 - it answers
        """Wait until all that was accepted so far is settled; say whether it is."""
        target = self._ledger.accepted
        if self._ledger.reached(target):
            return True
        if self._writer.ended:
            return False
        self._writer.write_now()
        return await self._ledger.wait(target, timeout)

    async def complete(self, timeout: float) -> bool:  # noqa: ASYNC109 - it answers
        """Wait until it is settled, and the questions in it are found and settled, too."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        if not await self.settled(timeout):
            return False
        looked = await self._extracting.finish(deadline)
        return await self.settled(max(0.0, deadline - loop.time())) and looked


async def synced(journal: Journal | None, deadline: float, told: str) -> None:
    """Wait until all that was appended survives power loss; `told` names the limit and its value.

    Raises `JournalError` at that time of the loop: it survives the end of this process alone.
    """
    if journal is None:
        return
    try:
        async with asyncio.timeout_at(deadline):
            await journal.sync()
    except TimeoutError:
        raise JournalError(
            f"the turn was accepted, but the disk did not confirm it within {told}; it survives "
            f"the end of this process alone"
        ) from None
