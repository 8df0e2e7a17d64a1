"""
The service as an operator has set it: what is wrong with the settings as a whole, and running on them.

A setting for itself is judged in `ibt.service.settings`; here is what the certificates and the database say.
"""

from __future__ import annotations

import select
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ibt.service import metrics, revocation, seeing, server
from ibt.service.log import configure, log
from ibt.service.resources import API
from ibt.service.settings import Effective, limits, masked
from ibt.service.workers import StartFailed, Work, supervise
from ibt.store import Database, Unusable


def faults(found: Mapping[str, Effective]) -> list[str]:
    """What keeps the service from running on these settings, each of which is right: one sentence for each fault."""
    return [
        *_certificate_faults(found),
        *_revocation_faults(found),
        *_database_faults(found["database"].value),
        *_standby_faults(found),
    ]


def run(found: Mapping[str, Effective], announce: Callable[[str], None]) -> list[str]:
    """
    Serves until SIGTERM or SIGINT; what was wrong at the start is returned, one sentence for each fault.

    *announce* gets the line that says where it serves, once it does.
    """
    wrong = faults(found)
    if wrong:
        return wrong
    settings = _settings(found)
    configure()
    try:
        with (
            _proxies_listener(found["proxy_socket"].value) as of_proxies,
            ExitStack() as listeners,
            metrics.shared() as folder,
        ):
            listener = listeners.enter_context(_listen(found["host"].value, found["port"].value))
            served = server.Listeners(listener, of_proxies)
            listeners.callback(served.close)
            works: list[Work] = [partial(server.work, served, settings)] * settings.workers
            operator = _operators_listener(found)
            if operator is not None:
                listeners.enter_context(operator)
                unready = partial(_unready, found, folder)
                see = partial(seeing.work, operator, folder, unready, leave_seconds=settings.leave_seconds)
                works = [*(_without(operator, work) for work in works), _without(served, see)]
            url = _url(found["host"].value, listener)
            supervise(
                [_removing(folder, work) for work in works],
                lambda: announce(f"ready: {url}"),
                ending=listeners.close,
                ended=partial(metrics.forget, folder),
            )
    except (_NotListening, StartFailed) as failed:
        return [f"{failed}."]
    return []


class _NotListening(Exception):
    """Why there is no listener: a sentence without its full stop."""


def _listen(host: str, port: int) -> socket.socket:
    try:
        return server.listen(host, port)
    except OSError as error:
        raise _NotListening(f"It is not possible to listen on {host}, port {port}: {error.strerror}") from error
    except UnicodeError as error:
        raise _NotListening(
            f"It is not possible to listen on {host}, port {port}: that is no name of a host"
        ) from error


@contextmanager
def _proxies_listener(path: Path | None) -> Iterator[socket.socket | None]:
    """A socket for proxies at *path*, which is removed at the end unless another service has it then."""
    if path is None:
        yield None
        return
    try:
        listener = server.listen_for_proxies(path)
    except OSError as error:
        raise _NotListening(f"It is not possible to listen on {path}: {error.strerror or error}") from error
    ours = path.stat().st_ino
    try:
        with listener:
            yield listener
    finally:
        with suppress(FileNotFoundError):
            if path.stat().st_ino == ours:
                path.unlink()


def _operators_listener(found: Mapping[str, Effective]) -> socket.socket | None:
    """Where health and metrics are told; nowhere, which the log says, where only the default port is in use."""
    host, port = found["operator_host"].value, found["operator_port"]
    if not port.value:
        return None
    try:
        return _listen(host, port.value)
    except _NotListening as failed:
        if port.source != "default":
            raise
        log.warning("health and metrics are told nowhere", why=str(failed))
        return None


def _url(host: str, listener: socket.socket) -> str:
    return f"https://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}{API}"


def _without(other: socket.socket | server.Listeners, work: Work) -> Work:
    """*work*, whose process lets go of what another listens on: its clients shall not wait for this one to end."""

    def alone(started: Callable[[], None], lifeline: int) -> None:
        other.close()
        work(started, lifeline)

    return alone


def _removing(folder: Path, work: Work) -> Work:
    """*work*, whose process removes *folder* at its end if its watcher is gone: nobody else is left to do it."""

    def tidy(started: Callable[[], None], lifeline: int) -> None:
        try:
            work(started, lifeline)
        finally:
            if select.select([lifeline], [], [], 0)[0]:
                shutil.rmtree(folder, ignore_errors=True)

    return tidy


