"""One bad turn costs one turn: a batch that is refused is cut until the bad ones stand alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import groupby

from trajectory.backend import Batch
from trajectory.buffer import Buffered, as_batch
from trajectory.errors import BatchRejectedError, ConflictError, PartialWriteError, TurnKey
from trajectory.models import Fact, Logged, Turn

Write = Callable[[Batch], Awaitable[None]]
Settle = Callable[[Sequence[Buffered], Exception | None], Awaitable[None]]
"""Hears of values, in order: that they are stored, or (with an error) that one is refused."""


async def write_isolating(values: Sequence[Buffered], write: Write, settle: Settle) -> None:
    """Write values in order, as one batch; what is refused is told to `settle`, the rest stored.

    Raises what `write` raises, other than a refusal of the content.
    """
    try:
        await write(as_batch(values))
    except (BatchRejectedError, PartialWriteError) as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        if len(values) == 1:
            await settle(values, refusal)
            return
        for part in _parts(values, refusal):
            await write_isolating(part, write, settle)
    else:
        await settle(values, None)


def _refusal(error: Exception) -> BatchRejectedError | None:
    """Look through a partial write: what it stored is written again by key, which is no change."""
    if isinstance(error, PartialWriteError):
        return error.__cause__ if isinstance(error.__cause__, BatchRejectedError) else None
    return error if isinstance(error, BatchRejectedError) else None


def _parts(values: Sequence[Buffered], refusal: BatchRejectedError) -> Iterator[Sequence[Buffered]]:
    """Cut in order: around the keys that a conflict names, else in two."""
    keys = frozenset(refusal.keys) if isinstance(refusal, ConflictError) else frozenset()
    named = [_key(value) in keys for value, _size, _time in values]
    if not any(named):
        half = len(values) // 2
        yield values[:half]
        yield values[half:]
        return
    for is_named, group in groupby(range(len(values)), key=named.__getitem__):
        places = list(group)
        if is_named:
            for place in places:
                yield values[place : place + 1]
        else:
            yield values[places[0] : places[-1] + 1]


def _key(value: Logged) -> TurnKey | None:
    return value.key if isinstance(value, Turn | Fact) else None
