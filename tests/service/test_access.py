"""Who is asking, and what they may do. Clauses 1.2, 1.3; readings 8, 9, 55, 56."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import structlog.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import delete, event, insert

from ibt.rules.faults import Refusal
from ibt.service import access
from ibt.service.access import Certificate
from ibt.store import Database, people, tables

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())

GRANTS = [
    ("one", 1, "IBT"),
    ("two", 1, "IBT"),
    ("two", 2, "IBT"),
    ("mixed", 1, "IBT"),
    ("mixed", 2, "VIEW"),
    ("both", 1, "VIEW"),
    ("both", 1, "IBT"),
    ("viewer", 1, "VIEW"),
    ("lower", 1, "ibt"),
    ("blank", 1, "IBT "),
    ("prefix", 1, "IBT-ADMIN"),
    ("elsewhere", 9, "IBT"),
    ("é", 1, "IBT"),
]
USERS = {user for user, _, _ in GRANTS} | {"none"}


def pem(*names: tuple[x509.ObjectIdentifier, str]) -> str:
    """A certificate whose subject has these names."""
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(kind, value) for kind, value in names]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority")]))
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(BEGIN)
        .not_valid_after(END)
        .sign(KEY, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()


def known_by(*common_names: str) -> Certificate:
    subject = ",".join(f"CN={name}" for name in common_names)
    return Certificate(subject, "CN=An authority", "07", "ab" * 32, common_names, END)


@pytest.fixture(scope="module")
def granted(new_database: Callable[[], AbstractContextManager[str]]) -> Iterator[Database]:
    """A database with users and grants, which no test changes for good."""
    with new_database() as url:
        database = Database(url)
        database.upgrade()
        with database.updating() as connection:
            connection.execute(insert(tables.users), [{"user_name": user} for user in sorted(USERS)])
            for user, customer_id, role in GRANTS:
                connection.execute(insert(tables.grants).values(user_name=user, customer_id=customer_id, role=role))
            for customer_id in (1, 2):
                connection.execute(
                    insert(tables.customer_state).values(customer_id=customer_id, revision=f"state of {customer_id}")
                )
        yield database
        database.close()


def refused(database: Database, certificate: Certificate | None, customer_id: int = 1) -> str:
    """The text with which a caller is refused."""
    with database.reading() as connection, pytest.raises(Refusal) as caught:
        access.caller(connection, certificate, customer_id)
    assert caught.value.status == 403
    assert "\n" not in caught.value.text
    return caught.value.text


# Certificates -----------------------------------------------------------------------------------------------

SUBJECTS: dict[str, tuple[Sequence[tuple[x509.ObjectIdentifier, str]], str, tuple[str, ...]]] = {
    "a common name": ([(NameOID.COMMON_NAME, "xyz")], "CN=xyz", ("xyz",)),
    "one among other names": (
        [(NameOID.ORGANIZATION_NAME, "XYZ Inc"), (NameOID.COMMON_NAME, "xyz")],
        "CN=xyz,O=XYZ Inc",
        ("xyz",),
    ),
    "none": ([(NameOID.ORGANIZATION_NAME, "XYZ Inc")], "O=XYZ Inc", ()),
    "no name at all": ([], "", ()),
    "two": ([(NameOID.COMMON_NAME, "xyz"), (NameOID.COMMON_NAME, "qrs")], "CN=qrs,CN=xyz", ("xyz", "qrs")),
    "one that looks like two": ([(NameOID.COMMON_NAME, "xyz,CN=qrs")], "CN=xyz\\,CN=qrs", ("xyz,CN=qrs",)),
    "letters of all kinds": ([(NameOID.COMMON_NAME, "é𝒳")], "CN=é𝒳", ("é𝒳",)),
}


@pytest.mark.parametrize(("names", "subject", "common_names"), SUBJECTS.values(), ids=SUBJECTS)
def test_a_certificate_is_read(
    names: Sequence[tuple[x509.ObjectIdentifier, str]], subject: str, common_names: tuple[str, ...]
) -> None:
    text = pem(*names)
    fingerprint = x509.load_pem_x509_certificate(text.encode()).fingerprint(hashes.SHA256()).hex()
    expected = Certificate(subject, "CN=An authority", "07", fingerprint, common_names, END)
    assert access.read_certificate(text) == expected
    assert expected.names() == {
        "subject": subject,
        "issuer": "CN=An authority",
        "serial": "07",
        "fingerprint": fingerprint,
    }


def test_a_certificate_is_refused_after_its_end() -> None:
    certificate = known_by("one")
    certificate.refuse_expired(END)
    with pytest.raises(Refusal) as caught:
        certificate.refuse_expired(END + timedelta(seconds=1))
    assert caught.value.status == 403
    assert caught.value.text.startswith("It is past the end, 2027-01-01T00:00:00Z, of the certificate with subject")


@pytest.mark.parametrize(
    ("number", "serial"), [(0, "00"), (7, "07"), (0xABC, "0abc"), (2**159 + 1, f"80{'00' * 18}01")]
)
def test_a_serial_number_is_written_as_openssl_does(number: int, serial: str) -> None:
    assert access.serial_of(number) == serial


def test_an_end_that_is_near_is_logged_once_a_day_for_each_certificate() -> None:
    reminder = access.Reminder()
    one = access.Caller("one", known_by("one"), 1, True, "")
    renewed = access.Caller("one", replace(known_by("one"), fingerprint="cd" * 32), 1, True, "")
    first_day = END - timedelta(days=30)
    with structlog.testing.capture_logs() as logged:
        reminder.note(one, first_day - timedelta(seconds=1))
        assert logged == []
        for caller, now in ((one, first_day), (one, first_day), (renewed, first_day), (renewed, first_day)):
            reminder.note(caller, now)
        reminder.note(one, first_day + timedelta(days=1))
    expected = {
        "event": "certificate ends soon",
        "log_level": "warning",
        "user": "one",
        "end": "2027-01-01T00:00:00Z",
    }
    assert logged == [{**expected, **caller.certificate.names()} for caller in (one, renewed, one)]


def test_how_many_are_told_of_in_a_day_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_MOST_REMINDED", 100)
    reminder = access.Reminder()
    with structlog.testing.capture_logs() as logged:
        for number in [*range(150), *range(150)]:
            other = replace(known_by("one"), fingerprint=f"{number:064x}")
            reminder.note(access.Caller("one", other, 1, True, ""), END)
    assert len(logged) == 100


# Callers ----------------------------------------------------------------------------------------------------

CALLERS = {
    "one": frozenset({1}),
    "two": frozenset({1, 2}),
    "mixed": frozenset({1}),
    "both": frozenset({1}),
    "elsewhere": frozenset({9}),
    "é": frozenset({1}),
}


@pytest.mark.parametrize(("user", "customer_ids"), CALLERS.items(), ids=CALLERS)
def test_a_caller_acts_for_the_customers_where_they_have_the_role(
    granted: Database, user: str, customer_ids: frozenset[int]
) -> None:
    certificate = known_by(user)
    for customer_id in (0, 1, 2, 3, 9, 999999999):
        with granted.reading() as connection:
            caller = access.caller(connection, certificate, customer_id)
        assert (caller.user_name, caller.certificate, caller.has_role) == (
            user,
            certificate,
            customer_id in customer_ids,
        )
        if customer_id in customer_ids:
            caller.refuse_other_customer()
            assert caller.revision == (f"state of {customer_id}" if customer_id in {1, 2} else "")
        else:
            with pytest.raises(Refusal) as caught:
                caller.refuse_other_customer()
            assert caught.value.status == 403


def test_the_role_alone_shows_the_state_of_a_customer(granted: Database) -> None:
    with granted.reading() as connection:
        assert access.caller(connection, known_by("mixed"), 2).revision == ""


def test_another_customer_is_refused_alike_whether_it_exists_or_not(granted: Database) -> None:
    told = set()
    for customer_id in (2, 3):
        with granted.reading() as connection:
            caller = access.caller(connection, known_by("one"), customer_id)
        with pytest.raises(Refusal) as caught:
            caller.refuse_other_customer()
        told.add(caught.value.text.replace(f"customer {customer_id}", "customer N"))
    (text,) = told
    assert text == (
        'User "one", known by the certificate with subject "CN=one" and SHA-256 fingerprint '
        f"{'ab' * 32}, does not have the role IBT at customer N: ask for a customer of your own, or have your "
        "Security Administrator grant the role (1.3, reading 9)"
    )


NOWHERE = ("viewer", "lower", "blank", "prefix", "none", "unknown", "ONE", "one ", "*", "%", "e\u0301")


@pytest.mark.parametrize("user", NOWHERE)
def test_who_has_the_role_nowhere_is_refused(granted: Database, user: str) -> None:
    assert refused(granted, known_by(user)) == (
        f'User "{user}", known by the certificate with subject "CN={user}" and SHA-256 fingerprint {"ab" * 32}, '
        "does not have the role IBT at any customer: have your Security Administrator grant it (1.3, reading 9)"
    )


def test_a_name_that_no_user_can_have_is_refused_like_any_other(granted: Database) -> None:
    for name in ("one\0", "\0", "", "one' or '1'='1", "a" * 10_000, "one\nforged line"):
        assert "does not have the role IBT at any customer" in refused(granted, known_by(name))


def test_without_a_certificate_the_refusal_says_what_is_missing(granted: Database) -> None:
    assert refused(granted, None) == (
        "No client certificate was sent: connect with the certificate that your Security Administrator issued "
        "(1.2, reading 8)"
    )


@pytest.mark.parametrize(("names", "count"), [((), "no"), (("one", "two"), "2"), (("one", "one"), "2")])
def test_a_subject_with_no_or_two_common_names_is_refused(
    granted: Database, names: tuple[str, ...], count: str
) -> None:
    assert f"has {count}: use a certificate whose subject has exactly one" in refused(granted, known_by(*names))


def test_a_change_of_grants_acts_at_once(granted: Database) -> None:
    certificate = known_by("two")
    with granted.reading() as connection:
        first, second = (access.caller(connection, certificate, customer_id) for customer_id in (1, 2))
    second.refuse_other_customer()
    with granted.engine.connect().execution_options(ibt_writes=True) as connection:
        transaction = connection.begin()
        of_two = delete(tables.grants).where(tables.grants.c.user_name == "two")
        connection.execute(of_two.where(tables.grants.c.customer_id == 2))
        first.again(connection)
        with pytest.raises(Refusal, match="at customer 2"):
            second.again(connection)
        connection.execute(of_two)
        with pytest.raises(Refusal, match="at any customer"):
            first.again(connection)
        transaction.rollback()


def test_who_asks_again_is_looked_up_again_where_something_was_committed_since(granted: Database) -> None:
    certificate = known_by("passing")
    theirs = delete(tables.grants).where(tables.grants.c.user_name == "passing")
    told: list[str] = []

    def tell(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        told.append(statement)

    with granted.updating() as other:
        other.execute(insert(tables.users).values(user_name="passing"))
        for customer_id in (1, 2):
            other.execute(insert(tables.grants).values(user_name="passing", customer_id=customer_id, role="IBT"))
    with granted.asking() as connection:
        before = access.lasting_caller(connection, certificate, 1)
        event.listen(granted.engine, "before_cursor_execute", tell)
        try:
            assert access.lasting_caller(connection, certificate, 1) == before
        finally:
            event.remove(granted.engine, "before_cursor_execute", tell)
        assert len(told) == (0 if granted.sqlite else 1)
        assert access.lasting_caller(connection, certificate, 2).revision != before.revision
        with granted.updating() as other:
            other.execute(theirs.where(tables.grants.c.customer_id == 2))
            assert access.lasting_caller(connection, certificate, 2).has_role, "not committed yet"
        assert not access.lasting_caller(connection, certificate, 2).has_role
        assert access.lasting_caller(connection, certificate, 1) == before
        with granted.updating() as other:
            other.execute(theirs)
            other.execute(delete(tables.users).where(tables.users.c.user_name == "passing"))
        with pytest.raises(Refusal, match="at any customer"):
            access.lasting_caller(connection, certificate, 1)


def test_a_revoked_certificate_and_one_that_the_user_is_not_pinned_to_are_refused_at_once(granted: Database) -> None:
    certificate, other = known_by("two"), known_by("one")
    seen = f'the certificate with subject "CN=two" and SHA-256 fingerprint {"ab" * 32}'
    with granted.engine.connect().execution_options(ibt_writes=True) as connection:
        transaction = connection.begin()
        caller = access.caller(connection, certificate, 1)
        people.pin(connection, "two", "cd" * 32, BEGIN)
        with pytest.raises(Refusal) as pinned:
            caller.again(connection)
        people.revoke_certificate(connection, people.Revoked("CN=An authority", "07", "", "", BEGIN))
        with pytest.raises(Refusal) as revoked:
            caller.again(connection)
        with pytest.raises(Refusal, match="was revoked"):
            access.caller(connection, other, 1)
        people.undo_revocation(connection, "CN=An authority", "07", BEGIN)
        people.pin(connection, "two", "ab" * 32, BEGIN)
        caller.again(connection)
        transaction.rollback()
    assert (pinned.value.status, revoked.value.status) == (403, 403)
    assert pinned.value.text == (
        f'User "two" is let in by certain certificates only, and {seen} is none of them: have your Security '
        "Administrator tell the operator of the service of it (1.2, reading 55)"
    )
    assert revoked.value.text == (
        f"Nobody is let in any more with {seen}, which was revoked: have your Security Administrator issue a new one "
        "(1.2, reading 55)"
    )


def test_who_asks_what_they_may_and_of_which_state_is_one_statement(granted: Database) -> None:
    told: list[str] = []

    def tell(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        told.append(statement)

    with granted.reading() as connection:
        event.listen(granted.engine, "before_cursor_execute", tell)
        try:
            access.caller(connection, known_by("two"), 1)
        finally:
            event.remove(granted.engine, "before_cursor_execute", tell)
    assert len(told) == 1
