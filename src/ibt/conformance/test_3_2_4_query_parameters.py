"""
Clause 3.2.4, the optional query parameters of a GET on the collection.

Readings 13 to 23, 59, 61.
"""

from __future__ import annotations

import httpx2
import pytest

from ibt.conformance.messages import AUGUST, contracts, faults, path, post, rows, total, update
from ibt.conformance.test_3_2_3_collection import ALL

pytestmark = pytest.mark.any_server

COLLECTION = path(1001)
EVERY = list(dict.fromkeys(row.split()[0] for row in ALL))
AUGUST_ALONE = ["701", "702", "703", "704", "705", "706", "1000", "999999999"]
MANY_DIGITS = "1" + "0" * 5000


def ask(client: httpx2.Client, **parameters: str | int) -> httpx2.Response:
    """The answer to a query; limit is the largest unless it is asked for."""
    return client.get(COLLECTION, params={"limit": 1000, **parameters})


# page, start and limit


def test_limit_is_25_and_start_is_0_by_default(alder: httpx2.Client) -> None:
    """
    "limit ... defaults to 25 records. start ... defaults to 0 (first page of records)." Reading 12.
    """
    assert rows(alder.get(COLLECTION)) == ALL[:25]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param({"limit": "1"}, ALL[:1], id="the smallest limit"),
        pytest.param({"limit": "1000"}, ALL, id="the largest limit"),
        pytest.param({"limit": "0007"}, ALL[:7], id="leading zeros"),
        pytest.param({"start": "0"}, ALL[:25], id="start 0"),
        pytest.param({"start": "25"}, ALL[25:], id="start alone"),
        pytest.param({"page": "1"}, ALL[:25], id="the first page"),
        pytest.param({"page": "2"}, ALL[25:], id="the second page"),
        pytest.param({"page": "3", "limit": "4"}, ALL[8:12], id="page and limit"),
        pytest.param({"page": "3", "start": "1", "limit": "4"}, ALL[1:5], id="start wins over page"),
        pytest.param({"page": "3", "start": "0", "limit": "4"}, ALL[:4], id="start 0 wins too"),
        pytest.param({"start": "30"}, [], id="past the end"),
        pytest.param({"start": "29"}, ALL[29:], id="the last one"),
        pytest.param({"page": "99"}, [], id="a page past the end"),
        pytest.param({"start": "9" * 30}, [], id="a start of 30 digits"),
        pytest.param({"page": "9" * 30}, [], id="a page of 30 digits"),
        pytest.param({"start": MANY_DIGITS}, [], id="a start of 5000 digits"),
        pytest.param({"page": MANY_DIGITS}, [], id="a page of 5000 digits"),
        pytest.param({"start": "9223372036854775807", "limit": "1000"}, [], id="a start at the end of 64 bits"),
    ],
)
def test_page_start_and_limit_choose_a_run_of_versions(
    alder: httpx2.Client, parameters: dict[str, str], expected: list[str]
) -> None:
    """
    "Subset of Market Participant's records (Contract Subaccount Mapping versions) to retrieve, based on total
    matching other query parameters." Past the end: 200 with the true total. Readings 12, 13, 59.
    """
    answer = alder.get(COLLECTION, params=parameters)
    assert (rows(answer), total(answer)) == (expected, len(ALL))


def test_the_total_counts_what_matches_the_other_parameters(alder: httpx2.Client) -> None:
    """
    "Based on total matching other query parameters." Readings 12, 13.
    """
    answers = [alder.get(COLLECTION, params={"contract_id": "7*", "limit": limit}) for limit in (1, 5, 1000)]
    assert [(total(answer), len(rows(answer))) for answer in answers] == [(16, 1), (16, 5), (16, 16)]


def test_nothing_that_matches_is_an_empty_collection(alder: httpx2.Client) -> None:
    """
    "<total_record_count>" (3.2.7) is 0, and there are no mappings. Reading 13.
    """
    answer = ask(alder, contract_id=5)
    assert (total(answer), rows(answer)) == (0, [])


