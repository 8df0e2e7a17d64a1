"""
The table of goals: each operation of the service beside its floor.

A row says what it measures and how; `in_turn` measures it. What the rows need, the markets and the servers, is
started when the first of them asks for it.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import asking
import loading
import market
import servers
from asking import collection, get, post
from floors import pgbench
from floors.bare_count import bare_count
from floors.bare_update import bare_update
from floors.fetch_and_render import fetch_and_render
from load import Measured, Request, processor_seconds
from market import Market
from servers import PostgreSQL, Server

from ibt.messages import read_update
from ibt.rules.periods import eastern_days
from ibt.rules.queries import Query
from ibt.store import Database, reads

#: 1.2 million current versions of 100 customers; the contracts of the first two have three versions of each period.
MARKET = Market(customers=100, contracts=1000, history=3)

#: Who asks: customer 1 is read alone, 2 posts alone, sixteen post together, and one posts all that it has.
TOGETHER = range(3, 19)
LARGE = 20

STATIC = "static 8 KB, same server"


@dataclass(frozen=True)
class Row:
    """
    An operation and its floor, with what measures each, and the goal: a ratio of rates that is to be reached.

    Where *times*, the goal is how many times as long as the floor it may take at most. A row without a goal is there
    to know. *slow* ones are measured fewer times in `make bench`.
    """

    name: str
    operation: str
    floor: str
    goal: float | None
    measured: Callable[[], Measured]
    of_floor: Callable[[], Measured]
    times: bool = False
    slow: bool = False


@dataclass(frozen=True)
class Found:
    """
    A row's figures: the median of the rounds, the spread, all wrong answers, and each round.

    *by_processor* is the same ratio of the processor's time, of the servers alone, where both are known.
    """

    name: str
    operation: str
    floor: str
    goal: float | None
    times: bool
    ratio: float
    least: float
    most: float
    by_processor: float | None
    met: bool | None
    ours: dict[str, Any]
    theirs: dict[str, Any]
    failures: int
    rounds: list[list[float]]


def in_turn(rows: Iterable[Row], rounds: int, *, full: bool = False) -> Iterator[Found]:
    """Measures the rows, candidate and floor in turn."""
    for row in rows:
        pairs = [(row.measured(), row.of_floor()) for _ in range(rounds if full or not row.slow else 1)]
        yield _found(row, pairs)


def _found(row: Row, pairs: Sequence[tuple[Measured, Measured]]) -> Found:
    ratios = sorted(
        floor.rate / ours.rate if row.times else ours.rate / floor.rate if floor.rate else 0.0
        for ours, floor in pairs
        if ours.rate
    ) or [float("inf") if row.times else 0.0]
    ratio = statistics.median(ratios)
    failures = sum(ours.failures + floor.failures for ours, floor in pairs)
    met = None if row.goal is None else (ratio <= row.goal if row.times else ratio >= row.goal) and not failures
    return Found(
        row.name,
        row.operation,
        row.floor,
        row.goal,
        row.times,
        ratio,
        ratios[0],
        ratios[-1],
        _by_processor(row, pairs),
        met,
        _middle([ours for ours, _ in pairs]),
        _middle([floor for _, floor in pairs]),
        failures,
        [[ours.rate, floor.rate] for ours, floor in pairs],
    )


def _by_processor(row: Row, pairs: Sequence[tuple[Measured, Measured]]) -> float | None:
    used = [[_processor(measured) for measured in pair] for pair in pairs]
    if not all(ours and floor for ours, floor in used):
        return None
    return statistics.median(ours / floor if row.times else floor / ours for ours, floor in used)


def _processor(measured: Measured) -> float:
    """Microseconds of the processor that the servers took for an answer, or this process for its work."""
    return sum(micros for who, micros in measured.processor.items() if who != "generator")


def _middle(measured: Sequence[Measured]) -> dict[str, Any]:
    """The round whose rate is the median."""
    middle = sorted(measured, key=lambda one: one.rate)[len(measured) // 2]
    return asdict(replace(middle, times=[]))


def timed(work: Callable[[], object], seconds: float) -> Measured:
    """*work* done again and again in this process, as if each were an answer."""
    work()
    took = []
    used = time.process_time()
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        work()
        took.append(time.perf_counter() - began)
    processor = {"this process": 1e6 * (time.process_time() - used) / len(took)}
    middle, late = sorted(took)[len(took) // 2], sorted(took)[-1 - len(took) // 100]
    return Measured(len(took) / sum(took), 1000 * middle, 1000 * late, len(took), 0, 0, processor)


class Site:
    """The markets and servers that rows measure, each started when it is first asked for, on *stack*."""

    def __init__(self, stack: ExitStack, folder: Path, kept: Path, seconds: float) -> None:
        self.stack, self.folder, self.kept, self.seconds = stack, folder, kept, seconds
        market.certificates(folder, LARGE)

    # --- SQLite ---

    @cached_property
    def url(self) -> str:
        """The market on SQLite, a copy that may be changed."""
        return market.copied(MARKET, self.kept, self.folder / "ibt.db")

    @cached_property
    def database(self) -> Database:
        """The same, opened in this process."""
        return Database(self.url)

    @cached_property
    def forgetful(self) -> Server:
        """The service that keeps no bytes of answers."""
        return self._service("--remember", "0")

    @cached_property
    def remembering(self) -> Server:
        """The service as it is."""
        return self._service()

    @cached_property
    def without_places(self) -> Server:
        """The service that keeps totals alone."""
        return self.start(*servers.without_places(self.folder, self.url))

    def _service(self, *options: str) -> Server:
        return self.start(*servers.service(self.folder, self.url, *options))

    def start(self, *command: str) -> Server:
        """A server that runs as long as this site."""
        return self.stack.enter_context(servers.running(self.folder, *command))

    @cached_property
    def durable(self) -> Callable[[], object]:
        """The bare durable transaction."""
        return bare_update(self.folder / "bare.db")

    # --- the static floors ---

    @cached_property
    def static(self) -> Server:
        """8 KB."""
        return self.start(*servers.static(self.folder, 200, 8192))

    @cached_property
    def static_at_once(self) -> Server:
        """8 KB, by the short way."""
        return self.start(*servers.static(self.folder, 200, 8192, at_once=True))

    @cached_property
    def static_of_two(self) -> Server:
        """8 KB, of two processes."""
        return self.start(*servers.static(self.folder, 200, 8192, workers=2))

    @cached_property
    def unchanged(self) -> Server:
        """304."""
        return self.start(*servers.static(self.folder, 304, 0))

    @cached_property
    def smallest(self) -> Server:
        """An answer of one byte, at once: what the generator can do at least."""
        return self.start(*servers.static(self.folder, 200, 1, at_once=True))

    def of_static(self, server: str = "static", status: int = 200) -> Callable[[], Measured]:
        """What measures a static floor."""
        return lambda: self.ask(getattr(self, server), [get("/")], status=status)

    # --- PostgreSQL ---

    @cached_property
    def postgresql(self) -> PostgreSQL:
        """A PostgreSQL."""
        return self.stack.enter_context(servers.durable_postgresql())

    @cached_property
    def url_of_postgresql(self) -> str:
        """The market on PostgreSQL."""
        return self.postgresql.built("market", MARKET)

    @cached_property
    def on_postgresql(self) -> Server:
        """Two workers on PostgreSQL that keep no bytes of answers."""
        return self.start(*servers.service(self.folder, self.url_of_postgresql, "--remember", "0", workers=2))

    @cached_property
    def one_on_postgresql(self) -> Server:
        """One worker on PostgreSQL, as it is."""
        return self.start(*servers.service(self.folder, self.url_of_postgresql))

    @cached_property
    def on_postgresql_without_places(self) -> Server:
        """The same, and they keep totals alone."""
        return self.start(*servers.without_places(self.folder, self.url_of_postgresql, workers=2))

    @contextmanager
    def recorder(self) -> Iterator[pgbench.Recorder]:
        """The service in this process, whose statements are noted."""
        recorder = pgbench.Recorder(self.url_of_postgresql)
        try:
            yield recorder
        finally:
            recorder.close()

    def certificate(self, user: int) -> Path:
        """A user's certificate, in PEM."""
        return self.folder / "clients" / f"user{user}.pem"

    def pgbench(self, scripts: Sequence[pgbench.Script], clients: int) -> Measured:
        """What pgbench does."""
        process = self.postgresql.process
        used, began = processor_seconds(process), time.perf_counter()
        rate = pgbench.rate(
            self.postgresql.programs / "pgbench", self.url_of_postgresql, scripts, clients, self.seconds
        )
        transactions = rate * (time.perf_counter() - began)
        processor = {"database": 1e6 * (processor_seconds(process) - used) / transactions}
        return Measured(rate, 1000 * clients / rate, 0.0, round(transactions), 0, 0, processor)

    # --- the load ---

    def ask(self, server: Server, requests: Sequence[Request], connections: int = 8, **others: Any) -> Measured:
        """What comes back of one stream."""
        stream = server.stream(requests, connections, others.get("status", 200), others.get("user", 1))
        database = self.postgresql.process if others.get("postgresql") else None
        (measured,) = server.ask(stream, seconds=self.seconds, database=database)
        return measured

    def post_together(self, server: Server, *, on_postgresql: bool = False) -> Measured:
        """What comes back where sixteen users post for one customer each, on one connection each; as one stream."""
        streams = [server.stream(self.one_changed(user), 1, user=user) for user in TOGETHER]
        database = self.postgresql.process if on_postgresql else None
        return together(server.ask(*streams, seconds=self.seconds, database=database))

    @cached_property
    def pages(self) -> list[Request]:
        """All pages of 25 of customer 1, in random order."""
        starts = list(range(0, MARKET.versions, 25))
        random.Random(1).shuffle(starts)
        return [asking.page(self.database, 1, f"start={start}&limit=25") for start in starts]

    @cached_property
    def contracts(self) -> list[Request]:
        """400 contracts of customer 1."""
        chosen = random.Random(2).sample(market.contract_ids(MARKET, 1), 400)
        return [asking.contract(self.database, 1, contract_id) for contract_id in chosen]

    def known(self, database: Database) -> list[Request]:
        """A GET of what its client has already."""
        with database.reading() as connection:
            revision = reads.revision(connection, 1)
        return [get(f"{collection(1)}?limit=25", f'If-None-Match: "{revision}.v"')]

    @staticmethod
    def one_changed(customer_id: int) -> list[Request]:
        """Updates of 25 versions of which one changes, by turns."""
        return [post(customer_id, asking.update(MARKET, customer_id, 25, [0], wanted)) for wanted in ("S101", "S102")]

    @cached_property
    def all_changed(self) -> list[str]:
        """Updates of 12,000 versions, all of which change, by turns."""
        first = asking.update(MARKET, LARGE, MARKET.versions, range(MARKET.versions), "S101")
        return [first, first.replace("S101", "S102")]


