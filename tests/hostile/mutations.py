"""
Requests that are a little wrong, each made from a number: the same number always makes the same request.

A good request is taken and changed once or a few times: as a tree, as bytes, in its target, in its head. What
can be changed, and into what, are tables.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace

import strangers
from inside import BASE, Fields, Request
from lxml import etree

_NAMESPACE = "http://xmlns.iso-ne.com/contract/customers"
_VENDOR = b"application/vnd.iso-ne.contract.customers.v1+xml;charset=UTF-8"

#: So many contracts does each pair of customers have in the world that is asked.
CONTRACTS = 3

Tree = etree._Element

# --- good requests ----------------------------------------------------------------------------------------


def _update(chance: random.Random, customer_id: int) -> bytes:
    """A message that would be accepted, of one to twelve versions."""
    contracts = strangers.contract_ids(customer_id, CONTRACTS)
    subaccounts = ("Default", *strangers.subaccount_ids(customer_id))
    return strangers.update(
        customer_id,
        *(
            (contract_id, month, chance.choice(subaccounts))
            for contract_id in chance.sample(contracts, chance.randint(1, min(4, len(contracts))))
            for month in chance.sample(range(len(strangers.MONTHS)), chance.randint(1, len(strangers.MONTHS)))
        ),
    )


_QUERY = {
    b"page": (b"1", b"2", b"3"),
    b"start": (b"0", b"1", b"25"),
    b"limit": (b"1", b"25", b"1000"),
    b"contract_id": (b"1001001", b"1001*", b"%25", b"1"),
    b"reference_id": (b"", b"REFERENCE-1001-1", b"*", b"REF*1"),
    b"subaccount_id": (b"Default", b"PRIVATE-*", b"*"),
    b"subaccount_name": (b"Default", b"*named", b"%25"),
    b"category": (b"ENERGY+DAY+AHEAD", b"LOAD%20REAL%20TIME"),
    b"location_id": (b"4000", b"8500"),
    b"party_id": (b"1001", b"1002", b"1003"),
    b"start_date": (b"08%2F01%2F2015", b"09/15/2015"),
    b"end_date": (b"08%2F31%2F2015", b"12/31/2015"),
    b"_dc": (b"1436616082",),
}


def _query(chance: random.Random) -> bytes:
    names = chance.sample(sorted(_QUERY), chance.randint(0, 4))
    return b"&".join(b"%b=%b" % (name, chance.choice(_QUERY[name])) for name in names)


def good(chance: random.Random, customer_id: int) -> Request:
    """A request of the customer's user that would be answered with 200 or 204."""
    user = strangers.user_of(customer_id)
    collection = f"{BASE}/{customer_id}/contractSubaccountMappings".encode()
    kind = chance.choices(("update", "collection", "history", "subaccounts", "options"), (70, 16, 5, 6, 3))[0]
    if kind == "update":
        return Request("POST", collection, ((b"content-type", _VENDOR),), _update(chance, customer_id), user)
    if kind == "options":
        return Request("OPTIONS", collection, user=user)
    method = chance.choice(("GET", "GET", "HEAD"))
    if kind == "collection":
        return Request(method, b"%b?%b" % (collection, _query(chance)), user=user)
    if kind == "history":
        contract_id = chance.choice(strangers.contract_ids(customer_id, CONTRACTS))
        return Request(method, b"%b/%d" % (collection, contract_id), user=user)
    return Request(method, f"{BASE}/{customer_id}/subaccounts".encode(), user=user)


# --- values -----------------------------------------------------------------------------------------------

