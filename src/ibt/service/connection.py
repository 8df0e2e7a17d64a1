"""
One connection: HTTP as uvicorn's protocol does it, with what it leaves to others: the client's certificate, the
limits of reading 53, and answers in our own words where the HTTP layer refuses.

It rests on internals of uvicorn, whose minor version is pinned; tests/door fails where they change.

Behind a proxy the client's certificate is what the proxy says it is: see `ibt.service.proxy`.

Clause 1.2. Readings 1, 8, 53, 58.
"""

from __future__ import annotations

import re
import secrets
import ssl
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from ibt.rules.faults import Refusal, Rule
from ibt.service import access, limits, proxy
from ibt.service.app import ALWAYS, TEXT_TYPE
from ibt.service.log import log
from ibt.service.metrics import NO_OPERATION
from ibt.service.request import Head, Request

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    import uvicorn

    from ibt.service.limits import Limits
    from ibt.service.metrics import Metrics
    from ibt.service.proxy import Proxies

#: Data are fed to the HTTP parser in pieces of this size, so that a head that is too long is noticed in time.
_PIECE = 4096

#: How long a refused connection is still listened to, so that its client can read why before it is closed.
_LAST_WORDS_SECONDS = 0.25

# What the HTTP layer refuses itself, beside what is beyond a limit (reading 58).
NOT_HTTP = Rule(
    "not-http",
    "This is not a request as HTTP/1.1 has it: look at its first line, its fields and the length of its body",
    "1.2, reading 58",
)
VERSION = Rule("http-version", "This service does not speak HTTP/{version}: send HTTP/1.1", "1.2, reading 58", 505)
TARGET = Rule("target", "must be a path or an https URL, without a fragment, so without a #", "1.2, RFC 9112 3.2")
HOSTS = Rule("host-count", "A request of HTTP/1.1 has exactly one Host field, not {count}", "1.2, RFC 9112 3.2")
HOST = Rule("host", "is not a host: send its name or address, and its port if need be", "1.2, RFC 9112 3.2")
EXPECT = Rule(
    "expect", "is not met: send 100-continue, the only one that is, or leave it out", "RFC 9110 10.1.1", 417
)
OLD_CODING = Rule("transfer-encoding-1.0", "HTTP/1.0 has no Transfer-Encoding: send Content-Length", "RFC 9112 6.1")
CODING = Rule("transfer-encoding", "is not understood: send chunked alone, or Content-Length", "RFC 9112 6.1", 501)
UPGRADE = Rule(
    "upgrade",
    "A request with a body cannot ask for another protocol: leave Upgrade out",
    "1.2, reading 58",
)

#: Fields of at most so many bytes are kept for the next request: there may be a thousand connections.
_MOST_KEPT = 2048

#: The fields that a request has whose body is still to come, or that waits to be asked for it.
_OF_A_BODY = (b"content-length", b"transfer-encoding", b"expect")

#: A target in absolute form, up to its path (RFC 9112 3.2.2).
_ABSOLUTE = re.compile(rb"https?://[^/?#]+", re.IGNORECASE)

#: What Host may be: a name or an address, and a port (RFC 9112 3.2, RFC 3986 3.2.2).
_HOST = re.compile(rb"(?:\[[0-9A-Fa-fv:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")


class State(ServerState):
    """What the connections of a process share; once it is *leaving*, each answer is the last on its connection."""

    leaving = False


