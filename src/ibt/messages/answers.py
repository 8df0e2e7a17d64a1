"""
The messages that the service answers with, from bytes to values: what `writer.py` writes, read again.

An answer may come from any server that keeps to the specification. So elements are found by their names, in any
order, and what is not known is passed over; but each value that the specification promises must be there. Nothing
outside the message is ever opened.

A page of mappings is long and says few different things. Where it is written plainly, in the order of 3.2.4 and
without comments, attributes or CDATA, its text is cut at the tags, and each piece is read once and remembered as
long as the page is read: that is several times as fast as the parser. Whatever is not plain, and whatever is wrong,
is left to the parser, which alone says what is wrong.

Clauses 3.1.6, 3.2.7, 3.2.9, 3.3.6.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from html import unescape
from typing import TypeVar

from lxml import etree

from ibt.messages.writer import NAMESPACE
from ibt.rules.faults import quoted
from ibt.rules.model import Contract, MappingVersion, Subaccount, SubaccountMapping, SubaccountVersion
from ibt.rules.periods import read_time

T = TypeVar("T")

_IN = f"{{{NAMESPACE}}}"
_SUBACCOUNT = f"{_IN}subaccount"
_SUBACCOUNT_VERSION = f"{_IN}subaccount_version"
_MAPPING = f"{_IN}contract_subaccount_mapping"
_MAPPING_VERSION = f"{_IN}contract_subaccount_mapping_version"
_TOTAL = f"{_IN}query_info/{_IN}total_record_count"

_BLANKS = " \t\r\n"

# A page that is written plainly.

_BEGINS_MAPPING = "<contract_subaccount_mapping>"
_ENDS_MAPPING = "</contract_subaccount_mapping>"
_BEGINS_VERSION = "<contract_subaccount_mapping_version>"
_ENDS_VERSION = "</contract_subaccount_mapping_version>"
_ENDS_PAGE = "</contract_subaccount_mappings>"
_BEGINS_VERSION_TIME = "<version>"

_VALUE = "([^<]*+)"


def _elements(*names: str) -> str:
    """The pattern of elements that have a plain value each, with blanks before them."""
    return "".join(rf"[ \t\r\n]*+<{name}>{_VALUE}</{name}>" for name in names)


def _blank(pattern: str) -> re.Pattern[str]:
    """*pattern*, after which there may be blanks."""
    return re.compile(rf"{pattern}[ \t\r\n]*+")


_PLAIN_BEGINNING = _blank(
    r'(?:<\?xml version="1\.0"(?: encoding="(?:UTF|utf)-8")?(?: standalone="(?:yes|no)")?\?>)?'
    rf'[ \t\r\n]*+<contract_subaccount_mappings xmlns="{re.escape(NAMESPACE)}">'
    rf"(?:[ \t\r\n]*+<query_info>{_elements('total_record_count')}[ \t\r\n]*+</query_info>)?"
)
_PLAIN_CONTRACT = _blank(
    _elements(
        *("customer_id", "contract_id", "market_name", "buyer_name", "seller_name"),
        *("contract_begin", "contract_end", "status"),
    )
)
_PLAIN_PERIOD = _blank(_elements("begin", "end"))
_PLAIN_MAPPED = _blank(rf"{_VALUE}</version>{_elements('subaccount_id')}[ \t\r\n]*+{_ENDS_VERSION}")

#: A text with nothing in it that a parser refuses or changes, and of references only those that each XML has.
_PLAIN_TEXT = re.compile(r"(?:[^\x00-\x1f<>&\ufffe\uffff]++|&(?:amp|lt|gt|quot|apos);)*+")

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
    try:
        return _plain_page(body.decode())
    except (_NotPlain, NotTheAnswer, UnicodeDecodeError):
        pass
    root = _root(body, "contract_subaccount_mappings")
    total = root.findtext(_TOTAL)
    return None if total is None else _number(total), [_mapping(element) for element in root.iterchildren(_MAPPING)]


def read_mapping(body: bytes) -> SubaccountMapping:
    """The mapping of a message `contract_subaccount_mapping`, all its versions. Raises NotTheAnswer. Clause 3.3.6."""
    return _mapping(_root(body, "contract_subaccount_mapping"))


class _NotPlain(Exception):
    """The parser is to read this."""


def _plain_page(text: str) -> tuple[int | None, list[SubaccountMapping]]:
    # Without comments, CDATA and attributes, which no pattern lets pass, a "<" is nothing but the beginning of a tag.
    pieces = text.split(_BEGINS_MAPPING)
    pieces[-1] = _cut_end(pieces[-1], _ENDS_PAGE)
    beginning, *pieces = pieces
    (total,) = _plain_values(_PLAIN_BEGINNING, beginning)
    return None if total is None else _number(total), list(_plain_mappings(pieces))


def _plain_mappings(pieces: list[str]) -> Iterator[SubaccountMapping]:
    texts, periods, mapped = _Once(_plain_text), _Once(_plain_period), _Once(_plain_mapped)

    def version(text: str) -> MappingVersion:
        period, _, rest = text.partition(_BEGINS_VERSION_TIME)
        begin, end = periods[period]
        version_time, subaccount_id = mapped[rest]
        return MappingVersion(begin, end, version_time, subaccount_id)

    versions = _Once(version)
    for piece in pieces:
        contract, *of_versions = _cut_end(piece, _ENDS_MAPPING).split(_BEGINS_VERSION)
        customer_id, contract_id, market, buyer, seller, begin, end, status = _plain_values(_PLAIN_CONTRACT, contract)
        yield SubaccountMapping(
            _number(customer_id),
            Contract(
                _number(contract_id),
                texts[market],
                texts[buyer],
                texts[seller],
                _time(begin),
                _time(end),
                texts[status],
            ),
            tuple(map(versions.__getitem__, of_versions)),
        )


class _Once(dict[str, T]):
    """What *read* makes of texts, each of which it reads once."""

    def __init__(self, read: Callable[[str], T]) -> None:
        self._read = read

    def __missing__(self, text: str) -> T:
        value = self[text] = self._read(text)
        return value


def _plain_period(text: str) -> tuple[datetime, datetime]:
    begin, end = _plain_values(_PLAIN_PERIOD, text)
    return _time(begin), _time(end)


def _plain_mapped(text: str) -> tuple[datetime, str]:
    version, subaccount_id = _plain_values(_PLAIN_MAPPED, text)
    return _time(version), _plain_text(subaccount_id)


def _plain_text(value: str) -> str:
    if not _PLAIN_TEXT.fullmatch(value):
        raise _NotPlain
    return unescape(value) if "&" in value else value


def _cut_end(text: str, tag: str) -> str:
    """*text* without *tag*, which is its end."""
    text = text.rstrip(_BLANKS)
    if not text.endswith(tag):
        raise _NotPlain
    return text[: -len(tag)]


def _plain_values(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
    match = pattern.fullmatch(text)
    if match is None:
        raise _NotPlain
    return match.groups()


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
