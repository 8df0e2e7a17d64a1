"""
The messages that the service answers with, from bytes to values: what `writer.py` writes, read again.

An answer may come from any server that keeps to the specification. So elements are found by their names, in any
order, and what is not known is passed over; but each value that the specification promises must be there. Nothing
outside the message is ever opened.

Clauses 3.1.6, 3.2.7, 3.2.9, 3.3.6.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from lxml import etree

from ibt.messages.writer import NAMESPACE
from ibt.rules.faults import quoted
from ibt.rules.model import Contract, MappingVersion, Subaccount, SubaccountMapping, SubaccountVersion
from ibt.rules.periods import read_time

_IN = f"{{{NAMESPACE}}}"
_SUBACCOUNT = f"{_IN}subaccount"
_SUBACCOUNT_VERSION = f"{_IN}subaccount_version"
_MAPPING = f"{_IN}contract_subaccount_mapping"
_MAPPING_VERSION = f"{_IN}contract_subaccount_mapping_version"
_TOTAL = f"{_IN}query_info/{_IN}total_record_count"

_BLANKS = " \t\r\n"

#: The texts of an element's children, by their names.
_Values = dict[str, str]


class NotTheAnswer(ValueError):
    """What came is not the message that was asked for; says in one sentence what is wrong."""


def read_subaccounts(body: bytes) -> list[Subaccount]:
    """The subaccounts of a message `subaccounts`, in its order. Raises NotTheAnswer. Clause 3.1.6."""
    return [_subaccount(element) for element in _root(body, "subaccounts").iterchildren(_SUBACCOUNT)]


def read_mappings(body: bytes) -> tuple[int | None, list[SubaccountMapping]]:
    """
    The total_record_count and the mappings of a message `contract_subaccount_mappings`, in its order.

    The total is None where the message has no query_info: in the answer to a POST. Raises NotTheAnswer.

    Clauses 3.2.7, 3.2.9.
    """
    root = _root(body, "contract_subaccount_mappings")
    total = root.findtext(_TOTAL)
    return None if total is None else _number(total), [_mapping(element) for element in root.iterchildren(_MAPPING)]


def read_mapping(body: bytes) -> SubaccountMapping:
    """The mapping of a message `contract_subaccount_mapping`, all its versions. Raises NotTheAnswer. Clause 3.3.6."""
    return _mapping(_root(body, "contract_subaccount_mapping"))


def _root(body: bytes, name: str) -> etree._Element:
    # A new parser for each message: one would remember every name that it ever met.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError:
        raise NotTheAnswer("it is not XML") from None
    if root.tag != _IN + name:
        raise NotTheAnswer(f"its root is {quoted(str(root.tag))}, not {name} in the namespace {NAMESPACE}")
    return root


def _subaccount(element: etree._Element) -> Subaccount:
    return Subaccount(
        _text(_values(element), "subaccount_id"),
        tuple(_subaccount_version(_values(version)) for version in element.iterchildren(_SUBACCOUNT_VERSION)),
    )


def _subaccount_version(values: _Values) -> SubaccountVersion:
    return SubaccountVersion(
        _time_of(values, "begin"),
        _time_of(values, "end") if _IN + "end" in values else None,
        _text(values, "subaccount_name"),
        _text(values, "subaccount_status"),
    )


def _mapping(element: etree._Element) -> SubaccountMapping:
    values = _values(element)
    contract = Contract(
        _number(_text(values, "contract_id")),
        _text(values, "market_name"),
        _text(values, "buyer_name"),
        _text(values, "seller_name"),
        _time_of(values, "contract_begin"),
        _time_of(values, "contract_end"),
        _text(values, "status"),
    )
    versions = tuple(_mapping_version(_values(version)) for version in element.iterchildren(_MAPPING_VERSION))
    return SubaccountMapping(_number(_text(values, "customer_id")), contract, versions)


def _mapping_version(values: _Values) -> MappingVersion:
    return MappingVersion(
        _time_of(values, "begin"),
        _time_of(values, "end"),
        _time_of(values, "version"),
        _text(values, "subaccount_id"),
    )


def _values(element: etree._Element) -> _Values:
    return {str(child.tag): child.text or "" for child in element}


def _text(values: _Values, name: str) -> str:
    try:
        return values[_IN + name]
    except KeyError:
        raise NotTheAnswer(f"it lacks the element {name}") from None


def _time_of(values: _Values, name: str) -> datetime:
    return _time(_text(values, name))


@lru_cache(maxsize=8192)
def _time(text: str) -> datetime:
    try:
        return read_time(text.strip(_BLANKS))
    except ValueError:
        raise NotTheAnswer(f"{quoted(text)} in it is not a time such as 2015-08-01T04:00:00Z") from None


@lru_cache(maxsize=8192)
def _number(text: str) -> int:
    digits = text.strip(_BLANKS)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise NotTheAnswer(f"{quoted(text)} in it is not a number")
    return int(digits)
