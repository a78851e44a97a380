"""What sources posted, so that they can read it back; and feeds by category"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "contributions",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("added", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stix_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("version_us", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("names", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("source", "added"),
    )
    op.create_index("contributions_by_version", "contributions", ["source", "stix_id", "version_us"], unique=True)
    op.create_index("contributions_by_submission", "contributions", ["seq"], unique=False)
    op.create_table(
        "contribution_names",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("added", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("source", "name", "added"),
    )
    of_a_category = sa.text("category <> '' AND live")
    op.create_index(
        "feed_by_category",
        "feed",
        ["category", "audience", "added"],
        unique=False,
        sqlite_where=of_a_category,
        postgresql_where=of_a_category,
    )


def downgrade() -> None:
    op.drop_index("feed_by_category", "feed")
    op.drop_table("contribution_names")
    op.drop_index("contributions_by_submission", "contributions")
    op.drop_index("contributions_by_version", "contributions")
    op.drop_table("contributions")
