"""Which items wait to be released by staff"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # of sources on probation, what was decided before shows up as soon as it is decided again
    op.add_column("decisions", sa.Column("probation", sa.Boolean(), nullable=False, server_default=sa.false()))
    waiting = sa.text("probation")
    op.create_index(
        "decisions_on_probation",
        "decisions",
        ["fingerprint"],
        unique=False,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )


def downgrade() -> None:
    op.drop_index("decisions_on_probation", "decisions")
    op.drop_column("decisions", "probation")
