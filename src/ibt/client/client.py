"""
`Client` and `AsyncClient`: two drivers of the same exchanges, over kept-alive HTTPS connections.

They differ only in how they wait. What a connection's failure means is told here, in one sentence each, and
nowhere do a library's own texts or exceptions come through.

Clauses 1.2, 2.2, 3.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any, Self, TypeVar, Unpack
from urllib.parse import urlsplit

import httpx2

from ibt.client import update as updates
from ibt.client.certificate import read_identity, tls_context
from ibt.client.exceptions import CertificateFailed, ConnectionFailed, StateChanged
from ibt.client.exchange import (
    LARGEST_LIMIT,
    READINGS,
    End,
    Exchange,
    Paging,
    Questions,
    Reply,
    Request,
    Wait,
    advance,
)
from ibt.client.filters import Filters, parameters
from ibt.client.plan import Plan, Receipt, Wish
from ibt.client.rows import to_frame
from ibt.rules.model import RequestedMapping, Subaccount, SubaccountMapping

#: The path of the API on every host (2.2).
BASE_PATH = "/sms_oper_contract/api/customers"

#: A connection is used again for so many seconds: a little less than our service keeps an idle one (reading 53).
_KEPT_ALIVE = 60.0

#: The page before is read once the request for the next one is on the wire, or after so many seconds: a thread that
#: reads a page would not let the one that sends have its turn.
_SENDING = 0.05

T = TypeVar("T")

#: Is told of each request with the reply to it, or with what came instead.
Watch = Callable[[Request, Reply | ConnectionFailed], None]


class _Side:
    """What both drivers have: where the service is, who asks, and what a failure of the library's means."""

    def __init__(  # noqa: PLR0913, PLR0917 - where, who and how patient; all but two have a default
        self,
        url: str,
        certificate: str | Path,
        key: str | Path | None = None,
        password: str | None = None,
        ca: str | Path | None = None,
        customer: int | None = None,
        timeout: float = 30.0,
        retries: int = 4,
        *,
        sleep: Callable[[float], Any] | None = None,
        watch: Watch | None = None,
    ) -> None:
        """
        Asks about *customer* at *url*, which is the API's base or a host alone.

        *certificate* is a PEM file, with its key or with that in *key*, or a PKCS#12 file; *password* opens either.
        *ca* is a PEM file of the authorities to trust, or a folder of them; else those that this machine trusts.
        A request that fails may be sent again *retries* times. *sleep* makes the pauses; *watch* is told of each
        request and what came of it, perhaps in another thread. Raises ValueError for a URL that is none,
        CertificateFailed for files that do not serve.
        """
        self.url = base_url(url)
        self.customer = customer
        self.identity = read_identity(certificate, key, password)
        self._questions = Questions(customer, retries)
        self._timeout = timeout
        self._sleep = sleep
        self._watch = watch
        self._open(
            {
                "base_url": self.url,
                "verify": tls_context(self.identity, ca),
                "timeout": timeout,
                "limits": httpx2.Limits(keepalive_expiry=_KEPT_ALIVE),
            }
        )

    def _open(self, settings: dict[str, Any]) -> None:  # Any: each as the library takes it
        raise NotImplementedError

    def _pages(self, limit: int, filters: Filters, *, consistent: bool) -> Callable[[], Paging]:
        query = parameters(filters, limit)
        self._questions.customer()
        return lambda: Paging(self._questions, query, limit, consistent=consistent)

    def _heard(self, request: Request, outcome: Reply | ConnectionFailed) -> Reply | ConnectionFailed:
        """*outcome*, once whoever watches knows of it."""
        if self._watch is not None:
            self._watch(request, outcome)
        return outcome

    def _failure(self, error: httpx2.RequestError) -> ConnectionFailed:
        """What a failure of the library's means to the user."""
        place = urlsplit(self.url).netloc
        failure = self._distrust(error, place) or _no_answer(error, place, self._timeout)
        failure.__cause__ = error
        return failure

    def _distrust(self, error: httpx2.RequestError, place: str) -> CertificateFailed | None:
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return CertificateFailed(f"The certificate of {place} {_DISTRUST.get(cause.verify_code, _NO_TRUST)}")
            if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
                return CertificateFailed(f"{place} refuses the certificate of {self.identity}")
        return None


