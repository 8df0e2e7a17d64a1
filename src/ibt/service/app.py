"""
The service: from a request to its answer, in one straight line for each operation.

An ASGI application. What the head of a request decides is decided before its body is read, in the order of
reading 7; the work is done in threads, on one snapshot of the database or in one transaction. This is the
only module that knows all the rooms, and the only one that turns a refusal into an answer.

Clauses 2.1, 2.2, 3.1, 3.2, 3.3. Readings 1-7, 48-50, 54, 57, 60.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ibt import messages
from ibt.rules import mappings, queries
from ibt.rules.faults import Faults, Refusal, Rule, quoted
from ibt.rules.periods import month_of
from ibt.service import access, limits, negotiation
from ibt.service.log import log
from ibt.service.memory import REMEMBER, Memory
from ibt.service.metrics import NO_OPERATION, Metrics
from ibt.store import Unavailable, reads, writes
from ibt.store.reads import Place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy import Connection

    from ibt.rules.model import SubaccountMapping, Update
    from ibt.rules.queries import Query
    from ibt.service.limits import Limits
    from ibt.store import Database

    Scope = dict[str, Any]  # Any: as ASGI has it
    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

TEXT_TYPE = "text/plain;charset=UTF-8"
SCHEMA_NAME = "vnd.iso-ne.contract.customers.v1.xsd"

#: What every answer says, also those that the HTTP layer makes itself.
ALWAYS = (
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
)

#: Answers of more bytes than this are compressed for those who ask for it.
_WORTH_COMPRESSING = 1024

#: Of how many queries a process remembers the total, and of how many pages where they ended.
_REMEMBERED_QUERIES = 4096
_REMEMBERED_PLACES = 65_536

#: What keeping an answer takes beside its body, in bytes.
_COST_OF_AN_ANSWER = 1024

_RETRY_AFTER_SECONDS = "1"
_READING_THREADS = 4
_UPDATING_THREADS = 16


# What is refused here: what is asked for, by which site, in which state; and what cannot be done.
NO_RESOURCE = Rule(
    "no-resource",
    "The path {path} names no resource: ask for /sms_oper_contract/api/customers/ID/subaccounts, "
    "…/ID/contractSubaccountMappings or …/ID/contractSubaccountMappings/CONTRACT",
    "2.1, 2.2",
    404,
)
METHOD = Rule("method", "The method {method} is not supported here: use {allow}", "2.1", 405)
NO_CONTRACT = Rule(
    "no-contract",
    "Customer {customer_id} is not a party to a contract with id {contract_id}: ask for one that its "
    "contractSubaccountMappings list",
    "3.3, reading 45",
    404,
)
OTHER_SITE = Rule(
    "other-site",
    "This update was sent by the page of another site: send it from this service's own pages, or from a program that "
    "sends neither Origin nor Sec-Fetch-Site",
    "RFC 6454 7.3",
    403,
)
OVERTAKEN = Rule(
    "overtaken",
    "If-Match names a state that is no longer the current one, so nothing was changed: read the mappings again, and "
    "send the update with the ETag of that answer",
    "reading 57",
    412,
)
UNFORESEEN = Rule(
    "unforeseen",
    "Something unforeseen went wrong; the operator finds it in the log as {request_id}",
    "reading 54",
    500,
)
UNAVAILABLE = Rule(
    "unavailable",
    "The database is busy or away, and nothing was changed: try again in a moment",
    "reading 54",
    503,
)
OUTCOME_UNKNOWN = Rule(
    "outcome-unknown",
    "The database was lost while it made the change, so the outcome is unknown: read before you send it again",
    "reading 54",
    503,
)


class ClientGone(Exception):
    """The client went away before its request was whole."""


@dataclass(slots=True)
class Request:
    """The head of a request, and what becomes known of it for the log and the metrics."""

    method: str
    raw_path: bytes
    query_string: bytes
    headers: Sequence[tuple[bytes, bytes]]
    certificate: access.Certificate | None
    request_id: str
    body_asked: bool = False
    operation: str = NO_OPERATION
    versions_created: int = 0
    refusal: Refusal | None = None
    known: dict[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, scope: Scope) -> Request:
        """The request of an ASGI scope."""
        chain = scope.get("extensions", {}).get("tls", {}).get("client_cert_chain", ())
        request = cls(
            scope["method"],
            scope["raw_path"],
            scope["query_string"],
            scope["headers"],
            access.read_certificate(chain[0]) if chain else None,
            secrets.token_hex(8),
        )
        given = request.fields(b"x-request-id")
        if len(given) == 1 and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given[0]):
            request.request_id = given[0]
        return request

    def fields(self, name: bytes) -> tuple[str, ...]:
        """The values of all header fields of this name, which is in lower case, in their order."""
        return tuple([value.decode("latin-1") for key, value in self.headers if key == name])


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, its body and the headers that belong to them."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Remembered:
    """What this process remembers of answers, under the revisions of customers: see `ibt.service.memory`."""

    def __init__(self, most_bytes: int) -> None:
        self.answers: Memory[Reply] = Memory(most_bytes)
        self.totals: Memory[int] = Memory(_REMEMBERED_QUERIES)
        self.places: Memory[Place] = Memory(_REMEMBERED_PLACES)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, by whom and in which form, when the head of a request is found good."""

    route: Route
    caller: access.Caller
    customer_id: int
    contract_id: int
    request: Request
    media_type: str = negotiation.VENDOR_TYPE
    parameters: Sequence[tuple[str, str]] = ()
    strict: bool = False
    remembered: Remembered = field(default_factory=lambda: Remembered(0))

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
            self.strict,
            self.gzip_wanted(),
        )

    def gzip_wanted(self) -> bool:
        """Whether a body of some length is to be compressed."""
        return negotiation.gzip_wanted(self.request.fields(b"accept-encoding"))


