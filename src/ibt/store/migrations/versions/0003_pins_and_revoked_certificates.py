"""The certificates that users are pinned to, and those that are revoked."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "pins",
        sa.Column("user_name", _TEXT, primary_key=True),
        sa.Column("fingerprint", _TEXT, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["user_name"], ["users.user_name"]),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "revoked",
        sa.Column("issuer", _TEXT, primary_key=True),
        sa.Column("serial", _TEXT, primary_key=True),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("fingerprint", _TEXT, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
