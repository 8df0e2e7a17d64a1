"""
The other side: a Market Participant's client, with plan, apply and undo.

`Client` and `AsyncClient` ask a service; their values are those of `ibt.rules.model`. Plans and receipts are values
too, that `write_plan` and `write_receipt` turn to JSON. Everything that goes wrong is a ClientError.
"""

from ibt.client.certificate import Identity, read_identity, tls_context
from ibt.client.client import AsyncClient, AsyncMappings, Client, Mappings, base_url
from ibt.client.documents import NotTheDocument, read_plan, read_receipt, write_plan, write_receipt
from ibt.client.exceptions import (
    CertificateFailed,
    ClientError,
    ConnectionFailed,
    OutcomeUnknown,
    Refused,
    ServerFailed,
    StateChanged,
)
from ibt.client.exchange import Reply, Request
from ibt.client.filters import Filters
from ibt.client.plan import Change, Plan, Receipt, Step, Wish, months, read_months
from ibt.client.rows import COLUMNS, rows, to_frame

__all__ = [
    "COLUMNS",
    "AsyncClient",
    "AsyncMappings",
    "CertificateFailed",
    "Change",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "Filters",
    "Identity",
    "Mappings",
    "NotTheDocument",
    "OutcomeUnknown",
    "Plan",
    "Receipt",
    "Refused",
    "Reply",
    "Request",
    "ServerFailed",
    "StateChanged",
    "Step",
    "Wish",
    "base_url",
    "months",
    "read_identity",
    "read_months",
    "read_plan",
    "read_receipt",
    "rows",
    "tls_context",
    "to_frame",
    "write_plan",
    "write_receipt",
]
