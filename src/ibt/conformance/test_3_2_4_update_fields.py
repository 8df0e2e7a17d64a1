"""
Clause 3.2.4, the XML elements of a POST's body: order, types, times, what is tolerated.

Readings 10, 31, 32, 33, 34, 40, 51, 52.
"""

from __future__ import annotations

import codecs
import re

import httpx2
import pytest

from ibt.conformance.messages import (
    AUGUST,
    NAMESPACE,
    SEPTEMBER,
    faults,
    mapping,
    mappings,
    message,
    path,
    post,
    rows,
    update,
    version,
    versions,
)

pytestmark = pytest.mark.any_server

#: A message that changes nothing: contract 40000 is at `Default` and no test moves it.
UNCHANGED = update(40000, (AUGUST, "Default"))
EXPECTED = ["40000 2015-08 Default"]
FIELDS = [
    "customer_id",
    "contract_id",
    "market_name",
    "buyer_name",
    "seller_name",
    "contract_begin",
    "contract_end",
    "status",
    "begin",
    "version",
    "subaccount_id",
]


def changed(old: str, new: str) -> str:
    """The message that changes nothing, with *new* for *old*, which it has exactly once."""
    assert UNCHANGED.count(old) == 1, old
    return UNCHANGED.replace(old, new)


def element(name: str, text: str) -> str:
    """The message that changes nothing, with *text* in the element *name*."""
    altered, count = re.subn(f"<{name}>[^<]*</{name}>", lambda _: f"<{name}>{text}</{name}>", UNCHANGED)
    assert count == 1
    return altered


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_element_is_refused(dogwood: httpx2.Client, name: str) -> None:
    """
    "Optional: No": the repeated fields must be present too. Readings 10, 31.
    """
    body = re.sub(f"<{name}>[^<]*</{name}>", "", UNCHANGED)
    lines = faults(post(dogwood, body))
    assert name in lines[0]


@pytest.mark.parametrize("name", [*FIELDS, "end"])
def test_an_element_given_twice_is_refused(dogwood: httpx2.Client, name: str) -> None:
    """
    "400 Bad Request for requests whose message body is not valid XML data of the expected XML type" (2.1).
    Reading 10.
    """
    body = re.sub(f"(<{name}>[^<]*</{name}>)", r"\1\1", UNCHANGED)
    lines = faults(post(dogwood, body))
    assert name in lines[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("market_name", ""),
        ("market_name", "Nonsense"),
        ("buyer_name", ""),
        ("buyer_name", "An old name & Co"),
        ("seller_name", "x" * 5000),
        ("contract_begin", "1999-01-01T00:00:00Z"),
        ("contract_end", "0001-01-01T00:00:00Z"),
        ("status", ""),
        ("status", "Anything"),
        ("version", ""),
        ("version", "not a time"),
        ("version", "2999-01-01T00:00:00+05:00"),
    ],
)
def test_the_repeated_fields_have_no_effect(dogwood: httpx2.Client, name: str, text: str) -> None:
    """
    "POST should repeat this element, though it will not affect any data in the IBT application." Stale and
    empty values too; the answer has our data. Readings 30, 31.
    """
    answer = post(dogwood, element(name, text.replace("&", "&amp;")))
    assert answer.content == post(dogwood, UNCHANGED).content
    assert mappings(answer)[0].buyer_name == "Dogwood & Sons <Trading>"


GOOD_TIMES = [
    "2015-08-01T04:00:00Z",
    "2015-08-01T04:00:00.0Z",
    "2015-08-01T04:00:00.000Z",
    " \t2015-08-01T04:00:00Z\n",
]
BAD_TIMES = [
    "",
    "2015-08-01T04:00:00",
    "2015-08-01T04:00:00z",
    "2015-08-01t04:00:00Z",
    "2015-08-01T04:00:00+00:00",
    "2015-08-01T04:00:00-00:00",
    "2015-08-01T00:00:00-04:00",
    "2015-08-01 04:00:00Z",
    "2015-08-01T04:00Z",
    "2015-08-01",
    "2015-08-01T04:00:00.5Z",
    "2015-08-01T04:00:00.000001Z",
    "2015-08-01T04:00:00.Z",
    "2015-07-31T24:00:00Z",
    "2015-08-01T04:00:60Z",
    "2015-08-01T25:00:00Z",
    "2015-02-29T04:00:00Z",
    "2015-13-01T04:00:00Z",
    "2015-8-1T04:00:00Z",
    "0000-08-01T04:00:00Z",
    "-2015-08-01T04:00:00Z",
    "+2015-08-01T04:00:00Z",
    "12015-08-01T04:00:00Z",
    "\u0662\u0660\u0661\u0665-08-01T04:00:00Z",
    "now",
]


