"""
ISO New England's Internal Bilateral Transactions (IBT) web services, version 1.0 of the specification.

    from ibt import Client, Month

    with Client(url, "me.pem", ca="ca.pem", customer=1) as client:
        for mapping in client.mappings(start_date=Month("2015-08")):
            client.update([mapping.with_subaccount(Month("2015-08"), "ABC1")])

The names are imported when they are first used: the service does not pay for the client, nor the client for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ibt.client import (
        AsyncClient,
        CertificateFailed,
        Client,
        ClientError,
        ConnectionFailed,
        OutcomeUnknown,
        Refused,
        ServerFailed,
        StateChanged,
        Wish,
    )
    from ibt.rules.model import Category, Month

__version__ = "0.1.0"

SPECIFICATION = "1.0"

__all__ = [
    "SPECIFICATION",
    "AsyncClient",
    "Category",
    "CertificateFailed",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "Month",
    "OutcomeUnknown",
    "Refused",
    "ServerFailed",
    "StateChanged",
    "Wish",
    "__version__",
]

_OF_THE_RULES = {"Category", "Month"}


def __getattr__(name: str) -> object:
    """A public name, on its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'ibt' has no attribute {name!r}")
    return getattr(import_module("ibt.rules.model" if name in _OF_THE_RULES else "ibt.client"), name)


def __dir__() -> list[str]:
    return __all__
