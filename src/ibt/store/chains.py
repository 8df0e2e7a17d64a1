"""
The chains of the audit as wholes: read, kept in a file, and verified, in the database or apart from it.

What is verified is told as sentences, one for each thing that is wrong. Everything read is of one moment, and is
judged as it is read: however long the chains are, little of them is in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from typing import IO, TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import func, select

from ibt.rules.periods import write_time
from ibt.store import places
from ibt.store.audit import (
    HEAD,
    OPERATOR,
    VERSION_COLUMNS,
    VERSION_ORDER,
    Entry,
    Head,
    as_kept,
    chained,
    versions_hash,
)
from ibt.store.tables import audit, current_mapping, customer_state, mapping_version

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, CompoundSelect, Connection, Select

#: How many rows are fetched at a time.
_CHUNK = 5_000

#: What the first line of a file says that it is.
_FILE = "ibt audit"
_FILE_VERSION = 1


@dataclass(frozen=True, slots=True)
class ChainHead:
    """
    A chain's end, to be kept elsewhere: how many rows it has, and the last one's hash.

    *older* mapping versions are of no row: they were there before the audit.
    """

    customer_id: int
    count: int
    hash: str
    older: int = 0


class Unreadable(Exception):
    """A file is not what it is taken for: one sentence."""


@dataclass(slots=True)
class Tally:
    """What has been gone through: chains, rows, the mapping versions that they tell of, and *older* ones."""

    chains: int = 0
    rows: int = 0
    versions: int = 0
    older: int = 0


# --- reading ------------------------------------------------------------------------------------------------

_ENTRY = select(*map(as_kept, audit.c))


def entries(  # noqa: PLR0913 - what is asked for, each of which may be left out
    connection: Connection,
    *,
    customer_id: int | None = None,
    since: datetime | None = None,
    user_name: str | None = None,
    kind: str | None = None,
    limit: int | None = None,
) -> Iterator[Entry]:
    """The rows that match, by time, then by customer and number; the last *limit* of them. *since* is in UTC."""
    wanted = {"customer_id": customer_id, "user_name": user_name, "kind": kind}
    statement = _ENTRY.where(*(audit.c[name] == value for name, value in wanted.items() if value is not None))
    if since is not None:
        statement = statement.where(audit.c.time >= since)
    # In one chain times never go back, so its own order is that of time, and the key has it.
    of_one = customer_id is not None
    order = (audit.c.audit_number,) if of_one else (audit.c.time, audit.c.customer_id, audit.c.audit_number)
    if limit is None:
        return map(Entry._make, _streamed(connection, statement.order_by(*order)))
    last = connection.execute(statement.order_by(*(column.desc() for column in order)).limit(limit)).all()
    return map(Entry._make, reversed(last))


def heads(connection: Connection, customer_id: int | None = None) -> list[ChainHead]:
    """The heads of the chains, as the customers' states have them, by customer."""
    older = dict(_pairs(connection, _of(customer_id, _OLDER, mapping_version)))
    states = connection.execute(_of(customer_id, _STATES, customer_state))
    return [ChainHead(id_, number, hash_, older.get(id_, 0)) for id_, number, hash_, _ in states]


_STATES = select(customer_state.c.customer_id, *HEAD).order_by(customer_state.c.customer_id)
_OLDER = (
    select(mapping_version.c.customer_id, func.count())
    .where(mapping_version.c.audit_number.is_(None))
    .group_by(mapping_version.c.customer_id)
)


def _of(customer_id: int | None, statement: Select[Any], table: sa.Table) -> Select[Any]:
    """*statement*, narrowed to one customer where there is one."""
    return statement if customer_id is None else statement.where(table.c.customer_id == customer_id)


def _streamed(connection: Connection, statement: Select[Any] | CompoundSelect[Any]) -> Iterator[Any]:
    # A server-side cursor: else all rows would be fetched before the first one is here.
    return iter(connection.execute(statement, execution_options={"yield_per": _CHUNK}))