@pytest.mark.parametrize("time", GOOD_TIMES, ids=repr)
@pytest.mark.parametrize("name", ["contract_begin", "begin"])
def test_a_time_in_gmt_is_accepted(dogwood: httpx2.Client, name: str, time: str) -> None:
    """
    "xs:dateTime in GMT ('Z')": a zero fraction and blanks around it are accepted. Reading 33.
    """
    assert versions(post(dogwood, element(name, time)))[0].begin == AUGUST[0]


@pytest.mark.parametrize(
    ("name", "time"),
    [
        *(("begin", time) for time in BAD_TIMES),
        *((name, time) for name in ("end", "contract_begin", "contract_end") for time in BAD_TIMES[:7:2]),
    ],
    ids=repr,
)
def test_another_time_is_refused(dogwood: httpx2.Client, name: str, time: str) -> None:
    """
    "xs:dateTime in GMT ('Z')": no offset, no real fraction, no 24:00:00, no year outside 0001-9999. Reading 33.
    """
    (line,) = faults(post(dogwood, element(name, time)))
    assert name in line
    assert "40000" in line


@pytest.mark.parametrize("name", ["contract_begin", "contract_end"])
@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_the_first_and_the_last_year_are_times(dogwood: httpx2.Client, name: str, time: str) -> None:
    """
    "xs:dateTime in GMT ('Z')": years 0001 to 9999. Reading 33.
    """
    assert rows(post(dogwood, element(name, time))) == EXPECTED


def test_an_end_that_is_left_out_is_the_end_of_the_mapping_period(dogwood: httpx2.Client) -> None:
    """
    "Optional: Yes; end: Mapping period end date/time": the answer writes it. Readings 30, 34.
    """
    answer = post(dogwood, changed(f"<end>{AUGUST[1]}</end>", ""))
    assert [(each.begin, each.end) for each in versions(answer)] == [AUGUST]


def test_an_end_that_is_left_out_in_a_cut_month_is_the_contracts(dogwood: httpx2.Client) -> None:
    """
    "Optional: Yes; end": the end of begin's mapping period, which the contract may cut. Reading 34.
    """
    october = ("2015-10-01T04:00:00Z", "2015-10-10T04:00:00Z")
    body = update(41001, (october, "Default")).replace(f"<end>{october[1]}</end>", "")
    assert [(each.begin, each.end) for each in versions(post(dogwood, body))] == [october]


@pytest.mark.parametrize(
    "text", ["40000", "040000", "000000000000040000", "+40000", " 40000 ", "\n40000\t", "+0040000"]
)
def test_a_number_is_compared_by_value_and_answered_canonical(dogwood: httpx2.Client, text: str) -> None:
    """
    "contract_id: xs:nonNegativeInteger." Reading 52.
    """
    answer = post(dogwood, element("contract_id", text))
    assert [(found.contract_id, found.customer_id) for found in mappings(answer)] == [("40000", "1004")]


@pytest.mark.parametrize("text", ["1004", "0001004", "+1004", " 1004 "])
def test_a_customer_id_is_compared_by_value(dogwood: httpx2.Client, text: str) -> None:
    """
    "customer_id: xs:nonNegativeInteger." Reading 52.
    """
    assert rows(post(dogwood, element("customer_id", text))) == EXPECTED


@pytest.mark.parametrize(
    "text",
    ["", "-40000", "40000.0", "4e4", "forty", "0x9C40", "4 0000", "1234567890", "9" * 5000, "\uff14", "40_000"],
    ids=lambda text: repr(text[:12]),
)
@pytest.mark.parametrize("name", ["contract_id", "customer_id"])
def test_another_number_is_refused(dogwood: httpx2.Client, name: str, text: str) -> None:
    """
    "xs:nonNegativeInteger": more than 9 digits of value is 400. Reading 52.
    """
    (line,) = faults(post(dogwood, element(name, text)))
    assert name in line