#: What an XML text, a parameter or an id may be changed into.
VALUES = (
    *("", " ", "\t", "\n", "0", "-0", "+1", "-1", "1", "00000000000001", "999999999", "1000000000", "9" * 30),
    *(
        "1.0",
        "1e9",
        "0x1",
        "NaN",
        "true",
        "null",
        "1 2",
        "\u0661\u0662",
        "\uff11",
        "2147483648",
        "9223372036854775808",
    ),
    *("2015-08-01T04:00:00Z", "2015-08-01T04:00:00.000Z", "2015-08-01T04:00:00.001Z", "2015-08-01T00:00:00-04:00"),
    *("2015-09-01T04:00:00Z", "2015-10-01T04:00:00Z", "2015-11-01T04:00:00Z", "2015-11-01T05:30:00Z"),
    *("2015-08-01T24:00:00Z", "2015-02-29T05:00:00Z", "2016-02-29T05:00:00Z", "2015-08-01T04:00:60Z"),
    *("0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z"),
    *("-2015-08-01T04:00:00Z", "2015-08-01", "2015-08-01T04:00:00", " 2015-08-01T04:00:00Z ", "2015-8-1T4:0:0Z"),
    *("Default", "default", "Default ", " Default", "PRIVATE-1001-A", "PRIVATE-1006-B", "x" * 100, "x" * 101),
    *("\u00e9", "e\u0301", "\U0001f600" * 100, "\U0001f600" * 101, "\u202eabc", "\u2028", "\x85", "\xa0", "\ufeff"),
    *(
        "*",
        "%",
        "**%%",
        "_",
        "?",
        "[a]",
        "\\",
        "'",
        '"',
        "a' or '1'='1",
        "'; drop table customer; --",
        "$(id)",
        "%s%n",
    ),
    *("&", "<", ">", "]]>", "<b/>", "{0}", "{name}", "../../etc/passwd", "file:///etc/passwd", "08/01/2015"),
    *("13/01/2015", "02/30/2015", "01/01/0001", "12/31/9999", "00/00/0000", "x" * 5_000, "ENERGY DAY AHEAD"),
)

