"""What head and target of a request say. Readings 1, 4, 5, 15, 57, 60; RFC 9110, RFC 7240."""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibt.rules.faults import Refusal
from ibt.service.negotiation import (
    ANY,
    VENDOR,
    VENDOR_TYPE,
    XML_TYPE,
    entity_tags,
    gzip_wanted,
    match_revision,
    media_type,
    none_match,
    parameters,
    path_segments,
    refuse_other_content,
    strict,
)

if TYPE_CHECKING:
    from collections.abc import Callable

XML = "application/xml"

ACCEPTED = {
    "no Accept": ([], VENDOR_TYPE),
    "an empty one": ([""], VENDOR_TYPE),
    "only commas": ([" , ,"], VENDOR_TYPE),
    "anything": (["*/*"], VENDOR_TYPE),
    "any application": (["application/*"], VENDOR_TYPE),
    "the vendor type": ([VENDOR], VENDOR_TYPE),
    "the vendor type as 2.2 writes it": ([VENDOR_TYPE], VENDOR_TYPE),
    "application/xml": ([XML], XML_TYPE),
    "application/xml with charset": ([XML_TYPE], XML_TYPE),
    "in capitals": (["APPLICATION/XML"], XML_TYPE),
    "charset in lower case": (["application/xml;charset=utf-8"], XML_TYPE),
    "charset's name in capitals": (["application/xml;CHARSET=utf-8"], XML_TYPE),
    "charset quoted": (['application/xml; charset="UTF-8"'], XML_TYPE),
    "charset quoted with an escape": (['application/xml; charset="UTF\\-8"'], XML_TYPE),
    "charset twice, the same": (["application/xml;charset=utf-8;charset=UTF-8"], XML_TYPE),
    "a semicolon at the end": (["application/xml;"], XML_TYPE),
    "empty parameters": (["application/xml; ;;charset=utf-8"], XML_TYPE),
    "blanks and tabs around": (["\t application/xml \t;\tcharset=utf-8 ; q=1 "], XML_TYPE),
    "both alike": ([f"{XML}, {VENDOR}"], VENDOR_TYPE),
    "both alike, in two fields": ([XML, VENDOR], VENDOR_TYPE),
    "two fields": (["text/html", XML], XML_TYPE),
    "an empty field beside": (["", XML], XML_TYPE),
    "XML preferred": ([f"{VENDOR};q=0.5, {XML}"], XML_TYPE),
    "XML preferred by a thousandth": ([f"{VENDOR};q=0.998, {XML};q=0.999"], XML_TYPE),
    "alike with weights": ([f"{XML};q=0.5, {VENDOR};q=0.500"], VENDOR_TYPE),
    "Q in capitals": ([f"{VENDOR};Q=0.5, {XML}"], XML_TYPE),
    "q before the charset": ([f"{VENDOR};q=0.5;charset=utf-8, {XML}"], XML_TYPE),
    "the type beats its subtype's star": ([f"application/*;q=0.9, {VENDOR};q=0.1"], XML_TYPE),
    "the star of a subtype beats any": (["*/*, application/*;q=0.3"], VENDOR_TYPE),
    "order is nothing": ([f"{VENDOR};q=0.1, */*;q=0.5"], XML_TYPE),
    "charset is more specific": ([f"{VENDOR};charset=utf-8;q=0.2, {VENDOR};q=1, {XML};q=0.5"], XML_TYPE),
    "charset is more specific, refused": ([f"{VENDOR};charset=utf-8;q=0, {VENDOR}, {XML};q=0.1"], XML_TYPE),
    "another charset does not count": ([f"{VENDOR};charset=latin1;q=0, {VENDOR}"], VENDOR_TYPE),
    "q=0 takes one away": ([f"{VENDOR};q=0, */*"], XML_TYPE),
    "q=0.000 takes one away": ([f"*/*, {VENDOR};q=0.000"], XML_TYPE),
    "q=0 for XML": ([f"{XML};q=0, */*;q=0.001"], VENDOR_TYPE),
    "q=0 for applications": ([f"application/*;q=0, {XML};q=0.1"], XML_TYPE),
    "q of a point and no digit": ([f"{VENDOR};q=0., {XML};q=1."], XML_TYPE),
    "the same range twice": ([f"{XML};q=0.1, {VENDOR};q=0.5, {XML};q=0.9"], XML_TYPE),
    "a browser": (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], XML_TYPE),
    "comma inside quotes": ([f'text/plain;x="a, {VENDOR}", {XML}'], XML_TYPE),
    "quote inside quotes": ([f'text/plain;x="a\\", {VENDOR}", {XML}'], XML_TYPE),
    "malformed: no slash": (["xml"], VENDOR_TYPE),
    "malformed: a star": (["*"], VENDOR_TYPE),
    "malformed: no subtype": (["application/"], VENDOR_TYPE),
    "malformed: blank at the slash": (["text / html"], VENDOR_TYPE),
    "malformed: weight above 1": (["application/xml;q=1.1"], VENDOR_TYPE),
    "malformed: weight of four digits": (["application/xml;q=0.1234"], VENDOR_TYPE),
    "malformed: weight without its 0": (["application/xml;q=.5"], VENDOR_TYPE),
    "malformed: negative weight": (["application/xml;q=-1"], VENDOR_TYPE),
    "malformed: weight is a word": (["application/xml;q=high"], VENDOR_TYPE),
    "malformed: weight is empty": (["application/xml;q="], VENDOR_TYPE),
    "malformed: weight quoted": (['application/xml;q="0.5"'], VENDOR_TYPE),
    "malformed: weight twice": (["application/xml;q=1;q=0"], VENDOR_TYPE),
    "malformed: weight without a value": (["application/xml;q"], VENDOR_TYPE),
    "malformed: blank at the equals sign": (["application/xml;q = 1"], VENDOR_TYPE),
    "malformed: two types in one": (["text/html text/plain"], VENDOR_TYPE),
    "malformed: quotation without end": ([f'text/plain;x="a, {XML}'], VENDOR_TYPE),
    "malformed: backslash at the end": (['text/plain;x="a\\'], VENDOR_TYPE),
    "malformed among others": ([f";;, {XML}, a b, =, "], XML_TYPE),
    "malformed, then refused otherwise": ([f"xml, {VENDOR};q=0, */*;q=0.1"], XML_TYPE),
}