def _pairs(connection: Connection, statement: Select[Any]) -> Iterator[tuple[Any, Any]]:
    return ((first, second) for first, second in connection.execute(statement))


# --- in files -----------------------------------------------------------------------------------------------


def write_heads(kept: Iterable[ChainHead], stream: IO[str]) -> None:
    """Writes heads as JSON, one on a line."""
    lines = ",\n".join(json.dumps(asdict(head)) for head in kept)
    stream.write(f'{{"heads": [\n{lines}\n]}}\n')


def read_heads(text: str) -> dict[int, ChainHead]:
    """The heads that `write_heads` wrote, by customer. Raises Unreadable."""
    try:
        kept = {head["customer_id"]: ChainHead(**head) for head in _object(text)["heads"]}
    except (ValueError, TypeError, KeyError, RecursionError):
        kept = {}
    if not kept or not all(_whole(head.customer_id, head.count, head.older) for head in kept.values()):
        raise Unreadable("is not what ibt audit head writes")
    return kept


def export(
    connection: Connection, stream: IO[bytes], customer_id: int | None = None, before: datetime | None = None
) -> Tally:
    """
    Writes the chains as JSON, one row on a line, a chain's head before its rows; *before* is in UTC.

    Such a file is verified by `faults_of_file`, apart from the database.
    """
    states = connection.execute(_of(customer_id, _STATES, customer_state)).all()
    ends = [(id_, _end_before(connection, id_, before) if before else Head(*head)) for id_, *head in states]
    told = {"file": _FILE, "version": _FILE_VERSION, "chains": len(ends)}
    _write_line(stream, told | ({"before": write_time(before)} if before else {}))
    tally = Tally(chains=len(ends))
    for id_, end in ends:
        _write_line(stream, {"customer_id": id_, "count": end.number, "hash": end.hash})
        rows = _ENTRY.where(audit.c.customer_id == id_).order_by(audit.c.audit_number)
        if before:
            rows = rows.where(audit.c.audit_number <= end.number)
        for row in _streamed(connection, rows):
            _write_line(stream, Entry._make(row)._asdict())
            tally.rows += 1
    return tally


def _end_before(connection: Connection, customer_id: int, before: datetime) -> Head:
    """The head that the chain had at that time: its times never go back."""
    row = connection.execute(
        select(audit.c.audit_number, audit.c.hash, as_kept(audit.c.time))
        .where(audit.c.customer_id == customer_id, audit.c.time < before)
        .order_by(audit.c.audit_number.desc())
        .limit(1)
    ).first()
    return Head(*row) if row else Head()


def _write_line(stream: IO[bytes], values: Mapping[str, object]) -> None:
    stream.write(f"{json.dumps(values)}\n".encode("ascii"))


# --- verifying ----------------------------------------------------------------------------------------------