def together(measured: Sequence[Measured]) -> Measured:
    """Streams of one load as if they were one."""
    first = measured[0]
    return replace(
        first,
        rate=sum(one.rate for one in measured),
        p50=statistics.median(one.p50 for one in measured),
        p99=max(one.p99 for one in measured),
        answers=sum(one.answers for one in measured),
        failures=sum(one.failures for one in measured),
        bytes=sum(one.bytes for one in measured),
        times=[],
    )


def rows(site: Site, lines: int) -> Iterator[Row]:
    """Every row; *lines* is how many mappings are loaded."""
    yield from _of_generator(site)
    yield from _of_gets(site)
    yield from _of_gets_on_postgresql(site)
    yield from _of_totals(site)
    yield from _of_posts(site)
    yield from _of_posts_on_postgresql(site)
    yield from loading.rows(site, lines)


def _of_generator(site: Site) -> Iterator[Row]:
    yield Row(
        "generator",
        "the generator's own ceiling: one byte, by the short way",
        STATIC,
        None,
        site.of_static("smallest"),
        site.of_static(),
    )
    yield Row(
        "short-way",
        "static 8 KB by the short way, without a task for each request",
        STATIC,
        None,
        site.of_static("static_at_once"),
        site.of_static(),
    )


def _of_gets(site: Site) -> Iterator[Row]:
    def ask(server: str, requests: Callable[[], Sequence[Request]], status: int = 200) -> Callable[[], Measured]:
        return lambda: site.ask(getattr(site, server), requests(), status=status)

    pages = lambda: site.pages  # noqa: E731 - made when they are first asked for
    yield Row(
        "get-25",
        "GET page of 25; total known, bytes and position not",
        STATIC,
        0.50,
        ask("without_places", pages),
        site.of_static(),
    )
    yield Row(
        "get-25-places",
        "GET page of 25; total known, and a place at most 100 versions before; bytes not",
        STATIC,
        None,
        ask("forgetful", pages),
        site.of_static(),
    )
    yield Row(
        "get-25-remembered",
        "GET page of 25, remembered under the revision",
        STATIC,
        0.85,
        ask("remembering", lambda: site.pages[:100]),
        site.of_static(),
    )
    yield Row(
        "get-304",
        "GET unchanged (304), SQLite",
        "same server answering 304",
        0.80,
        ask("remembering", lambda: site.known(site.database), 304),
        site.of_static("unchanged", 304),
    )
    others = (
        ("contract", "GET one contract (12 periods, 3 versions each)", lambda: site.contracts),
        ("subaccounts", "GET 50 subaccounts", lambda: [asking.subaccounts(site.database, 1)]),
    )
    for name, operation, requests in others:
        yield Row(f"get-{name}", operation, STATIC, 0.60, ask("forgetful", requests), site.of_static())
        remembered = f"{operation}, remembered under the revision"
        yield Row(f"get-{name}-remembered", remembered, STATIC, None, ask("remembering", requests), site.of_static())
    thousands = [f"start={start}&limit=1000" for start in range(0, MARKET.versions, 1000)]
    yield Row(
        "get-1000",
        "GET page of 1,000, SQLite",
        "fetch + render in process",
        0.85,
        ask("forgetful", lambda: [asking.page(site.database, 1, query) for query in thousands]),
        lambda: timed(fetch_and_render(site.url, 1, 1000), site.seconds),
    )


