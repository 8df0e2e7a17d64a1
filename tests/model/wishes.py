"""
Random requests to a world, right and wrong: queries, and updates that break each rule of 3.2.5 in turn.

Readings 10, 13-22, 31-40, 51, 52, 60.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

from hypothesis import strategies as st
from oracle import CATEGORIES, PARAMETERS, AskedMapping, AskedVersion, Oracle, Period
from worlds import EASTERN, SUBACCOUNT_IDS, month_end, wire

NAMESPACE = "http://xmlns.iso-ne.com/contract/customers"

Asked = tuple[AskedMapping, ...]
Parameters = list[tuple[str, str]]

# --- queries ----------------------------------------------------------------------------------------------

_HUGE = "9" * 30

#: Values that a parameter does not take.
_WRONG = {
    "page": ("0", "-1", "x", "", "1.0", "\uff11", " 1", "*"),
    "start": ("-1", "", "1e3", "+1", "%"),
    "limit": ("0", "1001", "-5", "", "5 ", "ten", _HUGE),
    "contract_id": ("1234567890", "12a", "", "1?", "9 9", "*" * 10, "-1"),
    "reference_id": ("x" * 26, "*" * 26),
    "subaccount_id": ("", "x" * 101, "*" * 101),
    "subaccount_name": ("", "x" * 101, "\U0001d4b3" * 101),
    "category": ("fcm load obligation", "FCM*", "FCM LOAD OBLIGATION ", "", "FCM Load"),
    "location_id": ("4*", "", "-1", "hub"),
    "party_id": ("*", "", "1,2"),
    "start_date": ("2/1/2015", "02/30/2015", "2015-02-01", "", "08/01/201*", "00/01/2015", "01/01/0000"),
    "end_date": ("13/01/2015", "02/29/2015", "01/01/15", "", "01/01/2015 "),
}


@st.composite
def queries(draw: st.DrawFn, oracle: Oracle, customer_id: int) -> Parameters:
    """Parameters for a GET of the customer's collection, most of them such as find something."""
    names = draw(st.lists(st.sampled_from(PARAMETERS), max_size=4, unique=True))
    right = _right_values(oracle, customer_id)
    parameters = [(name, draw(right[name])) for name in names]
    if names and _one_in(draw, 6):
        for name in draw(st.sets(st.sampled_from(names), min_size=1)):
            parameters = [(name, draw(st.sampled_from(_WRONG[name]))) if n == name else (n, v) for n, v in parameters]
    if parameters and _one_in(draw, 20):
        parameters.append(parameters[0])
    if _one_in(draw, 20):
        parameters.insert(0, draw(st.sampled_from((("_dc", "1436616082"), ("LIMIT", "0"), ("sort", "")))))
    return parameters


@st.composite
def text_queries(draw: st.DrawFn, oracle: Oracle, customer_id: int) -> Parameters:
    """One filter of texts or ids, alone, so that what it finds is not hidden by others."""
    name = draw(st.sampled_from(("reference_id", "subaccount_id", "subaccount_name", "contract_id")))
    return [(name, draw(_right_values(oracle, customer_id)[name])), ("limit", "1000")]


def _one_in(draw: st.DrawFn, count: int) -> bool:
    return draw(st.integers(1, count)) == count


def _right_values(oracle: Oracle, customer_id: int) -> dict[str, st.SearchStrategy[str]]:
    periods = oracle.periods_of(customer_id)
    world = oracle.world
    contracts = world.contracts_of(customer_id)
    names = {v.name for versions in world.subaccounts_of(customer_id).values() for v in versions} - {""}
    days = _days(periods)
    numbers = st.sampled_from(("0", "1", "2", "5", "007", _HUGE))
    return {
        "page": st.sampled_from(("1", "2", "3", "007", _HUGE)),
        "start": numbers,
        "limit": st.sampled_from(("1", "2", "3", "7", "25", "0100", "1000")),
        "contract_id": _patterns([f"{c.contract_id:0{width}}" for c in contracts for width in (1, 9)]),
        "reference_id": _patterns([contract.reference_id for contract in contracts]),
        "subaccount_id": _patterns([period.subaccount_id for period in periods]),
        "subaccount_name": _patterns(sorted(names)),
        "category": st.sampled_from(CATEGORIES),
        "location_id": st.sampled_from([*(str(c.location_id) for c in contracts), "4000", "004000", _HUGE]),
        "party_id": st.sampled_from([*map(str, world.customers), "01", "3", _HUGE]),
        "start_date": st.sampled_from(days),
        "end_date": st.sampled_from(days),
    }