#: Octets that mean something somewhere.
OCTETS = (
    *(b"<", b">", b"&", b'"', b"'", b"/", b"=", b"]]>", b"<![CDATA[", b"<!--", b"-->", b"--", b"<?x y?>", b"<?xml "),
    *(
        b"\x00",
        b"\x01",
        b"\x1b[2J",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"\xfe\xff",
        b"\xc0\x80",
        b"\xc0\xbc",
        b"\xed\xa0\x80",
    ),
    *(b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xef\xbf\xbf", b"\xe2\x80\xa8", b"\r", b"\n", b"\r\n", b"\t", b" "),
    *(b"&#0;", b"&#x1;", b"&#xD800;", b"&#x10FFFF;", b"&#x110000;", b"&#9999999999;", b"&amp;", b"&lt;", b"&e;"),
    *(b"<!DOCTYPE a>", b"<!DOCTYPE a [<!ENTITY e 'x'>]>", b"<!ENTITY e 'x'>", b' xmlns=""', b' xmlns:p="u"', b"p:"),
    *(b'<?xml version="1.0" encoding="UTF-16"?>', b'<?xml version="1.1"?>', b"<a", b"</a>", b"<a/>", b"%", b"%00"),
)

# --- a body as a tree -------------------------------------------------------------------------------------

_NAMES = (
    *("contract_subaccount_mappings", "contract_subaccount_mapping", "contract_subaccount_mapping_version"),
    *("query_info", "total_record_count", "customer_id", "contract_id", "market_name", "buyer_name", "seller_name"),
    *("contract_begin", "contract_end", "status", "begin", "end", "version", "subaccount_id", "subaccounts", "other"),
    *("Begin", "contract-id", "_", "a.b", "\u00e9", "x" * 300),
)

_NAMESPACES = ("", "urn:x", _NAMESPACE + "/", _NAMESPACE.upper(), "http://www.w3.org/XML/1998/namespace")

_XSI = "{http://www.w3.org/2001/XMLSchema-instance}"

_ATTRIBUTES = {
    "a": "b",
    f"{{{_NAMESPACE}}}a": "b",
    "id": "1",
    "{http://www.w3.org/XML/1998/namespace}lang": "en",
    "{http://www.w3.org/XML/1998/namespace}space": "preserve",
    "{http://www.w3.org/XML/1998/namespace}base": "file:///etc/",
    f"{_XSI}nil": "true",
    f"{_XSI}type": "contract_subaccount_mapping",
    f"{_XSI}schemaLocation": f"{_NAMESPACE} file:///etc/passwd",
    f"{_XSI}noNamespaceSchemaLocation": "file:///etc/passwd",
    "{urn:x}a": "b",
}


def _any(chance: random.Random, root: Tree) -> Tree:
    return chance.choice([each for each in root.iter() if isinstance(each.tag, str)])


def _below(chance: random.Random, root: Tree) -> tuple[Tree, Tree] | None:
    """An element other than the root, with its parent."""
    found = [(each, parent) for each in root.iter() if (parent := each.getparent()) is not None]
    return chance.choice(found) if found else None


def _swap(chance: random.Random, root: Tree) -> None:
    parent = _any(chance, root)
    if len(parent) > 1:
        one, other = sorted(chance.sample(range(len(parent)), 2))
        second, first = parent[other], parent[one]
        parent.remove(second)
        parent.insert(one, second)
        parent.remove(first)
        parent.insert(other, first)


def _delete(chance: random.Random, root: Tree) -> None:
    if found := _below(chance, root):
        found[1].remove(found[0])


def _duplicate(chance: random.Random, root: Tree) -> None:
    if found := _below(chance, root):
        found[0].addnext(deepcopy(found[0]))


def _many(chance: random.Random, root: Tree) -> None:
    if found := _below(chance, root):
        for _ in range(chance.choice((2, 10, 150))):
            found[0].addnext(deepcopy(found[0]))


def _move(chance: random.Random, root: Tree) -> None:
    if found := _below(chance, root):
        to = _any(chance, root)
        to.insert(chance.randint(0, len(to)), deepcopy(found[0]))
        found[1].remove(found[0])


def _unwrap(chance: random.Random, root: Tree) -> None:
    if found := _below(chance, root):
        element, parent = found
        at = parent.index(element)
        parent[at : at + 1] = list(element)


def _wrap(chance: random.Random, root: Tree) -> None:
    if found := _below(chance, root):
        element, parent = found
        at = parent.index(element)
        wrapper = etree.Element(f"{{{_NAMESPACE}}}{chance.choice(_NAMES)}")
        wrapper.append(element)
        parent.insert(at, wrapper)


def _rename(chance: random.Random, root: Tree) -> None:
    _any(chance, root).tag = f"{{{_NAMESPACE}}}{chance.choice(_NAMES)}"


def _rename_space(chance: random.Random, root: Tree) -> None:
    element = _any(chance, root)
    space = chance.choice(_NAMESPACES)
    name = etree.QName(element).localname
    element.tag = f"{{{space}}}{name}" if space else name


def _value(chance: random.Random, root: Tree) -> None:
    leaves = [each for each in root.iter() if not len(each)]
    chance.choice(leaves).text = chance.choice(VALUES)


def _text(chance: random.Random, root: Tree) -> None:
    element = _any(chance, root)
    if chance.random() < 0.5:
        element.text = chance.choice(VALUES)
    else:
        element.tail = chance.choice(VALUES)


def _attribute(chance: random.Random, root: Tree) -> None:
    name = chance.choice(sorted(_ATTRIBUTES))
    _any(chance, root).set(name, _ATTRIBUTES[name])


def _comment(chance: random.Random, root: Tree) -> None:
    element = _any(chance, root)
    inserted = chance.choice((etree.Comment(" x "), etree.ProcessingInstruction("x", "y")))
    element.insert(chance.randint(0, len(element)), inserted)


def _query_info(chance: random.Random, root: Tree) -> None:
    info = etree.Element(f"{{{_NAMESPACE}}}query_info")
    etree.SubElement(info, f"{{{_NAMESPACE}}}total_record_count").text = chance.choice(("1", *VALUES[:10]))
    root.insert(chance.choice((0, 0, len(root))), info)


_TREE: tuple[Callable[[random.Random, Tree], None], ...] = (
    *(_swap, _delete, _duplicate, _many, _move, _unwrap, _wrap, _rename, _rename_space, _value, _value, _value),
    *(_text, _attribute, _comment, _query_info),
)

#: How a tree is written: its declaration and its codec.
_WRITTEN = (
    ("", "utf-8"),
    ('<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n', "utf-8"),
    ('<?xml version="1.0" encoding="US-ASCII"?>', "ascii"),
    ('<?xml version="1.0" encoding="UTF-16"?>', "utf-16"),
    ('<?xml version="1.0" encoding="ISO-8859-1"?>', "latin-1"),
)


def _as_tree(chance: random.Random, body: bytes) -> bytes:
    root = etree.fromstring(body)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 4))):
        chance.choice(_TREE)(chance, root)
    if chance.random() < 0.2:
        prefixed = etree.Element(root.tag, nsmap={"p": _NAMESPACE})
        prefixed.extend(list(root))
        root = prefixed
    (declaration, codec) = chance.choices(_WRITTEN, (10, 10, 1, 1, 1))[0]
    return (declaration + etree.tostring(root, encoding="unicode")).encode(codec, "xmlcharrefreplace")


