"""
The messages as bytes: what the service answers with, and the update that a client posts.

They look as the specification's samples do: the declaration with `standalone="yes"`, the default namespace,
indented by two, LF (reading 49). Every text is escaped so that a parser gives back the same text.

Clauses 3.1.6, 3.2.7, 3.2.8, 3.2.9, 3.3.6. Readings 30, 31, 34, 46, 49.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

from ibt.rules.faults import quoted
from ibt.rules.model import (
    MappingVersion,
    RequestedMapping,
    RequestedVersion,
    Subaccount,
    SubaccountMapping,
    SubaccountVersion,
)
from ibt.rules.periods import write_time

NAMESPACE = "http://xmlns.iso-ne.com/contract/customers"

_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'

#: What no XML can carry, not even escaped.
_NO_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

#: Stands where a message must have a time and there is none to repeat.
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)

#: A page repeats few times and few texts: months, version times, companies, `Default`.
_time = lru_cache(maxsize=8192)(write_time)


@lru_cache(maxsize=8192)
def _text(value: str) -> str:
    # A bare carriage return would come back as a line feed.
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def write_subaccounts(subaccounts: Iterable[Subaccount]) -> bytes:
    """
    The message `subaccounts`, in the order given; `end` is written where a version's period is closed.

    Clause 3.1.6. Reading 46.
    """
    return _message("subaccounts", "".join(map(_subaccount, subaccounts)))


def write_mappings(mappings: Iterable[SubaccountMapping], total: int | None = None) -> bytes:
    """
    The message `contract_subaccount_mappings`, in the order given.

    With *total*, the answer to a GET, which begins with `query_info`; without, the answer to a POST.

    Clauses 3.2.7, 3.2.9. Reading 30.
    """
    query_info = "" if total is None else _query_info(total)
    written = [
        f"  <contract_subaccount_mapping>\n{_mapping(mapping, '    ')}  </contract_subaccount_mapping>\n"
        for mapping in mappings
    ]
    return _message("contract_subaccount_mappings", query_info + "".join(written))


def write_mapping(mapping: SubaccountMapping) -> bytes:
    """The message `contract_subaccount_mapping`, with the versions in the order given. Clause 3.3.6."""
    return _message("contract_subaccount_mapping", _mapping(mapping, "  "))


def write_update(mappings: Iterable[SubaccountMapping | RequestedMapping]) -> bytes:
    """
    The message of a POST that asks for *mappings*, in the order given.

    A mapping as a GET has answered it is repeated whole, as 3.2.4 wants. A requested one knows nothing to repeat:
    its fields without effect are empty, or a time of its own. Raises ValueError where a subaccount_id has a
    character that XML cannot carry.

    Clauses 3.2.4, 3.2.8. Readings 31, 34.
    """
    written = []
    for mapping in mappings:
        for version in mapping.versions:
            if _NO_CHARACTER.search(version.subaccount_id):
                raise ValueError(
                    f"the subaccount_id {quoted(version.subaccount_id)} has a character that XML has not"
                )
        content = _mapping(mapping, "    ") if isinstance(mapping, SubaccountMapping) else _requested(mapping)
        written.append(f"  <contract_subaccount_mapping>\n{content}  </contract_subaccount_mapping>\n")
    return _message("contract_subaccount_mappings", "".join(written))


def _message(root: str, content: str) -> bytes:
    return f'{_DECLARATION}<{root} xmlns="{NAMESPACE}">\n{content}</{root}>\n'.encode()


def _subaccount(subaccount: Subaccount) -> str:
    return (
        "  <subaccount>\n"
        f"    <subaccount_id>{_text(subaccount.subaccount_id)}</subaccount_id>\n"
        f"{''.join(map(_subaccount_version, subaccount.subaccount_versions))}"
        "  </subaccount>\n"
    )


def _subaccount_version(version: SubaccountVersion) -> str:
    end = "" if version.end is None else f"      <end>{_time(version.end)}</end>\n"
    return (
        "    <subaccount_version>\n"
        f"      <begin>{_time(version.begin)}</begin>\n"
        f"{end}"
        f"      <subaccount_name>{_text(version.subaccount_name)}</subaccount_name>\n"
        f"      <subaccount_status>{_text(version.subaccount_status)}</subaccount_status>\n"
        "    </subaccount_version>\n"
    )


def _query_info(total: int) -> str:
    return f"  <query_info>\n    <total_record_count>{total}</total_record_count>\n  </query_info>\n"


def _mapping(mapping: SubaccountMapping, indent: str) -> str:
    contract = mapping.contract
    return (
        f"{indent}<customer_id>{mapping.customer_id}</customer_id>\n"
        f"{indent}<contract_id>{contract.contract_id}</contract_id>\n"
        f"{indent}<market_name>{_text(contract.market_name)}</market_name>\n"
        f"{indent}<buyer_name>{_text(contract.buyer_name)}</buyer_name>\n"
        f"{indent}<seller_name>{_text(contract.seller_name)}</seller_name>\n"
        f"{indent}<contract_begin>{_time(contract.contract_begin)}</contract_begin>\n"
        f"{indent}<contract_end>{_time(contract.contract_end)}</contract_end>\n"
        f"{indent}<status>{_text(contract.status)}</status>\n"
        f"{''.join([_mapping_version(version, indent) for version in mapping.versions])}"
    )


def _mapping_version(version: MappingVersion, indent: str) -> str:
    return (
        f"{_period(version.begin, version.end, indent)}{_time(version.version)}</version>\n"
        f"{indent}  <subaccount_id>{_text(version.subaccount_id)}</subaccount_id>\n"
        f"{indent}</contract_subaccount_mapping_version>\n"
    )


@lru_cache(maxsize=8192)
def _period(begin: datetime, end: datetime, indent: str) -> str:
    """What all versions of a period begin with: there are few periods, and each piece of a text takes its time."""
    return (
        f"{indent}<contract_subaccount_mapping_version>\n"
        f"{indent}  <begin>{_time(begin)}</begin>\n"
        f"{indent}  <end>{_time(end)}</end>\n"
        f"{indent}  <version>"
    )


def _requested(mapping: RequestedMapping) -> str:
    periods = [(version.begin, version.end or version.begin) for version in mapping.versions] or [
        (_NO_TIME, _NO_TIME)
    ]
    return (
        f"    <customer_id>{mapping.customer_id}</customer_id>\n"
        f"    <contract_id>{mapping.contract_id}</contract_id>\n"
        "    <market_name/>\n"
        "    <buyer_name/>\n"
        "    <seller_name/>\n"
        f"    <contract_begin>{_time(min(begin for begin, _ in periods))}</contract_begin>\n"
        f"    <contract_end>{_time(max(end for _, end in periods))}</contract_end>\n"
        "    <status/>\n"
        f"{''.join(map(_requested_version, mapping.versions))}"
    )


def _requested_version(version: RequestedVersion) -> str:
    end = "" if version.end is None else f"      <end>{_time(version.end)}</end>\n"
    return (
        "    <contract_subaccount_mapping_version>\n"
        f"      <begin>{_time(version.begin)}</begin>\n"
        f"{end}"
        f"      <version>{_time(version.begin)}</version>\n"
        f"      <subaccount_id>{_text(version.subaccount_id)}</subaccount_id>\n"
        "    </contract_subaccount_mapping_version>\n"
    )
