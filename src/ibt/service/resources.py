"""
The resources: what each operation answers, from the question that was found good to the bytes of its answer; and
their routes.

An operation works on one state of the database, or in one transaction. This is the only module that knows both
what is stored and how it is written.

Clauses 2.1, 3.1, 3.2, 3.3. Readings 1-3, 41, 44, 45, 49, 57.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from ibt import messages
from ibt.rules import mappings, queries
from ibt.rules.faults import Faults, Refusal, Rule
from ibt.rules.periods import month_of
from ibt.service import access, negotiation
from ibt.service.memory import Memory
from ibt.store import reads, writes
from ibt.store.places import Place
from ibt.store.question import MoreRows

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from ibt.rules.model import SubaccountMapping, Update
    from ibt.rules.queries import Query
    from ibt.service.request import Request

SCHEMA_NAME = "vnd.iso-ne.contract.customers.v1.xsd"

#: Answers of more bytes than this are compressed for those who ask for it.
_WORTH_COMPRESSING = 1024

#: A page of at most so many versions is made at once, if all versions are asked for, as the tables know a place near
#: it; or if its total is known, and no more is read for it than was in so many seconds of the processor to count it.
#: What is no page may have so many rows.
_MOST_AT_ONCE = 100
_MOST_ROWS_AT_ONCE = 300
_SOON_COUNTED = 0.001

#: Of how many queries a process remembers the total, and of how many pages where they ended.
_REMEMBERED_QUERIES = 4096
_REMEMBERED_PLACES = 65_536

#: One place is kept in so many versions, and a page looks for one in so many of these before its start; in fewer
#: where the tables know one that is as near.
_BETWEEN_PLACES = 100
_PLACES_LOOKED_FOR = 10
_PLACES_LOOKED_FOR_OF_ALL = 2

NO_CONTRACT = Rule(
    "no-contract",
    "Customer {customer_id} is not a party to a contract with id {contract_id}: ask for one that its "
    "contractSubaccountMappings list",
    "3.3, reading 45",
    404,
)
OVERTAKEN = Rule(
    "overtaken",
    "If-Match names a state that is no longer the current one, so nothing was changed: read the mappings again, and "
    "send the update with the ETag of that answer",
    "reading 57",
    412,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, its body and the headers that belong to them."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class TakesLonger(Exception):
    """The answer is not at hand, and may take so long that nothing else should wait for it."""


class Counted(NamedTuple):
    """How many versions a query finds, and how many seconds of the processor it took to count them."""

    total: int
    seconds: float


class Remembered:
    """What this process remembers of answers, under the revisions of customers: see `ibt.service.memory`."""

    def __init__(self, most_bytes: int) -> None:
        self.answers: Memory[Reply] = Memory(most_bytes)
        self.counts: Memory[Counted] = Memory(_REMEMBERED_QUERIES)
        self._places: Memory[Place] = Memory(_REMEMBERED_PLACES)

    def place_before(self, state: Hashable, query: Query) -> Place | None:
        """A place at most so far before the start of a query's page that it is worth to begin there."""
        nearest = query.start // _BETWEEN_PLACES
        looked_for = _PLACES_LOOKED_FOR if query.filtered else _PLACES_LOOKED_FOR_OF_ALL
        for number in range(nearest, max(-1, nearest - looked_for), -1):
            place = self._places.recall((state, number))
            if place is not None and place.passed <= query.start:
                return place
        return None

    def keep_place(self, state: Hashable, place: Place) -> None:
        """Keeps where a page ended: one place in so many versions is enough."""
        self._places.keep((state, place.passed // _BETWEEN_PLACES), place)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, by whom and in which form, when the head of a request is found good."""

    route: Route
    caller: access.Caller
    customer_id: int
    contract_id: int
    request: Request
    media_type: str = negotiation.VENDOR_TYPE
    remembered: Remembered = field(default_factory=lambda: Remembered(0))
    at_once: bool = False  # whether all else waits for the answer

    def parameters(self) -> Sequence[tuple[str, str]]:
        """The names and values of the query string; refuses with 400 what is not UTF-8. Reading 60."""
        return negotiation.parameters(self.request.query_string)

    def answer(self, body: bytes, revision: str) -> Reply:
        """The answer with *body*, which shows the customer's state of that revision."""
        return Reply(200, body, (("content-type", self.media_type), *self.headers(self.etag(revision))))

    def headers(self, etag: str) -> tuple[tuple[str, str], ...]:
        """What a cache needs to know. Reading 49, 57."""
        return ("etag", etag), ("vary", "Accept, Accept-Encoding"), ("cache-control", "private, no-cache")

    def etag(self, revision: str) -> str:
        """The tag of this representation of the customer's state. Reading 57."""
        return f'"{revision}.{_SUFFIXES.get(self.media_type, "s")}"'

    @property
    def question(self) -> tuple[object, ...]:
        """All that the answer depends on: the state, what is asked of it, and the form."""
        request = self.request
        return (
            self.caller.revision,
            request.raw_path,
            request.query_string,
            self.media_type,
            request.head.strict,
            request.head.gzip_wanted,
        )

    def compressed(self, reply: Reply) -> Reply:
        """*reply* with its body in gzip, under its own tag, where that is asked for and worth it. RFC 9110 8.4."""
        if len(reply.body) <= _WORTH_COMPRESSING or not self.request.head.gzip_wanted:
            return reply
        headers = [(name, _gzip_tag(value) if name == "etag" else value) for name, value in reply.headers]
        body = gzip.compress(reply.body, compresslevel=1, mtime=0)
        return Reply(reply.status, body, (*headers, ("content-encoding", "gzip")))

    @property
    def most_rows(self) -> int | None:
        """How many rows may be read for the answer, if that is bounded."""
        return _MOST_ROWS_AT_ONCE if self.at_once else None

    @property
    def conditional(self) -> bool:
        """Whether the client has an answer already, and asks whether there is another."""
        return bool(self.request.head.fields(b"if-none-match"))

    def not_modified(self, revision: str) -> Reply | None:
        """304, where the client has what it asks for. Reading 57."""
        known = self.request.head.fields(b"if-none-match")
        if not known:
            return None
        etag = self.etag(revision)
        # Whether the body would be long enough to be compressed is not known before it is made: either tag serves.
        for tag in (etag, _gzip_tag(etag)) if self.request.head.gzip_wanted else (etag,):
            if negotiation.none_match(known, tag):
                return Reply(304, headers=self.headers(tag))
        return None


_SUFFIXES = {negotiation.VENDOR_TYPE: "v", negotiation.XML_TYPE: "x"}


def subaccounts(connection: Connection, asked: Asked) -> Reply:
    """GET …/subaccounts. Clause 3.1."""
    _refuse_bad_parameters(asked)
    return _unless_known(
        asked,
        lambda: messages.write_subaccounts(reads.subaccounts(connection, asked.customer_id, asked.most_rows)),
        asked.caller.revision,
    )


def current_mappings(connection: Connection, asked: Asked) -> Reply:
    """GET …/contractSubaccountMappings. Clauses 3.2.3, 3.2.4."""
    query = query_of(asked.request.query_string, asked.request.head.strict)

    def body() -> bytes:
        total, place = _total_and_place(connection, asked, query)
        with _turn(connection, query):
            page = _page(connection, asked, query, place) if query.start < total else []
            return messages.write_mappings(page, total)

    return _unless_known(asked, body, asked.caller.revision)


def _turn(connection: Connection, query: Query) -> AbstractContextManager[object]:
    """
    A block in which the page is made: of large ones, which are made in threads, one at a time on SQLite.

    Its driver lets go of Python's lock at each row, and two threads would hand it to and fro: they took half as much
    time again. One that is filtered may read long, and nobody waits for it.
    """
    large = query.limit > _MOST_AT_ONCE and not query.filtered and connection.dialect.name == "sqlite"
    return _LARGE_PAGE if large else nullcontext()


_LARGE_PAGE = Lock()


def query_of(query_string: bytes, strict: bool) -> Query:
    """The query that a query string asks for; refuses with 400 what is no good one. Clause 3.2.4."""
    return (_query_once if len(query_string) <= _LONGEST_QUERY else _query)(query_string, strict)


def _query(query_string: bytes, strict: bool) -> Query:
    return queries.read_query(negotiation.parameters(query_string), strict=strict)


#: Clients ask the same again and again; what is longer than they ask for is not kept.
_LONGEST_QUERY = 256
_query_once = lru_cache(maxsize=4096)(_query)


def _total_and_place(connection: Connection, asked: Asked, query: Query) -> tuple[int, Place | None]:
    """How many versions a query finds, and a place near its page, if one is known of this state."""
    state = asked.customer_id, asked.caller.revision, query.filters
    remembered = asked.remembered
    counted = remembered.counts.recall(state)
    place = remembered.place_before(state, query) if counted else None
    if asked.at_once and not _is_soon_made(query, counted):
        raise TakesLonger
    if counted is None:
        began = time.thread_time()
        total = reads.total(connection, asked.customer_id, query)
        counted = Counted(total, time.thread_time() - began)
        remembered.counts.keep(state, counted)
    return counted.total, place


def _page(connection: Connection, asked: Asked, query: Query, place: Place | None) -> Sequence[SubaccountMapping]:
    """The page that a query asks for; where it ends is remembered of this state."""
    page = reads.page(connection, asked.customer_id, query, place)
    if page:
        state = asked.customer_id, asked.caller.revision, query.filters
        passed = query.start + sum([len(mapping.versions) for mapping in page])
        contract, last = page[-1].contract, page[-1].versions[-1]
        asked.remembered.keep_place(state, Place(passed, contract.contract_id, month_of(last.begin)))
    return page


def _is_soon_made(query: Query, counted: Counted | None) -> bool:
    """Whether the page takes no longer than to hand it to a thread."""
    if query.limit > _MOST_AT_ONCE:
        return False
    return not query.filtered or (counted is not None and counted.seconds < _SOON_COUNTED)


def mapping_history(connection: Connection, asked: Asked) -> Reply:
    """GET …/contractSubaccountMappings/{contractId}. Clause 3.3. Readings 44, 45."""
    _refuse_bad_parameters(asked)
    customer_id, contract_id = asked.customer_id, asked.contract_id
    no_contract = Refusal.of(NO_CONTRACT, customer_id=customer_id, contract_id=contract_id)
    # What would be refused is refused, also where the client has an answer (reading 57); else the mapping tells.
    if asked.conditional and not reads.has_contract(connection, customer_id, contract_id):
        raise no_contract

    def body() -> bytes:
        try:
            history = reads.mapping_history(connection, customer_id, contract_id, asked.most_rows)
            return messages.write_mapping(history)
        except LookupError:
            raise no_contract from None

    return _unless_known(asked, body, asked.caller.revision)


def read_update(asked: Asked, body: bytes) -> Update:
    """What the body of a POST asks for; refuses with 400 what is no valid message. Clause 3.2.4."""
    _refuse_bad_parameters(asked)
    return messages.read_update(body)


def update_mappings(connection: Connection, asked: Asked, update: Update, clock: Callable[[], datetime]) -> Reply:
    """POST …/contractSubaccountMappings, in a transaction that ends with it. Clauses 3.2.3, 3.2.5. Reading 41."""
    locked = writes.lock(connection, asked.customer_id)
    revision = locked.revision
    # Body and lock may have taken their time: the caller may do what they may do now.
    asked.caller.again(connection)
    contract_ids = (mapping.contract_id for mapping in update)
    subaccount_ids = (version.subaccount_id for mapping in update for version in mapping.versions)
    standing = reads.standing(connection, asked.customer_id, contract_ids, subaccount_ids)
    faults = Faults()
    now = clock()
    outcome = mappings.update(standing, update, now, faults)
    faults.refuse()
    if not negotiation.match_revision(asked.request.head.fields(b"if-match"), revision):
        raise Refusal.of(OVERTAKEN)
    if outcome.new:
        revision = writes.add_versions(connection, locked, outcome.new, asked.request.deed("update", now, 200))
        asked.request.versions_created = len(outcome.new)
    return asked.answer(messages.write_mappings(outcome.reply), revision)


def schema(_connection: Connection, asked: Asked) -> Reply:
    """GET of the published schema, for anyone with the role."""
    _refuse_bad_parameters(asked)
    return _unless_known(asked, lambda: messages.SCHEMA, _SCHEMA_REVISION)


_SCHEMA_REVISION = hashlib.sha256(messages.SCHEMA).hexdigest()[:32]


def _unless_known(asked: Asked, body: Callable[[], bytes], revision: str) -> Reply:
    """The answer with *body*; or 304, for which no body is made, where the client has it. Reading 57."""
    try:
        return asked.not_modified(revision) or asked.answer(body(), revision)
    except MoreRows:
        raise TakesLonger from None


def _refuse_bad_parameters(asked: Asked) -> None:
    parameters = asked.parameters()
    if asked.request.head.strict:
        queries.refuse_unknown(parameters)


def _gzip_tag(etag: str) -> str:
    return f'{etag[:-1]}z"'


# --- the routes -------------------------------------------------------------------------------------------


class Route(NamedTuple):
    """A pattern of segments, None where an id stands, what answers a GET, and its methods. Readings 1, 3."""

    pattern: tuple[str | None, ...]
    read: Callable[[Connection, Asked], Reply]
    methods: tuple[str, ...] = ("GET", "HEAD", "OPTIONS")
    media_type: str | None = None  # where there is no choice

    @property
    def allow(self) -> str:
        """The value of `Allow`."""
        return ", ".join(self.methods)

    @property
    def of_customer(self) -> bool:
        """Whether this is a customer's resource, whose id is the first of the path."""
        return None in self.pattern

    def operation(self, method: str) -> str:
        """What the metrics call what *method* does here."""
        if method == "OPTIONS":
            return "options"
        return update_mappings.__name__ if method == "POST" else self.read.__name__

    def ids(self, segments: Sequence[str]) -> list[int] | None:
        """The ids in the path, canonical decimals; None where the path is not of this pattern. Reading 2."""
        if len(segments) != len(self.pattern):
            return None
        ids = []
        for segment, part in zip(segments, self.pattern, strict=True):
            if part is None and _ID.fullmatch(segment):
                ids.append(int(segment))
            elif part != segment:
                return None
        return ids


_ID = re.compile(r"0|[1-9][0-9]{0,8}")
#: The path that all resources of customers begin with (2.2, reading 1).
API = "/sms_oper_contract/api/customers"
_BASE = tuple(API[1:].split("/"))

ROUTES = (
    Route((*_BASE, None, "subaccounts"), subaccounts),
    Route((*_BASE, None, "contractSubaccountMappings"), current_mappings, ("GET", "HEAD", "OPTIONS", "POST")),
    Route((*_BASE, None, "contractSubaccountMappings", None), mapping_history),
    Route(("sms_oper_contract", "schema", SCHEMA_NAME), schema, media_type="application/xml"),
)

#: Stands for an id that a path does not have: it is nobody's.
_NO_ID = 0


def route_of(raw_path: bytes) -> tuple[Route | None, int, int]:
    """The route of a path, None where it names no resource, with the customer's and the contract's id in it."""
    return _route_once(raw_path) if len(raw_path) <= _LONGEST_PATH else _route(raw_path)


def _route(raw_path: bytes) -> tuple[Route | None, int, int]:
    segments = negotiation.path_segments(raw_path) or ()
    for route in ROUTES:
        ids = route.ids(segments)
        if ids is not None:
            customer_id, contract_id = [*ids, _NO_ID, _NO_ID][:2]
            return route, customer_id, contract_id
    return None, _NO_ID, _NO_ID


#: Clients ask for few paths, again and again; what is longer than any that names a resource is not kept.
_LONGEST_PATH = 128
_route_once = lru_cache(maxsize=4096)(_route)
