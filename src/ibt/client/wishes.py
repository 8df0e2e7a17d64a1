"""
Wishes as people write them down: a CSV with a line for each mapping period that is to be changed.

Columns by name, in any order, others passed over: contract_id, subaccount_id, and month or begin. So the CSV that
`ibt mappings` writes, with other subaccounts in it, is one too.

Clauses 3.2.4, 3.2.5. Readings 33, 52.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from ibt.client.plan import Wish
from ibt.rules.faults import Rule
from ibt.rules.model import Month
from ibt.rules.periods import read_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from ibt.rules.faults import Faults

NOT_UTF_8 = Rule("not-utf-8", "must be UTF-8: Excel calls it CSV UTF-8 where it saves", "RFC 4180")
NOT_CSV = Rule("not-csv", "must be CSV: a quote is not closed, or stands where it must not", "RFC 4180")
EMPTY = Rule(
    "empty", "is empty: it must begin with a header line such as contract_id,month,subaccount_id", "RFC 4180"
)
COLUMN_MISSING = Rule("column-missing", "is missing from the header line", "3.2.4")
COLUMN_TWICE = Rule("column-twice", "is more than once in the header line", "3.2.4")
FIELD_COUNT = Rule("field-count", "must have as many fields as the header line, {expected}, not {found}", "RFC 4180")
CONTRACT_ID = Rule("contract-id", "is no contract's id: give 1 to 9 digits", "3.2.4")
MONTH = Rule("month", "is no month: write it as 2015-08", "3.2.5")
BEGIN = Rule("begin", "is no time: write it as 2015-08-01T04:00:00Z", "3.2.4, reading 33")
PERIOD = Rule("period", "which period? Give month or begin, and not both", "3.2.4")
SUBACCOUNT_ID = Rule("subaccount-id", "must have 1 to 100 characters", "3.2.4")

#: Every rule of the file.
RULES = (
    NOT_UTF_8,
    NOT_CSV,
    EMPTY,
    COLUMN_MISSING,
    COLUMN_TWICE,
    FIELD_COUNT,
    CONTRACT_ID,
    MONTH,
    BEGIN,
    PERIOD,
    SUBACCOUNT_ID,
)

_NEEDED = ("contract_id", "subaccount_id")
_PERIODS = ("month", "begin")

_CONTRACT_ID = re.compile(r"[0-9]{1,9}")


def read_wishes(content: bytes, name: str, faults: Faults) -> list[Wish]:
    """
    The wishes in the CSV *content*, in its order; what is wrong goes to *faults*, with line, field and value.

    *name* is what the file is called there.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        faults.add(NOT_UTF_8, where=f"{name}, line {line}")
        return []
    return list(_wishes(text, name, faults))


def _wishes(text: str, name: str, faults: Faults) -> Iterator[Wish]:
    records = _records(text, name, faults)
    header = [column.strip() for column in next(records, (1, []))[1]]
    if not header or not _good_header(header, name, faults):
        if not header and not faults.count:
            faults.add(EMPTY, where=name)
        return
    for line, record in records:
        where = f"{name}, line {line}"
        if len(record) != len(header):
            faults.add(FIELD_COUNT, where=where, expected=len(header), found=len(record))
        elif wish := _wish(dict(zip(header, record, strict=True)), where, faults):
            yield wish


def _records(text: str, name: str, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the line where it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for record in reader:
            if record:
                yield line, record
            line = reader.line_num + 1
    except csv.Error:
        faults.add(NOT_CSV, where=f"{name}, line {line}")


def _good_header(header: list[str], name: str, faults: Faults) -> bool:
    before = faults.count
    missing = [column for column in _NEEDED if column not in header]
    missing += [] if set(_PERIODS) & set(header) else ["month"]
    for column in missing:
        faults.add(COLUMN_MISSING, where=name, field=column)
    for column in (*_NEEDED, *_PERIODS):
        if header.count(column) > 1:
            faults.add(COLUMN_TWICE, where=name, field=column)
    return faults.count == before


def _wish(record: dict[str, str], where: str, faults: Faults) -> Wish | None:
    contract_id, subaccount_id = record["contract_id"].strip(), record["subaccount_id"]
    if not _CONTRACT_ID.fullmatch(contract_id):
        faults.add(CONTRACT_ID, where=where, field="contract_id", value=contract_id)
    period = _period(record, where, faults)
    if not 1 <= len(subaccount_id) <= 100:
        faults.add(SUBACCOUNT_ID, where=where, field="subaccount_id", value=subaccount_id)
    elif period is not None and _CONTRACT_ID.fullmatch(contract_id):
        return Wish(int(contract_id), period, subaccount_id)
    return None


def _period(record: dict[str, str], where: str, faults: Faults) -> Month | datetime | None:
    said = [(column, text) for column in _PERIODS if (text := record.get(column, "").strip())]
    if len(said) != 1:
        faults.add(PERIOD, where=where)
        return None
    ((column, text),) = said
    try:
        return Month(text) if column == "month" else read_time(text)
    except ValueError:
        faults.add(MONTH if column == "month" else BEGIN, where=where, field=column, value=text)
        return None
