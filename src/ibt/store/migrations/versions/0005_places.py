"""Places: how many current mappings a customer has up to some of its contracts."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: The lock on PostgreSQL under which one folder is loaded: which mappings there are does not change meanwhile.
_LOADING = 0x69627401

_KEEP = """
    INSERT INTO place (customer_id, passed, contract_id, month)
    SELECT customer_id, passed, contract_id, month
    FROM (
        SELECT customer_id, contract_id, month, versions,
            CAST(sum(versions) OVER (PARTITION BY customer_id ORDER BY contract_id) AS BIGINT) AS passed
        FROM (
            SELECT customer_id, contract_id, max(month) AS month, count(*) AS versions
            FROM current_mapping
            GROUP BY customer_id, contract_id
        ) AS contracts
    ) AS passed
    WHERE passed / 100 > (passed - versions) / 100
"""


def upgrade() -> None:
    # A program that knows schema 0004 reads without them, but must not load: it would leave them as they are.
    op.create_table(
        "place",
        sa.Column("customer_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("passed", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("contract_id", sa.Integer, nullable=False),
        sa.Column("month", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"SELECT pg_advisory_xact_lock({_LOADING})")
    op.execute(_KEEP)
