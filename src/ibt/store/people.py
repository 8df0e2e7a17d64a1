"""
Who is let in: users, their roles at customers, the certificates that they are pinned to, and those that are revoked.

Each change leaves a row in the audit of the operators, in the same transaction; what changes nothing leaves none.
Changes are made one after another; requests, which only read, wait for none.

Readings 9, 55, 56, 65.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from sqlalchemy import delete, insert, select

from ibt.rules.faults import quoted
from ibt.store import audit, folder
from ibt.store.audit import Deed, by_operator
from ibt.store.folder import USER_NAME, UserRow
from ibt.store.records import Broken
from ibt.store.tables import customer, grants, pins, revoked, users

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from sqlalchemy import Connection, Table

_NOTHING: Mapping[str, object] = {}


class NotDone(Exception):
    """Nothing was changed: there is no such user or customer, or a name cannot be one. One sentence."""


class Pin(NamedTuple):
    """That a user is let in by the certificate with this SHA-256 fingerprint, and by others with a pin only."""

    user_name: str
    fingerprint: str
    time: datetime


class Revoked(NamedTuple):
    """A certificate that lets nobody in, since *time*; what was not told when it was revoked is empty."""

    issuer: str
    serial: str
    subject: str
    fingerprint: str
    time: datetime


# --- users and their roles ----------------------------------------------------------------------------------


def add_user(connection: Connection, user_name: str, now: datetime) -> bool:
    """Adds a user, who has no role yet; false where there is one of this name. Raises NotDone. Reading 65."""
    try:
        folder.user_name(user_name)
    except Broken:
        raise NotDone(f"{quoted(user_name)} cannot be the name of a user: it {USER_NAME.says}.") from None
    keep_others_out(connection)
    done = _added(connection, users, user_name=user_name)
    if done:
        _tell(connection, by_operator("users", now, f"added {user_name}"))
    return done


def remove_user(connection: Connection, user_name: str, now: datetime) -> None:
    """Removes a user with roles and pins. Raises NotDone."""
    keep_others_out(connection)
    know_user(connection, user_name)
    had = _roles(connection, grants.c.user_name == user_name)
    roles = ", ".join(f"{row.role} at {row.customer_id}" for row in had)
    for table in (pins, grants, users):
        connection.execute(delete(table).where(table.c.user_name == user_name))
    _tell(connection, by_operator("users", now, f"removed {user_name}, with {roles or 'no role'}"))


def grant(connection: Connection, user_name: str, customer_id: int, role: str, now: datetime) -> bool:
    """Gives a user a role at a customer; false where they have it. Raises NotDone. Reading 56."""
    keep_others_out(connection)
    know_user(connection, user_name)
    know_customer(connection, customer_id)
    done = _added(connection, grants, user_name=user_name, customer_id=customer_id, role=role)
    if done:
        _tell(connection, by_operator("users", now, f"granted {user_name} the role {role} at customer {customer_id}"))
    return done


def revoke(connection: Connection, user_name: str, customer_id: int, role: str, now: datetime) -> bool:
    """Takes a role at a customer from a user; false where they do not have it. Raises NotDone."""
    keep_others_out(connection)
    know_user(connection, user_name)
    done = _removed(connection, grants, user_name=user_name, customer_id=customer_id, role=role)
    if done:
        detail = f"revoked the role {role} of {user_name} at customer {customer_id}"
        _tell(connection, by_operator("users", now, detail))
    else:
        know_customer(connection, customer_id)
    return done


def user_rows(connection: Connection, customer_id: int | None = None) -> list[UserRow]:
    """Who has which role where, in order, as users.csv has it: at one customer, or all and those without a role."""
    if customer_id is not None:
        return _roles(connection, grants.c.customer_id == customer_id)
    without = ~select(grants.c.user_name).where(grants.c.user_name == users.c.user_name).exists()
    names = connection.execute(select(users.c.user_name).where(without)).scalars()
    roles = _roles(connection, sa.true())
    return sorted([*roles, *(UserRow(name, None, "") for name in names)], key=lambda row: row.user)


def _roles(connection: Connection, chosen: sa.ColumnElement[bool]) -> list[UserRow]:
    found = select(grants.c.user_name, grants.c.customer_id, grants.c.role).where(chosen)
    return [UserRow(*row) for row in connection.execute(found.order_by(*grants.primary_key.columns))]


# --- certificates -------------------------------------------------------------------------------------------


def pin(connection: Connection, user_name: str, fingerprint: str, now: datetime) -> bool:
    """Lets a user in by this certificate, and by no other without a pin; false where it is so. Raises NotDone."""
    keep_others_out(connection)
    know_user(connection, user_name)
    done = _added(connection, pins, {"time": now}, user_name=user_name, fingerprint=fingerprint)
    if done:
        deed = by_operator("certificates", now, f"pinned {user_name} to a certificate")
        _tell(connection, replace(deed, fingerprint=fingerprint))
    return done


def unpin(connection: Connection, user_name: str, fingerprint: str, now: datetime) -> bool:
    """Takes a pin away; false where there is none. Without any, common name and authority suffice. Raises NotDone."""
    keep_others_out(connection)
    know_user(connection, user_name)
    done = _removed(connection, pins, user_name=user_name, fingerprint=fingerprint)
    if done:
        deed = by_operator("certificates", now, f"took a pin of {user_name} away")
        _tell(connection, replace(deed, fingerprint=fingerprint))
    return done


def revoke_certificate(connection: Connection, certificate: Revoked) -> bool:
    """Lets nobody in by this certificate any more; false where that is so."""
    keep_others_out(connection)
    told = {"subject": certificate.subject, "fingerprint": certificate.fingerprint, "time": certificate.time}
    done = _added(connection, revoked, told, issuer=certificate.issuer, serial=certificate.serial)
    if done:
        deed = by_operator("certificates", certificate.time, f"revoked a certificate of {certificate.issuer}")
        of_it = replace(deed, subject=certificate.subject, serial=certificate.serial)
        _tell(connection, replace(of_it, fingerprint=certificate.fingerprint))
    return done


def undo_revocation(connection: Connection, issuer: str, serial: str, now: datetime) -> bool:
    """Has a certificate count again as if it had never been revoked; false where it was not."""
    keep_others_out(connection)
    done = _removed(connection, revoked, issuer=issuer, serial=serial)
    if done:
        deed = by_operator("certificates", now, f"undid the revocation of a certificate of {issuer}")
        _tell(connection, replace(deed, serial=serial))
    return done


def pin_rows(connection: Connection) -> list[Pin]:
    """All pins, by user and fingerprint."""
    return [Pin(*row) for row in connection.execute(select(pins).order_by(*pins.primary_key.columns))]


def revoked_rows(connection: Connection) -> list[Revoked]:
    """All revoked certificates, by issuer and serial number."""
    return [Revoked(*row) for row in connection.execute(select(revoked).order_by(*revoked.primary_key.columns))]


# --- what they have in common -------------------------------------------------------------------------------


def keep_others_out(connection: Connection) -> None:
    """Makes this the only change of people until the transaction ends: SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE users, grants, pins, revoked IN SHARE ROW EXCLUSIVE MODE"))


