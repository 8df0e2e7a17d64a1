"""
A folder of CSV files into the database, over what is there: added, changed, or left alone.

Each file is judged (`ibt.store.market`, `ibt.store.versions`) and stored as it is read, in one transaction that
is undone if there is a fault. What the files do not name stays. When a contract's period changes, so do its
mappings (reading 27). Each customer who can see a difference gets a new revision and a row in the audit, and no
other.

Readings 25-27, 57, 64-67.
"""

from __future__ import annotations

import errno
import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import delete, select

from ibt.rules.faults import Faults, Rule
from ibt.rules.mappings import change
from ibt.rules.model import DEFAULT_SUBACCOUNT, SubaccountVersion
from ibt.store import audit, bulk, migrations, people, places, tables
from ibt.store.market import Grant, Market, MarketContract, MarketFiles, Narrowed
from ibt.store.standing import Nothing, Stored, lock_out_folders, mapping_version
from ibt.store.versions import Key, MappingVersions, Version, VersionFiles, births, periods_of, version_row
from ibt.store.writes import new_revision

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from sqlalchemy import Connection, Table

    from ibt.store.database import Database

__all__ = ["Market", "Report", "clear", "load", "load_folder", "load_over", "mend_places", "read_market"]

#: How many contracts are stored, born or changed at a time.
CHUNK = 1_000

SUBACCOUNT_NEEDED = Rule(
    "subaccount-needed",
    "must not be so early: contract {contract_id} needs the subaccount at {begin}, where a mapping period begins",
    "reading 65",
)

#: The rules that can only be judged when all is stored.
RULES = (SUBACCOUNT_NEEDED,)

_One = TypeVar("_One")


@dataclass(slots=True)
class Count:
    """What became of the lines of one kind."""

    added: int = 0
    changed: int = 0
    left_alone: int = 0


@dataclass(slots=True)
class Report:
    """
    What a folder came to.

    *fallen* mapping periods left the current state as their contract's period changed, and *undefined* ones went to
    `Default`, as their subaccount is not defined at their moved begin (reading 27); both are counted for each party.
    """

    customers: Count = field(default_factory=Count)
    subaccount_versions: Count = field(default_factory=Count)
    contracts: Count = field(default_factory=Count)
    mapping_versions: Count = field(default_factory=Count)
    users: Count = field(default_factory=Count)
    grants: Count = field(default_factory=Count)
    fallen: int = 0
    undefined: int = 0

    @property
    def counts(self) -> dict[str, Count]:
        """The counts by what they count."""
        counts = {kind.name.replace("_", " "): getattr(self, kind.name) for kind in fields(self)}
        return {name: count for name, count in counts.items() if isinstance(count, Count)}

    @property
    def detail(self) -> str:
        """What was added and changed, for the audit; empty where nothing was."""
        told = [
            f"{getattr(count, what)} {name} {what}"
            for what in ("added", "changed")
            for name, count in self.counts.items()
            if getattr(count, what)
        ]
        fallen = [f"{self.fallen} mapping periods fell away"] if self.fallen else []
        return ", ".join([*told, *fallen])

    def lines(self) -> list[str]:
        """A line for each kind, and one for each thing that a person should look at."""
        told = [f"{'':20}{'added':>10}{'changed':>10}{'left alone':>12}"]
        for name, count in self.counts.items():
            told.append(f"{name:20}{count.added:10}{count.changed:10}{count.left_alone:12}")
        if self.fallen:
            told.append(f"{self.fallen} mapping periods fell away with their contracts' periods.")
        if self.undefined:
            told.append(
                f"{self.undefined} mapping periods went to {DEFAULT_SUBACCOUNT}: "
                "their subaccount is not defined at the begin they have now."
            )
        return told


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keeps Python from looking for cycles, again and again, among millions of rows that have none."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class _Undone(Exception):
    """Leaves a transaction so that nothing of it stays."""


