"""The commands `users` and `certificates`: who is let in, and who no longer is."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ibt.cli.database import ConfigOption, DatabaseOption, opened, tell, told
from ibt.rules.faults import quoted
from ibt.rules.model import LARGEST_ID

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ibt.cli.tables import Row
    from ibt.service.access import Certificate
    from ibt.store.people import Revoked

    #: What is done in one transaction at a time; returns the sentences that tell of it.
    Change = Callable[[Connection, datetime], Sequence[str]]

_User = Annotated[
    str, typer.Argument(metavar="USER", help="The common name of their certificate.", show_default=False)
]
_Customer = Annotated[
    int, typer.Argument(min=1, max=LARGEST_ID, metavar="CUSTOMER", help="The customer's id.", show_default=False)
]
_Customers = Annotated[
    list[int] | None, typer.Option("--customer", min=1, max=LARGEST_ID, metavar="ID", help="Give the role there too.")
]
_OfCustomer = Annotated[
    int | None, typer.Option("--customer", min=1, max=LARGEST_ID, metavar="ID", help="Only who has a role there.")
]
_Role = Annotated[str, typer.Option("--role", metavar="TEXT", help="Only IBT lets anyone in.")]
_Certificate = Annotated[
    str,
    typer.Argument(
        metavar="CERTIFICATE",
        help="A file with the certificate, PEM or DER; - for stdin; or its SHA-256 fingerprint.",
        show_default=False,
    ),
]
_File = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="The certificate, PEM or DER; - for stdin.", show_default=False),
]
_Serial = Annotated[
    str | None, typer.Option("--serial", metavar="HEX", help="Without a file: the serial number, as in the log.")
]
_Issuer = Annotated[
    str | None, typer.Option("--issuer", metavar="NAME", help="Without a file: who issued it, as in the log.")
]

_IBT = "IBT"

_FINGERPRINT = re.compile("[0-9a-f]{64}")
_SERIAL = re.compile("[0-9a-f]{1,64}")


def add_commands(app: typer.Typer) -> None:
    """Adds `users` and `certificates` to *app*."""
    users = typer.Typer(help="Who is let in, and for which customers.", no_args_is_help=True, rich_markup_mode=None)
    for command, example in (
        (add, "ibt users add xyz --customer 1 --config /etc/ibt/ibt.toml"),
        (remove, "ibt users remove xyz --config /etc/ibt/ibt.toml"),
        (grant, "ibt users grant xyz 2 --config /etc/ibt/ibt.toml"),
        (revoke, "ibt users revoke xyz 2 --config /etc/ibt/ibt.toml"),
    ):
        users.command(epilog=f"Example: {example}")(command)
    users.command("list", epilog="Example: ibt users list --config /etc/ibt/ibt.toml")(list_users)
    app.add_typer(users, name="users")

    certificates = typer.Typer(
        help="By which certificates users are let in.", no_args_is_help=True, rich_markup_mode=None
    )
    certificates.command(epilog="Example: ibt certificates pin xyz xyz.pem --config /etc/ibt/ibt.toml")(pin)
    certificates.command(epilog="Example: ibt certificates unpin xyz old.pem --config /etc/ibt/ibt.toml")(unpin)
    certificates.command("revoke", epilog=_REVOKE_EXAMPLES)(revoke_certificate)
    certificates.command("list", epilog="Example: ibt certificates list --config /etc/ibt/ibt.toml")(
        list_certificates
    )
    app.add_typer(certificates, name="certificates")


_REVOKE_EXAMPLES = """\b
Examples:
  ibt certificates revoke xyz.pem --config /etc/ibt/ibt.toml
  ibt certificates revoke --serial 5d0f --issuer "CN=Our authority" --database postgresql:///ibt
"""


# --- users ------------------------------------------------------------------------------------------------


def add(
    user: _User,
    customer: _Customers = None,
    role: _Role = _IBT,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Add a user, who may then act for the customers named."""
    from ibt.store import people

    def change(connection: Connection, now: datetime) -> Sequence[str]:
        done = people.add_user(connection, user, now)
        lines = [f"Added the user {user}." if done else f"{user} is a user already."]
        for each in customer or ():
            lines += _granted(connection, user, each, role, now)
        if done and not customer:
            lines.append("They have no role yet: ibt users grant gives them one.")
        return lines

    _make(change, config, database)


def remove(user: _User, config: ConfigOption = None, database: DatabaseOption = None) -> None:
    """Remove a user, with every role and pin; their next request is refused."""
    from ibt.store import people

    def change(connection: Connection, now: datetime) -> Sequence[str]:
        people.remove_user(connection, user, now)
        return [f"Removed the user {user}, with every role and pin."]

    _make(change, config, database)


