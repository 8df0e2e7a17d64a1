"""
The audit beside the checker of `history.py`: it is whole, and has each update that is there once, and no other.

    (g) each update that is in the histories has one row in the audit, which its versions know; none that is not has
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from sqlalchemy import select

from ibt.store import Database, chains
from ibt.store.chains import ChainHead, Tally
from ibt.store.tables import mapping_version


def heads(url: str) -> list[ChainHead]:
    """The heads of the chains now, to be kept."""
    with closing(Database(url)) as database, database.reading() as connection:
        return chains.heads(connection)


def refusals(url: str) -> int:
    """How many refused updates the audit tells of."""
    with closing(Database(url)) as database, database.reading() as connection:
        return sum(1 for _ in chains.entries(connection, kind="refusal"))


def audit_faults(url: str, kept: Sequence[ChainHead] = ()) -> list[str]:
    """(g), and what is wrong with the audit itself, which must pass through the heads that were *kept*."""
    with closing(Database(url)) as database, database.reading() as connection:
        whole = list(chains.faults(connection, Tally(), {head.customer_id: head for head in kept}))
        rows = {row[:2]: row for row in chains.entries(connection)}
        columns = (mapping_version.c.customer_id, mapping_version.c.audit_number, mapping_version.c.subaccount_id)
        made: dict[tuple[int, int], set[str]] = {}
        for customer_id, number, subaccount_id in connection.execute(select(*columns).distinct()):
            made.setdefault((customer_id, number), set()).add(subaccount_id)
    updates = {key for key, row in rows.items() if row.kind == "update"}
    several = [
        f"{rows[key]} made versions of several updates: {made[key]}"
        for key in updates & made.keys()
        if len(made[key]) > 1
    ]
    known = [subaccount_id for key in updates & made.keys() for subaccount_id in made[key]]
    twice = [f"{name} has several rows" for name in sorted(set(known)) if known.count(name) > 1]
    without = [f"{rows[key]} made no version that is there" for key in sorted(updates - made.keys())]
    loaded = [
        f"row {key} made {names}, and is no update"
        for key, names in sorted(made.items())
        if key not in updates and names != {"Default"}
    ]
    return [*whole, *several, *twice, *without, *loaded]
