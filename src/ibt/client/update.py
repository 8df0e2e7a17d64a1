"""
What changes something: an update, a plan, its way back. No I/O: exchanges as in `exchange.py`.

An update is sent under If-Match, which makes the second of two equal ones harmless: so it may be sent again where
its answer was lost. Where the state has moved since, the histories tell whether it was this update that moved it.
A service that gives no revision (reading 57) gets each update once.

Clauses 2.1, 3.2.3, 3.2.8, 3.2.9. Readings 28-30, 41, 54, 57.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ibt.client import plan as plans
from ibt.client.exceptions import (
    CertificateFailed,
    ClientError,
    ConnectionFailed,
    OutcomeUnknown,
    Refused,
    ServerFailed,
    StateChanged,
)
from ibt.client.exchange import (
    AWAY,
    MEDIA_TYPE,
    READINGS,
    Exchange,
    Questions,
    Reply,
    Request,
    Wait,
    failed_reply,
    good,
    patience,
    understood,
)
from ibt.client.plan import Plan, Receipt, Wish
from ibt.messages import read_mappings, write_update
from ibt.rules.faults import MOST_LINES
from ibt.rules.model import MappingVersion, Month, RequestedMapping, RequestedVersion, SubaccountMapping
from ibt.rules.periods import month_of

_ONCE = "It was not sent again, since this service gives no ETag to send it under: read before you send it again."

#: An answer by which the service says that the state is another than the one the update was meant for.
_MOVED = 412


@dataclass(frozen=True, slots=True)
class Made:
    """The reply to an update; *request_id* is None where it was lost, and the histories tell what it was."""

    mappings: tuple[SubaccountMapping, ...]
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Sending:
    """An update to be sent: the message and what it wants, and what stood *before*, by contract, in *revision*."""

    body: bytes
    wanted: tuple[RequestedMapping, ...]
    before: Mapping[int, SubaccountMapping]
    revision: str | None


# --- what is asked for ------------------------------------------------------------------------------------


def update(
    questions: Questions, mappings: Sequence[SubaccountMapping | RequestedMapping]
) -> Exchange[list[SubaccountMapping]]:
    """The reply's mappings to an update that is made whatever stands before it. Clause 3.2.3."""
    body, wanted = write_update(mappings), tuple(map(_requested, mappings))
    contracts = {mapping.contract_id: {month_of(each.begin) for each in mapping.versions} for mapping in wanted}
    for _ in range(READINGS):
        stand = yield from questions.stand(contracts)
        try:
            made = yield from _sent(questions, Sending(body, wanted, stand.standing.mappings, stand.revision))
        except StateChanged:
            continue
        return list(made.mappings)
    raise StateChanged(f"The customer's data changed before each of {READINGS} attempts, so nothing was changed")


def plan(questions: Questions, wishes: Sequence[Wish]) -> Exchange[Plan]:
    """What *wishes* come to against what stands."""
    wanted: dict[int, set[Month]] = {}
    for wish in wishes:
        wanted.setdefault(wish.contract_id, set()).add(wish.month)
    stand = yield from questions.stand(wanted)
    return plans.make_plan(stand.standing, wishes, stand.revision)


def apply(questions: Questions, planned: Plan) -> Exchange[Receipt]:
    """
    The receipt of *planned*, made in one message; nothing is sent where it changes nothing.

    Raises StateChanged where the data have moved since it was made, ValueError where it is refused.
    """
    if planned.refused:
        raise ValueError("\n".join(("The plan is refused:", *planned.refused)))
    if planned.customer_id != questions.customer():
        raise ValueError(f"The plan is of customer {planned.customer_id}, not of customer {questions.customer_id}")
    mappings = planned.update()
    if not mappings:
        return Receipt(planned.customer_id, None, ())
    if planned.revision is None:
        yield from _compare(questions, planned)
    wanted = tuple(map(_requested, mappings))
    made = yield from _sent(questions, Sending(write_update(mappings), wanted, planned.before(), planned.revision))
    try:
        return plans.receipt(planned, made.mappings, made.request_id)
    except KeyError:
        raise OutcomeUnknown(
            "The update was accepted, but the answer leaves out a part of it: read what stands now",
            request_id=made.request_id,
        ) from None


def undo(questions: Questions, receipt: Receipt) -> Exchange[Plan]:
    """The plan that leads back to what stood before *receipt*. Raises ValueError for another customer's."""
    if receipt.customer_id != questions.customer():
        raise ValueError(f"The receipt is of customer {receipt.customer_id}, not of customer {questions.customer_id}")
    back = yield from plan(questions, plans.way_back(receipt))
    return plans.noted(back, receipt)


def _compare(questions: Questions, planned: Plan) -> Exchange[None]:
    now = yield from plan(questions, plans.wishes_of(planned))
    lines = (*plans.moved(planned, now), *now.refused)
    if lines:
        raise StateChanged("\n".join(("The plan no longer fits, so nothing was changed:", *lines[:MOST_LINES])))


# --- how it is sent ---------------------------------------------------------------------------------------


