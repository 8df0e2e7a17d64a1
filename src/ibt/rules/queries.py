"""
The query of a GET on the collection: the parameters of 3.2.4 and what a wildcard pattern matches.

`PARAMETERS` says what there is, `read_query` makes a `Query` of what a request gave. Names and texts come
decoded; how a query string is decoded is the door's business (reading 60).

Clause 3.2.4. Readings 13-21, 23, 59.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from ibt.rules.faults import Faults, Rule
from ibt.rules.model import Category
from ibt.rules.periods import eastern_days

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

#: How many mapping versions a page holds where the query does not say (3.2.4).
DEFAULT_LIMIT = 25

#: A larger number stands for no one and nothing; databases count no further (reading 59).
LARGEST_NUMBER = 2**63 - 1

_DIGITS = re.compile(r"[0-9]+")
_CONTRACT_ID = re.compile(r"[0-9*%]+")
_DATE = re.compile(r"([0-9]{2})/([0-9]{2})/([0-9]{4})")
_WILDCARDS = re.compile(r"[*%]+")

# What a query can break. {takes} is what the parameter takes, in words.
REPEATED = Rule("parameter-repeated", "is given {count} times: give it once", "3.2.4, reading 14")
EMPTY = Rule("parameter-empty", "is empty: give {takes}, or leave the parameter out", "3.2.4, reading 14")
NUL = Rule("parameter-nul", "has the character U+0000, which matches nothing: give {takes}", "3.2.4, reading 14")
WILDCARD = Rule("parameter-wildcard", "has a wildcard, and there is none here: give {takes}", "3.2.4, reading 14")
NUMBER = Rule("parameter-number", "is not written in the digits 0 to 9 alone: give {takes}", "3.2.4, reading 14")
RANGE = Rule("parameter-range", "is out of range: give {takes}", "3.2.4")
LENGTH = Rule("parameter-length", "has {length} characters: give {takes}", "3.2.4")
CONTRACT_ID = Rule("parameter-contract-id", "has other characters than digits, * and %: give {takes}", "3.2.4")
CATEGORY = Rule("parameter-category", "is no category: give exactly {takes}", "3.2.4, reading 19")
DATE = Rule("parameter-date", "is not written as mm/dd/yyyy: give {takes}", "3.2.4, reading 21")
DAY = Rule("parameter-day", "is no day of the calendar: give {takes}", "3.2.4, reading 21")
DATES = Rule("parameter-dates", 'is after end_date "{end_date}": give the earlier date first', "3.2.4, reading 14")
UNKNOWN = Rule("parameter-unknown", "is unknown, and Prefer asks for strict handling: {known}", "3.2.4, reading 15")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with wildcards; `*` and `%` both match any run, nothing else is special (reading 16)."""

    text: str

    @property
    def parts(self) -> tuple[str, ...]:
        """
        The literal texts between the runs of wildcards, so one more than there are runs.

        The first is how a match begins, the last how it ends; either is empty where a wildcard stands there.
        """
        return tuple(_WILDCARDS.split(self.text))

    def matches(self, text: str) -> bool:
        """Whether the whole of *text* fits, code point by code point. Reading 16."""
        first, *inner = self.parts
        if not inner:
            return text == first
        last = inner.pop()
        place, end = len(first), len(text) - len(last)
        if place > end or not text.startswith(first) or not text.endswith(last):
            return False
        # The leftmost place of each part leaves the most room for the next: nothing has to be tried twice.
        for part in inner:
            found = text.find(part, place, end)
            if found < 0:
                return False
            place = found + len(part)
        return True


