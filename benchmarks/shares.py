"""
Where the time of a GET and of a POST goes, by share.

The service runs as it does, but that what it hands to threads is done at once; every few milliseconds a signal notes
where it is: the innermost function that belongs to something in `ROOMS`. By the processor, which waits for nobody;
for updates by the clock as well, which counts the wait for the disk too.

    python benchmarks/shares.py FOLDER URL processor|clock FILE     serves so, and writes what it noted when it ends
"""

from __future__ import annotations

import json
import linecache
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from load import Request
    from rows import Site

#: Whose time it is: a part of the file's path, or that and a function; the first that fits.
ROOMS: Sequence[tuple[str, str, str | None]] = (
    ("TLS, sockets, event loop", "service/connection.py", "_write"),
    ("TLS, sockets, event loop", "asyncio/", None),
    ("TLS, sockets, event loop", "/ssl.py", None),
    ("SQL driver and database", "store/postgresql.py", None),
    ("SQL driver and database", "/psycopg", None),
    ("SQLAlchemy", "/sqlalchemy/", None),
    ("audit", "store/audit.py", None),
    ("rows to values, values to rows", "ibt/store/", None),
    ("reading XML", "messages/reader.py", None),
    ("reading XML", "/lxml/", None),
    ("writing XML", "messages/writer.py", None),
    ("rules", "ibt/rules/", None),
    ("who asks", "service/access.py", None),
    ("who asks", "service/revocation.py", None),
    ("log", "service/log.py", None),
    ("log", "/structlog/", None),
    ("log", "/logging/", None),
    ("log", "service/app.py", "_log"),
    ("metrics", "service/metrics.py", None),
    ("metrics", "/prometheus_client/", None),
    ("HTTP", "service/connection.py", None),
    ("HTTP", "service/server.py", None),
    ("HTTP", "/uvicorn/", None),
    ("HTTP", "/httptools/", None),
    ("service", "ibt/service/", None),
)

#: How often a note is taken, in seconds; the kernel may do so less often.
_INTERVAL = 0.001

Tell = Callable[[str], None]


#: What stands on a line of the store, or of SQLAlchemy, that calls the driver: its time there is the driver's.
_OF_DRIVER = re.compile(r"\b(driver|cursor)\.(execute|executemany|fetchall|fetchone)\(")
_OF_COMMIT = re.compile(r"\.(commit)\(|\"COMMIT\"")
_CALLS_DRIVER = ("ibt/store/", "/sqlalchemy/")


def room(file: str, function: str, line: str) -> str | None:
    """Whose this function is, which is at this line of its source."""
    if any(part in file for part in _CALLS_DRIVER):
        if _OF_COMMIT.search(line):
            return "COMMIT"
        if _OF_DRIVER.search(line):
            return "SQL driver and database"
    for name, part, only in ROOMS:
        if part in file and (only is None or only == function):
            return name
    return None


def room_of(frame: FrameType | None) -> str:
    """Whose the innermost function is that is anybody's."""
    while frame is not None:
        code = frame.f_code
        found = room(code.co_filename, code.co_name, linecache.getline(code.co_filename, frame.f_lineno or 0))
        if found:
            return found
        frame = frame.f_back
    return "other"


def measured(site: Site, *, full: bool, tell: Tell) -> dict[str, dict[str, float]]:
    """The shares by what was asked, each summing up to 1."""
    from asking import post  # noqa: PLC0415 - likewise
    from rows import LARGE  # noqa: PLC0415 - not in the process that serves

    tell("\nShares of the time of an answer")
    one_changed = site.one_changed(2)
    asked: dict[str, tuple[str, str, Sequence[Request], int, int]] = {
        "GET page of 25, SQLite": (site.url, "processor", site.pages, 8, 1),
        "POST of 25, SQLite": (site.url, "processor", one_changed, 1, 2),
        "POST of 25, SQLite, by the clock": (site.url, "clock", one_changed, 1, 2),
        "POST of 12,000, SQLite": (
            site.url,
            "processor",
            [post(LARGE, body) for body in site.all_changed],
            1,
            LARGE,
        ),
        "GET page of 25, PostgreSQL": (site.url_of_postgresql, "processor", site.pages, 8, 1),
        "POST of 25, PostgreSQL": (site.url_of_postgresql, "processor", one_changed, 1, 2),
    }
    found = {}
    for name, (url, by, requests, connections, user) in asked.items():
        found[name] = _shares(site, url, by, requests, connections, user)
        shown = ", ".join(f"{room} {share:.0%}" for room, share in found[name].items())
        tell(f"{name}: {shown}")
    return found


def _shares(  # noqa: PLR0917 - the columns of a table
    site: Site, url: str, by: str, requests: Sequence[Request], connections: int, user: int
) -> dict[str, float]:
    from servers import running  # noqa: PLC0415 - not in the process that serves

    noted = site.folder / "shares.json"
    with running(site.folder, __file__, str(site.folder), url, by, str(noted)) as server:
        (answers,) = server.ask(server.stream(requests, connections, user=user), seconds=2 * site.seconds)
        assert answers.answers > answers.failures == 0
    counted = json.loads(noted.read_text())
    return {name: count / sum(counted.values()) for name, count in sorted(counted.items(), key=lambda one: -one[1])}


class _AtOnce(Executor):
    """Does its work when it is handed it: all is in the thread that gets the signals."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*arguments, **named))
        except BaseException as error:  # whatever it is, it belongs to who waits for it
            done.set_exception(error)
        return done


class _AtOnceThread:
    """Stands for a thread, likewise."""

    def __init__(self, target: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._target, self._args = target, args

    def start(self) -> None:
        """Does it."""
        self._target(*self._args)


def serve(folder: Path, url: str, by: str, noted: Path) -> None:
    """Serves until SIGTERM; then writes how often it was seen where."""
    from ibt.messages import reader  # noqa: PLC0415 - only in the process that serves
    from ibt.service import app, server  # noqa: PLC0415 - likewise

    class Application(app.Application):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._readers = self._updaters = _AtOnce()

    server.Application = Application  # type: ignore[attr-defined]  # on purpose
    reader.Thread = _AtOnceThread  # type: ignore[attr-defined,assignment]  # on purpose
    seen: Counter[str] = Counter()
    number, timer = (
        (signal.SIGPROF, signal.ITIMER_PROF) if by == "processor" else (signal.SIGALRM, signal.ITIMER_REAL)
    )
    noting = False

    def note(_number: int, frame: FrameType | None) -> None:
        nonlocal noting
        if not noting:  # a slow machine is interrupted again before it has noted
            noting = True
            seen.update((room_of(frame),))
            noting = False

    signal.signal(number, note)
    listener = server.listen("127.0.0.1", 0)

    def ready() -> None:
        print(f"ready {listener.getsockname()[1]}", flush=True)
        signal.setitimer(timer, _INTERVAL, _INTERVAL)

    settings = server.Settings(url, folder / "server.pem", folder / "ca.pem", remember=0)
    server.serve(listener, settings, ready)
    signal.setitimer(timer, 0)
    noted.write_text(json.dumps(seen))


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