# Levels and patterns


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("7", ["7"]),
        ("007", ["7"]),
        ("000000007", ["7"]),
        ("999999999", ["999999999"]),
        ("0", []),
        ("5", []),
        ("7*", ["7", "70", "71", "700", "701", "702", "703", "704", "705", "706"]),
        ("70%", ["70", "700", "701", "702", "703", "704", "705", "706"]),
        ("*0", ["70", "700", "800", "1000"]),
        ("7*1", ["71", "701"]),
        ("9%9", ["999999999"]),
        ("9%9*9%9*9", ["999999999"]),
        ("*00*", ["700", "800", "1000"]),
        ("0*", []),
        ("07*", []),
        ("*", EVERY),
        ("%", EVERY),
        ("*%*%*%*%*", EVERY),
    ],
)
def test_contract_id_chooses_contracts(alder: httpx2.Client, pattern: str, expected: list[str]) -> None:
    """
    "Return mappings for a specific contract ID number or contract ID numbers matching digits with * or %
    wildcard. Must be 1-9 characters." Readings 16, 17.
    """
    assert contracts(ask(alder, contract_id=pattern)) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["7", "1000"]),
        ("*", EVERY),
        ("%%", EVERY),
        ("REF-70", ["70"]),
        ("ref-70", ["704"]),
        ("Ref-70", []),
        ("REF-70 ", []),
        ("REF-7", []),
        ("R*", ["70"]),
        ("*70", ["70", "704"]),
        ("*-*", ["70", "704"]),
        ("100%", ["71"]),
        ("100", []),
        ("a_b", ["700"]),
        ("a%b", ["700", "701", "706"]),
        ("a*b", ["700", "701", "706"]),
        ("a**b", ["700", "701", "706"]),
        ("a*%*X%b", ["701"]),
        ("_*", []),
        ("?*", []),
        ("[x]?\\", ["705"]),
        ("[*", ["705"]),
        ("*\\", ["705"]),
        ("[a-z]*", []),
        ("\u00c9t\u00e9", ["702"]),
        ("E\u0301te\u0301", ["703"]),
        ("\u00c9*", ["702"]),
        ("E*", ["703"]),
        ("\u00e9*", []),
        ("*\u00e9", ["702"]),
        ("x" * 25, []),
        ("\u00e9" * 25, []),
        ("\U0001f600" * 25, []),
        ("' or 1=1 --", []),
    ],
)
def test_reference_id_chooses_contracts(alder: httpx2.Client, pattern: str, expected: list[str]) -> None:
    """
    "Return mappings for contracts with a specific reference ID or matching reference ID text with * or %
    wildcard. Must be 0-25 characters (blank is allowed)." Code point by code point. Readings 16, 18.
    """
    assert contracts(ask(alder, reference_id=pattern)) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("RENAMED", ["7 2015-01 RENAMED", "7 2015-02 RENAMED"]),
        ("A1", []),
        ("a1", ["70 2015-12 a1"]),
        ("A_1", ["70 2015-11 A_1"]),
        ("A?1", []),
        ("A*", ["70 2015-11 A_1"]),
        ("%1", ["70 2015-11 A_1", "70 2015-12 a1"]),
        ("007", ["71 2015-08 007"]),
        ("7", ["71 2015-09 7"]),
        ("*7", ["71 2015-08 007", "71 2015-09 7"]),
        ("[x]", ["701 2015-08 [x]"]),
        ("Ä & <ö>", ["705 2015-08 Ä & <ö>"]),
        ("R*D", ["7 2015-01 RENAMED", "7 2015-02 RENAMED", "704 2015-08 RETIRED"]),
        ("NOT MINE", []),
        ("B1", []),
        ("*", ALL),
        ("x" * 100, []),
    ],
)
def test_subaccount_id_chooses_versions(alder: httpx2.Client, pattern: str, expected: list[str]) -> None:
    """
    "Return mapping versions with a specific subaccount ID or matching subaccount ID text with * or %
    wildcard. Must be 1-100 characters." Readings 16, 23.
    """
    answer = ask(alder, subaccount_id=pattern)
    assert (rows(answer), total(answer)) == (expected, len(expected))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("Old name", ["7 2015-01 RENAMED"]),
        ("New name", ["7 2015-02 RENAMED"]),
        ("*name", ["7 2015-01 RENAMED", "7 2015-02 RENAMED"]),
        ("100% wind", ["70 2015-11 A_1"]),
        ("%wind", ["70 2015-11 A_1", "704 2015-08 RETIRED"]),
        ("Seven", ["71 2015-08 007"]),
        ("seven", []),
        ("[x]?\\", ["701 2015-08 [x]"]),
        ("Ä*", ["705 2015-08 Ä & <ö>"]),
        ("Alder*", []),
        ("RENAMED", []),
        ("Default", [row for row in ALL if row.endswith("Default")]),
        ("*", ALL),
        ("x" * 100, []),
    ],
)
def test_subaccount_name_is_the_name_at_the_periods_begin(
    alder: httpx2.Client, pattern: str, expected: list[str]
) -> None:
    """
    "Return mapping versions with a subaccount having a specific subaccount name or matching subaccount name
    text with * or % wildcard." The name in effect at the mapping period's begin. Readings 16, 22.
    """
    assert rows(ask(alder, subaccount_name=pattern)) == expected


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("ENERGY DAY AHEAD", [each for each in EVERY if each not in ("70", "71", "700")]),
        ("ENERGY REAL TIME", ["70"]),
        ("LOAD REAL TIME", ["71"]),
        ("FCM LOAD OBLIGATION", ["700"]),
    ],
)
def test_category_chooses_contracts(alder: httpx2.Client, category: str, expected: list[str]) -> None:
    """
    "Return mappings for contracts with a specific category." Reading 19.
    """
    assert contracts(ask(alder, category=category)) == expected


