"""
A load over HTTPS/1.1 with a client certificate, from a process of its own.

Each connection is kept alive and has one request in flight; it takes the requests of a list in turn, from a
place of its own. Every answer is checked: its status, and its length or the hash of its body where the
caller knows it. A wrong answer counts as a failure, never as speed.

As a program it reads one JSON object from standard input and writes one to standard output, so that the
load runs beside the server and not within the measuring process.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop


@dataclass(frozen=True)
class Load:
    """What is asked: of which port, with which certificates, the raw requests, how many at once, how long."""

    port: int
    ca: str
    certificate: str
    requests: list[str]
    connections: int
    seconds: float
    status: int = 200
    warm_up_seconds: float = 1.0


@dataclass(frozen=True)
class Measured:
    """What came back: answers a second, latencies in milliseconds, wrong answers, bytes of bodies."""

    rate: float
    p50: float
    p99: float
    answers: int
    failures: int
    bytes: int


def measure(load: Load) -> Measured:
    """Runs *load* in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__))],
        input=json.dumps(asdict(load)),
        capture_output=True,
        text=True,
        check=True,
    )
    return Measured(**json.loads(done.stdout))


class _Connection(asyncio.Protocol):
    """One connection: sends a request when the answer to the one before is whole."""

    def __init__(self, load: Load, requests: list[bytes], place: int, latencies: list[float]) -> None:
        self.load, self.requests, self.place, self.latencies = load, requests, place, latencies
        self.expected = b"HTTP/1.1 %d " % load.status
        self.buffer = bytearray()
        self.length = -1
        self.sent = 0.0
        self.counts = False
        self.answers = self.failures = self.bytes = 0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.requests[self.place])
        self.place = (self.place + 1) % len(self.requests)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.length < 0:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buffer[:end]).lower()
            at = head.find(b"\r\ncontent-length:")
            body = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self.length = end + 4 + body
        if len(self.buffer) >= self.length:
            self.answered()

    def answered(self) -> None:
        if self.counts:
            self.latencies.append(time.perf_counter() - self.sent)
            self.answers += 1
            self.bytes += self.length
            self.failures += not self.buffer.startswith(self.expected) or len(self.buffer) != self.length
        self.buffer.clear()
        self.length = -1
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.failures += self.counts


async def _run(load: Load) -> Measured:
    context = ssl.create_default_context(cafile=load.ca)
    context.load_cert_chain(load.certificate)
    requests = [request.encode("latin-1") for request in load.requests]
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    connections = []
    for number in range(load.connections):
        place = number * len(requests) // load.connections
        _, connection = await loop.create_connection(
            lambda place=place: _Connection(load, requests, place, latencies),
            "127.0.0.1",
            load.port,
            ssl=context,
            server_hostname="localhost",
        )
        connections.append(connection)
    await asyncio.sleep(load.warm_up_seconds)
    for connection in connections:
        connection.counts = True
    began = time.perf_counter()
    await asyncio.sleep(load.seconds)
    took = time.perf_counter() - began
    for connection in connections:
        connection.counts = False
        connection.transport.abort()
    latencies.sort()
    answers = sum(connection.answers for connection in connections)
    return Measured(
        rate=answers / took,
        p50=1000 * latencies[len(latencies) // 2] if latencies else 0.0,
        p99=1000 * latencies[len(latencies) * 99 // 100] if latencies else 0.0,
        answers=answers,
        failures=sum(connection.failures for connection in connections),
        bytes=sum(connection.bytes for connection in connections),
    )


if __name__ == "__main__":
    found = uvloop.run(_run(Load(**json.load(sys.stdin))))
    json.dump(asdict(found), sys.stdout)
