"""
Twenty thousand requests that are a little wrong: never a 5xx, a trace or a hang, and nothing changes but by a 200.

Most go to the application in this process, some over HTTPS with heads that may be no heads at all. `make fuzz`
asks a million of the former.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from fuzz import fuzz, wrong
from inside import Answer, Request
from mutations import CONTRACTS, raw, request
from strangers import CUSTOMERS, user_of, write_world
from watched import Watched, watched

from ibt.conformance import wire
from ibt.conformance.server import PATIENCE
from traffic import times

MUTATIONS = times("IBT_MUTATIONS", 19_600)
ON_THE_WIRE = times("IBT_MUTATIONS_ON_THE_WIRE", 400)

#: 5xx that are right: a Transfer-Encoding and a version of HTTP that nobody has to know (RFC 9110 15.6.2, 15.6.6).
_RIGHT = {501, 505}

#: What comes after a mutated request, so that the service closes where it had understood it.
_LAST = b"GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


# --- in this process --------------------------------------------------------------------------------------


@pytest.mark.timeout(60 + MUTATIONS // 50)
def test_no_mutated_request_is_answered_wrongly(tmp_path: Path) -> None:
    answers: Counter[str] = Counter()
    findings = []
    for _, course in fuzz(f"sqlite:///{tmp_path / 'ibt.db'}", tmp_path / "world", range(MUTATIONS)):
        answers += course.answers
        findings += course.findings
    assert findings == []
    assert answers.total() == MUTATIONS
    # The mutations are worth something only where many of them are still good, and others fail in every way.
    assert answers["POST 200"] > MUTATIONS / 20
    assert {400, 403, 404, 405, 406, 412, 415} <= {int(kind.split()[1]) for kind in answers}


def test_the_same_number_makes_the_same_request() -> None:
    assert [request(number) for number in range(300)] == [request(number) for number in range(300)]
    assert [raw(number, CUSTOMERS) for number in range(300)] == [raw(number, CUSTOMERS) for number in range(300)]


TEXT = {"content-type": "text/plain;charset=UTF-8"}

WRONG: dict[str, tuple[Answer, bool]] = {
    "a 500": (Answer(500, TEXT, b"x\n"), False),
    "a trace": (Answer(400, TEXT, b"Traceback\n"), False),
    "a refusal that changed something": (Answer(400, TEXT, b"x\n"), True),
    "no lines": (Answer(400, TEXT, b""), False),
    "an empty line": (Answer(400, TEXT, b"x\n\nx\n"), False),
    "a line that ends in another way": (Answer(400, TEXT, b"x\ry\n"), False),
    "no UTF-8": (Answer(400, TEXT, b"\xff\n"), False),
    "too many lines": (Answer(400, TEXT, b"x\n" * 102), False),
    "another type": (Answer(404, {"content-type": "text/html"}, b"x\n"), False),
    "a page": (Answer(200, {"content-type": "text/html"}, b"x\n"), False),
}


@pytest.mark.parametrize(("answer", "changed"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_seen(answer: Answer, changed: bool) -> None:
    assert list(wrong(Request("POST", b"/"), answer, changed=changed))


def test_a_right_answer_is_not_taken_for_a_wrong_one() -> None:
    assert list(wrong(Request("POST", b"/"), Answer(400, TEXT, b"x\ny\n"), changed=False)) == []


# --- over HTTPS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A sandbox that does not wait long for the rest of a request."""
    folder = tmp_path_factory.mktemp("mutations")
    world = write_world(folder / "world", CONTRACTS)
    options = ("--data", str(world), "--workers", "1")
    with watched(folder / "sandbox", *options, IBT_LIMIT_HEAD_SECONDS="1", IBT_LIMIT_BODY_SECONDS="1") as started:
        yield started


@dataclass
class Lane:
    """One customer's user, who sends one request after another and sees after each whether anything changed."""

    served: Watched
    customer_id: int
    findings: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def run(self, numbers: range) -> None:
        """Sends the requests of *numbers*, each on a connection of its own."""
        server = self.served.server
        asking = HTTPSConnection(server.host, server.port, context=self._tls(), timeout=PATIENCE)
        revision = self._revision(asking)
        for number in numbers:
            statuses = self._sent(number)
            after = self._revision(asking)
            self.statuses.update(statuses)
            if revision != after and 200 not in statuses:
                self.findings.append(f"{number}: changed something with {statuses}")
            revision = after
        asking.close()

    def _tls(self) -> ssl.SSLContext:
        return self.served.server.tls(user_of(self.customer_id))

    def _revision(self, asking: HTTPSConnection) -> str | None:
        asking.request("GET", f"{self.served.server.path}/{self.customer_id}/subaccounts")
        with asking.getresponse() as answer:
            answer.read()
            return answer.getheader("ETag")

    def _sent(self, number: int) -> list[int]:
        received = b""
        with wire.connection(self.served.server, user_of(self.customer_id)) as connection:
            # That the service has refused and closed before it was sent everything, its answer says.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                connection.sendall(raw(number, [self.customer_id]) + _LAST)
            try:
                with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
                    while piece := connection.recv(65_536):
                        received += piece
            except TimeoutError:
                self.findings.append(f"{number}: hangs after {received[:200]!r}")
        statuses = [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d{3}) ", received, re.MULTILINE)]
        if not statuses:
            self.findings.append(f"{number}: no answer, but {received[:200]!r}")
        if {status for status in statuses if status >= 500} - _RIGHT or b"Traceback" in received:
            self.findings.append(f"{number}: {received[:2_000]!r}")
        return statuses


@pytest.mark.timeout(120 + ON_THE_WIRE // 5)
def test_no_mutated_request_over_https_is_answered_wrongly(served: Watched) -> None:
    lanes = [Lane(served, customer_id) for customer_id in CUSTOMERS]
    parts = [range(number, ON_THE_WIRE, len(lanes)) for number in range(len(lanes))]
    with ThreadPoolExecutor(len(lanes)) as threads:
        list(threads.map(Lane.run, lanes, parts))
    statuses = sum((lane.statuses for lane in lanes), Counter[int]())
    assert [finding for lane in lanes for finding in lane.findings] == []
    assert {200, 400, 403, 404, 405, 415, 431} <= statuses.keys()
    assert '"unforeseen"' not in served.log.read_text()