@pytest.mark.parametrize(
    ("location_id", "expected"),
    [
        ("4000", ["7", "701"]),
        ("0004000", ["7", "701"]),
        ("8500", ["700"]),
        ("400", []),
        ("0", []),
        ("1234567890", []),
        ("9" * 30, []),
        (MANY_DIGITS, []),
    ],
)
def test_location_id_chooses_contracts(alder: httpx2.Client, location_id: str, expected: list[str]) -> None:
    """
    "Return mappings for contracts with a specific location ID number." Leading zeros and any length are
    allowed. Reading 59.
    """
    assert contracts(ask(alder, location_id=location_id)) == expected


@pytest.mark.parametrize(
    ("party_id", "expected"),
    [
        ("1003", ["71", "701"]),
        ("1001", EVERY),
        ("01003", ["71", "701"]),
        ("1002", [each for each in EVERY if each not in ("71", "701")]),
        ("1", []),
        ("9" * 30, []),
        (MANY_DIGITS, []),
    ],
)
def test_party_id_chooses_contracts_by_buyer_or_seller(
    alder: httpx2.Client, party_id: str, expected: list[str]
) -> None:
    """
    "Return mappings for contracts with this party customer ID number." Buyer or seller. Readings 20, 59.
    """
    assert contracts(ask(alder, party_id=party_id)) == expected


# Dates


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("08/01/2015", AUGUST_ALONE),
        ("07/31/2015", []),
        ("08/14/2015", AUGUST_ALONE),
        ("08/15/2015", ["71", *AUGUST_ALONE]),
        ("08/31/2015", ["71", *AUGUST_ALONE]),
        ("09/01/2015", ["71"]),
        ("09/14/2015", ["71"]),
        ("09/15/2015", []),
        ("01/01/2015", ["7"]),
        ("12/31/2014", []),
        ("03/31/2015", ["7"]),
        ("04/01/2015", []),
        ("10/31/2015", ["70"]),
        ("11/01/2015", ["70"]),
        ("12/31/2015", ["70"]),
        ("02/09/2016", []),
        ("02/29/2016", ["700"]),
        ("03/19/2016", ["700"]),
        ("03/20/2016", []),
        ("01/01/0001", []),
        ("12/31/9999", []),
    ],
)
def test_one_date_alone_is_that_eastern_day(alder: httpx2.Client, day: str, expected: list[str]) -> None:
    """
    "Return mapping versions overlapping this Eastern Time mm/dd/yyyy date." Reading 21.
    """
    for answer in (ask(alder, start_date=day), ask(alder, end_date=day)):
        assert contracts(answer) == expected
        assert len(rows(answer)) == len(expected)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("10/31/2015", "70 2015-10 Default"),
        ("11/01/2015", "70 2015-11 A_1"),
        ("11/30/2015", "70 2015-11 A_1"),
        ("12/01/2015", "70 2015-12 a1"),
        ("02/29/2016", "700 2016-02 Default"),
        ("03/01/2016", "700 2016-03 Default"),
        ("03/08/2015", "7 2015-03 Default"),
        ("09/01/2015", "71 2015-09 7"),
    ],
)
def test_a_day_belongs_to_one_month(alder: httpx2.Client, day: str, expected: str) -> None:
    """
    "Overlapping this Eastern Time mm/dd/yyyy date": half-open, so that 09/01/2015 does not match a period that
    ends at 2015-09-01T04:00:00Z; through both clock changes and a leap day. Readings 21, 24.
    """
    assert rows(ask(alder, start_date=day)) == [expected]


