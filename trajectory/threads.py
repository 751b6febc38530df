"""Work that waits for the disk, in a thread of its own.

Not in the event loop's pool: the program's own work may fill that, and it takes nothing more once
the interpreter ends, when loggers that were left open still have turns to store.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

_PATIENCE_S = 2.0

_T = TypeVar("_T")


async def in_thread(work: Callable[[], _T]) -> _T:
    """Do some work in a thread; give what it returns, or raise what it raises.

    A cancelled caller waits for its end too, for some seconds: it may use what the caller is about
    to close. Where no thread can start any more it is done here and now.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it belongs to who waits
            tell = _teller(done.set_exception, error)
        else:
            tell = _teller(done.set_result, result)
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(tell)

    try:
        threading.Thread(target=run, name="trajectory-disk", daemon=True).start()
    except RuntimeError:
        return work()
    return await to_its_end(done, patience=_PATIENCE_S)


def _teller(tell: Callable[[_T], None], what: _T) -> Callable[[], None]:
    return lambda: tell(what)


async def to_its_end(future: asyncio.Future[_T], *, patience: float | None = None) -> _T:
    """Wait for a future; a cancelled caller waits for it too, and is cancelled then.

    No longer than so many seconds, if it is given: a disk may never answer.
    """
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        loop = asyncio.get_running_loop()
        deadline = None if patience is None else loop.time() + patience
        while not future.done() and (deadline is None or loop.time() < deadline):
            with suppress(asyncio.CancelledError):
                left = None if deadline is None else deadline - loop.time()
                await asyncio.wait({future}, timeout=left)
        if future.done() and not future.cancelled():
            future.exception()  # heard: who was cancelled has no use for it
        raise
