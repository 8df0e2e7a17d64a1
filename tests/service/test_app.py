"""
The application in process, on each database: which refusal comes first, what is told when it cannot be done.

Clause 2.1. Readings 7, 28, 54, 57.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import combinations, islice
from pathlib import Path
from queue import Empty, Queue
from threading import Event
from typing import Any, NamedTuple

import pytest
import structlog.testing
from markets import write_market
from sqlalchemy import delete, event, text

import ibt.store.database
from ibt.rules.faults import Faults
from ibt.rules.model import MappingVersion
from ibt.rules.queries import Query
from ibt.sandbox import pki
from ibt.service.app import Application
from ibt.service.limits import Limits
from ibt.service.negotiation import VENDOR_TYPE
from ibt.service.request import Request as Asked
from ibt.store import Database, Unavailable, reads, tables, writes
from ibt.store.loading import load, read_market
from ibt.store.places import Place
from postgresql import Server

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
LONGEST_BODY = 10_000
MAPPINGS = "contractSubaccountMappings"


def update(subaccount_id: str) -> bytes:
    """The message that maps contract 999999 to *subaccount_id* for September 2015."""
    return (
        '<contract_subaccount_mappings xmlns="http://xmlns.iso-ne.com/contract/customers">'
        "<contract_subaccount_mapping><customer_id>1</customer_id><contract_id>999999</contract_id>"
        "<market_name/><buyer_name/><seller_name/><contract_begin>2015-08-01T04:00:00Z</contract_begin>"
        "<contract_end>2015-10-01T04:00:00Z</contract_end><status/><contract_subaccount_mapping_version>"
        "<begin>2015-09-01T04:00:00Z</begin><version/>"
        f"<subaccount_id>{subaccount_id}</subaccount_id></contract_subaccount_mapping_version>"
        "</contract_subaccount_mapping></contract_subaccount_mappings>"
    ).encode()


@dataclass(frozen=True)
class Request:
    """A request in parts, so that several things can be wrong with it at once."""

    method: str = "GET"
    customer: str = "1"
    resource: str = MAPPINGS
    rest: str = ""
    query: str = ""
    user: str | None = "xyz"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_header(self, name: str, value: str) -> Request:
        return replace(self, headers={**self.headers, name: value})


HISTORY = Request(rest="/999999")
UPDATE = Request("POST", body=update("ABC1"), headers={"content-type": VENDOR_TYPE})


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


Before = Callable[[], None]


@dataclass(frozen=True)
class Service:
    """The application over a database with the sample world, and who may ask it."""

    database: Database
    application: Application
    certificates: Mapping[str, str]

    def ask(self, request: Request, before_the_body: Before = lambda: None) -> Answer:
        """The answer; *before_the_body* happens when the head has been judged and the body is asked for."""
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            before_the_body()
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self.application(self.scope(request), receive, send))
        start, body = sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], headers, body["body"])

    def scope(self, request: Request) -> dict[str, Any]:
        chain = [] if request.user is None else [self.certificates[request.user]]
        path = f"/sms_oper_contract/api/customers/{request.customer}/{request.resource}{request.rest}"
        return {
            "type": "http",
            "method": request.method,
            "raw_path": path.encode(),
            "query_string": request.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in request.headers.items()],
            "extensions": {"tls": {"client_cert_chain": chain}},
        }

    def tell(self, statement: str) -> None:
        with self.database.updating() as connection:
            connection.execute(text(statement))

    def history(self) -> tuple[MappingVersion, ...]:
        with self.database.reading() as connection:
            return reads.mapping_history(connection, 1, 999999).versions


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Certificates by user."""
    folder = tmp_path_factory.mktemp("certificates")
    users = ("xyz", "qrs", "both", "nobody")
    now = datetime.now(UTC)
    pki.client_certificates(folder, pki.authority(folder, now), users, now)
    bundles = {user: (folder / "clients" / f"{user}.pem").read_text("ascii") for user in users}
    return {user: bundle[bundle.index("-----BEGIN CERTIFICATE") :] for user, bundle in bundles.items()}


