"""What sources named before: their ids, what waits for others, and snapshots"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.create_index("submissions_by_source", ["source", "seq"], unique=False)
    op.create_table(
        "aliases",
        sa.Column("alias", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("keys", sa.LargeBinary(), nullable=False),
        sa.Column("object_type", sa.Text(), nullable=False),
        sa.Column("modified_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("alias"),
    )
    names_one = sa.text("state = 0 AND length(keys) <= 32")
    with op.batch_alter_table("aliases", schema=None) as batch_op:
        batch_op.create_index(
            "aliases_by_name",
            ["source", "keys"],
            unique=False,
            sqlite_where=names_one,
            postgresql_where=names_one,
        )
    op.create_table(
        "alias_names",
        sa.Column("alias", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("alias", "name"),
    )
    with op.batch_alter_table("alias_names", schema=None) as batch_op:
        batch_op.create_index("alias_names_by_name", ["source", "name"], unique=False)
    op.create_table(
        "waiting",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("own", sa.LargeBinary(), nullable=False),
        sa.Column("modified_ms", sa.BigInteger(), nullable=False),
        sa.Column("ripe", sa.Boolean(), nullable=False),
        sa.Column("pointer", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", "place"),
    )
    with op.batch_alter_table("waiting", schema=None) as batch_op:
        batch_op.create_index("waiting_by_own", ["own"], unique=False)
        batch_op.create_index("waiting_by_source", ["source", "seq", "place"], unique=False)
    op.create_table(
        "waiting_ends",
        sa.Column("alias", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("alias", "seq", "place"),
    )
    with op.batch_alter_table("waiting_ends", schema=None) as batch_op:
        batch_op.create_index("waiting_ends_by_place", ["seq", "place"], unique=False)
    op.create_table(
        "snapshots",
        sa.Column("feed", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("feed", "name"),
    )
    with op.batch_alter_table("snapshots", schema=None) as batch_op:
        batch_op.create_index("snapshots_by_name", ["name"], unique=False)


def downgrade() -> None:
    op.drop_table("snapshots")
    op.drop_table("waiting_ends")
    op.drop_table("waiting")
    op.drop_table("alias_names")
    op.drop_table("aliases")
    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.drop_index("submissions_by_source")
