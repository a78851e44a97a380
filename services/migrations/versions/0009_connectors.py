"""How connectors are doing, and what of theirs is not through"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    texts = ("connector", "partner", "does", "destination", "accepted", "health", "problem", "checkpoint")
    numbers = ("since_ms", "tried_ms", "done_ms", "next_ms", "asked_ms", "mark", "went", "refused")
    op.create_table(
        "connectors",
        sa.Column("name", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in numbers),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "deliveries",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("stix_id", sa.Text(), nullable=False),
        sa.Column("added", sa.BigInteger(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("standing", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("next_ms", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", "stix_id"),
    )
    op.create_index("deliveries_by_time", "deliveries", ["name", "standing", "next_ms"], unique=False)


def downgrade() -> None:
    op.drop_table("deliveries")
    op.drop_table("connectors")
