"""
The sandbox: a folder with certificates and a database, made once, and the service on it.

What is made anew is made beside its place and then put there by name: a start that fails, is interrupted
or is killed leaves no half sandbox behind. A start on a sandbox that is there completes what is missing and
renews certificates, and touches nothing else. Whoever runs on a folder holds its `lock`, shared; making it
anew needs the lock alone.

Only loading and the service take the clock that can be frozen; certificates take the real one.

Readings 64, 67, 68.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import shutil
import signal
import sys
import tempfile
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import IO, TYPE_CHECKING

import sqlalchemy

from ibt import store
from ibt.rules.faults import Faults
from ibt.rules.queries import Query
from ibt.sandbox import pki
from ibt.service import access, negotiation, server, settings
from ibt.store import loading, reads
from ibt.store.tables import grants

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from types import FrameType

    from sqlalchemy import Connection

    from ibt.client.profiles import Profile
    from ibt.service.limits import Limits

PATH = "/sms_oper_contract/api/customers"

_DATABASE = "ibt.db"
_SAMPLE = "sample-post.xml"
_LOCK = "lock"

#: The client's profile that a sandbox leaves.
_PROFILE = "sandbox"

#: What is being made, beside a folder and within one: two names, as a folder may lie in another.
_BESIDE, _WITHIN = ".ibt-sandbox-", ".ibt-fresh-"

#: What the sandbox makes in its folder besides the lock and `clients`; the database's own files go first.
_FILES = (f"{_DATABASE}-wal", f"{_DATABASE}-shm", _DATABASE, _SAMPLE, "server.pem", "ca.pem", "ca-key.pem")

#: The hosts to listen on for which https://localhost reaches us.
_REACHED_AS_LOCALHOST = frozenset(("localhost", "127.0.0.1", "::1", "0.0.0.0", "::"))  # noqa: S104 - compared only

#: The specification's example: who asks for what (3.2.6). Other users are shown the plain collection.
_SAMPLE_USER, _SAMPLE_CUSTOMER, _SAMPLE_CONTRACT = "xyz", 1, 999999
_SAMPLE_QUERY = "?start_date=08%2F01%2F2015&start=0&limit=25"

_FIRST_CALLER = (
    sqlalchemy.select(grants.c.user_name, grants.c.customer_id)
    .where(grants.c.role == access.ROLE)
    .order_by(grants.c.user_name != _SAMPLE_USER, grants.c.user_name, grants.c.customer_id)
    .limit(1)
)


class Unusable(Exception):
    """Why there is no sandbox: a sentence a line, for its user to put right."""


@dataclass(frozen=True)
class Options:
    """The options of `ibt sandbox`. *data* None means the demonstration world, *database* None DIR/ibt.db."""

    folder: Path
    data: Path | None
    host: str
    port: int
    database: str | None
    now: datetime | None
    workers: int
    fresh: bool

    @property
    def url(self) -> str:
        """The database to serve from."""
        return self.database or _url(self.folder)


def serve_sandbox(options: Options, announce: Callable[[str], None], tell: Callable[[str], None]) -> None:
    """
    Makes the sandbox where it is not there yet, then serves until SIGTERM or SIGINT.

    *announce* gets the one line that says where it serves, *tell* everything meant for people. Raises
    Unusable, and KeyboardInterrupt when told to end before it serves.
    """
    limits = _limits()
    with closing(_listener(options.host, options.port)) as listener:
        try:
            with _told_to_end() as end_if_told:
                lock = _make(options, tell, end_if_told)
                guide = _guide(options, listener)
        except (store.Unusable, pki.Damaged) as error:
            raise Unusable(str(error)) from error
        except store.Unavailable as error:
            raise Unusable(f"The database does not answer: {error}.") from error
        except OSError as error:
            raise Unusable(_sentence(options.folder, error)) from error

        def ready() -> None:
            profile = _leave_profile(options, listener)
            announce(f"ready: {_base('localhost', listener)}")
            tell(guide + profile)

        served = server.Settings(
            database=options.url,
            certificate=options.folder / "server.pem",
            client_ca=options.folder / "ca.pem",
            workers=options.workers,
            now=options.now,
            limits=limits,
        )
        with lock:
            server.serve(listener, served, ready)


def _listener(host: str, port: int) -> socket.socket:
    try:
        return server.listen(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Unusable(
                f"Port {port} of {host} is in use: end what uses it, or choose another with --port "
                "(--port 0 picks a free one)."
            ) from error
        raise Unusable(f"It is not possible to listen on {host}, port {port}: {error.strerror}.") from error


def _limits() -> Limits:
    """The limits of the door, each of which an operator's variable may set. Raises Unusable."""
    found, faults = settings.effective(None, os.environ, {})
    if wrong := [fault for fault in faults if fault.startswith("limits.")]:
        raise Unusable("\n".join(wrong))
    return settings.limits(found)


