"""
docs/openapi.yaml says what the service does: its routes, parameters, statuses, headers and texts, and the messages of
the published schema. Requests that are made from it, right ones and wrong ones, are answered as it says.

Clauses 2.1, 2.2, 3.1.4, 3.2.4, 3.3.4.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lxml import etree
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from faults import SERVICE, line_of
from ibt.conformance.server import TEXT, VENDOR, XML, Server, sandbox
from ibt.messages import NAMESPACE, SCHEMA
from ibt.rules import queries
from ibt.rules.faults import Rule
from ibt.service.resources import ROUTES

PAGE = Path(__file__).parents[1] / "docs" / "openapi.yaml"
SCHEMATHESIS = schemathesis.openapi.from_path(PAGE)
DESCRIPTION: dict[str, Any] = SCHEMATHESIS.raw_schema  # Any: as YAML has it
COMPONENTS = DESCRIPTION["components"]

API = "/sms_oper_contract/api/customers"
COLLECTION = f"{API}/{{customerId}}/contractSubaccountMappings"
METHODS = ("get", "head", "options", "post")

#: Each operation by what it is called in the tests.
OPERATIONS = {
    f"{method.upper()} {path.removeprefix(API)}": (path, method)
    for path, methods in DESCRIPTION["paths"].items()
    for method in methods
    if method in METHODS
}

XS = "{http://www.w3.org/2001/XMLSchema}"
XSD = etree.XMLSchema(etree.fromstring(SCHEMA))


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """*part*, or what its `$ref` names."""
    while "$ref" in part:
        _, _, room, name = part["$ref"].split("/")
        part = COMPONENTS[room][name]
    return part


def operation(path: str, method: str) -> dict[str, Any]:
    """An operation of the description."""
    found: dict[str, Any] = DESCRIPTION["paths"][path][method]
    return found


def responses(path: str, method: str) -> dict[str, dict[str, Any]]:
    """The responses of an operation, by status."""
    return {status: resolved(each) for status, each in operation(path, method)["responses"].items()}


def query_parameters(path: str, method: str) -> dict[str, dict[str, Any]]:
    """The query parameters of an operation, by name and in their order."""
    parameters = (resolved(each) for each in operation(path, method)["parameters"])
    return {each["name"]: each for each in parameters if each["in"] == "query"}


# --- what it describes ------------------------------------------------------------------------------------


def test_it_is_a_description_of_openapi() -> None:
    SCHEMATHESIS.validate()
    assert DESCRIPTION["openapi"].startswith("3.1.")


def test_its_paths_and_methods_are_the_routes() -> None:
    described = {}
    for path, methods in DESCRIPTION["paths"].items():
        pattern = tuple(None if part.startswith("{") else part for part in path[1:].split("/"))
        described[pattern] = {method.upper() for method in methods if method in METHODS}
    assert described == {route.pattern: set(route.methods) for route in ROUTES}


def test_every_operation_asks_for_a_client_certificate() -> None:
    assert DESCRIPTION["security"] == [{"certificate": []}]
    assert COMPONENTS["securitySchemes"]["certificate"]["type"] == "mutualTLS"
    assert [name for name, place in OPERATIONS.items() if "security" in operation(*place)] == []


def test_every_component_is_used() -> None:
    named = set(re.findall(r"#/components/(\w+/\w+)", PAGE.read_text("utf-8")))
    there = {f"{room}/{name}" for room, names in COMPONENTS.items() for name in names if room != "securitySchemes"}
    assert named == there


@pytest.mark.parametrize("method", ["get", "head"])
def test_the_query_parameters_of_the_collection_are_those_of_the_code(method: str) -> None:
    assert list(query_parameters(COLLECTION, method)) == list(queries.PARAMETERS)


def test_no_other_operation_has_query_parameters() -> None:
    with_some = {place for place in OPERATIONS.values() if "query" in str(operation(*place).get("parameters"))}
    assert with_some <= {(COLLECTION, "get"), (COLLECTION, "head")}
    assert [
        name
        for name, place in OPERATIONS.items()
        if place not in {(COLLECTION, "get"), (COLLECTION, "head")} and query_parameters(*place)
    ] == []


TEXTS = st.one_of(
    st.text("0123456789", max_size=12),
    st.text("0123456789*%/-. aé\0", max_size=12),
    st.integers(0, 1100).map(str),
    st.dates().map(lambda day: f"{day:%m/%d}/{day.year:04}"),
    st.sampled_from(["ENERGY DAY AHEAD", "ENERGY REAL TIME", "LOAD REAL TIME", "FCM LOAD OBLIGATION", "ENERGY", ""]),
    st.integers(24, 27).map("r".__mul__),
    st.integers(99, 102).map("é".__mul__),
)


@pytest.mark.parametrize("name", queries.PARAMETERS)
@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_a_parameter_is_described_as_it_is_read(name: str, text: str) -> None:
    schema = query_parameters(COLLECTION, "get")[name]["schema"]
    number = schema["type"] == "integer" and re.fullmatch("-?[0-9]+", text)
    fits = jsonschema_rs.is_valid(schema, int(text) if number else text)
    read = queries._read(queries.PARAMETERS[name], text)
    # That a date is a day of the calendar, no pattern says.
    assert fits == (not isinstance(read, Rule) or read == queries.DAY)


# --- what it promises of answers --------------------------------------------------------------------------

RULES = {example.rule.name: example for chapter in SERVICE for example in chapter.examples}

#: What can be answered whatever is asked.
ANYWHERE = {"400", "403", "404", "405", "408", "414", "417", "431", "500", "501", "503", "505"}


def test_the_statuses_are_those_of_the_rules() -> None:
    described = {int(status) for place in OPERATIONS.values() for status in responses(*place)}
    assert described == {200, 204, 304} | {example.rule.status for example in RULES.values()}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_has_every_status_that_it_can_have(name: str) -> None:
    path, method = OPERATIONS[name]
    own = {
        "get": {"200", "304", "406"},
        "head": {"200", "304", "406"},
        "options": {"204"},
        "post": {"200", "406", "412", "413", "415"},
    }[method]
    without_choice = {"406"} if path.endswith(".xsd") else set()
    assert set(responses(path, method)) == ANYWHERE | own - without_choice


@pytest.mark.parametrize("name", COMPONENTS["responses"])
def test_a_refusal_is_shown_by_lines_that_are_told(name: str) -> None:
    texts = COMPONENTS["responses"][name].get("content", {}).get(TEXT)
    if texts is None:
        assert name in {"Subaccounts", "Mappings", "UpdatedMappings", "Mapping", "Schema", "NotModified", "Allowed"}
        return
    statuses = {
        status
        for place in OPERATIONS.values()
        for status, each in operation(*place)["responses"].items()
        if each["$ref"].endswith(f"/{name}")
    }
    assert texts["examples"]
    for rule, shown in texts["examples"].items():
        assert shown["value"] == line_of(RULES[rule])
        assert {str(RULES[rule].rule.status)} == statuses


def test_messages_have_the_types_of_the_service() -> None:
    for path, method in OPERATIONS.values():
        for status, each in responses(path, method).items():
            types = set(each.get("content", {}))
            if status in {"204", "304"}:
                assert types == set()
            elif status != "200":
                assert types == {TEXT}
            else:
                assert types == ({"application/xml"} if path.endswith(".xsd") else {VENDOR, XML})
    assert list(operation(COLLECTION, "post")["requestBody"]["content"]) == [VENDOR]


# --- the messages -----------------------------------------------------------------------------------------


def xsd_types() -> dict[str, etree._Element]:
    """The complex types of the published schema, by name."""
    return {str(each.get("name")): each for each in etree.fromstring(SCHEMA).iter(f"{XS}complexType")}


#: How the description calls what the published schema takes from XML Schema.
BUILT_IN = {"xs:string": "text", "xs:nonNegativeInteger": "count"}


@pytest.mark.parametrize("name", xsd_types())
def test_a_message_has_the_elements_of_the_published_schema_in_their_order(name: str) -> None:
    expected = []
    for element in xsd_types()[name].iter(f"{XS}element"):
        kind = str(element.get("type"))
        least, most = element.get("minOccurs", "1"), element.get("maxOccurs", "1")
        expected.append((element.get("name"), BUILT_IN.get(kind, kind), least != "0", most == "unbounded"))
    described = COMPONENTS["schemas"][name]
    found = []
    for element, schema in described["properties"].items():
        many = schema.get("type") == "array"
        kind = (schema["items"] if many else schema)["$ref"].rpartition("/")[2]
        found.append((element, kind, element in described.get("required", ()), many))
        assert not many or schema.get("minItems", 0) == int(element in described.get("required", ()))
    assert found == expected
    assert described["additionalProperties"] is False
    assert described["xml"] == {"name": name, "namespace": NAMESPACE}


def test_values_have_the_facets_of_the_published_schema() -> None:
    facets = {}
    for simple in etree.fromstring(SCHEMA).iter(f"{XS}simpleType"):
        (restriction,) = simple.iter(f"{XS}restriction")
        facets[simple.get("name")] = {str(each.tag).removeprefix(XS): each.get("value") for each in restriction} | {
            "base": restriction.get("base")
        }
    schemas = COMPONENTS["schemas"]
    assert facets == {
        "id": {"base": "xs:nonNegativeInteger", "maxInclusive": str(schemas["id"]["maximum"])},
        "subaccount_id": {
            "base": "xs:string",
            "minLength": str(schemas["subaccount_id"]["minLength"]),
            "maxLength": str(schemas["subaccount_id"]["maxLength"]),
        },
        "time": {"base": "xs:dateTime", "pattern": schemas["time"]["pattern"].removeprefix("^").removesuffix("$")},
    }
    assert [schemas[name]["minimum"] for name in ("id", "count")] == [0, 0]
    assert all(schemas[name]["xml"] == {"namespace": NAMESPACE} for name in (*facets, *BUILT_IN.values()))


def xml_examples(part: Any) -> Iterator[str]:
    """The values of all examples that are XML, in *part* of the description and below."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "value" and str(value).startswith("<?xml"):
                yield value
            else:
                yield from xml_examples(value)
    elif isinstance(part, list):
        for value in part:
            yield from xml_examples(value)


