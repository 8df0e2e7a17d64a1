"""
The audit: who changed what, one row for each deed, chained by hash for each customer.

A row holds the hash of the one before it, and the last one's is in `customer_state`: a row that is changed, put in
or removed later breaks the chain (`ibt.store.chains` finds where). Rows of a customer are numbered from 1 without
gaps, under the customer's lock; their times never go back, so the order is the number's. What operators do to users
and certificates has a chain of its own.

Reading 41.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import socket
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from ibt.store.question import Change, Question
from ibt.store.tables import NO_HASH, EasternMonth, Time, audit, customer_state, mapping_version, seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

#: Whose chain has what operators do: a customer id that nobody has.
OPERATOR = 0

#: Longer texts are cut: what a client makes up shall not fill the database.
_MOST_CHARACTERS = {"user_name": 200, "subject": 1000, "serial": 100, "detail": 200}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """
    What a row tells; all but *kind* and *time* may be empty.

    *kind* is `update`, `refusal`, `load`, `users` or `certificates`; *time* is UTC, of whole seconds. *subject* (RFC
    4514), *serial* and *fingerprint* (SHA-256, both in hexadecimal) are those of the user's certificate. Of a
    command, *user_name* is the operating system's user, and *address* the machine's name.
    """

    kind: str
    time: datetime
    user_name: str = ""
    subject: str = ""
    serial: str = ""
    fingerprint: str = ""
    address: str = ""
    request_id: str = ""
    status: int | None = None
    body_sha256: str = ""
    versions_created: int = 0
    detail: str = ""


class Head(NamedTuple):
    """The end of a chain: the last row's number, which is how many there are, its hash and its time, in seconds."""

    number: int = 0
    hash: str = NO_HASH
    time: int | None = None


