"""What feeds show of an item's score, and until when it is active"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # rows that are there say nothing of either until their item is decided again
    op.add_column("feed", sa.Column("score", sa.Integer(), nullable=True))
    op.add_column("feed", sa.Column("active_until", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("feed", "active_until")
    op.drop_column("feed", "score")
