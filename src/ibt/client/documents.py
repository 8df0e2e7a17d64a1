"""
Plans and receipts as JSON, to be kept, shown to others, and read again.

Each document says what it is and the version of its form. Names are the XML's elements, times are as on the wire,
months are as `2015-08`; a contract stands once, with its periods in it. Written twice, a value is the same text.
"""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from ibt.client.plan import Change, Plan, Receipt, Step
from ibt.rules.model import Contract, MappingVersion, Month
from ibt.rules.periods import read_time, write_time

if TYPE_CHECKING:
    from collections.abc import Callable

    Document = dict[str, Any]  # Any: as JSON has it

T = TypeVar("T")

#: The version of both forms.
FORM = 1


class NotTheDocument(ValueError):
    """A text is not the document that was to be read; says in one sentence why."""


def write_plan(plan: Plan) -> str:
    """*plan* as JSON."""
    return _written(
        "plan",
        {
            "customer_id": plan.customer_id,
            "revision": plan.revision,
            "contracts": [
                {
                    **_of_contract(contract_id, contract),
                    "steps": [_of_step(step) for step in steps],
                }
                for (contract_id, contract), steps in groupby(
                    plan.steps, lambda step: (step.contract_id, step.contract)
                )
            ],
            "refused": list(plan.refused),
            "notes": list(plan.notes),
        },
    )


def read_plan(text: str) -> Plan:
    """The plan that `write_plan` wrote. Raises NotTheDocument."""
    return _read("plan", text, _plan)


def write_receipt(receipt: Receipt) -> str:
    """*receipt* as JSON."""
    return _written(
        "receipt",
        {
            "customer_id": receipt.customer_id,
            "request_id": receipt.request_id,
            "contracts": [
                {
                    **_of_contract(contract.contract_id, contract),
                    "changes": [
                        {"before": _of_version(each.before), "after": _of_version(each.after)} for each in changes
                    ],
                }
                for contract, changes in groupby(receipt.changes, lambda change: change.contract)
            ],
        },
    )


def read_receipt(text: str) -> Receipt:
    """The receipt that `write_receipt` wrote. Raises NotTheDocument."""
    return _read("receipt", text, _receipt)


_KINDS = ("plan", "receipt")


def _written(kind: str, content: Document) -> str:
    return json.dumps({"ibt": kind, "form": FORM, **content}, indent=2, ensure_ascii=False) + "\n"


def _read(kind: str, text: str, read: Callable[[Document], T]) -> T:
    try:
        document = json.loads(text)
    except ValueError:
        raise NotTheDocument(f"this is not JSON, and so not a {kind}") from None
    found = document.get("ibt") if isinstance(document, dict) else None
    if found != kind:
        is_another = found in _KINDS
        raise NotTheDocument(f"this is a {found}, not a {kind}" if is_another else f"this is not a {kind} of ibt")
    if document.get("form") != FORM:
        raise NotTheDocument(
            f"this {kind} has the form {document.get('form')}; this version of ibt reads form {FORM}"
        )
    try:
        return read(document)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise NotTheDocument(f"this {kind} was changed by hand and lacks something, or has a wrong value") from None


def _of_contract(contract_id: int, contract: Contract | None) -> Document:
    return {"contract_id": contract_id} if contract is None else _of(contract)


def _of_step(step: Step) -> Document:
    return {
        "month": str(step.month),
        "subaccount_id": step.subaccount_id,
        "old": None if step.old is None else _of_version(step.old),
        "faults": list(step.faults),
    }


def _of_version(version: MappingVersion) -> Document:
    return _of(version)


def _of(noun: Contract | MappingVersion) -> Document:
    values = ((field.name, getattr(noun, field.name)) for field in fields(noun))
    return {name: write_time(value) if isinstance(value, datetime) else value for name, value in values}


def _plan(document: Document) -> Plan:
    steps = [
        Step(
            _number(contract["contract_id"]),
            Month(step["month"]),
            _text(step["subaccount_id"]),
            _contract(contract) if "status" in contract else None,
            None if step["old"] is None else _version(step["old"]),
            _texts(step["faults"]),
        )
        for contract in document["contracts"]
        for step in contract["steps"]
    ]
    revision = document["revision"]
    return Plan(
        _number(document["customer_id"]),
        None if revision is None else _text(revision),
        tuple(steps),
        _texts(document["refused"]),
        _texts(document["notes"]),
    )


def _receipt(document: Document) -> Receipt:
    changes = [
        Change(_contract(contract), _version(change["before"]), _version(change["after"]))
        for contract in document["contracts"]
        for change in contract["changes"]
    ]
    request_id = document["request_id"]
    return Receipt(
        _number(document["customer_id"]), None if request_id is None else _text(request_id), tuple(changes)
    )


def _contract(document: Document) -> Contract:
    return Contract(
        _number(document["contract_id"]),
        _text(document["market_name"]),
        _text(document["buyer_name"]),
        _text(document["seller_name"]),
        read_time(document["contract_begin"]),
        read_time(document["contract_end"]),
        _text(document["status"]),
    )


def _version(document: Document) -> MappingVersion:
    return MappingVersion(
        read_time(document["begin"]),
        read_time(document["end"]),
        read_time(document["version"]),
        _text(document["subaccount_id"]),
    )


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(values: list[object]) -> tuple[str, ...]:
    return tuple(map(_text, values))