@pytest.mark.parametrize(("accept", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_the_answer_has_the_type_that_is_preferred(accept: list[str], expected: str) -> None:
    assert media_type(accept) == expected


NOT_ACCEPTABLE = {
    "another type": ["text/html"],
    "another application": ["application/json"],
    "another version": ["application/vnd.iso-ne.contract.customers.v2+xml"],
    "text/xml": ["text/xml"],
    "text/*": ["text/*"],
    "a star for the type alone": ["*/xml"],
    "another charset": ["application/xml;charset=iso-8859-1"],
    "two charsets": ["application/xml;charset=utf-8;charset=latin1"],
    "a parameter that we do not have": [f"{VENDOR};version=1"],
    "a charset in single quotes": ["application/xml;charset='utf-8'"],
    "nothing": ["*/*;q=0"],
    "both refused": [f"{VENDOR};q=0, {XML};q=0, */*"],
    "both refused by the application": ["application/*;q=0.0, */*;q=1"],
    "malformed and another": ["xml, text/html"],
}


@pytest.mark.parametrize("accept", NOT_ACCEPTABLE.values(), ids=NOT_ACCEPTABLE)
def test_where_nothing_fits_406_names_both_types(accept: list[str]) -> None:
    with pytest.raises(Refusal) as caught:
        media_type(accept)
    assert caught.value.status == 406
    assert VENDOR_TYPE in caught.value.text
    assert XML_TYPE in caught.value.text
    assert "\n" not in caught.value.text


CONTENT = {
    "as 2 writes it": ([VENDOR_TYPE], []),
    "without a charset": ([VENDOR], []),
    "in capitals": ([VENDOR.upper() + "; CHARSET=utf-8"], []),
    "charset quoted": ([f'{VENDOR};charset="Utf-8"'], []),
    "blanks": ([f" {VENDOR} ; charset=UTF-8 "], []),
    "a semicolon at the end": ([f"{VENDOR};"], []),
    "other parameters": ([f'{VENDOR};version=1;charset=UTF-8;x="a;charset=latin1"'], []),
    "identity": ([VENDOR], ["identity"]),
    "identity in capitals, twice": ([VENDOR], ["Identity, IDENTITY"]),
    "an empty coding": ([VENDOR], ["", " , "]),
}


@pytest.mark.parametrize(("content_type", "content_encoding"), CONTENT.values(), ids=CONTENT)
def test_the_service_s_own_type_in_utf_8_is_accepted(content_type: list[str], content_encoding: list[str]) -> None:
    refuse_other_content(content_type, content_encoding)


OTHER_CONTENT = {
    "none": ([], [], "is missing"),
    "an empty one": ([""], [], "is missing"),
    "two, the same": ([VENDOR_TYPE, VENDOR_TYPE], [], "is given more than once"),
    "two, different": ([VENDOR_TYPE, XML_TYPE], [], "is given more than once"),
    "two in one": ([f"{VENDOR}, {VENDOR}"], [], "is not the type"),
    "application/xml": ([XML], [], "is not the type"),
    "application/xml, charset": ([XML_TYPE], [], "is not the type"),
    "text/xml": (["text/xml"], [], "is not the type"),
    "a form": (["application/x-www-form-urlencoded"], [], "is not the type"),
    "a range": (["*/*"], [], "is not the type"),
    "another version": (["application/vnd.iso-ne.contract.customers.v2+xml"], [], "is not the type"),
    "more behind": ([f"{VENDOR} x"], [], "is not the type"),
    "more in the name": ([f"{VENDOR}x"], [], "is not the type"),
    "a malformed parameter": ([f"{VENDOR};charset"], [], "is not the type"),
    "blank at the equals sign": ([f"{VENDOR};charset = utf-8"], [], "is not the type"),
    "a quotation without end": ([f'{VENDOR};charset="utf-8'], [], "is not the type"),
    "no words": ([";"], [], "is not the type"),
    "another charset": ([f"{VENDOR};charset=iso-8859-1"], [], "charset UTF-8"),
    "another charset quoted": ([f'{VENDOR};charset="UTF-16"'], [], "charset UTF-8"),
    "utf8": ([f"{VENDOR};charset=utf8"], [], "charset UTF-8"),
    "an empty charset": ([f'{VENDOR};charset=""'], [], "charset UTF-8"),
    "a charset in single quotes": ([f"{VENDOR};charset='utf-8'"], [], "charset UTF-8"),
    "charset twice": ([f"{VENDOR};charset=UTF-8;charset=UTF-8"], [], "charset UTF-8"),
    "charset twice, different case": ([f"{VENDOR};charset=UTF-8;Charset=utf-8"], [], "charset UTF-8"),
    "gzip": ([VENDOR], ["gzip"], "is not supported"),
    "identity and gzip": ([VENDOR], ["identity", "gzip"], "is not supported"),
    "an unknown coding": ([VENDOR], ["x"], "is not supported"),
}


@pytest.mark.parametrize(("content_type", "content_encoding", "says"), OTHER_CONTENT.values(), ids=OTHER_CONTENT)
def test_other_content_is_415_and_one_sentence(
    content_type: list[str], content_encoding: list[str], says: str
) -> None:
    with pytest.raises(Refusal) as caught:
        refuse_other_content(content_type, content_encoding)
    assert caught.value.status == 415
    assert says in caught.value.text
    assert "\n" not in caught.value.text


def test_415_says_in_its_headers_what_would_be_accepted() -> None:
    with pytest.raises(Refusal) as by_type:
        refuse_other_content([XML], [])
    with pytest.raises(Refusal) as by_coding:
        refuse_other_content([VENDOR], ["gzip"])
    assert by_type.value.headers == {"Accept": VENDOR_TYPE}
    assert by_coding.value.headers == {"Accept-Encoding": "identity"}


PREFER = {
    "nothing": ([], False),
    "strict": (["handling=strict"], True),
    "lenient": (["handling=lenient"], False),
    "in capitals": (["Handling=STRICT"], True),
    "quoted": (['handling="strict"'], True),
    "blanks at the equals sign": (["handling = strict"], True),
    "with a parameter": (["handling=strict; x=1"], True),
    "with a bare parameter": (["handling=strict;x"], True),
    "among others": (["respond-async, wait=10, handling=strict"], True),
    "in another field": (["return=minimal", "handling=strict"], True),
    "the first wins": (["handling=lenient, handling=strict"], False),
    "the first wins over fields": (["handling=strict", "handling=lenient"], True),
    "another value": (["handling=strictly"], False),
    "no value": (["handling"], False),
    "the value alone": (["strict"], False),
    "another name": (["x-handling=strict"], False),
    "as a parameter": (["x; handling=strict"], False),
    "inside quotes": (['x="a, handling=strict"'], False),
    "malformed before it": (["=, handling=, handling=strict"], True),
    "malformed": (["handling=strict strict"], False),
}


@pytest.mark.parametrize(("prefer", "expected"), PREFER.values(), ids=PREFER)
def test_strict_handling_is_a_preference(prefer: list[str], expected: bool) -> None:
    assert strict(prefer) is expected


ENCODINGS = {
    "nothing": ([], False),
    "an empty one": ([""], False),
    "gzip": (["gzip"], True),
    "in capitals": (["GZIP"], True),
    "its old name": (["x-gzip"], True),
    "a browser": (["gzip, deflate, br, zstd"], True),
    "in another field": (["br", "gzip"], True),
    "others only": (["deflate, br"], False),
    "identity only": (["identity"], False),
    "anything": (["*"], True),
    "anything, weighted": (["*;q=0.1"], True),
    "nothing at all": (["*;q=0"], False),
    "refused": (["gzip;q=0"], False),
    "refused, anything else": (["gzip;q=0, *"], False),
    "refused with digits": (["gzip;q=0.000"], False),
    "little": (["gzip;q=0.001"], True),
    "alike": (["gzip, identity"], True),
    "alike with weights": (["identity;q=0.5, gzip;q=0.5"], True),
    "less than identity": (["gzip;q=0.5, identity;q=0.8"], False),
    "more than identity": (["gzip;q=0.8, identity;q=0.5"], True),
    "identity refused": (["identity;q=0, gzip;q=0.1"], True),
    "both refused": (["identity;q=0, gzip;q=0"], False),
    "less than anything, so than identity": (["gzip;q=0.5, *;q=0.8"], False),
    "anything, but identity more": (["*;q=0.5, identity"], False),
    "blanks": (["\tgzip ; q=0.5 "], True),
    "malformed weight": (["gzip;q=2"], False),
    "malformed element beside": (["a b, gzip"], True),
    "another parameter": (["gzip;x=1"], False),
    "a media type": (["gzip/x"], False),
}


@pytest.mark.parametrize(("accept_encoding", "expected"), ENCODINGS.values(), ids=ENCODINGS)
def test_gzip_is_sent_where_it_is_asked_for(accept_encoding: list[str], expected: bool) -> None:
    assert gzip_wanted(accept_encoding) is expected


TAGS = {
    "nothing": ([], ()),
    "an empty one": ([""], ()),
    "one": (['"a"'], ('"a"',)),
    "weak": (['W/"a"'], ('"a"',)),
    "an empty tag": (['""'], ('""',)),
    "a list": (['"a", W/"b" ,"c"'], ('"a"', '"b"', '"c"')),
    "two fields": (['"a"', '"b"'], ('"a"', '"b"')),
    "a comma inside": (['"a,b", "c"'], ('"a,b"', '"c"')),
    "a backslash escapes nothing": (['"a\\", "b"'], ('"a\\"', '"b"')),
    "latin-1": (['"\xe9"'], ('"\xe9"',)),
    "any": (["*"], ANY),
    "any, blanks around": ([" * "], ANY),
    "any and a tag": (['*, "a"'], ('"a"',)),
    "a star in quotes": (['"*"'], ('"*"',)),
    "no quotes": (["a"], ()),
    "a small w": (['w/"a"'], ()),
    "a blank inside": (['"a b"'], ()),
    "no end": (['"a'], ()),
    "no beginning": (['a"'], ()),
    "no comma": (['"a" "b"'], ()),
    "malformed among others": (['a, "b", "c'], ('"b"',)),
}


@pytest.mark.parametrize(("values", "tags"), TAGS.values(), ids=TAGS)
def test_entity_tags_are_read_and_what_is_malformed_is_passed_over(values: list[str], tags: tuple[str, ...]) -> None:
    assert entity_tags(values) == tags


NONE_MATCH = {
    "nothing": ([], False),
    "an empty one": ([""], False),
    "the same": (['"1f.v"'], True),
    "the same, weak": (['W/"1f.v"'], True),
    "in a list": (['"x", "1f.v"'], True),
    "in another field": (['"x"', '"1f.v"'], True),
    "any": (["*"], True),
    "another representation": (['"1f.x"'], False),
    "another revision": (['"2f.v"'], False),
    "the revision alone": (['"1f"'], False),
    "without quotes": (["1f.v"], False),
    "in other case": (['"1F.v"'], False),
    "a star in quotes": (['"*"'], False),
}


@pytest.mark.parametrize(("if_none_match", "expected"), NONE_MATCH.values(), ids=NONE_MATCH)
@pytest.mark.parametrize("etag", ['"1f.v"', 'W/"1f.v"'])
def test_if_none_match_compares_weakly(if_none_match: list[str], expected: bool, etag: str) -> None:
    assert none_match(if_none_match, etag) is expected


MATCH = {
    "nothing": ([], True),
    "any": (["*"], True),
    "the same": (['"1f.v"'], True),
    "another representation": (['"1f.x-gzip"'], True),
    "a suffix with dots": (['"1f.x.y"'], True),
    "the revision alone": (['"1f"'], True),
    "weak": (['W/"1f.v"'], True),
    "in a list": (['"2f.v", "1f.v"'], True),
    "in another field": (['"2f.v"', '"1f.v"'], True),
    "malformed beside": (['x, "1f.v"'], True),
    "another revision": (['"2f.v"'], False),
    "the revision's beginning": (['"1.v"'], False),
    "more than the revision": (['"1ff.v"'], False),
    "in other case": (['"1F.v"'], False),
    "the revision as suffix": (['"x.1f"'], False),
    "an empty tag": (['""'], False),
    "an empty one": ([""], False),
    "malformed": (["1f.v"], False),
    "a star in quotes": (['"*"'], False),
}


@pytest.mark.parametrize(("if_match", "expected"), MATCH.values(), ids=MATCH)
def test_if_match_compares_the_revision_alone(if_match: list[str], expected: bool) -> None:
    assert match_revision(if_match, "1f") is expected


QUERY_STRINGS = {
    "nothing": (b"", []),
    "the sample of 3.2.6": (
        b"start_date=08%2F01%2F2015&start=0&limit=25",
        [("start_date", "08/01/2015"), ("start", "0"), ("limit", "25")],
    ),
    "order and repetition": (b"b=1&a=2&b=3", [("b", "1"), ("a", "2"), ("b", "3")]),
    "no equals sign": (b"a", [("a", "")]),
    "an empty value": (b"a=", [("a", "")]),
    "an empty name": (b"=a", [("", "a")]),
    "an equals sign alone": (b"=", [("", "")]),
    "empty elements": (b"&&a=1&&b=2&", [("a", "1"), ("b", "2")]),
    "equals signs in the value": (b"a=b=c==", [("a", "b=c==")]),
    "a plus": (b"category=ENERGY+DAY%20AHEAD", [("category", "ENERGY DAY AHEAD")]),
    "a plus in the name": (b"a+b=c", [("a b", "c")]),
    "an encoded plus": (b"a=1%2B1", [("a", "1+1")]),
    "an encoded name": (b"%61=1", [("a", "1")]),
    "encoded separators": (b"a%3D=b%26c%3Dd", [("a=", "b&c=d")]),
    "a wildcard by hand": (b"contract_id=99%", [("contract_id", "99%")]),
    "a wildcard by hand, more behind": (b"contract_id=%9&limit=5", [("contract_id", "%9"), ("limit", "5")]),
    "a % that begins nothing": (b"a=%zz%%41%4", [("a", "%zz%A%4")]),
    "decoded once": (b"a=%2541", [("a", "%41")]),
    "small and capital digits": (b"a=%c3%A9", [("a", "é")]),
    "raw UTF-8": ("a=é".encode(), [("a", "é")]),
    "a semicolon": (b"a=1;b=2", [("a", "1;b=2")]),
    "a question mark": (b"a=1?b=2", [("a", "1?b=2")]),
    "NUL": (b"a=%00", [("a", "\0")]),
    "a byte order mark": (b"a=%EF%BB%BF1", [("a", "\ufeff1")]),
    "outside the BMP": (b"a=%F0%9D%92%B3", [("a", "𝒳")]),
}


@pytest.mark.parametrize(("query_string", "expected"), QUERY_STRINGS.values(), ids=QUERY_STRINGS)
def test_a_query_string_is_form_encoding(query_string: bytes, expected: list[tuple[str, str]]) -> None:
    assert parameters(query_string) == expected


NOT_UTF_8 = {
    "latin-1": (b"reference_id=caf%E9", ['parameter "reference_id"']),
    "raw latin-1": (b"reference_id=caf\xe9", ['parameter "reference_id"']),
    "an unknown parameter": (b"limit=5&_dc=%FF", ['parameter "_dc"']),
    "in the name": (b"caf%E9=1", ['parameter "caf\ufffd"']),
    "a surrogate": (b"a=%ED%A0%80", ['parameter "a"']),
    "two octets for one": (b"a=%C0%80", ['parameter "a"']),
    "cut short": (b"a=%C3", ['parameter "a"']),
    "every one": (b"a=%FF&b=1&c=%FF", ['parameter "a"', 'parameter "c"']),
    "a line forged": (b"a%0Ab=%FF", ['parameter "a\\nb"']),
}


@pytest.mark.parametrize(("query_string", "expected"), NOT_UTF_8.values(), ids=NOT_UTF_8)
def test_a_query_string_that_is_not_utf_8_is_refused_by_name(query_string: bytes, expected: list[str]) -> None:
    with pytest.raises(Refusal) as caught:
        parameters(query_string)
    assert caught.value.status == 400
    assert [line.split(": ")[0] for line in caught.value.text.split("\n")] == expected


PATHS = {
    "segments": (b"/sms_oper_contract/api", ("sms_oper_contract", "api")),
    "the root": (b"/", ("",)),
    "a slash at the end": (b"/a/", ("a", "")),
    "two slashes": (b"//a", ("", "a")),
    "an encoded letter": (b"/%61pi", ("api",)),
    "an encoded slash separates nothing": (b"/a%2Fb/c", ("a/b", "c")),
    "decoded once": (b"/%2561", ("%61",)),
    "dot segments stay": (b"/a/../b/./%2e%2E", ("a", "..", "b", ".", "..")),
    "a plus stays": (b"/a+b", ("a+b",)),
    "UTF-8": (b"/%C3%A9", ("é",)),
    "NUL": (b"/%00", ("\0",)),
    "a semicolon": (b"/a;b=c", ("a;b=c",)),
    "not UTF-8": (b"/%E9", None),
    "raw and not UTF-8": (b"/\xe9", None),
    "a character over two segments": (b"/%C3/%A9", None),
    "a % and nothing": (b"/a%", None),
    "a % and one digit": (b"/a%4/b", None),
    "a % and no digits": (b"/a%zz", None),
    "a % over two segments": (b"/a%4/1", None),
    "no slash": (b"a", None),
    "a star": (b"*", None),
    "nothing": (b"", None),
}


@pytest.mark.parametrize(("raw_path", "segments"), PATHS.values(), ids=PATHS)
def test_a_path_is_split_and_then_decoded(raw_path: bytes, segments: tuple[str, ...] | None) -> None:
    assert path_segments(raw_path) == segments


HEADERS: dict[str, Callable[[list[str]], object]] = {
    "Accept": media_type,
    "Content-Type": lambda values: refuse_other_content(values, []),
    "Content-Encoding": lambda values: refuse_other_content([VENDOR], values),
    "Prefer": strict,
    "Accept-Encoding": gzip_wanted,
    "If-None-Match": lambda values: none_match(values, '"1f.v"'),
    "If-Match": lambda values: match_revision(values, "1f"),
}


def refusal_text(read: Callable[[list[str]], object], values: list[str]) -> str:
    """With what *read* refuses *values*; empty where it does not."""
    try:
        read(values)
    except Refusal as refusal:
        return refusal.text
    return ""


WORDS = [
    "application/xml",
    "*/*",
    "q",
    "=",
    ";",
    ",",
    '"',
    "\\",
    "W/",
    "*",
    " ",
    "\t",
    "0.5",
    "handling",
    "gzip",
    "é",
]


@pytest.mark.parametrize("read", HEADERS.values(), ids=HEADERS)
@given(values=st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map("".join), max_size=3))
def test_any_header_gives_a_value_or_a_refusal_of_one_line(
    read: Callable[[list[str]], object], values: list[str]
) -> None:
    assert len(refusal_text(read, values).splitlines()) <= 1


@pytest.mark.parametrize("read", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize(
    "piece", ['"', '"\\', '\\"', "; ", " ", "a", "a/b;", ";a=", ';a="', ",", "a ,", '", "', "W/"]
)
@pytest.mark.parametrize("head", ["", "a/b", "a=", '"', "handling="])
def test_a_long_malformed_header_is_read_at_once(read: Callable[[list[str]], object], piece: str, head: str) -> None:
    value = head + piece * (64 * 1024 // len(piece)) + "@"
    begun = time.perf_counter()
    assert len(refusal_text(read, [value])) < 1000
    assert time.perf_counter() - begun < 1


def test_nothing_is_kept_of_a_long_header() -> None:
    """Hundreds of them, with thousands of tags each, would take hundreds of megabytes."""
    tracemalloc.start()
    try:
        for number in range(64):
            assert len(entity_tags([f'"{number}"' + ',""' * 21_000])) == 21_001
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000
