"""
What the service counts of itself, for Prometheus.

Each process counts in files of its own; whoever asks gets the sum of all. The library looks for their folder when
it is imported, so nothing here imports it before there is one. docs/operate.md lists every metric.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections import Counter as Multiset
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography import x509

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Executor, Future

    from prometheus_client import CollectorRegistry

    from ibt.rules.faults import Fault
    from ibt.store import Connections

#: Of a request that names no operation, or whose head was never good.
NO_OPERATION = "none"

#: When the certificate that the workers show to clients ends: the name of the metric.
SERVER_CERTIFICATE_END = "ibt_server_certificate_end_seconds"

#: When the first list of revoked certificates ends: the name of the metric.
CLIENT_CRL_END = "ibt_client_crl_end_seconds"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: How often the files are read again, and after which time, where processes come and go meanwhile.
_TRIES = 10
_PAUSE_SECONDS = 0.01

#: What the library is told the folder by.
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

#: The files are memory that processes share: on a disk that is full, to write to them would end the process.
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder of our own is made there, with a random name

#: Where Linux says how many pages of memory this process has, as the second number.
_OWN_MEMORY = Path("/proc/self/statm")


Found = TypeVar("Found")


class Metrics:
    """
    What one process counts: inside `shared`, for all to see; else for itself alone.

    An observation takes a few microseconds, and may be made by any thread.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram  # noqa: PLC0415 - see above

        self.registry = CollectorRegistry()
        kept = self.registry
        self._requests = Counter("ibt_requests_total", "Requests answered.", ("operation", "status"), registry=kept)
        self._seconds = Histogram(
            "ibt_request_seconds",
            "From the head of a request to its answer.",
            ("operation",),
            registry=kept,
            buckets=_SECONDS,
        )
        self._faults = Counter("ibt_faults_total", "Faults told, by the rule broken.", ("rule",), registry=kept)
        self._updates = Counter("ibt_updates_total", "Updates that created versions.", registry=kept)
        self._versions = Counter("ibt_versions_total", "Mapping versions created by updates.", registry=kept)
        self.connections = Gauge(
            "ibt_connections_open", "Connections open.", registry=kept, multiprocess_mode="livesum"
        )
        self._memory = Gauge("ibt_memory_bytes", "Memory of a worker.", registry=kept, multiprocess_mode="liveall")
        self._server_end = Gauge(
            SERVER_CERTIFICATE_END,
            "When the certificate ends that clients are shown.",
            registry=kept,
            multiprocess_mode="livemin",
        )
        self._client_end = Gauge(
            "ibt_client_certificate_end_seconds",
            "When the first certificate ends of those that users last came with.",
            registry=kept,
            multiprocess_mode="livemin",
        )
        self._database_open = Gauge(
            "ibt_database_connections_open",
            "Connections to the database.",
            registry=kept,
            multiprocess_mode="livesum",
        )
        self._database_in_use = Gauge(
            "ibt_database_connections_in_use",
            "Connections to the database that a transaction has.",
            ("kind",),
            registry=kept,
            multiprocess_mode="livesum",
        )
        self._database_wait = Histogram(
            "ibt_database_wait_seconds",
            "How long a request waited for a thread with a connection.",
            ("kind",),
            registry=kept,
            buckets=_SECONDS,
        )
        self._crl_end = Gauge(
            CLIENT_CRL_END,
            "When the first list of revoked certificates ends.",
            registry=kept,
            multiprocess_mode="livemin",
        )
        # To find one by its labels takes as long as to count.
        self._answers = lru_cache(maxsize=None)(self._requests.labels)
        self._times = lru_cache(maxsize=None)(self._seconds.labels)
        self._client_ends: dict[str, datetime] = {}
        self._first_client_end = datetime.max.replace(tzinfo=UTC)
        self._lock = Lock()
        for end in (self._server_end, self._client_end, self._crl_end):
            end.set(float("inf"))

    def answered(self, operation: str, status: int, seconds: float | None = None) -> None:
        """Counts a request with its answer, and how long it took where there was a head to measure from."""
        self._answers(operation, status).inc()
        if seconds is not None:
            self._times(operation).observe(seconds)

    def refused(self, faults: Iterable[Fault]) -> None:
        """Counts the faults that a refusal tells."""
        for name, count in Multiset(fault.rule.name for fault in faults).items():
            self._faults.labels(name).inc(count)

    def updated(self, versions: int) -> None:
        """Counts an update that created so many versions, once it is durable."""
        self._updates.inc()
        self._versions.inc(versions)

    def note_memory(self) -> None:
        """Notes how much memory this process has now, where the system says so."""
        with contextlib.suppress(OSError):
            self._memory.set(int(_OWN_MEMORY.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    def note_database(self, connections: Connections) -> None:
        """Notes the connections to the database that this process has now."""
        self._database_open.set(connections.open)
        self._database_in_use.labels("reading").set(connections.reading)
        self._database_in_use.labels("updating").set(connections.updating)

    def threads(self, kind: str, count: int) -> Executor:
        """So many threads, each of which has a connection of that kind; it is noted how long work waits for one."""
        return _Threads(count, kind, self._database_wait.labels(kind).observe)

    def note_server_certificate(self, pem: bytes) -> None:
        """Notes the end of the first certificate in *pem*, which clients are shown from now on."""
        with contextlib.suppress(ValueError, x509.InvalidVersion):  # OpenSSL takes more than we can read
            self._server_end.set(x509.load_pem_x509_certificates(pem)[0].not_valid_after_utc.timestamp())

    def note_client_crl(self, end: datetime | None) -> None:
        """Notes the end of the first list of revoked certificates that ends, of those in use; None: none does."""
        self._crl_end.set(float("inf") if end is None else end.timestamp())

    def note_client_certificate(self, user_name: str, end: datetime) -> None:
        """Notes the end of the certificate that a user came with: it takes the place of the one before."""
        if self._client_ends.get(user_name) == end:
            return
        with self._lock:
            before = self._client_ends.get(user_name)
            self._client_ends[user_name] = end
            if before is not None and before == self._first_client_end:
                self._first_client_end = min(self._client_ends.values())
            self._first_client_end = min(self._first_client_end, end)
            self._client_end.set(self._first_client_end.timestamp())


class _Threads(ThreadPoolExecutor):
    """Threads that tell *waited* how many seconds each work waited until it was begun."""

    def __init__(self, count: int, name: str, waited: Callable[[float], None]) -> None:
        super().__init__(count, name)
        self._waited = waited

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **named: Any
    ) -> Future[Any]:  # Any: as the library has it
        given = time.perf_counter()

        def begun() -> Any:  # Any: as above
            self._waited(time.perf_counter() - given)
            return fn(*args, **named)

        return super().submit(begun)


@contextmanager
def shared() -> Iterator[Path]:
    """A folder in which the processes begun in this block count together; removed at its end."""
    place = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="ibt-", dir=place) as folder:
        os.environ[_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[_VARIABLE]


def text(folder: Path) -> bytes:
    """What all processes have counted, in Prometheus' text form."""
    from prometheus_client import generate_latest  # noqa: PLC0415 - see above

    return _read(lambda: generate_latest(_together(folder)))


def server_certificate_end(folder: Path) -> float | None:
    """When the certificate ends that clients are shown, in seconds since 1970; None where no worker lives."""
    return _read(lambda: _together(folder).get_sample_value(SERVER_CERTIFICATE_END))


def client_crl_end(folder: Path) -> float | None:
    """When the first list of revoked certificates ends, in seconds since 1970; None where no worker lives."""
    return _read(lambda: _together(folder).get_sample_value(CLIENT_CRL_END))


def forget(folder: Path, process: int, was_ready: bool) -> None:
    """Takes away what was true only while this process lived: its connections, its memory. What it counted stays."""
    from prometheus_client import multiprocess  # noqa: PLC0415 - see above

    multiprocess.mark_process_dead(process, folder)  # type: ignore[no-untyped-call]  # it has no types
    if not was_ready:  # it may be tried a thousand times, and counted nothing
        for file in folder.glob(f"*_{process}.db"):
            file.unlink()


def _read(read: Callable[[], Found]) -> Found:
    """What *read* finds in the files; again, where a process just took its own, or began and its are empty yet."""
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError, struct.error):
            return read()
        time.sleep(_PAUSE_SECONDS)
    return read()


def _together(folder: Path) -> CollectorRegistry:
    from prometheus_client import CollectorRegistry, multiprocess  # noqa: PLC0415 - see above

    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]  # as above
    return registry
