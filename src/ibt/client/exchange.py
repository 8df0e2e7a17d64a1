"""
What is asked of the service and what becomes of its answers: requests, replies, retries, paging. No I/O.

An exchange is a generator. It yields a `Request` and is sent its `Reply`, or is thrown a ConnectionFailed where
there was none; it yields a `Wait` and is sent None. What it returns is what was asked for. `client.py` drives them;
`update.py` has those that change something.

A read is sent again where the connection failed, and where the service or a gateway before it is away (502, 503,
504): after Retry-After, or a pause that doubles.

Clauses 2.1, 2.2, 3.1, 3.2, 3.3. Readings 12, 13, 54, 57.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

from ibt.client.exceptions import CertificateFailed, ConnectionFailed, Refused, ServerFailed, StateChanged
from ibt.client.filters import parameters
from ibt.messages import NotTheAnswer, read_mapping, read_mappings, read_subaccounts
from ibt.rules.faults import MOST_LINES, quoted
from ibt.rules.mappings import Standing
from ibt.rules.model import LARGEST_ID, Month, Subaccount, SubaccountMapping
from ibt.rules.periods import month_of

MEDIA_TYPE = "application/vnd.iso-ne.contract.customers.v1+xml;charset=UTF-8"

#: The most mapping versions that a page may hold (3.2.4).
LARGEST_LIMIT = 1000

#: What the service, or a gateway before it, says when it cannot do it now.
AWAY = frozenset({502, 503, 504})

#: How often something is read anew because it changed while it was read.
READINGS = 5

#: A pause before trying again begins with so many seconds, and doubles up to so many.
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0

#: A service that asks for more patience than that is told of, not waited for.
_LONGEST_WAIT = 60.0

#: So few contracts are asked for one by one; and a page costs about as much as so many contracts.
_FEW = 10

#: The ETag of reading 57: the customer's revision and a suffix. What other tags tell of we do not know.
_ETAG = re.compile(r'(?:W/)?"([0-9a-f]{32})\.[a-z]+"')

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be sent; *path* begins below the API's base."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came; the names of the headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """What the service's log calls this request."""
        return self.headers.get("x-request-id")

    @property
    def revision(self) -> str | None:
        """The state of the customer's data that it shows; None where the service does not tell. Reading 57."""
        match = _ETAG.fullmatch(self.headers.get("etag", ""))
        return match[1] if match else None


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause."""

    seconds: float


#: Any: a Reply for a Request, None for a Wait.
Exchange = Generator[Request | Wait, Any, T]


@dataclass(frozen=True, slots=True)
class End(Generic[T]):
    """The end of an exchange, and what was asked for."""

    result: T


def advance(exchange: Exchange[T], heard: Reply | ConnectionFailed | None) -> Request | Wait | End[T]:
    """The next step of *exchange*, which is told what was *heard*; None begins it, and follows a Wait."""
    try:
        return exchange.throw(heard) if isinstance(heard, ConnectionFailed) else exchange.send(heard)
    except StopIteration as end:
        return End(end.value)


@dataclass(frozen=True, slots=True)
class Stand:
    """What stands, all of one revision: the subaccounts, and the current mappings of the contracts asked for."""

    standing: Standing
    revision: str | None


@dataclass(frozen=True, slots=True)
class Questions:
    """What can be asked about one customer; a request is sent again at most *retries* times."""

    customer_id: int | None
    retries: int

    def customer(self) -> int:
        """The customer's id. Raises ValueError where none was given."""
        if self.customer_id is None:
            raise ValueError("Whose data? Give the customer's id: Client(…, customer=1)")
        return self.customer_id

    def path(self, path: str) -> str:
        """The path of a customer's resource, below the API's base."""
        return f"/{self.customer()}{path}"

    def pauses(self) -> Iterator[float | None]:
        """The pause after each attempt, spread at random so that many clients do not come back at once; None last."""
        for attempt in range(self.retries):
            yield min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE) * random.uniform(0.5, 1)  # noqa: S311 - no secret
        yield None

    def read(self, path: str, query: tuple[tuple[str, str], ...] = ()) -> Exchange[Reply]:
        """The reply to a GET below the customer, which is 200."""
        request = Request("GET", self.path(path), query, (("accept", MEDIA_TYPE),))
        for pause in self.pauses():
            try:
                reply: Reply = yield request
            except ConnectionFailed as failed:
                if pause is None or isinstance(failed, CertificateFailed):
                    raise
                wait: float | None = pause
            else:
                wait = patience(reply, pause)
            if wait is None:
                break
            yield Wait(wait)
        return good(reply)

    def subaccounts(self) -> Exchange[list[Subaccount]]:
        """All subaccounts. Clause 3.1."""
        reply = yield from self.read("/subaccounts")
        return understood(read_subaccounts, reply)

    def mapping(self, contract_id: int) -> Exchange[SubaccountMapping]:
        """All versions of one contract's mapping. Clause 3.3."""
        reply = yield from self._mapping(contract_id)
        return understood(read_mapping, reply)

    def stand(self, wanted: Mapping[int, Iterable[Month]]) -> Exchange[Stand]:
        """What stands of the contracts *wanted*, at least in these months."""
        for _ in range(READINGS):
            try:
                return (yield from self._stand(wanted))
            except StateChanged:
                continue
        raise StateChanged(f"The customer's data changed each of the {READINGS} times that they were read: try again")

    def _stand(self, wanted: Mapping[int, Iterable[Month]]) -> Exchange[Stand]:
        reply = yield from self.read("/subaccounts")
        subaccounts = {each.subaccount_id: each for each in understood(read_subaccounts, reply)}
        mappings: dict[int, SubaccountMapping] = {}
        if len(wanted) > _FEW:
            yield from self._read_pages(wanted, mappings, reply.revision)
        for contract_id in wanted:
            if contract_id not in mappings:  # no party to it, or nothing of it in these months
                yield from self._read_current(contract_id, mappings, reply.revision)
        return Stand(Standing(self.customer(), mappings, subaccounts), reply.revision)

    def _read_pages(
        self, wanted: Mapping[int, Iterable[Month]], mappings: dict[int, SubaccountMapping], revision: str | None
    ) -> Exchange[None]:
        """Adds to *mappings* what pages give of *wanted*, unless one by one would be faster."""
        months = [month for of_contract in wanted.values() for month in of_contract if month.year > 0]
        query = parameters(
            {"start_date": min(months, default=None), "end_date": max(months, default=None)}, LARGEST_LIMIT
        )
        paging = Paging(self, query, LARGEST_LIMIT)
        while not paging.ended:
            page = yield from paging.next_page()
            _refuse_other(paging.revision, revision)
            mappings.update((each.contract.contract_id, each) for each in page if each.contract.contract_id in wanted)
            if (paging.total or 0) // LARGEST_LIMIT * _FEW > len(wanted):
                return

    def _read_current(
        self, contract_id: int, mappings: dict[int, SubaccountMapping], revision: str | None
    ) -> Exchange[None]:
        try:
            reply = yield from self._mapping(contract_id)
        except Refused as refused:
            if refused.status == 404:
                return
            raise
        _refuse_other(reply.revision, revision)
        history = understood(read_mapping, reply)
        current = {month_of(version.begin): version for version in history.versions}
        mappings[contract_id] = history.with_versions(tuple(current.values()))

    def _mapping(self, contract_id: int) -> Exchange[Reply]:
        if not 0 <= contract_id <= LARGEST_ID:
            raise ValueError(f"{contract_id} is not a contract_id: it has at most 9 digits")
        return self.read(f"/contractSubaccountMappings/{contract_id}")