@pytest.mark.parametrize(
    ("start_date", "end_date", "expected"),
    [
        ("09/01/2015", "11/01/2015", ["70 2015-10 Default", "70 2015-11 A_1", "71 2015-09 7"]),
        ("09/02/2015", "09/02/2015", ["71 2015-09 7"]),
        ("09/15/2015", "09/30/2015", []),
        ("09/14/2015", "10/01/2015", ["70 2015-10 Default", "71 2015-09 7"]),
        ("01/31/2015", "02/01/2015", ["7 2015-01 RENAMED", "7 2015-02 RENAMED"]),
        ("01/01/0001", "12/31/9999", ALL),
        ("01/01/0001", "01/01/2015", ["7 2015-01 RENAMED"]),
        ("12/31/2017", "12/31/9999", ["800 2017-12 Default"]),
    ],
)
def test_two_dates_are_an_inclusive_range(
    alder: httpx2.Client, start_date: str, end_date: str, expected: list[str]
) -> None:
    """
    "Or the interval until end_date if end_date is specified." Reading 21.
    """
    assert rows(ask(alder, start_date=start_date, end_date=end_date)) == expected


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param({"party_id": "1003", "subaccount_id": "7"}, ["71 2015-09 7"], id="contract and version"),
        pytest.param(
            {"contract_id": "7*", "start_date": "08/15/2015", "subaccount_name": "*e*", "reference_id": "*0*"},
            ["71 2015-08 007", "704 2015-08 RETIRED"],
            id="four of them",
        ),
        pytest.param({"category": "LOAD REAL TIME", "location_id": "4000"}, [], id="no contract fits both"),
        pytest.param({"subaccount_id": "A_1", "start_date": "10/01/2015"}, [], id="no version fits both"),
        pytest.param(
            {"subaccount_id": "R*", "start_date": "02/01/2015", "end_date": "08/31/2015"},
            ["7 2015-02 RENAMED", "704 2015-08 RETIRED"],
            id="subaccount and dates",
        ),
    ],
)
def test_all_parameters_hold_at_once(alder: httpx2.Client, parameters: dict[str, str], expected: list[str]) -> None:
    """
    "Based on total matching other query parameters": some choose contracts, the others versions inside them.
    Reading 23.
    """
    answer = ask(alder, **parameters)
    assert (rows(answer), total(answer)) == (expected, len(expected))


# Bad parameters


BAD = {
    "limit": ["0", "1001", "-1", "", "abc", "1e2", "+5", "5.0", "*", " 5", "\u0663", "0x10", MANY_DIGITS],
    "start": ["-1", "", "abc", "+0", "0.5", "*", "\uff11"],
    "page": ["0", "000", "-1", "", "abc", "1.0"],
    "contract_id": ["", "1234567890", "*********1", "7a", "7_", "7?", "+7", "-7", "7.0", " 7", "\uff17", "0x7"],
    "reference_id": ["x" * 26, "\u00e9" * 26, "\U0001f600" * 26, "*" * 26],
    "subaccount_id": ["", "x" * 101, "\U0001f600" * 101],
    "subaccount_name": ["", "x" * 101],
    "category": ["", "ENERGY", "Energy DA", "energy day ahead", "ENERGY*", "ENERGY DAY AHEAD ", "FCM LOAD"],
    "location_id": ["", "4000*", "%", "-1", "+4000", "4.0", "hub", "\uff14"],
    "party_id": ["", "1*", "%", "-1", "XYZ", "1.0"],
    "start_date": [
        "",
        "8/1/2015",
        "08/1/2015",
        "08/01/15",
        "2015-08-01",
        "08-01-2015",
        "02/29/2015",
        "04/31/2015",
        "13/01/2015",
        "00/10/2015",
        "08/00/2015",
        "08/01/0000",
        "08/01/02015",
        " 08/01/2015",
        "08/01/2015T00:00:00Z",
        "\uff108/01/2015",
        "08/*/2015",
        "today",
    ],
    "end_date": ["", "02/30/2016", "2015/08/01"],
}