@contextmanager
def serving(url: str, folder: Path, certificates: Mapping[str, str]) -> Iterator[Service]:
    database = Database(url)
    database.upgrade()
    market = read_market(write_market(folder), NOW, Faults())
    with database.updating() as connection:
        load(connection, market)
    application = Application(database, replace(Limits(), body=LONGEST_BODY), lambda: NOW)
    yield Service(database, application, certificates)
    application.close()
    database.close()


@pytest.fixture
def service(database_url: str, tmp_path: Path, certificates: Mapping[str, str]) -> Iterator[Service]:
    """A service of its own, for a test that changes something."""
    with serving(database_url, tmp_path, certificates) as service:
        yield service


@pytest.fixture(scope="module")
def unchanged(
    new_database: Callable[[], AbstractContextManager[str]],
    tmp_path_factory: pytest.TempPathFactory,
    certificates: Mapping[str, str],
) -> Iterator[Service]:
    """The service of those tests that change nothing."""
    with new_database() as url, serving(url, tmp_path_factory.mktemp("market"), certificates) as service:
        yield service


# Which refusal comes first ----------------------------------------------------------------------------------


class Wrong(NamedTuple):
    """One thing that is wrong with a request: how it comes about, and how it is refused."""

    make: Callable[[Request], Request]
    status: int
    told: str


NO_ROLE = Wrong(lambda request: replace(request, user="nobody"), 403, "does not have the role IBT at any customer")
NO_RESOURCE = Wrong(lambda request: replace(request, rest=f"{request.rest}/"), 404, "names no resource")
NO_METHOD = Wrong(lambda request: replace(request, method="PUT"), 405, "is not supported here")
OTHER_CUSTOMER = Wrong(
    lambda request: replace(request, customer="2"), 403, "does not have the role IBT at customer 2"
)
NO_TYPE = Wrong(lambda request: request.with_header("accept", "text/html"), 406, "fits neither type")
OTHER_TYPE = Wrong(lambda request: request.with_header("content-type", "application/xml"), 415, "is not the type of")
TOO_LONG = Wrong(
    lambda request: request.with_header("content-length", str(LONGEST_BODY + 1)), 413, f"longer than {LONGEST_BODY}"
)
BAD_PARAMETER = Wrong(
    lambda request: replace(request.with_header("prefer", "handling=strict"), query="colour=red"),
    400,
    'parameter "colour": is unknown',
)
BAD_BODY = Wrong(lambda request: replace(request, body=update("nobody's")), 400, 'subaccount_id "nobody\'s": must be')
NO_CONTRACT = Wrong(lambda request: replace(request, rest=request.rest.replace("999999", "5")), 404, "is not a party")
OVERTAKEN = Wrong(lambda request: request.with_header("if-match", '"stale.v"'), 412, "nothing was changed")
KNOWN = Wrong(lambda request: request.with_header("if-none-match", "*"), 304, "")

#: What can be wrong with the GET of a history and with an update, in the order of reading 7.
WRONG = {
    "GET": (HISTORY, (NO_ROLE, NO_RESOURCE, NO_METHOD, OTHER_CUSTOMER, NO_TYPE, BAD_PARAMETER, NO_CONTRACT, KNOWN)),
    "POST": (
        UPDATE,
        (
            NO_ROLE,
            NO_RESOURCE,
            NO_METHOD,
            OTHER_CUSTOMER,
            NO_TYPE,
            OTHER_TYPE,
            TOO_LONG,
            BAD_PARAMETER,
            BAD_BODY,
            OVERTAKEN,
        ),
    ),
}
ALONE = [
    pytest.param(base, wrong, id=f"{name}-{wrong.status}") for name, (base, all_) in WRONG.items() for wrong in all_
]
PAIRS = [
    pytest.param(base, earlier, later, id=f"{name}-{earlier.status}-{later.status}")
    for name, (base, all_) in WRONG.items()
    for earlier, later in combinations(all_, 2)
]


@pytest.mark.parametrize(("base", "wrong"), ALONE)
def test_a_request_with_one_fault_is_refused(unchanged: Service, base: Request, wrong: Wrong) -> None:
    answer = unchanged.ask(wrong.make(base))
    assert answer.status == wrong.status
    assert wrong.told in answer.text