def _unready(found: Mapping[str, Effective], folder: Path) -> list[str]:
    """Why the service, whose workers count in *folder*, is not ready: one sentence for each reason."""
    # A file of lists that cannot be used is none: the workers go by the last good one, until that ends.
    wrong = [*_certificate_faults(found), *_database_faults(found["database"].value)]
    refused = found["client_crl_expired"].value == "refuse"
    database = found["database"].value
    wrong = wrong or [*seeing.unwritable(database)]
    if found["require_synchronous_standby"].value and not wrong:
        wrong = [*seeing.unkept(database)]
    return [
        *wrong,
        *(revocation.past_end(folder) if refused else ()),
        *seeing.unserved(folder),
    ]


def _settings(found: Mapping[str, Effective]) -> server.Settings:
    return server.Settings(
        database=found["database"].value,
        certificate=found["server_certificate"].value,
        key=found["server_key"].value,
        client_ca=found["client_ca"].value,
        client_crl=found["client_crl"].value,
        ended_crl_refuses=found["client_crl_expired"].value == "refuse",
        trusted_proxies=found["trusted_proxies"].value or (),
        workers=found["workers"].value,
        remember=found["remember"].value,
        leave_seconds=found["leave_seconds"].value,
        limits=limits(found),
    )


def _certificate_faults(found: Mapping[str, Effective]) -> list[str]:
    paths = {name: found[name].value for name in ("server_certificate", "server_key", "client_ca")}
    contents: dict[str, bytes] = {}
    faults: list[str] = []
    for name, path in paths.items():
        if path is not None:
            try:
                contents[name] = path.read_bytes()
            except OSError as error:
                faults.append(f"{name}, {path}, cannot be read: {error.strerror}.")
    if faults:
        return faults
    faults = [*_server_certificate_faults(paths, contents), *_client_ca_faults(paths, contents)]
    if not faults:
        try:
            server.tls(_settings(found))
        except ssl.SSLError as error:
            faults = [f"OpenSSL does not take the certificates and the key: {error.reason}."]
    return faults


def _server_certificate_faults(paths: Mapping[str, Path | None], contents: Mapping[str, bytes]) -> Iterator[str]:
    file = paths["server_certificate"]
    where = "server_key" if paths["server_key"] else "server_certificate"
    certificate = key = None
    try:
        certificate = x509.load_pem_x509_certificates(contents["server_certificate"])[0]
    except (ValueError, x509.InvalidVersion):
        yield f"server_certificate, {file}, holds no certificate: it must be PEM, the server's first."
    try:
        key = load_pem_private_key(contents[where], password=None)
    except TypeError:
        yield f"{where}, {paths[where]}, has a private key with a password: write it without one."
    except (ValueError, UnsupportedAlgorithm):
        yield f"{where}, {paths[where]}, holds no private key: the server's must be there as PEM, or in server_key."
    if certificate is None or key is None:
        return
    if certificate.public_key() != key.public_key():
        yield f"{where}, {paths[where]}, has a private key that is not that of the first certificate in {file}."
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= datetime.now(UTC) < end:
        yield f"server_certificate, {file}, is valid from {begin:%F} to {end:%F}: no client will accept it now."


def _client_ca_faults(paths: Mapping[str, Path | None], contents: Mapping[str, bytes]) -> Iterator[str]:
    try:
        x509.load_pem_x509_certificates(contents["client_ca"])
    except (ValueError, x509.InvalidVersion):
        yield f"client_ca, {paths['client_ca']}, holds no certificate: it must have the authorities' as PEM."


def _revocation_faults(found: Mapping[str, Effective]) -> Iterator[str]:
    file = found["client_crl"].value
    if file is not None:
        try:
            revocation.read_file(file, found["client_ca"].value)
        except revocation.Unusable as unusable:
            yield f"client_crl, {file}, {unusable}."


def _standby_faults(found: Mapping[str, Effective]) -> Iterator[str]:
    if found["require_synchronous_standby"].value and found["database"].value.startswith("sqlite:"):
        yield "require_synchronous_standby is true, and SQLite has no standby: use PostgreSQL, or take it back."


def _database_faults(url: str) -> Iterator[str]:
    try:
        with closing(Database(url)) as database:
            database.check()
    except Unusable as unusable:
        yield f"{masked(str(unusable)).rstrip('.')}."
