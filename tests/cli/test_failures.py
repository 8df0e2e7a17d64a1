"""What people do wrong: a clear sentence each, what to do about it, an exit status, and never a trace."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from cli.conftest import Command, Sandbox
from client.proxy import Gateway, says

FILES = [
    ("no.pem", {}, "There is no file .*no.pem.", "name a file that is there, with --certificate"),
    ("text.pem", {}, ".*text.pem is neither PEM nor a PKCS#12", "give the password"),
    ("certificate.pem", {}, ".*certificate.pem has no private key", "give the file that has the key, with --key"),
    ("certificate.pem", {"IBT_KEY": "other.pem"}, "The key in .*other.pem does not belong", "give the key that"),
    ("certificate.pem", {"IBT_KEY": "no.pem"}, "There is no file .*no.pem.", "name a file that is there"),
    (
        "stranger.pem",
        {},
        "localhost:[0-9]+ refuses the certificate of .*CN=xyz",
        "give a certificate that this service",
    ),
    (
        "expired.pem",
        {},
        "localhost:[0-9]+ refuses the certificate of .*CN=xyz",
        "give a certificate that this service",
    ),
]


@pytest.mark.parametrize(("certificate", "more", "said", "fix"), FILES, ids=[" ".join((a, *b)) for a, b, *_ in FILES])
def test_a_certificate_that_does_not_serve(
    xyz: Command, files: Path, certificate: str, more: dict[str, str], said: str, fix: str
) -> None:
    named = {name: str(files / value) for name, value in more.items()}
    ran = xyz("subaccounts", IBT_CERTIFICATE=str(files / certificate), **named)
    assert (ran.status, ran.out) == (6, "")
    sentence, mend = ran.err.splitlines()
    assert re.match(said, sentence), ran.err
    assert mend.startswith(f"Fix: {fix}")


@pytest.mark.parametrize(("password", "said"), [("wrong", "this password opens"), ("", "opens without a password")])
def test_a_password_that_is_wrong_or_missing(xyz: Command, sandbox: Sandbox, password: str, said: str) -> None:
    ran = xyz("subaccounts", IBT_CERTIFICATE=str(sandbox.certificate("xyz", "p12")), IBT_PASSWORD=password)
    assert ran.status == 6
    sentence, mend = ran.err.splitlines()
    assert said in sentence
    assert mend.startswith("Fix: give the password")


@pytest.mark.parametrize(
    ("ca", "said", "fix"),
    [
        ("no.pem", "There is no file no.pem.", "name a file that is there"),
        ("files/text.pem", "files/text.pem has no certificate of an authority", "give a PEM file"),
        ("files/stranger.pem", "The certificate of localhost:", "give the authority's certificate with --ca"),
        ("", "The certificate of localhost:", "give the authority's certificate with --ca"),
    ],
)
def test_an_authority_that_is_missing_or_wrong(xyz: Command, files: Path, ca: str, said: str, fix: str) -> None:
    ran = xyz("subaccounts", IBT_CA=ca)
    assert ran.status == 6
    sentence, mend = ran.err.splitlines()
    assert sentence.startswith(said)
    assert mend.startswith(f"Fix: {fix}")


def test_another_customers_data(xyz: Command) -> None:
    ran = xyz("subaccounts", "--customer", 2)
    assert (ran.status, ran.out) == (4, "")
    refused, why, request = ran.err.splitlines()
    assert refused == "The service refused this (403):"
    assert "does not have the role IBT at customer 2" in why
    assert re.fullmatch("The service calls this request [0-9a-f]{16}.", request)


def test_a_contract_of_others(xyz: Command) -> None:
    ran = xyz("mapping", 5)
    assert ran.status == 4
    assert "Customer 1 is not a party to a contract with id 5" in ran.err


def test_a_port_that_is_closed(xyz: Command, closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    ran = xyz("subaccounts", IBT_URL=f"localhost:{closed_port}")
    place = f"localhost:{closed_port}"
    assert (ran.status, ran.err) == (6, f"{place} cannot be reached: is there such a host, and runs the service?\n")


def test_whoever_waits_at_a_terminal_is_told(xyz: Command, closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ran = xyz("mapping", 999999, IBT_URL=f"localhost:{closed_port}")
    assert ran.err.splitlines()[:-1] == [f"No answer; trying again in {pause:.1f} s." for pause in pauses]
    assert pauses


def test_a_host_that_is_not_there(xyz: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    ran = xyz("subaccounts", IBT_URL="nowhere.invalid")
    assert (ran.status, ran.err.startswith("nowhere.invalid cannot be reached")) == (6, True)


def test_a_host_by_a_name_that_the_certificate_has_not(xyz: Command, door: Gateway) -> None:
    ran = xyz("subaccounts", IBT_URL=door.url.replace("localhost", "127.0.0.1"), IBT_CA=str(door.ca))
    assert ran.status == 6
    assert " is for another address.\nFix: write the host in --url as the service's certificate has it.\n" in ran.err


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (says(200, "<html>hello</html>", content_type="text/html"), 5, "Is the URL that of an IBT service?"),
        (says(404, "<html>no</html>", content_type="text/html"), 4, "The service refused this (404):"),
        (says(500, "Something failed (id 7)"), 5, "The service failed (500): Something failed (id 7)\n"),
        (says(302, "", location="https://elsewhere"), 5, "The service failed (302)"),
    ],
    ids=["a page", "a page of 404", "500", "a redirection"],
)
def test_an_answer_that_is_none(xyz: Command, door: Gateway, answer: object, status: int, said: str) -> None:
    door.otherwise = answer  # type: ignore[assignment]  # what `says` gives
    ran = xyz("subaccounts", IBT_URL=door.url, IBT_CA=str(door.ca))
    assert (ran.status, ran.out) == (status, "")
    assert said in ran.err


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ("IBT_URL", "Which service? Give --url, or set IBT_URL, or make a profile"),
        ("IBT_CERTIFICATE", "Who asks? Give --certificate, or set IBT_CERTIFICATE, or make a profile"),
        ("IBT_CUSTOMER", "Whose data? Give --customer, or set IBT_CUSTOMER, or make a profile"),
    ],
)
def test_what_is_not_said_is_asked_for(xyz: Command, left_out: str, said: str) -> None:
    ran = xyz("subaccounts", **{left_out: ""})
    assert (ran.status, ran.err.startswith(said), ran.err.count("\n")) == (2, True, 1)


def test_data_that_change_between_two_pages_are_told(xyz: Command, door: Gateway, tmp_path: Path) -> None:
    page = xyz("mappings", "--format", "xml").out.replace("<total_record_count>4<", "<total_record_count>{}<")
    named = {"IBT_URL": door.url, "IBT_CA": str(door.ca)}
    door.script.extend(says(200, page.replace("{}", str(total))) for total in (1500, 1501))
    ran = xyz("mappings", **named)
    assert ran.status == 1
    assert "run it again, or give -o FILE, which begins again by itself" in ran.err
    door.script.extend(says(200, page.replace("{}", str(total))) for total in (1500, 1501))
    assert xyz("mappings", "-o", "all.csv", **named).status == 0
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 5