class Paging:
    """
    The pages of a query, one after the other, and the mappings that each completes.

    To ask and to take are two steps, so that the next page can be under way while this one is read. A contract that
    continues on the next page is given once, when it is whole. Where *consistent*, a page of another state than the
    first raises StateChanged. Keeps one page at most. Readings 12, 13.
    """

    def __init__(
        self, questions: Questions, query: tuple[tuple[str, str], ...], limit: int, *, consistent: bool = True
    ) -> None:
        self.total: int | None = None
        self.revision: str | None = None
        self.ended = False
        self._questions = questions
        self._query = query
        self._limit = limit
        self._consistent = consistent
        self._start = 0
        self._unfinished: list[SubaccountMapping] = []

    def next_page(self) -> Exchange[list[SubaccountMapping]]:
        """The mappings that the next page completes."""
        reply = yield from self.ask()
        return self.take(reply)

    def ask(self) -> Exchange[Reply]:
        """The reply with the page that is to be taken next."""
        return self._ask(self._start)

    def ask_ahead(self) -> Exchange[Reply] | None:
        """The reply with the page after that; None where there is none, or the total is not known yet."""
        after = self._start + self._limit
        return self._ask(after) if after < (self.total or 0) else None

    def _ask(self, start: int) -> Exchange[Reply]:
        return self._questions.read("/contractSubaccountMappings", (*self._query, ("start", str(start))))

    def take(self, reply: Reply) -> list[SubaccountMapping]:
        """The mappings that the page in *reply*, which is the next, completes."""
        total, page = understood(read_mappings, reply)
        if total is None:
            raise _failed(reply, "it has no total_record_count")
        if self._consistent and self._start and (total, reply.revision) != (self.total, self.revision):
            raise StateChanged(
                "The customer's data changed between two pages: read again, or ask for consistent=False",
                request_id=reply.request_id,
            )
        self.total, self.revision = total, reply.revision
        self._start += self._limit
        self.ended = not page or self._start >= total
        return self._completed(page)

    def _completed(self, page: list[SubaccountMapping]) -> list[SubaccountMapping]:
        mappings = self._unfinished
        for mapping in page:
            if mappings and mappings[-1].contract.contract_id == mapping.contract.contract_id:
                mappings[-1] = mapping.with_versions((*mappings[-1].versions, *mapping.versions))
            else:
                mappings.append(mapping)
        self._unfinished = [] if self.ended else mappings[-1:]
        return mappings[: len(mappings) - len(self._unfinished)]


