"""
Clause 2.1, REST operations responses: status codes, the error text, the order of refusals.

Readings 1, 2, 3, 6, 7, 48, 58.
"""

from __future__ import annotations

import httpx2
import pytest

from ibt.conformance import wire
from ibt.conformance.messages import AUGUST, faults, mapping, message, path, post, update, version
from ibt.conformance.server import TEXT, VENDOR, Server

pytestmark = pytest.mark.any_server

UNKNOWN = [
    "",
    "/",
    "/1001",
    "/1001/",
    "/1001/subaccounts/",
    "/1001/subaccounts/A1",
    "/1001/Subaccounts",
    "/1001/SUBACCOUNTS",
    "/1001/contractsubaccountmappings",
    "/1001/contracts",
    "/1001/contractSubaccountMappings/",
    "/1001/contractSubaccountMappings/7/",
    "/1001/contractSubaccountMappings/7/versions",
    "/01001/subaccounts",
    "/+1001/subaccounts",
    "/-1001/subaccounts",
    "/1001.0/subaccounts",
    "/1e3/subaccounts",
    "/%201001/subaccounts",
    "/1234567890/subaccounts",
    "/00/subaccounts",
    "/%EF%BC%91/subaccounts",
    "/abc/subaccounts",
    "//1001/subaccounts",
    "/1001//subaccounts",
    "/1001/./subaccounts",
    "/1002/../1001/subaccounts",
    "/1002/%2E%2E/1001/subaccounts",
    "/1001%2Fsubaccounts",
    "/%2531001/subaccounts",
    "/1001/subaccounts;v=1",
    "/1001/subaccounts%00",
    "/1001/subaccounts%20",
    "/1001/sub%FFaccounts",
    "/1001/contractSubaccountMappings/07",
    "/1001/contractSubaccountMappings/+7",
    "/1001/contractSubaccountMappings/7.0",
    "/1001/contractSubaccountMappings/1234567890",
    "/1001/contractSubaccountMappings/seven",
    "/1001/contractSubaccountMappings/7%2F",
]

ALLOWED = {
    "/1001/subaccounts": {"GET", "HEAD", "OPTIONS"},
    "/1001/contractSubaccountMappings": {"GET", "HEAD", "OPTIONS", "POST"},
    "/1001/contractSubaccountMappings/7": {"GET", "HEAD", "OPTIONS"},
}


def allowed(answer: httpx2.Response) -> set[str]:
    """The methods of an answer's Allow."""
    return {method.strip() for method in answer.headers["Allow"].split(",")}


@pytest.mark.parametrize("target", UNKNOWN)
def test_a_url_that_names_no_resource_is_not_found(server: Server, target: str) -> None:
    """
    "404 Not Found for requests whose URLs do not name a supported resource." The raw path is split at `/`,
    each segment decoded once; ids are canonical decimals of 1 to 9 digits. Readings 1, 2.
    """
    faults(wire.exchange(server, "alder", wire.request("GET", server.path + target)), 404)


@pytest.mark.parametrize("target", ["/SMS_OPER_CONTRACT/api/customers/1001/subaccounts", "/1001/subaccounts"])
def test_a_url_outside_the_base_path_is_not_found(server: Server, target: str) -> None:
    """
    "Each REST HTTP request supported by the IBT application has a common base URL" (2.2). Reading 1.
    """
    assert wire.exchange(server, "alder", wire.request("GET", target)).status_code == 404


@pytest.mark.parametrize("target", ["/%31001/subaccounts", "/1001/sub%61ccounts", "/1001/%73ubaccounts?x=/y/"])
def test_each_segment_of_a_path_is_decoded_once(server: Server, target: str) -> None:
    """
    "Individual resource has a specific URL that applies specific values to the pattern" (2.2). Reading 1.
    """
    assert wire.exchange(server, "alder", wire.request("GET", server.path + target)).status_code == 200


def test_an_absolute_target_is_accepted(server: Server) -> None:
    """
    "https://smd.iso-ne.com/sms_oper_contract/api/customers/1/subaccounts" (2.2) may stand whole in the
    request line. Reading 1.
    """
    assert wire.exchange(server, "alder", wire.request("GET", f"{server.url}/1001/subaccounts")).status_code == 200


