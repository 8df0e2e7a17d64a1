"""The audit: its rows, their head in the customer's state, and the row of each mapping version."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, _TEXT, nullable=False)


def upgrade() -> None:
    # A program that knows schema 0001 goes on with what it knows: its new rows get what is said here.
    op.add_column("customer_state", sa.Column("audit_count", sa.Integer, nullable=False, server_default="0"))
    op.add_column("customer_state", sa.Column("audit_hash", _TEXT, nullable=False, server_default="0" * 64))
    op.add_column("customer_state", sa.Column("audit_time", sa.BigInteger))
    op.add_column("mapping_version", sa.Column("audit_number", sa.Integer))
    op.create_table(
        "audit",
        sa.Column("customer_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("audit_number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        _text("kind"),
        _text("user_name"),
        _text("subject"),
        _text("serial"),
        _text("fingerprint"),
        _text("address"),
        _text("request_id"),
        sa.Column("status", sa.Integer),
        _text("body_sha256"),
        sa.Column("versions_created", sa.Integer, nullable=False),
        _text("versions_sha256"),
        _text("detail"),
        _text("hash"),
        sqlite_with_rowid=False,
    )