@pytest.mark.parametrize("text", ["", "x" * 101, "\U0001f600" * 101])
def test_a_subaccount_id_has_1_to_100_characters(dogwood: httpx2.Client, text: str) -> None:
    """
    "subaccount_id: String ... Must be 1-100 characters" (as in the query). Reading 10.
    """
    (line,) = faults(post(dogwood, element("subaccount_id", text)))
    assert "subaccount_id" in line


# query_info


QUERY_INFO = "<query_info><total_record_count>{}</total_record_count></query_info>"
FIRST = "<contract_subaccount_mapping>"
LAST = "</contract_subaccount_mappings>"


@pytest.mark.parametrize("count", ["0", "1", "2", "999999", "+007"])
def test_query_info_is_accepted_first_and_ignored(dogwood: httpx2.Client, count: str) -> None:
    """
    "<query_info>" (3.2.7): a GET's answer can be edited and sent back. Readings 30, 32.
    """
    answer = post(dogwood, changed(FIRST, QUERY_INFO.format(count) + FIRST))
    assert rows(answer) == EXPECTED
    assert b"query_info" not in answer.content


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(changed(LAST, QUERY_INFO.format(1) + LAST), id="last"),
        pytest.param(changed(FIRST, QUERY_INFO.format(1) * 2 + FIRST), id="twice"),
        pytest.param(changed(FIRST, "<query_info/>" + FIRST), id="empty"),
        pytest.param(changed(FIRST, QUERY_INFO.format("many") + FIRST), id="not a number"),
        pytest.param(changed(FIRST, QUERY_INFO.format(-1) + FIRST), id="negative"),
        pytest.param(changed(FIRST, FIRST + QUERY_INFO.format(1)), id="inside a mapping"),
    ],
)
def test_query_info_elsewhere_or_malformed_is_refused(dogwood: httpx2.Client, body: str) -> None:
    """
    "Not valid XML data of the expected XML type" (2.1). Reading 32.
    """
    faults(post(dogwood, body))


def test_the_answer_to_a_get_can_be_edited_and_sent_back(dogwood: httpx2.Client, own_contract: int) -> None:
    """
    "To update the above collection of Contract Subaccount Mappings" (3.2.8). Readings 31, 32.
    """
    got = dogwood.get(path(1004), params={"contract_id": own_contract}).text
    answer = post(dogwood, got.replace("<subaccount_id>Default<", "<subaccount_id>D1<", 1))
    assert rows(answer) == [f"{own_contract} 2015-08 D1", f"{own_contract} 2015-09 Default"]


# What XML is tolerated


ROOT = f'<contract_subaccount_mappings xmlns="{NAMESPACE}">'
PREFIXED = re.sub(r"<(/?)(\w)", r"<\1p:\2", UNCHANGED.split("\n", 1)[1]).replace("xmlns=", "xmlns:p=")
DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
XSI = "http://www.w3.org/2001/XMLSchema-instance"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(PREFIXED, id="a prefix"),
        pytest.param(changed(ROOT, f"{ROOT}<!-- a comment -->"), id="a comment"),
        pytest.param(changed("<contract_id>40000<", "<contract_id>4<!-- -->0000<"), id="a comment in a number"),
        pytest.param(changed(">Default<", ">Def<!-- x -->ault<"), id="a comment in a text"),
        pytest.param(changed(ROOT, f"{ROOT}<?editor saved?>"), id="a processing instruction"),
        pytest.param(changed(">Default<", "><![CDATA[Default]]><"), id="CDATA"),
        pytest.param(changed(">Default<", ">&#68;ef&#x61;ult<"), id="character references"),
        pytest.param("\ufeff" + UNCHANGED, id="a byte order mark"),
        pytest.param(changed(' xmlns="', ' xmlns:unused="http://example.com/" xmlns="'), id="an unused namespace"),
        pytest.param(
            changed(' xmlns="', f' xmlns:xsi="{XSI}" xsi:schemaLocation="{NAMESPACE} x.xsd" xmlns="'),
            id="xsi:schemaLocation",
        ),
        pytest.param(changed(DECLARATION, ""), id="no declaration"),
        pytest.param(changed(DECLARATION, '<?xml version="1.0"?>'), id="no encoding"),
        pytest.param(changed("UTF-8", "utf-8"), id="encoding in lower case"),
        pytest.param(changed("UTF-8", "US-ASCII"), id="US-ASCII"),
        pytest.param(changed(' standalone="yes"', ""), id="no standalone"),
        pytest.param(changed(' standalone="yes"', ' standalone="no"'), id="standalone no"),
        pytest.param(UNCHANGED.replace("><", ">\r\n\t<"), id="other white space"),
        pytest.param(UNCHANGED + "\n<!-- the end -->\n", id="a comment at the end"),
    ],
)
def test_xml_that_says_the_same_is_accepted(dogwood: httpx2.Client, body: str) -> None:
    """
    "Valid XML data of the expected XML type" (2.1), however it is written. Reading 51.
    """
    assert rows(post(dogwood, body)) == EXPECTED


