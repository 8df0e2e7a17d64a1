"""The published schema: what it is, and that the specification's samples are valid by it."""

from __future__ import annotations

from importlib import resources

import pytest
from lxml import etree

from ibt.messages import NAMESPACE, SCHEMA

XS = "{http://www.w3.org/2001/XMLSchema}"
SAMPLES = resources.files("ibt.conformance") / "samples"
TREE = etree.fromstring(SCHEMA)


@pytest.mark.parametrize("sample", ["3.1.6", "3.2.7", "3.2.8", "3.2.9", "3.3.6"])
def test_a_sample_of_the_specification_is_valid(sample: str) -> None:
    etree.XMLSchema(TREE).assertValid(etree.fromstring((SAMPLES / f"{sample}.xml").read_bytes()))


def test_the_first_comment_says_that_it_is_reconstructed() -> None:
    comment = SCHEMA.partition(b"<!--")[2].partition(b"-->")[0]
    assert b"reconstruction" in comment
    assert SCHEMA.index(b"<!--") < SCHEMA.index(b"<xs:schema")


def test_elements_are_qualified_and_attributes_are_not() -> None:
    assert TREE.get("targetNamespace") == NAMESPACE
    assert TREE.get("elementFormDefault") == "qualified"
    assert TREE.get("attributeFormDefault") == "unqualified"


def test_the_roots_are_those_of_the_three_resources() -> None:
    roots = [element.get("name") for element in TREE.iterchildren(XS + "element")]
    assert roots == ["subaccounts", "contract_subaccount_mappings", "contract_subaccount_mapping"]


def test_every_type_is_named_and_cites_its_clause() -> None:
    types = [*TREE.iter(XS + "complexType"), *TREE.iter(XS + "simpleType")]
    assert types
    for type_ in types:
        assert type_.get("name")
        assert "Clause 3" in (type_.findtext(f"{XS}annotation/{XS}documentation") or "")
