"""
The service: from a request to its answer, in one straight line.

An ASGI application. What the head of a request decides is decided before its body is read, in the order of
reading 7; then one of `ibt.service.resources` answers. Here a refusal becomes an answer; what the HTTP layer refuses
never comes here.

Clauses 2.1, 2.2. Readings 1-7, 48, 50, 54, 60.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ibt.rules.faults import Refusal, Rule, quoted
from ibt.service import access, allocation, limits, negotiation, proxy, resources
from ibt.service.log import log, log_answered
from ibt.service.memory import REMEMBER
from ibt.service.metrics import Metrics
from ibt.service.request import Request
from ibt.service.resources import Asked, Remembered, Reply
from ibt.service.revocation import Revocation
from ibt.store import Unavailable, audit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy import Connection

    from ibt.service.limits import Limits
    from ibt.service.request import Scope
    from ibt.store import Database

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]
    SendAtOnce = Callable[[int, Sequence[tuple[bytes, bytes]], bytes], None]

TEXT_TYPE = "text/plain;charset=UTF-8"

#: What every answer says, also those that the HTTP layer makes itself.
ALWAYS = (
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
)

#: What keeping an answer takes beside its body and what was asked for, in bytes.
_COST_OF_AN_ANSWER = 1024

_RETRY_AFTER_SECONDS = "1"

#: The statuses of refused updates that the audit tells of: whatever is refused earlier, the log alone has.
_REFUSED_UPDATES = (400, 412)

#: How often an answer is read in vain, as the state changed meanwhile, before a transaction is begun.
_LOOKS = 3

#: Few: they take Python's lock from each other. A page of 1,000 on SQLite took 6.2 ms of the processor with four and
#: 5.3 with two, a page of 25 on a PostgreSQL of the same machine 0.95 and 0.60.
_READING_THREADS = 2

#: As many as wait for their turn at once; those beyond wait for a thread.
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
OTHER_SITE = Rule(
    "other-site",
    "This update was sent by the page of another site: send it from this service's own pages, or from a program that "
    "sends neither Origin nor Sec-Fetch-Site",
    "RFC 6454 7.3",
    403,
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


class Application:
    """
    The ASGI application over *database*; *clock* is that of version times, in UTC and whole seconds. It goes by the
    lists of revoked certificates that *revocation* has.

    What takes no longer than to hand it to a thread is answered at once: a database within this process is not
    waited for. The rest is done in threads, readers and updates apart: an update waits for its turn and must not
    keep a reader from its own.
    """

    def __init__(
        self,
        database: Database,
        limits: Limits,
        clock: Callable[[], datetime],
        remember: int = REMEMBER,
        revocation: Revocation | None = None,
    ) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock
        self._remembered = Remembered(remember)
        self.revocation = revocation or Revocation()
        self._reminder = access.Reminder()
        self.metrics = Metrics()
        self._readers = self.metrics.threads("reading", _READING_THREADS)
        self._updaters = self.metrics.threads("updating", _UPDATING_THREADS)

    def measure(self) -> None:
        """Notes what changes without a request: this process' memory, and its connections to the database."""
        self.metrics.note_memory()
        self.metrics.note_database(self._database.connections())

    def close(self) -> None:
        """Ends the threads, when their work is done."""
        self._readers.shutdown()
        self._updaters.shutdown()

    def at_once(self, request: Request, send: SendAtOnce) -> bool:
        """
        Answers a request that has no body as `__call__` does, if that takes no longer than to hand it to a thread.

        Blocks. False where it was not answered.
        """
        if not self._database.sqlite:
            return False
        began = time.perf_counter()
        try:
            reply = self._read(request, at_once=True)
        except resources.TakesLonger:
            return False
        except Exception as error:
            reply = self._failed(request, error)
        send(reply.status, _fields(request, reply), reply.body)
        self._count(request, began, reply)
        _log(request, began, reply)
        return True

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
        fields = _fields(request, reply)
        await send({"type": "http.response.start", "status": reply.status, "headers": fields})
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
            asked = (
                self._admitted(request)
                if self._database.sqlite
                else await run(self._readers, self._admitted, request)
            )
            asked.parameters()  # what is wrong with them is told before the body is asked for
            request.body_asked = True
            body = await self._body(receive)
            return await run(self._updaters, self._update, asked, body)
        except ClientGone:
            raise
        except Exception as error:
            refusal = error if isinstance(error, Refusal) else None
            if refusal and request.admitted_to is not None and refusal.status in _REFUSED_UPDATES:
                await run(self._updaters, self._tell_audit, request, request.admitted_to, refusal)
            return self._failed(request, error)

    @staticmethod
    def _failed(request: Request, error: Exception) -> Reply:
        """The answer to a request that was refused, or could not be done."""
        if isinstance(error, Refusal):
            return _refused(request, error)
        if isinstance(error, Unavailable):
            return _refused(request, _unavailable(error), why=str(error))
        log.error("unforeseen", id=request.request_id, exc_info=error)
        return _refused(request, Refusal.of(UNFORESEEN, request_id=request.request_id))

    def _read(self, request: Request, *, at_once: bool = False) -> Reply:
        # A transaction is begun and ended for few: what was read between two looks at the same revision is of that
        # one, and what is at hand needs one look.
        for _ in range(_LOOKS):
            with self._database.asking() as connection:
                asked = self._admit(connection, request, at_once=at_once)
                if at_hand := self._at_hand(asked):
                    return at_hand
                reply = self._made(connection, asked)
                if reply.status != 200 or asked.caller.sees_the_same(connection):
                    return self._kept(asked, reply)
        with self._database.reading() as connection:
            # What the looks left in the memory may be of the next state.
            asked = replace(self._admit(connection, request, at_once=at_once), remembered=Remembered(0))
            return self._made(connection, asked)

    def _at_hand(self, asked: Asked) -> Reply | None:
        """The answer for which nothing is read: to OPTIONS, or to the same question on the same state as before."""
        if asked.request.method == "OPTIONS":
            return Reply(204, headers=(("allow", asked.route.allow),))
        reply = self._remembered.answers.recall(asked.question)
        return reply and (asked.not_modified(asked.caller.revision) or reply)

    @staticmethod
    def _made(connection: Connection, asked: Asked) -> Reply:
        return asked.compressed(asked.route.read(connection, asked))

    def _kept(self, asked: Asked, reply: Reply) -> Reply:
        if reply.status == 200 and asked.route.of_customer:
            asked_for = len(asked.request.raw_path) + len(asked.request.query_string)
            self._remembered.answers.keep(asked.question, reply, len(reply.body) + asked_for + _COST_OF_AN_ANSWER)
        return reply

    def _admitted(self, request: Request) -> Asked:
        with self._database.asking() as connection:
            return self._admit(connection, request)

    def _update(self, asked: Asked, body: bytes) -> Reply:
        self._judge(asked.caller.certificate)  # again: a body may take its time
        asked.request.body_sha256 = hashlib.sha256(body).hexdigest()
        try:
            update = resources.read_update(asked, body)
        finally:
            if len(body) > allocation.LARGE:
                allocation.give_back()
        with self._database.updating() as connection:
            reply = resources.update_mappings(connection, asked, update, self._clock)
        return asked.compressed(reply)

    def _tell_audit(self, request: Request, customer_id: int, refusal: Refusal) -> None:
        """
        Leaves a row of a refused update, in a transaction of its own.

        Where that cannot be, the refusal stands: nothing was changed, and the log has both.
        """
        try:
            deed = request.deed("refusal", self._clock(), refusal.status, refusal.text.partition("\n")[0])
            with self._database.updating() as connection:
                audit.append(connection, customer_id, deed)
        except Unavailable as unavailable:
            log.error("refusal not in the audit", id=request.request_id, why=str(unavailable))
        except Exception:
            log.exception("refusal not in the audit", id=request.request_id)

    def _admit(self, connection: Connection, request: Request, *, at_once: bool = False) -> Asked:
        """What is asked, when all that the head can decide is decided, in the order of reading 7."""
        route, customer_id, contract_id = resources.route_of(request.raw_path)
        if route and request.method in route.methods:
            request.operation = route.operation(request.method)
        if request.head.certificate is not None:
            self._judge(request.head.certificate)
            if request.head.untrusted:
                raise Refusal.of(proxy.UNTRUSTED, certificate=request.head.certificate)
        caller = access.lasting_caller(connection, request.head.certificate, customer_id)
        request.known["user"] = caller.user_name
        self.metrics.note_client_certificate(caller.user_name, caller.certificate.not_after)
        self._reminder.note(caller, datetime.now(UTC))
        if route is None:
            raise Refusal.of(NO_RESOURCE, path=quoted(request.raw_path.decode("latin-1")))
        if request.method not in route.methods:
            headers = {"allow": route.allow}
            raise Refusal.of(METHOD, method=quoted(request.method), allow=route.allow, headers=headers)
        if request.method == "OPTIONS":
            return Asked(route, caller, customer_id, contract_id, request)
        if route.of_customer:
            request.known["customer"] = customer_id
            caller.refuse_other_customer()
        if request.method == "POST":
            request.admitted_to = customer_id
            _refuse_cross_site(request)
        media_type = route.media_type or request.head.media_type
        if request.method == "POST":
            negotiation.refuse_other_content(
                request.head.fields(b"content-type"), request.head.fields(b"content-encoding")
            )
            self._refuse_longer_body(int((request.head.fields(b"content-length") or ["0"])[0]))
        return Asked(
            route,
            caller,
            customer_id,
            contract_id,
            request,
            media_type,
            remembered=self._remembered,
            at_once=at_once,
        )

    def _judge(self, certificate: access.Certificate) -> None:
        """Refuses what neither the handshake nor the database knows of: its end, and the lists of revoked ones."""
        now = datetime.now(UTC)  # the real one, whatever clock the versions have
        certificate.refuse_expired(now)
        self.revocation.refuse(certificate, now)

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
    own = [f"https://{host.lower()}" for host in request.head.fields(b"host")]
    origins = [origin.lower() for origin in request.head.fields(b"origin")]
    sites = [site.lower() for site in request.head.fields(b"sec-fetch-site")]
    if any(origin not in own for origin in origins) or any(site not in ("same-origin", "none") for site in sites):
        raise Refusal.of(OTHER_SITE)