def test_options_of_the_whole_server_is_not_found(server: Server) -> None:
    """
    "404 Not Found for requests whose URLs do not name a supported resource": `OPTIONS *` too. Reading 1.
    """
    assert wire.exchange(server, "alder", wire.request("OPTIONS", "*")).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "POST"])
@pytest.mark.parametrize("target", ALLOWED)
def test_another_method_is_not_allowed(alder: httpx2.Client, target: str, method: str) -> None:
    """
    "405 Method Not Allowed for requests using an operation unsupported for the resource, e.g. a POST for a
    GET-only resource", with a right Allow. Reading 3.
    """
    if method in ALLOWED[target]:
        assert alder.request(method, target).status_code == 415
        return
    answer = alder.request(method, target)
    faults(answer, 405)
    assert allowed(answer) == ALLOWED[target]


@pytest.mark.parametrize("method", ["get", "Get", "BREW"])
def test_a_method_that_http_does_not_know_is_refused(server: Server, method: str) -> None:
    """
    "405 Method Not Allowed for requests using an operation unsupported for the resource"; one that the HTTP
    parser does not know is its 400. Names are case-sensitive. Readings 3, 58.
    """
    request = wire.request(method, f"{server.path}/1001/subaccounts")
    assert wire.exchange(server, "alder", request).status_code in {400, 405}


@pytest.mark.parametrize("target", ALLOWED)
def test_options_says_which_methods_are_allowed(alder: httpx2.Client, target: str) -> None:
    """
    "The different resource types support specific operations from the standard HTTP methods" (1.1): 204 with
    Allow; Accept is not consulted. Reading 3.
    """
    answer = alder.options(target, headers={"Accept": "text/html"})
    assert (answer.status_code, answer.content, allowed(answer)) == (204, b"", ALLOWED[target])


def test_options_comes_before_the_question_of_the_customer(alder: httpx2.Client) -> None:
    """
    "The different resource types support specific operations" (1.1): OPTIONS answers at the place of 405,
    after 404 and before the customer's 403. Reading 3.
    """
    assert [alder.options(each).status_code for each in ("/1002/subaccounts", "/1002/nothing")] == [204, 404]


@pytest.mark.parametrize("target", ALLOWED)
def test_head_answers_as_get_without_the_body(alder: httpx2.Client, target: str) -> None:
    """
    "Some resources simply have GET operations" (1.1), and HEAD with them. Reading 3.
    """
    get, head = alder.get(target), alder.head(target)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Type", "Vary"):
        assert head.headers[name] == get.headers[name]
    assert head.headers.get("Content-Length", str(len(get.content))) == str(len(get.content))


def test_head_is_refused_as_get_is(alder: httpx2.Client) -> None:
    """
    "The client error 4XX response status codes are used to indicate errors requiring correction on the
    client side", for HEAD too. Reading 3.
    """
    targets = ("/nothing", "/1002/subaccounts", path(1001, 12345), f"{path(1001)}?limit=0")
    assert [alder.head(each).status_code for each in targets] == [404, 403, 404, 400]


def test_success_is_200(alder: httpx2.Client, dogwood: httpx2.Client) -> None:
    """
    "The response is ... the new state of the data following a modification ... or the current state of the
    data for a query" (1.1): 200 for every GET and POST. Reading 48.
    """
    answers = [*(alder.get(each) for each in ALLOWED), post(dogwood, update(40000, (AUGUST, "Default")))]
    assert {answer.status_code for answer in answers} == {200}


