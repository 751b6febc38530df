"""An observed function has the type that it had: never run, only type-checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import assert_type

from trajectory import (
    OpenTurn,
    SyncTrajectoryLogger,
    ToolCallDraft,
    TrajectoryLogger,
    Turn,
    carry,
    current_turn,
)

logger = TrajectoryLogger("memory://")
sync_logger = SyncTrajectoryLogger("memory://")


@logger.observe
async def coroutine(prompt: str, *, temperature: float = 0.0) -> int:
    return len(prompt) + int(temperature)


@logger.observe(name="n", agent_name="a", capture_output=False)
async def stream(prompt: str) -> AsyncIterator[str]:
    yield prompt


@sync_logger.observe
def generator(count: int) -> Iterator[int]:
    yield from range(count)


@sync_logger.observe(prompt=lambda number: number, response=str, as_child=True)
def plain(number: int) -> list[int]:
    return [number]


class Agent:
    @logger.observe
    async def ask(self, prompt: str) -> bytes:
        return prompt.encode()

    @classmethod
    @logger.observe
    def make(cls, name: str) -> Agent:
        raise NotImplementedError(name)

    @staticmethod
    @logger.observe()
    def scale(number: float) -> float:
        return number


async def used() -> None:
    assert_type(await coroutine("p", temperature=1.0), int)
    assert_type(plain(1), list[int])
    assert_type(generator(1), Iterator[int])
    assert_type(stream("p"), AsyncIterator[str])
    assert_type(await Agent.make("n").ask("p"), bytes)
    assert_type(Agent.scale(1.0), float)
    carried: Callable[[int], list[int]] = carry(plain)
    await coroutine(1)  # type: ignore[arg-type]
    plain("1")  # type: ignore[arg-type]
    carried("1")  # type: ignore[arg-type]
    async with logger.trajectory() as run, run.turn("p", model_name="m") as turn:
        position: int = turn.message("assistant", "r")
        call: ToolCallDraft = turn.tool_call("t", "{}", message_position=position)
        call.succeeded("r")
    logged: Turn | None = turn.logged
    open_turn: OpenTurn | None = current_turn()
    with sync_logger.trajectory() as sync_run, sync_run.turn("p") as sync_turn:
        sync_turn.response = "r"
    _ = (logged, open_turn)
