"""What observed functions and open turns leave in a database, compared whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from trajectory import (
    Question,
    TrajectoryLogger,
    TrajectoryQuery,
    Turn,
    TurnQuery,
    current,
    current_turn,
)

AT_ONCE = 50


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "t.db")
    return str(request.getfixturevalue("postgres_url"))


async def test_fifty_runs_at_once_are_stored_whole(place: str) -> None:
    made: dict[str, Turn] = {}
    parents: dict[str, Any] = {}

    async with TrajectoryLogger(place) as logger:

        @logger.observe
        async def tool(number: int) -> int:
            await asyncio.sleep(0)
            if number % 2:
                raise LookupError(f"\x1b[31m {number} \u202e")
            return number

        @logger.observe(agent_name="teller", as_child=True)
        async def tell(prompt: str) -> AsyncIterator[str]:
            run, turn = current(), current_turn()
            assert run is not None
            assert turn is not None
            turn.count(output_tokens=3, cost_usd=0.5)
            parents[prompt] = run.id
            for word in prompt.split():
                await asyncio.sleep(0)
                yield f"{word} "

        async def one(i: int) -> None:
            async with logger.trajectory(agent_name="outer", run_id=str(i)) as run:
                async with run.turn(f"first {i}", metadata={"i": i}) as turn:
                    turn.message("assistant", [{"type": "text", "text": "Let me see."}])
                    await tool(2 * i)
                    with pytest.raises(LookupError):
                        await tool(2 * i + 1)
                    turn.message("assistant", "\x1b[2J done \ud800")
                    turn.add(Question(question_text="More?", effort_level="low"))
                assert turn.logged is not None
                made[f"first {i}"] = turn.logged
                assert [word async for word in tell(f"second {i}")] == ["second ", f"{i} "]

        await asyncio.gather(*(one(i) for i in range(AT_ONCE)))
        report = await logger.flush()
        assert (report.stored, report.pending) == (2 * AT_ONCE, 0)
        backend = logger.backend
        trajectories = {t.id: t async for t in backend.read_trajectories(TrajectoryQuery())}
        turns = {turn.prompt: turn async for turn in backend.read_turns(TurnQuery())}

    assert len(trajectories) == 2 * AT_ONCE
    assert {t.status for t in trajectories.values()} == {"completed"}
    assert len(turns) == 2 * AT_ONCE
    for i in range(AT_ONCE):
        first, second = turns[f"first {i}"], turns[f"second {i}"]
        assert first == made[first.prompt]
        assert first.response == "\x1b[2J done \ufffd"
        assert [(c.arguments, c.result, c.is_error) for c in first.tool_calls] == [
            (f'{{"number":{2 * i}}}', f"{2 * i}", False),
            (f'{{"number":{2 * i + 1}}}', f"LookupError: \x1b[31m {2 * i + 1} \u202e", True),
        ]
        child = trajectories[second.trajectory_id]
        assert child.id == parents[second.prompt]
        assert (child.agent_name, child.parent_trajectory_id) == ("teller", first.trajectory_id)
        assert child.root_trajectory_id == first.trajectory_id
        assert (second.response, second.output_tokens) == (f"second {i} ", 3)
        assert second.cost_usd == 0.5