_SUFFIXES = {negotiation.VENDOR_TYPE: "v", negotiation.XML_TYPE: "x"}


# --- the operations ---------------------------------------------------------------------------------------


def subaccounts(connection: Connection, asked: Asked) -> Reply:
    """GET …/subaccounts. Clause 3.1."""
    _refuse_unknown_parameters(asked)
    return _unless_known(
        asked,
        lambda: messages.write_subaccounts(reads.subaccounts(connection, asked.customer_id)),
        asked.caller.revision,
    )


def current_mappings(connection: Connection, asked: Asked) -> Reply:
    """GET …/contractSubaccountMappings. Clauses 3.2.3, 3.2.4."""
    query = queries.read_query(asked.parameters, strict=asked.strict)

    def body() -> bytes:
        total, page = _total_and_page(connection, asked, query)
        return messages.write_mappings(page, total)

    return _unless_known(asked, body, asked.caller.revision)


def _total_and_page(connection: Connection, asked: Asked, query: Query) -> tuple[int, list[SubaccountMapping]]:
    """What a query finds, with what is remembered of this state: its total, and where the page before ended."""
    state = asked.customer_id, asked.caller.revision, replace(query, start=0, limit=0)
    total = asked.remembered.totals.recall(state)
    if total is None:
        total = reads.total(connection, asked.customer_id, query)
        asked.remembered.totals.keep(state, total)
    if query.start >= total:
        return total, []
    page = reads.page(connection, asked.customer_id, query, asked.remembered.places.recall((state, query.start)))
    end = query.start + sum(len(mapping.versions) for mapping in page)
    last = page[-1]
    asked.remembered.places.keep((state, end), Place(last.contract.contract_id, month_of(last.versions[-1].begin)))
    return total, page


def mapping_history(connection: Connection, asked: Asked) -> Reply:
    """GET …/contractSubaccountMappings/{contractId}. Clause 3.3. Readings 44, 45."""
    _refuse_unknown_parameters(asked)
    if not reads.has_contract(connection, asked.customer_id, asked.contract_id):
        raise Refusal.of(NO_CONTRACT, customer_id=asked.customer_id, contract_id=asked.contract_id)

    def body() -> bytes:
        return messages.write_mapping(reads.mapping_history(connection, asked.customer_id, asked.contract_id))

    return _unless_known(asked, body, asked.caller.revision)


def update_mappings(connection: Connection, asked: Asked, update: Update, clock: Callable[[], datetime]) -> Reply:
    """POST …/contractSubaccountMappings, in a transaction that ends with it. Clauses 3.2.3, 3.2.5. Reading 41."""
    revision = writes.lock(connection, asked.customer_id)
    # Body and lock may have taken their time: the caller may do what they may do now.
    asked.caller.again(connection, asked.customer_id)
    standing = reads.standing(connection, asked.customer_id, (mapping.contract_id for mapping in update))
    faults = Faults()
    outcome = mappings.update(standing, update, clock(), faults)
    faults.refuse()
    if not negotiation.match_revision(asked.request.fields(b"if-match"), revision):
        raise Refusal.of(OVERTAKEN)
    if outcome.new:
        revision = writes.add_versions(connection, asked.customer_id, outcome.new)
        asked.request.versions_created = len(outcome.new)
    return asked.answer(messages.write_mappings(outcome.reply), revision)


def schema(_connection: Connection, asked: Asked) -> Reply:
    """GET of the published schema, for anyone with the role."""
    return _unless_known(asked, lambda: messages.SCHEMA, _SCHEMA_REVISION)


