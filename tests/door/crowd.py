"""
A crowd of clients that keep the service waiting, and how an honest one fares beside them.
"""

from __future__ import annotations

import contextlib
import resource
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wire import MAPPINGS, VENDOR, Door, get, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The ways to keep a service waiting: what is sent after the handshake; None for no handshake at all.
WAYS: dict[str, bytes | None] = {
    "idle": b"",
    "slow in the handshake": None,
    "slow in the head": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
    "slow in the body": request("POST", MAPPINGS, f"Content-Type: {VENDOR}", "Content-Length: 100000") + b"<" * 1000,
}


def allow_files(wanted: int) -> None:
    """Lets this process open that many files and connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def crowd(service: Door, count: int, sent: bytes | None) -> Iterator[None]:
    """*count* connections that all have come as far as *sent*, while the `with` lasts."""
    allow_files(count + 256)
    tls = service.tls()
    session: ssl.SSLSession | None = None
    with contextlib.ExitStack() as opened:
        for _ in range(count):
            if sent is None:
                opened.enter_context(contextlib.closing(service.tcp())).sendall(b"\x16\x03\x01")
                continue
            wire = opened.enter_context(service.connect(tls=tls, session=session))
            wire.send(sent)
            session = session or wire.tls.session
        yield


@dataclass(frozen=True)
class Fared:
    """How long requests took, in seconds, shortest first."""

    seconds: list[float]

    @property
    def p50(self) -> float:
        """Half of them took no longer."""
        return self.seconds[len(self.seconds) // 2]

    @property
    def p99(self) -> float:
        """99 of 100 took no longer."""
        return self.seconds[len(self.seconds) * 99 // 100]

    def __str__(self) -> str:
        return f"p50 {self.p50 * 1000:.1f} ms, p99 {self.p99 * 1000:.1f} ms, most {self.seconds[-1] * 1000:.1f} ms"


def honest(service: Door, count: int) -> Fared:
    """How *count* requests fare, one after the other; each tenth comes on a connection of its own."""
    with service.connect() as kept:

        def ask() -> None:
            kept.send(get())
            assert kept.answer().status == 200

        def come_and_ask() -> None:
            assert service.answer(get()).status == 200

        return Fared(sorted(_timed(come_and_ask if number % 10 == 0 else ask) for number in range(count)))


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