def _of_gets_on_postgresql(site: Site) -> Iterator[Row]:
    yield Row(
        "get-304-postgresql",
        "GET unchanged (304), PostgreSQL",
        "same server answering 304",
        0.50,
        lambda: site.ask(
            site.one_on_postgresql, site.known(Database(site.url_of_postgresql)), status=304, postgresql=True
        ),
        site.of_static("unchanged", 304),
    )
    scripts: list[pgbench.Script] = []

    def floor() -> Measured:
        if not scripts:
            scripts.extend(_page_scripts(site))
        static, statements = site.of_static("static_of_two")(), site.pgbench(scripts, 4)
        processor = {**static.processor, **statements.processor}
        return replace(static, rate=1 / (1 / static.rate + 1 / statements.rate), processor=processor)

    for name, server, goal in (
        ("get-25-postgresql", "on_postgresql_without_places", 0.55),
        ("get-25-places-postgresql", "on_postgresql", None),
    ):
        position = "position not" if goal else "a place at most 100 before; bytes not"
        yield Row(
            name,
            f"GET page of 25, PostgreSQL, 2 workers; total known, {position}",
            "1/(1/static of 2 + 1/pgbench, same SQL, 4 clients)",
            goal,
            lambda server=server: site.ask(getattr(site, server), site.pages, postgresql=True),  # type: ignore[misc]  # a default has no type
            floor,
        )


