"""Values that databases disagree about: the same stored value, or the same refusal, on each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from trajectory import InvalidTurnError, LoggerSettings, TrajectoryLogger, Turn, TurnQuery
from trajectory.values import MAX_VALUES

ID = UUID(int=9)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def turn(number: int = 6, **fields: Any) -> Turn:
    return Turn(
        **{"trajectory_id": ID, "turn_number": number, "prompt": "p", "response": "r", **fields}
    )


STORED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "NUL in text": ({"prompt": "a\0b"}, {"prompt": "a\ufffdb"}),
    "NUL in JSON": ({"metadata": {"k": "a\0b"}}, {"metadata.k": "a\ufffdb"}),
    "NUL in a JSON key": ({"metadata": {"a\0b": 1}}, {"metadata.a\ufffdb": 1}),
    "lone surrogate in text": ({"response": "\ud800"}, {"response": "\ufffd"}),
    "lone surrogate in JSON": ({"metadata": {"k": ["\udfff"]}}, {"metadata.k": ["\ufffd"]}),
    "63 bits in JSON": ({"metadata": {"k": 2**63 - 1}}, {"metadata.k": 2**63 - 1}),
    "nesting to the limit": ({"metadata": {"k": nested(63)}}, {"metadata.k": nested(63)}),
    "a float that is whole": (
        {"metadata": {"k": [1.0, 1e300, -0.0]}},
        {"metadata.k": [1.0, 1e300, 0.0]},
    ),
    "a megabyte of text": ({"prompt": "x" * 2**20}, {"prompt": "x" * 2**20}),
    "another zone": (
        {"created_at": datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))},
        {"created_at": datetime(2026, 1, 1, 7, tzinfo=UTC)},
    ),
    "year 1": (
        {"created_at": datetime(1, 1, 1, tzinfo=UTC)},
        {"created_at": datetime(1, 1, 1, tzinfo=UTC)},
    ),
    "year 9999": (
        {"created_at": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)},
        {"created_at": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)},
    ),
    "the second that comes twice": (
        {"created_at": datetime.fromisoformat("2026-10-25T02:30:00+01:00")},
        {"created_at": datetime(2026, 10, 25, 1, 30, tzinfo=UTC)},
    ),
    "a label of its greatest length": ({"model_name": "m" * 1024}, {"model_name": "m" * 1024}),
    "many token ids": (
        {"metadata": {"k": list(range(200_000))}},
        {"metadata.k": list(range(200_000))},
    ),
}

REFUSED: dict[str, Callable[[], Turn]] = {
    "2**63 in an integer": lambda: turn(token_count=2**63),
    "2**70 in JSON": lambda: turn(metadata={"k": 2**70}),
    "2**70 in a list of numbers": lambda: turn(metadata={"k": [1, 2**70]}),
    "NaN in JSON": lambda: turn(metadata={"k": float("nan")}),
    "infinity in a list of numbers": lambda: turn(metadata={"k": [1.0, float("inf")]}),
    "NaN in a number": lambda: turn(latency_ms=float("nan")),
    "bytes in JSON": lambda: turn(metadata={"k": b"x"}),
    "bytes as text": lambda: turn(prompt=b"x"),
    "another type in JSON": lambda: turn(metadata={"k": {1, 2}}),
    "nesting beyond the limit": lambda: turn(metadata={"k": nested(64)}),
    "nesting of 10,000": lambda: turn(metadata={"k": nested(10_000)}),
    "a million keys": lambda: turn(metadata={str(n): n for n in range(10**6)}),
    "many values in all": lambda: turn(metadata={"k": [[1, "x"]] * (MAX_VALUES // 2)}),
    "a naive datetime": lambda: turn(created_at=datetime(2026, 1, 1)),  # noqa: DTZ001
    "a label that is too long": lambda: turn(model_name="m" * 1025),
    "a negative count": lambda: turn(token_count=-1),
}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "t.db")
    found: str = request.getfixturevalue("postgres_url")
    return found


def field(read: Turn, path: str) -> Any:
    name, _, key = path.partition(".")
    value = getattr(read, name)
    return value[key] if key else value


@pytest.mark.parametrize("case", STORED)
async def test_it_is_stored_the_same_and_its_neighbours_with_it(
    url: str, tmp_path: Any, case: str
) -> None:
    given, wanted = STORED[case]
    async with TrajectoryLogger(url, LoggerSettings(journal_dir=tmp_path)) as logger:
        for number in range(10):
            await logger.log_turn(turn(number, **(given if number == 6 else {})))
        assert await logger.flush() == (10, 0, 0)
        read = [each async for each in logger.backend.read_turns(TurnQuery())]
    assert [each.turn_number for each in read] == list(range(10))
    for path, value in wanted.items():
        assert field(read[6], path) == value
        assert type(field(read[6], path)) in (type(value), type(field(turn(**given), path)))


@pytest.mark.parametrize("case", REFUSED)
async def test_it_is_refused_at_the_door_and_its_neighbours_are_stored(
    url: str, tmp_path: Any, case: str
) -> None:
    async with TrajectoryLogger(url, LoggerSettings(journal_dir=tmp_path)) as logger:
        for number in range(10):
            if number != 6:
                await logger.log_turn(turn(number))
                continue
            with pytest.raises(InvalidTurnError, match=r"^Turn\."):
                await logger.log_turn(REFUSED[case]())
        assert await logger.flush() == (9, 0, 0)


async def test_what_the_caller_changes_afterwards_is_not_stored(url: str, tmp_path: Any) -> None:
    changing: dict[str, Any] = {"k": [1, 2, 3]}
    async with TrajectoryLogger(url, LoggerSettings(journal_dir=tmp_path)) as logger:
        await logger.log_turn(turn(metadata=changing))
        changing["k"].append(4)
        changing["other"] = True
        await logger.flush()
        [read] = [each async for each in logger.backend.read_turns(TurnQuery())]
    assert read.metadata == {"k": [1, 2, 3]}
