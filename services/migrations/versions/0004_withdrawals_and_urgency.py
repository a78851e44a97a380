"""Under which consent something was sent, which consents were withdrawn, and what is urgent"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # of submissions that are there nobody knows under which consent they were sent
    op.add_column("submissions", sa.Column("consent", sa.LargeBinary(), nullable=True))
    op.create_index("submissions_by_consent", "submissions", ["consent"], unique=False)
    op.create_table(
        "withdrawn_consents",
        sa.Column("consent", sa.LargeBinary(), nullable=False),
        sa.Column("withdrawn_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("consent"),
    )
    op.add_column("outbox", sa.Column("urgent", sa.Boolean(), nullable=False, server_default=sa.false()))
    urgent = sa.text("urgent")
    op.create_index("outbox_urgent", "outbox", ["seq"], unique=False, sqlite_where=urgent, postgresql_where=urgent)


def downgrade() -> None:
    op.drop_index("outbox_urgent", "outbox")
    op.drop_column("outbox", "urgent")
    op.drop_table("withdrawn_consents")
    op.drop_index("submissions_by_consent", "submissions")
    op.drop_column("submissions", "consent")