def _page_scripts(site: Site) -> list[pgbench.Script]:
    """A page of the customer for each client, as the service asks for it when it remembers no place."""
    starts = random.Random(3).sample(range(0, MARKET.versions, 25), 4)
    with site.recorder() as recorder:
        raws = [get(f"{collection(1)}?start={start}&limit=25").text for start in starts]
        return [recorder.script(site.certificate(1), raw, raw) for raw in raws]


def _of_totals(site: Site) -> Iterator[Row]:
    days = eastern_days(datetime(2015, 8, 1, tzinfo=UTC).date(), datetime(2015, 8, 31, tzinfo=UTC).date())
    august = Query(begin=days[0], end=days[1])
    in_seconds = int(days[0].timestamp()), int(days[1].timestamp())

    def first(database: Database, query: Query) -> Measured:
        with database.asking() as connection:
            return timed(lambda: reads.total(connection, 1, query), site.seconds)

    for where, url in (("SQLite", lambda: site.url), ("PostgreSQL", lambda: site.url_of_postgresql)):
        for what, query, bare in (("", Query(), None), (", as of August 2015", august, in_seconds)):
            yield Row(
                f"total{'-august' if bare else ''}-{where.lower()}",
                f"first total of a new revision{what}, {where}",
                "bare count(*), same filter",
                1.2,
                lambda url=url, query=query: first(Database(url()), query),  # type: ignore[misc]  # a default has no type
                lambda url=url, bare=bare: timed(bare_count(url(), 1, bare), site.seconds),  # type: ignore[misc]  # a default has no type
                times=True,
            )


