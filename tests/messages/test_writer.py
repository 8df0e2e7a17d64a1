"""The answers: byte for byte the specification's samples, valid by the schema, and any text comes back."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ibt.messages import NAMESPACE, SCHEMA, write_mapping, write_mappings, write_subaccounts
from ibt.rules.model import Contract, MappingVersion, Subaccount, SubaccountMapping, SubaccountVersion

SAMPLES = resources.files("ibt.conformance") / "samples"
SCHEMA_VALIDATES = etree.XMLSchema(etree.fromstring(SCHEMA)).validate

AUGUST, SEPTEMBER, OCTOBER = (datetime(2015, month, 1, 4, tzinfo=UTC) for month in (8, 9, 10))
BORN = datetime(2015, 7, 2, 6, tzinfo=UTC)
UPDATED = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
QRS = Contract(999998, "FCM Load", "XYZ Inc", "QRS Ltd", AUGUST, OCTOBER, "Conf")
TUV = Contract(999999, "FCM Load", "XYZ Inc", "TUV LLC", AUGUST, OCTOBER, "Conf")
QRS_AUGUST = MappingVersion(AUGUST, SEPTEMBER, datetime(2015, 7, 1, 4, tzinfo=UTC), "Default")
TUV_AUGUST = MappingVersion(AUGUST, SEPTEMBER, BORN, "Default")
TUV_UPDATED = MappingVersion(AUGUST, SEPTEMBER, UPDATED, "ABC1")
TUV_SEPTEMBER = MappingVersion(SEPTEMBER, OCTOBER, BORN, "Default")
SINCE = datetime(2013, 5, 1, 4, tzinfo=UTC)

#: Any text that XML can carry.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r&<>\"']")
)


def mapping(contract: Contract, *versions: MappingVersion) -> SubaccountMapping:
    return SubaccountMapping(1, contract, versions)


WRITTEN = {
    "3.1.6": write_subaccounts(
        [
            Subaccount("ABC1", (SubaccountVersion(SINCE, None, "ABC1 activity", "Active"),)),
            Subaccount("Default", (SubaccountVersion(SINCE, None, "Default", "Active"),)),
        ]
    ),
    "3.2.7": write_mappings([mapping(QRS, QRS_AUGUST), mapping(TUV, TUV_AUGUST)], 2),
    "3.2.9": write_mappings([mapping(QRS, QRS_AUGUST), mapping(TUV, TUV_UPDATED)]),
    "3.3.6": write_mapping(mapping(TUV, TUV_AUGUST, TUV_UPDATED, TUV_SEPTEMBER)),
}

VALID = WRITTEN | {
    "no subaccount": write_subaccounts([]),
    "no mapping matches": write_mappings([], 0),
    "no mapping was sent": write_mappings([]),
    "a contract with an empty period": write_mapping(mapping(TUV)),
    "a closed subaccount": write_subaccounts([Subaccount("A", (SubaccountVersion(SINCE, AUGUST, "", ""),))]),
}


@pytest.mark.parametrize("sample", WRITTEN)
def test_a_sample_comes_out_byte_for_byte(sample: str) -> None:
    assert WRITTEN[sample].rstrip(b"\n") == (SAMPLES / f"{sample}.xml").read_bytes().rstrip(b"\n")


@pytest.mark.parametrize("name", VALID)
def test_every_answer_is_valid_and_ends_with_one_newline(name: str) -> None:
    assert SCHEMA_VALIDATES(etree.fromstring(VALID[name]))
    assert VALID[name].endswith(b">\n")


def test_an_answer_without_mappings_is_two_lines_after_the_declaration() -> None:
    assert write_mappings([]).decode().splitlines()[1:] == [
        f'<contract_subaccount_mappings xmlns="{NAMESPACE}">',
        "</contract_subaccount_mappings>",
    ]


def test_the_end_of_a_subaccount_is_written_where_its_period_is_closed() -> None:
    assert b"<end>2015-08-01T04:00:00Z</end>" in VALID["a closed subaccount"]
    assert b"<end>" not in WRITTEN["3.1.6"]


@given(TEXTS)
def test_a_parser_gives_back_the_text_that_was_written(text: str) -> None:
    contract = Contract(7, text, text, text, AUGUST, OCTOBER, text)
    version = MappingVersion(AUGUST, SEPTEMBER, BORN, text)
    read = etree.fromstring(write_mapping(SubaccountMapping(1, contract, (version,))))
    written = [read.findtext(f"{{*}}{name}") for name in ("market_name", "buyer_name", "seller_name", "status")]
    assert [*written, read.findtext(".//{*}subaccount_id")] == [text] * 5
    read = etree.fromstring(write_subaccounts([Subaccount(text, (SubaccountVersion(SINCE, None, text, text),))]))
    written = [read.findtext(f".//{{*}}{name}") for name in ("subaccount_id", "subaccount_name", "subaccount_status")]
    assert written == [text] * 3
