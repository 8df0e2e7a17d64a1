"""
Clauses 2 and 2.2, format and construction: media types, headers, prolog, schema. Readings 4, 5, 49, 50.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest
from lxml import etree

from ibt.conformance import wire
from ibt.conformance.messages import AUGUST, NAMESPACE, faults, path, post, update
from ibt.conformance.server import VENDOR, XML, Server

pytestmark = pytest.mark.any_server

BARE = "application/vnd.iso-ne.contract.customers.v1+xml"
UNCHANGED = update(40000, (AUGUST, "Default"))
RESOURCES = ["/1001/subaccounts", path(1001), path(1001, 7), path(1001, 710), f"{path(1001)}?contract_id=5"]

ACCEPTED = [
    (None, VENDOR),
    ("", VENDOR),
    ("*/*", VENDOR),
    ("application/*", VENDOR),
    (BARE, VENDOR),
    (VENDOR, VENDOR),
    (BARE.upper(), VENDOR),
    (f'{BARE}; charset="utf-8"', VENDOR),
    (f"{BARE} ; CHARSET=utf-8", VENDOR),
    ("application/xml", XML),
    ("APPLICATION/XML", XML),
    ("application/xml;charset=utf-8", XML),
    ("text/html, application/xml", XML),
    ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", XML),
    (f"application/xml, {BARE}", VENDOR),
    (f"{BARE};q=0.5, application/xml;q=0.5", VENDOR),
    (f"{BARE};q=0.4, application/xml;q=0.5", XML),
    (f"application/xml;q=0.5, {BARE};q=0.501", VENDOR),
    ("application/xml, */*;q=0.1", XML),
    ("application/xml;q=0.1, */*;q=0.2", VENDOR),
    ("application/xml;q=0, */*", VENDOR),
    (f"{BARE};q=0, */*;q=0.001", XML),
    (f"{BARE};q=0, application/*", XML),
    ("*/*;q=0, application/xml;q=0.001", XML),
    (f"application/xml;charset=UTF-8;q=0.2, application/xml, {BARE};q=0.5", VENDOR),
    ("text", VENDOR),
    (";;;", VENDOR),
    ("text, application/xml", XML),
    ("application/xml;q=2, text/html;q=x", VENDOR),
    (",, application/xml ,", XML),
    ('text/html;a="b, application/x", application/xml', XML),
]


@pytest.mark.parametrize(("accept", "media_type"), ACCEPTED, ids=str)
def test_accept_chooses_the_media_type(alder: httpx2.Client, accept: str | None, media_type: str) -> None:
    """
    "While these URLs can produce the generic application/xml media type (Accept: application/xml), the
    version-specific media types above are recommended." Reading 5.
    """
    request = alder.build_request("GET", "/1001/subaccounts")
    del request.headers["Accept"]
    if accept is not None:
        request.headers["Accept"] = accept
    answer = alder.send(request)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, media_type)


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/json",
        "text/*",
        "text/xml",
        "*/*;q=0",
        f"{BARE};q=0, application/xml;q=0.000",
        "application/xml;charset=ISO-8859-1",
        "application/vnd.iso-ne.contract.customers.v2+xml",
        "text/html, ;;;",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_accept_that_nothing_fits_is_refused_naming_both_types(
    dogwood: httpx2.Client, method: str, accept: str
) -> None:
    """
    "Clients are encouraged to use Accept request headers with a version-specific media type": 406 says which
    there are. Reading 5.
    """
    headers = {"Accept": accept, "Content-Type": VENDOR}
    (line,) = faults(dogwood.request(method, path(1004), headers=headers, content=UNCHANGED), 406)
    assert BARE in line
    assert "application/xml" in line


def test_several_accept_fields_are_one_list(server: Server) -> None:
    """
    "Clients are encouraged to use Accept request headers." Reading 5.
    """
    fields = (f"Accept: {BARE};q=0.1", "Accept: text/html, application/xml")
    answer = wire.exchange(server, "alder", wire.request("GET", f"{server.path}/1001/subaccounts", *fields))
    assert answer.headers["Content-Type"] == XML


@pytest.mark.parametrize(
    "content_type",
    [
        BARE,
        VENDOR,
        BARE.upper(),
        f"{BARE}; charset=utf-8",
        f'{BARE};charset="UTF-8"',
        f'{BARE} ; Charset="utf-8"',
        f"{BARE};v=1",
        f"{BARE};v=1;charset=Utf-8;w=2",
    ],
)
def test_the_vendors_media_type_is_accepted(dogwood: httpx2.Client, content_type: str) -> None:
    """
    "Each HTTP message body used by the IBT application has a common media type:
    application/vnd.iso-ne.contract.customers.v1+xml;charset=UTF-8" (2). Reading 4.
    """
    assert post(dogwood, UNCHANGED, headers={"Content-Type": content_type}).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "application/xml",
        XML,
        "text/xml",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/vnd.iso-ne.contract.customers.v2+xml",
        "application/vnd.iso-ne.contract.customers.v1",
        f"{BARE};charset=ISO-8859-1",
        f"{BARE};charset=UTF-16",
        f"{BARE};charset=utf8",
        f"{BARE};charset=",
        f"{BARE};charset=UTF-8;charset=UTF-8",
        f"{BARE}, {BARE}",
        "*/*",
        "",
    ],
)
def test_another_media_type_is_refused(dogwood: httpx2.Client, content_type: str) -> None:
    """
    "415 Unsupported Media Type for requests (e.g. POSTs) specifying a media type besides the one listed above
    for the IBT application" (2.1). Reading 4.
    """
    lines = faults(post(dogwood, UNCHANGED, headers={"Content-Type": content_type}), 415)
    assert BARE in lines[0]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param((), 415, id="no Content-Type"),
        pytest.param((f"Content-Type: {VENDOR}", f"Content-Type: {VENDOR}"), 415, id="two of them"),
        pytest.param((f"Content-Type: {VENDOR}", "Content-Encoding: gzip"), 415, id="gzip"),
        pytest.param((f"Content-Type: {VENDOR}", "Content-Encoding: identity, gzip"), 415, id="gzip after identity"),
        pytest.param((f"Content-Type: {VENDOR}", "Content-Encoding: identity"), 200, id="identity"),
        pytest.param((f"content-TYPE: {VENDOR}",), 200, id="a field name has no case"),
    ],
)
def test_a_post_says_what_it_is(server: Server, fields: tuple[str, ...], status: int) -> None:
    """
    "415 Unsupported Media Type" (2.1) also where the type is missing or given twice, or where the body has a
    coding. Reading 4.
    """
    request = wire.request("POST", server.path + path(1004), *fields, body=UNCHANGED.encode())
    assert wire.exchange(server, "dogwood", request).status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("content_type", ["text/html", "nonsense", "", VENDOR])
def test_a_content_type_without_a_post_is_ignored(alder: httpx2.Client, method: str, content_type: str) -> None:
    """
    "415 Unsupported Media Type for requests (e.g. POSTs)" (2.1): a GET has no body to judge. Reading 50.
    """
    assert alder.request(method, path(1001, 7), headers={"Content-Type": content_type}).status_code in {200, 204}


@pytest.mark.parametrize("media_type", [VENDOR, XML])
@pytest.mark.parametrize("target", RESOURCES)
def test_every_answer_has_headers_and_prolog_of_the_samples(
    alder: httpx2.Client, target: str, media_type: str
) -> None:
    """
    "Each HTTP message body used by the IBT application has a common media type" (2), and the samples' form:
    declaration, default namespace, indented by two, line feeds. Reading 49.
    """
    answer = alder.get(target, headers={"Accept": media_type})
    assert answer.headers["Content-Type"] == media_type
    assert [name.strip() for name in answer.headers["Vary"].split(",")] == ["Accept", "Accept-Encoding"]
    lines = answer.content.split(b"\n")
    assert lines[0] == b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    assert lines[1].endswith(b' xmlns="http://xmlns.iso-ne.com/contract/customers">') or lines[1].endswith(b"/>")
    assert b"\r" not in answer.content
    assert all((len(line) - len(line.lstrip(b" "))) % 2 == 0 for line in lines)


@pytest.mark.parametrize("media_type", [VENDOR, XML])
def test_the_answer_to_a_post_has_them_too(dogwood: httpx2.Client, media_type: str) -> None:
    """
    "These resources have a modifying operation (POST e.g.) and a GET operation that return the same data"
    (1.1). Reading 49.
    """
    answer = post(dogwood, UNCHANGED, headers={"Accept": media_type})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, media_type)
    assert answer.content.startswith(b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<contract_subacc')


def test_the_two_media_types_have_the_same_body(alder: httpx2.Client) -> None:
    """
    "These URLs can produce the generic application/xml media type." Reading 5.
    """
    assert alder.get(path(1001), headers={"Accept": "application/xml"}).content == alder.get(path(1001)).content


def test_the_schema_is_published_and_every_answer_is_valid(
    server: Server, alder: httpx2.Client, user: Callable[[str], httpx2.Client]
) -> None:
    """
    "The XML data in each HTTP message body has a common XML Schema ... vnd.iso-ne.contract.customers.v1.xsd"
    (2). Reading 10.
    """
    url = f"{server.url.removesuffix('/api/customers')}/schema/vnd.iso-ne.contract.customers.v1.xsd"
    published = alder.get(url)
    assert published.status_code == 200
    assert published.headers["Content-Type"].split(";")[0] == "application/xml"
    schema = etree.XMLSchema(etree.fromstring(published.content))
    answers = [*(alder.get(each) for each in RESOURCES), post(user("dogwood"), UNCHANGED)]
    for answer in answers:
        root = etree.fromstring(answer.content)
        schema.assertValid(root)
        assert etree.QName(root).namespace == NAMESPACE