class _Chain:
    """A chain while its rows are gone through, in order; *kept* is a head that it has had, if one is known."""

    def __init__(self, customer_id: int, kept: ChainHead | None) -> None:
        self.name = "the operators" if customer_id == OPERATOR else f"customer {customer_id}"
        self._kept = kept
        self._head = Head()

    def faults_of(self, entry: Entry) -> Iterator[str]:
        """What is wrong with the next row."""
        before, where = self._head, f"{self.name}, row {entry.audit_number}"
        if not _whole(entry.audit_number, entry.time):
            yield f"{where}: its number or its time is none."
            return
        if entry.audit_number <= before.number:
            yield f"{where}: it comes after row {before.number}."
            return
        if entry.audit_number > before.number + 1:
            yield f"{self.name}: {_rows(before.number + 1, entry.audit_number - 1)} missing."
        elif entry.hash != chained(before.hash, entry[:-1]):
            yield f"{where}: its hash is not that of what it says and of the row before it."
        if before.time is not None and entry.time < before.time:
            yield f"{where}: its time is before that of the row before it."
        if self._kept and entry.audit_number == self._kept.count and entry.hash != self._kept.hash:
            yield f"{where}: its hash is not the one of the head that was kept."
        self._head = entry.head

    def faults_of_end(self, head: Head, says: str) -> Iterator[str]:
        """What is wrong with the end, where something *says* that the chain has *head*; its time may be unknown."""
        last = self._head
        if head.number > last.number:
            yield f"{self.name}: {_rows(last.number + 1, head.number)} missing at the end, by {says}."
        elif head.number < last.number:
            yield f"{self.name}: {_rows(head.number + 1, last.number)} too many at the end, by {says}."
        elif head.hash != last.hash:
            yield f"{self.name}: the hash of the last row is not the one of {says}."
        elif head.time is not None and head.time != last.time:
            yield f"{self.name}: the time of the last row is not the one of {says}."
        if self._kept and self._kept.count > max(last.number, head.number):
            yield f"{self.name}: {_rows(last.number + 1, self._kept.count)} missing, by the head that was kept."


def _whole(*numbers: object) -> bool:
    """Whether these are whole numbers: what was tampered with may be anything."""
    return all(type(number) is int for number in numbers)


def _rows(first: int, last: int) -> str:
    return f"row {first} is" if first == last else f"rows {first} to {last} are"


def faults(
    connection: Connection,
    tally: Tally,
    kept: Mapping[int, ChainHead] | None = None,
    customer_id: int | None = None,
) -> Iterator[str]:
    """
    What is wrong with the audit of all customers, or of one, and with the mapping versions that it tells of.

    *kept* are heads of before, by customer, which the chains must pass through. What is gone through is added to
    *tally*.
    """
    kept = _narrowed(kept or {}, customer_id)
    states = {row[0]: Head(*row[1:]) for row in connection.execute(_of(customer_id, _STATES, customer_state))}
    tally.chains += len(states)
    told = _Versions(connection, tally, customer_id)
    seen = set()
    in_order = _ENTRY.order_by(audit.c.customer_id, audit.c.audit_number)
    rows = map(Entry._make, _streamed(connection, _of(customer_id, in_order, audit)))
    for id_, of_customer in groupby(rows, key=lambda entry: entry.customer_id):
        seen.add(id_)
        one = _Chain(id_, kept.get(id_))
        for entry in of_customer:
            tally.rows += 1
            yield from one.faults_of(entry)
            yield from told.faults_of(one, entry)
        yield from one.faults_of_end(states.get(id_, Head()), "the customer's state")
    for id_ in sorted((states.keys() | kept.keys()) - seen):
        yield from _Chain(id_, kept.get(id_)).faults_of_end(states.get(id_, Head()), "the customer's state")
    yield from told.faults_of_rest()
    yield from _faults_of_older(connection, tally, kept, customer_id)
    yield from _faults_of_order(connection, customer_id)


def _narrowed(kept: Mapping[int, ChainHead], customer_id: int | None) -> Mapping[int, ChainHead]:
    return {id_: head for id_, head in kept.items() if customer_id in {None, id_}}


#: Stands for what is no number of a row: SQLite has it after all numbers.
_NO_NUMBER = 1 << 62