def _days(periods: Sequence[Period]) -> list[str]:
    """The Eastern days at and around the borders of the periods."""
    borders = {border for period in periods for border in (period.begin, period.end)}
    near = {border + timedelta(days=days) for border in borders for days in (-1, 0, 1)}
    days = sorted({f"{instant.astimezone(EASTERN):%m/%d/%Y}" for instant in near})
    return [*days, "01/01/0001", "12/31/9999", "02/29/2016"]


def _patterns(texts: Sequence[str]) -> st.SearchStrategy[str]:
    """One of *texts* as it is, or with a run of it replaced by a wildcard."""
    return st.one_of(st.sampled_from([*texts, "*"]), _pattern(texts or ["Default"]))


@st.composite
def _pattern(draw: st.DrawFn, texts: Sequence[str]) -> str:
    text = draw(st.sampled_from(texts))
    places = sorted(draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=4)))
    wildcard = draw(st.sampled_from(("*", "%", "*%", "")))
    first, last = places[0], places[-1]
    inner = text[places[1] : places[-2]] if len(places) == 4 else ""
    return text[:first] + (wildcard + inner if inner else "") + wildcard + text[last:]


def query_string(parameters: Parameters, *, by_hand: bool) -> str:
    """The parameters in form encoding; *by_hand*: `+` for a space, a bare `%` where that can be read. Reading 60."""
    encode = _by_hand if by_hand else _encoded
    return "&".join(f"{name}={encode(text)}" for name, text in parameters)


def _encoded(text: str) -> str:
    return quote(text, safe="")


def _by_hand(text: str) -> str:
    encoded = quote_plus(text, safe="*/")
    return re.sub("%25(?![0-9A-Fa-f]{2}|%)", "%", encoded)


# --- updates ----------------------------------------------------------------------------------------------


@st.composite
def broken_updates(draw: st.DrawFn, oracle: Oracle, customer_id: int) -> Asked:
    """A message that was right and then broken in some ways."""
    asked = draw(right_updates(oracle, customer_id))
    for break_ in draw(st.lists(st.sampled_from(BREAKS), min_size=1, max_size=3)):
        asked = break_(draw, asked, oracle)
    return asked


@st.composite
def right_updates(draw: st.DrawFn, oracle: Oracle, customer_id: int) -> Asked:
    """A message about some contracts and periods of the customer; refused only where there are none."""
    periods = oracle.periods_of(customer_id)
    contract_ids = sorted({period.contract.contract_id for period in periods})
    if not contract_ids:
        return (_mapping(oracle, customer_id, draw(st.sampled_from([1, 999999])), ()),)
    mappings = []
    for contract_id in draw(st.lists(st.sampled_from(contract_ids), min_size=1, max_size=3, unique=True)):
        of_contract = [period for period in periods if period.contract.contract_id == contract_id]
        places = st.integers(0, len(of_contract) - 1)
        chosen = draw(st.lists(places, min_size=1, max_size=3, unique=True))
        if _one_in(draw, 8):
            chosen = list(range(len(of_contract)))
        versions = [_version(draw, oracle, of_contract[place]) for place in chosen]
        mappings.append(_mapping(oracle, customer_id, contract_id, tuple(versions)))
    return tuple(mappings)


def _version(draw: st.DrawFn, oracle: Oracle, period: Period) -> AskedVersion:
    defined = oracle.world.defined(period.customer_id, period.begin)
    zeros = draw(st.sampled_from(("Z",) * 8 + (".0Z", ".000Z", "Z ")))
    return AskedVersion(
        wire(period.begin).replace("Z", zeros),
        draw(st.sampled_from((wire(period.end),) * 4 + (None,))),
        draw(st.sampled_from((wire(period.versions[-1][0]), "", "stale", "2015-07-01T04:00:00Z"))),
        draw(st.sampled_from([*defined, period.subaccount_id])),
    )


def _mapping(oracle: Oracle, customer_id: int, contract_id: int, versions: tuple[AskedVersion, ...]) -> AskedMapping:
    contract = oracle.contract(customer_id, contract_id)
    begin, end = (contract.begin, contract.end) if contract else (datetime(2015, 1, 1), datetime(2015, 2, 1))
    names = ("Energy DA", "a former name", "") if contract_id % 2 else ("", "", "New")
    return AskedMapping(str(customer_id), str(contract_id), *names, wire(begin), wire(end), "Conf", versions)


Break = Callable[[st.DrawFn, Asked, Oracle], Asked]


def _of_mapping(change: Callable[[st.DrawFn, AskedMapping, Oracle], AskedMapping]) -> Break:
    """Changes one mapping of the message."""

    def break_(draw: st.DrawFn, asked: Asked, oracle: Oracle) -> Asked:
        if not asked:
            return asked
        place = draw(st.integers(0, len(asked) - 1))
        return (*asked[:place], change(draw, asked[place], oracle), *asked[place + 1 :])

    return break_


