"""
The corpus of hostile XML over HTTPS: each body is refused, soon, in little memory, and nothing is opened for it.

The service runs under strace, so what is seen is what the system saw: of Python, of libxml2, of every thread.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from strangers import update, user_of, write_world
from watched import MEBIBYTE, Watched, watched

from hostile_xml import CORPUS, MARKER
from ibt.conformance.server import PATIENCE, VENDOR

_CUSTOMER = 1001
_MAPPINGS = f"/{_CUSTOMER}/contractSubaccountMappings"

#: What the service may take for a body: on the processor, and in all, where it waits for others on this machine.
_MOST_SECONDS = 0.1
_MOST_WAITING_SECONDS = 10.0

#: The least of so many counts: what others do on this machine only ever adds to it.
_TRIES = 15

_MOST_MEMORY = 50 * MEBIBYTE

#: As many updates as there may be threads for them come at once, so that each has its connection to the database.
_THREADS = 16

#: What a thread's first steps open, by the C library's own doing and whatever it is asked; and where the service
#: looks for its own memory, for the metrics.
_OF_THE_SYSTEM = re.compile(r"/proc/sys/vm/overcommit_memory$|/sys/devices/system/cpu/|/proc/self/statm$")


class Client:
    """A connection that is kept."""

    def __init__(self, served: Watched) -> None:
        server = served.server
        tls = server.tls(user_of(_CUSTOMER))
        self._path = server.path + _MAPPINGS
        self._connection = HTTPSConnection(server.host, server.port, context=tls, timeout=PATIENCE)

    def post(self, body: bytes) -> tuple[int, str]:
        """Status and text of the answer to an update."""
        self._connection.request("POST", self._path, body, {"Content-Type": VENDOR})
        with self._connection.getresponse() as answer:
            return answer.status, answer.read().decode()

    def revision(self) -> str | None:
        """The name of the customer's state."""
        self._connection.request("GET", self._path)
        with self._connection.getresponse() as answer:
            answer.read()
            return answer.getheader("ETag")

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


@dataclass(frozen=True)
class Refused:
    """What came of a body: the answer, the most memory it took, its seconds on the processor and in all."""

    status: int
    text: str
    memory: int
    worked: float
    waited: float


@dataclass(frozen=True)
class Swept:
    """What came of all bodies, and what was opened meanwhile."""

    answers: dict[str, Refused]
    revisions: tuple[str | None, str | None]
    at_start: list[str]
    calls: list[str]
    folder: Path
    memory: int


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """All bodies of the corpus, sent one after another."""
    folder = tmp_path_factory.mktemp("corpus")
    world = write_world(folder / "world")
    with watched(folder / "sandbox", "--data", str(world), "--workers", "1", traced=True) as served:
        client = Client(served)
        _warm(served)
        at_start = _calls(served)
        before, memory = client.revision(), served.memory()
        answers = {name: _sent(served, client, body) for name, body in CORPUS.items()}
        after, grown = client.revision(), served.memory() - memory
        client.close()
    calls = _calls(served)[len(at_start) :]
    return Swept(answers, (before, after), at_start, calls, folder / "sandbox", grown)


def _warm(served: Watched) -> None:
    """Lets every thread of the service do its first work, which opens the database."""
    good = update(_CUSTOMER, (1_001_000, 0, "Default"))
    with ThreadPoolExecutor(_THREADS) as threads:
        clients = [Client(served) for _ in range(_THREADS)]
        assert {status for status, _ in threads.map(lambda client: client.post(good), clients)} == {200}
    for client in clients:
        client.close()


def _sent(served: Watched, client: Client, body: bytes) -> Refused:
    """What came of a body; of a few tries, where the first seemed slow, as others work on this machine too."""
    tries: list[Refused] = []
    while not tries or (tries[-1].worked >= _MOST_SECONDS and len(tries) < _TRIES):
        tries.append(_tried(served, client, body))
    return min(tries, key=lambda refused: refused.worked)


def _tried(served: Watched, client: Client, body: bytes) -> Refused:
    memory, worked, began = served.memory(), served.worked(), time.monotonic()
    served.forget_peak()
    status, text = client.post(body)
    waited = time.monotonic() - began
    return Refused(status, text, served.peak() - memory, served.worked() - worked, waited)


def _calls(served: Watched) -> list[str]:
    """The lines of the trace that open something."""
    return [line for line in served.trace.read_text().splitlines() if "(" in line]


def test_each_is_refused_with_400(swept: Swept) -> None:
    assert len(swept.answers) == len(CORPUS) >= 300
    assert {name: answer.status for name, answer in swept.answers.items() if answer.status != 400} == {}


def test_each_is_refused_within_100_ms(swept: Swept) -> None:
    worked = {name: answer.worked for name, answer in swept.answers.items()}
    assert {name: took for name, took in worked.items() if took >= _MOST_SECONDS} == {}
    assert max(answer.waited for answer in swept.answers.values()) < _MOST_WAITING_SECONDS


def test_each_takes_less_than_50_mb(swept: Swept) -> None:
    large = {name: answer.memory / MEBIBYTE for name, answer in swept.answers.items()}
    assert {name: memory for name, memory in large.items() if memory >= _MOST_MEMORY / MEBIBYTE} == {}


def test_all_of_them_leave_less_than_50_mb_behind(swept: Swept) -> None:
    assert swept.memory < _MOST_MEMORY


def test_nothing_is_changed(swept: Swept) -> None:
    before, after = swept.revisions
    assert before == after is not None


def test_no_answer_holds_what_a_body_refers_to(swept: Swept) -> None:
    assert [name for name, answer in swept.answers.items() if MARKER in answer.text or "root:" in answer.text] == []


def test_the_trace_sees_what_is_opened(swept: Swept) -> None:
    assert any("ca.pem" in call for call in swept.at_start)
    assert any("socket(AF_INET" in call for call in swept.at_start)


def test_no_connection_is_made_and_no_socket(swept: Swept) -> None:
    assert [call for call in swept.calls if "connect(" in call or "socket(" in call] == []


def test_no_file_is_opened_but_the_database(swept: Swept) -> None:
    opened = [path for call in swept.calls for path in re.findall(r'"((?:[^"\\]|\\.)*)"', call)]
    # The database makes sure of its folder too, when it removes its files at the end.
    others = [path for path in opened if path != str(swept.folder) and not path.startswith(f"{swept.folder}/ibt.db")]
    assert [path for path in others if not _OF_THE_SYSTEM.match(path)] == []
