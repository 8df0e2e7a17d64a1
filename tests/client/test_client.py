"""
`Client` and `AsyncClient` against a live sandbox.

Clauses 3.1, 3.2, 3.3. Readings 12, 13, 29, 30, 57.
"""

from __future__ import annotations

import asyncio
import gc
import re
import subprocess
import sys
from datetime import date
from threading import Event, Semaphore, Thread
from typing import TYPE_CHECKING, Any

import pytest

from client.proxy import PATIENCE, says
from ibt import AsyncClient, Category, Client, ConnectionFailed, Month, Refused, ServerFailed, StateChanged
from ibt.client import Request, base_url
from ibt.messages import read_mappings
from ibt.rules.model import DEFAULT_SUBACCOUNT, RequestedMapping, RequestedVersion
from ibt.rules.periods import month_begin, month_of

if TYPE_CHECKING:
    from client.conftest import Sandbox
    from client.proxy import Gateway
    from ibt.client import Reply
    from ibt.rules.model import SubaccountMapping

AUGUST = Month("2015-08")


def subaccount(mapping: SubaccountMapping, month: Month) -> str:
    """The last subaccount of *month*."""
    return [each.subaccount_id for each in mapping.versions if month_of(each.begin) == month][-1]


def test_the_subaccounts_come_with_their_versions(client: Client) -> None:
    found = client.subaccounts()
    assert [each.subaccount_id for each in found] == ["A", "B & Ä", "Default", "ENDED", "LATE"]
    assert found[1].subaccount_versions[0].subaccount_status == "Inactive"
    assert found[3].subaccount_versions[0].end == month_begin(Month("2015-10"))


@pytest.mark.parametrize("limit", [7, 25, 1000])
def test_each_contract_comes_once_and_whole_however_long_the_pages_are(sandbox: Sandbox, limit: int) -> None:
    with sandbox.client("three", 3) as client:
        mappings = client.mappings(limit=limit)
        found = list(mappings)
    assert mappings.total == 360
    assert [mapping.contract.contract_id for mapping in found] == list(range(301, 331))
    assert {len(mapping.versions) for mapping in found} == {12}
    assert found[0].contract.seller_name == "Three <LLC>"


def test_the_total_is_known_before_the_first_mapping(sandbox: Sandbox) -> None:
    with sandbox.client("three", 3) as client:
        mappings = client.mappings(limit=100)
        assert mappings.total == 360
        assert len(list(mappings)) == 30


def test_the_next_page_is_asked_for_while_the_caller_works_and_no_further_one(sandbox: Sandbox) -> None:
    asked: list[str] = []
    second = Event()

    def watch(request: Request, _: object) -> None:
        asked.append(dict(request.query)["start"])
        if len(asked) == 2:
            second.set()

    with sandbox.client("three", 3, watch=watch) as client:
        mappings = client.mappings(limit=36)  # three contracts, of which the last may go on
        next(mappings)
        assert second.wait(PATIENCE)
        next(mappings)
        assert asked == ["0", "36"]


def test_a_page_is_read_while_the_next_one_comes(behind: Client, door: Gateway, overlap: list[int]) -> None:
    assert len(list(behind.mappings(limit=20))) == 32
    assert len(overlap) == len(door.seen) > 3


def test_the_asynchronous_client_reads_a_page_while_the_next_one_comes(
    sandbox: Sandbox, door: Gateway, overlap: list[int]
) -> None:
    async def read() -> int:
        async with AsyncClient(door.url, sandbox.certificate("one"), ca=door.ca, customer=1) as client:
            return len([mapping async for mapping in client.mappings(limit=20)])

    assert asyncio.run(read()) == 32
    assert len(overlap) == len(door.seen) > 3


