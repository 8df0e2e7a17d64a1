"""
The XML of the specification, written and read as a client would: texts in, texts out.

Clauses 3.2.7, 3.2.8, 3.3.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from xml.sax.saxutils import escape

import httpx2
from lxml import etree

from ibt.conformance.server import TEXT, VENDOR

NAMESPACE = "http://xmlns.iso-ne.com/contract/customers"

AUGUST = ("2015-08-01T04:00:00Z", "2015-09-01T04:00:00Z")
SEPTEMBER = ("2015-09-01T04:00:00Z", "2015-10-01T04:00:00Z")


class Headers(Protocol):
    """The header fields of an answer, by name without case."""

    def __getitem__(self, name: str, /) -> str: ...


class Answered(Protocol):
    """What the suite reads of an answer, whichever way it came."""

    @property
    def status_code(self) -> int: ...
    @property
    def content(self) -> bytes: ...
    @property
    def text(self) -> str: ...
    @property
    def headers(self) -> Headers: ...


@dataclass(frozen=True)
class Version:
    """A contract_subaccount_mapping_version."""

    begin: str
    end: str
    version: str
    subaccount_id: str


@dataclass(frozen=True)
class Mapping:
    """A contract_subaccount_mapping."""

    customer_id: str
    contract_id: str
    market_name: str
    buyer_name: str
    seller_name: str
    contract_begin: str
    contract_end: str
    status: str
    versions: tuple[Version, ...]


def version(period: tuple[str, str], subaccount_id: str) -> str:
    """The element that asks for *subaccount_id* in the mapping period *period* (begin, end)."""
    begin, end = period
    return (
        f"<contract_subaccount_mapping_version><begin>{begin}</begin><end>{end}</end>"
        f"<version>2015-07-01T04:00:00Z</version><subaccount_id>{escape(subaccount_id)}</subaccount_id>"
        "</contract_subaccount_mapping_version>"
    )


def mapping(contract_id: int | str, *versions: str, customer_id: int | str = 1004) -> str:
    """The element that asks for *versions* of one contract; the repeated fields are those of most contracts."""
    return (
        f"<contract_subaccount_mapping><customer_id>{customer_id}</customer_id><contract_id>{contract_id}</contract_id>"
        "<market_name>Energy DA</market_name><buyer_name>Dogwood</buyer_name><seller_name>Elm</seller_name>"
        "<contract_begin>2015-08-01T04:00:00Z</contract_begin><contract_end>2015-10-01T04:00:00Z</contract_end>"
        f"<status>Conf</status>{''.join(versions)}</contract_subaccount_mapping>"
    )


def message(*mappings: str) -> str:
    """The message of a POST with these mappings."""
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        f'<contract_subaccount_mappings xmlns="{NAMESPACE}">{"".join(mappings)}</contract_subaccount_mappings>'
    )


def update(contract_id: int | str, *wishes: tuple[tuple[str, str], str]) -> str:
    """The message that maps one contract of customer 1004: a (period, subaccount_id) for each version."""
    return message(mapping(contract_id, *(version(period, subaccount_id) for period, subaccount_id in wishes)))


def path(customer_id: int, contract_id: int | str | None = None) -> str:
    """The path of a customer's collection, or of one contract's mapping, after the base path."""
    collection = f"/{customer_id}/contractSubaccountMappings"
    return collection if contract_id is None else f"{collection}/{contract_id}"


def post(
    client: httpx2.Client, body: str | bytes, customer_id: int = 1004, headers: dict[str, str] | None = None
) -> httpx2.Response:
    """Posts *body* to a customer's collection, with the vendor's media type unless *headers* say another."""
    content = body.encode() if isinstance(body, str) else body
    return client.post(path(customer_id), content=content, headers={"Content-Type": VENDOR, **(headers or {})})


def tree(answer: Answered) -> etree._Element:
    """The root of an answer's XML; the answer must be 200."""
    assert answer.status_code == 200, answer.text
    return etree.fromstring(answer.content)


def mappings(answer: Answered) -> list[Mapping]:
    """The mappings of an answer, in its order: of the collection, a POST, or one contract."""
    return [_mapping(element) for element in tree(answer).iter(f"{{{NAMESPACE}}}contract_subaccount_mapping")]


def versions(answer: Answered) -> list[Version]:
    """All mapping versions of an answer, in its order."""
    return [each for found in mappings(answer) for each in found.versions]


def rows(answer: Answered) -> list[str]:
    """A line for each mapping version of an answer: `7 2015-01 Default` (contract, month, subaccount)."""
    return [
        f"{found.contract_id} {v.begin[:7]} {v.subaccount_id}" for found in mappings(answer) for v in found.versions
    ]


def contracts(answer: Answered) -> list[str]:
    """The contract ids of an answer, in its order."""
    return [found.contract_id for found in mappings(answer)]


def total(answer: Answered) -> int:
    """The total_record_count of an answer."""
    return int(tree(answer).findtext(f"{{{NAMESPACE}}}query_info/{{{NAMESPACE}}}total_record_count") or "missing")


def faults(answer: Answered, status: int = 400) -> list[str]:
    """The lines of an answer that refuses with *status*; each says something, and none betrays the program."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:500]}"
    assert answer.headers["Content-Type"] == TEXT
    lines = answer.text.rstrip("\n").split("\n")
    assert all(len(line) > 10 and line.isprintable() for line in lines), lines
    assert not any(word in answer.text.lower() for word in ("traceback", "lxml", "sqlalchemy", "select ", "{http"))
    return lines


def _mapping(element: etree._Element) -> Mapping:
    texts = {_name(child): _text(child) for child in element if not _name(child).endswith("_version")}
    return Mapping(**texts, versions=tuple(_version(child) for child in element if _name(child).endswith("_version")))


def _version(element: etree._Element) -> Version:
    return Version(*(_text(child) for child in element))


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname


def _text(element: etree._Element) -> str:
    return element.text or ""