def know_customer(connection: Connection, customer_id: int) -> None:
    """Raises NotDone where there is no such customer."""
    if not _is_there(connection, customer, customer_id=customer_id):
        raise NotDone(f"There is no customer {customer_id}: ibt load brings customers.")


def know_user(connection: Connection, user_name: str) -> None:
    """Raises NotDone where there is no such user."""
    if not _is_user(connection, user_name):
        raise NotDone(f"There is no user {quoted(user_name)}: ibt users add makes one, ibt users list shows who is.")


def _is_user(connection: Connection, user_name: str) -> bool:
    # A text that does not print is nobody's name, and one that a database may not have.
    return user_name.isprintable() and _is_there(connection, users, user_name=user_name)


def _is_there(connection: Connection, table: Table, **key: object) -> bool:
    return connection.execute(select(sa.literal(1)).where(*_has(table, key))).first() is not None


def _added(connection: Connection, table: Table, more: Mapping[str, object] = _NOTHING, **key: object) -> bool:
    """Adds the row with *key*, and what *more* it has; false where there is one."""
    if _is_there(connection, table, **key):
        return False
    connection.execute(insert(table).values({**key, **more}))
    return True


def _removed(connection: Connection, table: Table, **key: object) -> bool:
    """Removes the row with *key*; false where there is none."""
    if not _is_there(connection, table, **key):
        return False
    connection.execute(delete(table).where(*_has(table, key)))
    return True


def _has(table: Table, key: Mapping[str, object]) -> Iterator[sa.ColumnElement[bool]]:
    return (table.c[name] == value for name, value in key.items())


def _tell(connection: Connection, deed: Deed) -> None:
    audit.append(connection, audit.OPERATOR, deed)
