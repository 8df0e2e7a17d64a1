"""
What can come of a request instead of its answer. Each says in its text what happened and what to do.

`Refused`: the service said no (4xx). `ServerFailed`: it failed, or what answered is no IBT service.
`ConnectionFailed`, `CertificateFailed`: it was not reached, or one side does not trust the other.
`StateChanged`: someone else changed the customer's data meanwhile. `OutcomeUnknown`: an update was sent, and nobody
can say whether it was made.
"""

from __future__ import annotations


class ClientError(Exception):
    """Any of them; *request_id* is what the service's log has, where there was an answer."""

    def __init__(self, text: str, *, request_id: str | None = None) -> None:
        super().__init__(text)
        self.request_id = request_id


class Refused(ClientError):
    """The service refused the request: *status*, and *faults*, one line for each. Clause 2.1."""

    def __init__(self, status: int, faults: tuple[str, ...], *, request_id: str | None = None) -> None:
        super().__init__("\n".join((f"The service refused this ({status}):", *faults)), request_id=request_id)
        self.status = status
        self.faults = faults


class ServerFailed(ClientError):
    """The service failed (5xx), or answered something else than the specification says; *status* is the answer's."""

    def __init__(self, text: str, *, status: int, request_id: str | None = None) -> None:
        super().__init__(text, request_id=request_id)
        self.status = status


class ConnectionFailed(ClientError):
    """There was no answer, or none that was whole; *sent*: whether the service may have got the request."""

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.sent = sent


class CertificateFailed(ConnectionFailed):
    """The user's certificate cannot be used, or one side does not trust the other's; nothing was sent."""

    def __init__(self, text: str) -> None:
        super().__init__(text, sent=False)


class StateChanged(ClientError):
    """The customer's data are no longer as they were read: nothing was changed by this client."""


class OutcomeUnknown(ClientError):
    """An update was sent, its answer was lost, and whether it was made is not known: read before sending again."""
