"""From the options of a command to a client that asks: the profile, the password, what --verbose shows."""

from __future__ import annotations

import os
import shlex
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import typer

from ibt.cli.failures import Unusable
from ibt.client import CertificateFailed, Client, Reply, base_url, read_identity
from ibt.client.profiles import Profile, profiles_file, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ibt.cli.options import Asked
    from ibt.client import ConnectionFailed, Request

#: So much of a body is shown, in characters.
_MOST_SHOWN = 4000

_HIDDEN = "***"

_LACKING = "{}, or make a profile: ibt profile add --help shows how."


def profile_of(asked: Asked) -> Profile:
    """What the options, the environment and the profile say together."""
    options = Profile(asked.url, asked.certificate, asked.key, asked.password, asked.ca, asked.customer)
    return settled(options, asked.profile, os.environ, profiles_file())


def client_of(profile: Profile, *, verbose: bool, customer: int | None = None) -> Client:
    """
    A client of what *profile* says; *customer* is whose data where that does not say.

    Raises Unusable where something is not said, and what the Client raises.
    """
    if profile.customer is None:
        profile = Profile(customer=customer).over(profile)
    if profile.url is None:
        raise Unusable(_LACKING.format("Which service? Give --url, or set IBT_URL"))
    if profile.certificate is None:
        raise Unusable(_LACKING.format("Who asks? Give --certificate, or set IBT_CERTIFICATE"))
    if profile.customer is None:
        raise Unusable(_LACKING.format("Whose data? Give --customer, or set IBT_CUSTOMER"))
    password = profile.password
    if password is None and sys.stdin.isatty() and needs_password(profile.certificate, profile.key):
        password = typer.prompt(f"The password of {profile.key or profile.certificate}", hide_input=True, err=True)
    watch = _told(replace(profile, password=password), base_url(profile.url)) if verbose else None
    who = (profile.certificate, profile.key, password, profile.ca, profile.customer)
    return Client(profile.url, *who, sleep=_patient, watch=watch)


def _patient(seconds: float) -> None:
    """Waits, and says so on a terminal."""
    if sys.stderr.isatty():
        typer.echo(f"No answer; trying again in {seconds:.1f} s.", err=True)
    time.sleep(seconds)


def needs_password(certificate: Path, key: Path | None) -> bool:
    """Whether the key is there and opens only with a password."""
    try:
        read_identity(certificate, key)
    except CertificateFailed:
        try:
            content = (key or certificate).read_bytes()
        except OSError:
            return False
        return b"ENCRYPTED" in content or b"-----BEGIN " not in content
    return False


def _told(profile: Profile, url: str) -> Callable[[Request, Reply | ConnectionFailed], None]:
    """What shows each request and what came of it."""

    def tell(request: Request, outcome: Reply | ConnectionFailed) -> None:
        target = url + request.path + (f"?{urlencode(request.query)}" if request.query else "")
        lines = [
            shlex.join(_curl(profile, request, target)),
            f"> {request.method} {target}",
            *(f"> {name}: {value}" for name, value in request.headers),
            *_shown(request.body),
        ]
        if isinstance(outcome, Reply):
            lines += [f"< {outcome.status}", *(f"< {name}: {value}" for name, value in outcome.headers.items())]
            lines += _shown(outcome.body)
        else:
            lines.append(f"! {outcome}")
        typer.echo("\n".join(map(_safe, lines)), err=True)

    return tell


def _curl(profile: Profile, request: Request, target: str) -> Iterator[str]:
    """The words of the command with which curl sends the same; a password is not among them."""
    yield "curl"
    if profile.ca is not None:
        yield from ("--capath" if profile.ca.is_dir() else "--cacert", str(profile.ca))
    if profile.certificate is not None and b"-----BEGIN " not in profile.certificate.read_bytes():
        yield from ("--cert-type", "P12")
    yield from ("--cert", str(profile.certificate))
    if profile.key is not None:
        yield from ("--key", str(profile.key))
    if profile.password is not None:
        yield from ("--pass", _HIDDEN)
    for name, value in request.headers:
        yield from ("--header", f"{name}: {value}")
    if request.body:
        whole = len(request.body) <= _MOST_SHOWN
        yield from ("--data-binary", request.body.decode() if whole else "@FILE")
    yield target


def _shown(body: bytes) -> list[str]:
    """The lines of *body*, as far as it is shown."""
    text = body.decode("utf-8", "replace")
    left = len(text) - _MOST_SHOWN
    return [*text[:_MOST_SHOWN].splitlines(), *([f"... and {left} characters more"] if left > 0 else [])]


def _safe(line: str) -> str:
    """*line* with what does not print escaped: what a server sends must not command a terminal."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else repr(character)[1:-1] for character in line
    )