class Connection(HttpToolsProtocol):
    """
    One connection: uvicorn's HTTP with the client's certificate and the limits. A client's, or one of *proxies*.

    A connection always waits for something, and how long it may is its deadline, at which `expire` is called:
    one sweep over all connections is cheaper than a timer for each request.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        state: State,
        limits: Limits,
        metrics: Metrics,
        proxies: Proxies,
    ) -> None:
        super().__init__(config, state, {})
        self.state = state
        self.limits = limits
        self.metrics = metrics
        self.proxies = proxies
        self._authorities = proxies.authorities  # those of the handshake, which begins now
        self.proxied = False
        self.extensions: dict[str, Any] = {}  # Any: as ASGI has it
        self.deadline = float("inf")
        self.waits_for = "idle"
        self._unanswered = 0
        self._receiving = False
        self._upgrade = False
        self._uncounted = 0
        self._refusal: Refusal | None = None
        self._shut_out = False
        self._unparsed = bytearray()
        self._method = b""
        self._claimed = False
        self._may_be_at_once = False
        self._answered_at_once = False
        self._head: Head | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._length = 0

    # What happens to the connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.metrics.connections.inc()
        self.flow = _Flow(self)
        tls = transport.get_extra_info("ssl_object")
        # Without TLS only the proxies' own socket is listened on.
        self.proxied = tls is None or self.proxies.trust(self.client[0] if self.client else None)
        # A proxy's own certificate must never stand in for that of a client who has none.
        certificate = None if self.proxied else tls.getpeercert(binary_form=True)
        self.extensions = proxy.Client(certificate=certificate and ssl.DER_cert_to_PEM_cert(certificate)).extensions()
        self._wait("idle", self.limits.idle_seconds)
        if len(self.connections) > self.limits.connections:
            retry = {"retry-after": "1"}
            self._refuse(Refusal.of(limits.CONNECTIONS, limit=self.limits.connections, headers=retry))
        if self.proxies.authorities.lack(self._authorities):
            self.look_again()  # the handshake began under those before

    def look_again(self) -> None:
        """
        Closes where the authorities of now do not vouch for the client, after the answer that is being made.

        What the client sent ahead, or in part, is not done.
        """
        chain = self.extensions["tls"]["client_cert_chain"]
        if self.proxied or not chain or self.proxies.vouched(chain[0]):
            return
        log.warning("client no longer vouched for", **self._known())
        self._shut_out = True
        self._unparsed.clear()
        if self._receiving:
            self._receiving = False
            if not self.cycle.response_started:  # else it was answered before its body came, and counts no more
                self._forsake()
        self._unanswered -= len(self.pipeline)
        self.pipeline.clear()
        if not self._unanswered:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.deadline = float("inf")
        self.metrics.connections.dec()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.waits_for == "idle":
            self._wait("head", self.limits.head_seconds)
        self._unparsed += data
        self._may_be_at_once = True  # once: other connections must have their turn before one that sends ahead
        self._parse()

    @property
    def ahead(self) -> bool:
        """Whether the client sent more than one request ahead: the rest waits, parsed or not, for its turn."""
        return bool(self.pipeline or self._unparsed)

    def _parse(self) -> None:
        while self._unparsed and not self.pipeline:
            piece = bytes(self._unparsed[:_PIECE])
            del self._unparsed[:_PIECE]
            if not (self._refusal or self._shut_out or self._upgrade or self.parser is None):
                self._feed(piece)

    def _feed(self, piece: bytes) -> None:
        self._uncounted += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._upgrade = True  # the request is answered as if it had not asked, and is the connection's last
        except httptools.HttpParserError as error:
            refusal = error.__context__
            self._refuse(refusal if isinstance(refusal, Refusal) else Refusal.of(NOT_HTTP))
        else:
            # A head, a trailer or a chunk's extension is handed over when it is whole: it may be too long before.
            if self._uncounted > self.limits.head + _PIECE + (proxy.MOST_BYTES if self.proxied else 0):
                self._refuse(self._long_head())

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait("answer", self.limits.answer_seconds)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._receiving:
            self._wait("body", self.limits.body_seconds)
        self._settle()

    # What the parser finds.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = self.extensions
        self._method = b""

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._method = self.parser.get_method()
        if len(self._method) + len(self.url) + len("  HTTP/1.1") > self.limits.request_line:
            raise Refusal.of(limits.REQUEST_LINE, limit=self.limits.request_line)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._receiving:
            return  # a trailer says nothing that we ask
        super().on_header(name, value.strip(b" \t"))  # the parser leaves tabs at the end
        self._refuse_more_fields(proxy.MOST_FIELDS if self.proxied else 0)

    def on_headers_complete(self) -> None:
        if not self._repeats():
            self._head = None
            self._find_client()
            self._refuse_bad_head()
        self.url = _origin_form(self.url)
        if self._answer_at_once():
            return
        super().on_headers_complete()
        self._receiving = True
        self._unanswered += 1
        self._wait("body", self.limits.body_seconds)
        if self.parser.should_upgrade() or self.state.leaving:
            self.cycle.keep_alive = False

    def _repeats(self) -> bool:
        """Whether the fields are those of the last request that was answered at once: they are good, and known."""
        repeats = self.headers == self._fields and self.parser.get_http_version() == "1.1"
        return repeats and self._head is not None and self._length + len(self.url) <= self.limits.head

    def _answer_at_once(self) -> bool:
        """Answers a request that is whole with its head within this turn, without a task of its own, if it can be."""
        ordinary = self._unanswered or self.flow.write_paused or self.state.leaving or not self._may_be_at_once
        goes_on = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        if ordinary or not goes_on or self.parser.should_upgrade() or self._has_body():
            return False
        url = httptools.parse_url(self.url)
        head = self._head or Head.of(self.scope)
        request = Request(head, self._method.decode("ascii"), url.path, url.query or b"")
        application: Any = self.app  # Any: ASGI has nothing of the kind
        self._may_be_at_once = False
        self._answered_at_once = application.at_once(request, self._write)
        if self._answered_at_once:
            self.server_state.total_requests += 1
            self._keep(head)
        return self._answered_at_once

    def _keep(self, head: Head) -> None:
        """Keeps what the fields say for the next request; but who a proxy speaks for is looked at each time."""
        if self._head is None and not self.proxied and self._length_of_fields() <= _MOST_KEPT:
            self._head, self._fields, self._length = head, self.headers, self._length_of_fields()

    def _has_body(self) -> bool:
        return self._method == b"POST" or (self._head is None and any(name in _OF_A_BODY for name, _ in self.headers))

    def _length_of_fields(self) -> int:
        return sum([len(name) + len(value) + 4 for name, value in self.headers])

    def _find_client(self) -> None:
        """Who a proxy says the client is; from anyone else, what only a proxy may say is taken away."""
        if self.proxied:
            self.extensions = proxy.Client().extensions()
            client = self.proxies.client(self.headers)
            self.extensions = client.extensions()
            self.scope["extensions"] = self.extensions
            self.scope["client"] = (client.address, 0) if client.address else self.client
        elif proxy.take_claims(self.headers) and not self._claimed:
            self._claimed = True
            log.warning("client certificate claimed", **self._known())

    def _refuse_more_fields(self, more: int = 0) -> None:
        if len(self.headers) > self.limits.fields + more:
            raise Refusal.of(limits.FIELDS, limit=self.limits.fields)

    def _refuse_bad_head(self) -> None:
        self._refuse_more_fields()
        if self._length_of_fields() + len(self.url) > self.limits.head:
            raise self._long_head()
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise Refusal.of(VERSION, version=version)
        hosts = self._values(b"host")
        if len(hosts) > 1 or (version == "1.1" and not hosts):
            raise Refusal.of(HOSTS, count=len(hosts) or "none")
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise Refusal.of(HOST, field="Host", value=hosts[0].decode("latin-1"))
        self._refuse_bad_framing(version)
        if version == "1.0":
            self.expect_100_continue = False  # such a client does not know it (RFC 9110 10.1.1)
        for value in self._values(b"expect"):
            if version != "1.0" and value.lower() != b"100-continue":
                raise Refusal.of(EXPECT, field="Expect", value=value.decode("latin-1"))

    def _refuse_bad_framing(self, version: str) -> None:
        """The parser has refused what is ambiguous; this refuses what we could only misunderstand."""
        codings = [coding.strip().lower() for coding in b",".join(self._values(b"transfer-encoding")).split(b",")]
        if codings != [b""] and version == "1.0":
            raise Refusal.of(OLD_CODING)
        if codings not in ([b""], [b"chunked"]):
            value = b", ".join(self._values(b"transfer-encoding")).decode("latin-1")
            raise Refusal.of(CODING, field="Transfer-Encoding", value=value)
        if self.parser.should_upgrade() and (codings != [b""] or self._values(b"content-length")):
            # The parser would take the body for the other protocol.
            raise Refusal.of(UPGRADE)

    def _values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]

    def on_body(self, body: bytes) -> None:
        self._uncounted = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._answered_at_once:
            self._answered_at_once = False
        else:
            super().on_message_complete()
        self._receiving = False
        self._uncounted = 0
        self._settle()

    def on_response_complete(self) -> None:
        # As uvicorn's, but for its timer for each request.
        self.server_state.total_requests += 1
        self._unanswered -= 1
        if self.transport.is_closing():
            return
        if self._shut_out:
            self.transport.close()
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._refusal:
            self._refuse(self._refusal)
        self._settle()
        self._parse()
        self.flow.resume_reading()

    # Deadlines and refusals.

    def _wait(self, what: str, seconds: float) -> None:
        if self.flow.write_paused and what != "answer":
            return  # whatever else it does, a client that does not read its answer has only so long
        self.waits_for = what
        self.deadline = self.loop.time() + seconds

    def _settle(self) -> None:
        """Waits for what comes next: the rest of a body, our own answer, which has no deadline, or a request."""
        if self._receiving:
            return
        if self._unanswered:
            self._wait("reply", float("inf"))
        elif self._refusal:
            self._wait("close", _LAST_WORDS_SECONDS)
        else:
            self._wait("idle", self.limits.idle_seconds)

    def expire(self) -> None:
        """The time is over for what a client kept waiting: says so, where it can still be heard, and closes."""
        if self.waits_for == "answer":
            why = f"The answer was not read within {self.limits.answer_seconds:g} seconds (reading 53)"
            log.info("given up", **self._known(), why=why)
            self.transport.abort()
        elif self.waits_for == "head":
            self._refuse(Refusal.of(limits.SLOW_HEAD, limit=self.limits.head_seconds))
        elif self.waits_for == "body":
            self._refuse(Refusal.of(limits.SLOW_BODY, limit=self.limits.body_seconds))
        else:
            self.transport.close()

    def _long_head(self) -> Refusal:
        return Refusal.of(limits.HEAD, limit=self.limits.head)

    def _refuse(self, refusal: Refusal) -> None:
        """Answers for the HTTP layer, once the requests before have their answers, and closes."""
        self._refusal = refusal
        if self._receiving:
            self._receiving = False
            if self.cycle.response_started:
                self.transport.close()  # the request was answered before its body came, and that was all
                return
            self._forsake()
        if self._unanswered:
            self._wait("reply", float("inf"))
            return
        request_id = secrets.token_hex(8)
        body = f"{refusal.text}\n".encode()
        fields = [
            ("content-type", TEXT_TYPE),
            ("cache-control", "no-store"),
            ("content-length", str(len(body))),
            ("connection", "close"),
            ("x-request-id", request_id),
            *ALWAYS,
            *refusal.headers.items(),
        ]
        self._write(refusal.status, [(name.encode(), value.encode()) for name, value in fields], body)
        known = {**self._known(), "rule": refusal.rule, "why": refusal.text}
        sent = 0 if self._method == b"HEAD" else len(body)
        log.info("refused", id=request_id, status=refusal.status, bytes=sent, **known)
        self.metrics.answered(NO_OPERATION, refusal.status)
        self.metrics.refused(refusal.faults)
        self._wait("close", _LAST_WORDS_SECONDS)

    def _write(self, status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        head = b"".join([b"%b: %b\r\n" % field for field in (*self.server_state.default_headers, *fields)])
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + (b"" if self._method == b"HEAD" else body))

    def _known(self) -> dict[str, str]:
        """What the log says of whom the HTTP layer refuses: from where, and whose certificate, if there was one."""
        chain = self.extensions["tls"]["client_cert_chain"]
        names = access.read_certificate(chain[0]).names() if chain else {}
        return {"address": self.client[0] if self.client else "", **names}

    def _forsake(self) -> None:
        """The request whose body was coming gets no answer of its own; its handler, if it runs, is told."""
        self._unanswered -= 1
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()
        self.cycle.disconnected = True
        self.cycle.message_event.set()


class _Flow(FlowControl):
    """Reads no more while a client is ahead, whoever asks: it could send requests faster than they are answered."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.transport)
        self._connection = connection

    def resume_reading(self) -> None:
        if not self._connection.ahead:
            super().resume_reading()


def _origin_form(target: bytes) -> bytes:
    """*target* as path and query: scheme and host of an absolute one are ours, whatever they say. Reading 1."""
    absolute = _ABSOLUTE.match(target)
    path = target if absolute is None else target[absolute.end() :]
    if path == b"*" or (absolute and not path.startswith(b"/")):
        path = b"/" + path  # OPTIONS * is no URL, and names no resource either
    if not path.startswith(b"/") or b"#" in path:
        raise Refusal.of(TARGET, field="target", value=target.decode("latin-1"))
    return path