@pytest.mark.parametrize(("base", "earlier", "later"), PAIRS)
def test_of_two_faults_the_earlier_is_told(unchanged: Service, base: Request, earlier: Wrong, later: Wrong) -> None:
    answer = unchanged.ask(later.make(earlier.make(base)))
    assert answer.status == earlier.status
    assert earlier.told in answer.text


def test_without_a_certificate_nothing_else_is_told(unchanged: Service) -> None:
    for base, wrongs in WRONG.values():
        for wrong in wrongs:
            answer = unchanged.ask(replace(wrong.make(base), user=None))
            assert (answer.status, "No client certificate was sent" in answer.text) == (403, True)


@pytest.mark.parametrize("wrong", WRONG["POST"][1][:8], ids=lambda wrong: str(wrong.status))
def test_what_the_head_decides_is_refused_before_the_body_is_read(unchanged: Service, wrong: Wrong) -> None:
    asked_for = []
    answer = unchanged.ask(wrong.make(UPDATE), lambda: asked_for.append(True))
    assert answer.status == wrong.status
    if wrong is not BAD_PARAMETER:  # which is judged with the body
        assert asked_for == []


def test_no_refusal_changes_anything(unchanged: Service) -> None:
    before = unchanged.history()
    for base, wrongs in WRONG.values():
        for wrong in wrongs:
            unchanged.ask(wrong.make(base))
    assert unchanged.history() == before


# When it cannot be done -------------------------------------------------------------------------------------

OURS = re.compile(r"sql|traceback|table|column|psycopg|/|line \d+|subaccount_version", re.IGNORECASE)


def test_what_is_unforeseen_is_told_with_an_id_that_is_in_the_log(service: Service) -> None:
    service.tell("drop table subaccount_version")
    with structlog.testing.capture_logs() as logged:
        answer = service.ask(Request(resource="subaccounts"))
    assert answer.status == 500
    (request_id,) = re.findall(r"[0-9a-f]{16}", answer.text)
    assert answer.headers["x-request-id"] == request_id
    assert answer.headers["content-type"] == "text/plain;charset=UTF-8"
    assert OURS.search(answer.text) is None
    assert answer.text.count("\n") == 1
    unforeseen, request = logged
    assert unforeseen["id"] == request_id
    assert isinstance(unforeseen["exc_info"], Exception)
    assert (request["id"], request["status"], request["log_level"]) == (request_id, 500, "error")


def test_an_update_that_fails_unforeseen_changes_nothing(service: Service) -> None:
    before = service.ask(HISTORY)
    service.tell("alter table mapping_version rename to elsewhere")
    assert service.ask(UPDATE).status == 500
    service.tell("alter table elsewhere rename to mapping_version")
    after = service.ask(HISTORY)
    assert (after.body, after.headers["etag"]) == (before.body, before.headers["etag"])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ibt.store.database, "LOCK_WAIT", 0.1)


@pytest.mark.usefixtures("impatient")
def test_an_update_that_waits_too_long_for_others_is_told_that_nothing_was_changed(service: Service) -> None:
    before = service.history()
    other = Database(service.database.url.render_as_string(hide_password=False))
    with other.updating() as connection:
        writes.lock(connection, 1)
        answer = service.ask(UPDATE)
        assert answer.status == 503
        assert "nothing was changed" in answer.text
        assert answer.headers["retry-after"] == "1"
        assert OURS.search(answer.text) is None
        assert service.ask(HISTORY).status == 200  # who only reads does not wait
    other.close()
    assert service.history() == before
    assert service.ask(UPDATE).status == 200
    assert len(service.history()) == len(before) + 1


