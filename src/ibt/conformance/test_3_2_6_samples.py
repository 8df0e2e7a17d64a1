"""
The sample messages of clauses 3.1.6, 3.2.6 to 3.2.9 and 3.3.6, byte for byte.

`samples/` has them as we read them: page breaks of the document had taken indentation and added two closing
tags. The demonstration world of a sandbox is the samples' own.
"""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from ibt.conformance.messages import post
from ibt.conformance.server import sandbox

pytestmark = pytest.mark.sandbox

SAMPLES = Path(__file__).parent / "samples"
AUGUST_2015 = "/1/contractSubaccountMappings?start_date=08%2F01%2F2015&start=0&limit=25"


def sample(clause: str) -> bytes:
    """The sample message of a clause."""
    return (SAMPLES / f"{clause}.xml").read_bytes()


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, httpx2.Response]:
    """The answers to the document's requests, sent in the document's order by customer 1, by their clause."""
    with sandbox(tmp_path_factory.mktemp("samples") / "sandbox") as server, server.client("xyz") as xyz:
        return {
            "3.1.6": xyz.get("/1/subaccounts"),
            "3.2.7": xyz.get(AUGUST_2015),
            "3.2.9": post(xyz, sample("3.2.8"), customer_id=1),
            "3.3.6": xyz.get("/1/contractSubaccountMappings/999999"),
        }


@pytest.mark.parametrize("clause", ["3.1.6", "3.2.7", "3.2.9", "3.3.6"])
def test_the_samples_come_out_byte_for_byte(conversation: dict[str, httpx2.Response], clause: str) -> None:
    """
    "3.1.6 Data Returned", "3.2.7 Sample Request - GET response", "3.2.9 Sample Request - POST response" and
    "3.3.6 Data Returned". A final newline is free. Readings 11, 12, 29, 30, 44, 46, 49.
    """
    answer = conversation[clause]
    assert answer.status_code == 200
    assert answer.content.rstrip(b"\n") == sample(clause).rstrip(b"\n")