def test_its_examples_are_of_the_published_schema() -> None:
    examples = [etree.fromstring(each.encode()) for each in xml_examples(DESCRIPTION)]
    assert [XSD.validate(each) for each in examples] == [True] * 5


@SCHEMATHESIS.hook
def map_body(_context: Any, body: Any) -> Any:
    """*body* with its elements in the order of the description, which JSON's objects do not have."""
    return in_order(body, "contract_subaccount_mappings")


def in_order(value: Any, name: str) -> Any:
    """*value*, which the schema *name* describes, with its elements in the order of the description."""
    if isinstance(value, list):
        return [in_order(each, name) for each in value]
    if not isinstance(value, dict):
        return value
    order = list(COMPONENTS["schemas"].get(name, {}).get("properties", {}))
    names = sorted(value, key=lambda each: order.index(each) if each in order else len(order))
    return {each: in_order(value[each], each) for each in names}


UPDATES = SCHEMATHESIS[COLLECTION]["POST"].as_strategy()


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(UPDATES)
def test_a_message_that_is_made_from_it_is_of_the_published_schema(case: schemathesis.Case[Any]) -> None:
    sent = case.as_transport_kwargs(base_url="https://localhost")["data"]
    assert XSD.validate(etree.fromstring(sent)), XSD.error_log.last_error  # type: ignore[attr-defined]  # see reader


