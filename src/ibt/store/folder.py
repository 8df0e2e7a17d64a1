"""
The files of a folder: their columns, and what a field of each may hold.

What an empty database needs is `customers.csv`, `subaccounts.csv`, `contracts.csv` and `users.csv`; beside data that
are there each file may be left out. Columns are named as the specification names things, times are the wire's.

Readings 25, 26, 46, 47, 56, 64, 65.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from ibt.rules.faults import Rule
from ibt.rules.model import Category
from ibt.rules.periods import read_time
from ibt.store.bulk import seconds
from ibt.store.records import Broken, File

_LOADING = "reading 65"

ID = Rule("id", "must be a number from 1 to 999999999", _LOADING)
LOCATION = Rule("location", "must be a number of 1 to 9 digits", "3.2.4")
TIME = Rule("time", "must be a time of whole seconds with Z, such as 2015-08-01T04:00:00Z", _LOADING)
CATEGORY = Rule("category", "must be one of " + ", ".join(category.value for category in Category), _LOADING)
CHARACTER = Rule("character", "must not have the character U+{code:04X}, which XML cannot carry", _LOADING)
LENGTH = Rule("length", "must have {least} to {most} characters, not {length}", _LOADING)
SUBACCOUNT_ID = Rule("subaccount-id", "must not have control characters, or blanks at its ends", _LOADING)
USER_NAME = Rule(
    "user-name", "must be 1 to 64 letters (A-Z, a-z), digits and any of . _ - and must not start with a dot", _LOADING
)

#: Every rule of a single field.
RULES = (
    ID,
    LOCATION,
    TIME,
    CATEGORY,
    CHARACTER,
    LENGTH,
    SUBACCOUNT_ID,
    USER_NAME,
)

_NUMBER = re.compile(r"[0-9]{1,9}")
_USER_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _location_id(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise Broken(LOCATION)
    return int(text)


@lru_cache(maxsize=65536)
def _id(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) == 0:
        raise Broken(ID)
    return int(text)


@lru_cache(maxsize=65536)
def _time(text: str) -> datetime:
    try:
        return read_time(text)
    except ValueError:
        raise Broken(TIME) from None


@lru_cache(maxsize=65536)
def _seconds(text: str) -> int:
    return seconds(_time(text))


def _time_or_none(text: str) -> datetime | None:
    return _time(text) if text else None


def _category(text: str) -> Category:
    try:
        return Category(text)
    except ValueError:
        raise Broken(CATEGORY) from None


def _text(text: str) -> str:
    if wrong := _NOT_XML.search(text):
        raise Broken(CHARACTER, code=ord(wrong[0]))
    return text


def _text_of(least: int, most: int) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not least <= len(text) <= most:
            raise Broken(LENGTH, least=least, most=most, length=len(text))
        return _text(text)

    return read


_name = _text_of(0, 100)
_status = _text_of(1, 100)
_subaccount_text = _text_of(1, 100)


@lru_cache(maxsize=65536)
def _subaccount_id(text: str) -> str:
    if _CONTROL.search(text) or text != text.strip():
        raise Broken(SUBACCOUNT_ID)
    return _subaccount_text(text)


def user_name(text: str) -> str:
    """*text*, which names a user; raises Broken where it cannot. Reading 65."""
    if not _USER_NAME.fullmatch(text):
        raise Broken(USER_NAME)
    return text


def _customer_or_none(text: str) -> int | None:
    return _id(text) if text else None


class CustomerRow(NamedTuple):
    """A customer."""

    customer_id: int
    name: str


class SubaccountRow(NamedTuple):
    """A version of a subaccount; open where *end* is None (reading 46)."""

    customer_id: int
    subaccount_id: str
    begin: datetime
    end: datetime | None
    name: str
    status: str


class ContractRow(NamedTuple):
    """A contract; *version* is None where its birth versions are of the time of loading (reading 25)."""

    contract_id: int
    reference_id: str
    category: Category
    location_id: int
    buyer_id: int
    seller_id: int
    begin: datetime
    end: datetime
    status: str
    version: datetime | None


class MappingRow(NamedTuple):
    """A mapping version of one party of a contract (reading 26). There are millions: times are seconds since 1970."""

    customer_id: int
    contract_id: int
    begin: int
    end: int
    version: int
    subaccount_id: str


class UserRow(NamedTuple):
    """A user's role at a customer; none where *customer_id* is None (reading 56)."""

    user: str
    customer_id: int | None
    role: str


CUSTOMERS = File("customers.csv", CustomerRow, (("customer_id", _id), ("name", _name)), key=1, unique=True)
SUBACCOUNTS = File(
    "subaccounts.csv",
    SubaccountRow,
    (
        ("customer_id", _id),
        ("subaccount_id", _subaccount_id),
        ("begin", _time),
        ("end", _time_or_none),
        ("name", _name),
        ("status", _status),
    ),
    key=2,
)
CONTRACTS = File(
    "contracts.csv",
    ContractRow,
    (
        ("contract_id", _id),
        ("reference_id", _text_of(0, 25)),
        ("category", _category),
        ("location_id", _location_id),
        ("buyer_id", _id),
        ("seller_id", _id),
        ("begin", _time),
        ("end", _time),
        ("status", _status),
        ("version", _time_or_none),
    ),
    key=1,
    unique=True,
    optional_columns=frozenset({"version"}),
)
_MAPPING_COLUMNS = (
    ("customer_id", _id),
    ("contract_id", _id),
    ("begin", _seconds),
    ("end", _seconds),
    ("version", _seconds),
    ("subaccount_id", _subaccount_id),
)
HISTORY = File("history.csv", MappingRow, _MAPPING_COLUMNS, key=0)
MAPPINGS = File("mappings.csv", MappingRow, _MAPPING_COLUMNS, key=0)
USERS = File(
    "users.csv",
    UserRow,
    (("user", user_name), ("customer_id", _customer_or_none), ("role", _text)),
    key=3,
    unique=True,
)

#: The files of a folder, in the order in which they are judged.
FILES = (CUSTOMERS, SUBACCOUNTS, CONTRACTS, HISTORY, MAPPINGS, USERS)

#: Those that an empty database needs.
REQUIRED = frozenset((CUSTOMERS.name, SUBACCOUNTS.name, CONTRACTS.name, USERS.name))