def load_folder(  # noqa: PLR0913 - two of them are options
    database: Database,
    folder: Path,
    now: datetime,
    faults: Faults,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """
    Loads *folder* over what is in *database*; changes nothing where it adds to *faults*, or in a *dry_run*.

    *progress* is told of the bytes that were read, now and then. Raises Unavailable.

    Readings 27, 64-67.
    """
    report = Report()
    try:
        with _no_collection(), database.updating() as connection:
            report = load_over(connection, folder, now, faults, progress)
            if faults.count or dry_run:
                raise _Undone  # noqa: TRY301 - through the transaction's end
    except _Undone:
        pass
    return report


def mend_places(database: Database) -> bool:
    """
    Makes the places of all customers anew where one is missing or wrong, and tells whether one was.

    A program that knows no places leaves them as they are when it loads. Customers who have seen wrong pages get new
    revisions, so that nobody takes these for known; a newer schema is left as it is. Raises Unavailable. Reading 57.
    """
    with database.reading() as connection:
        if migrations.schema(connection).newer or places.are_whole(connection):
            return False
    with database.updating() as connection:
        lock_out_folders(connection)
        wronged = sorted({row[0] for row in connection.execute(places.astray(None))})
        places.keep_all(connection)
        for customer_id in wronged:
            state = tables.customer_state
            of = state.c.customer_id == customer_id
            connection.execute(state.update().where(of).values(revision=new_revision()))
    return True


def load_over(
    connection: Connection,
    folder: Path | Traversable,
    now: datetime,
    faults: Faults,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """
    Loads *folder* over what is there, in the transaction of *connection*, which must be undone if there are *faults*.

    *now*, a UTC time of whole seconds, is the time of loading. A fault names file, line (where the record begins),
    field and value. Readings 27, 64-67.
    """
    stored = Stored(connection)
    lock_out_folders(connection)
    market = MarketFiles(folder, now, faults, stored, progress)
    return _Loading(market, stored).load() if market.read() else Report()


def read_market(folder: Path | Traversable, now: datetime, faults: Faults) -> Market:
    """
    The market that *folder* describes to an empty database; without meaning where it adds to *faults*.

    *now*, a UTC time of whole seconds, is that of birth versions where contracts.csv gives none. Readings 25, 64-67.
    """
    nothing = Nothing()
    market = MarketFiles(folder, now, faults, nothing)
    users = []
    if market.read():
        versions = VersionFiles(market, nothing)
        versions.read_history()
        versions.read_mappings()
        users = list(market.users())
    return Market(
        folder,
        now,
        market.customers,
        market.subaccounts,
        market.contracts,
        nothing.later(),
        tuple(dict.fromkeys(row.user for row in users)),
        tuple(Grant(user, customer_id, role) for user, customer_id, role in users if customer_id is not None),
    )


def load(connection: Connection, market: Market) -> Report:
    """
    Stores *market*, which had no faults, in tables that are empty, in the transaction of *connection*.

    The files are read again. Raises OSError where they have changed.
    """
    faults = Faults()
    report = load_over(connection, market.folder, market.now, faults)
    if faults.count:
        raise OSError(errno.EBUSY, "the files changed while they were read", str(market.folder))
    return report


def clear(connection: Connection) -> None:
    """Empties all tables, in the transaction of *connection*."""
    for table in reversed(tables.metadata.sorted_tables):
        connection.execute(delete(table))


class _Loading:
    """The steps in which a market is stored; what refers to something is stored after it."""

    def __init__(self, market: MarketFiles, stored: Stored) -> None:
        self.market = market
        self.stored = stored
        self.report = Report()
        self.connection = stored.connection
        self.versions = VersionFiles(market, stored)
        self.deed = audit.by_operator("load", market.now, market.folder.name)

    def load(self) -> Report:
        """Stores everything, renews the revisions of those who can see a difference, and leaves rows in the audit."""
        self._lock()
        self._store_customers()
        self._store_subaccounts()
        self._store_contracts()
        self.versions.read_history()
        self._change_contracts()
        self.versions.read_mappings()
        self._bear_contracts()
        self.stored.show_new()
        self.stored.keep_places()
        self._store_users()
        self._judge_narrowed()
        self._renew_revisions()
        self.report.mapping_versions = Count(self.stored.added.total(), left_alone=self.versions.left_alone)
        self.report.fallen = self.stored.fallen
        if detail := self.report.detail:
            deed = replace(self.deed, detail=f"{self.deed.detail}: {detail}")
            audit.append(self.connection, audit.OPERATOR, deed)
        return self.report

    def _lock(self) -> None:
        """Locks the customers who will see a difference, as far as it is known before the mappings are read."""
        market = self.market
        standing = market.standing_customers
        renamed = {id_ for id_, name in market.customers.items() if id_ in standing and standing[id_] != name}
        seen = self.stored.counterparties(renamed) if renamed else set()
        seen |= {key[0] for key, version in market.versions.items() if market.stood.get(key) != version}
        for contract_id in chain(market.new, market.changed):
            if contract := market.contracts.get(contract_id):
                seen.update(contract.parties)
        self.stored.seen |= seen
        self.stored.lock(seen)

    def _store_customers(self) -> None:
        standing, names = self.market.standing_customers, self.market.customers
        new = [(id_, name) for id_, name in names.items() if id_ not in standing]
        renamed = [(id_, name) for id_, name in names.items() if id_ in standing and standing[id_] != name]
        self.stored.new_customers = {id_ for id_, _ in new}
        bulk.insert(self.connection, tables.customer, new)
        states = [(id_, new_revision(), *self.stored.head(id_)) for id_, _ in new]
        bulk.insert(self.connection, tables.customer_state, states)
        bulk.replace(self.connection, tables.customer, renamed)
        self.report.customers = Count(len(new), len(renamed), len(names) - len(new) - len(renamed))

    def _store_subaccounts(self) -> None:
        versions, stood = self.market.versions, self.market.stood
        new = [key for key in versions if key not in stood]
        changed = [key for key in versions if key in stood and stood[key] != versions[key]]
        bulk.insert(
            self.connection, tables.subaccount_version, [_subaccount_row(key[:2], versions[key]) for key in new]
        )
        bulk.replace(
            self.connection, tables.subaccount_version, [_subaccount_row(key[:2], versions[key]) for key in changed]
        )
        self.report.subaccount_versions = Count(len(new), len(changed), len(versions) - len(new) - len(changed))

    def _store_contracts(self) -> None:
        contracts, changed = self.market.contracts, self.market.changed
        for chunk in _chunks(contract_id for contract_id in contracts if contract_id in self.market.new):
            bulk.insert(self.connection, tables.contract, list(_contract_rows(contracts[id_] for id_ in chunk)))
        for chunk in _chunks(changed):
            bulk.replace(self.connection, tables.contract, list(_contract_rows(contracts[id_] for id_ in chunk)))
        new = len(self.market.new & contracts.keys())
        self.report.contracts = Count(new, len(changed), len(contracts) - new - len(changed))

    def _change_contracts(self) -> None:
        """Cuts, adds and lets fall the mapping periods of the contracts whose period changed. Reading 27."""
        for chunk in _chunks(self.market.moved()):
            contracts = {contract.contract_id: contract for contract in chunk}
            keys = [(party, contract.contract_id) for contract in chunk for party in contract.parties]
            changed = []
            for key, versions, current in self.stored.versions(keys):
                mapping = self._changed(key, contracts[key[1]], versions, current)
                changed.append(mapping)
            self.stored.store(changed)

    def _changed(
        self, key: Key, contract: MarketContract, versions: dict[int, list[Version]], current: set[int]
    ) -> MappingVersions:
        customer_id, contract_id = key
        last = {bulk.month(month): mapping_version(of_month[-1]) for month, of_month in versions.items()}
        defined = partial(self.market.defined, customer_id)
        months = {bulk.month(month) for month in current}
        outcome = change(contract.periods.values(), last, months, defined, self.market.now)
        mapping = MappingVersions(customer_id, contract_id, contract, periods_of(contract), versions, current)
        for month, version in outcome.new.items():
            mapping.add(bulk.number(month), version_row(version))
        self.stored.let_fall(customer_id, contract_id, [bulk.number(month) for month in outcome.fallen])
        self.report.undefined += len(outcome.undefined)
        return mapping

    def _bear_contracts(self) -> None:
        """Gives each mapping period of a new contract that the files do not name its birth version. Reading 25."""
        contracts = self.market.contracts
        keys = sorted(
            (party, contract_id)
            for contract_id in self.market.new & contracts.keys()
            for party in contracts[contract_id].parties
        )
        for chunk in _chunks(keys):
            born: list[bulk.Values] = []
            current: list[bulk.Values] = []
            for customer_id, contract_id in chunk:
                named = self.versions.months(customer_id, contract_id)
                unborn = births(contracts[contract_id])
                if named.issuperset(unborn):
                    continue
                number = self.stored.head(customer_id).number + 1
                added = [
                    (customer_id, contract_id, month, 1, *version, number)
                    for month, version in unborn.items()
                    if month not in named
                ]
                born += added
                if customer_id not in self.stored.new_customers:
                    current += [(*row[:3], *row[4:7], 1, row[7]) for row in added]
            self.stored.add_versions(born)
            self.stored.show_first(current)

    def _store_users(self) -> None:
        rows = list(self.market.users())
        if rows:
            people.keep_others_out(self.connection)
        self.report.users = self._add(tables.users, {(row.user,) for row in rows})
        self.report.grants = self._add(tables.grants, {tuple(row) for row in rows if row.customer_id is not None})

    def _add(self, table: Table, rows: set[tuple[Any, ...]]) -> Count:
        """Adds those of *rows* that are not in *table*, all of whose columns are its key."""
        standing = {tuple(row) for row in self.connection.execute(select(table))} if rows else set()
        bulk.insert(self.connection, table, sorted(rows - standing))
        return Count(added=len(rows - standing), left_alone=len(rows & standing))

    def _judge_narrowed(self) -> None:
        """Tells of subaccounts that end before mapping periods that need them, as all now stands. Reading 65."""
        for narrowed in self.market.narrowed:
            versions = self.market.subaccounts[narrowed.customer_id, narrowed.subaccount_id]
            for begin, end in _uncovered(narrowed, versions):
                if needed := self.stored.needed(narrowed, begin, end):
                    contract_id, at = needed
                    self.market.subaccount_records.tell(
                        SUBACCOUNT_NEEDED, narrowed.line, "end", narrowed.end, contract_id=contract_id, begin=at
                    )
                    break

    def _renew_revisions(self) -> None:
        """A new revision, and a row in the audit, for each customer who can see a difference. Reading 57."""
        new = self.market.customers.keys() - self.market.standing_customers.keys()
        entries = [self._entry(customer_id) for customer_id in sorted(self.stored.seen | new)]
        bulk.insert(self.connection, tables.audit, entries)
        states = [(entry.customer_id, new_revision(), *entry.head) for entry in entries]
        bulk.replace(self.connection, tables.customer_state, states)

    def _entry(self, customer_id: int) -> audit.Entry:
        count, versions_sha256 = self.stored.versions_hash(customer_id)
        deed = replace(self.deed, versions_created=count)
        return audit.entry(customer_id, self.stored.head(customer_id), deed, versions_sha256)


def _uncovered(narrowed: Narrowed, versions: list[SubaccountVersion]) -> Iterator[tuple[datetime, datetime | None]]:
    """The times that the version has left, and that none of *versions*, ordered by begin, covers."""
    begin, until = narrowed.end, narrowed.until
    for version in versions:
        if version.begin < narrowed.end:
            continue
        if until is not None and version.begin >= until:
            break
        if begin < version.begin:
            yield begin, version.begin
        if version.end is None:
            return
        begin = version.end
    if until is None or begin < until:
        yield begin, until


def _chunks(things: Iterable[_One]) -> Iterator[list[_One]]:
    rest = iter(things)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _contract_rows(contracts: Iterable[MarketContract]) -> Iterator[bulk.Values]:
    for contract in contracts:
        begin, end = bulk.seconds(contract.contract_begin), bulk.seconds(contract.contract_end)
        for customer_id in contract.parties:
            yield (
                customer_id,
                contract.contract_id,
                contract.reference_id,
                contract.category.value,
                contract.location_id,
                *contract.parties,
                begin,
                end,
                contract.status,
            )


def _subaccount_row(key: tuple[int, str], version: SubaccountVersion) -> bulk.Values:
    end = None if version.end is None else bulk.seconds(version.end)
    begin = bulk.seconds(version.begin)
    return (*key, begin, end, version.subaccount_name, version.subaccount_status)
