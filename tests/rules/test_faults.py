"""The text of a refusal. Clause 2.1; reading 6."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibt.rules.faults import MOST_LINES, Faults, Refusal, Rule, quoted

RULE = Rule("one-month", "lies in {month}, not in one month", "3.2.5")
PLAIN = Rule("plain", "is wrong", "reading 6")


def faults_of(count: int) -> Faults:
    """So many faults, each with its number as the value."""
    faults = Faults()
    for number in range(count):
        faults.add(PLAIN, field="version", value=str(number))
    return faults


LINES = {
    "place, field and value": (
        {"where": "contract 7", "field": "end", "value": "x"},
        'contract 7, end "x": is wrong (reading 6)',
    ),
    "no place": ({"field": "end", "value": "x"}, 'end "x": is wrong (reading 6)'),
    "no value": ({"where": "contract 7", "field": "end"}, "contract 7, end: is wrong (reading 6)"),
    "an empty value": ({"field": "end", "value": ""}, 'end "": is wrong (reading 6)'),
    "place alone": ({"where": "contract 7"}, "contract 7: is wrong (reading 6)"),
}


@pytest.mark.parametrize(("told", "line"), LINES.values(), ids=LINES)
def test_a_line_names_place_field_value_rule_and_clause(told: dict[str, str], line: str) -> None:
    faults = Faults()
    faults.add(PLAIN, where=told.get("where", ""), field=told.get("field", ""), value=told.get("value"))
    assert faults.lines() == [line]


def test_a_rule_says_what_the_fault_knows() -> None:
    faults = Faults()
    faults.add(RULE, field="end", value="x", month="2015-08", unused="y")
    assert faults.lines() == ['end "x": lies in 2015-08, not in one month (3.2.5)']


def test_braces_in_a_value_are_only_text() -> None:
    faults = Faults()
    faults.add(RULE, field="{field}", value="{month} {0} {x.y}", month="{value}")
    assert faults.lines() == ['{field} "{month} {0} {x.y}": lies in {value}, not in one month (3.2.5)']


QUOTED = {
    "plain": ("ABC1", '"ABC1"'),
    "empty": ("", '""'),
    "blanks": ("  a ", '"  a "'),
    "a quote": ('a"b', '"a\\"b"'),
    "a backslash": ("a\\n", '"a\\\\n"'),
    "accents stay": ("é𝒳漢", '"é𝒳漢"'),
    "LF": ("a\nb", '"a\\nb"'),
    "CR": ("a\rb", '"a\\rb"'),
    "tab": ("a\tb", '"a\\tb"'),
    "NUL": ("\0", '"\\x00"'),
    "escape": ("\x1b[31m", '"\\x1b[31m"'),
    "delete": ("\x7f", '"\\x7f"'),
    "U+0085": ("a\u0085b", '"a\\x85b"'),
    "U+2028": ("a\u2028b", '"a\\u2028b"'),
    "U+2029": ("a\u2029b", '"a\\u2029b"'),
    "bidi override": ("a\u202eb", '"a\\u202eb"'),
    "bidi isolate": ("a\u2066b", '"a\\u2066b"'),
    "zero width": ("a\u200bb", '"a\\u200bb"'),
    "byte order mark": ("\ufeff", '"\\ufeff"'),
    "no-break space": ("\u00a0", '"\\xa0"'),
    "lone surrogate": ("\ud800", '"\\ud800"'),
    "private use": ("\U0010ffff", '"\\U0010ffff"'),
    "100 characters": ("a" * 100, '"' + "a" * 100 + '"'),
    "101 characters": ("a" * 101, '"' + "a" * 100 + '"...'),
    "100 outside the BMP": ("𝒳" * 101, '"' + "𝒳" * 100 + '"...'),
    "the cut falls on no escape": ("\n" * 101, '"' + "\\n" * 100 + '"...'),
}


@pytest.mark.parametrize(("value", "expected"), QUOTED.values(), ids=QUOTED)
def test_a_value_is_quoted_escaped_and_cut(value: str, expected: str) -> None:
    assert quoted(value) == expected


@given(st.text(alphabet=st.characters(), max_size=120))
def test_no_value_forges_a_line(value: str) -> None:
    line = quoted(value)
    assert line.splitlines() == [line]
    assert line.isprintable()
    line.encode("utf-8")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=100))
def test_different_values_are_quoted_differently(value: str) -> None:
    assert quoted(value) != quoted(value + "x") or len(value) >= 100
    assert quoted(value)[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape") == value


def test_a_hundred_faults_are_all_told() -> None:
    lines = faults_of(MOST_LINES).lines()
    assert len(lines) == 100
    assert lines[-1].startswith('version "99"')


def test_past_a_hundred_the_rest_is_counted() -> None:
    lines = faults_of(MOST_LINES + 12_000).lines()
    assert len(lines) == 101
    assert lines[99].startswith('version "99"')
    assert lines[100] == "and 12000 more"


def test_no_fault_refuses_nothing() -> None:
    Faults().refuse()
    assert Faults().lines() == []


def test_faults_refuse_once_with_all_lines_in_their_order() -> None:
    with pytest.raises(Refusal) as caught:
        faults_of(3).refuse()
    assert caught.value.status == 400
    assert caught.value.text.split("\n") == [f'version "{number}": is wrong (reading 6)' for number in range(3)]
    assert [fault.value for fault in caught.value.faults] == ["0", "1", "2"]


def test_a_refusal_carries_status_text_and_headers() -> None:
    refusal = Refusal(405, "POST is not for this resource", headers={"Allow": "GET, HEAD"})
    assert (refusal.status, refusal.text, refusal.headers) == (
        405,
        "POST is not for this resource",
        {"Allow": "GET, HEAD"},
    )
    assert refusal.faults == ()


GONE = Rule("gone", "The contract {contract_id} is gone", "reading 45", 404)


def test_a_refusal_for_one_rule_has_its_status_its_line_and_its_name() -> None:
    refusal = Refusal.of(GONE, headers={"Allow": "GET"}, contract_id=7)
    assert (refusal.status, refusal.text) == (404, "The contract 7 is gone (reading 45)")
    assert (refusal.rule, refusal.headers) == ("gone", {"Allow": "GET"})
    assert Refusal.of(PLAIN, field="end", value="x").text == 'end "x": is wrong (reading 6)'


def test_the_rule_of_a_refusal_is_that_of_its_first_line() -> None:
    faults = Faults()
    for rule in (RULE, PLAIN):
        faults.add(rule, field="end", month="2015-08")
    with pytest.raises(Refusal) as caught:
        faults.refuse()
    assert caught.value.rule == RULE.name
