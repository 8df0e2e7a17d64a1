"""
An example of each rule that a request, a folder of CSV files or a CSV of wishes can break: what breaks it, and what
to do then. Each is run: what the page docs/faults.md prints are lines that came back.

`python tests/faults.py` writes the page; tests/test_faults_page.py holds that it is whole, and what is written.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).parent / "store"))  # as conftest.py has it, for when this runs by itself

from markets import HISTORY_HEADER, SAMPLE, added, replaced

from breaks import MAPPINGS, NOW, Ask, Folder, Over, Sent, Told, Wishes, post, query
from ibt.client import wishes
from ibt.messages import NAMESPACE
from ibt.rules import mappings, queries
from ibt.rules.faults import Rule
from ibt.service import access, app, connection, limits, negotiation, proxy, revocation
from ibt.service.negotiation import VENDOR, VENDOR_TYPE
from ibt.service.resources import NO_CONTRACT, OVERTAKEN
from ibt.store import Unavailable, people

PAGE = Path(__file__).parents[1] / "docs" / "faults.md"

API = "/sms_oper_contract/api/customers"

#: The message of 3.2.8.
MESSAGE = (resources.files("ibt.conformance") / "samples" / "3.2.8.xml").read_text("utf-8")

_FINGERPRINT = re.compile("[0-9a-f]{64}")


def rules_of(room: str) -> Iterator[Rule]:
    """Every rule that is a constant of a module of the package *room*, by itself or in a table."""
    package = importlib.import_module(room)
    modules = [package, *(importlib.import_module(each.name) for each in _modules(package.__path__, f"{room}."))]
    for value in (value for module in modules for value in vars(module).values()):
        held = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
        yield from (each for each in held if isinstance(each, Rule))


def _modules(path: Iterable[str], prefix: str) -> Iterator[pkgutil.ModuleInfo]:
    """The modules below a package, but for those that run as soon as they are imported."""
    for module in pkgutil.iter_modules(path, prefix):
        if module.name not in {"ibt.__main__", "ibt.conformance", "ibt.store.migrations"}:
            yield module
            if module.ispkg:
                yield from _modules(importlib.import_module(module.name).__path__, f"{module.name}.")


#: The rules of a message's form, and those of loading, by name.
READER = {rule.name: rule for rule in rules_of("ibt.messages")}
LOADING = {rule.name: rule for rule in rules_of("ibt.store")}


@dataclass(frozen=True, eq=False)
class Example:
    """A rule, what breaks it, and what to do then."""

    rule: Rule
    breaks: Ask | Sent | Folder | Over | Wishes
    do: str

    @cache  # noqa: B019 - the examples are constants
    def told(self) -> Told:
        """What came back; an example is run once."""
        return self.breaks.told()


# --- the examples -----------------------------------------------------------------------------------------


def changed(old: str, new: str, message: str = MESSAGE) -> Ask:
    """A POST of the message of 3.2.8 with *new* in the place of the first *old*."""
    assert old in message
    return post(message.replace(old, new, 1))


def version(begin: str, end: str = "", subaccount_id: str = "ABC1") -> str:
    """A version; *begin* and *end* are days of 2015 as mm-dd."""
    closed = f"<end>2015-{end}T04:00:00Z</end>" if end else ""
    return (
        f"<contract_subaccount_mapping_version><begin>2015-{begin}T04:00:00Z</begin>{closed}<version/>"
        f"<subaccount_id>{subaccount_id}</subaccount_id></contract_subaccount_mapping_version>"
    )


def mapping(*versions: str, contract_id: int = 999999, customer_id: int = 1) -> str:
    """A mapping of these versions."""
    return (
        f"<contract_subaccount_mapping><customer_id>{customer_id}</customer_id>"
        f"<contract_id>{contract_id}</contract_id><market_name/><buyer_name/><seller_name/>"
        "<contract_begin>2015-08-01T04:00:00Z</contract_begin><contract_end>2015-10-01T04:00:00Z</contract_end>"
        f"<status/>{''.join(versions)}</contract_subaccount_mapping>"
    )


def update(*content: str) -> Ask:
    """A POST of a message with this content."""
    elements = "".join(content)
    return post(f'<contract_subaccount_mappings xmlns="{NAMESPACE}">{elements}</contract_subaccount_mappings>')


def head(*fields: str, line: str = f"GET {MAPPINGS} HTTP/1.1", body: bytes = b"") -> bytes:
    """A request as it is sent."""
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1") + body


HOST = "Host: localhost"
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
AUGUST = "2015-08-01T04:00:00Z,2015-09-01T04:00:00Z"
FROM_AUGUST = "2015-08-01T04:00:00Z,2015-10-01T04:00:00Z"
LATER = "2015-07-11T12:01:22Z"
STRICT = {"prefer": "handling=strict"}

HTTP = (
    Example(
        connection.NOT_HTTP,
        Sent(b"HELLO\r\n\r\n"),
        "Send a request as RFC 9112 has it. Two lengths that contradict each other, a blank in the name of a field "
        "and a method that nobody knows are such faults too.",
    ),
    Example(
        connection.VERSION,
        Sent(head(HOST, line=f"GET {MAPPINGS} HTTP/2.0")),
        "Let the client speak HTTP/1.1.",
    ),
    Example(
        connection.TARGET,
        Sent(head(HOST, line=f"GET {API}/1/subaccounts#top HTTP/1.1")),
        "Leave out what begins with the `#`; write a `#` in a value as `%23`.",
    ),
    Example(connection.HOSTS, Sent(head()), "Send one Host field, with the name and port of the URL."),
    Example(connection.HOST, Sent(head("Host: local host")), "Send the name and port of the URL, and nothing else."),
    Example(connection.EXPECT, Sent(head(HOST, "Expect: 200-ok")), "Leave Expect out, or send 100-continue."),
    Example(
        connection.OLD_CODING,
        Sent(head("Transfer-Encoding: chunked", line=f"POST {MAPPINGS} HTTP/1.0")),
        "Send HTTP/1.1, or give the length of the body in Content-Length.",
    ),
    Example(
        connection.CODING,
        Sent(head(HOST, "Transfer-Encoding: gzip, chunked", line=f"POST {MAPPINGS} HTTP/1.1")),
        "Send the body as it is, in chunks or with Content-Length.",
    ),
    Example(
        connection.UPGRADE,
        Sent(head(HOST, "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 1", body=b"x")),
        "Leave out Upgrade: this service speaks HTTP/1.1 only.",
    ),
    Example(
        limits.REQUEST_LINE,
        Sent(head(HOST, line=f"GET {MAPPINGS}?reference_id={'x' * 20_000} HTTP/1.1")),
        "No query that is valid is so long: look at what the client puts into it.",
    ),
    Example(
        limits.HEAD,
        Sent(head(HOST, f"Cookie: {'x' * 70_000}")),
        "Look at what the client sends along: cookies and fields of a proxy are the usual ones.",
    ),
    Example(
        limits.FIELDS,
        Sent(head(HOST, *(f"X-{number}: 1" for number in range(100)))),
        "Look at what the client, or a proxy before it, sends along.",
    ),
    Example(
        limits.SLOW_HEAD,
        Sent(b"GET /sms_oper_contract", slow=True),
        "Send the request again on a new connection. A client that opens connections in advance may ignore it.",
    ),
    Example(
        limits.SLOW_BODY,
        Sent(head(HOST, f"Content-Type: {VENDOR_TYPE}", "Content-Length: 9", line=f"POST {MAPPINGS} HTTP/1.1"), True),
        "Send the update again: fewer contracts in one message if the line is slow.",
    ),
    Example(
        limits.CONNECTIONS,
        Sent(b"", full=True),
        "Wait as long as Retry-After says. Use one connection for many requests.",
    ),
)

#: The certificate that these examples come with.
OF_XYZ = people.Revoked("CN=xyz", "01", "CN=xyz", "", NOW)

WHO = (
    Example(
        access.NO_CERTIFICATE,
        Ask(names=None),
        "Give the client program your certificate and its key; a browser asks which one to use.",
    ),
    Example(
        proxy.COUNT,
        Sent(head(HOST, *2 * (f"Client-Cert: :{'A' * 8}:",)), proxied=True),
        "This is for the operator: let the proxy set the field, in the place of what a client sends.",
    ),
    Example(
        proxy.FORM,
        Sent(head(HOST, "Client-Cert: MIIBpzCCAU2g"), proxied=True),
        "This is for the operator: `deploy/` has configurations of HAProxy and nginx that were tried.",
    ),
    Example(
        proxy.UNTRUSTED,
        Ask(untrusted=True),
        "Use the certificate that you were given for this service. The operator's proxy is set to verify less than "
        "it should, or `client_ca` lacks an authority.",
    ),
    Example(access.EXPIRED, Ask(not_after=NOW), "Use the new certificate, on a new connection."),
    Example(
        access.COMMON_NAMES,
        Ask(names=("xyz", "qrs")),
        "Have a certificate issued whose subject has one CN, the name of the user.",
    ),
    Example(
        access.REVOKED,
        Ask(done=lambda connection: people.revoke_certificate(connection, OF_XYZ)),
        "Give your Security Administrator this line: the old certificate is not let in again.",
    ),
    Example(
        access.PINNED,
        Ask(done=lambda connection: people.pin(connection, "xyz", "ab" * 32, NOW)),
        "Use the certificate that the operator knows, or have them told of the new one before it is used.",
    ),
    Example(
        revocation.LIST_EXPIRED,
        Ask(list_end=NOW),
        "Wait. The operator has to get a new list from the authority.",
    ),
    Example(
        access.NO_ROLE,
        Ask(names=("nobody",)),
        "Give your Security Administrator this line: it names the user and the certificate.",
    ),
    Example(
        access.OTHER_CUSTOMER,
        Ask(path=f"{API}/2/subaccounts"),
        "Look at the number in the URL. It is told alike whether there is such a customer or not.",
    ),
    Example(
        app.OTHER_SITE,
        Ask("POST", headers={"host": "localhost", "origin": "https://example.com"}),
        "If you did not mean to send an update, leave that page: it tried to make one with your certificate.",
    ),
)

WHAT = (
    Example(
        app.NO_RESOURCE,
        Ask(path=f"{API}/1/subaccount"),
        "Compare the URL with the patterns: capital letters count, ids have no leading zero, and no slash ends it.",
    ),
    Example(
        app.METHOD,
        Ask("PUT", path=f"{API}/1/subaccounts"),
        "Use a method of `Allow`. Updates are POSTs to `contractSubaccountMappings`.",
    ),
    Example(
        NO_CONTRACT,
        Ask(path=f"{MAPPINGS}/7"),
        "Look at the contract's number and the customer's: each party asks under its own customer.",
    ),
    Example(negotiation.ACCEPT, Ask(headers={"accept": "text/html"}), "Leave Accept out, or send one of the two."),
    Example(negotiation.NO_CONTENT_TYPE, post("x", content_type=""), "Send the header with each POST."),
    Example(
        negotiation.CONTENT_TYPES,
        post("x", ("content-type", "text/xml")),
        "Send it once: the client or a proxy adds one of its own.",
    ),
    Example(
        negotiation.CONTENT_TYPE,
        post("x", content_type="application/xml"),
        "Send the type of this service, also where the client program prefers `application/xml`.",
    ),
    Example(
        negotiation.CHARSET,
        post("x", content_type=f"{VENDOR};charset=UTF-16"),
        "Write the message in UTF-8 and say so.",
    ),
    Example(negotiation.CONTENT_ENCODING, post("x", content_encoding="gzip"), "Send the message uncompressed."),
    Example(
        limits.BODY,
        post("x", content_length="16777217"),
        "Send the contracts in several messages; one with 12,000 mapping versions fits.",
    ),
    Example(
        OVERTAKEN,
        post(MESSAGE, if_match='"d41d8cd98f00b204"'),
        "Something changed since you read. Read again, see whether your update is still right, and send it again.",
    ),
)

PARAMETERS = (
    Example(queries.REPEATED, query("start=0&start=25"), "Give each parameter once."),
    Example(queries.EMPTY, query("category="), "Leave the parameter out for any; only `reference_id` may be empty."),
    Example(queries.NUL, query("subaccount_id=%00"), "Look at how the client makes the URL."),
    Example(
        queries.WILDCARD,
        query("location_id=40*"),
        "Ask for one location or party at a time: wildcards are for the contract's, reference and subaccount ids and "
        "the subaccount's name.",
    ),
    Example(queries.NUMBER, query("start=-1"), "Write a whole number without sign, point or blanks."),
    Example(queries.RANGE, query("limit=1001"), "Give a number in the range; ask for more in several pages."),
    Example(
        queries.LENGTH,
        query("reference_id=ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        "Nothing so long exists: shorten it, with a `*` if need be.",
    ),
    Example(queries.CONTRACT_ID, query("contract_id=12-3"), "Write the number alone, or digits and `*` or `%`."),
    Example(queries.CATEGORY, query("category=ENERGY"), "Write one of the four names whole, in capitals."),
    Example(queries.DATE, query("start_date=2015-08-01"), "Write month, day and year, with the zeros."),
    Example(queries.DAY, query("start_date=02/29/2015"), "The year has no such day: give one that it has."),
    Example(
        queries.DATES, query("start_date=09/01/2015&end_date=08/01/2015"), "Exchange the dates, or leave one out."
    ),
    Example(
        negotiation.NOT_UTF_8,
        query("subaccount_id=%E9"),
        "Let the client encode the URL in UTF-8; this one is in Latin-1.",
    ),
    Example(
        queries.UNKNOWN,
        query("sort=begin", **STRICT),
        "Look at how the name is written. Without `Prefer: handling=strict` such a parameter is ignored.",
    ),
)

UNREADABLE = (
    Example(
        READER["empty"],
        post(),
        "The body did not arrive: look at how the client sends it.",
    ),
    Example(
        READER["not-well-formed"],
        changed("</status>", ""),
        "Look at that place, and before it: a tag is not closed, or `&` or `<` stands in a text as it is.",
    ),
    Example(
        READER["not-utf-8"],
        post(MESSAGE.replace("XYZ", "É").encode("latin-1")),
        "Save or send the message as UTF-8.",
    ),
    Example(
        READER["encoding"],
        changed("UTF-8", "ISO-8859-1"),
        "Write the message in UTF-8, and declare that or nothing.",
    ),
    Example(
        READER["not-ascii"],
        post(MESSAGE.replace("UTF-8", "US-ASCII").replace("XYZ", "É")),
        "Declare UTF-8.",
    ),
    Example(READER["xml-version"], changed('"1.0"', '"1.1"'), "Declare version 1.0."),
    Example(
        READER["declaration"],
        changed('version="1.0" ', ""),
        "Write it like that, or leave the declaration out.",
    ),
    Example(
        READER["doctype"],
        changed("?>\n", "?>\n<!DOCTYPE mappings>\n"),
        "Leave it out; write characters themselves in the place of entities.",
    ),
    Example(
        READER["too-deep"],
        changed("<customer_id>", "<a>" * 300),
        "No message needs this: look at what the client makes.",
    ),
    Example(
        READER["too-dense"],
        post(MESSAGE + "=" * 20_000),
        "No message needs this: look at what the client makes.",
    ),
)

FORM = (
    Example(
        READER["root"],
        post(f'<contract_subaccount_mapping xmlns="{NAMESPACE}"/>'),
        "Put the mappings, one too, into `contract_subaccount_mappings`, with the namespace.",
    ),
    Example(
        READER["element-unexpected"],
        changed("    <status>Conf</status>\n", ""),
        "Put what is expected before this element; their order is that of 3.2.4.",
    ),
    Example(
        READER["element-namespace"],
        changed("<status>", '<status xmlns="">'),
        "Give the root the default namespace, and no other element one of its own.",
    ),
    Example(
        READER["element-missing"],
        changed("      <subaccount_id>Default</subaccount_id>\n", ""),
        "Add what is expected.",
    ),
    Example(READER["element-in-value"], changed("Conf", "<b/>"), "Write the value alone."),
    Example(READER["text"], changed("<status>", "x<status>"), "Take the text out."),
    Example(READER["attribute"], changed("<status>", '<status lang="en">'), "Take the attribute out."),
    Example(
        READER["xsi-type"],
        changed("<status>", f'<status {XSI} xsi:type="status">'),
        "Take the attribute out; the client's XML library may have a setting for it.",
    ),
    Example(
        READER["xsi-nil"],
        changed("<status>", f'<status {XSI} xsi:nil="true">'),
        "Send the value that a GET has answered, or an empty element where a text may be empty.",
    ),
    Example(READER["id"], changed("999998", "9999999999"), "Send the number that a GET has answered."),
    Example(
        READER["time"],
        changed("<begin>2015-08-01T04:00:00Z", "<begin>2015-08-01T00:00:00-04:00"),
        "Convert the time to UTC and write it with `Z`, without parts of a second.",
    ),
    Example(
        READER["subaccount-id"],
        changed("<subaccount_id>Default", "<subaccount_id>"),
        "Send the id of a subaccount; leave a month that is to stay as it is out of the message.",
    ),
    Example(
        READER["count"],
        update("<query_info><total_record_count>many</total_record_count></query_info>"),
        "Leave `query_info` out: a POST does not need it.",
    ),
    Example(
        READER["overgrown"],
        update("<contract_subaccount_mapping><customer_id>", "<a/>" * 100_000),
        "No message needs this: look at what the client makes.",
    ),
    Example(
        READER["form"],
        changed("<market_name>", f'<market_name {XSI} xsi:nil="perhaps">'),
        "Compare the element with the schema, which the service publishes.",
    ),
)

RULES = (
    Example(
        mappings.NO_MAPPING, update(), "A message without a mapping changes nothing: there is no need to send it."
    ),
    Example(
        mappings.CUSTOMER,
        update(mapping(version("08-01"), customer_id=2)),
        "Send each customer's mappings to that customer's URL.",
    ),
    Example(
        mappings.CONTRACT_REPEATED,
        update(mapping(version("08-01")), mapping(version("09-01"))),
        "Join the two mappings.",
    ),
    Example(
        mappings.CONTRACT_UNKNOWN,
        update(mapping(version("08-01"), contract_id=7)),
        "Look at the number. It is told alike whether there is such a contract or not.",
    ),
    Example(mappings.NO_VERSION, update(mapping()), "Send the versions to be changed, or take the mapping out."),
    Example(mappings.BEGIN_BEFORE_END, update(mapping(version("08-01", "08-01"))), "Leave end out: it is known."),
    Example(
        mappings.SINGLE_MONTH,
        update(mapping(version("08-01", "10-01"))),
        "Send a version for each month, each with its own begin and end.",
    ),
    Example(
        mappings.NOT_BEFORE_CONTRACT,
        update(mapping(version("07-01"))),
        "Leave the month out, or send the contract's own begin.",
    ),
    Example(
        mappings.NOT_AFTER_CONTRACT,
        update(mapping(version("10-01"))),
        "Leave the month out, or send the contract's own end.",
    ),
    Example(
        mappings.MAPPING_PERIOD,
        update(mapping(version("08-15"))),
        "Send the period that the line gives: a month of the contract can be mapped as a whole only.",
    ),
    Example(
        mappings.MONTH_REPEATED,
        update(mapping(version("08-01"), version("08-01"))),
        "Decide on one subaccount for the month.",
    ),
    Example(
        mappings.SUBACCOUNT,
        update(mapping(version("08-01", "09-01", "ABC2"))),
        "Look at `subaccounts`: the id as it is written there, and from when on it is defined.",
    ),
)

OURS = (
    Example(
        app.UNAVAILABLE,
        post(MESSAGE, trouble=Unavailable("other updates took too long")),
        "Send the request again after the seconds that Retry-After says.",
    ),
    Example(
        app.OUTCOME_UNKNOWN,
        post(MESSAGE, trouble=Unavailable("the connection was lost during COMMIT", outcome_unknown=True)),
        "Read the mappings. Send the update again if it is not in them: an update that is there already changes "
        "nothing.",
    ),
    Example(
        app.UNFORESEEN,
        post(MESSAGE, trouble=RuntimeError("an example")),
        "Tell the operator the id. An update that got this answer changed nothing.",
    ),
)


def _file(name: str, changes: Mapping[str, str | bytes | None], do: str, **other: str) -> Example:
    rule = LOADING[name]
    return Example(rule, Folder(rule, changes, **other), do)


FILES = (
    _file("not-a-folder", {}, "Give the folder of the files.", elsewhere="/nowhere"),
    _file("file-missing", {"users.csv": None}, "Add the file, with its header line at least."),
    _file("file-unreadable", {"mappings.csv": None}, "Let the user who loads read it.", unreadable="mappings.csv"),
    _file("file-empty", {"users.csv": ""}, "Write the header line."),
    _file("not-utf-8", {"customers.csv": b"customer_id,name\n1,Soci\xe9t\xe9\n"}, "Save the file as UTF-8."),
    _file(
        "not-csv",
        replaced("customers.csv", "2,QRS Ltd", '2,"QRS Ltd'),
        "Close the quote, or write a quote in a field twice.",
    ),
    _file("column-missing", {"customers.csv": "id,name\n1,XYZ Inc\n"}, "Name the column as it is named here."),
    _file("column-twice", {"customers.csv": "customer_id,name,name\n1,XYZ Inc,\n"}, "Take one of the two out."),
    _file(
        "field-count",
        {"customers.csv": "customer_id,name\n1,XYZ, Inc\n"},
        "Put a field that has a comma into quotes.",
    ),
    _file("id-twice", added("customers.csv", "2,QRS again"), "Take one of the two lines out."),
    _file("id", added("customers.csv", "0,Nobody"), "Write the number alone."),
    _file("location", replaced("contracts.csv", "8500", "hub"), "Write the location's number."),
    _file(
        "time",
        replaced("contracts.csv", "2015-08-01T04:00:00Z", "2015-08-01"),
        "Write the time in UTC: midnight in Eastern Time is 04:00 or 05:00.",
    ),
    _file(
        "category",
        replaced("contracts.csv", "FCM LOAD OBLIGATION", "FCM Load"),
        "Write the category, not the name that is displayed.",
    ),
    _file("character", replaced("customers.csv", "XYZ Inc", "XYZ\x07"), "Take the character out."),
    _file("length", replaced("contracts.csv", "R-9", "R" * 26), "Shorten the text, or write one."),
    _file("subaccount-id", added("subaccounts.csv", "1, B,2013-05-01T04:00:00Z,,B,Active"), "Take the blanks out."),
    _file("user-name", added("users.csv", "a b,1,IBT"), "Choose another name, and have the certificate's CN alike."),
    _file("customer-unknown", added("users.csv", "abc,7,IBT"), "Add the customer, or correct the number."),
    _file(
        "contract-unknown",
        added("mappings.csv", f"1,7,{AUGUST},{LATER},ABC1"),
        "Add the contract, or correct the number.",
    ),
    _file("own-counterparty", replaced("contracts.csv", "8500,1,2,", "8500,1,1,"), "Correct one of the two."),
    _file(
        "end-before-begin",
        replaced("contracts.csv", "2015-10-01", "2014-10-01"),
        "Exchange the two, or write the same time for a contract with an empty period.",
    ),
    _file(
        "end-not-after-begin",
        added("subaccounts.csv", "1,B,2013-05-01T04:00:00Z,2013-05-01T04:00:00Z,B,Active"),
        "Correct the end, or leave it empty for a version that goes on.",
    ),
    _file(
        "versions-overlap",
        added("subaccounts.csv", "1,ABC1,2014-01-01T05:00:00Z,,ABC1,Active"),
        "End the one where the next begins.",
    ),
    _file(
        "default-not-in-effect",
        replaced("subaccounts.csv", "1,Default,2013", "1,Default,2016"),
        "Let the customer's `Default` begin earlier, or leave its lines out: then it is always there.",
    ),
    _file(
        "not-a-party",
        added("mappings.csv", f"2,999999,{AUGUST},{LATER},Default"),
        "Correct the customer or the contract.",
    ),
    _file(
        "month-outside",
        added("mappings.csv", f"1,999999,2015-10-01T04:00:00Z,2015-11-01T04:00:00Z,{LATER},ABC1"),
        "Take the line out, or correct the contract's period.",
    ),
    _file(
        "mapping-period",
        added("mappings.csv", f"1,999999,2015-08-01T04:00:00Z,2015-08-15T04:00:00Z,{LATER},ABC1"),
        "Write the period that the line gives.",
    ),
    _file(
        "single-month",
        {
            "history.csv": HISTORY_HEADER
            + f"1,999999,2015-08-01T04:00:00Z,2015-10-01T04:00:00Z,{LATER},ABC1\n"
            + f"1,999999,{AUGUST},{LATER},ABC1\n"
        },
        "Write a line for each month.",
    ),
    _file(
        "subaccount-undefined",
        added("mappings.csv", f"1,999999,{AUGUST},{LATER},ABC2"),
        "Add the subaccount, let it begin earlier, or correct the id.",
    ),
    _file(
        "version-earlier",
        added("mappings.csv", f"1,999999,{AUGUST},2015-07-03T00:00:00Z,Default"),
        "Write the versions of a period oldest first.",
    ),
)


def _over(name: str, files: Mapping[str, str], do: str) -> Example:
    return Example(LOADING[name], Over(LOADING[name], files), do)


def _only(name: str, *lines: str) -> dict[str, str]:
    """A file of the sample's with these lines alone."""
    header = SAMPLE.get(name, HISTORY_HEADER).partition("\n")[0]
    return {name: "".join(f"{line}\n" for line in (header, *lines))}


