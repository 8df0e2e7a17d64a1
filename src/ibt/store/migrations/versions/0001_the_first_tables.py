"""The first tables: customers, users, subaccounts, contracts and their mappings."""

import sqlalchemy as sa
from alembic import op

from ibt.store.migrations import OLDEST_PROGRAM

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _id(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, primary_key=True, autoincrement=False)


def upgrade() -> None:
    op.add_column("alembic_version", sa.Column(OLDEST_PROGRAM, sa.Text, nullable=False, server_default=revision))
    op.create_table("customer", _id("customer_id"), sa.Column("name", _TEXT, nullable=False))
    op.create_table("users", sa.Column("user_name", _TEXT, primary_key=True))
    op.create_table(
        "grants",
        sa.Column("user_name", _TEXT, primary_key=True),
        _id("customer_id"),
        sa.Column("role", _TEXT, primary_key=True),
        sa.ForeignKeyConstraint(["user_name"], ["users.user_name"]),
    )
    op.create_table("customer_state", _id("customer_id"), sa.Column("revision", _TEXT, nullable=False))
    op.create_table(
        "subaccount_version",
        _id("customer_id"),
        sa.Column("subaccount_id", _TEXT, primary_key=True),
        sa.Column("begin", sa.BigInteger, primary_key=True),
        sa.Column("end", sa.BigInteger),
        sa.Column("subaccount_name", _TEXT, nullable=False),
        sa.Column("subaccount_status", _TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "contract",
        _id("customer_id"),
        _id("contract_id"),
        sa.Column("reference_id", _TEXT, nullable=False),
        sa.Column("category", _TEXT, nullable=False),
        sa.Column("location_id", sa.Integer, nullable=False),
        sa.Column("buyer_id", sa.Integer, nullable=False),
        sa.Column("seller_id", sa.Integer, nullable=False),
        sa.Column("contract_begin", sa.BigInteger, nullable=False),
        sa.Column("contract_end", sa.BigInteger, nullable=False),
        sa.Column("status", _TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "current_mapping",
        _id("customer_id"),
        _id("contract_id"),
        _id("month"),
        sa.Column("begin", sa.BigInteger, nullable=False),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("subaccount_id", _TEXT, nullable=False),
        sqlite_with_rowid=False,
        postgresql_with={"fillfactor": 70},
    )
    op.create_index("current_mapping_by_period", "current_mapping", ["customer_id", "begin", "end"])
    op.create_table(
        "mapping_version",
        _id("customer_id"),
        _id("contract_id"),
        _id("month"),
        _id("sequence"),
        sa.Column("begin", sa.BigInteger, nullable=False),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("subaccount_id", _TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
