"""Observed programs in trouble: they end as without us, and our part is kept or counted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from integrations.troubles import TROUBLES, troubled

Decorate = Callable[[Any], Any]
CALLS = 3
ROUNDS = 10


async def program(decorate: Decorate) -> list[object]:
    """Several runs with a tool that fails, a stream, and a run that is cancelled."""

    @decorate
    def tool(number: int) -> int:
        if number % 2:
            raise LookupError(number)
        return number

    @decorate
    async def stream(prompt: str) -> AsyncIterator[str]:
        for word in prompt.split():
            yield word

    @decorate
    async def agent(prompt: str) -> list[str]:
        found = []
        for number in range(CALLS):
            try:
                found.append(str(tool(number)))
            except LookupError as error:
                found.append(repr(error))
        return [*found, prompt]

    @decorate
    async def waits(started: asyncio.Event) -> None:
        started.set()
        await asyncio.Event().wait()

    results: list[object] = []
    for i in range(ROUNDS):
        results.append(await agent(f"p{i}"))
        results.append([word async for word in stream("a b c")])
        started = asyncio.Event()
        task = asyncio.create_task(waits(started))
        await started.wait()
        task.cancel()
        results += await asyncio.gather(task, return_exceptions=True)
    return results


def plain(function: Any) -> Any:
    return function


@pytest.mark.parametrize("kind", TROUBLES)
async def test_the_program_ends_as_without_us(
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = await program(plain)
    with caplog.at_level(logging.WARNING):
        async with troubled(kind, tmp_path, monkeypatch) as trouble:
            results = await program(trouble.logger.observe)
    assert list(map(repr, results)) == list(map(repr, expected))
    counted = trouble.statistics
    assert counted is not None
    offered = 3 * ROUNDS
    told = [r for r in caplog.records if r.name in {"trajectory.guard", "trajectory.offering"}]
    assert len(told) <= 4  # a kind: a start, a turn and an end that were refused
    if kind == "away":
        assert (trouble.stored, trouble.turns) == (offered, offered)
    else:
        assert trouble.turns < offered
        assert told