_BORN = f"1,999999,{AUGUST},2015-07-02T06:00:00Z,Default"

OVER = (
    _over("no-file", {"other.csv": ""}, "Give the folder of the files, or name them as they are named here."),
    _over(
        "party-changed",
        _only("contracts.csv", f"999999,R-9,FCM LOAD OBLIGATION,8500,1,2,{FROM_AUGUST},Conf,"),
        "Give a contract between others a number of its own.",
    ),
    _over(
        "subaccount-needed",
        _only("subaccounts.csv", "1,ABC1,2013-05-01T04:00:00Z,2015-08-01T04:00:00Z,ABC1 activity,Active"),
        "Let it end later, or map the period to another subaccount: in the mappings.csv of the same folder, perhaps.",
    ),
    _over(
        "history-differs",
        _only("history.csv", _BORN, f"1,999999,{AUGUST},{LATER},Default"),
        "A history cannot be changed: write it as it is there, and later versions after it.",
    ),
    _over(
        "history-short",
        _only("history.csv", _BORN),
        "Write all versions of the month that are there, or leave the month out.",
    ),
)


def _wish(rule: Rule, text: str, do: str) -> Example:
    return Example(rule, Wishes(rule, text.encode("latin-1")), do)


_WISHES_HEADER = "contract_id,month,subaccount_id\n"

