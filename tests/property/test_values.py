"""Any value is refused at the door, or stored and read back equal everywhere, by SQL as well."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from property.databases import Databases, trajectories_of, turns_of

from trajectory import Batch, InvalidTurnError, Message, Question, ToolCall, Trajectory, Turn
from trajectory.values import INT64_MAX, INT64_MIN, MAX_DEPTH, same_json

ID = UUID(int=2**127 + 1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

SQLITE = """
SELECT prompt, length(prompt), json_extract(metadata, '$.seven') || '',
       json_extract(metadata, '$'), metadata -> '$.odd'
FROM trajectory_turns ORDER BY trajectory_id, turn_number
"""
POSTGRES = """
SELECT prompt, length(prompt), metadata ->> 'seven', metadata::text, (metadata -> 'odd')::text
FROM trajectory_turns ORDER BY trajectory_id, turn_number
"""


def nested(depth: int, bottom: Any = 1.5) -> Any:
    """Nest lists and objects in turn, `depth` of them."""
    value = bottom
    for level in range(depth):
        value = {"k": value} if level % 2 else [value]
    return value


# What JSON, SQLite and Postgres disagree about comes up more often than by chance.
texts = st.text(st.characters(exclude_categories=()), max_size=20) | st.sampled_from(
    [
        "\0",
        "a\0b",
        "\ud800",
        "\udfff\ud800",
        "\ufeff",
        "\u2028",
        "\\u0000",
        "1e3",
        "null",
        "'\"$.[0]",
    ]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(INT64_MIN, INT64_MAX)
    | st.sampled_from([INT64_MIN, INT64_MAX, 2**53 + 1])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1e16, -1e22, 1e300, 5e-324, 1.7976931348623157e308, -0.0])
    | texts
)
refused = st.sampled_from(
    [float("nan"), float("-inf"), 2**63, -(2**63) - 1, 10**400, b"x", {1}, {1: 2}, {None: 1}]
)
values = st.recursive(
    leaves | leaves | leaves | refused,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=20,
)
odd_values = values | values | st.integers(MAX_DEPTH - 4, MAX_DEPTH + 2).map(nested)


def the_odd(text: str, value: Any) -> tuple[Trajectory, Turn]:
    """Make a trajectory and a turn that hold a text and a JSON value wherever they may."""
    held = {"odd": value, "seven": 7}
    trajectory = Trajectory(
        id=ID, created_at=NOON, system_prompt=text, error=text, tools=[value], metadata=held
    )
    message = Message(role="user", content=[value], usage=held, reasoning=text)
    turn = Turn(
        trajectory_id=ID,
        turn_number=1,
        created_at=NOON,
        prompt=text,
        response=text,
        stop_reason=text,
        metadata=held,
        questions=[Question(question_text=text, effort_level="low")],
        messages=[message, Message(role="tool", content=text)],
        tool_calls=[ToolCall(tool_name=text, arguments=text, result=text)],
    )
    return trajectory, turn


def _neighbour(number: int) -> Turn:
    return Turn(
        trajectory_id=ID,
        turn_number=number,
        created_at=NOON,
        prompt="p",
        response="r",
        metadata={"seven": 7},
    )


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=texts, value=odd_values)
@example(text="a\0b\ud800", value=nested(MAX_DEPTH - 1))
@example(text="", value=nested(MAX_DEPTH))
@example(text="", value=float("nan"))
@example(text="", value=[-0.0, 1e300, 5e-324, INT64_MIN, {"\0": "\ud800"}])
def test_a_value_is_refused_or_comes_back_equal_everywhere(
    databases: Databases, text: str, value: Any
) -> None:
    """Invariant: no value that is accepted harms its neighbours or later reads."""
    event("stored" if check_value(databases, text, value) > 2 else "refused")


def check_value(databases: Databases, text: str, value: Any) -> int:
    """Send a value between two neighbours to all databases; say how many turns were accepted."""
    databases.empty()
    starts: tuple[Trajectory, ...] = ()
    turns = [_neighbour(0), _neighbour(2)]
    try:
        trajectory, turn = the_odd(text, value)
    except InvalidTurnError:
        pass
    else:
        starts = (trajectory,)
        turns.insert(1, turn)
    batch = Batch(starts=starts, turns=tuple(turns))
    for backend in databases.all:
        databases.run(backend.write(batch))
        databases.run(backend.write(batch))  # what comes back is what was sent, types included
        assert databases.run(turns_of(backend)) == turns
        [read] = databases.run(trajectories_of(backend))
        assert not starts or read == starts[0]
    for rows in (databases.select_sqlite(SQLITE), databases.select_postgres(POSTGRES)):
        assert [row[:3] for row in rows] == [
            (turn.prompt, len(turn.prompt), str(turn.metadata["seven"])) for turn in turns
        ]
        for (*_, whole, part), turn in zip(rows, turns, strict=True):
            assert same_json(json.loads(whole), turn.metadata)
            assert same_json(json.loads(part or "null"), turn.metadata.get("odd"))
    return len(turns)
