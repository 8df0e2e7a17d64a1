"""
The service's answers, read again; and the message of an update, written as a client does.

Clauses 3.1.6, 3.2.7, 3.2.8, 3.3.6. Reading 31.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibt.messages import (
    NotTheAnswer,
    read_mapping,
    read_mappings,
    read_subaccounts,
    read_update,
    write_mapping,
    write_mappings,
    write_subaccounts,
    write_update,
)
from ibt.rules.model import (
    Contract,
    MappingVersion,
    RequestedMapping,
    RequestedVersion,
    Subaccount,
    SubaccountMapping,
    SubaccountVersion,
)

if TYPE_CHECKING:
    from collections.abc import Callable

texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff"), max_size=9
)
ids = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff"), min_size=1)
numbers = st.integers(0, 999_999_999)
times = st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
subaccount_versions = st.builds(SubaccountVersion, times, st.none() | times, texts, texts)
subaccounts = st.builds(Subaccount, ids, st.lists(subaccount_versions, max_size=3).map(tuple))
versions = st.builds(MappingVersion, times, times, times, ids.map(lambda text: text[:100]))
contracts = st.builds(Contract, numbers, texts, texts, texts, times, times, texts)
mappings = st.builds(SubaccountMapping, numbers, contracts, st.lists(versions, max_size=3).map(tuple))


@given(st.lists(subaccounts, max_size=3))
def test_subaccounts_come_back_as_they_were_written(written: list[Subaccount]) -> None:
    assert read_subaccounts(write_subaccounts(written)) == written


@given(st.lists(mappings, max_size=3), st.none() | st.integers(0, 10**9))
def test_mappings_come_back_as_they_were_written(written: list[SubaccountMapping], total: int | None) -> None:
    assert read_mappings(write_mappings(written, total)) == (total, written)


@given(mappings)
def test_a_mapping_comes_back_as_it_was_written(written: SubaccountMapping) -> None:
    assert read_mapping(write_mapping(written)) == written


PIECES = (
    *("<!-- -->", "<![CDATA[x]]>", "<?x y?>", "&#65;", "&amp;", "&amp", "&nbsp;", "&", "]]>", ">", "<", "</", '"'),
    *(" ", "\n", "\r", "\r\n", "\t", "\u00a0", "\x0b", "\x00", "\x7f", "\x85", "\ufeff", "\ufffe", "ä", "1"),
    *("<end/>", "<x/>", "<version>", "</version>", "<version/>", ' a="b"', "p:", "contract_subaccount_mapping"),
    *("<contract_subaccount_mapping>", "</contract_subaccount_mapping>", "</contract_subaccount_mappings>"),
    *("<contract_subaccount_mapping_version>", "</contract_subaccount_mapping_version>"),
)

changes = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from(["", *PIECES])), max_size=3)


@settings(max_examples=500)
@given(st.lists(mappings, max_size=3), st.none() | numbers, changes, st.booleans())
def test_a_plain_page_is_read_as_the_parser_reads_it(
    written: list[SubaccountMapping], total: int | None, changes: list[tuple[int, int, str]], declared: bool
) -> None:
    page = write_mappings(written, total).decode()
    page = page if declared else page.partition("\n")[2]
    for position, cut, piece in changes:
        where = position % (len(page) + 1)
        page = page[:where] + piece + page[where + cut * (piece == "") :]
    body = page.encode()
    assert outcome(body) == outcome(body + b"<!-- what has a comment is left to the parser -->")


def outcome(body: bytes) -> object:
    try:
        return read_mappings(body)
    except NotTheAnswer as wrong:
        return str(wrong)


def test_a_page_repeats_its_versions_and_they_are_read_once() -> None:
    time = datetime(2015, 8, 1, 4, tzinfo=UTC)
    version = MappingVersion(time, time, time, "A & B")
    contract = read_mapping(MAPPING.encode()).contract
    page = write_mappings([SubaccountMapping(1, contract, (version,)), SubaccountMapping(2, contract, (version,))], 2)
    (one, other) = read_mappings(page)[1]
    assert one.versions == (version,)
    assert one.versions[0] is other.versions[0]


requested_versions = st.builds(RequestedVersion, times, st.none() | times, ids.map(lambda text: text[:100]))
requested = st.builds(RequestedMapping, numbers, numbers, st.lists(requested_versions, max_size=3).map(tuple))


@given(st.lists(requested, max_size=3))
def test_an_update_is_read_as_it_was_written(wanted: list[RequestedMapping]) -> None:
    assert read_update(write_update(wanted)) == tuple(wanted)


@given(st.lists(mappings, max_size=3))
def test_an_update_may_repeat_what_a_get_has_answered(given: list[SubaccountMapping]) -> None:
    wanted = [
        RequestedMapping(
            mapping.customer_id,
            mapping.contract.contract_id,
            tuple(RequestedVersion(each.begin, each.end, each.subaccount_id) for each in mapping.versions),
        )
        for mapping in given
    ]
    assert read_update(write_update(given)) == tuple(wanted)
    assert write_update(given) == write_mappings(given)


@pytest.mark.parametrize("character", ["\0", "\x08", "\x1f", "\ud800", "\ufffe", "\uffff"])
def test_an_update_with_a_character_that_xml_has_not_is_not_written(character: str) -> None:
    version = RequestedVersion(datetime(2015, 8, 1, 4, tzinfo=UTC), None, f"a{character}")
    with pytest.raises(ValueError, match="has a character that XML has not"):
        write_update([RequestedMapping(1, 2, (version,))])


MAPPING = write_mapping(
    SubaccountMapping(
        1,
        Contract(2, "m", "b", "s", datetime(2015, 8, 1, 4, tzinfo=UTC), datetime(2015, 9, 1, 4, tzinfo=UTC), "Conf"),
        (),
    )
).decode()


def test_what_is_not_known_is_passed_over() -> None:
    more = MAPPING.replace("<status>", "<!-- new --><colour>red</colour><status>").encode()
    assert read_mapping(more) == read_mapping(MAPPING.encode())


NO_ANSWERS: list[tuple[str, Callable[[bytes], object], str, str]] = [
    ("nothing", read_mapping, "", "it is not XML"),
    ("another root", read_subaccounts, MAPPING, "contract_subaccount_mapping"),
    ("another namespace", read_mapping, MAPPING.replace("xmlns.iso-ne.com", "example.com"), "in the namespace"),
    ("an element missing", read_mapping, MAPPING.replace("status", "state"), "it lacks the element status"),
    ("another time", read_mapping, MAPPING.replace("04:00:00Z", "00:00:00-04:00"), "is not a time such as"),
    ("no number", read_mapping, MAPPING.replace(">2<", ">two<"), '"two" in it is not a number'),
    ("an entity", read_mapping, f'<!DOCTYPE a [<!ENTITY e "1">]>{MAPPING[55:]}'.replace(">1<", ">&e;<"), "not"),
]


@pytest.mark.parametrize(("read", "text", "told"), [pytest.param(*rest, id=name) for name, *rest in NO_ANSWERS])
def test_what_is_not_the_answer_is_told_in_one_sentence(
    read: Callable[[bytes], object], text: str, told: str
) -> None:
    with pytest.raises(NotTheAnswer, match=told):
        read(text.encode())
