"""
What an operator sees of the running service: whether it lives, whether it is ready, what it counts.

Plain HTTP on a listener of its own, for the operator alone: it asks nobody who they are. It has a process of its
own, and answers while the workers are busy. An answer is short, and the connection's last; no client is waited for
longer than a few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ibt.service import metrics
from ibt.service.log import log
from ibt.service.settings import masked
from ibt.store import Database, Unavailable, Unusable, readiness

if TYPE_CHECKING:
    import socket

PATHS = ("/livez", "/readyz", "/metrics")

#: How long a client may take for its request, and to read the answer.
_CLIENT_SECONDS = 5.0

#: How long it may take to find out whether the service is ready.
_READY_SECONDS = 10.0

#: How near the end of the server's certificate is worth a line of the log, and how often.
_NEAR_SECONDS = 30 * 86_400
_DAY_SECONDS = 86_400

_LONGEST_HEAD = 16_384
_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[^ ?]*)(?:\?[^ ]*)? HTTP/1\.[01]\r\n")

_TEXT_TYPE = "text/plain; charset=utf-8"
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LEAVING = "The service is about to end."
_UNFORESEEN = "Something unforeseen went wrong: the log says what."


class Reply(NamedTuple):
    """What is answered, and the methods that there are where it was asked with another."""

    status: HTTPStatus
    body: bytes
    media_type: str = _TEXT_TYPE
    allow: str = ""

    def message(self, *, with_body: bool) -> bytes:
        """The answer as HTTP/1.1 has it."""
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.media_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
            *([f"Allow: {self.allow}"] if self.allow else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + (self.body if with_body else b"")


def work(  # noqa: PLR0913, PLR0917 - the first of them are given beforehand
    listener: socket.socket,
    folder: Path,
    unready: Callable[[], list[str]],
    started: Callable[[], None],
    lifeline: int,
    leave_seconds: float = 0,
) -> None:
    """
    Answers the operator until SIGTERM or SIGINT, or until *lifeline*, a file descriptor, is closed at its other end;
    and for *leave_seconds* after that, in which the service is not ready.

    The workers count in *folder*. *unready* says why the service is not ready, a sentence for each reason.
    """
    with asyncio.Runner() as runner:
        runner.run(_serve(listener, Listener(folder, unready), started, lifeline, leave_seconds))


async def _serve(
    listener: socket.socket,
    answering: Listener,
    started: Callable[[], None],
    lifeline: int,
    leave_seconds: float,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # every file is read when it is asked about
    loop.add_reader(lifeline, stop.set)
    server = await asyncio.start_server(answering.answer, sock=listener, limit=_LONGEST_HEAD)
    started()
    reminding = asyncio.create_task(_remind(answering.folder))
    await stop.wait()
    reminding.cancel()
    loop.remove_reader(lifeline)
    answering.leaving = True
    await asyncio.sleep(leave_seconds)
    server.close()


async def _remind(folder: Path) -> None:
    """Logs each day that the certificate which the workers show is near its end, when it is."""
    while True:
        end = metrics.server_certificate_end(folder)
        if end is not None and end - time.time() < _NEAR_SECONDS:
            log.warning("server certificate ends soon", end=f"{datetime.fromtimestamp(end, UTC):%FT%TZ}")
        await asyncio.sleep(_DAY_SECONDS)


class Listener:
    """Answers each connection's one request; what takes time is found out once for all who ask meanwhile."""

    def __init__(self, folder: Path, unready: Callable[[], list[str]]) -> None:
        self.folder = folder
        self._unready = unready
        self.leaving = False
        self._thread = ThreadPoolExecutor(1, "ready")
        self._looking: Future[list[str]] | None = None

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads a request, writes the answer, closes."""
        with closing(writer), contextlib.suppress(OSError, EOFError):  # TimeoutError is an OSError
            async with asyncio.timeout(_CLIENT_SECONDS):
                head = await self._head(reader)
            message = (await self._reply(head)).message(with_body=not head.startswith(b"HEAD "))
            async with asyncio.timeout(_CLIENT_SECONDS):
                writer.write(message)
                await writer.drain()

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return b""  # which is no request

    async def _reply(self, head: bytes) -> Reply:
        asked = _REQUEST_LINE.match(head)
        if asked is None:
            return Reply(HTTPStatus.BAD_REQUEST, b"This is not a request as HTTP/1.1 has it.\n")
        method, path = asked[1].decode(), asked[2].decode("latin-1")
        if path not in PATHS:
            return Reply(HTTPStatus.NOT_FOUND, f"There are {', '.join(PATHS)}, and nothing else.\n".encode())
        if method not in ("GET", "HEAD"):
            return Reply(HTTPStatus.METHOD_NOT_ALLOWED, b"Use GET or HEAD.\n", allow="GET, HEAD")
        if path == "/livez":
            return Reply(HTTPStatus.OK, b"ok\n")
        if path == "/metrics":
            return self._metrics()
        wrong = [_LEAVING] if self.leaving else await self._wrong()
        lines = "".join(f"{line}\n" for line in wrong or ["ok"])
        return Reply(HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK, lines.encode())

    def _metrics(self) -> Reply:
        try:
            return Reply(HTTPStatus.OK, metrics.text(self.folder), _METRICS_TYPE)
        except Exception:  # a worker that has just begun may have a file with nothing in it yet
            log.exception("unforeseen")
            return Reply(HTTPStatus.SERVICE_UNAVAILABLE, f"{_UNFORESEEN}\n".encode())

    async def _wrong(self) -> list[str]:
        if self._looking is None or self._looking.done():
            self._looking = self._thread.submit(self._look)
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._looking)), _READY_SECONDS)
        except TimeoutError:
            return [f"The database has not answered within {_READY_SECONDS:g} seconds."]

    def _look(self) -> list[str]:
        try:
            return self._unready()
        except Exception:
            log.exception("unforeseen")
            return [_UNFORESEEN]


def unwritable(url: str) -> Iterator[str]:
    """Why the database at *url* takes no updates, in a sentence; nothing where it does."""
    try:
        with closing(Database(url)) as database:
            readiness.check_writable(database)
    except (Unavailable, Unusable) as reason:
        yield f"The database takes no updates: {masked(str(reason)).rstrip('.')}."


def unkept(url: str) -> Iterator[str]:
    """Why the PostgreSQL at *url* alone keeps updates, in a sentence; nothing where a standby keeps them too."""
    try:
        with closing(Database(url)) as database:
            for reason in readiness.unkept(database):
                yield f"{reason}."
    except (Unavailable, Unusable) as reason:
        yield f"It cannot be seen whether a standby keeps the updates: {masked(str(reason)).rstrip('.')}."


def unserved(folder: Path) -> Iterator[str]:
    """Why the workers, who count in *folder*, serve nobody, in a sentence; nothing where they do."""
    end = metrics.server_certificate_end(folder)
    if end is None:
        yield "No worker serves: the log says why."
    elif end <= time.time():
        yield "The certificate that clients are shown is past its end: renew it, then send SIGHUP."