# --- bytes ------------------------------------------------------------------------------------------------


def _at(chance: random.Random, octets: bytes) -> int:
    return chance.randint(0, len(octets))


def _piece(chance: random.Random, octets: bytes) -> tuple[int, int]:
    begin = _at(chance, octets)
    return begin, min(len(octets), begin + chance.choice((1, 1, 2, 8, 40, 400)))


def _flip(chance: random.Random, octets: bytes) -> bytes:
    if not octets:
        return octets
    at = chance.randrange(len(octets))
    return octets[:at] + bytes([octets[at] ^ (1 << chance.randrange(8))]) + octets[at + 1 :]


def _cut(chance: random.Random, octets: bytes) -> bytes:
    return octets[: _at(chance, octets)]


def _drop(chance: random.Random, octets: bytes) -> bytes:
    begin, end = _piece(chance, octets)
    return octets[:begin] + octets[end:]


def _repeat(chance: random.Random, octets: bytes) -> bytes:
    begin, end = _piece(chance, octets)
    return octets[:end] + octets[begin:end] * chance.choice((1, 1, 2, 50)) + octets[end:]


def _insert(chance: random.Random, octets: bytes) -> bytes:
    at = _at(chance, octets)
    return octets[:at] + chance.choice(OCTETS) + octets[at:]


def _exchange(chance: random.Random, octets: bytes) -> bytes:
    (one, one_end), (other, other_end) = sorted((_piece(chance, octets), _piece(chance, octets)))
    if one_end > other:
        return octets
    return octets[:one] + octets[other:other_end] + octets[one_end:other] + octets[one:one_end] + octets[other_end:]


def _number(chance: random.Random, octets: bytes) -> bytes:
    found = list(re.finditer(rb"[0-9]+", octets))
    if not found:
        return octets
    number = chance.choice(found)
    value = chance.choice((b"0", b"-1", b"00", b"999999999", b"1000000000", b"9" * 40, b"1.5", b"", b"0x1", b"1e3"))
    return octets[: number.start()] + value + octets[number.end() :]


def _referred(chance: random.Random, octets: bytes) -> bytes:
    """A character of a text as a reference."""
    if not octets:
        return octets
    at = chance.randrange(len(octets))
    return octets[:at] + b"&#%d;" % octets[at] + octets[at + 1 :]


def _recoded(chance: random.Random, octets: bytes) -> bytes:
    return octets.decode("latin-1").encode(chance.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-8")))


_BYTES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_flip, _flip, _flip, _cut, _drop, _drop, _repeat, _insert, _insert, _exchange, _number, _referred, _recoded),
)


def _as_bytes(chance: random.Random, octets: bytes) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        octets = chance.choice(_BYTES)(chance, octets)
    return octets


# --- the target -------------------------------------------------------------------------------------------

_IN_TARGET = (
    *(b"%", b"%2", b"%zz", b"%00", b"%2F", b"%2f", b"%25", b"%252F", b"%C0%AF", b"%FF", b"%ED%A0%80", b"%E2%80%AE"),
    *(
        b"/",
        b"//",
        b"/.",
        b"/..",
        b"/%2e%2e",
        b";a=b",
        b"?",
        b"??",
        b"&",
        b"&&",
        b"=",
        b"==",
        b"+",
        b"%0D%0A",
        b"%0A",
    ),
    *(b"\xe9", b"\xff", b"*", b"~", b"\\", b"|", b"<", b'"', b"{", b"^", b"`", b"0", b"00", b"-1", b"9" * 30),
)


