"""The floor of a large page: the same rows fetched, made to values and written as XML, in process and alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

from ibt import messages
from ibt.rules.periods import month_of
from ibt.rules.queries import Query
from ibt.store import Database, reads
from ibt.store.places import Place


def fetch_and_render(url: str, customer_id: int, limit: int) -> Callable[[], object]:
    """Makes the next page of a customer's mappings; where each begins is known."""
    database = Database(url)
    with database.reading() as connection:
        total = reads.total(connection, customer_id, Query())
        pages: list[tuple[Query, Place | None]] = []
        place = None
        for start in range(0, total, limit):
            query = Query(start=start, limit=limit)
            pages.append((query, place))
            last = reads.page(connection, customer_id, query, place)[-1]
            place = Place(start + limit, last.contract.contract_id, month_of(last.versions[-1].begin))
    turn = cycle(pages)

    def once() -> None:
        query, place = next(turn)
        with database.reading() as connection:
            messages.write_mappings(reads.page(connection, customer_id, query, place), total)

    return once
