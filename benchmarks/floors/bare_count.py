"""The floor of a first total: a bare count(*) with the same filter, by the driver alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg

_ALL = "select count(*) from current_mapping where customer_id = {}"

#: No mapping period is longer than 32 days: so far before the days one that overlaps them may begin.
_OF_DAYS = f'{_ALL} and "begin" < {{}} and "end" > {{}} and "begin" > {{}}'
_LONGEST = 32 * 86_400


def bare_count(url: str, customer_id: int, days: tuple[int, int] | None) -> Callable[[], int]:
    """Counts a customer's current versions: all, or those whose periods overlap *days*, in seconds since 1970."""
    values = (customer_id,) if days is None else (customer_id, days[1], days[0], days[0] - _LONGEST)
    statement = _ALL if days is None else _OF_DAYS
    if url.startswith("sqlite:///"):
        execute: Callable[..., Any] = sqlite3.connect(url.removeprefix("sqlite:///")).execute
        statement = statement.replace("{}", "?")
    else:
        execute = psycopg.connect(url, autocommit=True).execute
        statement = statement.replace("{}", "%s")
    return lambda: int(execute(statement, values).fetchone()[0])
