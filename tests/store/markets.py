"""A small market as a folder of CSV files, which a test writes with changes of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

#: The specification's sample world, and users with one, two and no customers.
SAMPLE: Mapping[str, str] = {
    "customers.csv": "customer_id,name\n1,XYZ Inc\n2,QRS Ltd\n3,TUV LLC\n",
    "subaccounts.csv": (
        "customer_id,subaccount_id,begin,end,name,status\n"
        "1,ABC1,2013-05-01T04:00:00Z,,ABC1 activity,Active\n"
        "1,Default,2013-05-01T04:00:00Z,,Default,Active\n"
    ),
    "contracts.csv": (
        "contract_id,reference_id,category,location_id,buyer_id,seller_id,begin,end,status,version\n"
        "999998,,FCM LOAD OBLIGATION,8500,1,2,2015-08-01T04:00:00Z,2015-10-01T04:00:00Z,Conf,2015-07-01T04:00:00Z\n"
        "999999,R-9,FCM LOAD OBLIGATION,8500,1,3,"
        "2015-08-01T04:00:00Z,2015-10-01T04:00:00Z,Conf,2015-07-02T06:00:00Z\n"
    ),
    "mappings.csv": (
        "customer_id,contract_id,begin,end,version,subaccount_id\n"
        "1,999999,2015-08-01T04:00:00Z,2015-09-01T04:00:00Z,2015-07-11T12:01:22Z,ABC1\n"
    ),
    "users.csv": "user,customer_id,role\nxyz,1,IBT\nqrs,2,IBT\nboth,1,IBT\nboth,3,VIEW\nnobody,,\n",
}

#: The header line of history.csv, which the sample world does without.
HISTORY_HEADER = "customer_id,contract_id,begin,end,version,subaccount_id\n"


def write_market(folder: Path, changes: Mapping[str, str | bytes | None] | None = None) -> Path:
    """*folder* with the sample world's files; *changes* has other contents by file name, None for no file."""
    for name, content in {**SAMPLE, **(changes or {})}.items():
        if content is not None:
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def replaced(name: str, old: str, new: str) -> dict[str, str]:
    """The change that puts *new* in the place of *old*, which must be in the sample's file *name*."""
    assert old in SAMPLE[name], f"{old!r} is not in {name}"
    return {name: SAMPLE[name].replace(old, new, 1)}


def added(name: str, *lines: str) -> dict[str, str]:
    """The change that adds *lines* to the sample's file *name*."""
    return {name: SAMPLE[name] + "".join(f"{line}\n" for line in lines)}