class Client(_Side):
    """
    One customer's data at a service, for a user with a certificate. A context manager; threads may share it.

    Whatever it does raises one of `ibt.client.exceptions` where it does not come to its answer.
    """

    def _open(self, settings: dict[str, Any]) -> None:  # Any: each as the library takes it
        self._http = httpx2.Client(**settings)
        self._ahead = ThreadPoolExecutor(1, "next-page")
        self._closed = Event()

    def close(self) -> None:
        """Closes the connections, once a page that is under way has come."""
        # Not before: its thread would go on with the number of a closed socket, which may be another's by then.
        self._closed.set()
        self._ahead.shutdown(cancel_futures=True)
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def subaccounts(self) -> list[Subaccount]:
        """All subaccounts, by id. Clause 3.1."""
        return self._result(self._questions.subaccounts())

    def mappings(
        self, *, limit: int = LARGEST_LIMIT, consistent: bool = True, **filters: Unpack[Filters]
    ) -> Mappings:
        """
        The current mappings that fit *filters*, each contract once, in pages of *limit* mapping versions.

        Raises ValueError for a filter that the service would refuse, before anything is sent. Where the data change
        while they are read, and unless *consistent* is False, iterating raises StateChanged. Clause 3.2.
        """
        pages = self._pages(limit, filters, consistent=consistent)
        return Mappings(pages, self._ask_ahead)

    def mapping(self, contract_id: int) -> SubaccountMapping:
        """All versions of one contract's mapping, by month, oldest first. Clause 3.3."""
        return self._result(self._questions.mapping(contract_id))

    def update(self, mappings: Iterable[SubaccountMapping | RequestedMapping]) -> list[SubaccountMapping]:
        """
        Maps each period of *mappings* to its subaccount, all or nothing, whatever stands there; returns the reply.

        Clauses 3.2.3, 3.2.8, 3.2.9.
        """
        return self._result(updates.update(self._questions, tuple(mappings)))

    def plan(self, wishes: Iterable[Wish]) -> Plan:
        """What *wishes* come to; nothing is changed. A plan that the service would refuse has its lines."""
        return self._result(updates.plan(self._questions, tuple(wishes)))

    def apply(self, plan: Plan) -> Receipt:
        """
        Makes the changes of *plan* in one message; the receipt leads back.

        Raises StateChanged where the customer's data have moved since the plan was made, ValueError where it is
        refused or another customer's.
        """
        return self._result(updates.apply(self._questions, plan))

    def undo(self, receipt: Receipt) -> Plan:
        """The plan that leads back to what stood before *receipt*; its notes tell what others have changed since."""
        return self._result(updates.undo(self._questions, receipt))

    def _ask_ahead(self, page: Exchange[Reply]) -> Future[Reply]:
        """Asks for *page* in another thread; comes back when the request is on the wire."""
        sent = Event()
        coming = self._ahead.submit(self._result, page, sent)
        sent.wait(_SENDING)
        return coming

    def _result(self, exchange: Exchange[T], sent: Event | None = None) -> T:
        """Drives *exchange* to its end; *sent* is set once a request has been sent."""
        step = advance(exchange, None)
        while not isinstance(step, End):
            step = advance(exchange, self._done(step, sent))
        return step.result

    def _done(self, step: Request | Wait, sent: Event | None) -> Reply | ConnectionFailed | None:
        if isinstance(step, Wait):
            (self._sleep or self._closed.wait)(step.seconds)
            return None
        if self._closed.is_set():
            return ConnectionFailed("The client is closed", sent=False)

        def trace(event: str, _: object) -> None:
            if sent is not None and event.endswith(_SENT):
                sent.set()

        try:
            answer = self._http.request(**_as_sent(step), extensions={"trace": trace})
        except httpx2.RequestError as error:
            return self._heard(step, self._failure(error))
        return self._heard(step, _as_received(answer))