class _Versions:
    """The mapping versions by the rows that tell of them, gone through beside the rows."""

    def __init__(self, connection: Connection, tally: Tally, customer_id: int | None) -> None:
        rows = _streamed(connection, _of(customer_id, _TOLD_VERSIONS, mapping_version))
        self._groups = (
            (key, *versions_hash(row[2:] for row in group))
            for key, group in groupby(rows, key=lambda row: (row[0], row[1] if _whole(row[1]) else _NO_NUMBER))
        )
        self._tally = tally
        self._next = next(self._groups, None)

    def faults_of(self, one: _Chain, entry: Entry) -> Iterator[str]:
        """What is wrong with the versions that *entry* tells of, and with those that tell of a row before it."""
        key = (entry.customer_id, entry.audit_number if _whole(entry.audit_number) else _NO_NUMBER)
        while self._next and self._next[0] < key:
            yield self._stray()
        count, hash_ = 0, ""
        if self._next and self._next[0] == key:
            _, count, hash_ = self._next
            self._take()
        if (count, hash_) == (entry.versions_created, entry.versions_sha256):
            return
        where = f"{one.name}, row {entry.audit_number}"
        if count != entry.versions_created:
            yield f"{where}: it made {entry.versions_created} mapping versions, and there are {count} of it."
        else:
            yield f"{where}: the mapping versions that it made are not what they were."

    def faults_of_rest(self) -> Iterator[str]:
        """The versions that are left tell of rows that are not there."""
        while self._next:
            yield self._stray()

    def _take(self) -> None:
        if self._next:
            self._tally.versions += self._next[1]
        self._next = next(self._groups, None)

    def _stray(self) -> str:
        assert self._next is not None, "the caller has looked"  # noqa: S101 - for the type
        (customer_id, number), count, _ = self._next
        self._take()
        return f"customer {customer_id}: {count} mapping versions are of row {number}, which is not there."


_TOLD_VERSIONS = (
    select(mapping_version.c.customer_id, mapping_version.c.audit_number, *VERSION_COLUMNS)
    .where(mapping_version.c.audit_number.is_not(None))
    .order_by(mapping_version.c.customer_id, mapping_version.c.audit_number, *VERSION_ORDER)
)


def _faults_of_older(
    connection: Connection, tally: Tally, kept: Mapping[int, ChainHead], customer_id: int | None
) -> Iterator[str]:
    """Versions without a row are older than the audit: there cannot be more of them than when a head was kept."""
    older = dict(_pairs(connection, _of(customer_id, _OLDER, mapping_version)))
    tally.older += sum(older.values())
    for id_ in sorted(kept):
        count = older.get(id_, 0)
        if count != kept[id_].older:
            yield (
                f"customer {id_}: {count} mapping versions have no row, and {kept[id_].older} had none "
                "when the head was kept."
            )


_key = mapping_version.primary_key.columns
_period = [column for column in _key if column.name != "sequence"]
_numbered = select(
    *(as_kept(column).label(column.name) for column in _key),
    mapping_version.c.audit_number,
    func.row_number().over(partition_by=_period, order_by=mapping_version.c.sequence).label("nth"),
    func.lag(mapping_version.c.audit_number)
    .over(partition_by=_period, order_by=mapping_version.c.sequence)
    .label("before"),
)

_later = mapping_version.alias("later")
_SHOWN = ("begin", "end", "version", "subaccount_id")


def _same_period(versions: sa.FromClause) -> list[ColumnElement[bool]]:
    return [versions.c[column.name] == current_mapping.c[column.name] for column in _period]


_ASTRAY = (
    select(*(as_kept(current_mapping.c[column.name]) for column in _period))
    .select_from(current_mapping)
    .join(
        mapping_version,
        sa.and_(*_same_period(mapping_version), mapping_version.c.sequence == current_mapping.c.sequence),
        isouter=True,
    )
    .join(
        _later,
        sa.and_(*_same_period(_later), _later.c.sequence == current_mapping.c.sequence + 1),
        isouter=True,
    )
    .where(
        sa.or_(
            mapping_version.c.customer_id.is_(None),
            _later.c.customer_id.is_not(None),
            *(mapping_version.c[name] != current_mapping.c[name] for name in _SHOWN),
        )
    )
    .order_by(*(current_mapping.c[column.name] for column in _period))
)


