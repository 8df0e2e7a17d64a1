"""
The limits of reading 53: each is kept to the byte, has its own status and a plain sentence, and can be set.

Times are set short, so that what is too slow is noticed soon; no test needs one to pass.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from crowd import WAYS, crowd, honest
from wire import BASE, MAPPINGS, SUBACCOUNTS, TEXT, VENDOR, Answer, Door, Wire, door, get, post, request, update

from ibt.conformance.server import failed_start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = update("Default")
LINE, HEAD, FIELDS, LONGEST = 400, 2000, 12, len(BODY) + 500
SOON = 0.5

#: Far more than SOON, for a machine that is busy; far less than any limit that is not set here.
LATE = 8.0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A sandbox with small sizes."""
    limits = {"request_line": LINE, "head": HEAD, "fields": FIELDS, "body": LONGEST, "connections": 20}
    with door(tmp_path_factory.mktemp("small") / "sandbox", limits=limits) as started:
        yield started


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A sandbox with short times."""
    names = ("handshake", "head", "body", "idle", "answer")
    limits = {f"{name}_seconds": SOON for name in names}
    with door(tmp_path_factory.mktemp("short") / "sandbox", limits=limits) as started:
        yield started


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A sandbox with the limits as they are."""
    with door(tmp_path_factory.mktemp("limits") / "sandbox") as started:
        yield started


# --- sizes ------------------------------------------------------------------------------------------------


def with_line(length: int, method: str = "GET") -> bytes:
    """A request whose line has this length, without its CRLF."""
    rest = len(f"{method} {SUBACCOUNTS}?x= HTTP/1.1")
    return request(method, f"{SUBACCOUNTS}?x={'y' * (length - rest)}")


def with_head(length: int) -> bytes:
    """A request whose fields and target have this length, with ': ' and CRLF of each field."""
    rest = len(SUBACCOUNTS) + len("Host: localhost\r\n") + len("X: \r\n")
    return get(SUBACCOUNTS, f"X: {'y' * (length - rest)}")


def in_chunks(body: bytes, size: int = 1000) -> bytes:
    """A POST with *body* in chunks."""
    head = request("POST", MAPPINGS, f"Content-Type: {VENDOR}", "Transfer-Encoding: chunked")
    pieces = (body[place : place + size] for place in range(0, len(body), size))
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def padded(length: int, way: str = "blanks") -> bytes:
    """The update, with blanks or a comment, so that it has this length."""
    more = length - len(BODY)
    return BODY + (b" " * more if way == "blanks" else b"<!--" + b"x" * (more - 7) + b"-->")


SIZES = {
    "a request line of just that length": (with_line(LINE), 200),
    "a request line that is a byte longer": (with_line(LINE + 1), 414),
    "a request line of just that length, HEAD": (with_line(LINE, "HEAD"), 200),
    "a request line that is a byte longer, HEAD": (with_line(LINE + 1, "HEAD"), 414),
    "a request line that is much longer": (with_line(LINE * 50), 414),
    "a request line that never ends": (b"GET /" + b"x" * 20_000, 414),
    "a head of just that length": (with_head(HEAD), 200),
    "a head that is a byte longer": (with_head(HEAD + 1), 431),
    "a head that is much longer": (with_head(HEAD * 50), 431),
    "a head that never ends": (get()[:-2] + b"X: " + b"y" * 20_000, 431),
    "just so many fields": (get(SUBACCOUNTS, *["X: y"] * (FIELDS - 1)), 200),
    "a field more": (get(SUBACCOUNTS, *["X: y"] * FIELDS), 431),
    "a body of just that length": (post(padded(LONGEST)), 200),
    "a body of just that length, with a comment": (post(padded(LONGEST, "comment")), 200),
    "a body that is a byte longer": (post(padded(LONGEST + 1)), 413),
    "a body that is said to be longer, and does not come": (
        request("POST", MAPPINGS, f"Content-Type: {VENDOR}", f"Content-Length: {LONGEST + 1}"),
        413,
    ),
    "a body that is said to be endless": (
        request("POST", MAPPINGS, f"Content-Type: {VENDOR}", f"Content-Length: {2**63 - 1}"),
        413,
    ),
    "a body in chunks of just that length": (in_chunks(padded(LONGEST)), 200),
    "a body in chunks of one byte, of just that length": (in_chunks(padded(LONGEST), 1), 200),
    "a body in chunks that is a byte longer": (in_chunks(padded(LONGEST + 1)), 413),
    "a body in chunks that never ends": (in_chunks(b" " * LONGEST * 3)[:-5], 413),
    "a body of a GET that is longer": (request("GET", SUBACCOUNTS, body=b"x" * (LONGEST + 1)), 200),
}


