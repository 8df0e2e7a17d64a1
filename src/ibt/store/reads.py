"""
The questions that the service asks of the database.

Each function asks a constant number of statements, whatever it returns; what is asked within one transaction is seen
as of one moment, and else each as of its own. Every statement on a customer's data names its customer_id.

Clauses 3.1, 3.2.3, 3.3. Readings 11, 12, 20, 26, 39, 44, 46, 61.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, func, select

from ibt.rules.mappings import Standing
from ibt.rules.model import (
    Category,
    Contract,
    MappingVersion,
    Subaccount,
    SubaccountMapping,
    SubaccountVersion,
)
from ibt.store import filters, places
from ibt.store.dialects import one_of
from ibt.store.filters import Behind
from ibt.store.question import Question
from ibt.store.tables import (
    CUSTOMER_ID,
    CodePoints,
    contract,
    current_mapping,
    customer,
    customer_state,
    grants,
    instant,
    mapping_version,
    pins,
    revoked,
    subaccount_version,
    users,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Connection, FromClause

    from ibt.rules.queries import Query
    from ibt.store.places import Place

CONTRACT_ID: sa.BindParameter[int] = bindparam("contract_id", type_=sa.BigInteger)


class Shown(NamedTuple):
    """A certificate by what the tables know it by: texts as the service reads them."""

    issuer: str
    serial: str
    fingerprint: str


class Rights(NamedTuple):
    """
    What a user may do: whether they have the role *anywhere*, and *here*, at the customer asked for, whose revision
    this is then. Not by a certificate that is *revoked*, nor by this one if the user is *pinned* to others.
    """

    anywhere: bool = False
    here: bool = False
    revision: str = ""
    revoked: bool = False
    pinned: bool = False


def _is(column: sa.Column[str]) -> ColumnElement[bool]:
    return column == bindparam(column.name, type_=CodePoints)


_HAVING_ROLE = select(grants.c.customer_id).where(_is(grants.c.user_name), _is(grants.c.role))

#: 0 where the user is pinned to this certificate, 1 where to others only; null where the user has no pins.
_PINNED = select(sa.func.min(sa.case((_is(pins.c.fingerprint), 0), else_=1))).where(_is(pins.c.user_name))

#: Each by its key: a user may have the role at a thousand customers.
_RIGHTS = Question(
    select(
        _HAVING_ROLE.exists(),
        _HAVING_ROLE.where(grants.c.customer_id == CUSTOMER_ID).exists(),
        select(customer_state.c.revision).where(customer_state.c.customer_id == CUSTOMER_ID).scalar_subquery(),
        select(revoked.c.serial).where(_is(revoked.c.issuer), _is(revoked.c.serial)).exists(),
        _PINNED.scalar_subquery(),
    )
)


def rights(connection: Connection, user_name: str, role: str, shown: Shown, customer_id: int) -> Rights:
    """
    What the user, if there is one, may do by *role* at customer *customer_id*, by the certificate *shown*.

    One statement tells who is asking, what they may do and what state they ask of.

    Readings 9, 55, 56, 57.
    """
    if "\0" in user_name:  # a text that PostgreSQL does not have, and so nobody's name
        return Rights()
    given = {**shown._asdict(), "user_name": user_name, "role": role, "customer_id": customer_id}
    ((anywhere, here, revision, is_revoked, is_pinned),) = _RIGHTS.ask(connection, given)
    return Rights(bool(anywhere), bool(here), (here and revision) or "", bool(is_revoked), bool(is_pinned))


_REVISION = Question(select(customer_state.c.revision).where(customer_state.c.customer_id == CUSTOMER_ID))


def revision(connection: Connection, customer_id: int) -> str:
    """The name of the state of all that the customer can see; "" where there is no such customer. Reading 57."""
    return "".join(row[0] for row in _REVISION.ask(connection, {"customer_id": customer_id}))


def user_names(connection: Connection) -> list[str]:
    """All users, by name."""
    return list(connection.execute(select(users.c.user_name).order_by(users.c.user_name)).scalars())


def is_empty(connection: Connection) -> bool:
    """Whether no data have been loaded."""
    return connection.execute(select(customer.c.customer_id).limit(1)).first() is None


def _kept(column: ColumnElement[Any]) -> ColumnElement[int]:
    """A time as the tables keep it: an answer repeats few of them, and what it repeats is made once."""
    return sa.type_coerce(column, sa.BigInteger)


_SUBACCOUNTS = (
    select(
        subaccount_version.c.subaccount_id,
        _kept(subaccount_version.c.begin),
        _kept(subaccount_version.c.end),
        subaccount_version.c.subaccount_name,
        subaccount_version.c.subaccount_status,
    )
    .where(subaccount_version.c.customer_id == CUSTOMER_ID)
    .order_by(subaccount_version.c.subaccount_id, subaccount_version.c.begin)
)
_ALL_SUBACCOUNTS = Question(_SUBACCOUNTS)
_THESE_SUBACCOUNTS = Question(_SUBACCOUNTS.where(one_of(subaccount_version.c.subaccount_id, "subaccount_ids")))


def subaccounts(connection: Connection, customer_id: int, most: int | None = None) -> list[Subaccount]:
    """
    The customer's subaccounts by id, each with its versions by begin.

    Raises MoreRows where there are more than *most* versions. Clause 3.1.6. Readings 46, 61.
    """
    return _subaccounts(_ALL_SUBACCOUNTS.ask(connection, {"customer_id": customer_id}, most))


def _subaccounts(rows: Iterable[tuple[Any, ...]]) -> list[Subaccount]:
    return [
        Subaccount(subaccount_id, tuple([_subaccount_version(*row[1:]) for row in group]))
        for subaccount_id, group in groupby(rows, key=itemgetter(0))
    ]


@lru_cache(maxsize=8192)
def _subaccount_version(begin: int, end: int | None, name: str, status: str) -> SubaccountVersion:
    return SubaccountVersion(instant(begin), None if end is None else instant(end), name, status)


# --- mappings ---------------------------------------------------------------------------------------------


_buyer = customer.alias("buyer")
_seller = customer.alias("seller")

#: The customer's contracts as a mapping shows them; statements add the columns of their versions.
_CONTRACTS = (
    select(
        contract.c.contract_id,
        contract.c.category,
        _buyer.c.name,
        _seller.c.name,
        _kept(contract.c.contract_begin),
        _kept(contract.c.contract_end),
        contract.c.status,
    )
    .select_from(contract)
    .join(_buyer, _buyer.c.customer_id == contract.c.buyer_id)
    .join(_seller, _seller.c.customer_id == contract.c.seller_id)
    .where(contract.c.customer_id == CUSTOMER_ID)
)

_CONTRACT_WIDTH = len(_CONTRACTS.selected_columns)


def _version_columns(versions: FromClause) -> tuple[ColumnElement[Any], ...]:
    times = (versions.c.begin, versions.c.end, versions.c.version)
    return *map(_kept, times), versions.c.subaccount_id


@lru_cache(maxsize=65536)
def _version(begin: int, end: int, version: int, subaccount_id: str) -> MappingVersion:
    return MappingVersion(instant(begin), instant(end), instant(version), subaccount_id)


def _contract(contract_id: int, category: str, *shown: Any) -> Contract:
    buyer, seller, begin, end, status = shown
    return Contract(contract_id, Category(category).market_name, buyer, seller, instant(begin), instant(end), status)


def _mappings(customer_id: int, rows: Iterable[tuple[Any, ...]]) -> list[SubaccountMapping]:
    """Rows of `_CONTRACTS` with a version each, ordered by contract; no version where its columns are null."""
    mappings = []
    for _, group in groupby(rows, key=itemgetter(0)):
        of_contract = list(group)
        contract = _contract(*of_contract[0][:_CONTRACT_WIDTH])
        found = [row[_CONTRACT_WIDTH:] for row in of_contract]
        versions = tuple([_version(*version) for version in found if version[0] is not None])
        mappings.append(SubaccountMapping(customer_id, contract, versions))
    return mappings


# --- the collection (3.2) ---------------------------------------------------------------------------------


@lru_cache(maxsize=128)
def _count(shape: filters.Shape, behind: Behind) -> Question:
    return Question(filters.selected([func.count()], shape, behind), filters.index(shape))


@lru_cache(maxsize=128)
def _page(shape: filters.Shape, behind: Behind) -> Question:
    """The versions of a page first; then, in the same statement, what is shown of their contracts."""
    key = (current_mapping.c.customer_id, current_mapping.c.contract_id, current_mapping.c.month)
    page = filters.page_of((*key, *_version_columns(current_mapping)), shape, behind).subquery("page")
    shown = _CONTRACTS.add_columns(*_version_columns(page))
    its_contract = sa.and_(page.c.customer_id == contract.c.customer_id, page.c.contract_id == contract.c.contract_id)
    return Question(shown.join(page, its_contract).order_by(page.c.contract_id, page.c.month), filters.index(shape))


@lru_cache(maxsize=128)
def _page_alone(shape: filters.Shape, behind: Behind) -> Question:
    """The versions of a page, each with the id of its contract alone."""
    columns = (current_mapping.c.contract_id, *_version_columns(current_mapping))
    return Question(filters.page_of(columns, shape, behind), filters.index(shape))


_THESE_CONTRACTS = Question(
    _CONTRACTS.where(one_of(contract.c.contract_id, "contract_ids")).order_by(contract.c.contract_id)
)


def total(connection: Connection, customer_id: int, query: Query) -> int:
    """How many current versions match the query's filters, on all its pages together. Reading 12."""
    shape = filters.shape_of(query)
    values = filters.values_of(customer_id, query, shape)
    ended = None if query.filtered else places.nearest(connection, customer_id)
    behind = Behind.GIVEN if ended else Behind.NOTHING
    ((counted,),) = _count(shape, behind).ask(connection, values | filters.values_behind(ended))
    return int(counted) + (ended.passed if ended else 0)