def test_a_database_lost_while_it_commits_is_told_as_an_unknown_outcome(
    postgresql: Server, tmp_path: Path, certificates: Mapping[str, str]
) -> None:
    with postgresql.database() as url, serving(url, tmp_path, certificates) as service:

        @event.listens_for(service.database.engine, "commit")
        def lose(connection: Any) -> None:
            other = Database(url)
            ours = connection.connection.dbapi_connection.info.backend_pid
            with other.reading() as reader:
                reader.execute(text("select pg_terminate_backend(:ours, 10000)"), {"ours": ours})
            other.close()

        before = service.history()
        answer = service.ask(UPDATE)
        assert service.history() == before  # in this case, but the service could not know
    assert answer.status == 503
    assert "the outcome is unknown: read before you send it again" in answer.text
    assert "nothing was changed" not in answer.text


@pytest.mark.usefixtures("impatient")
def test_the_time_of_a_version_is_read_under_the_customers_lock(service: Service) -> None:
    """Reading 41: an update that waited is not dated from before the one it waited for."""
    other = Database(service.database.url.render_as_string(hide_password=False))
    locked = []

    def clock() -> datetime:
        try:
            with other.updating() as connection:
                writes.lock(connection, 1)
            locked.append(False)
        except Unavailable:
            locked.append(True)
        return NOW

    application = Application(service.database, Limits(), clock)
    assert replace(service, application=application).ask(UPDATE).status == 200
    application.close()
    other.close()
    assert locked == [True]


# Ids, logs, and what happens between head and body ------------------------------------------------------------

IDS = {
    "a plain one": ("abc-123_X.y", True),
    "one character": ("a", True),
    "64 characters": ("a" * 64, True),
    "65 characters": ("a" * 65, False),
    "empty": ("", False),
    "with a blank": ("a b", False),
    "with a line end": ("a\n", False),
    "with other letters": ("é", False),
    "a list": ("a,b", False),
}


@pytest.mark.parametrize(("given", "taken_over"), IDS.values(), ids=IDS)
def test_an_id_of_the_request_is_taken_over_or_made(unchanged: Service, given: str, taken_over: bool) -> None:
    with structlog.testing.capture_logs() as logged:
        answer = unchanged.ask(HISTORY.with_header("x-request-id", given))
    request_id = answer.headers["x-request-id"]
    assert (request_id == given) is taken_over
    assert taken_over or re.fullmatch("[0-9a-f]{16}", request_id)
    assert [line["id"] for line in logged] == [request_id]


def test_ids_that_are_made_differ(unchanged: Service) -> None:
    assert len({unchanged.ask(HISTORY).headers["x-request-id"] for _ in range(10)}) == 10


def test_a_request_is_one_line_of_the_log(unchanged: Service) -> None:
    with structlog.testing.capture_logs() as logged:
        answer = unchanged.ask(HISTORY)
    (line,) = logged
    assert line.pop("milliseconds") > 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "id": answer.headers["x-request-id"],
        "address": "",
        "user": "xyz",
        "customer": 1,
        "method": "GET",
        "path": "/sms_oper_contract/api/customers/1/contractSubaccountMappings/999999",
        "status": 200,
        "bytes": len(answer.body),
    }


def test_a_refused_certificate_is_in_the_log(unchanged: Service) -> None:
    with structlog.testing.capture_logs() as logged:
        answer = unchanged.ask(replace(HISTORY, user="nobody"))
    (line,) = logged
    assert line["subject"] == "CN=nobody"
    assert line["fingerprint"] in answer.text
    assert line["why"] == answer.text.rstrip("\n")
    assert line["issuer"]


def test_a_role_that_is_taken_away_before_the_body_has_come_is_gone(service: Service) -> None:
    def take_away() -> None:
        with service.database.updating() as connection:
            connection.execute(delete(tables.grants).where(tables.grants.c.user_name == "xyz"))

    before = service.history()
    answer = service.ask(UPDATE, take_away)
    assert answer.status == 403
    assert "does not have the role IBT at any customer" in answer.text
    assert service.history() == before


def test_a_client_that_goes_away_before_its_body_is_whole_changes_nothing(service: Service) -> None:
    before = service.history()
    messages: Iterator[dict[str, Any]] = iter(
        [{"type": "http.request", "body": UPDATE.body[:100], "more_body": True}, {"type": "http.disconnect"}]
    )
    sent: list[object] = []

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: object) -> None:
        sent.append(message)

    with structlog.testing.capture_logs() as logged:
        asyncio.run(service.application(service.scope(UPDATE), receive, send))
    assert sent == []
    assert [line["status"] for line in logged] == [None]
    assert service.history() == before


