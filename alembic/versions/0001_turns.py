"""Trajectories, their turns, and what belongs to a turn.

Keys come from the client and `trajectory_id` leads each of them: no sequence, no identity, no
server default, so the same schema runs on SQLite, on Postgres and on what shards Postgres by it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

oldest_writer = "0001"
"""The oldest revision whose programs may still write."""

# Text on SQLite: of the type JSON, SQLite would store the text `1.0` as the number 1.
JSON = sa.JSON().with_variant(JSONB(), "postgresql").with_variant(sa.Text(), "sqlite")
INSTANT = sa.DateTime(timezone=True)
TURN = ["trajectory_id", "turn_number"]

TABLES = (
    "trajectory_schema",
    "trajectories",
    "trajectory_turns",
    "trajectory_messages",
    "trajectory_tool_calls",
    "trajectory_questions",
    "trajectory_violations",
)
INDEXES = (
    ("ix_trajectories_spec_id_agent_name", "trajectories", ["spec_id", "agent_name"]),
    ("ix_trajectories_run_id", "trajectories", ["run_id"]),
    ("ix_trajectories_session_id", "trajectories", ["session_id"]),
    ("ix_trajectories_user_id", "trajectories", ["user_id"]),
    ("ix_trajectories_parent_trajectory_id", "trajectories", ["parent_trajectory_id"]),
    ("ix_trajectories_root_trajectory_id", "trajectories", ["root_trajectory_id"]),
    ("ix_trajectories_created_at_id", "trajectories", ["created_at", "id"]),
    ("ix_trajectory_violations_preference_name", "trajectory_violations", ["preference_name"]),
)


def turn_key(table: str) -> list[sa.schema.SchemaItem]:
    """Give the columns that name a turn, and the foreign key that goes with the turn."""
    return [
        sa.Column("trajectory_id", sa.Uuid(), nullable=False),
        sa.Column("turn_number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            TURN,
            [f"trajectory_turns.{column}" for column in TURN],
            name=f"fk_{table}_trajectory_turns",
            ondelete="CASCADE",
        ),
    ]


def upgrade() -> None:
    op.create_table(
        "trajectory_schema",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("oldest_writer", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trajectory_schema"),
        sa.CheckConstraint("id = 1", name="ck_trajectory_schema_one_row"),
    )
    op.create_table(
        "trajectories",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("spec_id", sa.Text()),
        sa.Column("agent_name", sa.Text()),
        sa.Column("agent_version", sa.Text()),
        sa.Column("run_id", sa.Text()),
        sa.Column("session_id", sa.Text()),
        sa.Column("user_id", sa.Text()),
        sa.Column("parent_trajectory_id", sa.Uuid()),
        sa.Column("root_trajectory_id", sa.Uuid()),
        sa.Column("status", sa.String(16)),
        sa.Column("error", sa.Text()),
        sa.Column("reward", sa.Double()),
        sa.Column("system_prompt", sa.Text()),
        sa.Column("tools", JSON),
        sa.Column("tags", JSON),
        sa.Column("source_format", sa.Text()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("metadata", JSON),
        sa.PrimaryKeyConstraint("id", name="pk_trajectories"),
    )
    op.create_table(
        "trajectory_turns",
        sa.Column("trajectory_id", sa.Uuid(), nullable=False),
        sa.Column("turn_number", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("response", sa.Text(), nullable=False),
        sa.Column("token_count", sa.BigInteger()),
        sa.Column("latency_ms", sa.Double()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("model_name", sa.Text()),
        sa.Column("input_tokens", sa.BigInteger()),
        sa.Column("output_tokens", sa.BigInteger()),
        sa.Column("cache_read_tokens", sa.BigInteger()),
        sa.Column("cache_write_tokens", sa.BigInteger()),
        sa.Column("reasoning_tokens", sa.BigInteger()),
        sa.Column("cost_usd", sa.Double()),
        sa.Column("stop_reason", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("reward", sa.Double()),
        sa.Column("is_copied_context", sa.Boolean()),
        sa.Column("metadata", JSON),
        sa.PrimaryKeyConstraint(*TURN, name="pk_trajectory_turns"),
        sa.ForeignKeyConstraint(
            ["trajectory_id"],
            ["trajectories.id"],
            name="fk_trajectory_turns_trajectories",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "trajectory_messages",
        *turn_key("trajectory_messages"),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("content", sa.Text()),
        sa.Column("content_parts", JSON),
        sa.Column("call_id", sa.Text()),
        sa.Column("reasoning", sa.Text()),
        sa.Column("model_name", sa.Text()),
        sa.Column("stop_reason", sa.Text()),
        sa.Column("usage", JSON),
        sa.Column("token_ids", JSON),
        sa.Column("logprobs", JSON),
        sa.Column("created_at", INSTANT),
        sa.PrimaryKeyConstraint(*TURN, "position", name="pk_trajectory_messages"),
    )
    op.create_table(
        "trajectory_tool_calls",
        *turn_key("trajectory_tool_calls"),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("message_position", sa.BigInteger()),
        sa.Column("call_id", sa.Text()),
        sa.Column("tool_name", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text()),
        sa.Column("result", sa.Text()),
        sa.Column("is_error", sa.Boolean()),
        sa.Column("latency_ms", sa.Double()),
        sa.Column("started_at", INSTANT),
        sa.PrimaryKeyConstraint(*TURN, "position", name="pk_trajectory_tool_calls"),
    )
    op.create_table(
        "trajectory_questions",
        *turn_key("trajectory_questions"),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("question_text", sa.Text(), nullable=False),
        sa.Column("effort_level", sa.String(16), nullable=False),
        sa.Column("confidence", sa.Double()),
        sa.Column("created_at", INSTANT),
        sa.PrimaryKeyConstraint(*TURN, "source", "position", name="pk_trajectory_questions"),
    )
    op.create_table(
        "trajectory_violations",
        *turn_key("trajectory_violations"),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("preference_name", sa.Text(), nullable=False),
        sa.Column("expected", sa.Text()),
        sa.Column("actual", sa.Text()),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("created_at", INSTANT),
        sa.PrimaryKeyConstraint(*TURN, "source", "position", name="pk_trajectory_violations"),
    )
    for name, table, columns in INDEXES:
        op.create_index(name, table, columns)


def downgrade() -> None:
    for name, table, _columns in reversed(INDEXES):
        op.drop_index(name, table)
    for table in reversed(TABLES):
        op.drop_table(table)
