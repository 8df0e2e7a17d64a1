"""
A lint of SQL: no statement on a customer's data lacks its customer_id, so that they can be spread by it.

Each of a customer's tables in a statement must be bound by its customer_id: to a parameter, or to that of another
table. A statement on the whole market, which loading and exporting have, binds none to a parameter, but joins by
it all the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import sqlalchemy
from sqlalchemy import Engine, event

import ibt.store
from ibt.store import question, tables

#: The same everywhere, and so spread over no machines.
EVERYWHERE = {"customer", "users", "grants", "pins", "revoked"}

OF_CUSTOMERS = sorted(table.name for table in tables.metadata.sorted_tables if table.name not in EVERYWHERE)

_STORE = Path(ibt.store.__file__).parent
_SQLALCHEMY = Path(sqlalchemy.__file__).parent

#: A table where rows come from or go to, and the name that it has in the statement.
_SOURCE = re.compile(rf"(?<![\w.])({'|'.join(OF_CUSTOMERS)})\b(?!\.)(?: as (\w+))?")
_INSERT = re.compile(rf"(?:insert into|copy) ({'|'.join(OF_CUSTOMERS)}) \(([^)]*)\)")
_DEFINITION = re.compile(r"(create|alter|drop) ")
_EMPTYING = re.compile(r"delete from \w+")


@lru_cache(maxsize=4096)
def faults(statement: str, *, whole_market: bool = False) -> tuple[str, ...]:
    """What *statement* lacks: a sentence for each of a customer's tables that is not bound by its customer_id."""
    plain = " ".join(statement.replace('"', "").lower().split())
    if _DEFINITION.match(plain) or _EMPTYING.fullmatch(plain):
        return ()
    selects = plain.split(" except ")  # each of which is a statement of its own
    return tuple(fault for select in selects for fault in _faults(select, whole_market=whole_market))


def _faults(statement: str, *, whole_market: bool) -> Iterator[str]:
    for table, columns in _INSERT.findall(statement):
        if "customer_id" not in re.split(r"\W+", columns):
            yield f"{table} gets a row without customer_id: {statement}"
    rest = _INSERT.sub("", statement)
    sources = [name or table for table, name in _SOURCE.findall(rest)]
    for source in sources:
        own = rf"(?<![\w.]){source}\.customer_id" if len(sources) > 1 else rf"(?:(?<![\w.]){source}\.)?\bcustomer_id"
        bound = re.search(rf"{own} = |= {own}\b|{own} in \(", rest)
        alone = whole_market and len(sources) == 1
        if not (bound or alone):
            yield f"{source} is not bound by its customer_id: {statement}"
    if sources and not whole_market and not re.search(r"customer_id = (\?|:|%|\$)", rest):
        yield f"no customer_id is a parameter: {statement}"


#: The modules whose statements are on the whole market, and not on the data of one customer.
WHOLE_MARKET = {"bulk.py", "chains.py", "export.py", "loading.py", "places.py", "standing.py", "versions.py"}


@lru_cache(maxsize=1)
def executed() -> list[tuple[str, str]]:
    """A list that gets each statement of the store, as it is executed, with the module that asked for it."""
    seen: list[tuple[str, str]] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        module = _asking()
        if module is not None:
            seen.append((module, statement))

    return seen


def _asking() -> str | None:
    """The module of the store that asks; None where someone else does, such as a test."""
    frame = sys._getframe()
    while frame.f_back and (
        Path(frame.f_code.co_filename).is_relative_to(_SQLALCHEMY)
        or frame.f_code.co_filename in (__file__, question.__file__)
    ):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    return path.name if path.parent == _STORE else None