def _faults_of_order(connection: Connection, customer_id: int | None) -> Iterator[str]:
    """The versions of a period are numbered as they came, the last is shown, and places lead there."""
    numbered = _of(customer_id, _numbered, mapping_version).subquery("numbered")
    disordered = (
        select(numbered.c.customer_id, numbered.c.contract_id, numbered.c.month)
        .distinct()
        .where(sa.or_(numbered.c.sequence != numbered.c.nth, numbered.c.audit_number < numbered.c.before))
        .order_by(numbered.c.customer_id, numbered.c.contract_id, numbered.c.month)
    )
    for period in _streamed(connection, disordered):
        yield f"{_named(*period)}: the mapping versions are not in the order in which they came."
    for period in _streamed(connection, _of(customer_id, _ASTRAY, current_mapping)):
        yield f"{_named(*period)}: the current mapping is not the last version."
    for id_, _, contract_id, month in _streamed(connection, places.astray(customer_id)):
        yield f"{_named(id_, contract_id, month)}: the row of place is wrong, and so are the pages that it leads to."


def _named(customer_id: int, contract_id: int, month: object) -> str:
    shown = f"{month // 100}-{month % 100:02}" if isinstance(month, int) else f"{month!r}"  # SQLite takes anything
    return f"customer {customer_id}, contract {contract_id}, {shown}"


# --- verifying a file ---------------------------------------------------------------------------------------


def faults_of_file(
    lines: Iterable[bytes],
    tally: Tally,
    kept: Mapping[int, ChainHead] | None = None,
    customer_id: int | None = None,
) -> Iterator[str]:
    """
    What is wrong with the audit in a file that `export` wrote; *kept* as for `faults`. Raises Unreadable.

    The mapping versions are not in the file: what it says of them can be verified in the database alone.
    """
    numbered = enumerate(lines, 1)
    chains = _read_first_line(next(numbered, (1, b""))[1])
    kept = _narrowed(kept or {}, customer_id)
    one: _Chain | None = None
    id_, end, seen = -1, Head(), 0
    for number, line in numbered:
        match _read_line(line):
            case Entry() as entry if one is not None and entry.customer_id == id_:
                tally.rows += 1
                yield from one.faults_of(entry)
            case ChainHead() as head if head.customer_id > id_:
                if one is not None:
                    yield from one.faults_of_end(end, "the file's line of its head")
                yield from _faults_of_missing(kept, id_, head.customer_id)
                id_, end, seen = head.customer_id, Head(head.count, head.hash), seen + 1
                one = _Chain(id_, kept.get(id_))
            case Entry() | ChainHead():
                yield f"line {number}: it is not in its place."
            case None:
                yield f"line {number}: it is neither a row nor a head."
    if one is not None:
        yield from one.faults_of_end(end, "the file's line of its head")
    yield from _faults_of_missing(kept, id_, None)
    if seen != chains:
        yield f"the file: it has {seen} chains, and its first line says {chains}."
    tally.chains += seen


def _faults_of_missing(kept: Mapping[int, ChainHead], after: int, until: int | None) -> Iterator[str]:
    """The chains that were kept and are not in the file, between two that are."""
    for id_ in sorted(kept):
        if id_ > after and (until is None or id_ < until):
            yield from _Chain(id_, kept[id_]).faults_of_end(Head(), "the file")


def _object(text: str | bytes) -> Any:
    """JSON in which no object has a name twice: of two values, another reader might take the other."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("an object has a name twice")
        return found

    return json.loads(text, object_pairs_hook=once)


def _read_first_line(line: bytes) -> int:
    try:
        told = _object(line)
        if told["file"] == _FILE and told["version"] == _FILE_VERSION:
            return int(told["chains"])
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise Unreadable("is not what ibt audit export of this version wrote")


def _read_line(line: bytes) -> Entry | ChainHead | None:
    try:
        told = _object(line)
        read = Entry(**told) if "audit_number" in told else ChainHead(**told)
    except (ValueError, TypeError, RecursionError):
        return None
    return read if _whole(read.customer_id, 0 if isinstance(read, Entry) else read.count) else None