@contextmanager
def _told_to_end() -> Iterator[Callable[[], None]]:
    """
    Has SIGTERM and SIGINT raise KeyboardInterrupt, so that what was begun is cleared away.

    An exception that is raised while Python frees an object is lost, and Python would tell of it with a trace:
    it is kept from doing so, and what the block gets raises it once more.
    """
    told = False
    tell_of_lost = sys.unraisablehook

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal told
        told = True
        raise KeyboardInterrupt

    def end_if_told() -> None:
        if told:
            raise KeyboardInterrupt

    def lost(unraisable: sys.UnraisableHookArgs) -> None:
        if not (told and unraisable.exc_type is KeyboardInterrupt):
            tell_of_lost(unraisable)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    sys.unraisablehook = lost
    try:
        yield end_if_told
        end_if_told()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = tell_of_lost


# --- what is made, and where -------------------------------------------------------------------------------


def _make(options: Options, tell: Callable[[str], None], end_if_told: Callable[[], None]) -> IO[bytes]:
    """Makes or completes the sandbox; returns its lock, held. *end_if_told* may raise before anything is there."""
    folder = options.folder
    if folder.exists() and not folder.is_dir():
        raise Unusable(f"{folder} is a file: name a folder with --dir.")
    market = None
    if options.fresh or not _holds_data(options.url):
        market = _market(options)
    elif options.data is not None:
        tell(f"--data {options.data} is ignored, as the data are there (--fresh begins anew).")

    def complete(place: Path) -> None:
        _complete(place, options, market)
        end_if_told()

    while not folder.exists():
        try:
            return _made_beside(folder, complete)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:  # else another start was there first
                raise
    if options.fresh or not any((folder / name).exists() for name in _FILES):
        return _made_within(folder, complete, options)
    lock = _lock(folder, fcntl.LOCK_SH)
    complete(folder)
    return lock


def _market(options: Options) -> loading.Market:
    faults = Faults()
    folder = options.data or resources.files("ibt.sandbox") / "demo"
    market = loading.read_market(folder, options.now or datetime.now(UTC).replace(microsecond=0), faults)
    if faults.count:
        raise Unusable("\n".join(faults.lines()))
    return market


def _made_beside(folder: Path, complete: Callable[[Path], None]) -> IO[bytes]:
    """
    Makes the folder, and those above it that are missing, under another name; then gives it its own.

    One renaming does it all, so that nothing of it is there after a failure.
    """
    highest = next(path for path in (*reversed(folder.parents), folder) if not path.exists())
    staging = Path(tempfile.mkdtemp(prefix=_BESIDE, dir=highest.parent))
    try:
        place = staging / folder.relative_to(highest)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock(place, fcntl.LOCK_SH)
        complete(place)
        staging.rename(highest)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return lock


