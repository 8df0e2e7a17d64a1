"""What is said when a command does not come to its end, and with which exit status: sentences, never a trace."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ibt.client import (
    CertificateFailed,
    ClientError,
    ConnectionFailed,
    OutcomeUnknown,
    Refused,
    ServerFailed,
    StateChanged,
)
from ibt.client.doctor import fix_of

_REFUSED, _USAGE, _SERVER_REFUSED, _SERVER_FAILED, _CONNECTION, _INTERRUPTED, _NO_READER = 1, 2, 4, 5, 6, 130, 141

_STATUSES = (
    (StateChanged, _REFUSED),
    (Refused, _SERVER_REFUSED),
    (ServerFailed, _SERVER_FAILED),
    (ConnectionFailed, _CONNECTION),
)


class Unusable(ValueError):
    """The command cannot be used so: one sentence a line."""


@contextmanager
def failures_told() -> Iterator[None]:
    """Tells on stderr what a block fails with, and ends with its exit status."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here, where a pipe that nobody reads any more can still be told of
    except ClientError as error:
        _end(_status(error), _sentence(error))
    except ValueError as error:  # what is asked for cannot be asked for: of the client, of the profiles
        _end(_USAGE, str(error))
    except BrokenPipeError:
        # Whoever reads has enough; what Python would still write at its end has no place to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(_NO_READER) from None
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _end(_USAGE, f"{place}{error.strerror or 'the system does not say why'}")
    except (KeyboardInterrupt, typer.Abort):
        _end(_INTERRUPTED, "Interrupted.")


def _status(error: ClientError) -> int:
    if isinstance(error, OutcomeUnknown):
        return _CONNECTION if isinstance(error.__cause__, ConnectionFailed) else _SERVER_FAILED
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


def _sentence(error: ClientError) -> str:
    said = str(error)
    if isinstance(error, CertificateFailed):
        return f"{whole(said)}\nFix: {whole(fix_of(error))}"
    return said if error.request_id is None else f"{said}\nThe service calls this request {error.request_id}."


def _end(status: int, text: str) -> None:
    first, *rest = text.splitlines() or [""]
    typer.echo("\n".join([whole(first), *rest]), err=True)
    raise typer.Exit(status) from None


def whole(sentence: str) -> str:
    """*sentence* with a point at its end, unless it ends with a sign of its own."""
    return sentence if sentence.endswith((".", "?", ":", "!", ")")) else f"{sentence}."
