"""Waiting until what was accepted is safe: on the disk, stored, looked at."""

from __future__ import annotations

import asyncio
import logging

from trajectory.extracting import Extracting
from trajectory.journal import Journal, JournalError
from trajectory.ledger import Ledger
from trajectory.words import counted
from trajectory.writer import Writer

_log = logging.getLogger(__name__)

_LOOKING = 0.8
"""The part of the time to close in which questions are looked for; the rest is to store them."""


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

    async def complete_for_good(self, timeout: float) -> bool:  # noqa: ASYNC109 - it answers
        """Complete for the last time, and look for no more; say whether all accepted is settled.

        A slow extractor doesn't get all of the time: what it found is still stored.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        if await self.settled(timeout):
            await self._extracting.finish(began + timeout * _LOOKING)
        self._extracting.stop()
        settled = await self.settled(max(0.0, began + timeout - loop.time()))
        await self._extracting.end()
        return settled or self._ledger.reached(self._ledger.accepted)

    def tell_left(self, pending: int, kept: str) -> None:
        """Say what is left at the end: turns, and all that travels with them."""
        waiting = self._ledger.others_waiting
        if self._writer.failure is not None or not (pending or waiting):
            return
        others = f"{counted(waiting, 'other value')} (facts, starts and ends)"
        if not pending:
            _log.error("closed with %s not stored%s", others, kept)
            return
        beside = f", and {others} beside them" if waiting else ""
        _log.error("closed with %s not stored%s%s", counted(pending, "turn"), kept, beside)


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