@dataclass(frozen=True, slots=True)
class Query:
    """
    The parameters of 3.2.4 as values; None where a filter is absent.

    *start* and *limit* count mapping versions. *begin* and *end* are the half-open UTC period of the Eastern
    days asked for: both None or both given. A number too large to be anybody's is capped at 2**63 - 1.
    """

    start: int = 0
    limit: int = DEFAULT_LIMIT
    contract_id: int | Pattern | None = None
    reference_id: str | Pattern | None = None
    subaccount_id: str | Pattern | None = None
    subaccount_name: str | Pattern | None = None
    category: Category | None = None
    location_id: int | None = None
    party_id: int | None = None
    begin: datetime | None = None
    end: datetime | None = None

    @property
    def filtered(self) -> bool:
        """Whether only some versions are asked for, on all pages together."""
        return any(value is not None for value in self.filters)

    @property
    def filters(self) -> tuple[object, ...]:
        """All that decides what is found; the rest decides which page of it is shown."""
        return (
            self.contract_id,
            self.reference_id,
            self.subaccount_id,
            self.subaccount_name,
            self.category,
            self.location_id,
            self.party_id,
            self.begin,
            self.end,
        )


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of 3.2.4: what it *takes*, in words, and how a text is read: as its value or the rule it breaks."""

    takes: str
    read: Callable[[str], object]
    wildcards: bool = False
    blank: bool = False


def read_query(parameters: Sequence[tuple[str, str]], *, strict: bool = False) -> Query:
    """
    The query that *parameters*, decoded and in the order of the query string, ask for.

    Raises Refusal(400) with every fault, in that order. Unknown parameters are faults only where *strict*.

    Clause 3.2.4. Readings 13-21, 59.
    """
    given: dict[str, list[str]] = {}
    for name, text in parameters:
        given.setdefault(name, []).append(text)
    faults = Faults()
    values: dict[str, Any] = {}  # Any: each value has the type of its own parameter
    for name, texts in given.items():
        parameter = PARAMETERS.get(name)
        if parameter is not None:
            values[name] = _value(parameter, name, texts, faults)
            if name in {"start_date", "end_date"}:
                _dates_in_order(values, given, faults)
        elif strict:
            _unknown(name, PARAMETERS, faults)
    faults.refuse()
    return _query(values)


def refuse_unknown(parameters: Sequence[tuple[str, str]], known: Collection[str] = ()) -> None:
    """
    Raises Refusal(400) with a fault for each name in *parameters* that is not *known*.

    For `Prefer: handling=strict` where `read_query` does not read the parameters. Reading 15.
    """
    faults = Faults()
    for name in dict.fromkeys(name for name, _ in parameters):
        if name not in known:
            _unknown(name, known, faults)
    faults.refuse()


def _unknown(name: str, known: Collection[str], faults: Faults) -> None:
    right = f"give one of {', '.join(known)}" if known else "no parameter is known here"
    faults.add(UNKNOWN, field="parameter", value=name, known=right)


def _value(parameter: Parameter, name: str, texts: list[str], faults: Faults) -> object:
    """The value of the parameter *name*; None where a fault was added instead."""
    text = texts[0]
    read = REPEATED if len(texts) > 1 else _read(parameter, text)
    if not isinstance(read, Rule):
        return read
    faults.add(read, field=name, value=text, takes=parameter.takes, length=len(text), count=len(texts))
    return None


def _read(parameter: Parameter, text: str) -> object:
    """What *text* means to *parameter*, or the first rule that it breaks."""
    if not text and not parameter.blank:
        return EMPTY
    if "\0" in text:
        return NUL
    if not parameter.wildcards and _WILDCARDS.search(text):
        return WILDCARD
    return parameter.read(text)


def _dates_in_order(values: Mapping[str, Any], given: Mapping[str, list[str]], faults: Faults) -> None:
    first, last = values.get("start_date"), values.get("end_date")
    if first is not None and last is not None and first > last:
        faults.add(DATES, field="start_date", value=given["start_date"][0], end_date=given["end_date"][0])


def _query(values: dict[str, Any]) -> Query:
    limit = values.setdefault("limit", DEFAULT_LIMIT)
    skipped = (values.pop("page", 1) - 1) * limit
    values.setdefault("start", min(skipped, LARGEST_NUMBER))  # start wins over page (reading 13)
    days = [values.pop(name) for name in ("start_date", "end_date") if name in values]
    if days:  # one date alone is that one day (reading 21)
        values["begin"], values["end"] = eastern_days(days[0], days[-1])
    return Query(**values)


def _number(least: int = 0, most: int = LARGEST_NUMBER) -> Callable[[str], int | Rule]:
    def read(text: str) -> int | Rule:
        if not _DIGITS.fullmatch(text):
            return NUMBER
        digits = text.lstrip("0") or "0"
        # Python reads no number of some thousand digits: the length decides before it is asked.
        value = min(int(digits), LARGEST_NUMBER) if len(digits) <= len(str(LARGEST_NUMBER)) else LARGEST_NUMBER
        return value if least <= value <= most else RANGE

    return read


def _text(most: int) -> Callable[[str], str | Pattern | Rule]:
    def read(text: str) -> str | Pattern | Rule:
        if len(text) > most:
            return LENGTH
        return Pattern(text) if _WILDCARDS.search(text) else text

    return read


def _contract_id(text: str) -> int | Pattern | Rule:
    if not _CONTRACT_ID.fullmatch(text):
        return CONTRACT_ID
    if len(text) > 9:
        return LENGTH
    return Pattern(text) if _WILDCARDS.search(text) else int(text)


def _category(text: str) -> Category | Rule:
    return _CATEGORIES.get(text, CATEGORY)


def _date(text: str) -> date | Rule:
    match = _DATE.fullmatch(text)
    if match is None:
        return DATE
    month, day, year = map(int, match.groups())
    try:
        return date(year, month, day)
    except ValueError:
        return DAY


_CATEGORIES = {category.value: category for category in Category}
_A_DATE = "a date such as 08/01/2015"
_RUN = "where * or % stands for any run of characters"

#: The parameters in the order of 3.2.4.
PARAMETERS: Mapping[str, Parameter] = {
    "page": Parameter("a page, counted from 1", _number(least=1)),
    "start": Parameter("how many mapping versions to pass over, 0 or more", _number()),
    "limit": Parameter("how many mapping versions to return, 1 to 1000", _number(1, 1000)),
    "contract_id": Parameter(
        "1 to 9 digits, where * or % stands for any run of digits", _contract_id, wildcards=True
    ),
    "reference_id": Parameter(f"0 to 25 characters, {_RUN}", _text(25), wildcards=True, blank=True),
    "subaccount_id": Parameter(f"1 to 100 characters, {_RUN}", _text(100), wildcards=True),
    "subaccount_name": Parameter(f"1 to 100 characters, {_RUN}", _text(100), wildcards=True),
    "category": Parameter(f"one of {', '.join(_CATEGORIES)}", _category),
    "location_id": Parameter("the number of a location", _number()),
    "party_id": Parameter("the number of a customer", _number()),
    "start_date": Parameter(_A_DATE, _date),
    "end_date": Parameter(_A_DATE, _date),
}