WISHES = (
    _wish(wishes.NOT_UTF_8, f"{_WISHES_HEADER}999999,2015-08,\xe9\n", "Save the file as UTF-8."),
    _wish(
        wishes.NOT_CSV,
        f'{_WISHES_HEADER}999999,2015-08,"ABC1\n',
        "Close the quote, or write a quote in a field twice.",
    ),
    _wish(wishes.EMPTY, "", "Write the header line, and a line for each month to be changed."),
    _wish(wishes.COLUMN_MISSING, "contract_id,month\n", "Name the column as it is named here."),
    _wish(wishes.COLUMN_TWICE, "contract_id,month,subaccount_id,month\n", "Take one of the two out."),
    _wish(wishes.FIELD_COUNT, f"{_WISHES_HEADER}999999,2015-08,A,B\n", "Put a field that has a comma into quotes."),
    _wish(wishes.CONTRACT_ID, f"{_WISHES_HEADER}99-99,2015-08,ABC1\n", "Write the contract's number alone."),
    _wish(
        wishes.MONTH, f"{_WISHES_HEADER}999999,Aug 2015,ABC1\n", "Write year and month; a spreadsheet may change it."
    ),
    _wish(
        wishes.BEGIN,
        "contract_id,begin,subaccount_id\n999999,2015-08-01,ABC1\n",
        "Write the begin as `ibt mappings` does, or name months.",
    ),
    _wish(wishes.PERIOD, f"{_WISHES_HEADER}999999,,ABC1\n", "Fill in the month."),
    _wish(
        wishes.SUBACCOUNT_ID, f"{_WISHES_HEADER}999999,2015-08,\n", "Fill in the subaccount, or take the line out."
    ),
)


