"""What recipients did with items, what they owe, and which copies are urgent"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("feed", sa.Column("urgent", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("feed", sa.Column("since", sa.BigInteger(), nullable=True))
    op.add_column("feed", sa.Column("reminded", sa.Integer(), nullable=False, server_default="0"))
    op.execute(sa.text("UPDATE feed SET value = '', registrable_domain = '' WHERE live = false"))
    op.create_table(
        "former",
        sa.Column("stix_id", sa.Text(), nullable=False),
        sa.Column("audience", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("left_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stix_id", "audience"),
    )
    op.create_index(op.f("ix_former_left_ms"), "former", ["left_ms"], unique=False)
    op.create_table(
        "receipts",
        sa.Column("bit", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stix_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_ms", sa.BigInteger(), nullable=True),
        sa.Column("history", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bit", "stix_id"),
    )
    op.create_index("receipts_by_stix_id", "receipts", ["stix_id"], unique=False)
    op.create_table(
        "marks",
        sa.Column("bit", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("told", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged", sa.BigInteger(), nullable=False),
        sa.Column("acted", sa.BigInteger(), nullable=False),
        sa.Column("reminders", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("bit"),
    )


def downgrade() -> None:
    op.drop_table("marks")
    op.drop_table("receipts")
    op.drop_table("former")
    op.drop_column("feed", "reminded")
    op.drop_column("feed", "since")
    op.drop_column("feed", "urgent")
