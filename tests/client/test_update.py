"""
What a client does where connections break, services are away, and others write meanwhile.

Every harm is real: on the wire below TLS, or at a gateway that ends it. Reading 54, 57.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from client.proxy import Harm, cut_after, cut_before, honest, says, without_etag
from ibt import Client, ConnectionFailed, Month, OutcomeUnknown, Refused, ServerFailed, StateChanged, Wish

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.conftest import Pauses, Sandbox
    from client.proxy import Answer, Doing, Gateway, Wire
    from ibt.rules.model import SubaccountMapping

AUGUST = Month("2015-08")


def history(client: Client, contract: int) -> list[str]:
    """The subaccounts of August, oldest first."""
    return [version.subaccount_id for version in client.mapping(contract).versions]


def wanted(client: Client, contract: int, subaccount_id: str = "A") -> list[SubaccountMapping]:
    return [client.mapping(contract).with_subaccount(AUGUST, subaccount_id)]


# --- reads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", [Harm.CUT_BEFORE, Harm.CUT_AFTER, Harm.HOLD, Harm.SHORTEN])
def test_a_read_is_sent_again_where_the_connection_fails(
    wired: Client, cable: Wire, pauses: Pauses, harm: Harm
) -> None:
    cable.harms.append(harm)
    assert len(wired.subaccounts()) == 5
    assert len(pauses.seconds) == 1


def test_pauses_double_and_are_spread(wired: Client, cable: Wire, pauses: Pauses) -> None:
    cable.down = True
    cable.harms.append(Harm.CUT_BEFORE)
    with pytest.raises(ConnectionFailed):
        wired.subaccounts()
    assert len(pauses.seconds) == 4
    assert all(0.25 * 2**n <= seconds <= 0.5 * 2**n for n, seconds in enumerate(pauses.seconds))


def test_nobody_there_is_one_sentence(sandbox: Sandbox, cable: Wire, pauses: Pauses) -> None:
    cable.close()
    with (
        sandbox.client(url=f"localhost:{cable.port}", sleep=pauses) as client,
        pytest.raises(ConnectionFailed) as caught,
    ):
        client.subaccounts()
    assert (
        str(caught.value) == f"localhost:{cable.port} cannot be reached: is there such a host, and runs the service?"
    )
    assert not caught.value.sent


def test_no_answer_in_time_is_one_sentence(sandbox: Sandbox, cable: Wire) -> None:
    url = sandbox.url.replace(str(sandbox.port), str(cable.port))
    with sandbox.client(url=url, timeout=0.3, retries=0) as client:
        client.subaccounts()
        cable.harms.append(Harm.HOLD)
        with pytest.raises(ConnectionFailed, match=f"localhost:{cable.port} has not answered within 0.3 seconds"):
            client.subaccounts()


RETRY_AFTER: list[tuple[str, dict[str, str], float]] = [
    ("seconds", {"retry_after": "7"}, 7),
    ("a time", {"retry_after": "Sat, 11 Jul 2015 12:01:30 GMT", "date": "Sat, 11 Jul 2015 12:01:22 GMT"}, 8),
    ("nonsense", {"retry_after": "soon"}, 0),
]


@pytest.mark.parametrize(("headers", "least"), [pytest.param(h, s, id=name) for name, h, s in RETRY_AFTER])
@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_service_that_is_away_is_asked_again_when_it_says(
    behind: Client, door: Gateway, pauses: Pauses, headers: dict[str, str], least: float, status: int
) -> None:
    door.script.append(says(status, "busy", **headers))
    assert len(behind.subaccounts()) == 5
    assert pauses.seconds[0] == least or least == 0 < pauses.seconds[0] <= 0.5


def test_a_service_that_asks_for_an_hour_is_told_of_at_once(behind: Client, door: Gateway, pauses: Pauses) -> None:
    door.script.append(says(503, "maintenance until noon", retry_after="3600"))
    with pytest.raises(ServerFailed, match=r"The service failed \(503\): maintenance until noon"):
        behind.subaccounts()
    assert pauses.seconds == []


def test_a_service_that_stays_away_is_told_of_after_all_tries(behind: Client, door: Gateway, pauses: Pauses) -> None:
    door.otherwise = says(503, "busy")
    with pytest.raises(ServerFailed, match="busy"):
        behind.subaccounts()
    assert len(door.seen) == 5
    assert len(pauses.seconds) == 4


def test_a_refusal_is_not_asked_again(behind: Client, door: Gateway) -> None:
    door.script.append(says(400, "no"))
    with pytest.raises(Refused):
        behind.subaccounts()
    assert door.seen == ["GET"]


# --- updates under If-Match -------------------------------------------------------------------------------

#: The two reads before an update, which pass.
READS = [Harm.NONE, Harm.NONE]


@pytest.mark.parametrize("harm", [Harm.CUT_BEFORE, Harm.CUT_AFTER, Harm.HOLD, Harm.SHORTEN])
def test_an_update_is_made_once_where_its_connection_fails(
    wired: Client, cable: Wire, contract: int, harm: Harm
) -> None:
    before = history(wired, contract)
    mappings = wanted(wired, contract)
    cable.harms.extend([*READS, harm])
    (reply,) = wired.update(mappings)
    assert history(wired, contract) == [*before, "A"]
    assert reply.versions == wired.mapping(contract).versions[-1:]
    assert reply.contract.contract_id == contract


def other_changes(sandbox: Sandbox, contract: int, subaccount_id: str) -> Callable[[], None]:
    def change() -> None:
        with sandbox.client("second") as second:
            second.update(wanted(second, contract, subaccount_id))

    return change


def after(first: Doing, then: Callable[[], None]) -> Doing:
    """Does as *first*, and then something more."""

    def both(pass_on: Callable[[], Answer]) -> Answer | None:
        answer = first(pass_on)
        then()
        return answer

    return both


def before_it(then: Callable[[], None], second: Doing) -> Doing:
    """Does something, and then as *second*."""

    def both(pass_on: Callable[[], Answer]) -> Answer | None:
        then()
        return second(pass_on)

    return both


def test_an_update_that_another_replaced_is_still_known_as_made(
    sandbox: Sandbox, behind: Client, door: Gateway, contract: int
) -> None:
    mappings, before = wanted(behind, contract), history(behind, contract)
    door.script.extend([honest, honest, after(cut_after, other_changes(sandbox, contract, "B & Ä"))])
    (reply,) = behind.update(mappings)
    assert history(behind, contract) == [*before, "A", "B & Ä"]
    assert reply.versions == behind.mapping(contract).versions[-2:-1]


def test_an_update_that_another_overtook_is_made_after_it(
    sandbox: Sandbox, behind: Client, door: Gateway, contract: int
) -> None:
    mappings, before = wanted(behind, contract), history(behind, contract)
    door.script.extend([honest, honest, before_it(other_changes(sandbox, contract, "B & Ä"), honest)])
    (reply,) = behind.update(mappings)
    assert history(behind, contract) == [*before, "B & Ä", "A"]
    assert reply.versions == behind.mapping(contract).versions[-1:]


def test_an_update_that_was_lost_on_its_way_and_overtaken_is_made_after_all(
    sandbox: Sandbox, behind: Client, door: Gateway, contract: int
) -> None:
    mappings, before = wanted(behind, contract), history(behind, contract)
    door.script.extend([honest, honest, after(cut_before, other_changes(sandbox, contract, "B & Ä"))])
    behind.update(mappings)
    assert history(behind, contract) == [*before, "B & Ä", "A"]


@pytest.mark.parametrize("lost", [cut_after, says(502), says(504), says(503, "the outcome is unknown")])
def test_an_update_is_settled_by_reading_where_no_answer_comes_at_all(
    sandbox: Sandbox, door: Gateway, pauses: Pauses, contract: int, lost: Doing
) -> None:
    with sandbox.client(url=door.url, ca=door.ca, retries=0, sleep=pauses) as client:
        mappings, before = wanted(client, contract), history(client, contract)
        door.script.extend([honest, honest, done_but(lost)])
        (reply,) = client.update(mappings)
        assert history(client, contract) == [*before, "A"]
        assert reply.versions == client.mapping(contract).versions[-1:]
    assert door.seen.count("POST") == 1


def done_but(answer: Doing) -> Doing:
    """The service does it; the client hears something else."""

    def done(pass_on: Callable[[], Answer]) -> Answer | None:
        made = pass_on()
        return answer(lambda: made)

    return done


def test_an_update_whose_answer_is_nonsense_is_settled_by_reading(
    behind: Client, door: Gateway, contract: int
) -> None:
    mappings, before = wanted(behind, contract), history(behind, contract)
    door.script.extend([honest, honest, done_but(says(200, "welcome!"))])
    behind.update(mappings)
    assert history(behind, contract) == [*before, "A"]


def test_an_update_that_never_arrived_says_that_it_was_not_made(
    sandbox: Sandbox, door: Gateway, contract: int
) -> None:
    with sandbox.client(url=door.url, ca=door.ca, retries=0) as client:
        mappings = wanted(client, contract)
        door.script.extend([honest, honest, cut_before])
        with pytest.raises(OutcomeUnknown, match="it was not made so far: read before you send it again"):
            client.update(mappings)


def test_an_update_of_which_nothing_can_be_learned_says_so(sandbox: Sandbox, door: Gateway, contract: int) -> None:
    with sandbox.client(url=door.url, ca=door.ca, retries=0) as client:
        mappings = wanted(client, contract)
        door.script.extend([honest, honest])
        door.otherwise = cut_before
        with pytest.raises(OutcomeUnknown, match="what stands now could not be read"):
            client.update(mappings)


def test_a_service_that_says_it_did_not_do_it_is_believed_after_reading(
    sandbox: Sandbox, door: Gateway, contract: int
) -> None:
    with sandbox.client(url=door.url, ca=door.ca, retries=0) as client:
        mappings = wanted(client, contract)
        door.script.extend([honest, honest, says(503, "busy, and nothing was changed")])
        with pytest.raises(ServerFailed, match="nothing was changed"):
            client.update(mappings)


# --- updates without ETags --------------------------------------------------------------------------------


def test_without_etags_an_update_is_made(behind: Client, door: Gateway, contract: int) -> None:
    door.otherwise = without_etag
    before = history(behind, contract)
    behind.update(wanted(behind, contract))
    assert history(behind, contract) == [*before, "A"]


@pytest.mark.parametrize("lost", [cut_before, cut_after, says(502, "gateway"), says(200, "welcome!")])
def test_without_etags_a_lost_update_is_never_sent_again(
    behind: Client, door: Gateway, contract: int, lost: Doing
) -> None:
    door.otherwise = without_etag
    mappings = wanted(behind, contract)
    door.script.extend([without_etag, without_etag, lost])
    with pytest.raises(OutcomeUnknown, match="not sent again, since this service gives no ETag"):
        behind.update(mappings)
    assert door.seen.count("POST") == 1


def test_without_etags_an_update_that_the_service_did_not_do_is_not_sent_again(
    behind: Client, door: Gateway, contract: int
) -> None:
    door.otherwise = without_etag
    mappings = wanted(behind, contract)
    door.script.extend([without_etag, without_etag, says(503, "busy, and nothing was changed", retry_after="1")])
    with pytest.raises(ServerFailed, match=r"busy, and nothing was changed It was not sent again"):
        behind.update(mappings)
    assert door.seen.count("POST") == 1


def other_etags(pass_on: Callable[[], Answer]) -> Any:
    """As a service whose ETags tell of each answer's bytes, not of the customer's state."""
    answer = pass_on()
    return type(answer)(answer.status, {**answer.headers, "etag": f'"{hash(answer.body)}"'}, answer.body)


def test_etags_of_another_kind_count_for_none(behind: Client, door: Gateway, contract: int) -> None:
    door.otherwise = other_etags
    before = history(behind, contract)
    assert len(behind.mappings(limit=50).all()) == 32
    behind.update(wanted(behind, contract))
    assert history(behind, contract) == [*before, "A"]


# --- plans ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", [Harm.CUT_BEFORE, Harm.CUT_AFTER, Harm.HOLD, Harm.SHORTEN])
def test_a_plan_is_applied_once_where_its_connection_fails(
    wired: Client, cable: Wire, contract: int, harm: Harm
) -> None:
    before = history(wired, contract)
    plan = wired.plan([Wish(contract, AUGUST, "A")])
    cable.harms.append(harm)
    receipt = wired.apply(plan)
    assert history(wired, contract) == [*before, "A"]
    assert [change.after for change in receipt.changes] == [wired.mapping(contract).versions[-1]]


@pytest.mark.parametrize("etags", [honest, without_etag])
def test_a_plan_is_not_applied_where_the_data_have_moved(
    sandbox: Sandbox, behind: Client, door: Gateway, contract: int, etags: Doing
) -> None:
    door.otherwise = etags
    plan = behind.plan([Wish(contract, AUGUST, "A")])
    other_changes(sandbox, contract, "B & Ä")()
    before = history(behind, contract)
    with pytest.raises(StateChanged, match="nothing was changed"):
        behind.apply(plan)
    assert history(behind, contract) == before


def test_without_etags_a_plan_is_compared_and_applied(behind: Client, door: Gateway, contract: int) -> None:
    door.otherwise = without_etag
    before = history(behind, contract)
    plan = behind.plan([Wish(contract, AUGUST, "A")])
    assert plan.revision is None
    behind.apply(plan)
    assert history(behind, contract) == [*before, "A"]


def test_a_plan_that_was_lost_and_overtaken_is_not_applied(
    sandbox: Sandbox, behind: Client, door: Gateway, contract: int
) -> None:
    plan = behind.plan([Wish(contract, AUGUST, "A")])
    before = history(behind, contract)
    door.script.append(after(cut_before, other_changes(sandbox, contract, "B & Ä")))
    with pytest.raises(StateChanged):
        behind.apply(plan)
    assert history(behind, contract) == [*before, "B & Ä"]


def test_a_plan_is_read_anew_where_the_data_change_meanwhile(
    sandbox: Sandbox, behind: Client, door: Gateway, contract: int
) -> None:
    door.script.append(after(honest, other_changes(sandbox, contract, "B & Ä")))
    plan = behind.plan([Wish(contract, AUGUST, "A")])
    (step,) = plan.steps
    assert step.old is not None
    assert step.old.subaccount_id == "B & Ä"
    behind.apply(plan)


def test_a_plan_that_changes_many_contracts_is_settled_as_a_whole(
    sandbox: Sandbox, behind: Client, door: Gateway
) -> None:
    months = [(contract, month) for contract in (101, 102, 106) for month in (Month("2015-04"), Month("2015-05"))]
    behind.apply(behind.plan([Wish(*period, "Default") for period in months]))
    plan = behind.plan([Wish(*period, "A") for period in months])
    door.script.append(after(cut_after, other_changes(sandbox, 103, "B & Ä")))
    receipt = behind.apply(plan)
    assert len(receipt.changes) == len(months)
    assert len({change.after.version for change in receipt.changes}) == 1
    assert receipt.request_id is None
    assert not behind.undo(receipt).notes