def _percent(chance: random.Random, target: bytes) -> bytes:
    at = chance.randrange(len(target))
    form = chance.choice((b"%%%02X", b"%%%02x", b"%%25%02X"))
    return target[:at] + form % target[at] + target[at + 1 :]


def _put_in(chance: random.Random, target: bytes) -> bytes:
    at = chance.randint(1, len(target))
    return target[:at] + chance.choice(_IN_TARGET) + target[at:]


def _drop_in(chance: random.Random, target: bytes) -> bytes:
    begin, end = _piece(chance, target[1:])
    return target[: begin + 1] + target[end + 1 :]


def _parameter(chance: random.Random, target: bytes) -> bytes:
    value = "".join(f"%{octet:02X}" for octet in chance.choice(VALUES)[:3000].encode())
    name = chance.choice((*sorted(_QUERY), b"other", b"Limit", b"limit%5B%5D", b""))
    separator = b"&" if b"?" in target else b"?"
    return b"%b%b%b=%b" % (target, separator, name, value.encode())


def _parameters_again(chance: random.Random, target: bytes) -> bytes:
    path, _, query = target.partition(b"?")
    parameters = query.split(b"&")
    chance.shuffle(parameters)
    return path + b"?" + b"&".join(parameters * chance.choice((1, 2, 3)))


def _another_id(chance: random.Random, target: bytes) -> bytes:
    ids = (b"0", b"1", b"01001", *(b"%d" % id_ for id_ in strangers.CUSTOMERS), b"1000000000", b"-1", b"1001001")
    return re.sub(rb"(?<=/)[0-9]+", lambda _: chance.choice(ids), target, count=chance.choice((1, 2)))


def _case(chance: random.Random, target: bytes) -> bytes:
    return chance.choice((target.upper(), target.lower(), target.swapcase(), target + b"/", target.title()))


def _long(chance: random.Random, target: bytes) -> bytes:
    filler = chance.choice((b"a", b"%41", b"&a=", b"/a", b"%", b"*", b"0"))
    return target + (b"" if b"?" in target else b"?") + filler * chance.choice((100, 1_000, 4_000))


_TARGET: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_percent, _percent, _put_in, _put_in, _drop_in, _parameter, _parameter, _parameters_again, _another_id, _case),
    *(_long, _number),
)


def _as_target(chance: random.Random, target: bytes) -> bytes:
    for _ in range(chance.choice((1, 1, 2, 3))):
        target = chance.choice(_TARGET)(chance, target)
    return target


# --- the head ---------------------------------------------------------------------------------------------

_FIELDS: dict[bytes, tuple[bytes, ...]] = {
    b"accept": (b"*/*", b"application/xml", b"text/html", b"application/*;q=0", b"a/b;q=2", b",,,", b"*", b'"'),
    b"accept-encoding": (b"gzip", b"gzip;q=0", b"*", b"identity;q=0", b"br", b"gzip;q=0.0001", b"x" * 3000),
    b"content-type": (_VENDOR, b"application/xml", _VENDOR.upper(), _VENDOR + b';x="a\\"b"', b"text/xml", b";", b""),
    b"content-encoding": (b"identity", b"gzip", b"", b"identity, gzip"),
    b"prefer": (
        b"handling=strict",
        b"handling=lenient",
        b'handling="strict"',
        b"handling",
        b"a=b;c, handling=strict",
    ),
    b"if-match": (b"*", b'"x.v"', b'W/"x.v"', b"x", b'"', b'""', b'"a", "b"', b",", b'"\xe9"'),
    b"if-none-match": (b"*", b'"x.v"', b'W/"x.v"', b"x", b'"', b'"a","b",' * 500),
    b"origin": (b"https://localhost", b"https://evil.example", b"null", b""),
    b"sec-fetch-site": (b"same-origin", b"cross-site", b"none", b"?"),
    b"x-request-id": (b"a", b"a" * 65, b"a b", b"\x1b[31m", b"a\xc2\x85b", b"%0a", b""),
    b"range": (b"bytes=0-1", b"bytes=-1", b"x"),
    b"cookie": (b"a=b", b"x" * 5000),
    b"x-forwarded-for": (b"127.0.0.1",),
    b"x-http-method-override": (b"DELETE",),
    b"x-client-cert": (b"CN=u1002",),
}

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "SEARCH")

