"""Wishes as people write them down."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ibt import Month, Wish
from ibt.client.wishes import RULES, read_wishes
from ibt.rules.faults import Faults

HEADER = "contract_id,month,subaccount_id\n"
AUGUST = Wish(7, Month("2015-08"), "ABC1")
BEGIN = Wish(7, datetime(2015, 8, 1, 4, tzinfo=UTC), "ABC1")


@pytest.mark.parametrize(
    ("text", "wishes"),
    [
        (HEADER, []),
        (HEADER + "7,2015-08,ABC1\n", [AUGUST]),
        (HEADER + "7,2015-08,ABC1", [AUGUST]),
        ("\ufeff" + HEADER + "7,2015-08,ABC1\r\n", [AUGUST]),
        (HEADER + "\n007, 2015-08 ,ABC1\n\n7,2015-08,ABC1\n", [AUGUST, AUGUST]),
        ("subaccount_id,x,month,contract_id\nABC1,,2015-08,7\n", [AUGUST]),
        ("contract_id, begin, subaccount_id\n7,2015-08-01T04:00:00Z,ABC1\n", [BEGIN]),
        ("contract_id,month,begin,subaccount_id\n7,2015-08,,ABC1\n7,,2015-08-01T04:00:00Z,ABC1\n", [AUGUST, BEGIN]),
        (HEADER + '7,2015-08,"A, ""B""\nC"\n', [Wish(7, Month("2015-08"), 'A, "B"\nC')]),
        (HEADER + "7,2015-08, A \n", [Wish(7, Month("2015-08"), " A ")]),
    ],
)
def test_a_line_is_a_wish(text: str, wishes: list[Wish]) -> None:
    faults = Faults()
    assert read_wishes(text.encode(), "c.csv", faults) == wishes
    assert faults.lines() == []


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "c.csv: is empty: it must begin with a header line such as contract_id,month,subaccount_id (RFC 4180)"),
        (b"\xef\xbb\xbf", "c.csv: is empty: it must begin with a header line such as contract_id,month"),
        (b"contract_id,subaccount_id\n", "c.csv, month: is missing from the header line (3.2.4)"),
        (b"month,subaccount_id\n", "c.csv, contract_id: is missing"),
        (b"contract_id;month;subaccount_id\n", "c.csv, contract_id: is missing"),
        (b"contract_id,month,subaccount_id,month\n", "c.csv, month: is more than once in the header line"),
        (HEADER.encode() + b"7,2015-08\n", "c.csv, line 2: must have as many fields as the header line, 3, not 2"),
        (HEADER.encode() + b"\n7,2015-08,\xe4\n", "c.csv, line 3: must be UTF-8"),
        (HEADER.encode() + b'7,2015-08,"A\n\n', "c.csv, line 2: must be CSV"),
        (HEADER.encode() + b"-7,2015-08,A\n", 'c.csv, line 2, contract_id "-7": is no contract\'s id'),
        (
            HEADER.encode() + b"1234567890,2015-08,A\n",
            'c.csv, line 2, contract_id "1234567890": is no contract\'s id',
        ),
        (
            HEADER.encode() + b"7,Aug-15,A\n",
            'c.csv, line 2, month "Aug-15": is no month: write it as 2015-08 (3.2.5)',
        ),
        (HEADER.encode() + b"7,,A\n", "c.csv, line 2: which period? Give month or begin, and not both (3.2.4)"),
        (
            b"contract_id,month,begin,subaccount_id\n7,2015-08,2015-08-01T04:00:00Z,A\n",
            "c.csv, line 2: which period?",
        ),
        (
            b"contract_id,begin,subaccount_id\n7,2015-08-01T00:00:00-04:00,A\n",
            'c.csv, line 2, begin "2015-08-01T00:00:00-04:00": is no time: write it as 2015-08-01T04:00:00Z',
        ),
        (HEADER.encode() + b"7,2015-08,\n", 'c.csv, line 2, subaccount_id "": must have 1 to 100 characters'),
        (HEADER.encode() + b"7,2015-08," + b"A" * 101, "c.csv, line 2, subaccount_id "),
        (HEADER.encode() + b'7,2015-08,"A\nB"\nx,2015-08,A\n', 'c.csv, line 4, contract_id "x"'),
    ],
)
def test_a_fault_is_told_with_its_line(content: bytes, line: str) -> None:
    faults = Faults()
    read_wishes(content, "c.csv", faults)
    assert faults.lines()[0].startswith(line)
    assert {fault.rule for fault in faults.told} <= set(RULES)


def test_every_fault_of_a_file_is_told_at_once() -> None:
    faults = Faults()
    wishes = read_wishes(HEADER.encode() + b"x,y,\n7,2015-08,ABC1\n7,y,A\n", "c.csv", faults)
    assert (wishes, faults.count) == ([AUGUST], 4)
