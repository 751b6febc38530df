"""Counts by trajectory, as one grouped statement for many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from trajectory.backends.sql.filters import among
from trajectory.backends.sql.statements import QUESTIONS, TURNS, VIOLATIONS


def turn_totals(ids: Sequence[UUID], dialect: str) -> sa.Select[Any]:
    """Count turns and tokens, and find the newest turn; as `trajectory.counts.Totals`."""
    columns = TURNS.c
    known = sa.func.coalesce(columns.input_tokens, 0) + sa.func.coalesce(columns.output_tokens, 0)
    both = sa.func.coalesce(columns.input_tokens, columns.output_tokens)
    tokens = sa.func.coalesce(columns.token_count, sa.case((both.is_not(None), known)))
    return (
        sa.select(
            columns.trajectory_id,
            sa.func.count().label("turns"),
            # In two halves, since a sum of what fits into 64 bits may not.
            sa.func.sum(tokens.bitwise_rshift(sa.literal(32, sa.Integer))).label("tokens_high"),
            sa.func.sum(tokens.bitwise_and(2**32 - 1)).label("tokens_low"),
            sa.func.max(columns.created_at, type_=columns.created_at.type).label("last_turn_at"),
        )
        .where(among(columns.trajectory_id, ids, dialect))
        .group_by(columns.trajectory_id)
    )


def finding_counts(ids: Sequence[UUID], source: str, dialect: str) -> sa.CompoundSelect[Any]:
    """Count questions by effort level, and violations by severity and preference."""
    number = sa.func.count().label("number")
    asked, broken = QUESTIONS.c, VIOLATIONS.c
    questions = (
        sa.select(
            asked.trajectory_id,
            asked.effort_level.label("level"),
            sa.null().cast(sa.Text).label("preference_name"),
            number,
        )
        .where(among(asked.trajectory_id, ids, dialect), asked.source == source)
        .group_by(asked.trajectory_id, asked.effort_level)
    )
    violations = (
        sa.select(broken.trajectory_id, broken.severity, broken.preference_name, number)
        .where(among(broken.trajectory_id, ids, dialect), broken.source == source)
        .group_by(broken.trajectory_id, broken.severity, broken.preference_name)
    )
    return questions.union_all(violations)
