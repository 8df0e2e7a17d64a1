"""
Clause 3.1, a customer's subaccounts. Readings 15, 46, 47, 61, 66.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from ibt.conformance.messages import NAMESPACE, faults, tree

pytestmark = pytest.mark.any_server

BEGIN = "2013-05-01T04:00:00Z"
CHANGE = "2015-02-01T05:00:00Z"


def subaccounts(answer: httpx2.Response) -> dict[str, list[tuple[str, ...]]]:
    """Each subaccount's versions as tuples of texts, in the answer's order."""
    found = {}
    for subaccount in tree(answer).iterfind(f"{{{NAMESPACE}}}subaccount"):
        subaccount_id, *versions = subaccount
        found[subaccount_id.text or ""] = [tuple(field.text or "" for field in version) for version in versions]
    return found


def test_subaccounts_are_ordered_by_id(alder: httpx2.Client) -> None:
    """
    "Returns a collection of Subaccounts belonging to the Market Participant" (3.1.1): by id, code point by
    code point. Readings 46, 61.
    """
    assert list(subaccounts(alder.get("/1001/subaccounts"))) == [
        "007",
        "7",
        "A1",
        "A_1",
        "Default",
        "RENAMED",
        "RETIRED",
        "[x]",
        "a1",
        "Ä & <ö>",
        "～",
        "😀",
    ]


@pytest.mark.parametrize(
    ("subaccount_id", "versions"),
    [
        pytest.param("A1", [(BEGIN, "Alder one", "Active")], id="an open period has no end"),
        pytest.param("RETIRED", [(BEGIN, "2016-01-01T05:00:00Z", "Retired wind", "Inactive")], id="a closed one has"),
        pytest.param(
            "RENAMED",
            [(BEGIN, CHANGE, "Old name", "Active"), (CHANGE, "New name", "Active")],
            id="several are ordered by begin",
        ),
        pytest.param("Ä & <ö>", [(BEGIN, "Ärger & <Söhne>", "Active")], id="texts come whole"),
        pytest.param("Default", [("2000-01-01T05:00:00Z", "Default", "Active")], id="Default"),
    ],
)
def test_each_subaccount_has_its_versions(
    alder: httpx2.Client, subaccount_id: str, versions: list[tuple[str, ...]]
) -> None:
    """
    "Each Subaccount includes a sequence of versions with data currently effective for different periods"
    (3.1.1); `end` follows `begin` where the period is closed. Reading 46.
    """
    assert subaccounts(alder.get("/1001/subaccounts"))[subaccount_id] == versions


def test_an_end_stands_after_its_begin(alder: httpx2.Client) -> None:
    """
    "Each Subaccount includes a sequence of versions" (3.1.1): begin, end, name, status. Reading 46.
    """
    names = {
        element.tag.split("}")[1] for element in tree(alder.get("/1001/subaccounts")).iter() if len(element) == 0
    }
    assert names == {"subaccount_id", "begin", "end", "subaccount_name", "subaccount_status"}
    text = alder.get("/1001/subaccounts").text
    assert f"<begin>{BEGIN}</begin>\n      <end>2016-01-01T05:00:00Z</end>\n      <subaccount_name>" in text


def test_ids_are_texts_and_compared_exactly(alder: httpx2.Client) -> None:
    """
    "subaccount_id: String" (3.2.4): `007` is not `7`, `A1` is not `a1`. Reading 47.
    """
    found = subaccounts(alder.get("/1001/subaccounts"))
    assert [found[each][0][1] for each in ("007", "7", "A1", "a1")] == ["Seven", "7", "Alder one", "alder one"]


@pytest.mark.parametrize(
    ("name", "customer_id", "begin"),
    [
        pytest.param("elm", 1005, "2000-01-01T05:00:00Z", id="from 2000"),
        pytest.param("cedar", 1003, "1999-06-01T04:00:00Z", id="from its earliest contract, if that is earlier"),
        pytest.param("birch", 1002, "1999-06-01T04:00:00Z", id="beside other subaccounts"),
    ],
)
def test_every_customer_has_a_default(
    user: Callable[[str], httpx2.Client], name: str, customer_id: int, begin: str
) -> None:
    """
    "<subaccount_id>Default</subaccount_id>" (3.1.6): a customer without a line for it gets one. Readings 47, 66.
    """
    found = subaccounts(user(name).get(f"/{customer_id}/subaccounts"))
    assert found["Default"] == [(begin, "Default", "Active")]


def test_each_customer_has_its_own(user: Callable[[str], httpx2.Client]) -> None:
    """
    "Subaccounts belonging to the Market Participant indicated by the customerId parameter" (3.1.1). Reading 46.
    """
    assert list(subaccounts(user("birch").get("/1002/subaccounts"))) == ["B1", "Default", "ONLY-BIRCH"]


@pytest.mark.parametrize("query", ["?_dc=1", "?limit=0", "?subaccount_id=A1", "?contract_id=abc&contract_id=x", "?"])
def test_parameters_are_ignored(alder: httpx2.Client, query: str) -> None:
    """
    "Parameters: customerId" (3.1.4): every other one is ignored. Reading 15.
    """
    plain = alder.get("/1001/subaccounts")
    assert alder.get(f"/1001/subaccounts{query}").content == plain.content


def test_parameters_are_refused_under_strict_handling(alder: httpx2.Client) -> None:
    """
    "Parameters: customerId" (3.1.4): with `Prefer: handling=strict` another one is 400. Reading 15.
    """
    (line,) = faults(alder.get("/1001/subaccounts?limit=5", headers={"Prefer": "handling=strict"}))
    assert "limit" in line
