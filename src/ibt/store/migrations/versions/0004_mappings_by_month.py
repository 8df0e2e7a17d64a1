"""Current mappings by month, in the order of a page, in the place of those by period."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A program that knows the one by period goes on without it, more slowly.
    op.create_index("current_mapping_by_month", "current_mapping", ["customer_id", "month", "contract_id"])
    op.drop_index("current_mapping_by_period", "current_mapping")
