"""The six tables, defined once: for the migrations, the queries and the compiled inserts.

Every key is made by the client, and `trajectory_id` leads every primary key, unique constraint and
foreign key: so a repeated write is harmless, nobody asks the database for an id, and the same
schema runs on SQLite, Postgres, partitioned Postgres and engines that shard by `trajectory_id`.
Hence no sequence, identity, trigger or server default; `parent_trajectory_id` and
`root_trajectory_id` are plain columns, since a foreign key to another shard is refused there.
Every constraint has a name: SQLite drops unnamed ones when a migration rewrites a table.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from trajectory.backends.sql.types import JSON_VALUE, UtcDateTime

Json = Any  # what the models froze


class Base(DeclarativeBase):
    """The registry of the tables."""

    metadata = sa.MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(referred_table_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: sa.Text,
        int: sa.BigInteger,
        float: sa.Double,
        datetime: UtcDateTime,
        Json: JSON_VALUE,
    }


def _key() -> Any:
    """Make a column of a key that the client fills."""
    return mapped_column(primary_key=True, autoincrement=False)


class TrajectoryRow(Base):
    """One execution of an agent."""

    __tablename__ = "trajectories"
    __table_args__ = (
        sa.Index(None, "spec_id", "agent_name"),
        sa.Index(None, "run_id"),
        sa.Index(None, "session_id"),
        sa.Index(None, "user_id"),
        sa.Index(None, "parent_trajectory_id"),
        sa.Index(None, "root_trajectory_id"),
        sa.Index(None, "created_at", "id"),
    )

    id: Mapped[UUID] = _key()
    spec_id: Mapped[str | None]
    agent_name: Mapped[str | None]
    agent_version: Mapped[str | None]
    run_id: Mapped[str | None]
    session_id: Mapped[str | None]
    user_id: Mapped[str | None]
    parent_trajectory_id: Mapped[UUID | None]
    root_trajectory_id: Mapped[UUID | None]
    status: Mapped[str | None] = mapped_column(sa.String(16))
    error: Mapped[str | None]
    reward: Mapped[float | None]
    system_prompt: Mapped[str | None]
    tools: Mapped[Json | None]
    tags: Mapped[Json | None]
    source_format: Mapped[str | None]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    metadata_: Mapped[Json | None] = mapped_column("metadata")


class TurnRow(Base):
    """One exchange between a user and an agent."""

    __tablename__ = "trajectory_turns"

    trajectory_id: Mapped[UUID] = mapped_column(
        sa.ForeignKey(TrajectoryRow.id, ondelete="CASCADE"), primary_key=True
    )
    turn_number: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    prompt: Mapped[str]
    response: Mapped[str]
    token_count: Mapped[int | None]
    latency_ms: Mapped[float | None]
    created_at: Mapped[datetime]
    model_name: Mapped[str | None]
    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    cache_read_tokens: Mapped[int | None]
    cache_write_tokens: Mapped[int | None]
    reasoning_tokens: Mapped[int | None]
    cost_usd: Mapped[float | None]
    stop_reason: Mapped[str | None]
    error: Mapped[str | None]
    reward: Mapped[float | None]
    is_copied_context: Mapped[bool | None]
    metadata_: Mapped[Json | None] = mapped_column("metadata")


class _OfTurn:
    """The key that all parts of a turn begin with."""

    # Columns of a mix-in come last unless told otherwise; these lead the key.
    trajectory_id: Mapped[UUID] = mapped_column(primary_key=True, sort_order=-2)
    turn_number: Mapped[int] = mapped_column(
        sa.Integer, primary_key=True, autoincrement=False, sort_order=-1
    )


def _turn_key() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["trajectory_id", "turn_number"],
        [TurnRow.trajectory_id, TurnRow.turn_number],
        ondelete="CASCADE",
    )


class MessageRow(_OfTurn, Base):
    """One message inside a turn. `content` is text; parts stand in `content_parts` instead."""

    __tablename__ = "trajectory_messages"
    __table_args__ = (_turn_key(),)

    position: Mapped[int] = _key()
    role: Mapped[str] = mapped_column(sa.String(16))
    content: Mapped[str | None]
    content_parts: Mapped[Json | None]
    call_id: Mapped[str | None]
    reasoning: Mapped[str | None]
    model_name: Mapped[str | None]
    stop_reason: Mapped[str | None]
    usage: Mapped[Json | None]
    token_ids: Mapped[Json | None]
    logprobs: Mapped[Json | None]
    created_at: Mapped[datetime | None]


class ToolCallRow(_OfTurn, Base):
    """A tool that the agent called. `arguments` is text, byte for byte."""

    __tablename__ = "trajectory_tool_calls"
    __table_args__ = (_turn_key(),)

    position: Mapped[int] = _key()
    message_position: Mapped[int | None]
    call_id: Mapped[str | None]
    tool_name: Mapped[str]
    arguments: Mapped[str | None]
    result: Mapped[str | None]
    is_error: Mapped[bool | None]
    latency_ms: Mapped[float | None]
    started_at: Mapped[datetime | None]


class QuestionRow(_OfTurn, Base):
    """A question the agent asked, by who found it."""

    __tablename__ = "trajectory_questions"
    __table_args__ = (_turn_key(),)

    source: Mapped[str] = _key()
    position: Mapped[int] = _key()
    question_text: Mapped[str]
    effort_level: Mapped[str] = mapped_column(sa.String(16))
    confidence: Mapped[float | None]
    created_at: Mapped[datetime | None]


class ViolationRow(_OfTurn, Base):
    """A user preference that a response broke, by who found it."""

    __tablename__ = "trajectory_violations"
    __table_args__ = (_turn_key(), sa.Index(None, "preference_name"))

    source: Mapped[str] = _key()
    position: Mapped[int] = _key()
    preference_name: Mapped[str]
    expected: Mapped[str | None]
    actual: Mapped[str | None]
    severity: Mapped[str] = mapped_column(sa.String(16))
    reason: Mapped[str | None]
    created_at: Mapped[datetime | None]