@pytest.mark.parametrize(("raw", "status"), SIZES.values(), ids=SIZES)
def test_a_size_is_kept_to_the_byte(small: Door, raw: bytes, status: int) -> None:
    answer = small.answer(raw)
    assert answer.status == status
    if status != 200 and not raw.startswith(b"HEAD"):
        refused_plainly(answer, {413: LONGEST, 414: LINE}.get(status, FIELDS if b"X: y\r\nX: y\r\n" in raw else HEAD))


def test_a_head_is_too_long_by_its_target_also_where_its_fields_are_those_of_the_request_before(small: Door) -> None:
    longest = with_head(HEAD)
    with small.connect() as wire:
        for _ in range(2):
            wire.send(longest)
            assert wire.answer().status == 200
        wire.send(longest.replace(b" HTTP", b"? HTTP"))
        assert wire.answer().status == 431


def refused_plainly(answer: Answer, limit: int) -> None:
    """The answer is one sentence that names the limit."""
    assert answer["content-type"] == TEXT
    assert len(answer.text.splitlines()) == 1
    assert f" {limit} " in answer.text
    assert "(reading 53)" in answer.text


def test_a_body_that_is_too_long_costs_the_connection_nothing_if_it_was_sent(small: Door) -> None:
    with small.connect() as wire:
        wire.send(post(padded(LONGEST * 10)))
        assert wire.answer().status == 413
        wire.send(get())
        assert wire.answer().status == 200


def test_exactly_16_mib_are_allowed(service: Door) -> None:
    most = 16 * 1024 * 1024
    assert service.answer(post(padded(most))).status == 200
    assert service.answer(in_chunks(padded(most), 100_000)).status == 200
    answer = service.answer(in_chunks(padded(most + 1), 100_000))
    assert answer.status == 413
    refused_plainly(answer, most)


def test_the_default_sizes_are_those_of_the_reading(service: Door) -> None:
    sizes = {
        with_line(16 * 1024): 200,
        with_line(16 * 1024 + 1): 414,
        with_head(64 * 1024): 200,
        with_head(64 * 1024 + 1): 431,
        get(SUBACCOUNTS, *["X: y"] * 99): 200,
        get(SUBACCOUNTS, *["X: y"] * 100): 431,
    }
    assert [service.answer(raw).status for raw in sizes] == list(sizes.values())


# --- times ------------------------------------------------------------------------------------------------


def dripped(wire: Wire, first: bytes, drop: bytes) -> bytes:
    """What the server sends, until it closes, to a client that sends *first* and then *drop* after *drop*."""
    wire.send(first)
    wire.tls.settimeout(SOON / 10)
    received = b""
    end = time.monotonic() + LATE
    while time.monotonic() < end:
        wire.send(drop)
        try:
            piece = wire.tls.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return received
        if not piece:
            return received
        received += piece
    raise AssertionError("the server never lost its patience")


POSTING = request("POST", MAPPINGS, f"Content-Type: {VENDOR}", "Content-Length: 1000")
CHUNKING = request("POST", MAPPINGS, f"Content-Type: {VENDOR}", "Transfer-Encoding: chunked")

SLOW = {
    "a head that stops": (b"GET / HTTP/1.1\r\n", b"", 408),
    "a head that drips": (b"GET / HTTP/1.1\r\nX: ", b"y", 408),
    "a request line that drips": (b"GET /", b"y", 408),
    "empty lines that drip": (b"\r\n", b"\r\n", 408),
    "a body that does not begin": (POSTING, b"", 408),
    "a body that stops": (POSTING + b"<x>", b"", 408),
    "a body that drips": (POSTING, b" ", 408),
    "a chunk that does not begin": (CHUNKING, b"", 408),
    "chunks that drip": (CHUNKING, b"1\r\n \r\n", 408),
    "a chunk's extension that drips": (CHUNKING + b"1;", b"a", 408),
    "a trailer that drips": (CHUNKING + b"1\r\n \r\n0\r\nX: ", b"a", 408),
    "an update that asks first": (POSTING[:-2] + b"Expect: 100-continue\r\n\r\n", b"", 100),
    "a body of a GET, which is answered before it comes": (get()[:-2] + b"Content-Length: 9\r\n\r\n", b"", 200),
    "a body that was refused by its head": (request("POST", MAPPINGS, "Content-Length: 1000"), b"", 415),
    "a second head that stops": (get() + b"GET / HTTP/1.1\r\n", b"", 200),
    "a request, and no more": (get(), b"", 200),
    "nothing": (b"", b"", None),
}


