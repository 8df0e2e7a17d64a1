"""
A world of customers of whom few know each other, in which every text says whose it is.

A customer's neighbours are the counterparties of its contracts, and so the only others whose names it may see.
A customer's own texts, the names of its neighbours and its user's name each carry a marker of their own.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

CUSTOMERS = (1001, 1002, 1003, 1004, 1005, 1006)

#: Each is the buyer of contracts with the next one; the last has none but with the one before.
PAIRS = tuple(pairwise(CUSTOMERS))

#: User to the customers at which they have the role; `viewer` has another role, `nobody` none.
USERS: dict[str, tuple[int, ...]] = {
    **{f"u{customer_id}": (customer_id,) for customer_id in CUSTOMERS},
    "both": (1001, 1003),
    "viewer": (),
    "nobody": (),
}

#: The mapping periods of every contract.
MONTHS = (
    ("2015-08-01T04:00:00Z", "2015-09-01T04:00:00Z"),
    ("2015-09-01T04:00:00Z", "2015-10-01T04:00:00Z"),
    ("2015-10-01T04:00:00Z", "2015-11-01T04:00:00Z"),
)

#: A contract that is nobody's.
UNKNOWN_CONTRACT = 888_888


def user_of(customer_id: int) -> str:
    """The user who acts for a customer and for no other."""
    return f"u{customer_id}"


def own_marker(customer_id: int) -> str:
    """It is in all that only the customer may see."""
    return f"PRIVATE-{customer_id}"


def name_marker(customer_id: int) -> str:
    """It is in the customer's name, which its counterparties see too."""
    return f"NAMED-{customer_id}"


def subaccount_ids(customer_id: int) -> tuple[str, str]:
    """The customer's subaccounts besides `Default`."""
    return f"{own_marker(customer_id)}-A", f"{own_marker(customer_id)}-B"


def neighbours(customer_id: int) -> set[int]:
    """The counterparties of a customer."""
    return {other for pair in PAIRS for other in pair if customer_id in pair and other != customer_id}


def contract_ids(customer_id: int, contracts: int) -> list[int]:
    """The contracts that the customer is a party to, where each pair has so many."""
    return [
        buyer * 1000 + number
        for buyer, seller in PAIRS
        for number in range(contracts)
        if customer_id in (buyer, seller)
    ]


def write_world(folder: Path, contracts: int = 3) -> Path:
    """Makes *folder* with the CSV files of the world; each pair has so many contracts."""
    folder.mkdir()
    files = {
        "customers.csv": ["customer_id,name", *(f"{id_},{name_marker(id_)} Inc" for id_ in CUSTOMERS)],
        "subaccounts.csv": [
            "customer_id,subaccount_id,begin,end,name,status",
            *(
                f"{id_},{subaccount_id},2010-01-01T05:00:00Z,,{subaccount_id} named,Active"
                for id_ in CUSTOMERS
                for subaccount_id in subaccount_ids(id_)
            ),
        ],
        "contracts.csv": [
            "contract_id,reference_id,category,location_id,buyer_id,seller_id,begin,end,status,version",
            *(
                f"{buyer * 1000 + number},REFERENCE-{buyer}-{number},ENERGY DAY AHEAD,4000,{buyer},{seller},"
                f"{MONTHS[0][0]},{MONTHS[-1][1]},Conf,2015-07-01T04:00:00Z"
                for buyer, seller in PAIRS
                for number in range(contracts)
            ),
        ],
        "users.csv": [
            "user,customer_id,role",
            *(f"{user},{id_},IBT" for user, ids in USERS.items() for id_ in ids),
            "viewer,1001,VIEWER",
            "nobody,,",
        ],
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder


def update(customer_id: int, *wishes: tuple[int, int, str]) -> bytes:
    """The message that maps periods: a contract, the number of the month and a subaccount for each."""
    mappings: dict[int, list[tuple[int, str]]] = {}
    for contract_id, month, subaccount_id in wishes:
        mappings.setdefault(contract_id, []).append((month, subaccount_id))
    return (
        '<contract_subaccount_mappings xmlns="http://xmlns.iso-ne.com/contract/customers">'
        + "".join(_mapping(customer_id, contract_id, versions) for contract_id, versions in mappings.items())
        + "</contract_subaccount_mappings>"
    ).encode()


def _mapping(customer_id: int, contract_id: int, versions: list[tuple[int, str]]) -> str:
    return (
        f"<contract_subaccount_mapping><customer_id>{customer_id}</customer_id><contract_id>{contract_id}</contract_id>"
        "<market_name>Energy DA</market_name><buyer_name>Buyer</buyer_name><seller_name>Seller</seller_name>"
        f"<contract_begin>{MONTHS[0][0]}</contract_begin><contract_end>{MONTHS[-1][1]}</contract_end>"
        "<status>Conf</status>"
        + "".join(_version(*version) for version in versions)
        + "</contract_subaccount_mapping>"
    )


def _version(month: int, subaccount_id: str) -> str:
    begin, end = MONTHS[month]
    return (
        f"<contract_subaccount_mapping_version><begin>{begin}</begin><end>{end}</end>"
        f"<version>2015-07-01T04:00:00Z</version><subaccount_id>{subaccount_id}</subaccount_id>"
        "</contract_subaccount_mapping_version>"
    )