def as_kept(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """*column* as the table keeps it: whole numbers for times and months."""
    return sa.type_coerce(column, sa.BigInteger) if isinstance(column.type, Time | EasternMonth) else column


class Entry(NamedTuple):
    """A row, its columns in order, as the table keeps them: *time* in seconds since 1970."""

    customer_id: int
    audit_number: int
    time: int
    kind: str
    user_name: str
    subject: str
    serial: str
    fingerprint: str
    address: str
    request_id: str
    status: int | None
    body_sha256: str
    versions_created: int
    versions_sha256: str
    detail: str
    hash: str

    @property
    def head(self) -> Head:
        """The head of a chain that ends with this row."""
        return Head(self.audit_number, self.hash, self.time)


def chained(forerunner: str, columns: Sequence[object]) -> str:
    """
    The hash of a row after the one with hash *forerunner*, or `NO_HASH`; *columns* are all of its own but the hash.

    SHA-256, in hexadecimal, of a JSON array in ASCII without spaces: *forerunner*, then the columns.
    """
    return hashlib.sha256(_ARRAY.encode([forerunner, *columns]).encode("ascii")).hexdigest()


# What no column can hold, and a row that was tampered with may, is not what was hashed, whatever it is.
_ARRAY = json.JSONEncoder(separators=(",", ":"), default=repr)


#: What is hashed of a mapping version, as the table keeps it; and the order in which versions are.
VERSION_COLUMNS = tuple(
    as_kept(mapping_version.c[name]) for name in ("contract_id", "month", "begin", "end", "version", "subaccount_id")
)
VERSION_ORDER = (mapping_version.c.contract_id, mapping_version.c.month, mapping_version.c.sequence)


def versions_hash(versions: Iterable[Sequence[object]]) -> tuple[int, str]:
    """
    How many *versions* there are, each with `VERSION_COLUMNS`, and what `versions_sha256` says of them; "" of none.

    They are in `VERSION_ORDER`. SHA-256, in hexadecimal, of a line for each: a JSON array in
    ASCII without spaces, and a line feed.
    """
    digest = VersionsDigest()
    rest = iter(versions)
    while chunk := list(islice(rest, _CHUNK)):
        digest.add(chunk)
    return digest.count, digest.sha256


_CHUNK = 1_000


class VersionsDigest:
    """What `versions_hash` makes, of versions that come piece by piece; *count* tells how many have come."""

    def __init__(self) -> None:
        self.count = 0
        self._digest = hashlib.sha256()

    def add(self, versions: Collection[Sequence[object]]) -> None:
        """Adds versions that come after all those before."""
        self._digest.update("".join(map(_line, versions)).encode("ascii"))
        self.count += len(versions)

    @property
    def sha256(self) -> str:
        """The hash of all that have come; "" of none."""
        return self._digest.hexdigest() if self.count else ""


def _line(version: Sequence[Any]) -> str:
    contract_id, month, begin, end, born, subaccount_id = version
    try:
        # What JSON makes of them, in a fraction of its time: a load has millions.
        return f"[{contract_id},{month},{begin},{end},{born},{_quoted(subaccount_id)}]\n"
    except TypeError:  # no text: the database has been tampered with
        return f"{_ARRAY.encode([*version])}\n"


_quoted = json.encoder.encode_basestring_ascii


def entry(customer_id: int, head: Head, deed: Deed, versions_sha256: str = "") -> Entry:
    """The row of *deed* that comes after *head*."""
    instant = seconds(deed.time) or 0
    columns = (
        customer_id,
        head.number + 1,
        instant if head.time is None else max(instant, head.time),
        deed.kind,
        _kept("user_name", deed.user_name),
        _kept("subject", deed.subject),
        _kept("serial", deed.serial),
        deed.fingerprint,
        _kept("address", deed.address),
        _kept("request_id", deed.request_id),
        deed.status,
        deed.body_sha256,
        deed.versions_created,
        versions_sha256,
        _kept("detail", deed.detail),
    )
    return Entry(*columns, chained(head.hash, columns))


def _kept(name: str, text: str) -> str:
    """*text* as every database can keep it, and not too long."""
    most = _MOST_CHARACTERS.get(name, 100)
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    return text if text.isprintable() else text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


_OF_CUSTOMER: sa.BindParameter[int] = bindparam("of_customer", type_=sa.Integer)

#: The head of a chain, as `Head` has it.
HEAD = tuple(as_kept(customer_state.c[name]) for name in ("audit_count", "audit_hash", "audit_time"))

_LOCK = Question(select(*HEAD).where(customer_state.c.customer_id == _OF_CUSTOMER).with_for_update())

_FIRST_USE = sa.text(
    "INSERT INTO customer_state (customer_id, revision) VALUES (:customer_id, '') ON CONFLICT DO NOTHING"
)

_INSERT = Change(
    sa.insert(audit).values(
        {
            column.name: bindparam(column.name, type_=sa.BigInteger() if column.name == "time" else column.type)
            for column in audit.c
        }
    )
)

#: What an update of `customer_state` sets, to the values of `moved_to`, where a chain gets a row.
MOVED = {
    "audit_count": bindparam("new_count", type_=sa.Integer),
    "audit_hash": bindparam("new_hash", type_=customer_state.c.audit_hash.type),
    "audit_time": bindparam("new_time", type_=sa.BigInteger),
}

_MOVE = Change(sa.update(customer_state).where(customer_state.c.customer_id == _OF_CUSTOMER).values(MOVED))


def append(connection: Connection, customer_id: int, deed: Deed) -> int:
    """
    Adds the row of *deed* to the customer's chain, in the transaction of *connection*; returns its number.

    The chain is locked until the transaction ends: the customer's updates wait.
    """
    added = entry(customer_id, _locked(connection, customer_id), deed)
    insert(connection, added)
    _MOVE.make(connection, {"of_customer": customer_id, **moved_to(added.head)})
    return added.audit_number


def moved_to(head: Head) -> dict[str, object]:
    """The values of `MOVED`."""
    return {"new_count": head.number, "new_hash": head.hash, "new_time": head.time}


def insert(connection: Connection, added: Entry) -> None:
    """Inserts *added*; the head of its chain, which the caller has locked, is the caller's to move."""
    _INSERT.make(connection, added._asdict())


def _locked(connection: Connection, customer_id: int) -> Head:
    rows = _LOCK.ask(connection, {"of_customer": customer_id})
    if not rows and customer_id == OPERATOR:
        connection.execute(_FIRST_USE, {"customer_id": OPERATOR})
        rows = _LOCK.ask(connection, {"of_customer": customer_id})
    if not rows:
        raise LookupError(f"customer {customer_id} has no state")
    return Head(*rows[0])


def by_operator(kind: str, time: datetime, detail: str = "") -> Deed:
    """A deed of whoever runs this process: the operating system's user, on this machine."""
    try:
        user_name = pwd.getpwuid(os.getuid()).pw_name  # not what the environment says, which is the user's own
    except KeyError:  # an id may have no name
        user_name = str(os.getuid())
    return Deed(kind=kind, time=time, user_name=user_name, address=socket.gethostname(), detail=detail)
