"""
The whole service on tables that are partitioned by customer, as on several machines: it answers as on others.

The store's own tests run on them too: they are the third kind of database in `tests/conftest.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from ibt.store import Database
from partitions import PARTITIONS, partitioned
from postgresql import Server
from statements import OF_CUSTOMERS

sys.path.append(str(Path(__file__).parents[1] / "model"))


def test_each_table_of_customers_is_partitioned_by_customer_id(postgresql: Server) -> None:
    with partitioned(postgresql) as url:
        database = Database(url)
        database.upgrade()
        with database.reading() as connection:
            keys = connection.execute(
                text(
                    "select partrelid::regclass::text, attname, "
                    "(select count(*) from pg_inherits where inhparent = partrelid) "
                    "from pg_partitioned_table join pg_attribute on attrelid = partrelid and attnum = partattrs[0]"
                )
            ).all()
        database.close()
    assert sorted(map(tuple, keys)) == [(table, "customer_id", PARTITIONS) for table in OF_CUSTOMERS]


@pytest.mark.timeout(600)
def test_the_service_answers_as_the_oracle_says(postgresql: Server, tmp_path: Path) -> None:
    from doors import in_process  # noqa: PLC0415 - its folder is known only now
    from test_model import run  # noqa: PLC0415 - its folder is known only now

    with partitioned(postgresql) as url, in_process(url, tmp_path) as door:
        run(door, examples=30, steps=40)
