"""
Random worlds, random requests: the service answers each as the oracle says.

What is compared: the status; of a message every element, its text and its place; of a refusal which contract,
field and clause each line tells, in order, and how many lines there are; of every good answer whether its
revision is that of the customer's state. IBT_MODEL_EXAMPLES=20000 makes longer runs, each with other draws.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
from doors import Answer, Door, OverHttps, in_process
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from oracle import Expected, Node, Oracle, Told
from wishes import (
    MALFORMED,
    NAMESPACE,
    Asked,
    body,
    broken_updates,
    queries,
    query_string,
    right_updates,
    text_queries,
)
from worlds import USERS, World, worlds

VENDOR = "application/vnd.iso-ne.contract.customers.v1+xml;charset=UTF-8"
TEXT = "text/plain;charset=UTF-8"

_LONGER = os.environ.get("IBT_MODEL_EXAMPLES")

#: A failure is made as small as can be before it is told, which takes some minutes.
_PATIENCE = 1200 if _LONGER is None else 0

_STEPS = st.sampled_from([timedelta(seconds=seconds) for seconds in (0, 1, 59, 86400 * 40, -1, -86400)])


class Model(RuleBasedStateMachine):
    """A service and its oracle, asked the same."""

    def __init__(self, door: Door) -> None:
        super().__init__()
        self.door = door
        self.oracle: Oracle
        #: The revision of each state that a customer has been seen in, and the other way round.
        self.revisions: dict[tuple[int, int], str] = {}
        self.states: dict[str, tuple[int, int]] = {}

    @initialize(world=worlds())
    def load(self, world: World) -> None:
        self.door.load(world)
        self.oracle = Oracle(world, self.door.now)

    def customers(self) -> st.SearchStrategy[int]:
        return st.sampled_from([*self.oracle.world.customers] * 4 + [0, 4])

    def parties(self) -> st.SearchStrategy[int]:
        """Mostly the customers that have mapping periods."""
        customers = [*self.oracle.world.customers]
        return st.sampled_from([c for c in customers if self.oracle.periods_of(c)] * 9 + customers)

    @rule(data=st.data(), user=st.sampled_from(["ann"] * 9 + [*USERS, None]))
    def subaccounts(self, data: st.DataObject, user: str | None) -> None:
        customer_id = data.draw(self.customers())
        expected = self.admit(user, customer_id) or self.oracle.subaccounts(customer_id)
        self.compare(customer_id, self.door.send("GET", f"/{customer_id}/subaccounts", user), expected)

    @rule(data=st.data(), user=st.sampled_from(["ann"] * 9 + [*USERS, None]), by_hand=st.booleans())
    def collection(self, data: st.DataObject, user: str | None, by_hand: bool) -> None:
        customer_id = data.draw(self.customers())
        parameters = data.draw(queries(self.oracle, customer_id))
        expected = self.admit(user, customer_id) or self.oracle.collection(customer_id, parameters)
        self.compare(customer_id, self.read(customer_id, query_string(parameters, by_hand=by_hand), user), expected)

    @rule(data=st.data(), by_hand=st.booleans())
    def one_filter(self, data: st.DataObject, by_hand: bool) -> None:
        customer_id = data.draw(self.parties())
        for _ in range(4):
            parameters = data.draw(text_queries(self.oracle, customer_id))
            expected = self.oracle.collection(customer_id, parameters)
            self.compare(customer_id, self.read(customer_id, query_string(parameters, by_hand=by_hand)), expected)

    @rule(data=st.data(), limit=st.integers(1, 9))
    def pages(self, data: st.DataObject, limit: int) -> None:
        """All pages of a query, and one beyond."""
        customer_id = data.draw(self.parties())
        for page in range(1, min(len(self.oracle.periods_of(customer_id)) // limit, 3) + 3):
            parameters = [("limit", str(limit)), ("page", str(page))]
            expected = self.oracle.collection(customer_id, parameters)
            self.compare(customer_id, self.read(customer_id, query_string(parameters, by_hand=False)), expected)

    @rule(data=st.data(), user=st.sampled_from(["ann"] * 9 + [*USERS, None]))
    def history(self, data: st.DataObject, user: str | None) -> None:
        customer_id = data.draw(self.customers())
        ids = [contract.contract_id for contract in self.oracle.world.contracts]
        contract_id = data.draw(st.sampled_from([*ids, 0, 5]))
        expected = self.admit(user, customer_id) or self.oracle.history(customer_id, contract_id)
        target = f"/{customer_id}/contractSubaccountMappings/{contract_id}"
        self.compare(customer_id, self.door.send("GET", target, user), expected)

    @rule(data=st.data(), prefix=st.sampled_from(("", "", "", "i:")), query_info=st.booleans())
    def update(self, data: st.DataObject, prefix: str, query_info: bool) -> None:
        customer_id = data.draw(self.parties())
        asked = data.draw(right_updates(self.oracle, customer_id))
        self.ask_update(customer_id, asked, body(asked, prefix=prefix, query_info=query_info))

    @rule(data=st.data())
    def broken_update(self, data: st.DataObject) -> None:
        customer_id = data.draw(self.parties())
        asked = data.draw(broken_updates(self.oracle, customer_id))
        self.ask_update(customer_id, asked, body(asked))

    @rule(data=st.data())
    def conditional_update(self, data: st.DataObject) -> None:
        customer_id = data.draw(self.parties())
        asked = data.draw(
            st.one_of(right_updates(self.oracle, customer_id), broken_updates(self.oracle, customer_id))
        )
        if_match = data.draw(st.sampled_from(["*", '"stale.v"', *self.tags(customer_id)]))
        self.ask_update(customer_id, asked, body(asked), if_match=if_match)

    @rule(data=st.data(), user=st.sampled_from([*USERS, None]))
    def update_by_anyone(self, data: st.DataObject, user: str | None) -> None:
        customer_id = data.draw(self.customers())
        asked = data.draw(right_updates(self.oracle, customer_id))
        self.ask_update(customer_id, asked, body(asked), user)

    def ask_update(
        self, customer_id: int, asked: Asked, text: str, user: str | None = "ann", if_match: str | None = None
    ) -> None:
        note(text)
        holds = if_match in (None, "*") or if_match == self.current_tag(customer_id)
        answer = self.post(customer_id, text, user, {} if if_match is None else {"If-Match": if_match})
        expected = self.admit(user, customer_id) or self.oracle.update(
            customer_id, asked, self.door.now, if_match_holds=holds
        )
        self.compare(customer_id, answer, expected)

    @rule(data=st.data(), change=st.sampled_from(MALFORMED))
    def malformed_update(self, data: st.DataObject, change: tuple[str, str]) -> None:
        customer_id = data.draw(self.parties())
        text = body(data.draw(right_updates(self.oracle, customer_id)))
        if change[0] in text:
            broken = text.replace(*change, 1)
            note(broken)
            answer = self.post(customer_id, broken)
            assert answer.status == 400, answer
            assert answer.headers["content-type"] == TEXT

    @precondition(lambda self: self.door.clock_moves)
    @rule(step=_STEPS)
    def time_passes(self, step: timedelta) -> None:
        """Clocks are also put back."""
        self.door.now += step

    def teardown(self) -> None:
        """Whatever was asked: the whole state is the oracle's."""
        if not hasattr(self, "oracle"):
            return
        for customer_id in self.oracle.world.customers:
            expected = self.oracle.collection(customer_id, [("limit", "1000")])
            self.compare(customer_id, self.read(customer_id, "limit=1000"), expected)
            for contract in self.oracle.world.contracts_of(customer_id):
                target = f"/{customer_id}/contractSubaccountMappings/{contract.contract_id}"
                expected = self.oracle.history(customer_id, contract.contract_id)
                self.compare(customer_id, self.door.send("GET", target, "ann"), expected)

    # How it is asked and compared.

    def admit(self, user: str | None, customer_id: int) -> Expected | None:
        return None if self.oracle.admitted(user, customer_id) else Expected(403)

    def read(self, customer_id: int, query: str, user: str | None = "ann") -> Answer:
        return self.door.send("GET", f"/{customer_id}/contractSubaccountMappings?{query}", user)

    def post(
        self, customer_id: int, text: str, user: str | None = "ann", headers: dict[str, str] | None = None
    ) -> Answer:
        target = f"/{customer_id}/contractSubaccountMappings"
        return self.door.send("POST", target, user, {"Content-Type": VENDOR, **(headers or {})}, text.encode())

    def compare(self, customer_id: int, answer: Answer, expected: Expected) -> None:
        assert answer.status == expected.status, f"{answer.status} instead of {expected}: {answer.body.decode()}"
        if expected.message is None:
            assert answer.headers["content-type"] == TEXT
            compare_lines(answer.body.decode(), expected.told)
        else:
            assert answer.headers["content-type"] == VENDOR
            assert node(ElementTree.fromstring(answer.body)) == expected.message
            self.compare_revision(customer_id, answer.headers["etag"])

    def compare_revision(self, customer_id: int, etag: str) -> None:
        """A state has one revision, and a revision is of one state. Reading 57."""
        revision = etag.strip('"').partition(".")[0]
        state = (customer_id, self.oracle.changes.get(customer_id, 0))
        assert self.revisions.setdefault(state, revision) == revision
        assert self.states.setdefault(revision, state) == state

    def tags(self, customer_id: int) -> list[str]:
        """The tags that the customer's answers have had."""
        return [f'"{revision}.v"' for (customer, _), revision in self.revisions.items() if customer == customer_id]

    def current_tag(self, customer_id: int) -> str | None:
        state = (customer_id, self.oracle.changes.get(customer_id, 0))
        return f'"{self.revisions[state]}.v"' if state in self.revisions else None


