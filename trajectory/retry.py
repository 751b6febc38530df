"""Writing a batch until it is stored, however often the database goes away."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from trajectory.backend import Batch, StorageBackend
from trajectory.errors import BackendUnavailableError, PartialWriteError, in_words
from trajectory.settings import LoggerSettings

_log = logging.getLogger(__name__)


async def write_until_stored(
    backend: StorageBackend,
    batch: Batch,
    settings: LoggerSettings,
    *,
    note_retry: Callable[[], None],
) -> None:
    """Write a batch; while the database is unavailable try again, with pauses that double.

    It gives up never: who waits for it has a timeout of their own. Other errors are raised. Writing
    again is safe after any outcome, since a backend is idempotent by key.
    """
    pause = settings.retry_initial_ms / 1000
    tries = 1
    while True:
        try:
            await backend.write(batch)
        except PartialWriteError as error:
            batch = batch.without(error.done)
            if not isinstance(error.__cause__, BackendUnavailableError):
                raise
            reason: Exception = error.__cause__
        except BackendUnavailableError as error:
            reason = error
        else:
            if tries > 1:
                _log.warning("the database answers again; stored at try %d", tries)
            return
        note_retry()
        tries += 1
        # One line a pause: the pauses bound the log as well.
        _log.warning(
            "a batch of %d was not stored: %s; try %d follows in %.2f s at most",
            len(batch),
            in_words(reason),
            tries,
            pause,
        )
        # Jitter, so that many writers don't come back in the same instant.
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
        pause = min(2 * pause, settings.retry_max_ms / 1000)
