"""${message}

Rules: name every constraint; only add what old writers can leave out, or raise `oldest_writer`;
never leave the transaction. docs/migrations.md says why.
"""

from __future__ import annotations

import sqlalchemy as sa
${imports if imports else ""}
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

oldest_writer = ${repr(up_revision)}
"""The oldest revision whose programs may still write: an older number, if this only adds."""


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
