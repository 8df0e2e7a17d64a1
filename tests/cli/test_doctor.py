"""`ibt doctor`: each check, and how to mend what has failed."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

import certificates
from cli.conftest import Command, Sandbox
from client.proxy import Gateway, says
from ibt.client.doctor import Finding, examine
from ibt.client.profiles import Profile

AsUser = Callable[[str, int], Command]

CHECKS = [
    "service",
    "customer",
    "certificate",
    "key",
    "made for",
    "chain",
    "valid",
    "authorities",
    "host name",
    "connection",
    "trust",
    "clock",
    "role",
    "call",
]


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def profile(sandbox: Sandbox) -> Profile:
    """What leads to the sandbox."""
    return Profile(sandbox.url, sandbox.certificate("xyz"), ca=sandbox.ca, customer=1)


def found(profile: Profile, clock: Callable[[], datetime] = now) -> dict[str, Finding]:
    """The findings by their checks."""
    return {finding.check: finding for finding in examine(profile, clock)}


def test_where_all_is_well_each_check_says_what_it_found(xyz: Command, sandbox: Sandbox) -> None:
    ran = xyz("doctor")
    assert (ran.status, ran.err) == (0, "")
    assert [line[6:26].strip() for line in ran.lines] == CHECKS
    assert {line[:6] for line in ran.lines} == {"ok    "}
    assert ran.lines[0].endswith(sandbox.url)
    assert ran.lines[-1].endswith("customer 1 has 2 subaccounts (3.1)")


def test_a_failure_says_how_to_mend_it_and_ends_with_1(xyz: Command) -> None:
    ran = xyz("doctor", "--customer", 2)
    assert ran.status == 1
    *_, failed, fix = ran.lines
    assert failed.startswith("FAIL  role ")
    assert (
        fix
        == "      Fix: ask your Security Administrator for the role IBT at customer 2, or give your own --customer."
    )


@pytest.mark.parametrize(
    ("arguments", "check", "fix"),
    [
        (("--profile", "nobody"), "profile", "make one with ibt profile add"),
        (("--url", "http://h"), "service", "write it as https://HOST/sms_oper_contract/api/customers"),
        (("--certificate", "no.pem"), "certificate and key", "name a file that is there"),
        (("--certificate", "files/text.pem"), "certificate and key", "give the password"),
        (("--certificate", "files/certificate.pem"), "certificate and key", "give the file that has the key"),
        (
            ("--certificate", "files/certificate.pem", "--key", "files/other.pem"),
            "certificate and key",
            "give the key",
        ),
        (("--certificate", "files/expired.pem"), "valid", "ask your company's Security Administrator"),
        (("--certificate", "files/stranger.pem"), "trust", "give a certificate that this service knows"),
        (("--ca", "files/text.pem"), "authorities", "give a PEM file"),
        (("--ca", "files/stranger.pem"), "trust", "give the authority's certificate with --ca"),
        (("--url", "nowhere.invalid"), "host name", "is --url written right"),
        (("--password", "x", "--certificate", "{p12}"), "certificate and key", "give the password that was chosen"),
    ],
    ids=str,
)
def test_the_check_that_fails_is_the_one_that_is_wrong(
    xyz: Command, sandbox: Sandbox, files: Path, arguments: tuple[str, ...], check: str, fix: str
) -> None:
    assert files.is_dir()
    given = [argument.replace("{p12}", str(sandbox.certificate("xyz", "p12"))) for argument in arguments]
    ran = xyz("doctor", *given)
    assert ran.status == 1
    failed = [line[6:26].strip() for line in ran.lines if line.startswith("FAIL")]
    assert failed == [check], ran.out
    assert f"      Fix: {fix}" in ran.out


def test_what_is_not_said_is_found(ibt: Command) -> None:
    ran = ibt("doctor")
    assert ran.status == 1
    assert [line[6:26].strip() for line in ran.lines if line.startswith("FAIL")] == [
        "service",
        "customer",
        "certificate",
    ]


def test_a_closed_port_is_found(xyz: Command, closed_port: int) -> None:
    ran = xyz("doctor", IBT_URL=f"localhost:{closed_port}")
    assert ran.status == 1
    assert re.fullmatch(f"FAIL  connection  .*port {closed_port} of localhost does not answer: .*", ran.lines[-2])


def test_a_service_that_is_none_is_found(profile: Profile, door: Gateway) -> None:
    door.otherwise = says(200, "<html>", content_type="text/html")
    finding = found(Profile(door.url, ca=door.ca).over(profile))["call"]
    assert finding.failed
    assert "Is the URL that of an IBT service?" in finding.said


@pytest.mark.parametrize(("minutes", "said"), [(2, "ahead of the service's"), (-2, "behind the service's")])
def test_a_clock_that_is_wrong_is_found(profile: Profile, minutes: int, said: str) -> None:
    finding = found(profile, lambda: now() + timedelta(minutes=minutes))["clock"]
    assert (finding.failed, finding.said.endswith(said)) == (True, True)


@pytest.mark.parametrize(
    ("begin", "end", "failed", "said"),
    [(-1, 29, False, "28 days from now"), (1, 9, True, "only from"), (-9, -1, True, "so no longer")],
)
def test_a_certificate_has_its_days(tmp_path: Path, begin: int, end: int, failed: bool, said: str) -> None:
    at = now()
    authority = certificates.root("Authority", tmp_path)
    issued = authority.client("x", begin=at + timedelta(days=begin), end=at + timedelta(days=end))
    finding = found(Profile("h", issued.pem), lambda: at)["valid"]
    assert finding.failed is failed
    assert said in finding.said
    assert finding.fix is not None


def test_a_certificate_that_is_not_for_clients_is_found(tmp_path: Path) -> None:
    issued = certificates.root("Authority", tmp_path).client("x", usages=(ExtendedKeyUsageOID.SERVER_AUTH,))
    assert found(Profile("h", issued.pem))["made for"].failed


def test_a_chain_is_followed(tmp_path: Path) -> None:
    root = certificates.root("Root", tmp_path)
    issued = root.authority("Middle").authority("Low").client("x")
    assert found(Profile("h", issued.pem))["chain"].said == "issued by CN=Root, 2 in between"
    stranger = certificates.root("Stranger", tmp_path).certificate.public_bytes(Encoding.PEM)
    issued.pem.write_bytes(issued.pem.read_bytes() + stranger)
    finding = found(Profile("h", issued.pem))["chain"]
    assert (finding.failed, finding.said) == (False, "CN=Stranger in the file has not issued it, nor any that has")
