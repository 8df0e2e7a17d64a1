"""
HTTP/1.1 as RFC 9110 and 9112 ask, over real sockets: readings 1-3, 53, 58 and 60 in their corners.

What a client library would never send is written here as bytes.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
from wire import BASE, MAPPINGS, PATIENCE, SUBACCOUNTS, TEXT, VENDOR, Answer, Door, door, get, post, request, update

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = b"Host: localhost"
GET = f"GET {SUBACCOUNTS} HTTP/1.1".encode()
POST = f"POST {MAPPINGS} HTTP/1.1".encode()
TYPE = f"Content-Type: {VENDOR}".encode()
BODY = update("Default")
CHUNK = b"%x\r\n%b\r\n" % (len(BODY), BODY)
LAST = b"0\r\n\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A sandbox with the demonstration world; nothing here changes its data."""
    with door(tmp_path_factory.mktemp("http") / "sandbox") as started:
        yield started


def head(line: bytes, *fields: bytes) -> bytes:
    """A head of exactly these lines."""
    return b"".join(part + b"\r\n" for part in (line, *fields)) + b"\r\n"


def line(text: str) -> bytes:
    """A head with this request line."""
    return head(text.encode("latin-1"), HOST)


def field(text: bytes) -> bytes:
    """A GET with this field, or whatever it is."""
    return head(GET, HOST, text)


def sized(length: bytes, body: bytes = BODY) -> bytes:
    """A POST with this Content-Length."""
    return head(POST, HOST, TYPE, b"Content-Length:" + length) + body


def coded(coding: bytes, *fields: bytes, body: bytes = CHUNK + LAST) -> bytes:
    """A POST with this Transfer-Encoding."""
    return head(POST, HOST, TYPE, b"Transfer-Encoding:" + coding, *fields) + body


def chunked(body: bytes) -> bytes:
    """A POST with a body that is already in chunks."""
    return coded(b"chunked", body=body)


