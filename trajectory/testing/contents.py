"""The part of the suite about content: what is stored comes back equal, types included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from trajectory.backend import Batch
from trajectory.ids import uuid7
from trajectory.models import Message, ToolCall, Trajectory
from trajectory.testing.samples import (
    NOON,
    Suite,
    a_turn,
    full_trajectory,
    full_turn,
    trajectories_of,
    turns_of,
)
from trajectory.values import INT64_MAX, INT64_MIN, same_json

_JSON: list[Any] = [
    *(False, True, 0, 1, -1, INT64_MAX, INT64_MIN, 0.0, 1.0, -2.0, 1e16, 1e300, 5e-324, 0.1),
    *("", "null", "1", "1.0", "1e300", "true", "[1]", '"'),
    *([], {}, [None], [1.0, 1, True], {"": ""}),
]


class ContentConformance(Suite):
    """Every field, and the values that databases are known to disagree about."""

    async def test_every_field_of_a_turn_comes_back(self) -> None:
        async with self.new_backend() as backend:
            sent = full_turn(uuid7())
            await backend.write(Batch(turns=(sent,)))
            [read] = await turns_of(backend)
            # Findings come ordered by position, then source; the rest as it was sent.
            assert read.replace(questions=()) == sent.replace(questions=())
            assert sorted(map(repr, read.questions)) == sorted(map(repr, sent.questions))
            assert same_json(read.metadata, sent.metadata)

    async def test_every_field_of_a_trajectory_comes_back(self) -> None:
        async with self.new_backend() as backend:
            sent = full_trajectory()
            await backend.write(Batch(starts=(sent,)))
            [read] = await trajectories_of(backend)
            assert read == sent
            assert same_json(read.metadata, sent.metadata)

    async def test_json_keeps_its_types(self) -> None:
        async with self.new_backend() as backend:
            starts = [
                Trajectory(tools=value, tags=value, metadata={"k": value}, created_at=NOON)
                for value in _JSON
            ]
            messages = [
                Message(role="user", usage=value, token_ids=value, logprobs=value)
                for value in _JSON
            ]
            sent = a_turn(messages=messages)
            await backend.write(Batch(starts=tuple(starts), turns=(sent,)))
            ids = [start.id for start in starts]
            for read, value in zip(await trajectories_of(backend, ids=ids), _JSON, strict=True):
                assert same_json([read.tools, read.tags, read.metadata["k"]], [value] * 3)
            [turn] = await turns_of(backend)
            for message, value in zip(turn.messages, _JSON, strict=True):
                found = [message.usage, message.token_ids, message.logprobs]
                assert same_json(found, [value] * 3)
            await backend.write(Batch(starts=tuple(starts), turns=(sent,)))

    async def test_text_that_looks_like_json_stays_text(self) -> None:
        contents = ["[1]", '{"a": 1}', "", "null", "1.0", [], [{"type": "text"}], None]
        arguments = ['{ "a":\t1.0,\r\n"a": 1e2 }', "", "{", "1.0", None]
        async with self.new_backend() as backend:
            sent = a_turn(
                prompt="007",
                response="1e3",
                messages=[Message(role="tool", content=content) for content in contents],
                tool_calls=[ToolCall(tool_name="1.0", arguments=text) for text in arguments],
            )
            await backend.write(Batch(turns=(sent,)))
            [read] = await turns_of(backend)
            assert read == sent
            assert [message.content for message in read.messages] == contents
            assert [call.arguments for call in read.tool_calls] == arguments

    async def test_numbers_come_back_at_their_bounds(self) -> None:
        bounds = [(0, 0.0), (INT64_MAX, 1.7976931348623157e308), (2**53 + 1, 5e-324), (1, 0.1)]
        async with self.new_backend() as backend:
            id_ = uuid7()
            turns = [
                a_turn(id_, n, token_count=count, latency_ms=amount, reward=-amount)
                for n, (count, amount) in enumerate(bounds)
            ]
            await backend.write(Batch(turns=tuple(turns)))
            assert await turns_of(backend) == turns
            await backend.write(Batch(turns=tuple(turns)))

    @pytest.mark.parametrize(
        "instant",
        [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
            datetime(2026, 10, 25, 2, 30, 0, 999999, timezone(timedelta(hours=-9, minutes=-30))),
        ],
    )
    async def test_instants_come_back_aware_and_equal(self, instant: datetime) -> None:
        async with self.new_backend() as backend:
            start = Trajectory(created_at=instant, ended_at=instant)
            sent = a_turn(start.id, created_at=instant)
            await backend.write(Batch(starts=(start,), turns=(sent,)))
            [trajectory], [turn] = await trajectories_of(backend), await turns_of(backend)
            for read in (turn.created_at, trajectory.created_at, trajectory.ended_at):
                assert read == instant
                assert read is not None
                assert read.utcoffset() == timedelta(0)

    async def test_text_of_megabytes_comes_back(self) -> None:
        async with self.new_backend() as backend:
            sent = a_turn(prompt="ü" * 1_500_000, metadata={"k": "x" * 3_000_000})
            await backend.write(Batch(turns=(sent,)))
            [read] = await turns_of(backend)
            assert (read.prompt, read.metadata) == (sent.prompt, sent.metadata)
