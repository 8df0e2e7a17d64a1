"""
The log: one line for each request, which tells what an operator needs and which no client can forge.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from wire import BASE, MAPPINGS, SUBACCOUNTS, Door, door, get, post, request, update

import certificates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from certificates import Authority

#: The authority's name, which is the one that a sandbox gives its own.
NAME = "ibt sandbox authority"

EACH = {"event", "level", "time", "id", "address", "method", "path", "status", "bytes", "milliseconds"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the services trust."""
    return certificates.root(NAME, tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def service(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A sandbox with the demonstration world."""
    folder = tmp_path_factory.mktemp("log") / "sandbox"
    folder.mkdir()
    authority.write(folder / "ca-key.pem", folder / "ca.pem")
    with door(folder) as started:
        yield started


REQUESTS: dict[str, tuple[bytes, str | None, dict[str, object]]] = {
    "a GET": (get(), "xyz", {"user": "xyz", "customer": 1, "method": "GET", "path": SUBACCOUNTS, "status": 200}),
    "a HEAD": (request("HEAD", MAPPINGS), "xyz", {"user": "xyz", "customer": 1, "method": "HEAD", "bytes": 0}),
    "an update": (post(update("Default")), "xyz", {"user": "xyz", "customer": 1, "method": "POST", "status": 200}),
    "a query": (get(f"{MAPPINGS}?limit=1"), "xyz", {"path": MAPPINGS, "status": 200}),
    "OPTIONS": (request("OPTIONS", MAPPINGS), "xyz", {"user": "xyz", "status": 204, "bytes": 0}),
    "a 304": (get(SUBACCOUNTS, "If-None-Match: *"), "xyz", {"customer": 1, "status": 304, "bytes": 0}),
    "an unknown URL": (get("/x"), "xyz", {"user": "xyz", "path": "/x", "status": 404, "why": ...}),
    "an unknown contract": (get(f"{MAPPINGS}/7"), "xyz", {"user": "xyz", "customer": 1, "status": 404, "why": ...}),
    "another method": (request("PUT", MAPPINGS), "xyz", {"user": "xyz", "method": "PUT", "status": 405, "why": ...}),
    "another customer": (
        get(f"{BASE}/2/subaccounts"),
        "xyz",
        {"user": "xyz", "customer": 2, "status": 403, "why": ..., "subject": "CN=xyz", "fingerprint": ...},
    ),
    "a bad query": (get(f"{MAPPINGS}?limit=0&start=x"), "xyz", {"customer": 1, "status": 400, "why": ...}),
    "a bad body": (post(b"<x/>"), "xyz", {"customer": 1, "status": 400, "why": ...}),
    "no certificate": (get(), None, {"status": 403, "why": ...}),
    "nobody": (get(), "nobody", {"status": 403, "why": ..., "subject": "CN=nobody", "issuer": f"CN={NAME}"}),
}


@pytest.mark.parametrize(("raw", "user", "known"), REQUESTS.values(), ids=REQUESTS)
def test_a_request_has_one_line_that_says_who_what_and_why(
    service: Door, raw: bytes, user: str | None, known: dict[str, object]
) -> None:
    answer = service.answer(raw, user)
    logged = service.logged(id=answer["x-request-id"])
    assert logged.keys() >= EACH
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", logged["time"])
    assert logged["milliseconds"] > 0
    assert logged["address"] == "127.0.0.1"
    assert logged["status"] == answer.status
    assert logged["bytes"] == len(answer.body)
    assert ("why" in logged) == (answer.status >= 400)
    for key, value in known.items():
        assert logged[key] if value is ... else logged[key] == value
    if "why" in logged:
        assert logged["why"] == answer.text.splitlines()[0]


def test_a_request_is_logged_once_under_the_id_it_brought(service: Door) -> None:
    for name in ("first", "last"):
        service.answer(get(SUBACCOUNTS, f"X-Request-ID: once-{name}"))
    seen = []
    for event in service.events():
        if str(event.get("id")).startswith("once-"):
            seen.append(event["id"])
        if event.get("id") == "once-last":
            break
    assert seen == ["once-first", "once-last"]


def test_what_the_http_layer_refuses_is_logged_with_whose_certificate_it_was(service: Door) -> None:
    answer = service.answer(b"BROKEN\r\n\r\n")
    logged = service.logged(id=answer["x-request-id"])
    assert logged["event"] == "refused"
    assert (logged["status"], logged["bytes"], logged["why"]) == (400, len(answer.body), answer.text.strip())
    assert logged["subject"] == "CN=xyz"


def test_a_request_that_never_became_whole_is_logged_without_a_status(service: Door) -> None:
    with service.connect() as wire:
        wire.send(post(update("Default"), "X-Request-ID: broken-off")[:-10])
    logged = service.logged(id="broken-off")
    assert logged.keys() >= EACH
    assert (logged["user"], logged["status"], logged["bytes"]) == ("xyz", None, 0)
    assert logged["why"] == "the request never became whole"


# --- what cannot be forged --------------------------------------------------------------------------------

LINE = '{"event":"request","user":"forged"}'
ENCODED = "".join(f"%{byte:02X}" for byte in LINE.encode())

FORGERIES = {
    "an encoded newline in the path": get(f"/%0A{ENCODED}"),
    "an encoded CR in the path": get(f"/%0D%0A{ENCODED}"),
    "an encoded ESC in the path": get("/%1B%5B2J"),
    "an encoded U+2028 in the path": get(f"/%E2%80%A8{ENCODED}"),
    "an encoded newline in an id": get(f"{BASE}/1%0A{ENCODED}/subaccounts"),
    "quotes in the path": get(f"/{LINE}"),
    "an encoded newline in a query": get(f"{MAPPINGS}?limit=%0A{ENCODED}"),
    "an encoded U+2028 in a query": get(f"{MAPPINGS}?limit=%E2%80%A8{ENCODED}"),
    "an encoded U+0085 in a query": get(f"{MAPPINGS}?limit=%C2%85{ENCODED}"),
    "an encoded bidirectional override in a query": get(f"{MAPPINGS}?limit=%E2%80%AE{ENCODED}"),
    "quotes in X-Request-ID": get(SUBACCOUNTS, f"X-Request-ID: {LINE}"),
    "U+0085 in X-Request-ID": get(SUBACCOUNTS, f"X-Request-ID: \x85{LINE}"),
    "U+2028 in X-Request-ID": get(SUBACCOUNTS, f"X-Request-ID: \xe2\x80\xa8{LINE}"),
    "quotes in Accept": get(SUBACCOUNTS, f"Accept: text/{LINE}"),
    "U+0085 in Accept": get(SUBACCOUNTS, f"Accept: text/html\x85{LINE}"),
    "U+0085 in Content-Type": request("POST", MAPPINGS, f"Content-Type: \x85{LINE}"),
    "a newline in the message": post(update("&#10;" + LINE.replace('"', "&quot;"))),
    "U+2028 in the message": post(update("\u2028" + LINE)),
    "an unknown method": b'GET"\n {"event"} HTTP/1.1\r\n\r\n',
    "ESC in a field": get(SUBACCOUNTS, "X: \x1b[2J"),
    "ESC in the target": get("/\x1b[2J"),
}


@pytest.mark.parametrize("raw", FORGERIES.values(), ids=FORGERIES)
def test_nothing_in_a_request_forges_a_line(service: Door, raw: bytes) -> None:
    answer = service.answer(raw)
    logged = service.logged(id=answer["x-request-id"])
    assert_prints(logged)
    assert logged.get("user") != "forged"


SUBJECTS = ["a\nb", "a\r\nb", "a\x1b[2Jb", "a\u2028b", "a\u0085b", "a\u202eb", "a\0b", 'a"b', "a\\nb", LINE]


@pytest.mark.parametrize("subject", SUBJECTS, ids=ascii)
def test_no_subject_of_a_certificate_forges_a_line(service: Door, authority: Authority, subject: str) -> None:
    issued = authority.client(subject, organization=subject)
    assert service.answer(get(), issued.pem).status == 403
    logged = service.logged(fingerprint=issued.names["fingerprint"])
    assert_prints(logged)
    assert "\\" in logged["subject"] or subject.isprintable()


def test_no_subject_of_a_certificate_that_is_not_trusted_forges_a_line(service: Door, authority: Authority) -> None:
    issued = certificates.root("a\nb\x1b[2J", authority.folder).client(f"a\u2028{LINE}")
    with pytest.raises(OSError, match=r"(?i)unknown ca"), service.connect(issued.pem) as wire:
        wire.tls.recv(1)
    logged = service.logged(fingerprint=issued.names["fingerprint"])
    assert logged["event"] == "handshake refused"
    assert_prints(logged)


def assert_prints(event: dict[str, Any]) -> None:
    """No text of a line holds what does not print."""
    assert [value for value in event.values() if isinstance(value, str) and not value.isprintable()] == []


def test_every_line_is_one_object(service: Door) -> None:
    service.answer(get(SUBACCOUNTS, "X-Request-ID: every-line"))
    service.logged(id="every-line")
    lines = service.log.read_bytes().decode("ascii").split("\n")
    assert lines.pop() == ""
    begin = next(number for number, line in enumerate(lines) if line.startswith("{"))
    events = [json.loads(line) for line in lines[begin:]]
    assert len(events) > 10
    assert all({"event", "level", "time"} <= event.keys() for event in events)


# --- on a terminal ----------------------------------------------------------------------------------------


def test_on_a_terminal_a_person_reads_it(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("terminal") / "sandbox"
    folder.mkdir()
    authority.write(folder / "ca-key.pem", folder / "ca.pem")
    issued = authority.client("a\nb\x1b[2Jc\u2028d")
    ours, theirs = os.openpty()
    with door(folder, terminal=theirs) as service:
        service.answer(get("/%0A%1B[2J", "X-Request-ID: person-1"))
        service.answer(get(), issued.pem)
        service.answer(get(SUBACCOUNTS, "X-Request-ID: person-2"))
        text = b""
        while b"person-2" not in text or not text.endswith(b"\n"):
            text += os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)
    assert b"\x1b[2J" not in text
    shown = re.sub(r"\x1b\[[0-9;]*m", "", text.decode())
    lines = [line for line in shown.split("\r\n") if "milliseconds=" in line]
    assert len(lines) == 3
    assert all("\n" not in line and "\u2028" not in line and "{" not in line for line in lines)
    assert re.search(r"request .*customer=1 .*method=GET .*status=200 .*user=xyz", lines[2])
    assert issued.names["fingerprint"] in lines[1]