BILLION = "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;&a;'><!ENTITY c '&b;&b;&b;&b;'>]>"
OUTSIDE = "<!DOCTYPE x [<!ENTITY f SYSTEM 'file:///etc/hostname'>]>"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="nothing"),
        pytest.param("contract_id,subaccount_id\n40000,Default\n", id="CSV"),
        pytest.param('{"contract_id": 40000}', id="JSON"),
        pytest.param(UNCHANGED[:-10], id="cut short"),
        pytest.param(UNCHANGED + UNCHANGED, id="two documents"),
        pytest.param(UNCHANGED + "x", id="text at the end"),
        pytest.param(" " + UNCHANGED, id="a blank before the declaration"),
        pytest.param(changed(">Default<", ">D&efault<"), id="a bare ampersand"),
        pytest.param(changed(">Default<", ">&nbsp;<"), id="an entity that is not declared"),
        pytest.param(changed(">Default<", ">&#0;<"), id="a reference to U+0000"),
        pytest.param(changed(">Default<", ">\x01<"), id="a control character"),
        pytest.param(changed(">Default<", ">\x00<"), id="U+0000"),
        pytest.param(changed("</status>", "</state>"), id="tags that do not match"),
        pytest.param(changed(' xmlns="', ' a="1" a="2" xmlns="'), id="an attribute twice"),
        pytest.param(PREFIXED.replace("xmlns:p=", "xmlns:q="), id="a prefix without a namespace"),
        pytest.param(changed(DECLARATION, f"{DECLARATION}<!DOCTYPE x>"), id="DOCTYPE"),
        pytest.param(changed(DECLARATION, DECLARATION + BILLION).replace(">Default<", ">&c;<"), id="entities"),
        pytest.param(changed(DECLARATION, DECLARATION + OUTSIDE).replace(">Default<", ">&f;<"), id="a file"),
        pytest.param(changed("UTF-8", "ISO-8859-1"), id="another declared encoding"),
        pytest.param(changed("UTF-8", "UTF-16"), id="declared UTF-16"),
        pytest.param(changed('version="1.0"', 'version="1.1"'), id="XML 1.1"),
        pytest.param(UNCHANGED.encode("utf-16"), id="UTF-16"),
        pytest.param(codecs.BOM_UTF16_LE + UNCHANGED.encode(), id="a wrong byte order mark"),
        pytest.param(changed(">Dogwood<", ">Dögwood<").encode("latin-1"), id="not UTF-8"),
        pytest.param(changed(">Dogwood<", ">D@gwood<").encode().replace(b"@", b"\xc0\xaf"), id="overlong UTF-8"),
        pytest.param(changed(">Dogwood<", ">D@gwood<").encode().replace(b"@", b"\xed\xa0\x80"), id="a surrogate"),
        pytest.param(f"{ROOT}{'<a>' * 5000}", id="depth"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(dogwood: httpx2.Client, body: str | bytes) -> None:
    """
    "400 Bad Request for requests whose message body is not valid XML data" (2.1). Readings 10, 51.
    """
    assert len(faults(post(dogwood, body))) == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(UNCHANGED.replace(NAMESPACE, "http://xmlns.iso-ne.com/contract"), id="another namespace"),
        pytest.param(UNCHANGED.replace(f' xmlns="{NAMESPACE}"', ""), id="no namespace"),
        pytest.param(
            changed("<contract_id>40000<", '<contract_id xmlns="">40000<'), id="one element without the namespace"
        ),
        pytest.param(mapping(40000, version(AUGUST, "Default")).replace(">", f' xmlns="{NAMESPACE}">', 1), id="3.3"),
        pytest.param(f'<subaccounts xmlns="{NAMESPACE}"/>', id="the root of 3.1"),
        pytest.param(f'<query_info xmlns="{NAMESPACE}"/>', id="query_info alone"),
        pytest.param(changed(ROOT, f"{ROOT}<note/>"), id="an unknown element"),
        pytest.param(changed("<status>", "<note/><status>"), id="an unknown element in a mapping"),
        pytest.param(changed("<version>", "<note/><version>"), id="an unknown element in a version"),
        pytest.param(
            changed("<version>", "<!-- --><status>Conf</status><version>"), id="an element of another place"
        ),
        pytest.param(changed("<status>", '<status lang="en">'), id="an attribute"),
        pytest.param(changed("<status>", '<status xml:lang="en">'), id="xml:lang"),
        pytest.param(changed(FIRST, '<contract_subaccount_mapping id="1">'), id="an attribute of a mapping"),
        pytest.param(changed("<status>", f'<status xmlns:i="{XSI}" i:type="string">'), id="xsi:type"),
        pytest.param(changed("<status>", f'<status xmlns:i="{XSI}" i:nil="false">'), id="xsi:nil"),
        pytest.param(changed(FIRST, f"text{FIRST}"), id="text between elements"),
        pytest.param(changed("<status>Conf</status>", "<status><b>Conf</b></status>"), id="an element in a text"),
        pytest.param(changed("<status>", "<Status>").replace("</status>", "</Status>"), id="another case"),
        pytest.param(
            changed("<market_name>Energy DA</market_name>", "").replace(
                "<status>", "<market_name>Energy DA</market_name><status>"
            ),
            id="another order in a mapping",
        ),
        pytest.param(
            changed(f"<begin>{AUGUST[0]}</begin>", "").replace("<version>", f"<begin>{AUGUST[0]}</begin><version>"),
            id="another order in a version",
        ),
        pytest.param(
            changed("<customer_id>", f"{version(SEPTEMBER, 'D1')}<customer_id>"), id="a version before the fields"
        ),
    ],
)
def test_xml_of_another_type_is_refused(dogwood: httpx2.Client, body: str) -> None:
    """
    "Not valid XML data of the expected XML type" (2.1): the schema judges elements, order and attributes.
    Readings 10, 51.
    """
    faults(post(dogwood, body))