def _made_within(folder: Path, complete: Callable[[Path], None], options: Options) -> IO[bytes]:
    """Makes a sandbox in a folder that is there, in the place of an old one; leaves all other files alone."""
    try:
        lock = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if options.fresh:
            raise Unusable(f"{folder} is in use by a sandbox: end that one before you begin anew.") from None
        lock = _lock(folder, fcntl.LOCK_SH)  # waits for the one that makes it at this moment
        complete(folder)
        return lock
    for left in folder.glob(f"{_WITHIN}*"):  # by one that was killed
        shutil.rmtree(left, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=_WITHIN, dir=folder))
    try:
        complete(staging)
        _remove(folder, keep_database=options.database is not None)
        for path in sorted(path for path in staging.rglob("*") if path.is_file()):
            place = folder / path.relative_to(staging)
            place.parent.mkdir(mode=0o700, exist_ok=True)
            path.replace(place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def _lock(folder: Path, kind: int) -> IO[bytes]:
    lock = open(folder / _LOCK, "ab", opener=_private)  # noqa: SIM115 - it is held while the sandbox runs
    try:
        fcntl.flock(lock, kind)
    except BaseException:
        lock.close()
        raise
    return lock


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _remove(folder: Path, *, keep_database: bool) -> None:
    """Removes the files that a sandbox made in *folder*, and no others."""
    for name in _FILES:
        if not (keep_database and name.startswith(_DATABASE)):
            (folder / name).unlink(missing_ok=True)
    for pem in (folder / "clients").glob("*.pem"):
        if pki.issued_here(pem):
            pem.with_name(f"{pem.stem}.p12").unlink(missing_ok=True)
            pem.unlink()


def _complete(folder: Path, options: Options, market: loading.Market | None) -> None:
    """Brings the database and the files in *folder* up to date; what is there and good stays as it is."""
    with closing(store.Database(options.database or _url(folder))) as database:
        database.upgrade()
        if market is None:
            with database.reading() as connection:
                users = reads.user_names(connection)
            _complete_files(folder, options, users)
            return
        with database.updating() as connection:
            if options.fresh:
                loading.clear(connection)
            if not _has_data(connection):
                loading.load(connection, market)
            # Inside the transaction: what cannot have its certificates is not loaded.
            _complete_files(folder, options, reads.user_names(connection))


def _complete_files(folder: Path, options: Options, users: list[str]) -> None:
    now = datetime.now(UTC)
    issuer = pki.authority(folder, now)
    pki.server_certificate(folder, issuer, options.host, now)
    pki.client_certificates(folder, issuer, users, now)
    sample = folder / _SAMPLE
    if not sample.exists():
        pki.write_file(sample, (resources.files("ibt.sandbox") / _SAMPLE).read_bytes(), 0o644)


# --- the database ------------------------------------------------------------------------------------------


def _url(folder: Path) -> str:
    return sqlalchemy.URL.create("sqlite", database=str(folder / _DATABASE)).render_as_string()


def _holds_data(url: str) -> bool:
    """
    Whether data have been loaded there. Makes and changes nothing.

    A database that cannot be read is told of later, when it is opened to be used.
    """
    with closing(store.Database(url)) as database:
        file = database.url.database
        if database.sqlite and not (file and Path(file).exists()):
            return False
        try:
            with database.reading() as connection:
                return sqlalchemy.inspect(connection).has_table("customer") and _has_data(connection)
        except (store.Unavailable, sqlalchemy.exc.DBAPIError):
            return False


def _has_data(connection: Connection) -> bool:
    return not reads.is_empty(connection) or bool(reads.user_names(connection))


# --- what people are told ----------------------------------------------------------------------------------


def _base(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"https://{name}:{listener.getsockname()[1]}{PATH}"


def _guide(options: Options, listener: socket.socket) -> str:
    """What to paste, where the certificates lie, how to begin anew and how to end."""
    folder = options.folder
    host = "localhost" if options.host.lower() in _REACHED_AS_LOCALHOST else options.host
    base = _base(host, listener)
    parts = []
    if host != "localhost":
        parts.append(f"It listens on {host} only: {base}")
    with closing(store.Database(options.url)) as database, database.reading() as connection:
        parts.extend(_requests(connection, folder, base))
    parts.append(
        f"Certificates: {folder / 'ca.pem'} is the authority's;\n"
        f"  {folder / 'clients'} has USER.pem (key and certificate) and USER.p12 (password: {pki.PASSWORD}).\n"
        "To begin anew, end it and add --fresh to the command that started it. To end it, press Ctrl-C."
    )
    return "\n\n".join(parts) + "\n"


def _requests(connection: Connection, folder: Path, base: str) -> Iterator[str]:
    """A curl line for each resource, as the first user who may ask: the sample's, if that one is there."""
    first = connection.execute(_FIRST_CALLER).first()
    if first is not None:
        user, customer_id = first
        contracts = _contract_ids(connection, customer_id)
        yield f"To try, as customer {customer_id} (user {user}):"
        yield "\n".join(_curl_lines(folder, base, user, customer_id, contracts))


def _contract_ids(connection: Connection, customer_id: int) -> list[int]:
    _total, mappings = reads.current_mappings(connection, customer_id, Query())
    return [mapping.contract.contract_id for mapping in mappings]


def _curl_lines(folder: Path, base: str, user: str, customer_id: int, contracts: list[int]) -> Iterator[str]:
    certificates = ["--cacert", str(folder / "ca.pem"), "--cert", str(folder / "clients" / f"{user}.pem")]
    mappings = f"{base}/{customer_id}/contractSubaccountMappings"
    sample = (user, customer_id) == (_SAMPLE_USER, _SAMPLE_CUSTOMER) and _SAMPLE_CONTRACT in contracts
    yield shlex.join(["curl", *certificates, f"{base}/{customer_id}/subaccounts"])
    yield shlex.join(["curl", *certificates, mappings + (_SAMPLE_QUERY if sample else "")])
    if contracts:
        yield shlex.join(["curl", *certificates, f"{mappings}/{contracts[-1]}"])
    if sample:
        update = ["--header", f"Content-Type: {negotiation.VENDOR_TYPE}", "--data-binary", f"@{folder / _SAMPLE}"]
        yield shlex.join(["curl", *certificates, *update, mappings])


def _leave_profile(options: Options, listener: socket.socket) -> str:
    """
    Leaves a profile for the client, with which the first user asks this sandbox; returns what to say of it.

    A profile of that name which is not of a sandbox stays as its owner made it; in that of this sandbox only the
    URL is set anew, so that whoever chose another user there stays that user.
    """
    # Imported here: the client is a house of its own, and this is all that the sandbox has to do with it.
    from ibt.client.profiles import NoProfile, Profile, keep_profile, profiles_file, read_profiles  # noqa: PLC0415

    with closing(store.Database(options.url)) as database, database.reading() as connection:
        first = connection.execute(_FIRST_CALLER).first()
    if first is None:
        return ""
    user, customer_id = first
    host = "localhost" if options.host.lower() in _REACHED_AS_LOCALHOST else options.host
    certificate, ca = options.folder / "clients" / f"{user}.pem", options.folder / "ca.pem"
    profile = Profile(_base(host, listener), certificate, ca=ca, customer=customer_id)
    file = profiles_file()
    try:
        there = read_profiles(file).get(_PROFILE)
        if there is not None and not _of_a_sandbox(there):
            return f"\nThe profile {_PROFILE} in {file} is not of a sandbox, so it stays as it is.\n"
        if there is not None and there.ca == ca and there.certificate and there.certificate.exists():
            profile = replace(there, url=profile.url)
        if there != profile:
            keep_profile(file, _PROFILE, profile)
    except NoProfile as error:
        return f"\nNo profile is left for the command ibt: {error}.\n"
    return f"\nFor the command ibt, the profile {_PROFILE} leads here: ibt subaccounts --profile {_PROFILE}\n"


def _of_a_sandbox(profile: Profile) -> bool:
    folder = profile.ca.parent if profile.ca is not None else None
    return folder is not None and profile.certificate is not None and profile.certificate.parent == folder / "clients"


def _sentence(folder: Path, error: OSError) -> str:
    named = isinstance(error.filename, str) and Path(error.filename).is_relative_to(folder)
    place = error.filename if named else folder
    return f"The sandbox cannot be made or read in {place}: {error.strerror or 'the system does not say why'}."
