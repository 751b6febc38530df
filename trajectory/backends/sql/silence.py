"""Deleting what is silent, in one transaction with the look whether it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from trajectory.backends.sql.filters import among
from trajectory.backends.sql.statements import TRAJECTORIES, TURNS, Statements
from trajectory.backends.sql.writing import Steps


def delete_silent_steps(
    statements: Statements, ids: Sequence[UUID], before: datetime, dialect: str
) -> Steps[list[UUID]]:
    """Delete those trajectories that were silent since an instant; say which."""
    columns = TRAJECTORIES.c
    wanted = among(columns.id, ids, dialect)
    if dialect != "sqlite":
        # A turn that is being stored locks its parent's row: wait for it, and look afterwards. One
        # that comes later waits for us, finds no parent, and is stored with a new one.
        yield statements.rare(
            sa.select(columns.id).where(wanted).order_by(columns.id).with_for_update()
        )
    has_new_turn = sa.exists().where(
        TURNS.c.trajectory_id == columns.id, TURNS.c.created_at >= before
    )
    gone = statements.rare(
        sa.delete(TRAJECTORIES)
        .where(
            wanted,
            columns.created_at < before,
            sa.or_(columns.ended_at.is_(None), columns.ended_at < before),
            ~has_new_turn.correlate(TRAJECTORIES),
        )
        .returning(columns.id)
    )
    rows = yield gone
    return [row["id"] for row in gone.mappings(rows)]
