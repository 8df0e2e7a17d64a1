"""Lists of revoked certificates: what is read and refused, and what becomes of a file that changes. Reading 55."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog.testing
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import certificates
from certificates import DAY, Authority, Issued
from ibt.rules.faults import Refusal
from ibt.service import revocation
from ibt.service.access import Certificate, read_certificate
from ibt.service.revocation import NOTHING_REVOKED, Lists, Revocation, Unusable, read_file, read_lists

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of the clients."""
    return certificates.root("Ours", tmp_path_factory.mktemp("made"))


def seen(issued: Issued) -> Certificate:
    """A certificate as the service reads it."""
    return read_certificate(issued.certificate.public_bytes(Encoding.PEM).decode())


def der(pem: bytes) -> bytes:
    """A list as DER."""
    return x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER)


# --- reading ----------------------------------------------------------------------------------------------


def test_a_list_has_the_certificates_that_are_revoked_and_no_others(ours: Authority) -> None:
    good, bad = ours.client("good"), ours.client("bad")
    pem = ours.revoke(bad.certificate, end=NOW + DAY)
    for content in (pem, der(pem), b"A list:\n" + pem + b"\n"):
        lists = read_lists(content, [ours.certificate])
        assert (lists.revoke(seen(good)), lists.revoke(seen(bad))) == (False, True)
        assert lists.end == NOW + DAY


def test_a_serial_number_is_revoked_for_its_issuer_only(ours: Authority, tmp_path: Path) -> None:
    other = certificates.root("Other", tmp_path)
    bad = ours.client("bad")
    lists = read_lists(ours.revoke(bad.certificate) + other.revoke(), [ours.certificate, other.certificate])
    same_number = Certificate("CN=bad", "CN=Other", seen(bad).serial, "", ("bad",), NOW)
    assert (lists.revoke(seen(bad)), lists.revoke(same_number)) == (True, False)


def test_several_lists_count_together_and_end_with_the_first(ours: Authority, tmp_path: Path) -> None:
    other = certificates.root("Other", tmp_path)
    one, two, three = ours.client("one"), ours.client("two"), other.client("three")
    content = (
        ours.revoke(one.certificate, end=NOW + 3 * DAY)
        + other.revoke(three.certificate, end=NOW + 2 * DAY)
        + ours.revoke(two.certificate, end=NOW + 4 * DAY)
    )
    lists = read_lists(content, [other.certificate, ours.certificate])
    assert [lists.revoke(seen(each)) for each in (one, two, three)] == [True, True, True]
    assert lists.end == NOW + 2 * DAY


def test_who_issued_a_certificate_may_be_revoked_too(ours: Authority) -> None:
    between = ours.authority("Between")
    below = between.authority("Below")
    authorities = [ours.certificate, between.certificate, below.certificate]
    lists = read_lists(ours.revoke(between.certificate), authorities)
    assert [lists.revoke(seen(each.client("xyz"))) for each in (ours, between, below)] == [False, True, True]
    assert not read_lists(ours.revoke(), authorities).authorities


def test_an_authority_that_was_renewed_is_not_revoked_with_its_old_certificate(ours: Authority) -> None:
    old = ours.authority("Between")
    new = ours.authority("Between")
    lists = read_lists(ours.revoke(old.certificate), [ours.certificate, old.certificate, new.certificate])
    assert not lists.revoke(seen(new.client("xyz")))


def test_an_authority_that_has_a_list_and_no_name_in_common_is_no_matter() -> None:
    unreadable = Certificate("(not readable)", "(not readable)", "(not readable)", "", (), NOW)
    assert not NOTHING_REVOKED.revoke(unreadable)
    assert not Lists({"CN=Ours": frozenset({1})}).revoke(unreadable)


def another_signature(ours: Authority) -> bytes:
    """A list in the authority's name that another key has signed."""
    return Authority(certificates.p256(), ours.certificate, ours.folder).revoke()


BASE = x509.IssuingDistributionPoint(
    full_name=None,
    relative_name=None,
    only_contains_user_certs=False,
    only_contains_ca_certs=False,
    only_some_reasons=None,
    indirect_crl=True,
    only_contains_attribute_certs=False,
)

