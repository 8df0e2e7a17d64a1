"""The message of a POST: what is tolerated, what it means, and how each fault of its form is told."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibt.messages import NAMESPACE, read_update
from ibt.rules.faults import Refusal
from ibt.rules.model import RequestedMapping, RequestedVersion

SAMPLE = (resources.files("ibt.conformance") / "samples" / "3.2.8.xml").read_bytes()
AUGUST, SEPTEMBER = (datetime(2015, month, 1, 4, tzinfo=UTC) for month in (8, 9))
MEANING = (
    RequestedMapping(1, 999998, (RequestedVersion(AUGUST, SEPTEMBER, "Default"),)),
    RequestedMapping(1, 999999, (RequestedVersion(AUGUST, SEPTEMBER, "ABC1"),)),
)

VERSION = (
    "<contract_subaccount_mapping_version><begin>2015-08-01T04:00:00Z</begin><version/>"
    "<subaccount_id>{}</subaccount_id></contract_subaccount_mapping_version>\n"
)


def mapping(contract_id: object, *versions: str) -> str:
    return (
        f"<contract_subaccount_mapping><customer_id>1</customer_id><contract_id>{contract_id}</contract_id>"
        "<market_name/><buyer_name/><seller_name/><contract_begin>2015-08-01T04:00:00Z</contract_begin>"
        "<contract_end>2015-08-01T04:00:00Z</contract_end><status/>\n"
        f"{''.join(versions)}</contract_subaccount_mapping>\n"
    )


def message(*mappings: str) -> bytes:
    content = "".join(mappings)
    return f'<contract_subaccount_mappings xmlns="{NAMESPACE}">\n{content}</contract_subaccount_mappings>'.encode()


def changed(old: str, new: str, times: int = 1) -> bytes:
    assert old.encode() in SAMPLE
    return SAMPLE.replace(old.encode(), new.encode(), times)


def refused(body: bytes) -> list[str]:
    """The lines of the refusal of *body*."""
    with pytest.raises(Refusal) as caught:
        read_update(body)
    assert caught.value.status == 400
    return caught.value.text.split("\n")


def prefixed(prefix: str) -> bytes:
    return re.sub(rb"<(/?)([a-z])", rb"<\1" + prefix.encode() + rb":\2", SAMPLE).replace(
        b"xmlns=", f"xmlns:{prefix}=".encode()
    )


XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:x file:///none.xsd"'
MEAN_THE_SAME = {
    "the sample": SAMPLE,
    "a byte order mark": b"\xef\xbb\xbf" + SAMPLE,
    "no declaration": SAMPLE.partition(b"?>\n")[2],
    "declared US-ASCII": changed('encoding="UTF-8"', 'encoding="us-ascii"'),
    "declared in lower case and single quotes": changed('encoding="UTF-8"', "encoding = 'utf-8'"),
    "a prefix": prefixed("p"),
    "another prefix": prefixed("contract_id"),
    "comments and instructions": changed("<contract_id>", "<!-- <!DOCTYPE a> --><?x y?><contract_id>", 9),
    "comments around the root": b"<!-- x --><?y?>" + SAMPLE.partition(b"?>\n")[2] + b"<!-- x --><?y?>\n",
    "a comment in a value": changed(">ABC1<", ">A<!-- x -->BC<?x?>1<"),
    "CDATA": changed(">ABC1<", "><![CDATA[AB]]>C<![CDATA[1]]><"),
    "references": changed(">ABC1<", ">&#65;&#x42;C1<"),
    "an unused namespace": changed("<contract_id>", '<contract_id xmlns:q="urn:q">'),
    "schemaLocation": changed("<contract_subaccount_mappings ", f"<contract_subaccount_mappings {XSI} "),
    "no blanks between elements": re.sub(rb">\s+<", b"><", SAMPLE),
    "CR LF": SAMPLE.replace(b"\n", b"\r\n"),
    "leading zeros": changed(">999998<", ">0000000000999998<"),
    "very many leading zeros": changed(">999998<", f">{'0' * 10_000}999998<"),
    "a plus": changed(">999998<", ">+999998<"),
    "blanks around a number": changed(">999998<", ">\n 999998\t<"),
    "a zero fraction": changed("<begin>2015-08-01T04:00:00Z", "<begin>2015-08-01T04:00:00.000Z"),
    "blanks around a time": changed("<begin>2015-08-01T04:00:00Z", "<begin> 2015-08-01T04:00:00Z\n"),
    "stale names": changed("XYZ Inc", "", 2),
    "any version": changed("<version>2015-07-01T04:00:00Z", "<version>whatever"),
    "query_info": changed(
        "\n  <contract_sub",
        "\n  <query_info><total_record_count>00</total_record_count></query_info><contract_sub",
    ),
    "a colon and type in a text": changed("XYZ Inc", "x:type"),
}


@pytest.mark.parametrize("name", MEAN_THE_SAME)
def test_what_is_tolerated_means_the_same(name: str) -> None:
    assert read_update(MEAN_THE_SAME[name]) == MEANING


def test_an_end_that_is_left_out_is_none() -> None:
    assert read_update(message(mapping(7, VERSION.format("A")))) == (
        RequestedMapping(1, 7, (RequestedVersion(AUGUST, None, "A"),)),
    )


def test_no_mapping_and_no_version_are_left_to_the_rules() -> None:
    assert read_update(message()) == ()
    assert read_update(message(mapping(7))) == (RequestedMapping(1, 7, ()),)


def test_white_space_of_a_subaccount_id_counts() -> None:
    assert read_update(message(mapping(7, VERSION.format(" A\n"))))[0].versions[0].subaccount_id == " A\n"


@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1, max_size=100
    )
)
def test_any_subaccount_id_of_1_to_100_characters_is_read(subaccount_id: str) -> None:
    escaped = subaccount_id.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert read_update(message(mapping(7, VERSION.format(escaped))))[0].versions[0].subaccount_id == subaccount_id


UNREADABLE = {
    "nothing": (b"", "message: is empty: send contract_subaccount_mappings (2.1, 3.2.8)"),
    "cut": (SAMPLE[:-10], "message: is not well-formed XML at line 35, column 23 (2.1, reading 10)"),
    "latin 1": (
        changed("XYZ Inc", "@").replace(b"@", b"\xe9"),
        "message: must be UTF-8; it is not at line 7, column 17 (2, reading 10)",
    ),
    "UTF-16": (
        SAMPLE.decode().encode("utf-16"),
        "message: must be UTF-8; it is not at its beginning (2, reading 10)",
    ),
    "declared": (changed("UTF-8", "ISO-8859-1"), 'encoding "ISO-8859-1": must be UTF-8 or US-ASCII (2, reading 51)'),
    "XML 1.1": (changed('"1.0"', '"1.1"'), 'XML version "1.1": must be 1.0 (reading 51)'),
    "DOCTYPE": (
        changed("?>\n", "?>\n<!DOCTYPE a>\n"),
        "line 2, message: must not have a DOCTYPE (reading 10)",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_one_line(name: str) -> None:
    body, line = UNREADABLE[name]
    assert refused(body) == [line]


PERIOD = "contract 999998, period 2015-08-01T04:00:00Z to 2015-09-01T04:00:00Z, "
TIME = "must be a time in GMT, whole seconds, with Z: write it as 2015-08-01T04:00:00Z (3.2.4, reading 33)"
NUMBER = "must be a whole number of at most 9 digits (3.2.4, reading 52)"
ROOT = f"the root must be contract_subaccount_mappings in the namespace {NAMESPACE} (3.2.8)"
NOT_VALID = {
    "a wrong subaccount id": (
        changed(">Default<", "><"),
        PERIOD + 'line 16, subaccount_id "": must be 1 to 100 characters; there are 0 (3.2.4)',
    ),
    "a wrong begin": (
        changed("<begin>2015-08-01", "<begin>2015-13-01"),
        PERIOD.replace("2015-08", "2015-13") + f'line 13, begin "2015-13-01T04:00:00Z": {TIME}',
    ),
    "a begin that would forge a line": (
        changed("<begin>2015-08-01T04:00:00Z", "<begin>x\nok: "),
        'contract 999998, period "x\\nok: " to 2015-09-01T04:00:00Z, line 13, begin "x\\nok: ": ' + TIME,
    ),
    "a contract id that is none": (changed(">999998<", ">x<"), f'line 5, contract_id "x": {NUMBER}'),
    "a customer id of ten digits": (
        changed("<customer_id>1", "<customer_id>1000000000"),
        f'contract 999998, line 4, customer_id "1000000000": {NUMBER}',
    ),
    "a contract id by value": (
        changed(">999998<", "> 000999998<").replace(b"<contract_end>2015", b"<contract_end>x", 1),
        f'contract 999998, line 10, contract_end "x-10-01T04:00:00Z": {TIME}',
    ),
    "an element left out": (
        changed("    <status>Conf</status>\n", ""),
        PERIOD + "line 11, contract_subaccount_mapping_version: is not expected here; expected: status (3.2.4)",
    ),
    "the last element left out": (
        changed("      <subaccount_id>Default</subaccount_id>\n", ""),
        PERIOD + "line 12, contract_subaccount_mapping_version: "
        "lacks an element at its end; expected: subaccount_id (3.2.4)",
    ),
    "an element in another namespace": (
        changed("<status>", '<status xmlns="">'),
        f"contract 999998, line 11, status: must be in the namespace {NAMESPACE}; expected: status (2, 3.2.4)",
    ),
    "an element in a value": (
        changed(">FCM Load<", "><b/><"),
        "contract 999998, line 6, market_name: must be a value without elements in it (3.2.4)",
    ),
    "text between elements": (
        changed("<status>", "x<status>"),
        "contract 999998, line 3, contract_subaccount_mapping: must not have text between its elements (3.2.4)",
    ),
    "an attribute": (
        changed("<status>", '<status xml:lang="en">'),
        "contract 999998, line 11, status: the attribute lang is not allowed (3.2.4, reading 51)",
    ),
    "xsi:type": (
        changed("<status>", f'<status {XSI} xmlns:t="http://www.w3.org/2001/XMLSchema" xsi:type="t:string">'),
        "contract 999998, line 11, status: xsi:type is not allowed (3.2.4, reading 51)",
    ),
    "xsi:nil": (
        changed("<status>", f'<status {XSI} xsi:nil="false">'),
        "contract 999998, line 11, status: xsi:nil is not allowed; every element has a value (3.2.4, reading 51)",
    ),
    "a malformed query_info": (
        message("<query_info><total_record_count>x</total_record_count></query_info>"),
        'line 2, total_record_count "x": must be a whole number, or leave query_info out (3.2.7, reading 32)',
    ),
    "the root of 3.3": (
        f'<contract_subaccount_mapping xmlns="{NAMESPACE}"/>'.encode(),
        f"line 1, contract_subaccount_mapping: {ROOT}",
    ),
    "a root with the wrong namespace": (
        changed(NAMESPACE, "urn:x"),
        f"line 2, contract_subaccount_mappings: {ROOT}",
    ),
    "a name that does not print": (
        message("<\u2c00\u200c/>"),
        'line 2, "\u2c00\\u200c": is not expected here; expected: query_info, contract_subaccount_mapping (3.2.4)',
    ),
}


@pytest.mark.parametrize("name", NOT_VALID)
def test_a_fault_of_form_is_told_in_our_words(name: str) -> None:
    body, line = NOT_VALID[name]
    assert refused(body) == [line]


def test_a_fault_is_found_whatever_the_prefix() -> None:
    body = prefixed("p").replace(b">ABC1<", b"><")
    assert refused(body)[0].startswith(
        "contract 999999, period 2015-08-01T04:00:00Z to 2015-09-01T04:00:00Z, line 32"
    )


def test_all_faults_are_told_in_the_order_of_the_document() -> None:
    body = changed(">ABC1<", "><").replace(b">999998<", b">x<").replace(b"<status>Conf</status>", b"<status a='b'/>")
    assert [line.partition(": ")[0] for line in refused(body)] == [
        'line 5, contract_id "x"',
        "line 11, status",
        "contract 999999, line 27, status",
        'contract 999999, period 2015-08-01T04:00:00Z to 2015-09-01T04:00:00Z, line 32, subaccount_id ""',
    ]


WRONG_TIMES = (
    *("2015-08-01T04:00:00+00:00", "2015-08-01T04:00:00-04:00", "2015-08-01T04:00:00", "2015-08-01T04:00:00z"),
    *("2015-07-31T24:00:00Z", "2015-08-01T04:00:00.5Z", "0000-08-01T04:00:00Z", "10000-08-01T04:00:00Z"),
    *(
        "-2015-08-01T04:00:00Z",
        "2016-12-31T23:59:60Z",
        "2015-02-29T00:00:00Z",
        "2015-8-1T04:00:00Z",
        "2015-08-01",
        "",
    ),
)


@pytest.mark.parametrize("time", WRONG_TIMES)
@pytest.mark.parametrize("field", ["begin", "end", "contract_begin", "contract_end"])
def test_a_time_of_another_form_is_refused(field: str, time: str) -> None:
    body = re.sub(rf"<{field}>[^<]*".encode(), f"<{field}>{time}".encode(), SAMPLE, count=1)
    (line,) = refused(body)
    assert line.endswith(f'{field} "{time}": {TIME}')


@pytest.mark.parametrize("year", ["0001", "9999"])
def test_the_first_and_the_last_year_are_times(year: str) -> None:
    read_update(changed("<contract_begin>2015", f"<contract_begin>{year}"))


# Large messages are read in pieces: nobody must notice.

MANY = 20_000


def test_a_large_message_means_what_its_mappings_mean() -> None:
    body = message(*(mapping(number, VERSION.format(f"A{number}")) for number in range(2_000)))
    assert len(body) > 700_000
    update = read_update(body)
    assert [requested.contract_id for requested in update] == list(range(2_000))
    assert [requested.versions[0].subaccount_id for requested in update] == [f"A{number}" for number in range(2_000)]


def test_a_mapping_of_very_many_versions_is_one_mapping() -> None:
    longer = mapping(7, *(VERSION.format(f"A{number}") for number in range(MANY)))
    update = read_update(message(mapping(6), longer, mapping(8, VERSION.format("B"))))
    assert [requested.contract_id for requested in update] == [6, 7, 8]
    assert [version.subaccount_id for version in update[1].versions] == [f"A{number}" for number in range(MANY)]
    assert len(update[2].versions) == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2_000), st.integers(1, 3), st.text("é<!-\n", max_size=300))
def test_where_a_piece_ends_makes_no_difference(shift: int, versions: int, text: str) -> None:
    comment = f"<!--{re.sub('-', '', text)}{'x' * shift}-->"
    mappings = [mapping(number, *[VERSION.format("é" * 40)] * versions) for number in range(600)]
    update = read_update(message(comment, *mappings))
    assert update == tuple(
        RequestedMapping(1, number, (RequestedVersion(AUGUST, None, "é" * 40),) * versions) for number in range(600)
    )


def test_faults_past_the_cap_are_counted() -> None:
    for body in (
        message(*(mapping(number, VERSION.format("")) for number in range(3_000))),
        message(mapping(7, *[VERSION.format("")] * 3_000)),
    ):
        lines = refused(body)
        assert len(lines) == 101
        assert lines[-1] == "and 2900 more"


def test_lines_are_right_beyond_65535() -> None:
    mappings = [mapping(number, *[VERSION.format("A")] * 10) for number in range(6_000)]
    wrong = [
        VERSION.format(""),
        VERSION.format("B").replace("<version/>", ""),
        "<contract_subaccount_mapping_version/>",
    ]
    body = message(*mappings, "\n" * 5, mapping(7, *wrong))
    first = body[: body.index(b"<subaccount_id></subaccount_id>")].count(b"\n") + 1
    assert first > 65_535
    lines = refused(body)
    assert re.findall(r" line (\d+)", "\n".join(lines)) == [str(first), str(first + 1), str(first + 2)]


def test_query_info_is_out_of_place_wherever_a_piece_begins() -> None:
    info = "<query_info><total_record_count>1</total_record_count></query_info>"
    lines = refused(message(*(mapping(number) + info for number in range(1_000))))
    assert "query_info: is not expected here; expected: contract_subaccount_mapping (3.2.4)" in lines[0]


def test_what_follows_a_wrong_element_of_a_huge_message_is_not_judged() -> None:
    lines = refused(message("<a/>", *(mapping(number, VERSION.format("")) for number in range(4_000))))
    assert lines == [
        "line 2, a: is not expected here; expected: query_info, contract_subaccount_mapping (3.2.4)",
        "The message was read as far as byte 262144; what follows was not judged.",
    ]


def test_a_large_message_that_ends_too_soon_is_not_well_formed() -> None:
    body = message(*(mapping(number, VERSION.format("")) for number in range(2_000)))
    (line,) = refused(body[:-40])
    assert "is not well-formed XML at line" in line


def test_several_threads_read_at_once() -> None:
    bodies = [message(mapping(number, *[VERSION.format("A" if number % 2 else "")] * 200)) for number in range(40)]

    def outcome(body: bytes) -> int | str:
        try:
            return read_update(body)[0].contract_id
        except Refusal as refusal:
            return refusal.text.partition(",")[0]

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(outcome, bodies))
    assert outcomes == [number if number % 2 else f"contract {number}" for number in range(40)]