_SCHEMA_REVISION = hashlib.sha256(messages.SCHEMA).hexdigest()[:32]


def _unless_known(asked: Asked, body: Callable[[], bytes], revision: str) -> Reply:
    """The answer with *body*; or 304, for which no body is made, where the client has it. Reading 57."""
    return _not_modified(asked, revision) or asked.answer(body(), revision)


def _not_modified(asked: Asked, revision: str) -> Reply | None:
    """304, where the client has what it asks for. Reading 57."""
    known = asked.request.fields(b"if-none-match")
    etag = asked.etag(revision)
    # Whether the body would be long enough to be compressed is not known before it is made: either tag serves.
    for tag in (etag, _gzip_tag(etag)) if asked.gzip_wanted() else (etag,):
        if negotiation.none_match(known, tag):
            return Reply(304, headers=asked.headers(tag))
    return None


def _refuse_unknown_parameters(asked: Asked) -> None:
    if asked.strict:
        queries.refuse_unknown(asked.parameters)


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


def _route(raw_path: bytes) -> tuple[Route | None, int, int]:
    """The route of a path, None where it names no resource, with the customer's and the contract's id in it."""
    segments = negotiation.path_segments(raw_path) or ()
    for route in ROUTES:
        ids = route.ids(segments)
        if ids is not None:
            customer_id, contract_id = [*ids, _NO_ID, _NO_ID][:2]
            return route, customer_id, contract_id
    return None, _NO_ID, _NO_ID


# --- the application --------------------------------------------------------------------------------------