POST = {"Content-Type": VENDOR}
ORDER = [
    pytest.param("PUT", "/nothing", {}, b"", 404, id="404 before 405"),
    pytest.param("DELETE", "/1002/subaccounts", {}, b"", 405, id="405 before 403"),
    pytest.param("POST", "/1002/subaccounts", POST, b"<", 405, id="405 before the body"),
    pytest.param("GET", "/1002/subaccounts", {"Accept": "text/html"}, b"", 403, id="403 before 406"),
    pytest.param("POST", path(1002), {"Content-Type": "text/html"}, b"<", 403, id="403 before 415"),
    pytest.param("GET", f"{path(1002)}?limit=0", {}, b"", 403, id="403 before a bad parameter"),
    pytest.param("GET", path(1002, 12345), {}, b"", 403, id="403 before an unknown contract"),
    pytest.param("POST", path(1001), {"Content-Type": "a/b", "Accept": "text/html"}, b"<", 406, id="406 before 415"),
    pytest.param("GET", f"{path(1001)}?limit=0", {"Accept": "text/html"}, b"", 406, id="406 before a bad parameter"),
    pytest.param("GET", path(1001, 12345), {"Accept": "text/html"}, b"", 406, id="406 before an unknown contract"),
    pytest.param("POST", path(1001), {"Content-Type": "text/html"}, b"<", 415, id="415 before the body"),
    pytest.param(
        "GET",
        f"{path(1001, 12345)}?x=1",
        {"Prefer": "handling=strict"},
        b"",
        400,
        id="400 before an unknown contract",
    ),
    pytest.param(
        "POST",
        f"{path(1001)}?x=1",
        {"Content-Type": "a/b", "Prefer": "handling=strict"},
        b"<",
        415,
        id="415 before 400",
    ),
]


@pytest.mark.parametrize(("method", "target", "headers", "body", "status"), ORDER)
def test_refusals_have_an_order(
    alder: httpx2.Client, *, method: str, target: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    """
    "If an exception occurs while processing a request, a response will be sent to the user with the
    appropriate HTTP response status code." Where several would fit, the first of the order. Reading 7.
    """
    faults(alder.request(method, target, headers=headers, content=body), status)


BAD = [
    pytest.param("GET", "/nothing", {}, "", 404, id="404"),
    pytest.param("PUT", "/1001/subaccounts", {}, "", 405, id="405"),
    pytest.param("GET", "/1002/subaccounts", {}, "", 403, id="403"),
    pytest.param("GET", "/1001/subaccounts", {"Accept": "image/png"}, "", 406, id="406"),
    pytest.param("POST", path(1001), {"Content-Type": "image/png"}, "", 415, id="415"),
    pytest.param("POST", path(1001), POST, "<", 400, id="400 not XML"),
    pytest.param("POST", path(1001), POST, update(7, (AUGUST, "A1")), 400, id="400 a rule"),
    pytest.param("GET", f"{path(1001)}?limit=x", {}, "", 400, id="400 a parameter"),
]


@pytest.mark.parametrize(("method", "target", "headers", "body", "status"), BAD)
def test_a_refusal_is_plain_text(
    alder: httpx2.Client, *, method: str, target: str, headers: dict[str, str], body: str, status: int
) -> None:
    """
    "The client error 4XX response status codes are used to indicate errors requiring correction on the client
    side, along with a standard text/plain HTTP response body", whatever Accept says. Reading 6.
    """
    faults(alder.request(method, target, headers={"Accept": "application/xml", **headers}, content=body), status)


def test_every_fault_is_told_in_one_answer_in_the_order_of_the_query(alder: httpx2.Client) -> None:
    """
    "Errors requiring correction on the client side": one fault a line, all that can be decided in one answer.
    Reading 6.
    """
    query = {"limit": "0", "category": "ENERGY", "contract_id": "7a", "start_date": "2015-08-01", "page": "0"}
    lines = faults(alder.get(path(1001), params=query))
    assert [next(name for name in query if name in line) for line in lines] == list(query)
    assert all(f'"{value}"' in line for value, line in zip(query.values(), lines, strict=True))


def test_every_fault_is_told_in_one_answer_in_the_order_of_the_document(dogwood: httpx2.Client) -> None:
    """
    "Errors requiring correction on the client side": one fault a line, in the order of the document. Reading 6.
    """
    wrong = [("2015-07-01T04:00:00Z", AUGUST[1]), ("2015-08-02T04:00:00Z", "2015-08-03T04:00:00Z")]
    lines = faults(post(dogwood, update(40000, (wrong[0], "D1"), (wrong[1], "NOT MINE"))))
    assert len(lines) == 3
    assert wrong[0][0] in lines[0]
    assert wrong[1][0] in lines[1]
    assert '"NOT MINE"' in lines[2]


def test_a_line_names_contract_period_field_value_rule_and_clause(dogwood: httpx2.Client) -> None:
    """
    "Errors requiring correction on the client side": a line says what to correct. Reading 6.
    """
    (line,) = faults(post(dogwood, update(40000, (AUGUST, "NOT MINE"))))
    for part in ("40000", *AUGUST, "subaccount_id", '"NOT MINE"', "3.2.5"):
        assert part in line


def test_a_hundred_faults_are_told_and_the_rest_are_counted(dogwood: httpx2.Client) -> None:
    """
    "Along with a standard text/plain HTTP response body": at most 100 lines, then "and N more". Reading 6.
    """
    unknown = [mapping(50000 + each, version(AUGUST, "D1")) for each in range(130)]
    lines = faults(post(dogwood, message(*unknown)))
    assert [str(50000 + each) in line for each, line in enumerate(lines[:-1])] == [True] * 100
    assert lines[-1] == "and 30 more"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("D1&#10;contract 40000: forged (3.2.5)", "\\n", id="line feed"),
        pytest.param("D1&#13;forged", "\\r", id="carriage return"),
        pytest.param("D1\u2028forged", "\\u2028", id="line separator"),
        pytest.param("D1\u0085forged", "\\x85", id="next line"),
        pytest.param("D1\u202eforged", "\\u202e", id="right to left"),
    ],
)
def test_no_value_can_forge_a_line(dogwood: httpx2.Client, value: str, shown: str) -> None:
    """
    "A standard text/plain HTTP response body": values are quoted and control characters escaped. Reading 6.
    """
    body = update(40000, (AUGUST, "SUBACCOUNT")).replace("SUBACCOUNT", value)
    (line,) = faults(post(dogwood, body))
    assert shown in line


