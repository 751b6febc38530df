"""An event loop whose clock is a number: it jumps to the next timer when nothing is ready."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """Time passes only by waiting for it, and then at once. Nothing real can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._select = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now

    def run_in_executor(self, *_args: Any) -> Any:  # type: ignore[override]
        # While a thread works, the clock would run through every timeout at once.
        raise RuntimeError("a thread can't be waited for on a virtual clock")

    def _jump(self, timeout: float | None) -> Any:
        events = self._select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            raise RuntimeError("the test waits for something that no timer will bring")
        self._now += timeout
        return events


def run_virtual(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Run an async test on a virtual clock; it must leave no task behind."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        async def checked() -> T:
            result = await test(*args, **kwargs)
            await leaves_no_task()
            return result

        with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
            return runner.run(checked())

    return run


async def leaves_no_task() -> None:
    """Fail where tasks other than the caller's are running; those that are ending may end."""
    for _ in range(10):
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if not left:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"left running: {sorted(task.get_name() for task in left)}")