def test_a_body_that_grows_too_long_is_refused_while_it_is_read(service: Service) -> None:
    pieces = 0

    async def receive() -> dict[str, Any]:
        nonlocal pieces
        pieces += 1
        return {"type": "http.request", "body": b" " * 1000, "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(service.application(service.scope(UPDATE), receive, send))
    assert sent[0]["status"] == 413
    assert pieces == LONGEST_BODY // 1000 + 1


# Conditional requests ---------------------------------------------------------------------------------------


def test_a_tag_is_renewed_by_what_changes_something_and_by_nothing_else(service: Service) -> None:
    first = service.ask(HISTORY).headers["etag"]
    changed = service.ask(UPDATE).headers["etag"]
    again = service.ask(UPDATE).headers["etag"]
    assert first != changed == again == service.ask(HISTORY).headers["etag"]
    assert service.ask(HISTORY.with_header("if-none-match", changed)).status == 304
    assert service.ask(HISTORY.with_header("if-none-match", first)).status == 200
    assert service.ask(UPDATE.with_header("if-match", first)).status == 412
    assert service.ask(UPDATE.with_header("if-match", changed)).status == 200


def test_another_customers_update_leaves_the_tag(service: Service) -> None:
    theirs = replace(Request(resource="subaccounts"), user="qrs", customer="2")
    before = service.ask(theirs).headers["etag"]
    service.ask(UPDATE)
    assert service.ask(theirs).headers["etag"] == before


def test_what_a_client_has_is_not_read_again(unchanged: Service) -> None:
    told: list[str] = []

    def tell(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        told.append(statement)

    event.listen(unchanged.database.engine, "before_cursor_execute", tell)
    try:
        unchanged.ask(replace(HISTORY, rest="").with_header("if-none-match", "*"))
    finally:
        event.remove(unchanged.database.engine, "before_cursor_execute", tell)
    assert [statement for statement in told if "mapping" in statement] == []
    asked = [statement for statement in told if statement not in {"BEGIN", "COMMIT"}]
    assert len(asked) <= 1, "who is asking; not even that where nothing was changed since that was asked"


# What is answered at once -----------------------------------------------------------------------------------


def at_once(service: Service, request: Request) -> Answer | None:
    """The answer that does not wait for a thread, or None."""
    sent: list[tuple[int, Any, bytes]] = []
    if not service.application.at_once(Asked.of(service.scope(request)), lambda *answer: sent.append(answer)):
        return None
    ((status, fields, body),) = sent
    return Answer(status, {name.decode(): value.decode() for name, value in fields}, body)


PAGE = replace(HISTORY, rest="", query="limit=1")


def test_on_a_database_within_this_process_what_takes_no_longer_is_answered_at_once(unchanged: Service) -> None:
    answer = at_once(unchanged, PAGE)
    assert (answer and answer.body) == (unchanged.ask(PAGE).body if unchanged.database.sqlite else None)


@pytest.mark.parametrize("query", ["subaccount_name=D*", "subaccount_name=D*&start=1"])
def test_what_took_long_to_count_is_left_to_a_thread(
    service: Service, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """A page that is filtered may read as much as the total did, of which nobody knows before how much it is."""
    page = replace(PAGE, query=query)
    assert at_once(service, page) is None, "nobody has counted yet"
    monkeypatch.setattr("time.thread_time", iter([0.0, 0.1, 0.0, 0.0]).__next__)
    service.ask(page)
    other = replace(page, query=f"{query}&limit=2")
    assert at_once(service, other) is None
    service.ask(UPDATE)  # a new state, of which the total is soon counted
    service.ask(page)
    assert (at_once(service, other) is not None) is service.database.sqlite


@pytest.mark.parametrize("request_", [HISTORY, replace(HISTORY, resource="subaccounts", rest="")], ids=str)
def test_what_has_many_rows_is_left_to_a_thread(
    service: Service, monkeypatch: pytest.MonkeyPatch, request_: Request
) -> None:
    assert (at_once(service, request_) is not None) is service.database.sqlite
    service.ask(UPDATE)  # so that nothing is remembered
    monkeypatch.setattr("ibt.service.resources._MOST_ROWS_AT_ONCE", 1)
    assert at_once(service, request_) is None
    answer = service.ask(request_)
    assert (answer.status, answer.text.count("<begin>") > 1) == (200, True)
    assert (at_once(service, request_) is not None) is service.database.sqlite, "it is remembered"


def test_what_was_asked_is_a_part_of_what_an_answer_takes_to_remember(service: Service) -> None:
    """Else a client could have as many answers kept as fit, each with a query string of 16 KB."""
    before = service.application._remembered.answers._cost
    service.ask(replace(PAGE, query=f"limit=1&x={'y' * 15_000}"))
    assert service.application._remembered.answers._cost > before + 15_000


@pytest.mark.parametrize("filters", ["", "&party_id=1"], ids=["all versions", "some"])
def test_on_sqlite_large_pages_of_all_versions_are_made_one_at_a_time(
    service: Service, monkeypatch: pytest.MonkeyPatch, filters: str
) -> None:
    page, begun, go_on = reads.page, Queue[int](), Event()

    def waiting(connection: Any, customer_id: int, query: Query, place: Place | None) -> object:
        begun.put(query.limit)
        assert go_on.wait(10)
        return page(connection, customer_id, query, place)

    monkeypatch.setattr(reads, "page", waiting)
    in_turn = service.database.sqlite and not filters
    with ThreadPoolExecutor(2) as clients:
        asked = [clients.submit(service.ask, replace(PAGE, query=f"limit={limit}{filters}")) for limit in (500, 600)]
        first = begun.get(timeout=10)
        try:
            second = begun.get(timeout=0.2 if in_turn else 10)
            assert not in_turn, f"{first} and {second} are made together"
        except Empty:
            assert in_turn
        finally:
            go_on.set()
        assert [answer.result().status for answer in asked] == [200, 200]


@pytest.mark.parametrize("updates", [1, 9], ids=["once", "each time"])
def test_an_answer_is_of_one_state_though_that_changes_while_it_is_read(
    service: Service, monkeypatch: pytest.MonkeyPatch, updates: int
) -> None:
    """Whether it is found between two looks at the state, or in a transaction in the end."""
    page, rest = reads.page, iter(["ABC1", "Default"] * updates)
    left = iter(range(updates))
    states: dict[str, bytes] = {}

    def keep() -> None:
        monkeypatch.setattr(reads, "page", page)
        answer = service.ask(replace(PAGE, query="page=1"))
        states[answer.headers["etag"]] = answer.body
        monkeypatch.setattr(reads, "page", disturbed)

    def disturbed(*arguments: Any) -> Any:
        for _ in islice(left, 1):
            service.ask(replace(UPDATE, body=update(next(rest))))
            keep()
        return page(*arguments)

    keep()
    found = service.ask(replace(PAGE, query=""))
    assert found.body == states[found.headers["etag"]]
    assert len(states) == 1 + min(updates, 4)


def test_what_changes_each_time_it_is_read_is_left_to_a_thread(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction that is begun in the end counts anew, which may take long where there are filters."""
    some = replace(PAGE, query="limit=1&party_id=1")
    service.ask(some)
    page, rest = reads.page, iter(["ABC1", "Default"] * 2)

    def disturbed(*arguments: Any) -> Any:
        monkeypatch.setattr(reads, "page", page)
        service.ask(replace(UPDATE, body=update(next(rest))))
        service.ask(some)  # somebody else has the new state counted
        monkeypatch.setattr(reads, "page", disturbed)
        return page(*arguments)

    monkeypatch.setattr(reads, "page", disturbed)
    assert at_once(service, replace(PAGE, query="limit=2&party_id=1")) is None
    assert len(list(rest)) == (1 if service.database.sqlite else 4), "it was looked at three times"