def _of_posts(site: Site) -> Iterator[Row]:
    bare = "bare durable transaction, sqlite3"
    durable = lambda: timed(site.durable, site.seconds)  # noqa: E731 - as above
    yield Row(
        "post-25",
        "POST of 25, one changed, SQLite, 1 client",
        bare,
        0.60,
        lambda: site.ask(site.forgetful, site.one_changed(2), 1, user=2),
        durable,
    )
    yield Row(
        "post-25-together",
        "POST of 25, one changed, SQLite, 16 clients of 16 customers",
        bare,
        1.5,
        lambda: site.post_together(site.forgetful),
        durable,
    )
    yield Row(
        "post-25-in-sum",
        "POST of 25, SQLite: 16 clients of 16 customers in sum",
        "1 client",
        1.0,
        lambda: site.post_together(site.forgetful),
        lambda: site.ask(site.forgetful, site.one_changed(2), 1, user=2),
    )
    yield Row(
        "post-12000",
        "POST of 12,000, all changed, SQLite",
        "parse + validate + extract alone",
        3.0,
        lambda: site.ask(site.forgetful, [post(LARGE, body) for body in site.all_changed], 1, user=LARGE),
        lambda: timed(lambda: read_update(site.all_changed[0].encode()), site.seconds),
        times=True,
    )


def _of_posts_on_postgresql(site: Site) -> Iterator[Row]:
    scripts: list[pgbench.Script] = []

    def floor() -> Measured:
        if not scripts:
            with site.recorder() as recorder:
                scripts.extend(
                    recorder.script(site.certificate(user), *(each.text for each in site.one_changed(user)))
                    for user in TOGETHER
                )
        return site.pgbench(scripts, len(TOGETHER))

    yield Row(
        "post-25-postgresql",
        "POST of 25, one changed, PostgreSQL, 2 workers, 16 clients of 16 customers",
        "pgbench, same transaction, 16 clients",
        0.40,
        lambda: site.post_together(site.on_postgresql, on_postgresql=True),
        floor,
    )
    yield Row(
        "post-25-in-sum-postgresql",
        "POST of 25, PostgreSQL: 16 clients of 16 customers in sum",
        "1 client",
        1.0,
        lambda: site.post_together(site.on_postgresql, on_postgresql=True),
        lambda: site.ask(site.on_postgresql, site.one_changed(2), 1, user=2, postgresql=True),
    )
    yield Row(
        "post-12000-postgresql",
        "POST of 12,000, all changed, PostgreSQL",
        "parse + validate + extract alone",
        5.0,
        lambda: site.ask(
            site.on_postgresql, [post(LARGE, body) for body in site.all_changed], 1, user=LARGE, postgresql=True
        ),
        lambda: timed(lambda: read_update(site.all_changed[0].encode()), site.seconds),
        times=True,
    )