def test_a_page_that_failed_and_that_nobody_wants_is_not_complained_of(sandbox: Sandbox, door: Gateway) -> None:
    complaints: list[dict[str, Any]] = []

    async def read() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        replies: asyncio.Queue[object] = asyncio.Queue()
        settings: dict[str, Any] = {"ca": door.ca, "customer": 1, "watch": lambda _, reply: replies.put_nowait(reply)}
        async with AsyncClient(door.url, sandbox.certificate("one"), **settings) as client:
            await anext(client.mappings(limit=20))
            await replies.get()
            await replies.get()
            await asyncio.sleep(0)  # so that the task is gone before the client is closed, which would look at it

    door.script.extend([lambda pass_on: pass_on(), says(500, "no")])
    asyncio.run(read())
    gc.collect()
    assert len(door.seen) == 2
    assert complaints == []


@pytest.fixture
def overlap(door: Gateway, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pages of 20 are read once the next one is asked for, as it is while the total is known: the pages read."""
    arrived, pages = Semaphore(0), []

    def note(pass_on: Any) -> Any:
        arrived.release()
        return pass_on()

    def read(body: bytes) -> tuple[int | None, list[SubaccountMapping]]:
        total, page = read_mappings(body)
        assert total is not None
        pages.append(len(page))
        if 1 < len(pages) < total / 20:
            assert arrived.acquire(timeout=PATIENCE), "the next page was not asked for"
        return total, page

    for _ in range(2):  # the first page tells the total, the second comes after it
        door.script.append(lambda pass_on: pass_on())
    door.otherwise = note
    monkeypatch.setattr("ibt.client.exchange.read_mappings", read)
    return pages


def test_whoever_ends_early_leaves_nothing_under_way(sandbox: Sandbox) -> None:
    asked: list[Request] = []
    second, go_on = Event(), Event()

    def watch(request: Request, _: object) -> None:
        if asked:
            second.set()
            assert go_on.wait(PATIENCE)
        asked.append(request)

    client = sandbox.client("three", 3, watch=watch)
    next(client.mappings(limit=36))
    assert second.wait(PATIENCE)
    closing = Thread(target=client.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    go_on.set()
    closing.join(PATIENCE)
    assert len(asked) == 2


def test_a_pause_ends_when_the_client_is_closed(sandbox: Sandbox, door: Gateway) -> None:
    paused = Event()

    def busy(pass_on: Any) -> Any:
        paused.set()
        return says(503, "busy", retry_after="59")(pass_on)

    client = Client(door.url, sandbox.certificate("one"), ca=door.ca, customer=1)
    mappings = client.mappings(limit=20)
    door.script.append(lambda pass_on: pass_on())
    door.otherwise = busy
    next(mappings)
    assert paused.wait(PATIENCE)
    closing = Thread(target=client.close)
    closing.start()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    with pytest.raises(ConnectionFailed, match="The client is closed"):
        client.subaccounts()
    assert len(door.seen) == 2


FILTERS: list[tuple[str, dict[str, Any], list[int]]] = [
    ("a contract", {"contract_id": 305}, [305]),
    ("contracts by a wildcard", {"contract_id": "31*"}, list(range(310, 320))),
    ("a blank reference", {"reference_id": "", "contract_id": "30%"}, list(range(301, 310))),
    ("a category", {"category": Category.FCM_LOAD_OBLIGATION, "contract_id": 301}, [301]),
    ("another category, as a text", {"category": "LOAD REAL TIME"}, []),
    ("a location", {"location_id": 4000}, []),
    ("a party", {"party_id": 2, "contract_id": 302}, [302]),
    ("no subaccount of that name", {"subaccount_name": "C name"}, []),
    ("what is None is left out", {"contract_id": 303, "party_id": None}, [303]),
]


@pytest.mark.parametrize(("filters", "contracts"), [pytest.param(f, c, id=name) for name, f, c in FILTERS])
def test_filters_are_python_values(sandbox: Sandbox, filters: dict[str, Any], contracts: list[int]) -> None:
    with sandbox.client("three", 3) as client:
        assert [mapping.contract.contract_id for mapping in client.mappings(**filters)] == contracts


DATES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("one day", {"start_date": date(2015, 8, 31)}, ["2015-08"]),
    ("a month alone is all of it", {"start_date": AUGUST}, ["2015-08"]),
    ("a month alone at the end too", {"end_date": AUGUST}, ["2015-08"]),
    ("months", {"start_date": AUGUST, "end_date": Month("2015-10")}, ["2015-08", "2015-09", "2015-10"]),
    ("a day and a month", {"start_date": date(2015, 11, 30), "end_date": Month("2016-02")}, ["2015-11", "2015-12"]),
]


@pytest.mark.parametrize(("dates", "months"), [pytest.param(d, m, id=name) for name, d, m in DATES])
def test_dates_are_days_or_months(sandbox: Sandbox, dates: dict[str, Any], months: list[str]) -> None:
    with sandbox.client("three", 3) as client:
        (mapping,) = client.mappings(contract_id=301, **dates)
        assert [str(month_of(version.begin)) for version in mapping.versions] == months


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({"contract_id": -1}, 'contract_id "-1": has other characters than digits, * and %'),
        ({"category": "FCM"}, 'category "FCM": is no category'),
        ({"limit": 1001}, 'limit "1001": is out of range'),
        (
            {"start_date": date(2015, 9, 1), "end_date": date(2015, 8, 1)},
            'start_date "09/01/2015": is after end_date',
        ),
        ({"subaccount_id": ""}, 'subaccount_id "": is empty'),
    ],
)
def test_a_wrong_filter_is_told_in_the_rules_words_and_not_sent(
    client: Client, filters: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        client.mappings(**filters)


def test_a_name_that_is_no_filter_is_a_fault_of_the_program(client: Client) -> None:
    wrong: dict[str, Any] = {"page": 2}
    with pytest.raises(TypeError, match="page is not a filter: there are contract_id"):
        client.mappings(**wrong)


def test_a_mapping_has_its_history(client: Client, contract: int) -> None:
    client.update([client.mapping(contract).with_subaccount(AUGUST, "A")])
    client.update([client.mapping(contract).with_subaccount(AUGUST, "B & Ä")])
    found = [each.subaccount_id for each in client.mapping(contract).versions]
    assert found[-3:] == [DEFAULT_SUBACCOUNT, "A", "B & Ä"]


def test_what_mappings_gave_can_be_edited_and_sent(client: Client, contract: int) -> None:
    (mapping,) = client.mappings(contract_id=contract)
    (reply,) = client.update([mapping.with_subaccount(AUGUST, "A")])
    assert subaccount(reply, AUGUST) == "A"
    assert reply.versions[0].version > mapping.versions[0].version
    assert list(client.mappings(contract_id=contract)) == [reply]


def test_a_mapping_has_no_month_outside_its_contract(client: Client) -> None:
    with pytest.raises(ValueError, match="contract 103 has no version in 2015-09"):
        client.mapping(103).with_subaccount(Month("2015-09"), "A")


def test_an_update_may_be_made_of_ids_and_periods_alone(client: Client, contract: int) -> None:
    wanted = RequestedMapping(1, contract, (RequestedVersion(month_begin(AUGUST), None, "A"),))
    (reply,) = client.update([wanted])
    assert subaccount(reply, AUGUST) == "A"


def test_a_refusal_has_its_status_its_faults_and_the_id_of_the_request(client: Client) -> None:
    begin = month_begin(AUGUST)
    wrong = RequestedMapping(2, 999, (RequestedVersion(begin, None, "A"),))
    with pytest.raises(Refused) as caught:
        client.update([wrong])
    assert caught.value.status == 400
    assert len(caught.value.faults) == 2
    assert caught.value.faults[1].startswith('contract 999, contract_id "999": customer 1 is not a party')
    assert caught.value.request_id
    assert str(caught.value).splitlines() == ["The service refused this (400):", *caught.value.faults]


@pytest.mark.parametrize(
    ("user", "customer", "status", "told"),
    [("one", 2, 403, "2"), ("nobody", 1, 403, "nobody"), ("one", 10**9, 404, "path")],
)
def test_whoever_may_not_is_told_so(sandbox: Sandbox, user: str, customer: int, status: int, told: str) -> None:
    with sandbox.client(user, customer) as client, pytest.raises(Refused) as caught:
        client.subaccounts()
    assert caught.value.status == status
    assert told in caught.value.faults[0]


def test_an_unknown_contract_is_refused(client: Client) -> None:
    with pytest.raises(Refused, match="404"):
        client.mapping(999)


def test_an_impossible_contract_is_not_asked_for(client: Client) -> None:
    with pytest.raises(ValueError, match="at most 9 digits"):
        client.mapping(10**9)


def test_without_a_customer_it_says_what_is_missing(sandbox: Sandbox) -> None:
    with Client(sandbox.url, sandbox.certificate("one"), ca=sandbox.ca) as client:
        with pytest.raises(ValueError, match="Give the customer's id"):
            client.subaccounts()
        with pytest.raises(ValueError, match="Give the customer's id"):
            client.mappings()


def test_whoever_watches_sees_requests_and_replies(sandbox: Sandbox) -> None:
    seen: list[tuple[Request, Reply | ConnectionFailed]] = []
    with sandbox.client(watch=lambda *both: seen.append(both)) as client:
        client.subaccounts()
    ((request, reply),) = seen
    assert (request.method, request.path) == ("GET", "/1/subaccounts")
    assert not isinstance(reply, ConnectionFailed)
    assert (reply.status, reply.revision is not None) == (200, True)


# --- pages and a state that changes -----------------------------------------------------------------------


def test_pages_of_two_states_are_not_mixed(sandbox: Sandbox, client: Client, contract: int) -> None:
    mappings = client.mappings(limit=1)
    next(mappings)
    change(sandbox, contract)
    with pytest.raises(StateChanged, match="changed between two pages"):
        list(mappings)


def test_pages_of_two_states_are_mixed_on_request(sandbox: Sandbox, client: Client, contract: int) -> None:
    mappings = client.mappings(limit=10, consistent=False)
    first = next(mappings)
    change(sandbox, contract)
    assert 1 + len(list(mappings)) == len(client.mappings().all())
    assert first.contract.contract_id == 101


def test_all_begins_again_where_the_state_changes(sandbox: Sandbox, contract: int) -> None:
    seen: list[Request] = []

    def watch(request: Request, _: object) -> None:
        seen.append(request)
        if len(seen) == 2:
            change(sandbox, contract)

    with sandbox.client(watch=watch) as client:
        found = client.mappings(limit=50).all()
    # The page at 150 was under way already when the one at 100 told of the change.
    assert [dict(request.query)["start"] for request in seen[:6]] == ["0", "50", "100", "150", "0", "50"]
    (changed,) = (mapping for mapping in found if mapping.contract.contract_id == contract)
    assert subaccount(changed, AUGUST) == "A"


def test_a_changed_total_tells_of_a_changed_state_where_there_is_no_etag(behind: Client, door: Gateway) -> None:
    def one_more(pass_on: Any) -> Any:
        answer = pass_on()
        body = answer.body.replace(b"<total_record_count>", b"<total_record_count>1")
        return type(answer)(answer.status, {"content-type": "application/xml"}, body)

    mappings = behind.mappings(limit=50)
    next(mappings)
    door.otherwise = one_more
    with pytest.raises(StateChanged):
        list(mappings)


@pytest.mark.parametrize(
    ("page", "said", "pages"),
    [
        pytest.param(0, 60, 6, id="it grows where the last page was thought to be"),
        pytest.param(1, 90, 2, id="it shrinks while a page that is no more is under way"),
    ],
)
def test_pages_are_read_to_the_total_that_the_last_one_tells(
    behind: Client, door: Gateway, page: int, said: int, pages: int
) -> None:
    def other_total(pass_on: Any) -> Any:
        answer = pass_on()
        body = re.sub(rb"(?<=<total_record_count>)\d+", b"%d" % said, answer.body)
        return type(answer)(answer.status, {"content-type": "application/xml"}, body)

    everything = [version for mapping in behind.mappings() for version in mapping.versions]
    door.script.extend([lambda pass_on: pass_on()] * page + [other_total])
    found = [version for mapping in behind.mappings(limit=50, consistent=False) for version in mapping.versions]
    assert found == everything[: pages * 50]


def change(sandbox: Sandbox, contract: int) -> None:
    """Another user maps August of *contract* to A."""
    with sandbox.client("second") as second:
        second.update([second.mapping(contract).with_subaccount(AUGUST, "A")])


# --- asyncio ----------------------------------------------------------------------------------------------


def test_the_asynchronous_client_has_the_same_methods(sandbox: Sandbox, contract: int) -> None:
    public = {name for name in vars(Client) if not name.startswith("_")}
    assert public == {name for name in vars(AsyncClient) if not name.startswith("_")}
    asyncio.run(everything(sandbox, contract))


async def everything(sandbox: Sandbox, contract: int) -> None:
    async with AsyncClient(sandbox.url, sandbox.certificate("one"), ca=sandbox.ca, customer=1) as client:
        assert len(await client.subaccounts()) == 5
        mappings = client.mappings(limit=10)
        assert await mappings.total == len([v async for m in mappings for v in m.versions])
        assert len(await client.mappings().all()) == 32
        mapping = await client.mapping(contract)
        (reply,) = await client.update([mapping.with_subaccount(AUGUST, "A")])
        assert subaccount(reply, AUGUST) == "A"
        with pytest.raises(Refused, match="404"):
            await client.mapping(999)
        async for _ in client.mappings(limit=10):
            break  # and leaves the next page alone


def test_the_asynchronous_client_sends_a_read_again(sandbox: Sandbox, door: Gateway) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def read() -> int:
        async with AsyncClient(door.url, sandbox.certificate("one"), ca=door.ca, customer=1, sleep=sleep) as client:
            return len(await client.subaccounts())

    door.script.extend([says(503, "busy"), lambda _: None])
    assert asyncio.run(read()) == 5
    assert len(slept) == 2


# --- what is no IBT service -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("smd.iso-ne.com", "https://smd.iso-ne.com/sms_oper_contract/api/customers"),
        ("localhost:8443", "https://localhost:8443/sms_oper_contract/api/customers"),
        ("https://localhost:8443/", "https://localhost:8443/sms_oper_contract/api/customers"),
        ("https://host/other/base/", "https://host/other/base"),
        ("[::1]:8443", "https://[::1]:8443/sms_oper_contract/api/customers"),
    ],
)
def test_a_host_alone_is_completed(text: str, url: str) -> None:
    assert base_url(text) == url


@pytest.mark.parametrize(
    "text", ["", "http://localhost", "https://", "host:port", "me@host", "host?x", "a b", "host#x"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address of a service"):
        base_url(text)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (says(200, "hello"), "it is not XML"),
        (says(200, "<html/>"), 'its root is "html"'),
        (
            says(200, '<subaccounts xmlns="http://xmlns.iso-ne.com/contract/customers"><subaccount/></subaccounts>'),
            "lacks",
        ),
        (says(302, location="https://elsewhere/"), r"The service failed \(302\)"),
        (says(500, "Something unforeseen; abc"), r"The service failed \(500\): Something unforeseen; abc"),
    ],
)
def test_what_is_no_answer_of_the_specification_is_told(
    behind: Client, door: Gateway, answer: Any, told: str
) -> None:
    door.script.append(answer)
    with pytest.raises(ServerFailed, match=told):
        behind.subaccounts()


def test_a_refusal_that_is_a_page_of_something_else_is_not_repeated(behind: Client, door: Gateway) -> None:
    door.script.append(says(403, "<html>no</html>", content_type="text/html"))
    with pytest.raises(Refused, match="it says no more in plain text") as caught:
        behind.subaccounts()
    assert caught.value.status == 403


# --- the public names -------------------------------------------------------------------------------------


def test_the_package_gives_its_names_and_imports_them_on_first_use() -> None:
    program = """
import sys, ibt
assert not {"httpx2", "lxml", "cryptography"} & sys.modules.keys(), sys.modules.keys()
for name in ibt.__all__: getattr(ibt, name)
assert "httpx2" in sys.modules
assert not {"sqlalchemy", "uvicorn", "typer", "ibt.service", "ibt.store"} & sys.modules.keys()
try: ibt.nothing
except AttributeError: pass
else: raise SystemExit("ibt.nothing")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