def current_mappings(connection: Connection, customer_id: int, query: Query) -> tuple[int, list[SubaccountMapping]]:
    """The total and the page of a query, by `total` and `page`. Clause 3.2.3."""
    counted = total(connection, customer_id, query)
    return counted, page(connection, customer_id, query) if query.start < counted else []


def page(
    connection: Connection, customer_id: int, query: Query, ended: Place | None = None
) -> list[SubaccountMapping]:
    """
    The current versions of the query's page, grouped by contract.

    Ordered by contract id and begin; a contract whose versions cross the page's borders has only some of them.
    *ended* is a place before the page's start, if one is known: only the versions between are passed over then. Of
    a query without filters the tables know one.

    Clause 3.2.3. Readings 11, 12, 23.
    """
    sqlite = connection.dialect.name == "sqlite"
    nearest = ended is None and query.start and not query.filtered
    if nearest and sqlite:
        ended = places.nearest(connection, customer_id, query.start)
    behind = Behind.GIVEN if ended else Behind.NEAREST if nearest and not sqlite else Behind.NOTHING
    shape = filters.shape_of(query)
    values = filters.values_of(customer_id, query, shape) | filters.values_behind(ended)
    values |= {"start": query.start - (ended.passed if ended else 0), "limit": query.limit}
    if sqlite:
        return _shown(connection, customer_id, _page_alone(shape, behind).ask(connection, values))
    return _mappings(customer_id, _page(shape, behind).ask(connection, values))


