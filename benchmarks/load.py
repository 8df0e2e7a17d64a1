"""
A load over HTTPS/1.1 with client certificates, from a process of its own.

A load has streams: so many connections with one certificate, which ask the same requests. Each connection is kept
alive, has one request in flight, and takes the requests of its stream in turn, from a place of its own. Every answer
is checked: its status, and the CRC-32 of its body where the caller knows it. A wrong answer is counted as a failure.

The processor is read too, of the servers and of this generator: a generator that leaves its own core idle is not the
bottleneck, and microseconds per answer are steadier than a rate where other work shares the machine.

As a program it reads one JSON object from standard input and writes one to standard output, so that the load runs
beside the server and not within the measuring process.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

#: The kernel counts processor time in these.
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


class Request(NamedTuple):
    """A raw request, and the CRC-32 of the body that answers it, where that is known."""

    text: str
    crc: int | None = None


@dataclass(frozen=True)
class Stream:
    """Connections with one certificate that ask *requests*; each ends after *answers*, where that is given."""

    certificate: str
    requests: Sequence[Request]
    connections: int = 8
    status: int = 200
    answers: int | None = None


@dataclass(frozen=True)
class Load:
    """What is asked: of which port, trusting which CA, how long; *processes* are the servers', by what they are."""

    port: int
    ca: str
    streams: Sequence[Stream]
    seconds: float = 2.0
    warm_up_seconds: float = 0.5
    processes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """
    What came back on a stream: answers a second, latencies in milliseconds, wrong answers, bytes.

    *processor* has microseconds of the processor per answer by who took them, `busy` how many cores each kept busy;
    *times* the milliseconds of each answer in their order, where the stream had one connection.
    """

    rate: float
    p50: float
    p99: float
    answers: int
    failures: int
    bytes: int
    processor: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)


def measure(load: Load) -> list[Measured]:
    """Runs *load* in a process of its own; what came back on each of its streams."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__))],
        input=json.dumps(asdict(load)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [Measured(**one) for one in json.loads(done.stdout)]


def processor_seconds(process: int) -> float:
    """What *process*, those that came of it and those that it has waited for have had of the processor, so far."""
    ticks, children = {}, defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        number = int(stat.parent.name)
        ticks[number] = sum(map(int, fields[11:15]))
        children[int(fields[1])].append(number)

    def of_all(one: int) -> int:
        return ticks.get(one, 0) + sum(map(of_all, children[one]))

    return of_all(process) * _TICK_SECONDS


class _Connection(asyncio.Protocol):
    """One connection: sends a request when the answer to the one before is whole."""

    def __init__(self, stream: Stream, requests: Sequence[tuple[bytes, int | None]], place: int) -> None:
        self.requests, self.place = requests, place
        self.expected = b"HTTP/1.1 %d " % stream.status
        self.left = stream.answers
        self.buffer = bytearray()
        self.body_at = 0
        self.length = -1
        self.sent = 0.0
        self.counts = self.ended = False
        self.failures = self.bytes = 0
        self.took: list[float] = []
        self.wrong = ""
        self.transport: Any = None
        self.whole = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.requests[self.place][0])

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.length < 0:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buffer[:end]).lower()
            at = head.find(b"\r\ncontent-length:")
            body = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self.body_at = end + 4
            self.length = self.body_at + body
        if len(self.buffer) >= self.length:
            self.answered()

    def answered(self) -> None:
        if self.counts:
            self.took.append(time.perf_counter() - self.sent)
            self.bytes += self.length
            self.judge(self.requests[self.place][1])
        self.buffer = bytearray()
        self.length = -1
        self.place = (self.place + 1) % len(self.requests)
        if self.counts and self.left is not None:
            self.left -= 1
            if self.left <= 0:
                self.end()
                return
        self.send()

    def judge(self, crc: int | None) -> None:
        right = self.buffer.startswith(self.expected) and len(self.buffer) == self.length
        if right and crc is not None:
            right = zlib.crc32(memoryview(self.buffer)[self.body_at :]) == crc
        if not right:
            self.failures += 1
            self.wrong = self.wrong or repr(bytes(self.buffer[:600]))

    def end(self) -> None:
        self.ended = True
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended:
            self.failures += 1
            self.wrong = self.wrong or f"the connection was lost: {exc}"
        if not self.whole.done():
            self.whole.set_result(None)


async def _run(load: Load) -> list[Measured]:
    context = ssl.create_default_context(cafile=load.ca)
    connections = [await _connected(load, stream, context) for stream in load.streams]
    every = [one for of_stream in connections for one in of_stream]
    await asyncio.sleep(load.warm_up_seconds)
    for connection in every:
        connection.counts = True
    processes = {**load.processes, "generator": os.getpid()}
    before = {name: processor_seconds(process) for name, process in processes.items()}
    began = time.perf_counter()
    await asyncio.wait(
        [connection.whole for connection in every], timeout=load.seconds, return_when=asyncio.ALL_COMPLETED
    )
    took = time.perf_counter() - began
    used = {name: processor_seconds(process) - before[name] for name, process in processes.items()}
    for connection in every:
        connection.counts = False
        connection.end()
        if connection.wrong:
            print(f"a wrong answer: {connection.wrong}", file=sys.stderr)
    answers = max(1, sum(len(connection.took) for connection in every))
    processor = {name: 1e6 * seconds / answers for name, seconds in used.items()}
    busy = {name: seconds / took for name, seconds in used.items()}
    return [_measured(of_stream, took, processor, busy) for of_stream in connections]


async def _connected(load: Load, stream: Stream, context: ssl.SSLContext) -> list[_Connection]:
    context.load_cert_chain(stream.certificate)
    requests = [(request.text.encode("latin-1"), request.crc) for request in stream.requests]
    connections = []
    for number in range(stream.connections):
        place = number * len(requests) // stream.connections
        _, connection = await asyncio.get_running_loop().create_connection(
            partial(_Connection, stream, requests, place),
            "127.0.0.1",
            load.port,
            ssl=context,
            server_hostname="localhost",
        )
        connections.append(connection)
    return connections


def _measured(
    connections: Sequence[_Connection], took: float, processor: dict[str, float], busy: dict[str, float]
) -> Measured:
    latencies = sorted(1000 * one for connection in connections for one in connection.took)
    return Measured(
        rate=len(latencies) / took,
        p50=latencies[len(latencies) // 2] if latencies else 0.0,
        p99=latencies[len(latencies) * 99 // 100] if latencies else 0.0,
        answers=len(latencies),
        failures=sum(connection.failures for connection in connections),
        bytes=sum(connection.bytes for connection in connections),
        processor=processor,
        busy=busy,
        times=[1000 * one for one in connections[0].took] if len(connections) == 1 else [],
    )


def _load_of(given: dict[str, Any]) -> Load:
    streams = [
        Stream(**{**stream, "requests": [Request(*request) for request in stream["requests"]]})
        for stream in given.pop("streams")
    ]
    return Load(streams=streams, **given)


if __name__ == "__main__":
    found = uvloop.run(_run(_load_of(json.load(sys.stdin))))
    json.dump([asdict(one) for one in found], sys.stdout)