@pytest.mark.parametrize(
    ("parameter", "value"),
    [(parameter, value) for parameter, values in BAD.items() for value in values],
    ids=lambda text: repr(text[:12]),
)
def test_a_bad_value_is_refused_by_name(alder: httpx2.Client, parameter: str, value: str) -> None:
    """
    "limit must be >= 1 and <= 1000 ... start must be >= 0 ... Must be 1-9 characters ... mm/dd/yyyy": 400 names
    the parameter. Readings 13, 14, 19, 21.
    """
    (line,) = faults(alder.get(COLLECTION, params={parameter: value}))
    assert parameter in line


def test_a_bad_page_is_refused_though_start_wins(alder: httpx2.Client) -> None:
    """
    "page, start, and limit: Number": page is checked all the same. Reading 13.
    """
    (line,) = faults(alder.get(COLLECTION, params={"start": 0, "page": 0}))
    assert "page" in line


def test_a_start_date_after_the_end_date_is_refused(alder: httpx2.Client) -> None:
    """
    "Or the interval since start_date if start_date is specified." Reading 14.
    """
    (line,) = faults(alder.get(COLLECTION, params={"start_date": "08/02/2015", "end_date": "08/01/2015"}))
    assert "start_date" in line


@pytest.mark.parametrize("parameter", [*BAD])
def test_a_parameter_given_twice_is_refused(alder: httpx2.Client, parameter: str) -> None:
    """
    "Parameters - GET optional query parameters": each once, though the values be equal. Reading 14.
    """
    good = {"category": "LOAD REAL TIME", "start_date": "08/01/2015", "end_date": "08/01/2015"}.get(parameter, "5")
    (line,) = faults(alder.get(COLLECTION, params=[(parameter, good), (parameter, good)]))
    assert parameter in line


# Unknown parameters


UNKNOWN = ["_dc", "sort", "Contract_id", "CATEGORY", "contractId", "contract_id ", "limit[]", ""]


@pytest.mark.parametrize("parameter", UNKNOWN)
def test_an_unknown_parameter_is_ignored(alder: httpx2.Client, parameter: str) -> None:
    """
    "Parameters - GET optional query parameters": others are ignored; names are case-sensitive. Reading 15.
    """
    assert rows(alder.get(COLLECTION, params={parameter: "5", "limit": 1000})) == ALL


@pytest.mark.parametrize(
    "prefer", ["handling=strict", "Handling=Strict", 'handling="strict"', "wait=5, handling=strict"]
)
def test_an_unknown_parameter_is_refused_under_strict_handling(alder: httpx2.Client, prefer: str) -> None:
    """
    "Parameters - GET optional query parameters": with `Prefer: handling=strict` an unknown one is 400.
    Reading 15.
    """
    (line,) = faults(alder.get(COLLECTION, params={"limit": 5, "Limit": 5}, headers={"Prefer": prefer}))
    assert "Limit" in line


@pytest.mark.parametrize("prefer", ["handling=lenient", "return=minimal", "strict", ""])
def test_another_preference_changes_nothing(alder: httpx2.Client, prefer: str) -> None:
    """
    "Parameters - GET optional query parameters": others are ignored. Reading 15.
    """
    assert alder.get(COLLECTION, params={"sort": "x"}, headers={"Prefer": prefer}).status_code == 200


def test_known_parameters_pass_strict_handling(alder: httpx2.Client) -> None:
    """
    "Parameters - GET optional query parameters." Reading 15.
    """
    known = {"limit": "5", "start": "0", "page": "1", "contract_id": "7", "reference_id": ""}
    assert alder.get(COLLECTION, params=known, headers={"Prefer": "handling=strict"}).status_code == 200


@pytest.mark.parametrize("query", ["_dc=1", "limit=0", "contract_id=abc", "start_date=x&start_date=y"])
def test_a_post_has_no_parameters(dogwood: httpx2.Client, query: str) -> None:
    """
    "Parameters - GET optional query parameters": a POST ignores them all. Reading 15.
    """
    body = update(40000, (AUGUST, "Default"))
    plain = post(dogwood, body)
    answer = dogwood.post(f"{path(1004)}?{query}", content=body, headers=plain.request.headers)
    assert (answer.status_code, answer.content) == (200, plain.content)


def test_a_post_with_a_parameter_is_refused_under_strict_handling(dogwood: httpx2.Client) -> None:
    """
    "Parameters - GET optional query parameters": a POST has none. Reading 15.
    """
    body = update(40000, (AUGUST, "Default"))
    headers = {**post(dogwood, body).request.headers, "Prefer": "handling=strict"}
    (line,) = faults(dogwood.post(f"{path(1004)}?_dc=1", content=body, headers=headers))
    assert "_dc" in line
