"""
Clause 1.3, IBT roles. Readings 9, 56.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ibt.conformance.messages import faults, path
from ibt.conformance.server import Server

pytestmark = pytest.mark.any_server

RESOURCES = [
    pytest.param("/{}/subaccounts", id="subaccounts"),
    pytest.param("/{}/contractSubaccountMappings", id="collection"),
    pytest.param("/{}/contractSubaccountMappings/7", id="contract"),
]
WITHOUT_ROLE = [
    pytest.param("viewer", id="another role"),
    pytest.param("lower", id="the role in lower case"),
    pytest.param("visitor", id="no customer"),
]


@pytest.mark.parametrize("resource", RESOURCES)
def test_every_user_with_the_role_may_use_every_operation(
    user: Callable[[str], httpx2.Client], resource: str
) -> None:
    """
    "All operations defined for every type of resource below are accessible to any Market Participant user of
    the IBT application." Reading 48.
    """
    for name, customer_id in (("alder", 1001), ("both", 1001), ("both", 1002), ("birch", 1002)):
        assert user(name).get(resource.format(customer_id)).status_code == 200


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("name", WITHOUT_ROLE)
def test_a_user_without_the_role_is_refused(user: Callable[[str], httpx2.Client], name: str, resource: str) -> None:
    """
    "Use of a web service operation by a user without the role allowing access to the IBT application will
    result in an error." The role is exactly `IBT`. Reading 9.
    """
    faults(user(name).get(resource.format(1001)), 403)


@pytest.mark.parametrize("name", WITHOUT_ROLE)
def test_a_refused_user_is_told_which_certificate_was_seen(
    server: Server, user: Callable[[str], httpx2.Client], name: str
) -> None:
    """
    "Use of a web service operation by a user without the role ... will result in an error": it names the
    subject, the SHA-256 fingerprint and what is missing. Reading 9.
    """
    certificate = x509.load_pem_x509_certificate((server.directory / "clients" / f"{name}.pem").read_bytes())
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    (line,) = faults(user(name).get("/1001/subaccounts"), 403)
    assert name in line
    assert fingerprint in line.replace(":", "").lower()
    assert "IBT" in line


@pytest.mark.parametrize("name", WITHOUT_ROLE)
def test_a_user_without_the_role_is_refused_before_the_url_is_judged(
    user: Callable[[str], httpx2.Client], name: str
) -> None:
    """
    "Roles restrict the web service operations/messages available to a given user": 403 comes before 404, 405
    and 406. Reading 7.
    """
    client = user(name)
    assert client.get("/nothing").status_code == 403
    assert client.delete("/1001/subaccounts").status_code == 403
    assert client.get("/1001/subaccounts", headers={"Accept": "text/html"}).status_code == 403


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize(
    ("name", "customer_id"),
    [
        pytest.param("alder", 1002, id="another customer"),
        pytest.param("alder", 998877, id="nobody's number"),
        pytest.param("alder", 0, id="zero"),
        pytest.param("both", 1003, id="a third beside two"),
        pytest.param("mixed", 1001, id="a role at another customer only"),
    ],
)
def test_another_customers_data_are_refused(
    user: Callable[[str], httpx2.Client], name: str, customer_id: int, resource: str
) -> None:
    """
    "Subaccounts belonging to the Market Participant indicated by the customerId parameter" (3.1.1) are for
    that Market Participant's users. Readings 9, 56.
    """
    (line,) = faults(user(name).get(resource.format(customer_id)), 403)
    assert str(customer_id) in line


def test_the_refusal_does_not_tell_whether_a_customer_exists(alder: httpx2.Client) -> None:
    """
    "A user without the role ... will result in an error": the same text whether or not the customer exists,
    naming only the number asked for. Reading 9.
    """
    existing, unknown = (alder.get(f"/{customer_id}/subaccounts") for customer_id in (1002, 9002))
    assert existing.text == unknown.text.replace("9002", "1002")
    assert "Birch" not in existing.text


@pytest.mark.parametrize("name", WITHOUT_ROLE)
def test_a_user_without_the_role_does_not_learn_whether_a_customer_exists(
    user: Callable[[str], httpx2.Client], name: str
) -> None:
    """
    "A user without the role ... will result in an error": the same text for every customer. Reading 9.
    """
    existing, unknown = (user(name).get(f"/{customer_id}/subaccounts") for customer_id in (1002, 9002))
    assert existing.text.replace("1002", "N") == unknown.text.replace("9002", "N")


def test_each_line_of_users_grants_one_customer(user: Callable[[str], httpx2.Client]) -> None:
    """
    "Roles restrict the web service operations/messages available to a given user": a user may have several
    customers, each by a grant of its own. Reading 56.
    """
    statuses = {name: [user(name).get(path(each)).status_code for each in (1001, 1002)] for name in ("both", "mixed")}
    assert statuses == {"both": [200, 200], "mixed": [403, 200]}
