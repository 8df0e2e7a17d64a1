"""
A long day of one worker: requests of every kind over HTTPS, and its memory and open files stay what they were.

`make soak` asks 50,000, `make test` fewer; IBT_SOAK says how many.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import mutations
import pytest
from inside import Request
from strangers import CUSTOMERS, contract_ids, subaccount_ids, update, user_of, write_world
from watched import MEBIBYTE, Watched, watched

from hostile_xml import CORPUS
from ibt.conformance.server import PATIENCE
from ibt.conformance.wire import answer
from traffic import times

SOAK = times("IBT_SOAK", 4_000)

#: After so many the service is warm: what it has then it may have at the end. In a long run that is when its memory
#: of answers, 32 MiB, is full.
WARM = 35_000 if SOAK >= 50_000 else SOAK // 4

_MOST_GROWTH = 15 * MEBIBYTE

#: So many clients ask at once.
_CLIENTS = 6

#: As many updates as there may be threads for them; so many come at once before anything is measured.
_THREADS = 16

#: Contracts of each pair, so that no history grows long.
_CONTRACTS = 60

_VENDOR = b"application/vnd.iso-ne.contract.customers.v1+xml;charset=UTF-8"
_SMALL = [body for body in CORPUS.values() if len(body) < 20_000]
_LARGE = [body for body in CORPUS.values() if len(body) >= 20_000]

#: 5xx that are right: a Transfer-Encoding and a version of HTTP that nobody has to know (RFC 9110 15.6.2, 15.6.6).
_RIGHT = {501, 505}


#: So many different reads and mutated requests there are. The service keeps a statement for each kind of query that
#: it has met, up to a number that would be reached only late: that it then has more is no loss.
_DIFFERENT = 100

_NO_HANDSHAKE = (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\x00" * 500)


def _reads(customer_id: int) -> list[Request]:
    """Requests of a customer that read."""
    made = [mutations.good(random.Random(number), customer_id) for number in range(4 * _DIFFERENT)]
    return [request for request in made if request.method != "POST"][:_DIFFERENT]


_READS = {customer_id: _reads(customer_id) for customer_id in CUSTOMERS}


@dataclass
class Client:
    """One of those who ask: for one customer, on a connection that is kept and on others."""

    served: Watched
    customer_id: int
    chance: random.Random
    tls: ssl.SSLContext
    stranger: ssl.SSLContext
    answers: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    kept: ssl.SSLSocket | None = None

    def run(self, count: int) -> None:
        """Asks *count* times, each time in one way or another; the connection that is kept is closed at the end."""
        for _ in range(count):
            (kind,) = self.chance.choices(list(KINDS), [weight for _, weight in KINDS.values()])
            self.kinds[kind] += 1
            KINDS[kind][0](self)
        self.close()

    def connect(self, tls: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """A new connection."""
        return (tls or self.tls).wrap_socket(self.tcp(), server_hostname=self.served.server.host)

    def tcp(self) -> socket.socket:
        """A new connection before its handshake."""
        server = self.served.server
        return socket.create_connection((server.host, server.port), timeout=PATIENCE)

    def close(self) -> None:
        """Closes the connection that is kept."""
        if self.kept:
            self.kept.close()
        self.kept = None

    def ask(self, request: Request) -> None:
        """Asks on the connection that is kept, or on a new one where the service has closed it."""
        self.kept = self.kept or self.connect()
        try:
            self.kept.sendall(request.raw())
            self.read(self.kept, request)
        except (HTTPException, OSError) as error:
            if isinstance(error, TimeoutError):
                self.findings.append(f"no answer to {request}")
            self.answers[0] += 1
            self.close()

    def read(self, connection: ssl.SSLSocket, request: Request) -> None:
        """Reads the answer to *request*."""
        answered = answer(connection, request.method)
        self.answers[answered.status_code] += 1
        if answered.status_code >= 500 and answered.status_code not in _RIGHT:
            self.findings.append(f"{answered.status_code} to {request}")
        if answered.headers["connection"] == "close" and connection is self.kept:
            self.close()

    def read_request(self) -> Request:
        """One that reads."""
        request = self.chance.choice(_READS[self.customer_id])
        fields = self.chance.choice(((), ((b"accept-encoding", b"gzip"),), ((b"if-none-match", b"*"),)))
        return Request(request.method, request.target, fields)

    def update_request(self, body: bytes | None = None) -> Request:
        """One that updates, with *body* or with something that changes a period."""
        contract_id = self.chance.choice(contract_ids(self.customer_id, _CONTRACTS))
        subaccount_id = self.chance.choice(subaccount_ids(self.customer_id))
        good = update(self.customer_id, (contract_id, self.chance.randrange(3), subaccount_id))
        target = f"{self.served.server.path}/{self.customer_id}/contractSubaccountMappings".encode()
        return Request("POST", target, ((b"content-type", _VENDOR),), good if body is None else body)


def reads(client: Client) -> None:
    """Reads something."""
    client.ask(client.read_request())


def updates(client: Client) -> None:
    """Maps a period to another subaccount."""
    client.ask(client.update_request())


def mutates(client: Client) -> None:
    """Asks something that is a little wrong."""
    client.ask(mutations.request(client.chance.randrange(_DIFFERENT), [client.customer_id]))


def attacks(client: Client) -> None:
    """Sends a hostile body, seldom a large one."""
    client.ask(client.update_request(client.chance.choice(_LARGE if client.chance.random() < 0.01 else _SMALL)))


def attacks_largely(client: Client) -> None:
    """Sends every large body of the corpus, in an order of its own."""
    for body in client.chance.sample(_LARGE, len(_LARGE)):
        client.ask(client.update_request(body))


def is_slow(client: Client) -> None:
    """Sends a request in pieces and asks other things between them."""
    request = client.chance.choice((client.read_request, client.update_request))()
    raw = request.raw()
    cuts = sorted(client.chance.sample(range(1, len(raw)), 2))
    with client.connect() as slow:
        for begin, end in zip((0, *cuts), (*cuts, len(raw)), strict=True):
            slow.sendall(raw[begin:end])
            client.ask(client.read_request())
        client.read(slow, request)


def aborts(client: Client) -> None:
    """Sends a part of a request, or all of it, or something that is none, and goes away; now and then rudely."""
    raw = client.chance.choice(
        (
            client.update_request().raw(),
            client.read_request().raw(),
            mutations.raw(client.chance.getrandbits(40), [client.customer_id]),
        )
    )
    with client.connect() as connection, contextlib.suppress(OSError):
        connection.sendall(raw[: client.chance.choice((len(raw), client.chance.randrange(len(raw))))])
        if client.chance.random() < 0.3:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def breaks_off(client: Client) -> None:
    """Goes away before or in the handshake."""
    with client.tcp() as connection, contextlib.suppress(OSError):
        connection.sendall(
            client.chance.choice((b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\x00" * 500))
        )


def has_no_role(client: Client) -> None:
    """Asks as a user who may do nothing."""
    request = client.chance.choice((client.read_request, client.update_request))()
    with client.connect(client.stranger) as connection:
        connection.sendall(request.raw())
        client.read(connection, request)


#: What a client does, and how often among a hundred.
KINDS: dict[str, tuple[Callable[[Client], None], int]] = {
    "reads": (reads, 40),
    "updates": (updates, 12),
    "mutates": (mutates, 24),
    "attacks": (attacks, 10),
    "is slow": (is_slow, 4),
    "aborts": (aborts, 5),
    "breaks off": (breaks_off, 3),
    "has no role": (has_no_role, 2),
}


@dataclass(frozen=True)
class Held:
    """What the service has when nobody asks."""

    memory: int
    descriptors: list[str]


def held(served: Watched, client: Client, alone: int) -> Held:
    """What the service has once it has closed the connections of all who have gone; *alone* are its own sockets."""
    for _ in range(1_000):
        descriptors = served.descriptors()
        if descriptors.count("socket") <= alone:
            return Held(served.memory(), descriptors)
        client.ask(client.read_request())  # takes a moment, as anything does that has to go there and back
        client.close()
    raise AssertionError(f"connections are left open: {served.descriptors()}")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Watched]:
    """A sandbox of one worker."""
    world = write_world(tmp_path / "world", _CONTRACTS)
    # The C library keeps memory in an arena for each of many threads, by chance here or there; what is only kept
    # would be taken for what is lost.
    with watched(tmp_path / "sandbox", "--data", str(world), "--workers", "1", MALLOC_ARENA_MAX="1") as started:
        yield started


def clients(served: Watched, count: int) -> list[Client]:
    """So many clients, for one customer after the other."""
    stranger = served.server.tls("nobody")
    made = []
    for number in range(count):
        customer_id = CUSTOMERS[number % len(CUSTOMERS)]
        tls = served.server.tls(user_of(customer_id))
        made.append(Client(served, customer_id, random.Random(f"client {number}"), tls, stranger))
    return made


def ask(asking: list[Client], count: int) -> None:
    """Lets the clients ask *count* times together."""
    with ThreadPoolExecutor(len(asking)) as threads:
        list(threads.map(lambda client: client.run(count // len(asking)), asking))


def meet(asking: list[Client]) -> None:
    """
    Lets all of them update at once, each three times, so that the service starts what threads it may; and send each
    large body, so that it has once had what memory it may need.
    """
    with ThreadPoolExecutor(len(asking)) as threads:
        for _ in range(3):
            list(threads.map(updates, asking))
        list(threads.map(attacks_largely, asking))
    for client in asking:
        client.close()


@pytest.mark.timeout(120 + SOAK // 20)
def test_memory_and_open_files_stay_what_they_were(
    served: Watched, record_testsuite_property: Callable[[str, object], None]
) -> None:
    alone = served.descriptors().count("socket")
    asking = clients(served, _CLIENTS)
    meet(clients(served, _THREADS))
    ask(asking, WARM)
    warm = held(served, asking[0], alone)
    ask(asking, SOAK - WARM)
    at_last = held(served, asking[0], alone)
    answers = sum((client.answers for client in asking), Counter[int]())
    record_testsuite_property("soak: answers", dict(answers))
    record_testsuite_property("soak: MiB", (warm.memory / MEBIBYTE, at_last.memory / MEBIBYTE))
    record_testsuite_property("soak: open files", (len(warm.descriptors), len(at_last.descriptors)))
    assert [finding for client in asking for finding in client.findings] == []
    assert all(client.kinds.keys() == KINDS.keys() for client in asking)
    assert at_last.memory - warm.memory <= _MOST_GROWTH
    assert at_last.descriptors == warm.descriptors
    assert '"unforeseen"' not in served.log.read_text()