class Chapter(NamedTuple):
    """A part of the page."""

    title: str
    says: str
    examples: tuple[Example, ...]


#: What the service answers.
SERVICE = (
    Chapter(
        "What HTTP itself refuses",
        "These come before all others, from the connection itself, which is closed after them.",
        HTTP,
    ),
    Chapter("Who asks", "The certificate, the user and the role (1.2, 1.3).", WHO),
    Chapter("What is asked, and in what form", "URL, method, headers, size (2.1, 2.2).", WHAT),
    Chapter("The parameters", "A line for each fault, in the order of the query string (3.2.4).", PARAMETERS),
    Chapter("The body cannot be read", "One line, and nothing else is judged (reading 10).", UNREADABLE),
    Chapter("The body is not of the expected form", "A line for each fault, by the published schema.", FORM),
    Chapter("The message breaks a rule", "A line for each fault of a message of the right form (3.2.5).", RULES),
    Chapter("What is ours", "The request may be right (reading 54).", OURS),
)

#: What is told elsewhere: no HTTP, no status.
ELSEWHERE = (
    Chapter(
        "A folder of CSV files", "Loading refuses all of it, and ends with exit status 2 (readings 64, 65).", FILES
    ),
    Chapter("A folder that is loaded over data", "These come beside the others (readings 27, 64).", OVER),
    Chapter("A CSV of wishes", "`ibt plan` and `ibt apply` send nothing then.", WISHES),
)

CHAPTERS = (*SERVICE, *ELSEWHERE)

_BEGINNING = """\
# Every fault, and what to do

This page is made from the code: each line on it came back from the example that stands for its rule.
A refusal is `text/plain;charset=UTF-8` with one fault a line, and the log has the name of the first line's rule.
A line ends with the clause of the specification, or the entry of [our list of readings](spec-readings.md).
Fingerprints of certificates are cut out here.
"""


def page() -> str:
    """The page docs/faults.md, from what the examples come to."""
    parts = [_BEGINNING]
    for chapter in CHAPTERS:
        parts.append(f"## {chapter.title}\n\n{chapter.says}\n")
        parts.extend(entry(example) for example in chapter.examples)
    return "\n".join(parts)


def line_of(example: Example) -> str:
    """The line that came back, without fingerprints, which are others each time."""
    return _FINGERPRINT.sub("…", example.told().line)


def entry(example: Example) -> str:
    """What the page says of a rule."""
    rule, status = example.rule, example.told().status
    kind = rule.clause if status is None else f"{status} ({rule.clause})"
    return f"### `{rule.name}`\n\n{kind}\n\n```text\n{line_of(example)}\n```\n\n{example.do}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