def _sent(questions: Questions, sending: Sending) -> Exchange[Made]:
    """What the update comes to. Raises StateChanged where another state stands, OutcomeUnknown where no one knows."""
    headers = [("accept", MEDIA_TYPE), ("content-type", MEDIA_TYPE)]
    if sending.revision is not None:
        headers.append(("if-match", f'"{sending.revision}.v"'))
    request = Request("POST", questions.path("/contractSubaccountMappings"), (), tuple(headers), sending.body)
    if sending.revision is None:
        return (yield from _sent_once(request))
    lost: ClientError | None = None
    for pause in questions.pauses():
        try:
            reply: Reply = yield request
        except ConnectionFailed as failed:
            wait = None if isinstance(failed, CertificateFailed) else pause
            if wait is None and lost is None and not failed.sent:
                raise
            lost = failed if failed.sent else lost
        else:
            if reply.status not in AWAY:
                return (yield from _answered(questions, sending, reply, lost))
            lost = lost if isinstance(lost, ConnectionFailed) else failed_reply(reply)
            wait = patience(reply, pause)
        if wait is None:
            break
        yield Wait(wait)
    return (yield from _unanswered(questions, sending, lost))


def _sent_once(request: Request) -> Exchange[Made]:
    """What an update comes to where nothing makes a second one harmless."""
    try:
        reply: Reply = yield request
    except ConnectionFailed as failed:
        if not failed.sent:
            raise
        raise OutcomeUnknown(f"The answer to the update was lost. {_ONCE} ({failed})") from failed
    if reply.status == 503:
        raise ServerFailed(f"{failed_reply(reply)} {_ONCE}", status=reply.status, request_id=reply.request_id)
    if reply.status in AWAY:
        raise OutcomeUnknown(f"{failed_reply(reply)} {_ONCE}", request_id=reply.request_id)
    try:
        return _made(reply)
    except ServerFailed as failed:
        if reply.status != 200:
            raise
        raise OutcomeUnknown(f"{failed} {_ONCE}", request_id=reply.request_id) from failed


def _answered(questions: Questions, sending: Sending, reply: Reply, lost: ClientError | None) -> Exchange[Made]:
    """What *reply* tells; where an answer was *lost* before it, a refusal may speak of what this update has done."""
    if lost is not None and reply.status in {400, _MOVED}:
        settled = yield from _settled(questions, sending)
        if settled is not None:
            return settled
    if reply.status == _MOVED:
        raise StateChanged(
            "The customer's data have changed since this was made from them, so nothing was changed: read them again",
            request_id=reply.request_id,
        )
    try:
        return _made(reply)
    except ServerFailed as failed:
        if reply.status != 200:
            raise
        return (yield from _unanswered(questions, sending, failed))


def _unanswered(questions: Questions, sending: Sending, lost: ClientError | None) -> Exchange[Made]:
    """What an update has come to that was never answered, *lost* being the last that was heard."""
    unknown = f"The answer to the update was lost, {{}}: read before you send it again. ({lost})"
    try:
        settled = yield from _settled(questions, sending)
    except (ConnectionFailed, Refused, ServerFailed) as failed:
        raise OutcomeUnknown(unknown.format("and what stands now could not be read")) from failed
    if settled is not None:
        return settled
    if isinstance(lost, ServerFailed) and lost.status == 503:  # the service itself has said that it did not do it
        raise lost
    raise OutcomeUnknown(unknown.format("and it was not made so far")) from lost


def _settled(questions: Questions, sending: Sending) -> Exchange[Made | None]:
    """
    The reply that the update must have had, from the histories; None where it was not made.

    It was made where each period that it changes has, after the version that stood before, one of its subaccount,
    and all of those have one time (readings 29, 41). That another user has made the very same is as good.
    """
    times: set[datetime] | None = None
    for mapping in sending.wanted:
        history = yield from questions.mapping(mapping.contract_id)
        for wish, old in _wishes(mapping, sending.before):
            if old is None:
                return None
            if wish.subaccount_id != old.subaccount_id:
                later = {each.version for each in _since(history, old) if each.subaccount_id == wish.subaccount_id}
                times = later if times is None else times & later
        if times is not None and not times:
            return None
    version = min(times) if times else None
    return Made(tuple(_reply(mapping, sending.before, version) for mapping in sending.wanted), None)


def _reply(
    mapping: RequestedMapping, before: Mapping[int, SubaccountMapping], version: datetime | None
) -> SubaccountMapping:
    """What the reply says of *mapping*, where what it changed has the time *version*. Reading 30."""
    versions = [
        old
        if version is None or wish.subaccount_id == old.subaccount_id
        else MappingVersion(old.begin, old.end, version, wish.subaccount_id)
        for wish, old in _wishes(mapping, before)
        if old is not None
    ]
    return before[mapping.contract_id].with_versions(tuple(versions))


def _wishes(
    mapping: RequestedMapping, before: Mapping[int, SubaccountMapping]
) -> Iterator[tuple[RequestedVersion, MappingVersion | None]]:
    """Each version wanted, with the one that stood before in its period."""
    stood = before.get(mapping.contract_id)
    olds = {each.begin: each for each in stood.versions} if stood is not None else {}
    return ((wish, olds.get(wish.begin)) for wish in mapping.versions)


def _since(history: SubaccountMapping, old: MappingVersion) -> list[MappingVersion]:
    """The versions of the month of *old* that came after it."""
    month = [each for each in history.versions if month_of(each.begin) == month_of(old.begin)]
    alike = [
        place
        for place, each in enumerate(month)
        if (each.version, each.subaccount_id) == (old.version, old.subaccount_id)
    ]
    return month[alike[-1] + 1 :] if alike else []


def _made(reply: Reply) -> Made:
    _, mappings = understood(read_mappings, good(reply))
    return Made(tuple(mappings), reply.request_id)


def _requested(mapping: SubaccountMapping | RequestedMapping) -> RequestedMapping:
    if isinstance(mapping, RequestedMapping):
        return mapping
    versions = tuple(RequestedVersion(each.begin, each.end, each.subaccount_id) for each in mapping.versions)
    return RequestedMapping(mapping.customer_id, mapping.contract.contract_id, versions)