def test_every_fault_of_the_form_is_told(dogwood: httpx2.Client) -> None:
    """
    "400 Bad Request ..., along with a standard text/plain HTTP response body" (2.1): a line for each fault that
    schema validation finds. Reading 10.
    """
    bad = version(("yesterday", "tomorrow"), "D1")
    lines = faults(post(dogwood, message(mapping(40000, bad), mapping(40001, version(AUGUST, "D1"), bad))))
    told = [next(each for each in ('begin "yesterday"', 'end "tomorrow"') if each in line) for line in lines]
    assert told == ['begin "yesterday"', 'end "tomorrow"'] * 2


def test_the_form_is_judged_before_the_rules(dogwood: httpx2.Client) -> None:
    """
    "Not valid XML data of the expected XML type" (2.1): the rules of 3.2.5 are judged only on valid messages.
    Reading 10.
    """
    body = message(mapping(50000, version(AUGUST, "NOT MINE")), mapping(40000, version(("x", AUGUST[1]), "D1")))
    (line,) = faults(post(dogwood, body))
    assert "begin" in line
    assert "NOT MINE" not in line


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(message(), id="no mapping"),
        pytest.param(message(QUERY_INFO.format(0)), id="query_info alone"),
        pytest.param(message(mapping(40000)), id="a mapping without a version"),
        pytest.param(
            message(mapping(40000), mapping(40001, version(AUGUST, "D1"))), id="one of two without a version"
        ),
    ],
)
def test_a_message_that_asks_for_nothing_is_refused(dogwood: httpx2.Client, body: str) -> None:
    """
    "So that the current versions have the requested subaccount for each mapping period" (3.2.3). Reading 40.
    """
    assert len(faults(post(dogwood, body))) == 1