def _fields(request: Request, reply: Reply) -> list[tuple[bytes, bytes]]:
    """The header of an answer, as it is sent."""
    fields = [*_encoded(reply.headers), (b"x-request-id", request.request_id.encode("ascii"))]
    if request.head.fields(b"expect") and not request.body_asked:
        fields.append((b"connection", b"close"))  # whether a body still comes, nobody knows: RFC 9110 10.1.1
    if reply.status not in (204, 304):
        fields.append((b"content-length", b"%d" % len(reply.body)))
    return fields


@lru_cache(maxsize=1024)
def _encoded(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple([(name.encode("ascii"), value.encode("latin-1")) for name, value in (*headers, *ALWAYS)])


def _refused(request: Request, refusal: Refusal, why: str | None = None) -> Reply:
    """The answer that refuses; the log gets the rule and *why*, the first line where nothing else is given."""
    request.refusal = refusal
    request.known |= {"rule": refusal.rule, "why": why or refusal.text.partition("\n")[0]}
    if refusal.status == 403 and request.head.certificate:
        request.known |= request.head.certificate.names()
    fields = {"content-type": TEXT_TYPE, "cache-control": "no-store", **refusal.headers}
    return Reply(refusal.status, f"{refusal.text}\n".encode(), tuple(fields.items()))


def _unavailable(unavailable: Unavailable) -> Refusal:
    rule = OUTCOME_UNKNOWN if unavailable.outcome_unknown else UNAVAILABLE
    return Refusal.of(rule, headers={"retry-after": _RETRY_AFTER_SECONDS})


def _log(request: Request, began: float, reply: Reply | None) -> None:
    log_answered(
        "error" if reply and reply.status >= 500 else "info",
        {
            "id": request.request_id,
            "address": request.head.address,
            **request.known,
            "method": request.method,
            "path": request.raw_path.decode("latin-1"),
            "status": reply.status if reply else None,
            "bytes": len(reply.body) if reply and request.method != "HEAD" else 0,
            "milliseconds": round((time.perf_counter() - began) * 1000, 3),
        },
    )
