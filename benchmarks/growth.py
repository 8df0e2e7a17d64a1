"""
How cost grows with the data: small and large customers in one market, asked the same.

A page is to cost what it contains, not what the customer or the market owns. So the median of each question is
measured for customers of 1,000 to 100,000 versions, and with --full of 1,000,000, in a market of 1 or 10 million:
the largest may cost 1.3 times the smallest once the total is known. What a jump to a page costs of which the process
remembers no place is told, and is no goal.

Then what else is not to grow: a download in large pages, the memory of a worker, and what a large POST does to the
GETs of others.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asking
import market
import servers
from asking import collection, get, post
from load import Request
from market import Market

from ibt.store import Database

if TYPE_CHECKING:
    from pathlib import Path

    from rows import Site

#: Contracts of the customers that are compared, of 12 versions each.
_SIZES = (84, 834, 8_334, 83_334)

#: The place of the one whose load the memory of a worker is measured under.
_MIDDLE = _SIZES.index(8_334)

#: What fills the market up to one million versions, or ten.
_FILLED = (66, 650)

#: How many times as much as the smallest the largest customer may cost.
MOST = 1.3

_AUGUST = "start_date=08/01/2015&end_date=08/31/2015"

Tell = Callable[[str], None]


def measured(site: Site, *, full: bool, tell: Tell) -> dict[str, Any]:
    """All of it, as JSON has it."""
    of = Market(_FILLED[full], 1000, others=_SIZES if full else _SIZES[:3])
    tell(f"\nGrowth, in a market of {of.all_versions:,} current versions")
    found: dict[str, Any] = {"market": of.all_versions, "databases": {}}
    folder = site.folder / "growth"
    folder.mkdir()
    market.certificates(folder, of.of_other(len(of.others)))
    url = market.copied(of, site.kept, folder / "growth.db")
    found["databases"]["SQLite"] = _sizes(site, of, folder, url, tell)
    found["download"] = _download(of, folder, url, tell)
    found["beside"] = _beside(site, of, folder, url, tell)
    found["memory"] = _memory(of, folder, url, tell, requests=1_000_000 if full else 20_000)
    if full:
        on_postgresql = site.postgresql.built("growth", of)
        found["databases"]["PostgreSQL"] = _sizes(site, of, folder, on_postgresql, tell)
    return found


def _sizes(site: Site, of: Market, folder: Path, url: str, tell: Tell) -> dict[str, Any]:
    """By question, the medians in milliseconds by size, and the ratio of the largest to the smallest."""
    where = "SQLite" if url.startswith("sqlite") else "PostgreSQL"
    found: dict[str, Any] = {}
    database = Database(url)
    with (
        servers.running(folder, *servers.service(folder, url, "--remember", "0")) as server,
        servers.running(folder, *servers.without_places(folder, url)) as without_places,
    ):
        for question, requests, goal in _questions(database, of):
            asked = without_places if goal is None else server
            streams = [asked.stream(requests(place), 1, user=of.of_other(place)) for place in range(len(of.others))]
            for stream in streams:  # so that totals and places are known
                asked.ask(replace(stream, answers=len(stream.requests)), seconds=60, warm_up=0)
            p50: dict[int, list[float]] = {}
            for _ in range(3):
                for contracts, stream in zip(of.others, streams, strict=True):
                    (one,) = asked.ask(stream, seconds=site.seconds / 2, warm_up=0.2)
                    assert not one.failures, question
                    p50.setdefault(contracts * of.months, []).append(one.p50)
            medians = {size: statistics.median(each) for size, each in p50.items()}
            ratio = medians[max(medians)] / medians[min(medians)]
            shown = ", ".join(f"{size:,}: {each:.3f} ms" for size, each in medians.items())
            judged = "" if goal is None else f" (at most {goal}: {'met' if ratio <= goal else 'MISSED'})"
            tell(f"{where}, {question}: {shown}; {ratio:.2f} times{judged}")
            found[question] = {"p50": medians, "ratio": ratio, "goal": goal}
    database.close()
    return found


def _questions(database: Database, of: Market) -> Iterator[tuple[str, Callable[[int], list[Request]], float | None]]:
    """What is asked: its name, the requests for the customer at a place of `others`, and the goal."""

    def customer(place: int) -> int:
        return of.of_other(place)

    def versions(place: int) -> int:
        return of.others[place] * of.months

    def page(place: int, query: str) -> Request:
        return asking.page(database, customer(place), query)

    def paging(place: int) -> list[Request]:
        # As a client does it: one page after the other; from the first on for half of them, then to the last one.
        last = versions(place) // 25
        pages = [*range(min(200, last // 2)), *range(max(last // 2, last - 200), last)]
        return [page(place, f"start={25 * number}&limit=25") for number in pages]

    def jumps(place: int) -> list[Request]:
        starts = random.Random(1).sample(range(versions(place) // 25), min(40, versions(place) // 25))
        return [page(place, f"start={25 * start}&limit=25") for start in starts]

    def contracts(place: int) -> list[Request]:
        chosen = random.Random(1).sample(market.contract_ids(of, customer(place)), 80)
        return [asking.contract(database, customer(place), contract_id) for contract_id in chosen]

    yield "first page", lambda place: [page(place, "limit=25")], MOST
    yield "any page while paging", paging, MOST
    yield "one month, first page", lambda place: [page(place, f"{_AUGUST}&limit=25")], MOST
    yield "one contract", contracts, MOST
    yield (
        "one contract of the collection",
        lambda place: [
            page(place, f"contract_id={contract_id}")
            for contract_id in market.contract_ids(of, customer(place))[:80:8]
        ],
        MOST,
    )
    yield "a jump to any page, no place remembered", jumps, None


def _download(of: Market, folder: Path, url: str, tell: Tell) -> dict[str, Any]:
    """The largest customer in pages of 1,000, one after the other: how the last tenth compares with the first."""
    place = len(of.others) - 1
    customer_id, versions = of.of_other(place), of.others[place] * of.months
    pages = [get(f"{collection(customer_id)}?start={start}&limit=1000") for start in range(0, versions, 1000)]
    with servers.running(folder, *servers.service(folder, url, "--remember", "0")) as server:
        stream = replace(server.stream(pages, 1, user=customer_id), answers=len(pages))
        (found,) = server.ask(stream, seconds=600, warm_up=0)
    tenth = max(1, len(found.times) // 10)
    first, last = statistics.median(found.times[1 : tenth + 1]), statistics.median(found.times[-tenth:])
    seconds = sum(found.times) / 1000
    assert not found.failures
    tell(
        f"download of {versions:,} versions in pages of 1,000: {seconds:.1f} s; a page of the first tenth "
        f"{first:.1f} ms, of the last {last:.1f} ms: {last / first:.2f} times"
    )
    return {"versions": versions, "seconds": seconds, "first": first, "last": last, "ratio": last / first}


def _beside(site: Site, of: Market, folder: Path, url: str, tell: Tell) -> dict[str, Any]:
    """The GETs of one customer, without and with another's POSTs of 12,000, in turn: p99, which may grow by 20 ms."""
    body = asking.update(of, 3, 12_000, range(12_000), "S101")
    posts = [post(3, body), post(3, body.replace("S101", "S102"))]
    pages = [get(f"{collection(1)}?start={25 * number}&limit=25") for number in range(400)]
    found: dict[str, Any] = {"without": [], "with": []}
    with servers.running(folder, *servers.service(folder, url)) as server:
        reads, update = server.stream(pages, 4), server.stream(posts, 1, user=3)
        for _ in range(3):
            without = server.ask(reads, seconds=2 * site.seconds)
            beside = server.ask(reads, update, seconds=2 * site.seconds)
            assert not sum(one.failures for one in (*without, *beside))
            found["without"].append(without[0].p99)
            found["with"].append(beside[0].p99)
            found["posts_a_second"] = beside[1].rate
    without, beside_posts = statistics.median(found["without"]), statistics.median(found["with"])
    found["more"] = more = beside_posts - without
    tell(
        f"p99 of GETs: {without:.1f} ms, beside POSTs of 12,000 {beside_posts:.1f} ms: {more:.1f} ms more "
        f"(at most 20: {'met' if more <= 20 else 'MISSED'})"
    )
    return found


