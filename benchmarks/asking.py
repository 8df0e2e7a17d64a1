"""What the bench asks: raw requests, and the bodies that it knows to be right since it made them itself."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import market
from load import Request
from market import Market

from ibt import messages
from ibt.rules.periods import write_time
from ibt.rules.queries import read_query
from ibt.store import Database, reads

BASE = "/sms_oper_contract/api/customers"
VENDOR = "application/vnd.iso-ne.contract.customers.v1+xml"


def collection(customer_id: int) -> str:
    """The path of a customer's mappings."""
    return f"{BASE}/{customer_id}/contractSubaccountMappings"


def get(path: str, *fields: str, crc: int | None = None) -> Request:
    """A GET."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Accept: */*", *fields]
    return Request("\r\n".join(lines) + "\r\n\r\n", crc)


def post(customer_id: int, body: str) -> Request:
    """A POST of an update."""
    fields = f"Host: localhost\r\nContent-Type: {VENDOR}\r\nContent-Length: {len(body)}"
    return Request(f"POST {collection(customer_id)} HTTP/1.1\r\n{fields}\r\n\r\n{body}")


def page(database: Database, customer_id: int, query: str) -> Request:
    """The GET of a page, with what the store and the writer of XML make of it in this process."""
    asked = read_query([(name, value) for name, _, value in (each.partition("=") for each in query.split("&"))])
    with database.reading() as connection:
        total, mappings = reads.current_mappings(connection, customer_id, asked)
    return get(f"{collection(customer_id)}?{query}", crc=zlib.crc32(messages.write_mappings(mappings, total)))


def contract(database: Database, customer_id: int, contract_id: int) -> Request:
    """The GET of one contract, likewise."""
    with database.reading() as connection:
        mapping = reads.mapping_history(connection, customer_id, contract_id)
    assert mapping is not None
    return get(f"{collection(customer_id)}/{contract_id}", crc=zlib.crc32(messages.write_mapping(mapping)))


def subaccounts(database: Database, customer_id: int) -> Request:
    """The GET of all subaccounts, likewise."""
    with database.reading() as connection:
        found = reads.subaccounts(connection, customer_id)
    return get(f"{BASE}/{customer_id}/subaccounts", crc=zlib.crc32(messages.write_subaccounts(found)))


def update(of: Market, customer_id: int, versions: int, changed: Iterable[int], wanted: str) -> str:
    """
    An update of the customer's first *versions* mapping periods, which are ordered by contract.

    Those whose numbers, from 0, are in *changed* go to the subaccount *wanted*, the others stay in `Default`.
    """
    periods = [(write_time(period.begin), write_time(period.end)) for period in market.periods(of)]
    changes = set(changed)
    mappings = []
    contracts = -(-versions // len(periods))
    for place, contract_id in enumerate(market.contract_ids(of, customer_id)[:contracts]):
        first = place * len(periods)
        asked = [
            _version(begin, end, wanted if first + number in changes else "Default")
            for number, (begin, end) in enumerate(periods[: max(0, versions - first)])
        ]
        mappings.append(_mapping(customer_id, contract_id, periods, asked))
    namespace = "http://xmlns.iso-ne.com/contract/customers"
    return f'<contract_subaccount_mappings xmlns="{namespace}">{"".join(mappings)}</contract_subaccount_mappings>'


def _mapping(customer_id: int, contract_id: int, periods: Sequence[tuple[str, str]], versions: Sequence[str]) -> str:
    return (
        f"<contract_subaccount_mapping><customer_id>{customer_id}</customer_id><contract_id>{contract_id}"
        "</contract_id><market_name/><buyer_name/><seller_name/>"
        f"<contract_begin>{periods[0][0]}</contract_begin><contract_end>{periods[-1][1]}</contract_end><status/>"
        f"{''.join(versions)}</contract_subaccount_mapping>"
    )


def _version(begin: str, end: str, subaccount_id: str) -> str:
    return (
        f"<contract_subaccount_mapping_version><begin>{begin}</begin><end>{end}</end>"
        f"<version/><subaccount_id>{subaccount_id}</subaccount_id></contract_subaccount_mapping_version>"
    )
