"""The GET parameters of 3.2.4. Readings 13-21, 23, 59."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibt.rules.faults import Refusal
from ibt.rules.model import Category
from ibt.rules.queries import LARGEST_NUMBER, PARAMETERS, Pattern, Query, read_query, refuse_unknown

AUGUST_1 = datetime(2015, 8, 1, 4, tzinfo=UTC)
AUGUST_2 = datetime(2015, 8, 2, 4, tzinfo=UTC)
SEPTEMBER_1 = datetime(2015, 9, 1, 4, tzinfo=UTC)


def refused(*parameters: tuple[str, str], strict: bool = False) -> list[str]:
    """The lines of the refusal of *parameters*."""
    with pytest.raises(Refusal) as caught:
        read_query(parameters, strict=strict)
    assert caught.value.status == 400
    return caught.value.text.split("\n")


READ = {
    "nothing": ([], Query()),
    "the sample of 3.2.6": (
        [("start_date", "08/01/2015"), ("start", "0"), ("limit", "25")],
        Query(begin=AUGUST_1, end=AUGUST_2),
    ),
    "limit, least": ([("limit", "1")], Query(limit=1)),
    "limit, most": ([("limit", "1000")], Query(limit=1000)),
    "limit with zeros in front": ([("limit", "0" * 5000 + "25")], Query(limit=25)),
    "start": ([("start", "50")], Query(start=50)),
    "start of any length": ([("start", "9" * 5000)], Query(start=LARGEST_NUMBER)),
    "start, one too many to count": ([("start", str(2**63))], Query(start=LARGEST_NUMBER)),
    "page 1": ([("page", "1")], Query(start=0)),
    "page 3": ([("page", "3")], Query(start=50)),
    "page and limit": ([("page", "3"), ("limit", "10")], Query(start=20, limit=10)),
    "page of any length": ([("page", "9" * 5000), ("limit", "1000")], Query(start=LARGEST_NUMBER, limit=1000)),
    "start wins over page": ([("page", "3"), ("start", "7")], Query(start=7)),
    "start 0 wins over page": ([("start", "0"), ("page", "3")], Query(start=0)),
    "contract by value": ([("contract_id", "000999998")], Query(contract_id=999998)),
    "contract of zeros": ([("contract_id", "000000000")], Query(contract_id=0)),
    "contract with *": ([("contract_id", "9*8")], Query(contract_id=Pattern("9*8"))),
    "contract with %": ([("contract_id", "%")], Query(contract_id=Pattern("%"))),
    "contract of nine wildcards": ([("contract_id", "*%*%*%*%*")], Query(contract_id=Pattern("*%*%*%*%*"))),
    "reference blank": ([("reference_id", "")], Query(reference_id="")),
    "reference of 25": ([("reference_id", "é" * 25)], Query(reference_id="é" * 25)),
    "reference of 25 outside the BMP": ([("reference_id", "𝒳" * 25)], Query(reference_id="𝒳" * 25)),
    "reference with a wildcard": ([("reference_id", "*")], Query(reference_id=Pattern("*"))),
    "reference that looks like SQL": ([("reference_id", "_?[a]\\'")], Query(reference_id="_?[a]\\'")),
    "subaccount of 100": ([("subaccount_id", "a" * 100)], Query(subaccount_id="a" * 100)),
    "subaccount of a blank": ([("subaccount_id", " ")], Query(subaccount_id=" ")),
    "subaccount with a wildcard": ([("subaccount_id", "ABC%")], Query(subaccount_id=Pattern("ABC%"))),
    "subaccount's name": ([("subaccount_name", "ABC1 act*")], Query(subaccount_name=Pattern("ABC1 act*"))),
    "category": ([("category", "FCM LOAD OBLIGATION")], Query(category=Category.FCM_LOAD_OBLIGATION)),
    "location": ([("location_id", "4000")], Query(location_id=4000)),
    "party, zeros in front": ([("party_id", "0001")], Query(party_id=1)),
    "party that is nobody's": ([("party_id", "1" + "0" * 40)], Query(party_id=LARGEST_NUMBER)),
    "end_date alone is one day": ([("end_date", "08/01/2015")], Query(begin=AUGUST_1, end=AUGUST_2)),
    "a range of days": (
        [("end_date", "08/31/2015"), ("start_date", "08/01/2015")],
        Query(begin=AUGUST_1, end=SEPTEMBER_1),
    ),
    "a range of one day": (
        [("start_date", "08/01/2015"), ("end_date", "08/01/2015")],
        Query(begin=AUGUST_1, end=AUGUST_2),
    ),
    "a leap day": (
        [("start_date", "02/29/2016")],
        Query(begin=datetime(2016, 2, 29, 5, tzinfo=UTC), end=datetime(2016, 3, 1, 5, tzinfo=UTC)),
    ),
    "unknown names": ([("_dc", "1"), ("Limit", "0"), ("", ""), ("sort", "\0"), ("sort", "x")], Query()),
}


@pytest.mark.parametrize(("parameters", "query"), READ.values(), ids=READ)
def test_parameters_become_a_query(parameters: list[tuple[str, str]], query: Query) -> None:
    assert read_query(parameters) == query


def test_the_first_and_the_last_day_that_can_be_written_are_accepted() -> None:
    query = read_query([("start_date", "01/01/0001"), ("end_date", "12/31/9999")])
    assert query.begin is not None
    assert query.end is not None
    assert query.begin < datetime(1, 1, 2, tzinfo=UTC)
    assert query.end > datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


NUMBERS = ("page", "start", "limit", "location_id", "party_id")
NOT_NUMBERS = ("-1", "+1", " 1", "1 ", "1_0", "1.0", "1e3", "0x1", "٣", "²", "１", "1\n", "abc", "NaN")

REFUSED = {
    **{f"{name}={text!r}": (name, text, "is not written in the digits") for name in NUMBERS for text in NOT_NUMBERS},
    **{f"{name} empty": (name, "", "is empty") for name in PARAMETERS if name != "reference_id"},
    **{f"{name} with U+0000": (name, "1\0", "U+0000") for name in PARAMETERS},
    **{f"{name} with *": (name, "1*", "has a wildcard") for name in NUMBERS},
    **{f"{name} with %": (name, "08/%/2015", "has a wildcard") for name in ("start_date", "end_date")},
    "category with a wildcard": ("category", "ENERGY*", "has a wildcard"),
    "category alone a wildcard": ("category", "%", "has a wildcard"),
    "limit 0": ("limit", "0", "is out of range: give how many mapping versions to return, 1 to 1000"),
    "limit 1001": ("limit", "1001", "is out of range"),
    "limit of any length": ("limit", "9" * 5000, "is out of range"),
    "limit 1000 and 20 digits": ("limit", "1000" + "0" * 20, "is out of range"),
    "page 0": ("page", "0", "is out of range: give a page, counted from 1"),
    "page 000": ("page", "000", "is out of range"),
    "contract of ten digits": ("contract_id", "0123456789", "has 10 characters: give 1 to 9 digits"),
    "contract of ten wildcards": ("contract_id", "*" * 10, "has 10 characters"),
    "contract with a letter": ("contract_id", "12a", "has other characters than digits"),
    "contract with a sign": ("contract_id", "-1", "has other characters than digits"),
    "contract with another script's digit": ("contract_id", "١*", "has other characters than digits"),
    "contract with another wildcard": ("contract_id", "99?", "has other characters than digits"),
    "contract with a blank": ("contract_id", "99 ", "has other characters than digits"),
    "contract with a newline": ("contract_id", "99\n", "has other characters than digits"),
    "reference of 26": ("reference_id", "é" * 26, "has 26 characters: give 0 to 25 characters"),
    "subaccount of 101": ("subaccount_id", "*" * 101, "has 101 characters: give 1 to 100 characters"),
    "name of 101": ("subaccount_name", "𝒳" * 101, "has 101 characters"),
    "category by its displayed name": (
        "category",
        "FCM Load",
        "is no category: give exactly one of ENERGY DAY AHEAD",
    ),
    "category in lower case": ("category", "energy day ahead", "is no category"),
    "category with a blank behind": ("category", "ENERGY DAY AHEAD ", "is no category"),
    "date as ISO": ("start_date", "2015-08-01", "is not written as mm/dd/yyyy: give a date such as 08/01/2015"),
    "date of short parts": ("start_date", "8/1/2015", "is not written as mm/dd/yyyy"),
    "date of a short year": ("start_date", "08/01/15", "is not written as mm/dd/yyyy"),
    "date with a time": ("end_date", "08/01/2015 00:00", "is not written as mm/dd/yyyy"),
    "date in another script": ("end_date", "٠٨/٠١/٢٠١٥", "is not written as mm/dd/yyyy"),
    "date with a newline": ("end_date", "08/01/2015\n", "is not written as mm/dd/yyyy"),
    "day before month": ("end_date", "31/08/2015", "is no day of the calendar"),
    "no leap year": ("start_date", "02/29/2015", "is no day of the calendar"),
    "the year 0": ("start_date", "01/01/0000", "is no day of the calendar"),
    "day 0": ("start_date", "08/00/2015", "is no day of the calendar"),
}


@pytest.mark.parametrize(("name", "text", "says"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_value_is_one_line_with_parameter_value_and_clause(name: str, text: str, says: str) -> None:
    (line,) = refused((name, text))
    assert line.startswith(f'{name} "')
    assert says in line
    assert re.search(r"\((3\.2\.4|reading [0-9]+).*\)$", line)


def test_a_line_reads_as_a_sentence() -> None:
    assert refused(("limit", "0")) == [
        'limit "0": is out of range: give how many mapping versions to return, 1 to 1000 (3.2.4)'
    ]


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("values", [("1", "1"), ("1", "2"), ("", ""), ("x", "1", "\0")])
def test_a_parameter_given_more_than_once_is_one_fault_whatever_its_values(
    name: str, values: tuple[str, ...]
) -> None:
    (line,) = refused(*((name, value) for value in values))
    assert line.startswith(f'{name} "{values[0]}": is given {len(values)} times')


def test_all_faults_come_in_the_order_of_the_query_string() -> None:
    lines = refused(("party_id", "x"), ("limit", "0"), ("_dc", "1"), ("page", ""), ("limit", "5"), ("category", "y"))
    assert [line.split(" ")[0] for line in lines] == ["party_id", "limit", "page", "category"]


def test_page_is_checked_even_where_start_wins() -> None:
    (line,) = refused(("start", "0"), ("page", "0"))
    assert line.startswith('page "0"')


@pytest.mark.parametrize("backwards", [False, True])
def test_a_start_date_after_the_end_date_is_refused_where_the_second_of_them_stands(backwards: bool) -> None:
    dates = [("start_date", "08/02/2015"), ("end_date", "08/01/2015")]
    lines = refused(("page", "0"), *(reversed(dates) if backwards else dates), ("limit", "0"))
    assert [line.split(" ")[0] for line in lines] == ["page", "start_date", "limit"]
    assert lines[1].startswith('start_date "08/02/2015": is after end_date "08/01/2015"')


def test_a_wrong_date_is_not_compared_with_the_other() -> None:
    assert len(refused(("start_date", "08/02/2015"), ("end_date", "02/30/2015"))) == 1


def test_strict_handling_refuses_each_unknown_name_once_and_in_its_place() -> None:
    lines = refused(("_dc", "1"), ("limit", "0"), ("Start", "1"), ("_dc", "2"), strict=True)
    assert [line.split(":")[0] for line in lines] == ['parameter "_dc"', 'limit "0"', 'parameter "Start"']
    assert "give one of page, start, limit, contract_id" in lines[0]


def test_strict_handling_accepts_what_is_known() -> None:
    assert read_query([("limit", "5")], strict=True) == Query(limit=5)


def test_an_unknown_name_forges_no_line() -> None:
    (line,) = refused(("a\nparty_id: is fine", ""), strict=True)
    assert line.startswith('parameter "a\\nparty_id: is fine": is unknown')


def test_a_resource_without_parameters_refuses_all_names_at_once() -> None:
    with pytest.raises(Refusal) as caught:
        refuse_unknown([("limit", "5"), ("x", ""), ("limit", "6")])
    lines = caught.value.text.split("\n")
    assert [line.split(":")[0] for line in lines] == ['parameter "limit"', 'parameter "x"']
    assert all("no parameter is known here (3.2.4, reading 15)" in line for line in lines)


def test_a_resource_accepts_no_parameters_and_those_it_knows() -> None:
    refuse_unknown([])
    refuse_unknown([("limit", "5")], known=("limit",))


MATCHES = {
    "whole value": ("abc", "abc", True),
    "whole value, not the beginning": ("abc", "abcd", False),
    "any run": ("a*c", "abbc", True),
    "an empty run": ("a*c", "ac", True),
    "% too": ("a%c", "abbc", True),
    "both in one run": ("a*%*c", "ac", True),
    "the empty text": ("*", "", True),
    "the empty text, several": ("%*", "", True),
    "begins": ("99*", "999998", True),
    "begins not": ("98*", "999998", False),
    "ends": ("*98", "999998", True),
    "ends not": ("*99", "999998", False),
    "inside": ("*b*", "abc", True),
    "inside not": ("*d*", "abc", False),
    "no overlap of begin and end": ("ab*ba", "aba", False),
    "no overlap of inner and end": ("*ab*b", "ab", False),
    "parts in order": ("*b*a*", "ab", False),
    "the last place counts at the end": ("a*bc", "abcbc", True),
    "case counts": ("A*", "abc", False),
    "no normalisation": ("é*", "e\u0301", False),
    "_ is itself": ("a_*", "abc", False),
    "? is itself": ("?*", "a", False),
    "[ is itself": ("[a]*", "[a]b", True),
    "\\ is itself": ("\\*", "*", False),
    "\\ and a run": ("\\*", "\\x", True),
    "a newline is a character": ("a*c", "a\nc", True),
}


@pytest.mark.parametrize(("pattern", "text", "expected"), MATCHES.values(), ids=MATCHES)
def test_wildcards_match_any_run_and_nothing_else_is_special(pattern: str, text: str, expected: bool) -> None:
    assert Pattern(pattern).matches(text) is expected


@given(st.text(alphabet="ab*%\n", max_size=8), st.text(alphabet="ab\n", max_size=10))
def test_a_pattern_matches_what_its_regular_expression_would(pattern: str, text: str) -> None:
    expression = re.sub(r"[*%]", ".*", pattern)
    assert Pattern(pattern).matches(text) == bool(re.fullmatch(expression, text, re.DOTALL))


def test_a_pattern_that_would_make_a_regular_expression_slow_is_answered_at_once() -> None:
    begun = time.perf_counter()
    assert not Pattern("*a" * 49 + "*b*").matches("a" * 100_000)
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [("a*b", ("a", "b")), ("*", ("", "")), ("*a", ("", "a")), ("a%*b*", ("a", "b", "")), ("a", ("a",))],
)
def test_the_parts_of_a_pattern_are_the_texts_between_its_runs_of_wildcards(
    pattern: str, parts: tuple[str, ...]
) -> None:
    assert Pattern(pattern).parts == parts


def test_the_parameters_are_those_of_the_table_in_its_order() -> None:
    assert list(PARAMETERS) == [
        "page",
        "start",
        "limit",
        "contract_id",
        "reference_id",
        "subaccount_id",
        "subaccount_name",
        "category",
        "location_id",
        "party_id",
        "start_date",
        "end_date",
    ]


@given(
    st.lists(st.tuples(st.sampled_from([*PARAMETERS, "other"]), st.text(max_size=30)), max_size=8),
    st.booleans(),
)
def test_any_parameters_give_a_query_or_a_refusal_of_whole_lines(
    parameters: list[tuple[str, str]], strict: bool
) -> None:
    text = ""
    try:
        read_query(parameters, strict=strict)
    except Refusal as refusal:
        text = refusal.text
    assert text.splitlines() == list(filter(None, text.split("\n")))
    assert all(line.endswith(")") for line in text.splitlines())