def patience(reply: Reply, pause: float | None) -> float | None:
    """How many seconds to wait before the request is sent again; None where it is not to be."""
    if reply.status not in AWAY or pause is None:
        return None
    wait = max(pause, _retry_after(reply.headers))
    return wait if wait <= _LONGEST_WAIT else None


def good(reply: Reply) -> Reply:
    """*reply*, which is 200. Raises Refused or ServerFailed for any other."""
    if reply.status == 200:
        return reply
    if 400 <= reply.status < 500:
        raise Refused(reply.status, _lines(reply), request_id=reply.request_id)
    raise failed_reply(reply)


def failed_reply(reply: Reply) -> ServerFailed:
    """What a *reply* that is neither 200 nor a refusal says."""
    text = " ".join((f"The service failed ({reply.status}):", *_lines(reply)))
    return ServerFailed(text, status=reply.status, request_id=reply.request_id)


def understood(read: Callable[[bytes], T], reply: Reply) -> T:
    """What the message in *reply* says. Raises ServerFailed where it is another message than the one to *read*."""
    try:
        return read(reply.body)
    except NotTheAnswer as wrong:
        raise _failed(reply, str(wrong)) from None


def _failed(reply: Reply, why: str) -> ServerFailed:
    return ServerFailed(
        f"The answer is not what the specification says: {why}. Is the URL that of an IBT service?",
        status=reply.status,
        request_id=reply.request_id,
    )


def _lines(reply: Reply) -> tuple[str, ...]:
    """The faults of an answer that refuses: its lines, as far as it is the plain text that 2.1 wants."""
    if not reply.headers.get("content-type", "").lower().startswith("text/plain"):
        return ("it says no more in plain text",)
    lines = reply.body.decode("utf-8", "replace").splitlines()[: MOST_LINES + 1]
    return tuple(line if line.isprintable() else quoted(line) for line in lines) or ("it says no more",)


def _retry_after(headers: Mapping[str, str]) -> float:
    """The seconds of Retry-After; 0 where there is none. A time in it is told by the same answer's clock."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return (parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
    except (ValueError, TypeError):  # TypeError: one of the two without its time zone
        return 0.0


def _refuse_other(revision: str | None, first: str | None) -> None:
    if revision != first:
        raise StateChanged("The customer's data changed while they were read")