UNUSABLE: dict[str, tuple[Callable[[Authority], bytes], str]] = {
    "nothing": (lambda _: b"", "holds no list of revoked certificates: it must have the CRLs of the authorities in "),
    "no list": (lambda ours: ours.certificate.public_bytes(Encoding.PEM), "holds no list of revoked certificates"),
    "half a list": (lambda ours: ours.revoke()[:200], "holds no list of revoked certificates"),
    "half a list in DER": (lambda ours: der(ours.revoke())[:99], "holds no list of revoked certificates"),
    "a list that is no base64": (
        lambda _: b"-----BEGIN X509 CRL-----\n!\n-----END X509 CRL-----\n",
        "holds no list of revoked certificates",
    ),
    "a stranger's list": (
        lambda ours: certificates.root("A stranger", ours.folder).revoke(),
        'has a list of "CN=A stranger", who is no authority in client_ca: leave it out, or add the authority',
    ),
    "ours and a stranger's": (
        lambda ours: ours.revoke() + certificates.root("A stranger", ours.folder).revoke(),
        'has a list of "CN=A stranger", who is no authority',
    ),
    "another's signature": (another_signature, 'has a list of "CN=Ours" that this authority of client_ca has not'),
    "a change of a list": (
        lambda ours: ours.revoke(extension=x509.DeltaCRLIndicator(1)),
        'has a list of "CN=Ours" that is no whole list of this authority\'s own certificates (extension 2.5.29.27): ',
    ),
    "a list for others": (
        lambda ours: ours.revoke(extension=BASE),
        'has a list of "CN=Ours" that is no whole list of this authority\'s own certificates (extension 2.5.29.28)',
    ),
    "what is not known": (
        lambda ours: ours.revoke(
            extension=x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\\x05\\x00")
        ),
        'has a list of "CN=Ours" that is no whole list of this authority\'s own certificates (extension 1.2.3.4)',
    ),
}