def node(element: ElementTree.Element) -> Node:
    """An element with all that is in it; a name outside the namespace stays as it is."""
    name = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    assert not element.attrib
    if len(element):
        return name, tuple(node(child) for child in element)
    return name, element.text or ""


_VALUE = r'"(?:[^"\\]|\\.)*"(?:\.\.\.)?'
_TIME = rf"(?:{_VALUE}|[0-9TZ:.+-]+)"
_LINE = re.compile(
    rf"(?:contract (?P<contract>[0-9]+)(?:, )?)?(?:period {_TIME}(?: to {_TIME})?(?:, )?)?(?:line [0-9]+(?:, )?)?"
    rf"(?P<field>[a-z_]*)(?: {_VALUE})?: .* \((?P<clause>[0-9.]+)[^()]*\)"
)


def compare_lines(text: str, told: tuple[Told, ...] | None) -> None:
    """*text* tells *told*, one line each, of which 100 are written and the rest counted. Reading 6."""
    lines = text.removesuffix("\n").split("\n")
    if told is None:
        assert len(lines) == 1, text
        return
    found = []
    for line in lines[:100]:
        match = _LINE.fullmatch(line)
        assert match, line
        found.append((match["contract"] or "", match["field"], match["clause"]))
    assert found == list(told[:100]), text
    assert lines[100:] == ([f"and {len(told) - 100} more"] if len(told) > 100 else []), text


def run(door: Door, *, examples: int, steps: int) -> None:
    """
    Compares *door* with the oracle: the same draws each time, or as many others as the environment asks for.
    """

    class ModelHere(Model):
        def __init__(self) -> None:
            super().__init__(door)

    run_state_machine_as_test(
        ModelHere,
        settings=settings(
            max_examples=int(_LONGER or examples),
            stateful_step_count=steps,
            derandomize=_LONGER is None,
            print_blob=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def https(tmp_path: Path) -> Iterator[OverHttps]:
    door = OverHttps(tmp_path)
    yield door
    door.close()


@pytest.mark.timeout(_PATIENCE)
def test_the_service_answers_as_the_oracle_says(database_url: str, tmp_path: Path) -> None:
    with in_process(database_url, tmp_path) as door:
        run(door, examples=80, steps=40)


@pytest.mark.timeout(_PATIENCE)
def test_over_https_the_service_answers_as_the_oracle_says(https: OverHttps) -> None:
    run(https, examples=6, steps=40)