def sound(answer: Answer) -> None:
    """What every answer of ours has, whoever made it."""
    assert answer["x-content-type-options"] == "nosniff"
    assert answer["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer["x-request-id"]
    assert answer["date"].endswith(" GMT")
    assert "server" not in answer
    assert "transfer-encoding" not in answer


# --- what is no request -----------------------------------------------------------------------------------

REFUSED = {
    # The request line (RFC 9112 3).
    "a method in lower case": (line(f"get {SUBACCOUNTS} HTTP/1.1"), 400),
    "a method in mixed case": (line(f"Get {SUBACCOUNTS} HTTP/1.1"), 400),
    "a method that nobody knows": (line(f"FETCH {SUBACCOUNTS} HTTP/1.1"), 400),
    "a method that begins like one": (line(f"GETS {SUBACCOUNTS} HTTP/1.1"), 400),
    "a method of one letter": (line(f"G {SUBACCOUNTS} HTTP/1.1"), 400),
    "a very long method": (line(f"{'A' * 70_000} {SUBACCOUNTS} HTTP/1.1"), 400),
    "a method with a control character": (line(f"GE\x01T {SUBACCOUNTS} HTTP/1.1"), 400),
    "no method": (line(f" {SUBACCOUNTS} HTTP/1.1"), 400),
    "a blank before the method": (line(f" GET {SUBACCOUNTS} HTTP/1.1"), 400),
    "a tab between method and target": (line(f"GET\t{SUBACCOUNTS} HTTP/1.1"), 400),
    "no target": (line("GET  HTTP/1.1"), 400),
    "a target without a slash": (line("GET subaccounts HTTP/1.1"), 400),
    "an authority as target": (line("GET localhost:443 HTTP/1.1"), 400),
    "an authority as target of CONNECT": (line("CONNECT localhost:443 HTTP/1.1"), 400),
    "another scheme": (line(f"GET ftp://localhost{SUBACCOUNTS} HTTP/1.1"), 400),
    "a scheme without a host": (line(f"GET https://{SUBACCOUNTS} HTTP/1.1"), 400),
    "a fragment": (line(f"GET {SUBACCOUNTS}#top HTTP/1.1"), 400),
    "a fragment after a query": (line(f"GET {MAPPINGS}?limit=1#top HTTP/1.1"), 400),
    "a blank in the target": (line(f"GET {MAPPINGS}?reference_id=a b HTTP/1.1"), 400),
    "a NUL in the target": (line(f"GET {SUBACCOUNTS}\x00 HTTP/1.1"), 400),
    "a control character in the target": (line(f"GET {SUBACCOUNTS}\x01 HTTP/1.1"), 400),
    "DEL in the target": (line(f"GET {SUBACCOUNTS}\x7f HTTP/1.1"), 400),
    "raw UTF-8 in the path": (line(f"GET {BASE}/1/subaccount\xc3\xa9 HTTP/1.1"), 400),
    "raw UTF-8 in the query": (line(f"GET {MAPPINGS}?reference_id=\xc3\xa9 HTTP/1.1"), 400),
    "a CR in the target": (line(f"GET {SUBACCOUNTS}\r HTTP/1.1"), 400),
    "a blank after the version": (line(f"GET {SUBACCOUNTS} HTTP/1.1 "), 400),
    "a word after the version": (line(f"GET {SUBACCOUNTS} HTTP/1.1 x"), 400),
    "no version (HTTP/0.9)": (f"GET {SUBACCOUNTS}\r\n\r\n".encode(), 505),
    "HTTP/0.9": (line(f"GET {SUBACCOUNTS} HTTP/0.9"), 505),
    "HTTP/1.2": (line(f"GET {SUBACCOUNTS} HTTP/1.2"), 400),
    "HTTP/2.0": (line(f"GET {SUBACCOUNTS} HTTP/2.0"), 505),
    "HTTP/3.0": (line(f"GET {SUBACCOUNTS} HTTP/3.0"), 400),
    "HTTP/1": (line(f"GET {SUBACCOUNTS} HTTP/1"), 400),
    "HTTP/11": (line(f"GET {SUBACCOUNTS} HTTP/11"), 400),
    "HTTP/1.10": (line(f"GET {SUBACCOUNTS} HTTP/1.10"), 400),
    "http in lower case": (line(f"GET {SUBACCOUNTS} http/1.1"), 400),
    "another protocol": (line(f"GET {SUBACCOUNTS} ICE/1.0"), 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a TLS hello inside": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32), 400),
    "an answer": (b"HTTP/1.1 200 OK\r\n\r\n", 400),
    # Lines (RFC 9112 2.2).
    "bare LF throughout": (head(GET, HOST).replace(b"\r\n", b"\n"), 400),
    "bare LF after the request line": (GET + b"\n" + HOST + b"\r\n\r\n", 400),
    "bare LF after a field": (GET + b"\r\n" + HOST + b"\nX: y\r\n\r\n", 400),
    "bare LF at the end of the head": (GET + b"\r\n" + HOST + b"\r\n\n", 400),
    "bare CR after a field": (GET + b"\r\n" + HOST + b"\rX: y\r\n\r\n", 400),
    "CR CR LF": (field(b"X: y\r"), 400),
    # Fields (RFC 9112 5).
    "an empty name": (field(b": y"), 400),
    "no colon": (field(b"X"), 400),
    "a blank before the colon": (field(b"X : y"), 400),
    "a tab before the colon": (field(b"X\t: y"), 400),
    "a blank in the name": (field(b"X Y: z"), 400),
    "a bracket in the name": (field(b"X(Y: z"), 400),
    "Latin-1 in the name": (field(b"X\xe9: y"), 400),
    "a NUL in the name": (field(b"X\0: y"), 400),
    "a NUL in the value": (field(b"X: a\0b"), 400),
    "a control character in the value": (field(b"X: a\x01b"), 400),
    "ESC in the value": (field(b"X: \x1b[2J"), 400),
    "DEL in the value": (field(b"X: a\x7fb"), 400),
    "a CR in the value": (field(b"X: a\rb"), 400),
    "a folded value": (field(b"X: a\r\n b"), 400),
    "a value folded with a tab": (field(b"X: a\r\n\tb"), 400),
    "a folded Host": (head(GET, b"Host:\r\n localhost"), 400),
    "a fold after the request line": (head(GET, b" X: y", HOST), 400),
    # Host (RFC 9112 3.2).
    "no Host": (head(GET), 400),
    "two Hosts": (head(GET, HOST, b"Host: other"), 400),
    "the same Host twice": (head(GET, HOST, HOST), 400),
    "two Hosts in HTTP/1.0": (head(GET[:-1] + b"0", HOST, HOST), 400),
    "a list of Hosts": (head(GET, b"Host: localhost, other"), 400),
    "a Host with a path": (head(GET, b"Host: localhost/path"), 400),
    "a Host with a scheme": (head(GET, b"Host: https://localhost"), 400),
    "a Host with a user": (head(GET, b"Host: me@localhost"), 400),
    "a Host with a blank": (head(GET, b"Host: local host"), 400),
    "a Host with a bad port": (head(GET, b"Host: localhost:x"), 400),
    "a Host with half a bracket": (head(GET, b"Host: [::1"), 400),
    "a Host in Latin-1": (head(GET, b"Host: \xe9"), 400),
    "no Host beside an absolute target": (head(f"GET https://localhost{SUBACCOUNTS} HTTP/1.1".encode()), 400),
    # Lengths (RFC 9112 6.3).
    "both lengths": (coded(b"chunked", b"Content-Length: 5"), 400),
    "both lengths, the other way round": (
        head(POST, HOST, TYPE, b"Content-Length: 5", b"Transfer-Encoding: chunked") + LAST,
        400,
    ),
    "both lengths with 0": (coded(b"chunked", b"Content-Length: 0"), 400),
    "both lengths of a GET": (head(GET, HOST, b"Transfer-Encoding: chunked", b"Content-Length: 0") + LAST, 400),
    "two Content-Lengths": (sized(b"5\r\nContent-Length: 6"), 400),
    "the same Content-Length twice": (sized(b"5\r\nContent-Length: 5"), 400),
    "two Content-Lengths of a GET": (head(GET, HOST, b"Content-Length: 0", b"Content-Length: 0"), 400),
    "a list of Content-Lengths": (sized(b" 5, 5"), 400),
    "a list of two Content-Lengths": (sized(b" 5, 6"), 400),
    "Content-Length with a plus": (sized(b" +5"), 400),
    "Content-Length with a minus": (sized(b" -1"), 400),
    "Content-Length in hexadecimal": (sized(b" 0x5"), 400),
    "Content-Length with an underscore": (sized(b" 1_0"), 400),
    "Content-Length with a point": (sized(b" 5.0"), 400),
    "Content-Length with a blank inside": (sized(b" 5 5"), 400),
    "Content-Length in other digits": (sized(b" \xd9\xa5"), 400),
    "an empty Content-Length": (sized(b""), 400),
    "a word as Content-Length": (sized(b" five"), 400),
    "a Content-Length of 30 digits": (sized(b" " + b"9" * 30), 400),
    "a Content-Length past 64 bits": (sized(b" 18446744073709551621"), 400),
    # Transfer codings (RFC 9112 6.1).
    "xchunked": (coded(b" xchunked"), 501),
    "chunkedx": (coded(b" chunkedx"), 501),
    "identity": (coded(b" identity"), 501),
    "gzip": (coded(b" gzip"), 501),
    "gzip, chunked": (coded(b" gzip, chunked"), 501),
    "identity, chunked": (coded(b" identity, chunked"), 501),
    "chunked, identity": (coded(b" chunked, identity"), 400),
    "chunked, gzip": (coded(b" chunked, gzip"), 400),
    "chunked, chunked": (coded(b" chunked, chunked"), 400),
    "chunked in two fields": (coded(b" chunked", b"Transfer-Encoding: chunked"), 400),
    "chunked, then identity": (coded(b" chunked", b"Transfer-Encoding: identity"), 400),
    "identity, then chunked": (coded(b" identity", b"Transfer-Encoding: chunked"), 501),
    "chunked in quotes": (coded(b' "chunked"'), 501),
    "chunked with a parameter": (coded(b" chunked;q=1"), 501),
    "chunked with a comma": (coded(b" chunked,"), 400),
    "chunked after a vertical tab": (coded(b" \x0bchunked"), 400),
    "an empty Transfer-Encoding": (coded(b""), 400),
    "chunked in HTTP/1.0": (coded(b" chunked").replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    # Chunks (RFC 9112 7.1).
    "a chunk's size that is no number": (chunked(b"g\r\n" + LAST), 400),
    "a chunk's size that is empty": (chunked(b"\r\n" + LAST), 400),
    "a chunk's size with a minus": (chunked(b"-1\r\n" + LAST), 400),
    "a chunk's size with a plus": (chunked(b"+" + CHUNK + LAST), 400),
    "a chunk's size with 0x": (chunked(b"0x" + CHUNK + LAST), 400),
    "a chunk's size after a blank": (chunked(b" " + CHUNK + LAST), 400),
    "a chunk's size past 64 bits": (chunked(b"1" + b"0" * 16 + b"\r\n"), 400),
    "a chunk that is longer than its size": (chunked(b"3\r\nabcd\r\n" + LAST), 400),
    "bare LF after a chunk's size": (chunked(b"3\nabc\r\n" + LAST), 400),
    "bare LF after a chunk": (chunked(b"3\r\nabc\n" + LAST), 400),
    "bare LF after an extension": (chunked(b"3;a\nabc\r\n" + LAST), 400),
    "a CR in an extension": (chunked(b"3;a\rb\r\nabc\r\n" + LAST), 400),
    "a NUL in an extension": (chunked(b"3;a\0\r\nabc\r\n" + LAST), 400),
    "an extension that never ends": (chunked(b"3;a=" + b"b" * 80_000), 431),
    "a trailer without a colon": (chunked(CHUNK + b"0\r\nX\r\n\r\n"), 400),
    "a trailer with a NUL": (chunked(CHUNK + b"0\r\nX: \0\r\n\r\n"), 400),
    "a trailer with Transfer-Encoding": (chunked(CHUNK + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
    "a trailer with Content-Length": (chunked(CHUNK + b"0\r\nContent-Length: 5\r\n\r\n"), 400),
    "a trailer that never ends": (chunked(CHUNK + b"0\r\nX: " + b"y" * 80_000), 431),
    # Upgrade (RFC 9110 7.8) and Expect (10.1.1).
    "Upgrade with a body": (
        head(POST, HOST, TYPE, b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 3") + b"abc",
        400,
    ),
    "Upgrade with chunks": (coded(b" chunked", b"Connection: Upgrade", b"Upgrade: h2c"), 400),
    "an unknown expectation": (field(b"Expect: 200-ok"), 417),
    "an unknown expectation beside 100-continue": (field(b"Expect: 100-continue, 200-ok"), 417),
    "an empty expectation": (field(b"Expect:"), 417),
    # Sizes (reading 53).
    "a target that never ends": (b"GET /" + b"a" * 80_000, 414),
    "a field that never ends": (GET + b"\r\n" + HOST + b"\r\nX: " + b"y" * 80_000, 431),
    "a name that never ends": (GET + b"\r\n" + HOST + b"\r\n" + b"x" * 80_000, 431),
    "a thousand fields": (head(GET, HOST, *[b"X: y"] * 1000), 431),
    "80,000 bytes of empty lines": (b"\r\n" * 40_000, 431),
}


@pytest.mark.parametrize(("raw", "status"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_request_is_refused_in_one_line(service: Door, raw: bytes, status: int) -> None:
    answer = service.answer(raw)
    assert answer.status == status
    assert answer["content-type"] == TEXT
    assert answer["connection"] == "close"
    assert answer.text.endswith("\n")
    assert len(answer.text.splitlines()) == 1
    sound(answer)


def test_after_a_refusal_of_the_http_layer_nothing_more_is_read_and_the_connection_ends(service: Door) -> None:
    with ExitStack() as wires:
        opened = []
        for name, (raw, _) in REFUSED.items():
            wire = wires.enter_context(service.connect())
            wire.send(raw, get())
            wire.answer()
            opened.append((name, wire))
        assert {name: rest for name, wire in opened if (rest := wire.rest())} == {}


AFTER_THE_SAME = REFUSED | {
    "another type": (get(SUBACCOUNTS, "Accept: text/html"), 406),
    "another field of the same name": (field(b"Host: other"), 400),
    "another target": (get(f"{BASE}/2/subaccounts"), 403),
    "another method": (request("PUT", SUBACCOUNTS), 405),
    "a body": (post(b"<x/>"), 400),
    "an older version": (request("GET", SUBACCOUNTS, version="HTTP/1.0"), 200),
    "a newer version": (request("GET", SUBACCOUNTS, version="HTTP/2.0"), 505),
    "the same once more": (get(), 200),
}


@pytest.mark.parametrize(("raw", "status"), AFTER_THE_SAME.values(), ids=AFTER_THE_SAME)
def test_a_request_is_judged_by_itself_whatever_came_before_it(service: Door, raw: bytes, status: int) -> None:
    """What the fields say is kept for a request that repeats them, and must not be for another."""
    with service.connect() as wire:
        for _ in range(2):
            wire.send(get())
            assert wire.answer().status == 200
        wire.send(raw)
        assert wire.answer().status == status


# --- what is one ------------------------------------------------------------------------------------------

TAKEN = {
    # Lines and targets.
    "as it should be": (get(), 200),
    "an empty line before": (b"\r\n" + get(), 200),
    "many empty lines before": (b"\r\n" * 20 + get(), 200),
    "an absolute target": (line(f"GET https://localhost{SUBACCOUNTS} HTTP/1.1"), 200),
    "an absolute target with http": (line(f"GET http://localhost{SUBACCOUNTS} HTTP/1.1"), 200),
    "an absolute target in capitals": (line(f"GET HTTPS://LOCALHOST{SUBACCOUNTS} HTTP/1.1"), 200),
    "an absolute target of another host": (line(f"GET https://other.example:1{SUBACCOUNTS} HTTP/1.1"), 200),
    "an absolute target with a query": (line(f"GET https://localhost{MAPPINGS}?limit=1 HTTP/1.1"), 200),
    "an absolute target without a path": (line("GET https://localhost HTTP/1.1"), 404),
    "an absolute target with a query alone": (line("GET https://localhost?limit=1 HTTP/1.1"), 404),
    "an absolute target with a slash": (line("GET https://localhost/ HTTP/1.1"), 404),
    "GET *": (line("GET * HTTP/1.1"), 404),
    "OPTIONS *": (line("OPTIONS * HTTP/1.1"), 404),
    "OPTIONS of the whole server": (line("OPTIONS https://localhost HTTP/1.1"), 404),
    # Fields.
    "an empty Host": (head(GET, b"Host:"), 200),
    "a Host with a port": (head(GET, b"Host: localhost:8443"), 200),
    "a Host with an empty port": (head(GET, b"Host: localhost:"), 200),
    "an address as Host": (head(GET, b"Host: 127.0.0.1:8443"), 200),
    "an address of IPv6 as Host": (head(GET, b"Host: [::1]:8443"), 200),
    "another Host": (head(GET, b"Host: other.example"), 200),
    "no blank after the colon": (head(GET, b"Host:localhost"), 200),
    "blanks and tabs around a value": (head(GET, b"Host: \t localhost \t "), 200),
    "a name in capitals": (head(GET, b"HOST: localhost"), 200),
    "a tab in a value": (field(b"X: a\tb"), 200),
    "an empty value": (field(b"X:"), 200),
    "Latin-1 in a value": (field(b"X: \xe9\xff"), 200),
    "every character a name may have": (field(b"!#$%&'*+-.^_`|~09AZaz: y"), 200),
    "the same field often": (field(b"X: y\r\nX: z\r\nX:"), 200),
    "a long field": (field(b"X: " + b"y" * 60_000), 200),
    "100 fields": (head(GET, HOST, *[b"X: y"] * 99), 200),
    "keep-alive said": (field(b"Connection: keep-alive"), 200),
    "Content-Type on a GET": (field(b"Content-Type: text/html"), 200),
    "Upgrade without Connection": (field(b"Upgrade: h2c"), 200),
    "TE and Trailer": (field(b"TE: trailers\r\nTrailer: X"), 200),
    "Range": (field(b"Range: bytes=0-9"), 200),
    # Answers of each kind.
    "what the client has": (field(b"If-None-Match: *"), 304),
    "what nobody may change": (request("DELETE", MAPPINGS), 405),
    "a type that is not there": (field(b"Accept: text/html"), 406),
    "an update of another customer": (post(BODY, target=f"{BASE}/2/contractSubaccountMappings"), 403),
    "an update of another state": (post(BODY, 'If-Match: "stale"'), 412),
    "an update of another type": (request("POST", MAPPINGS, body=BODY), 415),
    # Bodies.
    "a GET with a body": (head(GET, HOST, b"Content-Length: 5") + b"abcde", 200),
    "a GET with a body like a request": (request("GET", SUBACCOUNTS, body=get()), 200),
    "a GET with a chunked body": (head(GET, HOST, b"Transfer-Encoding: chunked") + CHUNK + LAST, 200),
    "a HEAD with a body": (request("HEAD", SUBACCOUNTS, body=b"abcde"), 200),
    "OPTIONS with a body": (request("OPTIONS", SUBACCOUNTS, body=b"abcde"), 204),
    "PUT with a body": (request("PUT", SUBACCOUNTS, body=BODY), 405),
    "a body": (post(BODY), 200),
    "a body like a request": (post(get()), 400),
    "no body and no length": (head(POST, HOST, TYPE), 400),
    "an empty body": (sized(b" 0", b""), 400),
    "blanks around Content-Length": (sized(b" \t%d " % len(BODY)), 200),
    "zeros before Content-Length": (sized(b" 000%d" % len(BODY)), 200),
    "chunks": (chunked(CHUNK + LAST), 200),
    "Chunked": (coded(b"Chunked"), 200),
    "CHUNKED after tabs": (coded(b"\t\tCHUNKED"), 200),
    "chunks of one byte": (chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + LAST), 200),
    "only the last chunk": (chunked(LAST), 400),
    "a last chunk of many zeros": (chunked(CHUNK + b"000000\r\n\r\n"), 200),
    "a chunk's size in capitals": (chunked(b"%X\r\n%b\r\n" % (len(BODY), BODY) + LAST), 200),
    "zeros before a chunk's size": (chunked(b"0000" + CHUNK + LAST), 200),
    "extensions": (chunked(b'%x;a;b=c;d="e"\r\n%b\r\n0;f\r\n\r\n' % (len(BODY), BODY)), 200),
    "a long extension": (chunked(b"%x;a=%b\r\n%b\r\n" % (len(BODY), b"b" * 60_000, BODY) + LAST), 200),
    "a trailer": (chunked(CHUNK + b"0\r\nX: y\r\nDigest: z\r\n\r\n"), 200),
    "a trailer that asks for another type": (chunked(CHUNK + b"0\r\nAccept: text/html\r\n\r\n"), 200),
    "a trailer that names another Host": (chunked(CHUNK + b"0\r\nHost: other\r\nX-Request-ID: z\r\n\r\n"), 200),
    "more trailers than fields": (chunked(CHUNK + b"0\r\n" + b"X: y\r\n" * 200 + b"\r\n"), 200),
}


@pytest.mark.parametrize(("raw", "status"), TAKEN.values(), ids=TAKEN)
def test_a_request_is_answered_and_the_next_one_begins_where_it_ends(service: Door, raw: bytes, status: int) -> None:
    method = raw.lstrip().partition(b" ")[0].decode()
    with service.connect() as wire:
        wire.send(raw)
        answer = wire.answer(method)
        assert answer.status == status
        assert "connection" not in answer
        sound(answer)
        wire.send(get(f"{BASE}/1/marker"))
        assert "marker" in wire.answer().text
        assert not wire.kept


IN_PIECES = {
    "a GET": get(),
    "a HEAD": request("HEAD", SUBACCOUNTS),
    "a POST": post(BODY),
    "a chunked POST": chunked(b"%x;a=b\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(BODY), BODY)),
}


@pytest.mark.parametrize("raw", IN_PIECES.values(), ids=IN_PIECES)
def test_a_request_may_come_byte_by_byte(service: Door, raw: bytes) -> None:
    with service.connect() as wire:
        wire.send(*(raw[place : place + 1] for place in range(len(raw))))
        assert wire.answer(raw.partition(b" ")[0].decode()).status == 200


ENDING = {
    "Connection: close": get(SUBACCOUNTS, "Connection: close"),
    "Connection: Close among others": get(SUBACCOUNTS, "Connection: x, Close"),
    "HTTP/1.0": request("GET", SUBACCOUNTS, version="HTTP/1.0"),
    "HTTP/1.0 without Host": head(f"GET {SUBACCOUNTS} HTTP/1.0".encode()),
    "HTTP/1.0 with keep-alive": request("GET", SUBACCOUNTS, "Connection: keep-alive", version="HTTP/1.0"),
    "HTTP/1.0 with a body": post(BODY).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.0 with Expect": post(BODY, "Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.0 with an expectation that nobody knows": request("GET", SUBACCOUNTS, "Expect: x", version="HTTP/1.0"),
    "Upgrade to a web socket": get(SUBACCOUNTS, "Connection: Upgrade", "Upgrade: websocket"),
    "Upgrade to HTTP/2": get(SUBACCOUNTS, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"),
}


@pytest.mark.parametrize("raw", ENDING.values(), ids=ENDING)
def test_the_connection_ends_after_the_answer(service: Door, raw: bytes) -> None:
    with service.connect() as wire:
        wire.send(raw + get())
        answer = wire.answer()
        assert answer.status == 200
        assert answer["connection"] == "close"
        sound(answer)
        assert wire.rest() == b""


# --- pipelining (RFC 9112 9.3.2) --------------------------------------------------------------------------

GOOD = (get(), 200)
MARK = (get(f"{BASE}/1/marker"), 404)
BROKEN = (b"BROKEN\r\n\r\n", 400)

PIPELINES = {
    "two": [GOOD, MARK],
    "fifty": [GOOD, MARK] * 25,
    "a refused one in the middle": [GOOD, (get(f"{BASE}/2/subaccounts"), 403), MARK],
    "a refused update in the middle": [GOOD, (post(b"<x/>"), 400), MARK],
    "an update refused by its head": [GOOD, (request("POST", MAPPINGS, "Content-Type: a/b", body=BODY), 415), MARK],
    "an update in the middle": [GOOD, (post(BODY), 200), MARK],
    "a chunked update in the middle": [GOOD, (chunked(CHUNK + LAST), 200), MARK],
    "updates": [(post(BODY), 200)] * 5 + [MARK],
    "a HEAD and OPTIONS": [(request("HEAD", SUBACCOUNTS), 200), (request("OPTIONS", SUBACCOUNTS), 204), MARK],
    "a GET with a body": [(request("GET", SUBACCOUNTS, body=get()), 200), MARK],
    "a slow one, then quick ones": [(get(f"{BASE}/1/contractSubaccountMappings?limit=1000"), 200), MARK, MARK],
    "a broken one after a good one": [GOOD, BROKEN],
    "a broken one after ten": [GOOD] * 10 + [BROKEN],
    "a broken one after an update": [(post(BODY), 200), BROKEN],
    "one without Host after a good one": [GOOD, (head(GET), 400)],
    "one with both lengths after a good one": [GOOD, (coded(b"chunked", b"Content-Length: 5"), 400)],
    "a broken target after a good one": [GOOD, (line("CONNECT localhost:443 HTTP/1.1"), 400)],
    "a broken chunk after a good one": [GOOD, (chunked(b"x\r\n"), 400)],
    "a broken chunk after a good one and a good chunk": [GOOD, (chunked(CHUNK + b"x\r\n"), 400)],
    "a head that is too long after a good one": [GOOD, (field(b"X: " + b"y" * 70_000), 431)],
    "a target that is too long after a good one": [GOOD, (get("/" + "a" * 20_000), 414)],
}


@pytest.mark.parametrize("requests", PIPELINES.values(), ids=PIPELINES)
def test_answers_come_in_the_order_of_their_requests(service: Door, requests: list[tuple[bytes, int]]) -> None:
    with service.connect() as wire:
        wire.send(b"".join(raw for raw, _ in requests))
        statuses = [wire.answer(raw.partition(b" ")[0].decode("latin-1")).status for raw, _ in requests]
        assert statuses == [status for _, status in requests]
        assert not wire.kept


def test_thousands_of_requests_ahead_are_answered_each_in_its_turn(service: Door) -> None:
    names = [f"ahead-{number}" for number in range(3000)]
    with service.connect() as wire:
        wire.send(b"".join(get("/", f"X-Request-ID: {name}") for name in names))
        assert [wire.answer()["x-request-id"] for _ in names] == names


def test_requests_are_not_taken_in_faster_than_they_are_answered(service: Door) -> None:
    least = b"GET / HTTP/1.1\r\nHost:\r\n\r\n"
    before = service.memory()
    with service.connect() as wire:
        wire.tls.settimeout(0.5)
        with suppress(TimeoutError):  # it stops taking them in, sooner or later
            for _ in range(100):
                wire.send(least * 1000)
        wire.tls.settimeout(PATIENCE)
        assert {wire.answer().status for _ in range(1000)} == {404}
        assert service.memory() - before < 20e6


def test_a_request_after_close_is_not_answered_nor_done(service: Door) -> None:
    with service.connect() as wire:
        wire.send(get(SUBACCOUNTS, "Connection: close", "X-Request-ID: last") + post(update("ABC1")))
        assert wire.answer()["x-request-id"] == "last"
        assert wire.rest() == b""
    assert b"ABC1<" not in service.answer(get(MAPPINGS)).body


# --- Expect: 100-continue (RFC 9110 10.1.1, reading 53) ----------------------------------------------------


def expecting(*fields: str, target: str = MAPPINGS, length: int = len(BODY), method: str = "POST") -> bytes:
    """A head that asks whether its body is wanted."""
    return request(method, target, f"Content-Length: {length}", "Expect: 100-continue", *fields)


def test_a_good_head_is_told_to_go_on(service: Door) -> None:
    with service.connect() as wire:
        wire.send(expecting(f"Content-Type: {VENDOR}"))
        assert wire.answer() == Answer(100, (), b"")
        wire.send(BODY)
        answer = wire.answer()
        assert answer.status == 200
        assert "connection" not in answer
        wire.send(*MARK[:1])
        assert wire.answer().status == 404


def test_100_continue_in_capitals_is_the_same(service: Door) -> None:
    with service.connect() as wire:
        wire.send(expecting(f"Content-Type: {VENDOR}").replace(b"100-continue", b"100-CONTINUE"))
        assert wire.answer().status == 100


DECIDED = {
    "an unknown URL": (expecting(f"Content-Type: {VENDOR}", target="/x"), 404),
    "a resource that is only read": (expecting(f"Content-Type: {VENDOR}", target=SUBACCOUNTS), 405),
    "PUT": (expecting(f"Content-Type: {VENDOR}", method="PUT"), 405),
    "another customer": (expecting(f"Content-Type: {VENDOR}", target=f"{BASE}/2/contractSubaccountMappings"), 403),
    "another site": (expecting(f"Content-Type: {VENDOR}", "Origin: https://other.example"), 403),
    "nothing fits": (expecting(f"Content-Type: {VENDOR}", "Accept: text/html"), 406),
    "another type": (expecting("Content-Type: application/xml"), 415),
    "a body that is too long": (expecting(f"Content-Type: {VENDOR}", length=16 * 1024 * 1024 + 1), 413),
    "a GET": (expecting(method="GET", target=SUBACCOUNTS), 200),
}


@pytest.mark.parametrize(("raw", "status"), DECIDED.values(), ids=DECIDED)
def test_what_the_head_decides_is_answered_before_the_body_is_asked_for(
    service: Door, raw: bytes, status: int
) -> None:
    with service.connect() as wire:
        wire.send(raw)
        answer = wire.answer()
        assert answer.status == status
        assert answer["connection"] == "close"
        sound(answer)
        assert wire.rest() == b""


# --- methods (reading 3) ----------------------------------------------------------------------------------

READ_ONLY = "GET, HEAD, OPTIONS"
ALL = "GET, HEAD, OPTIONS, POST"

METHODS = {
    **{
        f"{method} of {name}": (method, target, 405, allow)
        for method in ("PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "LOCK", "PURGE", "SEARCH", "MOVE")
        for name, target, allow in (("the subaccounts", SUBACCOUNTS, READ_ONLY), ("the collection", MAPPINGS, ALL))
    },
    "POST to the subaccounts": ("POST", SUBACCOUNTS, 405, READ_ONLY),
    "POST to a contract": ("POST", f"{MAPPINGS}/999999", 405, READ_ONLY),
    "POST to the schema": ("POST", "/sms_oper_contract/schema/vnd.iso-ne.contract.customers.v1.xsd", 405, READ_ONLY),
    "PUT to another customer": ("PUT", f"{BASE}/2/subaccounts", 405, READ_ONLY),
    "OPTIONS of the subaccounts": ("OPTIONS", SUBACCOUNTS, 204, READ_ONLY),
    "OPTIONS of the collection": ("OPTIONS", MAPPINGS, 204, ALL),
    "OPTIONS of a contract": ("OPTIONS", f"{MAPPINGS}/999999", 204, READ_ONLY),
    "OPTIONS of an unknown contract": ("OPTIONS", f"{MAPPINGS}/7", 204, READ_ONLY),
    "OPTIONS of another customer": ("OPTIONS", f"{BASE}/2/subaccounts", 204, READ_ONLY),
}


@pytest.mark.parametrize(("method", "target", "status", "allow"), METHODS.values(), ids=METHODS)
def test_a_method_that_is_not_there_is_405_and_options_tells_which_are(
    service: Door, method: str, target: str, status: int, allow: str
) -> None:
    answer = service.answer(request(method, target, "Accept: text/html"))
    assert answer.status == status
    assert answer["allow"] == allow
    sound(answer)


HEADS = {
    "the subaccounts": (SUBACCOUNTS, ()),
    "the collection": (MAPPINGS, ()),
    "a contract": (f"{MAPPINGS}/999999", ()),
    "the collection as XML": (MAPPINGS, ("Accept: application/xml",)),
    "the collection in gzip": (MAPPINGS, ("Accept-Encoding: gzip",)),
    "the schema": ("/sms_oper_contract/schema/vnd.iso-ne.contract.customers.v1.xsd", ()),
    "an unknown URL": ("/x", ()),
    "an unknown contract": (f"{MAPPINGS}/7", ()),
    "another customer": (f"{BASE}/2/subaccounts", ()),
    "a type that is not there": (SUBACCOUNTS, ("Accept: text/html",)),
    "a bad query": (f"{MAPPINGS}?limit=0", ()),
    "what the client has": (SUBACCOUNTS, ("If-None-Match: *",)),
    "two Hosts": (SUBACCOUNTS, ("Host: other",)),
    "a head that is too long": (SUBACCOUNTS, ("X: " + "y" * 70_000,)),
}


@pytest.mark.parametrize(("target", "fields"), HEADS.values(), ids=HEADS)
def test_head_says_what_get_says_without_the_body(service: Door, target: str, fields: tuple[str, ...]) -> None:
    given = ("X-Request-ID: same", *fields)
    by_get, by_head = (service.answer(request(method, target, *given)) for method in ("GET", "HEAD"))
    assert by_head.status == by_get.status
    own = {"date"} | ({"x-request-id"} if "connection" in by_get else set())
    assert [field for field in by_head.headers if field[0] not in own] == [
        field for field in by_get.headers if field[0] not in own
    ]
    with service.connect() as wire:
        wire.send(request("HEAD", target, "Connection: close", *given))
        wire.answer("HEAD")
        assert wire.rest() == b""


# --- paths (readings 1, 2) --------------------------------------------------------------------------------

PATHS = {
    "the subaccounts": (SUBACCOUNTS, 200),
    "the collection": (MAPPINGS, 200),
    "a contract": (f"{MAPPINGS}/999999", 200),
    "the schema": ("/sms_oper_contract/schema/vnd.iso-ne.contract.customers.v1.xsd", 200),
    "an empty query": (f"{SUBACCOUNTS}?", 200),
    "a query of question marks": (f"{SUBACCOUNTS}???", 200),
    "a query with slashes": (f"{SUBACCOUNTS}?a=/../b", 200),
    "encoded letters": (f"{BASE}/1/%73ubaccounts", 200),
    "encoded letters, lower-case digits": (f"{BASE}/1/subaccount%73", 200),
    "an encoded id": (f"{BASE}/%31/subaccounts", 200),
    "all encoded": (
        "/" + "/".join("".join(f"%{ord(c):02x}" for c in part) for part in SUBACCOUNTS[1:].split("/")),
        200,
    ),
    "encoded twice": (f"{BASE}/1/%2573ubaccounts", 404),
    "an encoded slash": (f"{BASE}/1%2Fsubaccounts", 404),
    "an encoded slash in lower case": (f"{BASE}/1%2fsubaccounts", 404),
    "an encoded slash at the end": (f"{SUBACCOUNTS}%2F", 404),
    "an encoded slash within an id": (f"{MAPPINGS}/9999%2F99", 404),
    "an encoded question mark": (f"{SUBACCOUNTS}%3Flimit=1", 404),
    "an encoded NUL": (f"{SUBACCOUNTS}%00", 404),
    "an encoded newline": (f"{SUBACCOUNTS}%0A", 404),
    "an encoded blank": (f"{SUBACCOUNTS}%20", 404),
    "a plus for a blank": (f"{SUBACCOUNTS}+", 404),
    "not UTF-8": (f"{BASE}/1/%FF", 404),
    "half of a character": (f"{BASE}/1/subaccounts%C3", 404),
    "overlong UTF-8": (f"{BASE}/1%C0%AFsubaccounts", 404),
    "a percent sign": (f"{BASE}/1/subaccounts%", 404),
    "a percent sign before letters": (f"{BASE}/1/%zz", 404),
    "a percent sign and one digit": (f"{SUBACCOUNTS}%2", 404),
    "a dot segment": (f"{BASE}/./1/subaccounts", 404),
    "two dots": (f"{BASE}/1/x/../subaccounts", 404),
    "two dots to another customer": (f"{BASE}/1/../2/subaccounts", 404),
    "encoded dots": (f"{BASE}/1/%2e%2e/1/subaccounts", 404),
    "a dot at the end": (f"{SUBACCOUNTS}/.", 404),
    "a double slash": (f"{BASE}/1//subaccounts", 404),
    "a double slash at the start": (f"/{SUBACCOUNTS}", 404),
    "a trailing slash": (f"{SUBACCOUNTS}/", 404),
    "a trailing slash of the collection": (f"{MAPPINGS}/", 404),
    "a trailing slash of a contract": (f"{MAPPINGS}/999999/", 404),
    "a parameter of the path": (f"{SUBACCOUNTS};v=1", 404),
    "a backslash": (f"{BASE}/1\\subaccounts", 404),
    "another case": (f"{BASE}/1/Subaccounts", 404),
    "another case of the collection": (f"{BASE}/1/contractsubaccountmappings", 404),
    "another case of the base": ("/SMS_OPER_CONTRACT/api/customers/1/subaccounts", 404),
    "the root": ("/", 404),
    "the base": (BASE, 404),
    "the base with a slash": (f"{BASE}/", 404),
    "a customer": (f"{BASE}/1", 404),
    "a customer with a slash": (f"{BASE}/1/", 404),
    "below the subaccounts": (f"{SUBACCOUNTS}/ABC1", 404),
    "below a contract": (f"{MAPPINGS}/999999/1", 404),
    "without the first segment": ("/api/customers/1/subaccounts", 404),
    "the schema's folder": ("/sms_oper_contract/schema/", 404),
    "a file outside": ("/sms_oper_contract/schema/../../../../etc/passwd", 404),
    "a long path": (f"{BASE}/{'1' * 10_000}/subaccounts", 404),
    "many segments": ("/a" * 5_000, 404),
    "an id with a zero before": (f"{BASE}/01/subaccounts", 404),
    "an id with a plus": (f"{BASE}/+1/subaccounts", 404),
    "an id with a minus": (f"{BASE}/-1/subaccounts", 404),
    "an id with a point": (f"{BASE}/1.0/subaccounts", 404),
    "an id with an exponent": (f"{BASE}/1e0/subaccounts", 404),
    "an id in hexadecimal": (f"{BASE}/0x1/subaccounts", 404),
    "an id in other digits": (f"{BASE}/%D9%A1/subaccounts", 404),
    "an id with a blank": (f"{BASE}/1%20/subaccounts", 404),
    "an id with a newline": (f"{BASE}/1%0A/subaccounts", 404),
    "an empty id": (f"{BASE}//subaccounts", 404),
    "an id of 10 digits": (f"{BASE}/1000000000/subaccounts", 404),
    "an id of 9 digits": (f"{BASE}/999999999/subaccounts", 403),
    "0": (f"{BASE}/0/subaccounts", 403),
    "00": (f"{BASE}/00/subaccounts", 404),
    "a contract 0": (f"{MAPPINGS}/0", 404),
    "a contract with a zero before": (f"{MAPPINGS}/0999999", 404),
    "a contract of 10 digits": (f"{MAPPINGS}/1000000000", 404),
    "another customer's contract": (f"{BASE}/2/contractSubaccountMappings/999998", 403),
}


@pytest.mark.parametrize(("target", "status"), PATHS.values(), ids=PATHS)
def test_a_path_names_a_resource_or_none_and_never_another(service: Door, target: str, status: int) -> None:
    answer = service.answer(get(target))
    assert answer.status == status
    assert "location" not in answer
    assert status == 200 or len(answer.text.splitlines()) == 1
    sound(answer)


# --- the query string (readings 14, 15, 60) ---------------------------------------------------------------

ROW = b"<contract_subaccount_mapping>"

QUERIES = {
    "nothing": ("", 200, 2),
    "only separators": ("&&&", 200, 2),
    "a wildcard typed by hand": ("contract_id=99999%", 200, 2),
    "a wildcard encoded": ("contract_id=99999%25", 200, 2),
    "a wildcard before digits": ("contract_id=%9", 200, 1),
    "a percent sign before what is no octet": ("reference_id=%zz", 200, 0),
    "two percent signs": ("contract_id=%%9", 200, 1),
    "a plus as a blank": ("category=FCM+LOAD+OBLIGATION", 200, 2),
    "%20 as a blank": ("category=FCM%20LOAD%20OBLIGATION", 200, 2),
    "an encoded plus": ("category=FCM%2BLOAD%2BOBLIGATION", 400, 0),
    "an encoded name": ("c%6Fntract_id=999999", 200, 1),
    "an encoded equals sign": ("contract_id%3D999999", 200, 2),
    "an encoded ampersand": ("reference_id=a%26contract_id=7", 200, 0),
    "an equals sign in a value": ("reference_id=a=b", 200, 0),
    "a semicolon separates nothing": ("contract_id=999999;limit=1", 400, 0),
    "a semicolon in a value": ("reference_id=a;b", 200, 0),
    "a name alone": ("limit", 400, 0),
    "an empty value": ("limit=", 400, 0),
    "an empty name": ("=5", 200, 2),
    "twice": ("limit=1&limit=1", 400, 0),
    "twice, once encoded": ("limit=1&l%69mit=1", 400, 0),
    "another case": ("LIMIT=0", 200, 2),
    "unknown": ("_dc=1&sort=x", 200, 2),
    "UTF-8": ("reference_id=%C3%A9", 200, 0),
    "not UTF-8": ("reference_id=%E9", 400, 0),
    "not UTF-8 in an unknown one": ("x=%FF", 400, 0),
    "not UTF-8 in a name": ("%FF=1", 400, 0),
    "a surrogate": ("reference_id=%ED%A0%80", 400, 0),
    "overlong UTF-8": ("reference_id=%C0%80", 400, 0),
    "a BOM before a name": ("%EF%BB%BFlimit=0", 200, 2),
    "a newline in a value": ("limit=1%0A", 400, 0),
    "a blank in a value": ("limit=+1", 400, 0),
    "a question mark": ("?limit=0", 200, 2),
    "a slash": ("reference_id=/", 200, 0),
    "brackets": ("limit[]=0", 200, 2),
    "a thousand parameters": ("&".join(f"x{number}=y" for number in range(1000)), 200, 2),
    "a long value": ("reference_id=" + "a" * 10_000, 400, 0),
}


@pytest.mark.parametrize(("query", "status", "rows"), QUERIES.values(), ids=QUERIES)
def test_a_query_string_is_read_as_a_form(service: Door, query: str, status: int, rows: int) -> None:
    answer = service.answer(get(f"{MAPPINGS}?{query}"))
    assert answer.status == status, answer.text
    assert answer.body.count(ROW) == rows
    sound(answer)


# --- X-Request-ID -----------------------------------------------------------------------------------------

IDS = {
    "a word": (["order-66"], True),
    "every kind of character": (["Az09._-"], True),
    "one character": (["x"], True),
    "64 characters": (["x" * 64], True),
    "65 characters": (["x" * 65], False),
    "none": ([], False),
    "an empty one": ([""], False),
    "a blank inside": (["a b"], False),
    "a slash": (["a/b"], False),
    "a quote": (['a"b'], False),
    "Latin-1": (["\xe9"], False),
    "markup": (["<b>"], False),
    "two": (["a", "b"], False),
    "the same twice": (["a", "a"], False),
    "a list": (["a, b"], False),
}


@pytest.mark.parametrize(("given", "taken"), IDS.values(), ids=IDS)
def test_a_request_keeps_its_id_if_it_has_a_good_one(service: Door, given: list[str], taken: bool) -> None:
    answer = service.answer(get(SUBACCOUNTS, *(f"X-Request-ID: {value}" for value in given)))
    assert answer.status == 200
    assert (answer["x-request-id"] in given) == taken
    assert len(answer["x-request-id"]) > 0


def test_two_requests_without_an_id_get_different_ones(service: Door) -> None:
    first, second = (service.answer(get())["x-request-id"] for _ in range(2))
    assert first != second