class Mappings(Iterator[SubaccountMapping]):
    """
    The mappings of a query, read as they are asked for: while the caller works on one page, the next one comes.

    Holds two pages at most, of which one as it came.
    """

    def __init__(self, begin: Callable[[], Paging], ahead: Callable[[Exchange[Reply]], Future[Reply]]) -> None:
        self._begin = begin
        self._ahead = ahead
        self._paging = begin()
        self._coming: Future[Reply] | None = None
        self._page: list[SubaccountMapping] = []
        self._mappings = self._read()

    @property
    def total(self) -> int:
        """How many mapping versions match, on all pages together; reads the first page where none was read yet."""
        if self._paging.total is None:
            self._take()
        return self._paging.total or 0

    def __next__(self) -> SubaccountMapping:
        return next(self._mappings)

    def all(self) -> list[SubaccountMapping]:
        """All mappings of the query, of one state of the data: begins again where that changes in between."""
        for _ in range(READINGS - 1):
            try:
                return list(Mappings(self._begin, self._ahead))
            except StateChanged:
                continue
        return list(Mappings(self._begin, self._ahead))

    def to_frame(self, library: str | None = None) -> Any:  # Any: a frame of that library
        """All mappings as a data frame, one row for each version: see `ibt.client.to_frame`."""
        return to_frame(self.all(), library)

    def _read(self) -> Iterator[SubaccountMapping]:
        while self._page or not self._paging.ended:
            if not self._page:
                self._take()
            page, self._page = self._page, []
            yield from page

    def _take(self) -> None:
        """Takes the next page, and asks for the one after it: before that page is read, where its total is known."""
        reply = (self._coming or self._ahead(self._paging.ask())).result()
        after = self._paging.ask_ahead()
        self._coming = self._ahead(after) if after else None
        self._page = self._paging.take(reply)
        if not (self._coming or self._paging.ended):
            self._coming = self._ahead(self._paging.ask())


class AsyncClient(_Side):
    """`Client` for asyncio: the same methods, to be awaited; `mappings()` is iterated with `async for`."""

    def _open(self, settings: dict[str, Any]) -> None:  # Any: each as the library takes it
        self._http = httpx2.AsyncClient(**settings)
        self._ahead: set[asyncio.Task[Reply]] = set()

    async def close(self) -> None:
        """Closes the connections."""
        for task in self._ahead:
            task.cancel()
        await asyncio.gather(*self._ahead, return_exceptions=True)
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def subaccounts(self) -> list[Subaccount]:
        """See `Client.subaccounts`."""
        return await self._result(self._questions.subaccounts())

    def mappings(
        self, *, limit: int = LARGEST_LIMIT, consistent: bool = True, **filters: Unpack[Filters]
    ) -> AsyncMappings:
        """See `Client.mappings`."""
        return AsyncMappings(self._pages(limit, filters, consistent=consistent), self._ask_ahead)

    async def mapping(self, contract_id: int) -> SubaccountMapping:
        """See `Client.mapping`."""
        return await self._result(self._questions.mapping(contract_id))

    async def update(self, mappings: Iterable[SubaccountMapping | RequestedMapping]) -> list[SubaccountMapping]:
        """See `Client.update`."""
        return await self._result(updates.update(self._questions, tuple(mappings)))

    async def plan(self, wishes: Iterable[Wish]) -> Plan:
        """See `Client.plan`."""
        return await self._result(updates.plan(self._questions, tuple(wishes)))

    async def apply(self, plan: Plan) -> Receipt:
        """See `Client.apply`."""
        return await self._result(updates.apply(self._questions, plan))

    async def undo(self, receipt: Receipt) -> Plan:
        """See `Client.undo`."""
        return await self._result(updates.undo(self._questions, receipt))

    async def _ask_ahead(self, page: Exchange[Reply]) -> asyncio.Task[Reply]:
        """Asks for *page* in another task; comes back when the request is on the wire."""
        sent = asyncio.Event()
        task = asyncio.create_task(self._result(page, sent))
        self._ahead.add(task)
        task.add_done_callback(self._came)
        with suppress(TimeoutError):
            await asyncio.wait_for(sent.wait(), _SENDING)
        return task

    def _came(self, task: asyncio.Task[Reply]) -> None:
        self._ahead.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, else asyncio complains of it where nobody wants the page any more

    async def _result(self, exchange: Exchange[T], sent: asyncio.Event | None = None) -> T:
        """Drives *exchange* to its end; *sent* is set once a request has been sent."""
        step = advance(exchange, None)
        while not isinstance(step, End):
            step = advance(exchange, await self._done(step, sent))
        return step.result

    async def _done(self, step: Request | Wait, sent: asyncio.Event | None) -> Reply | ConnectionFailed | None:
        if isinstance(step, Wait):
            await (self._sleep or asyncio.sleep)(step.seconds)
            return None

        async def trace(event: str, _: object) -> None:
            if sent is not None and event.endswith(_SENT):
                sent.set()

        try:
            answer = await self._http.request(**_as_sent(step), extensions={"trace": trace})
        except httpx2.RequestError as error:
            return self._heard(step, self._failure(error))
        return self._heard(step, _as_received(answer))


