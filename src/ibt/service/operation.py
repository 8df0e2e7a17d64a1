"""
The service as an operator has set it: what is wrong with the settings as a whole, and running on them.

A setting for itself is judged in `ibt.service.settings`; here is what the certificates and the database say.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ibt.service import server
from ibt.service.app import API
from ibt.service.settings import Effective, limits, masked
from ibt.service.workers import StartFailed
from ibt.store import Database, Unusable


def faults(found: Mapping[str, Effective]) -> list[str]:
    """What keeps the service from running on these settings, each of which is right: one sentence for each fault."""
    return [*_certificate_faults(found), *_database_faults(found["database"].value)]


def run(found: Mapping[str, Effective], announce: Callable[[str], None]) -> list[str]:
    """
    Serves until SIGTERM or SIGINT; what was wrong at the start is returned, one sentence for each fault.

    *announce* gets the line that says where it serves, once it does.
    """
    wrong = faults(found)
    if wrong:
        return wrong
    with ExitStack() as held:
        try:
            listener = held.enter_context(closing(_listen(found["host"].value, found["port"].value)))
            operator = _operator_listener(found)
        except _NotListening as not_listening:
            return [f"{not_listening}."]
        if operator:
            held.enter_context(closing(operator))
        folder = held.enter_context(metrics.shared())
        return _supervise(found, listener, operator, folder, announce)


def _supervise(
    found: Mapping[str, Effective],
    listener: socket.socket,
    operator: socket.socket | None,
    folder: Path,
    announce: Callable[[str], None],
) -> list[str]:
    """Runs the workers and, where there is a listener for it, what the operator sees; each has its own listener."""
    configure()
    settings = _settings(found)

    def serve(started: Callable[[], None], lifeline: int) -> None:
        if operator:
            operator.close()
        server.work(listener, settings, started, lifeline)

    def see(started: Callable[[], None], lifeline: int) -> None:
        listener.close()
        assert operator
        seeing.work(operator, folder, lambda: _unready(found, folder), started, lifeline)

    def end() -> None:
        for each in (listener, operator):
            if each:
                each.close()

    host, port = found["host"].value, listener.getsockname()[1]
    url = f"https://{f'[{host}]' if ':' in host else host}:{port}{API}"
    try:
        supervise(
            [serve] * settings.workers + ([see] if operator else []),
            lambda: announce(f"ready: {url}"),
            ending=end,
            ended=lambda process: metrics.forget(folder, process),
        )
    except StartFailed as failed:
        return [f"{failed}."]
    return []


def _settings(found: Mapping[str, Effective]) -> server.Settings:
    return server.Settings(
        database=found["database"].value,
        certificate=found["server_certificate"].value,
        key=found["server_key"].value,
        client_ca=found["client_ca"].value,
        workers=found["workers"].value,
        remember=found["remember"].value,
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
    except ValueError:
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
    except ValueError:
        yield f"client_ca, {paths['client_ca']}, holds no certificate: it must have the authorities' as PEM."


def _database_faults(url: str) -> Iterator[str]:
    try:
        with closing(Database(url)) as database:
            database.check()
    except Unusable as unusable:
        yield f"{masked(str(unusable)).rstrip('.')}."