#: The largest body that is read, in bytes.
_LARGEST_BODY = 16 * 1024 * 1024


def _memory(of: Market, folder: Path, url: str, tell: Tell, *, requests: int) -> dict[str, Any]:
    """A worker's memory over so many requests of all kinds, and while it reads the largest POST."""
    customer_id = of.of_other(_MIDDLE)
    found: dict[str, Any] = {}
    with servers.running(folder, *servers.service(folder, url)) as server:
        mixed = _mixed(of, customer_id)
        sizes: list[tuple[int, float]] = []
        asked = 0
        while asked < requests:
            each = replace(server.stream(mixed, 8, user=customer_id), answers=requests // 20 // 8)
            asked += sum(one.answers for one in server.ask(each, seconds=600, warm_up=0))
            sizes.append((asked, server.memory()))
        settled = sizes[len(sizes) // 4][1]
        found["requests"] = sizes
        tell(
            f"memory of a worker: {settled:.0f} MB after {sizes[len(sizes) // 4][0]:,} requests, "
            f"{sizes[-1][1]:.0f} MB after {asked:,}"
        )
    with servers.running(folder, *servers.service(folder, url)) as server:
        body, versions = _largest(of, customer_id)
        stream = replace(server.stream([post(customer_id, body)], 1, user=customer_id), answers=1)
        began = time.perf_counter()
        (one,) = server.ask(stream, seconds=120, warm_up=0)
        took = time.perf_counter() - began
        peak = server.memory("VmHWM")
    found |= {"peak": peak, "versions": versions, "seconds": took}
    judged = "met" if peak <= 300 and not one.failures else "MISSED"
    tell(
        f"a POST of {len(body):,} bytes, {versions:,} versions: {took:.1f} s, {one.failures} wrong; a worker's "
        f"memory at its highest {peak:.0f} MB (at most 300: {judged})"
    )
    return found


def _mixed(of: Market, customer_id: int) -> list[Request]:
    """Pages, contracts and subaccounts, in random order: more than a process remembers."""
    path = collection(customer_id)
    pages = [get(f"{path}?start={25 * number}&limit=25") for number in range(4000)]
    filtered = [get(f"{path}?contract_id={number % 100}*&limit=25&start={number}") for number in range(500)]
    contracts = [get(f"{path}/{contract_id}") for contract_id in market.contract_ids(of, customer_id)[:2000]]
    all_of_them = [*pages, *filtered, *contracts, get(f"{asking.BASE}/{customer_id}/subaccounts")]
    random.Random(1).shuffle(all_of_them)
    return all_of_them


def _largest(of: Market, customer_id: int) -> tuple[str, int]:
    """The largest update that is read, and how many versions it has."""
    most = len(market.contract_ids(of, customer_id))
    for contracts in range(most, 0, -250):
        versions = contracts * of.months
        body = asking.update(of, customer_id, versions, range(versions), "S101")
        if len(body) <= _LARGEST_BODY:
            return body, versions
    raise AssertionError("one contract is too much")