class AsyncMappings(AsyncIterator[SubaccountMapping]):
    """`Mappings` for asyncio; `total` is to be awaited."""

    def __init__(
        self, begin: Callable[[], Paging], ahead: Callable[[Exchange[Reply]], Awaitable[asyncio.Task[Reply]]]
    ) -> None:
        self._begin = begin
        self._ahead = ahead
        self._paging = begin()
        self._coming: asyncio.Task[Reply] | None = None
        self._page: list[SubaccountMapping] = []
        self._mappings = self._read()

    @property
    async def total(self) -> int:
        """See `Mappings.total`."""
        if self._paging.total is None:
            await self._take()
        return self._paging.total or 0

    async def __anext__(self) -> SubaccountMapping:
        return await anext(self._mappings)

    async def all(self) -> list[SubaccountMapping]:
        """See `Mappings.all`."""
        for _ in range(READINGS - 1):
            try:
                return [mapping async for mapping in AsyncMappings(self._begin, self._ahead)]
            except StateChanged:
                continue
        return [mapping async for mapping in AsyncMappings(self._begin, self._ahead)]

    async def to_frame(self, library: str | None = None) -> Any:  # Any: a frame of that library
        """See `Mappings.to_frame`."""
        return to_frame(await self.all(), library)

    async def _read(self) -> AsyncIterator[SubaccountMapping]:
        while self._page or not self._paging.ended:
            if not self._page:
                await self._take()
            page, self._page = self._page, []
            for mapping in page:
                yield mapping

    async def _take(self) -> None:
        """See `Mappings._take`."""
        reply = await (self._coming or await self._ahead(self._paging.ask()))
        after = self._paging.ask_ahead()
        self._coming = await self._ahead(after) if after else None
        self._page = self._paging.take(reply)
        if not (self._coming or self._paging.ended):
            self._coming = await self._ahead(self._paging.ask())


def base_url(text: str) -> str:
    """
    The API's base, without a slash at its end: *text* as it is, or completed where it is a host alone.

    Raises ValueError for what is no https URL. Clause 2.2.
    """
    url = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(url)
        valid = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        valid = False
    if not valid or parts.query or parts.fragment or parts.username is not None or re.search(r"[^!-~]", url):
        raise ValueError(f'"{text}" is no address of a service: give a host, or https://HOST{BASE_PATH}')
    return f"https://{parts.netloc}{parts.path.rstrip('/') or BASE_PATH}"


#: The library's event once a request has been sent.
_SENT = "receive_response_headers.started"

#: What the library raises before anything of the request was sent.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

_NO_TRUST = "is not one to trust"

#: Why a server's certificate is not trusted, by the numbers that OpenSSL gives to it.
_DISTRUST = {
    **dict.fromkeys((18, 19, 20, 21), "is not of an authority that is trusted here: give the authority's as ca"),
    9: "is not valid yet: is this machine's clock right?",
    10: "has expired",
    62: "is for another host name",
    64: "is for another address",
}


def _no_answer(error: httpx2.RequestError, place: str, timeout: float) -> ConnectionFailed:
    if isinstance(error, _NOT_SENT):
        return ConnectionFailed(f"{place} cannot be reached: is there such a host, and runs the service?", sent=False)
    if isinstance(error, httpx2.TimeoutException):
        return ConnectionFailed(f"{place} has not answered within {timeout:g} seconds", sent=True)
    return ConnectionFailed(f"The connection to {place} broke before the answer was whole", sent=True)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _as_sent(request: Request) -> dict[str, Any]:  # Any: each as the library takes it
    return {
        "method": request.method,
        "url": request.path,
        "params": list(request.query) or None,
        "headers": list(request.headers),
        "content": request.body or None,
    }


def _as_received(answer: httpx2.Response) -> Reply:
    return Reply(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.content)
