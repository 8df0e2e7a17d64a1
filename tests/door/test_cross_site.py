"""
A page of another site cannot change anything, though the browser adds the client's certificate by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from wire import BASE, MAPPINGS, VENDOR, Door, door, get, post, request, update

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = update("Default")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A sandbox with the demonstration world."""
    with door(tmp_path_factory.mktemp("cross-site") / "sandbox") as started:
        yield started


OWN = {
    "a program": (),
    "our own page": ("Origin: https://localhost", "Sec-Fetch-Site: same-origin"),
    "our own page, by its origin alone": ("Origin: https://localhost",),
    "our own page, in capitals": ("Origin: HTTPS://LocalHost",),
    "the address line": ("Sec-Fetch-Site: none",),
    "our own page in capitals": ("Sec-Fetch-Site: Same-Origin",),
    "a page that only refers": ("Referer: https://other.example/page",),
}

OTHER = {
    "another site": ("Origin: https://other.example",),
    "another site that browsers know as such": ("Origin: https://other.example", "Sec-Fetch-Site: cross-site"),
    "a sandboxed page": ("Origin: null",),
    "an empty origin": ("Origin:",),
    "our host without TLS": ("Origin: http://localhost",),
    "our host at another port": ("Origin: https://localhost:8444",),
    "our host with a slash": ("Origin: https://localhost/",),
    "a host that begins like ours": ("Origin: https://localhost.other.example",),
    "a host that ends like ours": ("Origin: https://other-localhost",),
    "our host as a user": ("Origin: https://localhost@other.example",),
    "our origin and another": ("Origin: https://localhost", "Origin: https://other.example"),
    "a list of origins": ("Origin: https://localhost, https://other.example",),
    "a neighbouring site": ("Sec-Fetch-Site: same-site",),
    "another site by its fetch metadata": ("Sec-Fetch-Site: cross-site",),
    "another site that says our origin": ("Origin: https://localhost", "Sec-Fetch-Site: cross-site"),
    "another site beside our own": ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"),
    "a value that nobody knows": ("Sec-Fetch-Site: here",),
    "an empty value": ("Sec-Fetch-Site:",),
}


@pytest.mark.parametrize("fields", OWN.values(), ids=OWN)
def test_an_update_of_our_own_is_taken(service: Door, fields: tuple[str, ...]) -> None:
    assert service.answer(post(BODY, *fields)).status == 200


def test_our_own_is_what_the_client_calls_us(service: Door) -> None:
    own = post(BODY, "Origin: https://ibt.example:8443").replace(b"Host: localhost", b"Host: IBT.example:8443")
    assert service.answer(own).status == 200


@pytest.mark.parametrize("fields", OTHER.values(), ids=OTHER)
def test_an_update_by_the_page_of_another_site_is_refused_before_its_body_is_read(
    service: Door, fields: tuple[str, ...]
) -> None:
    answer = service.answer(request("POST", MAPPINGS, f"Content-Type: {VENDOR}", "Content-Length: 1000", *fields))
    assert answer.status == 403
    assert "another site" in answer.text
    assert "access-control-allow-origin" not in answer
    assert service.logged(event="request", id=answer["x-request-id"])["why"] == answer.text.strip()


@pytest.mark.parametrize("fields", OTHER.values(), ids=OTHER)
def test_what_changes_nothing_is_answered_but_not_opened_to_other_sites(
    service: Door, fields: tuple[str, ...]
) -> None:
    for raw in (get(MAPPINGS, *fields), request("OPTIONS", MAPPINGS, "Access-Control-Request-Method: POST", *fields)):
        answer = service.answer(raw)
        assert answer.status in (200, 204)
        assert not any(name.startswith("access-control-") for name, _ in answer.headers)
        assert answer["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_another_site_learns_nothing_of_other_customers(service: Door) -> None:
    raw = post(BODY, "Origin: https://other.example", target=f"{BASE}/2/contractSubaccountMappings")
    assert "customer 2" in service.answer(raw).text
