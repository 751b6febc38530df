"""Counts by trajectory, as one grouped statement for many of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from trajectory.backends.sql.filters import among
from trajectory.backends.sql.statements import QUESTIONS, TURNS, VIOLATIONS


def turn_totals(ids: Sequence[UUID], dialect: str) -> sa.Select[Any]:
    """Count turns and tokens, and find the newest turn; as `trajectory.counts.Totals`."""
    columns = TURNS.c
    # In two halves, since even the sum of two numbers that fit into 64 bits may not.
    high = _tokens(lambda number: number.bitwise_rshift(sa.literal(32, sa.Integer)))
    low = _tokens(lambda number: number.bitwise_and(2**32 - 1))
    return (
        sa.select(
            columns.trajectory_id,
            sa.func.count().label("turns"),
            sa.func.sum(high).label("tokens_high"),
            sa.func.sum(low).label("tokens_low"),
            sa.func.max(columns.created_at, type_=columns.created_at.type).label("last_turn_at"),
        )
        .where(among(columns.trajectory_id, ids, dialect))
        .group_by(columns.trajectory_id)
    )


def _tokens(half: Callable[[sa.ColumnElement[int]], sa.ColumnElement[int]]) -> sa.Case[int]:
    """Take half of each number that makes up a turn's tokens, as `trajectory.counts.tokens_of`."""
    columns = TURNS.c
    total, given, made = columns.token_count, columns.input_tokens, columns.output_tokens
    both = half(sa.func.coalesce(given, 0)) + half(sa.func.coalesce(made, 0))
    is_known = sa.or_(given.is_not(None), made.is_not(None))
    return sa.case((total.is_not(None), half(total)), (is_known, both))


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