def _shown(connection: Connection, customer_id: int, rows: Iterable[tuple[Any, ...]]) -> list[SubaccountMapping]:
    """
    The mappings of these rows of `_page_alone`, with what is shown of their contracts.

    To look up a contract for each of its versions takes SQLite longer than to find them. A second question takes it
    little, as nobody has to be asked over a network: docs/decisions/0028.
    """
    versions = {contract_id: list(group) for contract_id, group in groupby(rows, key=itemgetter(0))}
    found = _THESE_CONTRACTS.ask(connection, {"customer_id": customer_id, "contract_ids": list(versions)})
    return [
        SubaccountMapping(customer_id, _contract(*shown), tuple([_version(*row[1:]) for row in versions[shown[0]]]))
        for shown in found
    ]


# --- one contract (3.3), and what an update is judged against (3.2.5) ---------------------------------------

_VERSIONS_OF_CONTRACT = sa.and_(
    mapping_version.c.customer_id == contract.c.customer_id,
    mapping_version.c.contract_id == contract.c.contract_id,
)
_SHOWN_WITH_VERSIONS = _CONTRACTS.add_columns(*_version_columns(mapping_version)).where(
    contract.c.contract_id == CONTRACT_ID
)
_BY_PERIOD = (mapping_version.c.month, mapping_version.c.sequence)

