"""
Clause 3.2.6, how a query is written into a URL.

Reading 60.
"""

from __future__ import annotations

import pytest

from ibt.conformance import wire
from ibt.conformance.messages import contracts, faults, path, rows
from ibt.conformance.server import Server
from ibt.conformance.test_3_2_4_query_parameters import EVERY

pytestmark = pytest.mark.any_server

COLLECTION = path(1001)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("contract_id=99%", ["999999999"]),
        ("contract_id=99%25", ["999999999"]),
        ("contract_id=7%2A1", ["71", "701"]),
        ("contract_id=7%0", ["70", "700"]),
        ("contract_id=%", EVERY),
        ("contract_id=%%", EVERY),
        ("reference_id=a%25b", ["700", "701", "706"]),
        ("reference_id=%R%", ["70"]),
        ("reference_id=%C3%89t%c3%a9", ["702"]),
        ("reference_id=", ["7", "1000"]),
        ("subaccount_name=Old+name", ["7"]),
        ("subaccount_name=Old%20name", ["7"]),
        ("subaccount_name=Old%2Bname", []),
        ("category=LOAD+REAL%20TIME", ["71"]),
        ("contract%5Fid=71", ["71"]),
        ("start_date=09%2F01%2F2015", ["71"]),
        ("start_date=09/01/2015", ["71"]),
        ("contract_id=71&&", ["71"]),
        ("&contract_id=71", ["71"]),
        ("x=%zz&contract_id=71", ["71"]),
        ("x=a;contract_id=7&contract_id=71", ["71"]),
    ],
)
def test_the_query_string_is_form_encoded(server: Server, query: str, expected: list[str]) -> None:
    """
    "start_date=08%2F01%2F2015" (3.2.6); a `%` not followed by two hex digits stands for itself, so that the
    documented wildcard works typed by hand. Reading 60.
    """
    request = wire.request("GET", f"{server.path}{COLLECTION}?{query}&limit=1000")
    assert contracts(wire.exchange(server, "alder", request)) == expected


@pytest.mark.parametrize(
    "query",
    [
        "contract_id=7;limit=1",
        "contract_id",
        "contract_id=%EF%BC%97",
        "reference_id=%FF",
        "reference_id=%C3",
        "reference_id=%ED%A0%80",
        "reference_id=%C0%AF",
        "x=%FF",
        "%FF=x",
        "limit=5&limit=5",
        "limit=5&%6Cimit=5",
    ],
)
def test_a_query_string_that_says_nothing_sound_is_refused(server: Server, query: str) -> None:
    """
    "400 Bad Request" (2.1): octets that are not UTF-8, in whichever parameter; `;` separates nothing.
    Readings 14, 60.
    """
    faults(wire.exchange(server, "alder", wire.request("GET", f"{server.path}{COLLECTION}?{query}")))


@pytest.mark.parametrize("parameter", ["reference_id", "subaccount_id", "subaccount_name"])
def test_a_nul_matches_nothing(server: Server, parameter: str) -> None:
    """
    "Matching reference ID text": U+0000 is 400 or matches nothing. Reading 14.
    """
    request = wire.request("GET", f"{server.path}{COLLECTION}?{parameter}=%2A%00%2A")
    answer = wire.exchange(server, "alder", request)
    assert answer.status_code == 400 or rows(answer) == []