def _of_version(change: Callable[[st.DrawFn, AskedVersion, AskedMapping, Oracle], AskedVersion]) -> Break:
    """Changes one version of the message."""

    def of_mapping(draw: st.DrawFn, mapping: AskedMapping, oracle: Oracle) -> AskedMapping:
        if not mapping.versions:
            return mapping
        place = draw(st.integers(0, len(mapping.versions) - 1))
        changed = change(draw, mapping.versions[place], mapping, oracle)
        return replace(mapping, versions=(*mapping.versions[:place], changed, *mapping.versions[place + 1 :]))

    return _of_mapping(of_mapping)


def _field(name: str, *values: str) -> Break:
    """Another value of a field of a mapping."""

    def change(draw: st.DrawFn, mapping: AskedMapping, _: Oracle) -> AskedMapping:
        changed: dict[str, Any] = {name: draw(st.sampled_from(values))}  # Any: whatever the field is
        return replace(mapping, **changed)

    return _of_mapping(change)


def _version_field(name: str, *values: str) -> Break:
    """Another value of a field of a version."""
    return _of_version(lambda draw, version, *_: replace(version, **{name: draw(st.sampled_from(values))}))


def _moved(text: str, by: timedelta) -> str:
    try:
        return wire(datetime.fromisoformat(text.strip()) + by)
    except ValueError:  # it was broken before
        return text


_STEPS = tuple(timedelta(seconds=sign * step) for sign in (1, -1) for step in (1, 3600, 86400, 30 * 86400, 9**9))


def _another_begin(draw: st.DrawFn, version: AskedVersion, *_: object) -> AskedVersion:
    return replace(version, begin=_moved(version.begin, draw(st.sampled_from(_STEPS))))


def _another_end(draw: st.DrawFn, version: AskedVersion, *_: object) -> AskedVersion:
    return replace(version, end=_moved(version.end or version.begin, draw(st.sampled_from(_STEPS))))


def _another_month(draw: st.DrawFn, version: AskedVersion, *_: object) -> AskedVersion:
    """A whole month, long before the contract, next to its period, or long after."""
    try:
        begin = month_end(datetime.fromisoformat(version.begin.strip()) + draw(st.sampled_from(_STEPS)))
    except ValueError:
        return version
    return replace(version, begin=wire(begin), end=wire(month_end(begin)))


def _end_at_begin(_: st.DrawFn, version: AskedVersion, *__: object) -> AskedVersion:
    return replace(version, end=version.begin)


def _another_subaccount(draw: st.DrawFn, version: AskedVersion, _: AskedMapping, oracle: Oracle) -> AskedVersion:
    """Any subaccount of anyone, at any time, and some that nobody has."""
    others = (
        " Default",
        "Default ",
        "DEFAULT",
        "nobody's",
        *SUBACCOUNT_IDS,
        *(id_ for _, id_ in oracle.world.subaccounts),
    )
    return replace(version, subaccount_id=draw(st.sampled_from(others)))


def _month_twice(draw: st.DrawFn, mapping: AskedMapping, _: Oracle) -> AskedMapping:
    if not mapping.versions:
        return mapping
    return replace(mapping, versions=(*mapping.versions, draw(st.sampled_from(mapping.versions))))


def _contract_twice(draw: st.DrawFn, asked: Asked, _: Oracle) -> Asked:
    if not asked:
        return asked
    again = draw(st.sampled_from(asked))
    return (*asked, replace(again, contract_id=draw(st.sampled_from((again.contract_id, f"00{again.contract_id}")))))


def _another_contract(draw: st.DrawFn, mapping: AskedMapping, oracle: Oracle) -> AskedMapping:
    """A contract of others, one with an empty period, or none at all."""
    ids = [str(contract.contract_id) for contract in oracle.world.contracts]
    return replace(mapping, contract_id=draw(st.sampled_from([*ids, "0", "5", "999999997"])))


def _everywhere_wrong(_: st.DrawFn, mapping: AskedMapping, __: Oracle) -> AskedMapping:
    """All versions with a subaccount that nobody has: with a long contract, more lines than are told."""
    return replace(mapping, versions=tuple(replace(v, subaccount_id="nobody's") for v in mapping.versions))


def _longest_contract(_: st.DrawFn, mapping: AskedMapping, oracle: Oracle) -> AskedMapping:
    """All periods of the customer's longest contract, with a subaccount that nobody has."""
    contracts = [c for c in oracle.world.contracts if mapping.customer_id in map(str, c.parties)]
    if not contracts:
        return mapping
    longest = max(contracts, key=lambda contract: contract.end - contract.begin)
    versions = (AskedVersion(wire(begin), wire(end), "", "nobody's") for begin, end in longest.periods())
    return replace(mapping, contract_id=str(longest.contract_id), versions=tuple(versions))