_HISTORY = Question(
    _SHOWN_WITH_VERSIONS.join(
        current_mapping,
        sa.and_(
            current_mapping.c.customer_id == contract.c.customer_id,
            current_mapping.c.contract_id == contract.c.contract_id,
        ),
        isouter=True,
    )
    .join(
        mapping_version,
        sa.and_(_VERSIONS_OF_CONTRACT, mapping_version.c.month == current_mapping.c.month),
        isouter=True,
    )
    .order_by(*_BY_PERIOD)
)

_CURRENT_MONTHS = select(current_mapping.c.month).where(
    current_mapping.c.customer_id == CUSTOMER_ID, current_mapping.c.contract_id == CONTRACT_ID
)

#: The same; PostgreSQL would go through all versions of the contract for each month of it.
_HISTORY_BY_MONTHS = Question(
    _SHOWN_WITH_VERSIONS.join(
        mapping_version,
        sa.and_(
            _VERSIONS_OF_CONTRACT,
            mapping_version.c.month == sa.any_(func.array(_CURRENT_MONTHS.scalar_subquery())),
        ),
        isouter=True,
    ).order_by(*_BY_PERIOD)
)


def mapping_history(
    connection: Connection, customer_id: int, contract_id: int, most: int | None = None
) -> SubaccountMapping:
    """
    All versions of the contract's mapping periods, by month and then oldest first.

    Periods that fell away are left out (reading 27). Raises LookupError where the customer is no party to it, and
    MoreRows where there are more than *most*.

    Clause 3.3. Readings 44, 45, 63.
    """
    history = _HISTORY if connection.dialect.name == "sqlite" else _HISTORY_BY_MONTHS
    rows = history.ask(connection, {"customer_id": customer_id, "contract_id": contract_id}, most)
    if not rows:
        raise LookupError(f"customer {customer_id} is no party to contract {contract_id}")
    (mapping,) = _mappings(customer_id, rows)
    return mapping


_HAS_CONTRACT = Question(
    select(contract.c.contract_id).where(contract.c.customer_id == CUSTOMER_ID, contract.c.contract_id == CONTRACT_ID)
)


def has_contract(connection: Connection, customer_id: int, contract_id: int) -> bool:
    """Whether the customer is a party to a contract with this id. Reading 45."""
    values = {"customer_id": customer_id, "contract_id": contract_id}
    return bool(_HAS_CONTRACT.ask(connection, values))


_STANDING = Question(
    _CONTRACTS.add_columns(*_version_columns(current_mapping))
    .join(
        current_mapping,
        sa.and_(
            current_mapping.c.customer_id == contract.c.customer_id,
            current_mapping.c.contract_id == contract.c.contract_id,
        ),
        isouter=True,
    )
    .where(one_of(contract.c.contract_id, "contract_ids"))
    .order_by(contract.c.contract_id, current_mapping.c.month)
)


def standing(
    connection: Connection, customer_id: int, contract_ids: Iterable[int], subaccount_ids: Iterable[str]
) -> Standing:
    """
    What an update of these contracts to these subaccounts is judged against; to be asked under the customer's lock.

    Clause 3.2.5. Readings 37, 39.
    """
    values = {"customer_id": customer_id, "contract_ids": sorted(set(contract_ids))}
    mappings = _mappings(customer_id, _STANDING.ask(connection, values))
    # A text that PostgreSQL does not have is nobody's id.
    named = sorted({subaccount_id for subaccount_id in subaccount_ids if "\0" not in subaccount_id})
    found = _THESE_SUBACCOUNTS.ask(connection, {"customer_id": customer_id, "subaccount_ids": named})
    return Standing(
        customer_id,
        {mapping.contract.contract_id: mapping for mapping in mappings},
        {subaccount.subaccount_id: subaccount for subaccount in _subaccounts(found)},
    )
