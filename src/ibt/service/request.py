"""
A request: its head, and what becomes known of it.

Clauses 1.2, 2.1.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ibt.service import access, negotiation
from ibt.service.metrics import NO_OPERATION
from ibt.store.audit import Deed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from ibt.rules.faults import Refusal

    Scope = Mapping[str, Any]  # Any: as ASGI has it

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Head:
    """What the fields of a head say, and who sent them: most requests of a connection have the same one."""

    headers: Mapping[bytes, Sequence[str]]
    certificate: access.Certificate | None
    address: str = ""
    untrusted: bool = False  # the certificate, as a proxy hands it on
    request_id: str = ""  # where the client gives one

    @classmethod
    def of(cls, scope: Scope) -> Head:
        """The head in an ASGI scope."""
        tls = scope.get("extensions", {}).get("tls", {})
        chain = tls.get("client_cert_chain", ())
        headers: dict[bytes, tuple[str, ...]] = {}
        for name, value in scope["headers"]:
            headers[name] = (*headers.get(name, ()), value.decode("latin-1"))
        given = headers.get(b"x-request-id", ())
        return cls(
            headers,
            access.read_certificate(chain[0]) if chain else None,
            (scope.get("client") or ("",))[0],
            "client_cert_error" in tls,
            given[0] if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else "",
        )

    def fields(self, name: bytes) -> Sequence[str]:
        """The values of all header fields of this name, which is in lower case, in their order."""
        return self.headers.get(name, ())

    @cached_property
    def media_type(self) -> str:
        """The Content-Type of the answer; refuses with 406 where none is acceptable. Reading 5."""
        return negotiation.media_type(self.fields(b"accept"))

    @cached_property
    def strict(self) -> bool:
        """Whether unknown parameters are to be refused. Reading 15."""
        return negotiation.strict(self.fields(b"prefer"))

    @cached_property
    def gzip_wanted(self) -> bool:
        """Whether a body of some length is to be compressed."""
        return negotiation.gzip_wanted(self.fields(b"accept-encoding"))


@dataclass(slots=True)
class Request:
    """What is asked, and what becomes known of it for the log and the metrics."""

    head: Head
    method: str
    raw_path: bytes
    query_string: bytes
    request_id: str = ""  # one of our own where the client gives none
    body_asked: bool = False
    body_sha256: str = ""
    admitted_to: int | None = None  # the customer, when the caller has the role there
    operation: str = NO_OPERATION
    versions_created: int = 0
    refusal: Refusal | None = None
    known: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.request_id = self.head.request_id or secrets.token_hex(8)

    @classmethod
    def of(cls, scope: Scope) -> Request:
        """The request of an ASGI scope."""
        return cls(Head.of(scope), scope["method"], scope["raw_path"], scope["query_string"])

    def deed(self, kind: str, time: datetime, status: int, detail: str = "") -> Deed:
        """What the audit tells of this request, a POST by a caller with the role."""
        certificate = self.head.certificate
        assert certificate is not None, "who has the role came with one"  # noqa: S101 - for the type
        return Deed(
            kind=kind,
            time=time,
            user_name=str(self.known["user"]),
            subject=certificate.subject,
            serial=certificate.serial,
            fingerprint=certificate.fingerprint,
            address=self.head.address,
            request_id=self.request_id,
            status=status,
            body_sha256=self.body_sha256,
            detail=detail,
        )