@pytest.mark.parametrize("parameter", ["reference_id", "subaccount_name"])
def test_a_long_value_is_cut(alder: httpx2.Client, parameter: str) -> None:
    """
    "A standard text/plain HTTP response body": a value is cut at 100 characters. Reading 6.
    """
    (line,) = faults(alder.get(path(1001), params={parameter: "x" * 150}))
    assert "x" * 100 in line
    assert "x" * 101 not in line


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(("Content-Length: 5", "Transfer-Encoding: chunked"), id="both lengths"),
        pytest.param(("Transfer-Encoding: chunked", "Content-Length: 5"), id="both lengths, other order"),
        pytest.param(("Content-Length: 5", "Content-Length: 6"), id="two lengths"),
        pytest.param(("Content-Length: five",), id="a length that is no number"),
        pytest.param(("Content-Length: -5",), id="a negative length"),
        pytest.param((f"Content-Type: {VENDOR}", "Bad Name: x", "Content-Length: 0"), id="a field name with a blank"),
    ],
)
def test_a_message_of_doubtful_length_is_refused_and_the_connection_closed(
    server: Server, fields: tuple[str, ...]
) -> None:
    """
    "REST over HTTPS (version 1.1)" (1.2): `Content-Length` with `Transfer-Encoding` is 400, then the
    connection is closed. Reading 58.
    """
    with wire.connection(server, "alder") as connection:
        connection.sendall(wire.request("POST", server.path + path(1001), *fields) + b"0\r\n\r\n")
        answer = wire.answer(connection, "POST")
        assert answer.status_code == 400
        assert answer.headers["Content-Type"] == TEXT
        assert wire.closed(connection)


def test_a_body_may_come_in_chunks(server: Server) -> None:
    """
    "REST over HTTPS (version 1.1)" (1.2): a chunked body is a body. Reading 58.
    """
    body = update(40000, (AUGUST, "Default")).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:10], body[10:])) + b"0\r\n\r\n"
    head = wire.request("POST", server.path + path(1004), f"Content-Type: {VENDOR}", "Transfer-Encoding: chunked")
    assert wire.exchange(server, "dogwood", head + chunks).status_code == 200


def test_an_empty_message_is_told_in_one_line(dogwood: httpx2.Client) -> None:
    """
    "400 Bad Request for requests whose message body is not valid XML data of the expected XML type": what
    cannot be read at all is one line; a message without a mapping too. Readings 10, 40.
    """
    assert [len(faults(post(dogwood, body))) for body in ("", " ", message())] == [1, 1, 1]