class Application:
    """
    The ASGI application over *database*; *clock* is that of version times, in UTC and whole seconds.

    Handlers run in threads, readers and updates apart: an update waits for its turn and must not keep a
    reader from its own.
    """

    def __init__(
        self, database: Database, limits: Limits, clock: Callable[[], datetime], remember: int = REMEMBER
    ) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock
        self._remembered = Remembered(remember)
        self.metrics = Metrics()
        self._readers = ThreadPoolExecutor(_READING_THREADS, "reader")
        self._updaters = ThreadPoolExecutor(_UPDATING_THREADS, "updater")

    def close(self) -> None:
        """Ends the threads, when their work is done."""
        self._readers.shutdown()
        self._updaters.shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, logs it in one line, and counts it."""
        began = time.perf_counter()
        request = Request.of(scope)
        try:
            reply = await self._reply(request, receive)
        except ClientGone:
            request.known["why"] = "the request never became whole"
            _log(request, began, None)
            return
        headers = [*reply.headers, *ALWAYS, ("x-request-id", request.request_id)]
        if request.fields(b"expect") and not request.body_asked:
            headers.append(("connection", "close"))  # whether a body still comes, nobody knows: RFC 9110 10.1.1
        if reply.status not in (204, 304):
            headers.append(("content-length", str(len(reply.body))))
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
        await send({"type": "http.response.body", "body": reply.body})
        self._count(request, began, reply)
        _log(request, began, reply)

    def _count(self, request: Request, began: float, reply: Reply) -> None:
        self.metrics.answered(request.operation, reply.status, time.perf_counter() - began)
        if request.refusal:
            self.metrics.refused(request.refusal.faults)
        elif request.versions_created:
            self.metrics.updated(request.versions_created)

    async def _reply(self, request: Request, receive: Receive) -> Reply:
        run = asyncio.get_running_loop().run_in_executor
        try:
            if request.method != "POST":
                return await run(self._readers, self._read, request)
            asked = await run(self._readers, self._admitted, request)
            request.body_asked = True
            body = await self._body(receive)
            return await run(self._updaters, self._update, asked, body)
        except Refusal as refusal:
            return _refused(request, refusal)
        except Unavailable as unavailable:
            return _refused(request, _unavailable(unavailable), why=str(unavailable))
        except ClientGone:
            raise
        except Exception:
            log.exception("unforeseen", id=request.request_id)
            return _refused(request, Refusal.of(UNFORESEEN, request_id=request.request_id))

    def _read(self, request: Request) -> Reply:
        with self._database.reading() as connection:
            asked = self._admit(connection, request)
            if request.method == "OPTIONS":
                return Reply(204, headers=(("allow", asked.route.allow),))
            question = asked.question
            reply = self._remembered.answers.recall(question)
            if reply is not None:
                return _not_modified(asked, asked.caller.revision) or reply
            reply = _compressed(asked, asked.route.read(connection, asked))
            if reply.status == 200 and asked.route.of_customer:
                self._remembered.answers.keep(question, reply, len(reply.body) + _COST_OF_AN_ANSWER)
            return reply

    def _admitted(self, request: Request) -> Asked:
        with self._database.reading() as connection:
            return self._admit(connection, request)

    def _update(self, asked: Asked, body: bytes) -> Reply:
        _refuse_unknown_parameters(asked)
        update = messages.read_update(body)
        with self._database.updating() as connection:
            reply = update_mappings(connection, asked, update, self._clock)
        return _compressed(asked, reply)

    def _admit(self, connection: Connection, request: Request) -> Asked:
        """What is asked, when all that the head can decide is decided, in the order of reading 7."""
        route, customer_id, contract_id = _route(request.raw_path)
        if route and request.method in route.methods:
            request.operation = route.operation(request.method)
        if request.certificate is not None:
            request.certificate.refuse_expired(datetime.now(UTC))
        caller = access.caller(connection, request.certificate, customer_id)
        request.known["user"] = caller.user_name
        self.metrics.note_client_certificate(caller.user_name, caller.certificate.not_after)
        if route is None:
            raise Refusal.of(NO_RESOURCE, path=quoted(request.raw_path.decode("latin-1")))
        if request.method not in route.methods:
            headers = {"allow": route.allow}
            raise Refusal.of(METHOD, method=quoted(request.method), allow=route.allow, headers=headers)
        if request.method == "OPTIONS":
            return Asked(route, caller, customer_id, contract_id, request)
        if route.of_customer:
            request.known["customer"] = customer_id
            caller.refuse_other_customer(customer_id)
        if request.method == "POST":
            _refuse_cross_site(request)
        media_type = route.media_type or negotiation.media_type(request.fields(b"accept"))
        if request.method == "POST":
            negotiation.refuse_other_content(request.fields(b"content-type"), request.fields(b"content-encoding"))
            self._refuse_longer_body(int((request.fields(b"content-length") or ["0"])[0]))
        return Asked(
            route,
            caller,
            customer_id,
            contract_id,
            request,
            media_type,
            negotiation.parameters(request.query_string),
            strict=negotiation.strict(request.fields(b"prefer")),
            remembered=self._remembered,
        )

    async def _body(self, receive: Receive) -> bytes:
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += message["body"]
            self._refuse_longer_body(len(body))
            more = message["more_body"]
        return bytes(body)

    def _refuse_longer_body(self, length: int) -> None:
        if length > self._limits.body:
            raise Refusal.of(limits.BODY, limit=self._limits.body)


def _refuse_cross_site(request: Request) -> None:
    """Refuses an update that another site's page sends: browsers add the client's certificate by themselves."""
    own = [f"https://{host.lower()}" for host in request.fields(b"host")]
    origins = [origin.lower() for origin in request.fields(b"origin")]
    sites = [site.lower() for site in request.fields(b"sec-fetch-site")]
    if any(origin not in own for origin in origins) or any(site not in ("same-origin", "none") for site in sites):
        raise Refusal.of(OTHER_SITE)


def _compressed(asked: Asked, reply: Reply) -> Reply:
    """*reply* with its body in gzip, under a tag of its own, where that is asked for and worth it. RFC 9110 8.4."""
    if len(reply.body) <= _WORTH_COMPRESSING or not asked.gzip_wanted():
        return reply
    headers = [(name, _gzip_tag(value) if name == "etag" else value) for name, value in reply.headers]
    body = gzip.compress(reply.body, compresslevel=1, mtime=0)
    return Reply(reply.status, body, (*headers, ("content-encoding", "gzip")))


def _gzip_tag(etag: str) -> str:
    return f'{etag[:-1]}z"'


def _refused(request: Request, refusal: Refusal, why: str | None = None) -> Reply:
    """The answer that refuses; the log gets the rule and *why*, the first line where nothing else is given."""
    request.refusal = refusal
    request.known |= {"rule": refusal.rule, "why": why or refusal.text.partition("\n")[0]}
    if refusal.status == 403 and request.certificate:
        request.known |= request.certificate.names()
    fields = {"content-type": TEXT_TYPE, "cache-control": "no-store", **refusal.headers}
    return Reply(refusal.status, f"{refusal.text}\n".encode(), tuple(fields.items()))


def _unavailable(unavailable: Unavailable) -> Refusal:
    rule = OUTCOME_UNKNOWN if unavailable.outcome_unknown else UNAVAILABLE
    return Refusal.of(rule, headers={"retry-after": _RETRY_AFTER_SECONDS})


def _log(request: Request, began: float, reply: Reply | None) -> None:
    level = log.error if reply and reply.status >= 500 else log.info
    level(
        "request",
        id=request.request_id,
        **request.known,
        method=request.method,
        path=request.raw_path.decode("latin-1"),
        status=reply.status if reply else None,
        bytes=len(reply.body) if reply and request.method != "HEAD" else 0,
        milliseconds=round((time.perf_counter() - began) * 1000, 3),
    )
