"""
The resources: what each operation answers, from the question that was found good to the bytes of its answer.

The work is done in threads, on one snapshot of the database or in one transaction. This is the only module
that knows both what is stored and how it is written.

Clauses 3.1, 3.2, 3.3. Readings 41, 44, 45, 49, 57.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ibt import messages
from ibt.rules import mappings, queries
from ibt.rules.faults import Faults, Refusal, Rule
from ibt.rules.periods import month_of
from ibt.service import access, negotiation
from ibt.service.memory import Memory
from ibt.service.metrics import NO_OPERATION
from ibt.store import reads, writes
from ibt.store.reads import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from ibt.rules.model import SubaccountMapping, Update
    from ibt.rules.queries import Query
    from ibt.service.app import Route, Scope

#: Answers of more bytes than this are compressed for those who ask for it.
_WORTH_COMPRESSING = 1024

#: Of how many queries a process remembers the total, and of how many pages where they ended.
_REMEMBERED_QUERIES = 4096
_REMEMBERED_PLACES = 65_536

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

    def compressed(self, reply: Reply) -> Reply:
        """*reply* with its body in gzip, under its own tag, where that is asked for and worth it. RFC 9110 8.4."""
        if len(reply.body) <= _WORTH_COMPRESSING or not self.gzip_wanted():
            return reply
        headers = [(name, _gzip_tag(value) if name == "etag" else value) for name, value in reply.headers]
        body = gzip.compress(reply.body, compresslevel=1, mtime=0)
        return Reply(reply.status, body, (*headers, ("content-encoding", "gzip")))

    def not_modified(self, revision: str) -> Reply | None:
        """304, where the client has what it asks for. Reading 57."""
        known = self.request.fields(b"if-none-match")
        etag = self.etag(revision)
        # Whether the body would be long enough to be compressed is not known before it is made: either tag serves.
        for tag in (etag, _gzip_tag(etag)) if self.gzip_wanted() else (etag,):
            if negotiation.none_match(known, tag):
                return Reply(304, headers=self.headers(tag))
        return None


_SUFFIXES = {negotiation.VENDOR_TYPE: "v", negotiation.XML_TYPE: "x"}


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


def read_update(asked: Asked, body: bytes) -> Update:
    """What the body of a POST asks for; refuses with 400 what is no valid message. Clause 3.2.4."""
    _refuse_unknown_parameters(asked)
    return messages.read_update(body)


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
    return asked.not_modified(revision) or asked.answer(body(), revision)


def _refuse_unknown_parameters(asked: Asked) -> None:
    if asked.strict:
        queries.refuse_unknown(asked.parameters)


def _gzip_tag(etag: str) -> str:
    return f'{etag[:-1]}z"'
