"""
Conditional requests (reading 57), and the codings and caches that go with them.
"""

from __future__ import annotations

import gzip
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from wire import BASE, MAPPINGS, SUBACCOUNTS, VENDOR, Answer, Door, door, get, post, request, update

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTRACT = f"{MAPPINGS}/999999"
SCHEMA = "/sms_oper_contract/schema/vnd.iso-ne.contract.customers.v1.xsd"
RESOURCES = {"the subaccounts": SUBACCOUNTS, "the collection": MAPPINGS, "a contract": CONTRACT, "the schema": SCHEMA}
OF_CUSTOMER = [SUBACCOUNTS, MAPPINGS, CONTRACT]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A sandbox with the demonstration world."""
    with door(tmp_path_factory.mktemp("conditional") / "sandbox") as started:
        yield started


def tag(service: Door, target: str = MAPPINGS, *fields: str, user: str = "xyz") -> str:
    """The tag that a resource has now."""
    return service.answer(get(target, *fields), user)["etag"]


def revision(etag: str) -> str:
    """What the tags of one state of a customer have in common."""
    return etag[1:-1].partition(".")[0]


def at_abc1(service: Door) -> bool:
    """Whether August of contract 999999 is mapped to ABC1; else it is to Default."""
    return "<subaccount_id>ABC1" in service.answer(get(f"{MAPPINGS}?contract_id=999999")).text


def change(service: Door, *fields: str) -> Answer:
    """An update that changes something: August of contract 999999 goes to its other subaccount."""
    return service.answer(post(update("Default" if at_abc1(service) else "ABC1"), *fields))


# --- the tag ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", RESOURCES.values(), ids=RESOURCES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_200_has_a_strong_tag_and_what_a_cache_needs(service: Door, target: str, method: str) -> None:
    answer = service.answer(request(method, target))
    assert answer.status == 200
    assert len(revision(answer["etag"])) >= 32
    assert answer["etag"].startswith('"')
    assert answer["cache-control"] == "private, no-cache"
    assert answer["vary"] == "Accept, Accept-Encoding"


def test_an_update_has_the_tag_of_what_it_made(service: Door) -> None:
    answer = change(service)
    assert answer.status == 200
    assert answer["etag"] == tag(service)
    assert answer["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("target", [*OF_CUSTOMER, SCHEMA])
def test_a_304_has_the_headers_of_the_200_without_a_body(service: Door, target: str) -> None:
    whole = service.answer(get(target))
    for method in ("GET", "HEAD"):
        answer = service.answer(request(method, target, f"If-None-Match: {whole['etag']}"))
        assert answer.status == 304
        assert [answer[name] for name in ("etag", "vary", "cache-control")] == [
            whole[name] for name in ("etag", "vary", "cache-control")
        ]
        assert "content-type" not in answer


def test_each_representation_has_its_own_tag_and_all_have_the_revision_in_common(service: Door) -> None:
    fields = itertools.product((f"Accept: {VENDOR}", "Accept: application/xml"), ("X: y", "Accept-Encoding: gzip"))
    asked = list(fields)
    tags = [tag(service, MAPPINGS, *each) for each in asked]
    assert len(set(tags)) == 4
    assert len({revision(each) for each in tags}) == 1
    known = [[service.answer(get(MAPPINGS, *f, f"If-None-Match: {t}")).status == 304 for t in tags] for f in asked]
    # With Accept-Encoding a tag of either coding is known, as the body may turn out too short to be compressed.
    assert known == [
        [True, False, False, False],
        [True, True, False, False],
        [False, False, True, False],
        [False, False, True, True],
    ]


def test_the_resources_of_a_customer_have_one_revision_and_other_customers_another(service: Door) -> None:
    assert len({revision(tag(service, target)) for target in OF_CUSTOMER}) == 1
    assert revision(tag(service)) != revision(tag(service, f"{BASE}/3/subaccounts", user="tuv"))


# --- what renews the revision -----------------------------------------------------------------------------


def test_a_change_renews_the_tags_of_all_resources(service: Door) -> None:
    before = [tag(service, target) for target in OF_CUSTOMER]
    assert change(service).status == 200
    after = [tag(service, target) for target in OF_CUSTOMER]
    assert not set(before) & set(after)


def test_a_state_that_comes_back_has_another_revision(service: Door) -> None:
    tags = [tag(service), *(change(service)["etag"] for _ in range(4))]
    assert len({revision(each) for each in tags}) == 5


UNCHANGING = {
    "a GET": (get(MAPPINGS), "xyz", 200),
    "a POST that changes nothing": (post(update("Default", contract_id=999998)), "xyz", 200),
    "a POST that is refused": (post(update("NOPE")), "xyz", 400),
    "a POST that is no XML": (post(b"<"), "xyz", 400),
    "a POST of another type": (request("POST", MAPPINGS, body=update("ABC1")), "xyz", 415),
    "a POST with a stale tag": (post(update("ABC1"), 'If-Match: "stale"'), "xyz", 412),
    "the other party's POST": (
        post(update("Default", customer_id=3), target=f"{BASE}/3/contractSubaccountMappings"),
        "tuv",
        200,
    ),
    "another customer's POST to us": (post(update("ABC1")), "tuv", 403),
}


@pytest.mark.parametrize(("raw", "user", "status"), UNCHANGING.values(), ids=UNCHANGING)
def test_nothing_else_renews_it(service: Door, raw: bytes, user: str, status: int) -> None:
    before = [service.answer(get(target)) for target in OF_CUSTOMER]
    assert service.answer(raw, user).status == status
    after = [service.answer(get(target)) for target in OF_CUSTOMER]
    assert [(each["etag"], each.body) for each in after] == [(each["etag"], each.body) for each in before]


def test_a_change_by_another_customer_renews_only_its_own(service: Door) -> None:
    target = f"{BASE}/2/contractSubaccountMappings"
    ours, theirs = tag(service), tag(service, target, user="qrs")
    changed = service.answer(post(update("WEST", customer_id=2, contract_id=999998), target=target), "qrs")
    assert changed.status == 200
    assert tag(service) == ours
    assert changed["etag"] == tag(service, target, user="qrs") != theirs


# --- If-None-Match ----------------------------------------------------------------------------------------

NONE_MATCH = {
    "the tag": (["{tag}"], 304),
    "the tag, weak": (["W/{tag}"], 304),
    "anything": (["*"], 304),
    "the tag in a list": (['"a", {tag}, "b"'], 304),
    "the tag in a list without blanks": (['"a",{tag}'], 304),
    "the tag in the second field": (['"a"', "{tag}"], 304),
    "the tag after what is malformed": (["a, {tag}"], 304),
    "the tag after a tag with a comma": (['"a,b", {tag}'], 304),
    "an old tag": (['"0123456789abcdef0123456789abcdef.v"'], 200),
    "the tag of another type": (['"{revision}.x"'], 200),
    "the tag in gzip, not asked for": (['"{revision}.vz"'], 200),
    "the revision alone": (['"{revision}"'], 200),
    "the tag without quotes": (["{revision}.v"], 200),
    "half of the tag": (['"{revision}'], 200),
    "a quoted star": (['"*"'], 200),
    "an empty tag": (['""'], 200),
    "nothing": ([""], 200),
    "a small w": (["w/{tag}"], 200),
}


@pytest.mark.parametrize(("values", "status"), NONE_MATCH.values(), ids=NONE_MATCH)
def test_if_none_match_saves_what_the_client_has(service: Door, values: list[str], status: int) -> None:
    now = tag(service)
    fields = [f"If-None-Match: {value.format(tag=now, revision=revision(now))}" for value in values]
    answer = service.answer(get(MAPPINGS, *fields))
    assert answer.status == status
    assert answer["etag"] == now


REFUSED = {
    "an unknown URL": (f"{BASE}/1", 404, ()),
    "another customer": (f"{BASE}/2/subaccounts", 403, ()),
    "a type that is not there": (SUBACCOUNTS, 406, ("Accept: text/html",)),
    "a bad query": (f"{MAPPINGS}?limit=0", 400, ()),
    "an unknown parameter, strictly": (f"{SUBACCOUNTS}?x=1", 400, ("Prefer: handling=strict",)),
    "an unknown contract": (f"{MAPPINGS}/7", 404, ()),
}


@pytest.mark.parametrize(("target", "status", "fields"), REFUSED.values(), ids=REFUSED)
def test_what_would_be_refused_is_refused_before_304(
    service: Door, target: str, status: int, fields: tuple[str, ...]
) -> None:
    answer = service.answer(get(target, "If-None-Match: *", *fields))
    assert answer.status == status
    assert "etag" not in answer
    assert answer["cache-control"] == "no-store"


# --- If-Match ---------------------------------------------------------------------------------------------

MATCH = {
    "the tag": (["{tag}"], 200),
    "the tag, weak": (["W/{tag}"], 200),
    "anything": (["*"], 200),
    "the tag of another type": (['"{revision}.x"'], 200),
    "the tag in gzip": (['"{revision}.vz"'], 200),
    "the tag with what a proxy adds": (['"{revision}.v-gzip"'], 200),
    "the revision alone": (['"{revision}"'], 200),
    "the tag in a list": (['"a", {tag}'], 200),
    "the tag in the second field": (['"a"', "{tag}"], 200),
    "an old tag": (['"0123456789abcdef0123456789abcdef.v"'], 412),
    "an old tag, weak": (['W/"0123456789abcdef0123456789abcdef.v"'], 412),
    "the tag without quotes": (["{revision}.v"], 412),
    "the beginning of the revision": (['"{half}"'], 412),
    "more than the revision": (['"{revision}0.v"'], 412),
    "the revision in capitals": (['"{capitals}.v"'], 412),
    "a quoted star": (['"*"'], 412),
    "an empty tag": (['""'], 412),
    "a suffix alone": (['".v"'], 412),
    "nothing": ([""], 412),
    "what is no tag": (["today"], 412),
}


@pytest.mark.parametrize(("values", "status"), MATCH.values(), ids=MATCH)
def test_if_match_lets_a_change_through_only_at_the_state_it_names(
    service: Door, values: list[str], status: int
) -> None:
    now = tag(service)
    known = {
        "tag": now,
        "revision": revision(now),
        "half": revision(now)[:16],
        # Should it have no letters, capitals make no difference.
        "capitals": revision(now).upper() if not revision(now).isdigit() else "A",
    }
    before = service.answer(get(CONTRACT)).body
    answer = change(service, *(f"If-Match: {value.format(**known)}" for value in values))
    assert answer.status == status
    after = service.answer(get(CONTRACT))
    if status == 412:
        assert (after["etag"], after.body) == (now, before)
        assert len(answer.text.splitlines()) == 1
    else:
        assert after["etag"] == answer["etag"] != now
        assert after.body != before


@pytest.mark.parametrize("target", OF_CUSTOMER)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("accept", [VENDOR, "application/xml"])
def test_a_tag_of_any_resource_in_any_form_serves(service: Door, target: str, coding: str, accept: str) -> None:
    given = tag(service, target, f"Accept: {accept}", f"Accept-Encoding: {coding}")
    assert change(service, f"If-Match: {given}").status == 200
    assert change(service, f"If-Match: {given}").status == 412


def test_the_tag_of_an_update_serves_for_the_next(service: Door) -> None:
    etag = tag(service)
    for _ in range(3):
        answer = change(service, f"If-Match: {etag}")
        assert answer.status == 200
        etag = answer["etag"]


BEFORE_412 = {
    "no XML": (post(b"<", 'If-Match: "stale"'), 400),
    "a fault": (post(update("NOPE"), 'If-Match: "stale"'), 400),
    "another type": (request("POST", MAPPINGS, 'If-Match: "stale"', body=update("ABC1")), 415),
    "another customer": (post(b"", 'If-Match: "stale"', target=f"{BASE}/2/contractSubaccountMappings"), 403),
    "a resource that is only read": (post(b"", 'If-Match: "stale"', target=SUBACCOUNTS), 405),
}


@pytest.mark.parametrize(("raw", "status"), BEFORE_412.values(), ids=BEFORE_412)
def test_412_comes_last(service: Door, raw: bytes, status: int) -> None:
    assert service.answer(raw).status == status


def test_a_stale_tag_refuses_also_what_would_change_nothing(service: Door) -> None:
    assert service.answer(post(update("Default", contract_id=999998), 'If-Match: "stale"')).status == 412


def test_of_updates_at_the_same_state_one_is_made(service: Door) -> None:
    if at_abc1(service):
        change(service)
    raw = post(update("ABC1"), f"If-Match: {tag(service)}")
    with ThreadPoolExecutor(8) as clients:
        statuses = [answer.status for answer in clients.map(lambda _: service.answer(raw), range(8))]
    assert sorted(statuses) == [200] + [412] * 7


# --- codings and ranges -----------------------------------------------------------------------------------

CODINGS = {
    "gzip": ("gzip", True),
    "gzip in capitals": ("GZIP", True),
    "x-gzip": ("x-gzip", True),
    "gzip with weight 1": ("gzip;q=1.000", True),
    "gzip with a small weight": ("br;q=1, gzip;q=0.001", True),
    "gzip as browsers ask": ("gzip, deflate, br, zstd", True),
    "gzip and identity alike": ("identity, gzip", True),
    "gzip before identity": ("identity;q=0.5, gzip;q=0.8", True),
    "gzip after identity": ("identity, gzip;q=0.5", False),
    "not gzip": ("gzip;q=0", False),
    "not gzip, three digits": ("gzip;q=0.000", False),
    "anything": ("*", True),
    "anything but gzip": ("gzip;q=0, *", False),
    "nothing else": ("*;q=0", False),
    "gzip and nothing else": ("gzip, *;q=0", True),
    "another coding": ("br", False),
    "identity": ("identity", False),
    "nothing": ("", False),
    "a malformed weight": ("gzip;q=x", False),
    "a weight over 1": ("gzip;q=2", False),
}


@pytest.mark.parametrize(("asked", "coded"), CODINGS.values(), ids=CODINGS)
def test_an_answer_is_compressed_where_that_is_asked_for(service: Door, asked: str, coded: bool) -> None:
    whole = service.answer(get(MAPPINGS))
    answer = service.answer(get(MAPPINGS, f"Accept-Encoding: {asked}"))
    assert ("content-encoding" in answer) == coded
    assert (gzip.decompress(answer.body) if coded else answer.body) == whole.body
    assert answer["vary"] == whole["vary"]
    assert len(answer.body) == int(answer["content-length"])


def test_an_update_is_answered_in_gzip_too(service: Door) -> None:
    mapping = update("Default", contract_id=999998)
    begin, end = mapping.index(b"<contract_subaccount_mapping>"), mapping.index(b"</contract_subaccount_mappings>")
    other = update("Default")[begin:end]
    whole = mapping[:end] + other + mapping[end:]
    plain = service.answer(post(whole))
    coded = service.answer(post(whole, "Accept-Encoding: gzip"))
    assert len(plain.body) > 1024
    assert gzip.decompress(coded.body) == plain.body
    assert coded["etag"] != plain["etag"]


@pytest.mark.parametrize("target", [SUBACCOUNTS, f"{BASE}/1", f"{MAPPINGS}?limit=0"])
def test_short_answers_and_refusals_are_sent_as_they_are(service: Door, target: str) -> None:
    assert "content-encoding" not in service.answer(get(target, "Accept-Encoding: gzip"))


@pytest.mark.parametrize("fields", [("Range: bytes=0-9",), ("Range: bytes=0-9", "If-Range: {tag}"), ("Range: x",)])
def test_range_is_ignored(service: Door, fields: tuple[str, ...]) -> None:
    whole = service.answer(get(MAPPINGS))
    answer = service.answer(get(MAPPINGS, *(field.format(tag=whole["etag"]) for field in fields)))
    assert (answer.status, answer.body) == (200, whole.body)
    assert "content-range" not in answer