def grant(
    user: _User,
    customer: _Customer,
    role: _Role = _IBT,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Give a user the role at a customer."""
    _make(lambda connection, now: _granted(connection, user, customer, role, now), config, database)


def revoke(
    user: _User,
    customer: _Customer,
    role: _Role = _IBT,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Take the role at a customer from a user; their next request for it is refused."""
    from ibt.store import people

    def change(connection: Connection, now: datetime) -> Sequence[str]:
        if people.revoke(connection, user, customer, role, now):
            return [f"{user} no longer has the role {role} at customer {customer}."]
        return [f"{user} does not have the role {role} at customer {customer}: nothing was changed."]

    _make(change, config, database)


def list_users(customer: _OfCustomer = None, config: ConfigOption = None, database: DatabaseOption = None) -> None:
    """
    List users and their roles: a table on a terminal, else as users.csv has them.

    A user without a role has a line with no customer.
    """
    from ibt.store import people

    def rows(connection: Connection) -> Sequence[Row]:
        if customer is not None:
            people.know_customer(connection, customer)
        return people.user_rows(connection, customer)

    _show(("user", "customer_id", "role"), rows, config, database)


def _granted(connection: Connection, user: str, customer: int, role: str, now: datetime) -> Sequence[str]:
    from ibt.store import people

    if people.grant(connection, user, customer, role, now):
        done = f"Granted {user} the role {role} at customer {customer}."
    else:
        done = f"{user} has the role {role} at customer {customer} already."
    return [done] if role == _IBT else [done, f"Only the role {_IBT} lets anyone in."]


# --- certificates -----------------------------------------------------------------------------------------


def pin(user: _User, certificate: _Certificate, config: ConfigOption = None, database: DatabaseOption = None) -> None:
    """
    Let a user in by this certificate, and by no other but those pinned too.

    Without a pin a user is let in by every certificate with their common name that a trusted authority signed.
    """
    from ibt.store import people

    fingerprint = _fingerprint(certificate, of=user)

    def change(connection: Connection, now: datetime) -> Sequence[str]:
        done = people.pin(connection, user, fingerprint, now)
        what = f"the certificate with SHA-256 fingerprint {fingerprint}"
        return [
            f"Pinned {user} to {what}." if done else f"{user} is pinned to {what} already.",
            f"{user} is let in by pinned certificates only.",
        ]

    _make(change, config, database)


def unpin(
    user: _User, certificate: _Certificate, config: ConfigOption = None, database: DatabaseOption = None
) -> None:
    """Take a pin away; a user without any is let in by every certificate with their common name again."""
    from ibt.store import people

    fingerprint = _fingerprint(certificate)

    def change(connection: Connection, now: datetime) -> Sequence[str]:
        done = people.unpin(connection, user, fingerprint, now)
        what = f"the certificate with SHA-256 fingerprint {fingerprint}"
        lines = [f"{user} is no longer pinned to {what}." if done else f"{user} was not pinned to {what}."]
        if any(each.user_name == user for each in people.pin_rows(connection)):
            return [*lines, f"{user} is let in by pinned certificates only."]
        return [*lines, f"{user} is let in by every certificate of this name that a trusted authority signed."]

    _make(change, config, database)


def revoke_certificate(  # noqa: PLR0913, PLR0917 - the parameters are the command's options
    file: _File = None,
    serial: _Serial = None,
    issuer: _Issuer = None,
    undo: Annotated[bool, typer.Option("--undo", help="Let it count again.")] = False,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """
    Let nobody in by this certificate any more, on open connections too.

    It is known by its issuer and serial number. A fingerprint does not do: who has the key can often change that,
    and be trusted all the same.
    """
    from ibt.store import people

    now = datetime.now(UTC).replace(microsecond=0)
    revoked = _to_revoke(file, serial, issuer, now)
    what = f'the certificate with serial number {revoked.serial} of "{revoked.issuer}"'

    def change(connection: Connection, now: datetime) -> Sequence[str]:
        if undo:
            done = people.undo_revocation(connection, revoked.issuer, revoked.serial, now)
            return [f"{_capital(what)} counts again." if done else f"{_capital(what)} was not revoked."]
        done = people.revoke_certificate(connection, revoked)
        return [f"Revoked {what}." if done else f"{_capital(what)} is revoked already."]

    _make(change, config, database)


def list_certificates(config: ConfigOption = None, database: DatabaseOption = None) -> None:
    """List the certificates that users are pinned to, and those that are revoked: a table on a terminal, else CSV."""
    from ibt.store import people

    def rows(connection: Connection) -> Sequence[Row]:
        pinned = [
            ("pinned", each.user_name, "", "", "", each.fingerprint, each.time)
            for each in people.pin_rows(connection)
        ]
        revoked = [
            ("revoked", "", each.subject, each.issuer, each.serial, each.fingerprint, each.time)
            for each in people.revoked_rows(connection)
        ]
        return [*pinned, *revoked]

    _show(("state", "user", "subject", "issuer", "serial", "fingerprint", "since"), rows, config, database)


def _fingerprint(text: str, of: str | None = None) -> str:
    """The fingerprint that *text* is, or that of the certificate in the file; which must do for the user *of*."""
    plain = _hexadecimal(text)
    if _FINGERPRINT.fullmatch(plain):
        return plain
    if text != "-" and not os.path.exists(text):
        _refuse(f"{quoted(text)} is no file, and no SHA-256 fingerprint, which has 64 hexadecimal digits.")
    certificate = _certificate_in(Path(text))
    if of is not None and certificate.common_names != (of,):
        names = " and ".join(map(quoted, certificate.common_names)) or "nobody"
        _refuse(f"{text} has a certificate of {names}, by which {of} is not let in: pin one of their own.")
    if of is not None and certificate.not_after < datetime.now(UTC):
        _refuse(f"{text} has a certificate that ended on {certificate.not_after:%F}: pin one that is in date.")
    return certificate.fingerprint


def _to_revoke(file: Path | None, serial: str | None, issuer: str | None, now: datetime) -> Revoked:
    from ibt.store.people import Revoked

    if file is None and serial is not None and issuer is not None:
        return Revoked(_issuer(issuer), _serial(serial), "", "", now)
    if file is not None and serial is None and issuer is None:
        if _FINGERPRINT.fullmatch(_hexadecimal(str(file))):
            _refuse("A fingerprint does not do here: give the certificate's file, or both --serial and --issuer.")
        found = _certificate_in(file)
        return Revoked(found.issuer, found.serial, found.subject, found.fingerprint, now)
    return _refuse("Which certificate? Give its file, or both --serial and --issuer.")


def _hexadecimal(text: str) -> str:
    """*text* as the service writes a number of this kind, where it is one: openssl writes capitals and colons."""
    return text.replace(":", "").lower()


def _issuer(text: str) -> str:
    """*text*, a name as RFC 4514 has it, as the service writes it."""
    from cryptography import x509

    try:
        return x509.Name.from_rfc4514_string(text).rfc4514_string()
    except ValueError:
        _refuse(
            f'{quoted(text)} is no name of an issuer: write it as the log does, such as "CN=Our authority,O=XYZ Inc".'
        )


def _serial(text: str) -> str:
    from ibt.service.access import serial_of

    plain = _hexadecimal(text).removeprefix("0x")
    if not _SERIAL.fullmatch(plain):
        _refuse(f"{quoted(text)} is no serial number: write it in hexadecimal, as the log and openssl do.")
    return serial_of(int(plain, 16))


def _certificate_in(file: Path) -> Certificate:
    """The first certificate in *file*, PEM or DER; a private key beside it is let be."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from ibt.service.access import read_certificate

    try:
        content = sys.stdin.buffer.read() if file == Path("-") else file.read_bytes()
    except OSError as error:
        _refuse(f"{file} cannot be read: {error.strerror}.")
    try:
        if b"-----BEGIN" in content:
            certificate = x509.load_pem_x509_certificates(content)[0]
        else:
            certificate = x509.load_der_x509_certificate(content)
    except (ValueError, x509.InvalidVersion):
        _refuse(f"{file} holds no certificate: it must be there as PEM or DER.")
    return read_certificate(certificate.public_bytes(Encoding.PEM).decode("ascii"))


# --- what they have in common -----------------------------------------------------------------------------


def _make(change: Change, config: Path | None, database: str | None) -> None:
    """Makes *change* in a transaction, and says what came of it once that is durable."""
    from ibt.store.people import NotDone

    now = datetime.now(UTC).replace(microsecond=0)
    with told("Nothing was changed"), opened(database, config) as store:
        try:
            with store.updating() as connection:
                lines = change(connection, now)
        except NotDone as error:
            _refuse(str(error))
    typer.echo("\n".join(lines))


def _show(
    columns: Sequence[str],
    rows: Callable[[Connection], Sequence[Row]],
    config: Path | None,
    database: str | None,
) -> None:
    from ibt.cli import tables
    from ibt.cli.failures import failures_told
    from ibt.store.people import NotDone

    with told("Nothing was read"), opened(database, config) as store:
        try:
            with store.reading() as connection:
                found = rows(connection)
        except NotDone as error:
            _refuse(str(error))
    with failures_told(), tables.opened(None) as stream:
        tables.write_rows(tables.form_of(None, None), columns, found, stream)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _refuse(sentence: str) -> NoReturn:
    tell(sentence)
    raise typer.Exit(2)