#: Each makes of a message one that may break a rule, or stay right after all: that is the oracle's to say.
BREAKS: tuple[Break, ...] = (
    # 3.2.5
    _contract_twice,
    _of_mapping(_month_twice),
    _of_mapping(_another_contract),
    _of_version(_another_begin),
    _of_version(_another_end),
    _of_version(_another_month),
    _of_version(_end_at_begin),
    _of_version(_another_subaccount),
    _of_version(_another_subaccount),
    _of_mapping(_everywhere_wrong),
    _of_mapping(_longest_contract),
    # 3.2.4, readings 38, 40
    lambda *_: (),
    _of_mapping(lambda _, mapping, __: replace(mapping, versions=())),
    _field("customer_id", "0", "1", "2", "7", "010", "999999999", "+1", "-0"),
    # the form: readings 33, 52; some of these values are right
    _field("customer_id", "x", "", "1000000000", "-1", "1.0", "00000000001"),
    _field("contract_id", "1000000000", "", "12 34", "0x1", "0000000000012", " 12\n"),
    _field("contract_begin", "", "2015-08-01", "2015-08-01T00:00:00-04:00", "2015-08-01T04:00:00.000Z"),
    _field("contract_end", "2015-08-01T04:00:00", "2015-13-01T04:00:00Z", "2015-08-01T24:00:00Z", "soon"),
    _field("buyer_name", "", "x" * 300, "<&>"),
    _version_field("begin", "", "2015-08-01T04:00:00z", "2015-08-01T04:00:00+00:00", "0000-01-01T00:00:00Z"),
    _version_field(
        "end", "2015-08-01T04:00:00.5Z", "2015-02-29T00:00:00Z", "2015-08-01 04:00:00Z", "12015-08-01T04:00:00Z"
    ),
    _version_field("version", "", "x", "2015-07-01T04:00:00.123-04:00"),
    _version_field("subaccount_id", "", "x" * 101, "x" * 100),
)


def body(asked: Asked, *, prefix: str = "", query_info: bool = False) -> str:
    """The message of a POST; *prefix* (`i:`) is its elements', *query_info* that of an answer that is sent back."""
    info = _element(prefix, "query_info", _element(prefix, "total_record_count", "12")) if query_info else ""
    xmlns = f' xmlns:{prefix[:-1]}="{NAMESPACE}"' if prefix else f' xmlns="{NAMESPACE}"'
    root = f"{prefix}contract_subaccount_mappings"
    return f"<{root}{xmlns}>\n{info}{''.join(_mapping_element(prefix, m) for m in asked)}</{root}>\n"


def _mapping_element(prefix: str, mapping: AskedMapping) -> str:
    fields = {name: value for name, value in vars(mapping).items() if name != "versions"}
    written = [_element(prefix, name, _escaped(value)) for name, value in fields.items()]
    written += [_version_element(prefix, version) for version in mapping.versions]
    return _element(prefix, "contract_subaccount_mapping", "".join(written))


def _version_element(prefix: str, version: AskedVersion) -> str:
    fields = {name: value for name, value in vars(version).items() if value is not None}
    written = [_element(prefix, name, _escaped(value)) for name, value in fields.items()]
    return _element(prefix, "contract_subaccount_mapping_version", "".join(written))


def _element(prefix: str, name: str, content: str) -> str:
    return f"<{prefix}{name}>{content}</{prefix}{name}>\n"


def _escaped(text: str) -> str:
    return escape(text, {"\r": "&#13;"})


#: What makes a body one that is no message: what is replaced, and by what. One line each. Readings 10, 51.
MALFORMED = (
    ("<contract_subaccount_mappings", "<!DOCTYPE x><contract_subaccount_mappings"),
    ("<contract_subaccount_mappings", '<?xml version="1.1"?><contract_subaccount_mappings'),
    ("<contract_subaccount_mappings", '<?xml version="1.0" encoding="ISO-8859-1"?><contract_subaccount_mappings'),
    ("</contract_subaccount_mappings>", ""),
    ("</contract_subaccount_mappings>", "<surprise/></contract_subaccount_mappings>"),
    ("</contract_subaccount_mappings>", "text</contract_subaccount_mappings>"),
    ("</contract_subaccount_mappings>", "</contract_subaccount_mappings>\n<more/>"),
    (NAMESPACE, "http://xmlns.iso-ne.com/contract"),
    (f'xmlns="{NAMESPACE}"', f'xmlns="{NAMESPACE}" colour="blue"'),
    ("&", "&nbsp;"),
    ("<contract_subaccount_mappings", "\x00<contract_subaccount_mappings"),
)
