"""
The lint that judges the store's statements in all tests, and what is to be spread by it.

`tests/conftest.py` applies it: a test fails in which the store executes a statement that has a fault.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import inspect

from ibt.store import Database, tables
from statements import EVERYWHERE, OF_CUSTOMERS, faults

DISTRIBUTE = (Path(__file__).parents[2] / "deploy" / "distribute.sql").read_text()

BOUND = {
    "a select": "SELECT revision FROM customer_state WHERE customer_state.customer_id = ? FOR UPDATE",
    "a parameter of PostgreSQL": "select status from contract where contract.customer_id = %(customer_id)s::INTEGER",
    "a select with no name of the table": 'SELECT status FROM contract WHERE "customer_id" = ?',
    "a join": (
        "SELECT c.status FROM contract AS c JOIN current_mapping ON current_mapping.customer_id = c.customer_id "
        "AND current_mapping.contract_id = c.contract_id WHERE c.customer_id = ?"
    ),
    "an exists": (
        "SELECT count(*) FROM current_mapping WHERE current_mapping.customer_id = ? AND EXISTS (SELECT 1 FROM "
        "subaccount_version WHERE subaccount_version.customer_id = current_mapping.customer_id)"
    ),
    "an update": "UPDATE customer_state SET revision=? WHERE customer_state.customer_id = ?",
    "an insert": "INSERT INTO contract (customer_id, contract_id) VALUES (?, ?)",
    "an insert of what is selected": (
        "INSERT INTO mapping_version (customer_id, month) SELECT current_mapping.customer_id, current_mapping.month "
        "FROM current_mapping WHERE current_mapping.customer_id = ?"
    ),
    "what is the same everywhere": "SELECT name FROM customer",
    "a definition": "CREATE TABLE contract (contract_id INTEGER)",
    "emptying": "DELETE FROM contract",
}

NOT_BOUND = {
    "a select": "SELECT status FROM contract WHERE contract_id = ?",
    "a select of a value": "SELECT status FROM contract WHERE contract.customer_id > ?",
    "a delete": "DELETE FROM contract WHERE contract_id = ?",
    "an update": "UPDATE customer_state SET revision=?",
    "a join by another column": (
        "SELECT c.status FROM contract AS c JOIN current_mapping ON current_mapping.contract_id = c.contract_id "
        "WHERE c.customer_id = ?"
    ),
    "an exists": (
        "SELECT count(*) FROM current_mapping WHERE current_mapping.customer_id = ? AND EXISTS (SELECT 1 FROM "
        "subaccount_version WHERE subaccount_version.subaccount_id = current_mapping.subaccount_id)"
    ),
    "a join of the whole market": (
        "SELECT contract.status FROM contract "
        "JOIN current_mapping ON current_mapping.customer_id = contract.customer_id"
    ),
    "an insert": "INSERT INTO contract (contract_id) VALUES (?)",
}


@pytest.mark.parametrize("statement", BOUND.values(), ids=BOUND)
def test_a_statement_that_is_bound_by_customer_id_has_no_fault(statement: str) -> None:
    assert faults(statement) == ()
    assert faults(statement, whole_market=True) == ()


@pytest.mark.parametrize("statement", NOT_BOUND.values(), ids=NOT_BOUND)
def test_a_statement_that_is_not_bound_by_customer_id_has_a_fault(statement: str) -> None:
    assert faults(statement) != ()


def test_the_whole_market_may_be_read_table_by_table_or_joined_by_customer_id() -> None:
    assert faults("SELECT status FROM contract", whole_market=True) == ()
    assert faults(NOT_BOUND["a join of the whole market"], whole_market=True) == ()
    assert faults(NOT_BOUND["a join by another column"], whole_market=True) != ()


def test_every_key_of_customers_data_begins_with_customer_id(database: Database) -> None:
    with database.reading() as connection:
        inspector = inspect(connection)
        for table in OF_CUSTOMERS:
            keys: list[Sequence[str | None]] = [inspector.get_pk_constraint(table)["constrained_columns"]]
            keys += [index["column_names"] for index in inspector.get_indexes(table)]
            assert {key[0] for key in keys} == {"customer_id"}, table
            assert inspector.get_foreign_keys(table) == []


def test_there_are_no_triggers(database: Database) -> None:
    query = (
        "select count(*) from sqlite_master where type = 'trigger'"
        if database.sqlite
        else "select count(*) from information_schema.triggers"
    )
    with database.reading() as connection:
        assert connection.exec_driver_sql(query).scalar_one() == 0


def test_the_statements_that_distribute_the_tables_name_every_table_once() -> None:
    reference = re.findall(r"^SELECT create_reference_table\('(\w+)'\);$", DISTRIBUTE, re.MULTILINE)
    distributed = re.findall(r"^SELECT create_distributed_table\('(\w+)', 'customer_id'", DISTRIBUTE, re.MULTILINE)
    assert sorted(reference) == sorted(EVERYWHERE)
    assert sorted(distributed) == OF_CUSTOMERS
    assert sorted(reference + distributed) == sorted(tables.metadata.tables)