@pytest.mark.parametrize(("content", "told"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_no_whole_list_of_an_authority_of_ours_is_told(
    ours: Authority, content: Callable[[Authority], bytes], told: str
) -> None:
    with pytest.raises(Unusable) as caught:
        read_lists(content(ours), [ours.certificate])
    assert str(caught.value).startswith(told)


def test_a_file_that_is_not_there_is_told(ours: Authority, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="cannot be read: No such file or directory"):
        read_file(tmp_path / "crl.pem", tmp_path / "ca.pem")
    (tmp_path / "crl.pem").write_bytes(ours.revoke())
    with pytest.raises(Unusable, match=r"cannot be judged: client_ca, .*ca.pem, cannot be read"):
        read_file(tmp_path / "crl.pem", tmp_path / "ca.pem")


# --- while the service runs -------------------------------------------------------------------------------


class File:
    """A file with lists of an authority, which is replaced."""

    def __init__(self, ours: Authority, folder: Path) -> None:
        self.ours = ours
        self.path = folder / "crl.pem"
        self.client_ca = folder / "ca.pem"
        ours.write(folder / "key.pem", self.client_ca)
        self.bad = ours.client("bad")
        self.write(ours.revoke())

    def write(self, content: bytes) -> None:
        """Puts another file in its place."""
        new = self.path.with_name("new")
        new.write_bytes(content)
        new.replace(self.path)

    def revocation(self, *, ended_refuses: bool = True) -> Revocation:
        """What goes by it."""
        return Revocation(self.path, self.client_ca, ended_refuses=ended_refuses)


@pytest.fixture
def file(ours: Authority, tmp_path: Path) -> File:
    return File(ours, tmp_path)


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as captured:
        yield captured  # type: ignore[misc]  # dicts, as they are


def refused(one: Revocation, issued: Issued) -> int | None:
    """The status with which a certificate is refused, if it is."""
    try:
        one.refuse(seen(issued), datetime.now(UTC))
    except Refusal as refusal:
        return refusal.status
    return None


def test_a_file_that_has_changed_is_read_anew(file: File, logged: list[dict[str, object]]) -> None:
    one = file.revocation()
    one.look()
    assert (refused(one, file.bad), logged) == (None, [])
    file.write(file.ours.revoke(file.bad.certificate, end=NOW + DAY))
    one.look()
    assert refused(one, file.bad) == 403
    assert one.end == NOW + DAY
    expected = {"event": "revocation lists read anew", "log_level": "info", "revoked": 1}
    assert [{**expected, "end": f"{NOW + DAY:%Y-%m-%dT%H:%M:%SZ}"}] == logged
    one.look()
    assert len(logged) == 1


def test_a_file_that_was_changed_where_it_lies_is_read_anew_whatever_its_times_say(file: File) -> None:
    content = file.ours.revoke(file.bad.certificate)
    file.write(file.ours.revoke().ljust(len(content), b"\n"))
    one = file.revocation()
    times = file.path.stat()
    file.path.write_bytes(content)
    os.utime(file.path, ns=(times.st_atime_ns, times.st_mtime_ns))
    one.look()
    assert refused(one, file.bad) == 403


BROKEN: dict[str, tuple[Callable[[File], object], str]] = {
    "gone": (lambda file: file.path.unlink(), "cannot be read: No such file or directory"),
    "half": (lambda file: file.write(file.ours.revoke()[:200]), "holds no list of revoked certificates"),
    "a stranger's": (lambda file: file.write(another_signature(file.ours)), "has not signed"),
}


@pytest.mark.parametrize(("spoil", "why"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("told_to", [False, True])
def test_a_file_that_cannot_be_used_leaves_the_last_good_one(
    file: File, logged: list[dict[str, object]], spoil: Callable[[File], object], why: str, *, told_to: bool
) -> None:
    file.write(file.ours.revoke(file.bad.certificate))
    one = file.revocation()
    spoil(file)
    one.look(told_to)
    assert refused(one, file.bad) == 403
    (line,) = logged
    assert (line["event"], line["log_level"]) == ("revocation lists not read anew", "error")
    assert why in str(line["why"])
    assert str(line["why"]).startswith(f"client_crl, {file.path}, ")
    one.look()
    assert len(logged) == 1  # said once, until it changes again
    file.write(file.ours.revoke())
    one.look()
    assert refused(one, file.bad) is None


def test_when_it_is_told_to_it_reads_a_file_that_is_the_same(file: File, logged: list[dict[str, object]]) -> None:
    one = file.revocation()
    one.look(True)
    assert [line["event"] for line in logged] == ["revocation lists read anew"]


def test_it_looks_within_a_minute(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    one = file.revocation()
    assert not one.is_due
    clock += 60
    assert one.is_due
    one.look()
    assert not one.is_due
    clock += 10**6
    assert not Revocation().is_due


@pytest.mark.parametrize(("refuses", "status", "level"), [(True, 503, "error"), (False, None, "warning")])
def test_past_its_end_everyone_is_refused_or_the_log_says_so_once_an_hour(
    file: File,
    logged: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
    refuses: bool,
    status: int | None,
    level: str,
) -> None:
    clock = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    end = NOW - timedelta(seconds=1)
    file.write(file.ours.revoke(file.bad.certificate, end=end))
    one = file.revocation(ended_refuses=refuses)
    good = file.ours.client("good")
    assert (refused(one, good), refused(one, file.bad)) == (status, 403)
    for seconds in (0, 10, 3600, 10):
        clock += seconds
        one.look()
    expected = {"event": "revocation list past its end", "log_level": level, "end": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
    assert [{name: line[name] for name in expected} for line in logged] == 2 * [expected]
    file.write(file.ours.revoke())
    one.look()
    assert refused(one, good) is None


def test_past_its_end_the_answer_says_that_it_is_not_the_clients_fault(file: File) -> None:
    file.write(file.ours.revoke(end=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)))
    with pytest.raises(Refusal) as caught:
        file.revocation().refuse(seen(file.bad), datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC))
    assert (caught.value.status, caught.value.headers) == (503, {"retry-after": "60"})
    assert caught.value.text == (
        "The list that tells which certificates are revoked is past its end, 2026-01-02T03:04:05Z, so nobody can be "
        "let in, and nothing was changed: try again later, and tell the operator of the service (1.2, reading 55)"
    )
    file.revocation().refuse(seen(file.bad), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_without_a_file_nobody_is_revoked(ours: Authority) -> None:
    one = Revocation()
    one.look(True)
    assert (refused(one, ours.client("xyz")), one.end) == (None, None)


def test_a_list_without_an_end_never_is_past_it(ours: Authority) -> None:
    assert not Lists({}).ended(datetime.max.replace(tzinfo=UTC))
    assert revocation.LIST_EXPIRED.status == 503