#: What no field has on the wire.
_NOT_IN_A_FIELD = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def _as_head(chance: random.Random, request: Request) -> Request:
    fields: Fields = request.fields
    for _ in range(chance.choice((1, 1, 2, 4))):
        name = chance.choice(sorted(_FIELDS))
        value = chance.choice(_FIELDS[name])
        if chance.random() < 0.3:
            value = _NOT_IN_A_FIELD.sub(b"", _as_bytes(chance, value)).strip(b" \t")
        rest = tuple(each for each in fields if each[0] != name)
        fields = chance.choice((rest, (*rest, (name, value)), (*rest, (name, value)), (*fields, (name, value))))
    method = chance.choice(_METHODS) if chance.random() < 0.2 else request.method
    return replace(request, method=method, fields=fields)


# --- requests ---------------------------------------------------------------------------------------------

#: What a target cannot have, where the HTTP layer gives it to the application.
_NOT_IN_A_TARGET = re.compile(rb"[\x00-\x20\x7f#]")


def request(number: int, customers: Sequence[int] = strangers.CUSTOMERS) -> Request:
    """The request of this number, as the application may get it, of the user of one of these customers."""
    chance = random.Random(number)
    made = good(chance, chance.choice(customers))
    head, target, body = chance.choices(((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1), (0, 0, 0)), (14, 5, 3, 2, 1))[0]
    if body and made.body:
        made = replace(made, body=chance.choice((_as_tree, _as_bytes))(chance, made.body))
    elif body or target:
        made = replace(made, target=_NOT_IN_A_TARGET.sub(b"", _as_target(chance, made.target)))
    return _as_head(chance, made) if head else made


# --- on the wire ------------------------------------------------------------------------------------------

_LINES = (
    *(b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 99999999999999999999", b"Content-Length: -1"),
    *(
        b"Content-Length: 1, 1",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Host: a",
        b"Host:",
    ),
    *(b"Transfer-Encoding : chunked", b" folded: x", b"Expect: 100-continue", b"Expect: x", b"Connection: close"),
    *(b"Connection: upgrade\r\nUpgrade: h2c", b"Upgrade: websocket", b"a" * 5_000 + b": b", b"a: " + b"b" * 70_000),
    *(
        b"no colon",
        b": no name",
        b"nul: \x00",
        b"cr: a\rb",
        b"caf\xe9: x",
        b"a b: c",
        b"x: y\r\n" * 120,
        b"TE: trailers",
    ),
)

_VERSIONS = (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/11", b"http/1.1", b"", b"HTTPS/1.1")


def _line(chance: random.Random, head: bytes) -> bytes:
    lines = head.split(b"\r\n")
    lines.insert(chance.randint(1, len(lines)), chance.choice(_LINES))
    return b"\r\n".join(lines)


def _version(chance: random.Random, head: bytes) -> bytes:
    return head.replace(b"HTTP/1.1", chance.choice(_VERSIONS), 1)


def _ends(chance: random.Random, head: bytes) -> bytes:
    return head.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\r\r\n", b" \r\n")), chance.choice((1, 3, -1)))


def _first(chance: random.Random, head: bytes) -> bytes:
    return chance.choice((b"\r\n", b"\n", b" ", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\n", b"\x00")) + head


_HEAD = (_line, _line, _line, _version, _ends, _first, _flip, _drop, _insert, _repeat)


def raw(number: int, customers: Sequence[int]) -> bytes:
    """The request of this number as it is sent, with a head that may be no head at all."""
    chance = random.Random(f"raw {number}")
    head, end, body = request(number, customers).raw().partition(b"\r\n\r\n")
    if chance.random() < 0.5:
        for _ in range(chance.choice((1, 1, 2))):
            head = chance.choice(_HEAD)(chance, head)
    return head + end + body