@pytest.mark.parametrize(("first", "drop", "status"), SLOW.values(), ids=SLOW)
def test_who_is_too_slow_is_told_so_where_something_was_asked_and_the_connection_ends(
    short: Door, first: bytes, drop: bytes, status: int | None
) -> None:
    with short.connect() as wire:
        received = dripped(wire, first, drop)
    statuses = [int(line[9:12]) for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert statuses[:1] == ([] if status is None else [status])
    if statuses and statuses[-1] == 408:
        assert b"seconds (reading 53)\n" in received
        assert b"connection: close\r\n" in received


def test_a_slow_handshake_is_ended(short: Door) -> None:
    for sent in (b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
        with contextlib.closing(short.tcp()) as plain:
            plain.settimeout(LATE)
            plain.sendall(sent)
            with contextlib.suppress(ConnectionResetError):
                assert plain.recv(1) == b""


def test_a_client_that_does_not_read_its_answer_is_given_up(short: Door) -> None:
    large = get(f"{BASE}/50/contractSubaccountMappings?limit=1000", "Accept-Encoding: identity")
    with short.connect("thousand", receive_buffer=4096) as wire:
        wire.send(large * 20)
        logged = short.logged(event="given up")
    assert "not read" in logged["why"]
    assert logged["subject"] == "CN=thousand"
    assert short.answer(get()).status == 200


def test_who_reads_slowly_but_reads_is_served(service: Door) -> None:
    target = f"{BASE}/50/contractSubaccountMappings?limit=1000"
    whole = service.answer(get(target), "thousand")
    with service.connect("thousand", receive_buffer=4096) as wire:
        wire.send(get(target) * 5)
        assert [wire.answer().body for _ in range(5)] == [whole.body] * 5


# --- connections ------------------------------------------------------------------------------------------


def test_beyond_the_number_of_connections_the_next_is_told_to_come_again(small: Door) -> None:
    with contextlib.ExitStack() as opened:
        while True:
            wire = opened.enter_context(small.connect())
            wire.send(get())
            answer = wire.answer()
            if answer.status != 200:
                break
        assert answer.status == 503
        assert answer["retry-after"] == "1"
        assert answer["connection"] == "close"
        assert answer["x-content-type-options"] == "nosniff"
        refused_plainly(answer, 20)
        assert wire.rest() == b""
    end = time.monotonic() + LATE
    while small.answer(get()).status == 503:
        assert time.monotonic() < end


@pytest.mark.parametrize("sent", WAYS.values(), ids=WAYS)
def test_a_thousand_connections_that_keep_us_waiting_do_not_keep_others_out(
    service: Door, sent: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = honest(service, 300)
    memory = service.memory()
    with crowd(service, 1000, sent):
        beside = honest(service, 300)
        more = service.memory() - memory
    with capsys.disabled():
        print(f"\nalone: {alone}; beside a thousand: {beside}; {more / 1e6:.0f} MB more")  # noqa: T201 - for people
    # How much slower is for the benchmark to say: a machine that does other things at the moment may be slow.
    assert beside.seconds[-1] < LATE
    assert more < 200e6


# --- settings ---------------------------------------------------------------------------------------------


def test_limits_that_are_no_numbers_keep_the_sandbox_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IBT_LIMIT_FIELDS", "1e3")
    monkeypatch.setenv("IBT_LIMIT_HEAD_SECONDS", "0")
    ended = failed_start(tmp_path / "sandbox")
    assert ended.status == 2
    assert ended.lines == [
        'limits.fields is "1e3", from environment IBT_LIMIT_FIELDS: it must be a whole number from 1 to 2147483647.',
        (
            'limits.head_seconds is "0", from environment IBT_LIMIT_HEAD_SECONDS: '
            "it must be a number of seconds, more than 0 and at most 86400."
        ),
    ]
    assert not (tmp_path / "sandbox").exists()