# --- the service, asked as it says ------------------------------------------------------------------------

#: What an operation has to have answered once at least, or the requests were of no use.
USEFUL = {"get": 200, "head": 200, "options": 204, "post": 200}

#: A mapping of the sample, without its versions.
MAPPING = {
    "customer_id": 1,
    "contract_id": 999999,
    "market_name": "",
    "buyer_name": "",
    "seller_name": "",
    "contract_begin": "2015-08-01T04:00:00Z",
    "contract_end": "2015-10-01T04:00:00Z",
    "status": "",
}

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

#: Fields of an answer that belong to HTTP, not to the operation.
OF_HTTP = {"date", "connection", "content-length", "content-type"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A sandbox with the demonstration world."""
    with sandbox(tmp_path_factory.mktemp("openapi") / "sandbox") as server:
        yield server


@pytest.fixture(scope="module")
def session(server: Server) -> Iterator[requests.Session]:
    """A client with the certificate of customer 1's user."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(server.directory / "ca.pem")
        session.cert = str(server.directory / "clients" / "xyz.pem")
        yield session


def of_the_sample(case: schemathesis.Case[Any], turn: int) -> None:
    """
    Puts customer and contract of the sample into *case*, so that what follows them is looked at too.

    A right message gets a mapping of the sample before what it has, and no conditions, on every second turn.
    """
    for name, value in (("customerId", 1), ("contractId", 999999)):
        if name in case.path_parameters:
            case.path_parameters[name] = value
    if turn % 2 or not isinstance(case.body, dict):
        return
    for name in ("If-Match", "Origin", "Sec-Fetch-Site"):
        case.headers.pop(name, None)
    version = {"begin": "2015-08-01T04:00:00Z", "version": "", "subaccount_id": ("ABC1", "Default", "ABC2")[turn % 3]}
    mapping = {**MAPPING, "contract_subaccount_mapping_version": [version]}
    others: Any = case.body.get("contract_subaccount_mapping")
    if case.meta is None or case.meta.generation.mode.is_positive:
        body: Any = {"contract_subaccount_mapping": [mapping, *(others or [])[: turn % 4]]}
        case.body = body


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_service_answers_as_it_says(
    server: Server, session: requests.Session, name: str, mode: schemathesis.GenerationMode
) -> None:
    path, method = OPERATIONS[name]
    accepted = st.sampled_from([None, VENDOR, XML, "text/html"])
    seen: Counter[int] = Counter()

    @settings(
        max_examples=40,
        derandomize=True,  # the same requests each time: at least one of them must be a right one
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=SCHEMATHESIS[path][method].as_strategy(mode), accept=accepted, turn=st.integers(0, 7))
    def ask(case: schemathesis.Case[Any], accept: str | None, turn: int) -> None:
        if turn:
            of_the_sample(case, turn)
        headers = {"Accept": accept} if accept else {}
        answer = case.call(server.url.removesuffix(API), session, headers, verify=session.verify, cert=session.cert)
        seen[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)
        described = {each.lower() for each in responses(path, method)[str(answer.status_code)]["headers"]}
        assert set(answer.headers) - OF_HTTP - described == set()

    ask()
    if mode is schemathesis.GenerationMode.POSITIVE:
        assert USEFUL[method] in seen
