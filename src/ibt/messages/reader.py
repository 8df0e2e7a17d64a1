"""
The message of a POST, from bytes to values; and what is wrong with its form, in our words.

The schema is the one source of what a valid message is. The body is parsed once, in pieces; after each piece the
mappings that are whole are validated, read and let go. So neither time nor memory grows with what a hostile
message might be: the validator's account of a fault takes as long as its siblings are many, and a tree weighs
many times its text. What no schema can refuse (a DOCTYPE, another encoding, `xsi:type`, another root of ours)
is refused here.

This module knows the form only. The rules of 3.2.5, and that there must be a mapping and a version, are judged
on valid messages by `ibt.rules.mappings`.

Clauses 2.1, 3.2.4, 3.2.8. Readings 6, 10, 31-34, 40, 51, 52.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future
from copy import deepcopy
from datetime import datetime
from functools import lru_cache
from importlib import resources
from itertools import islice
from threading import Lock, Thread, local
from typing import NoReturn, TypedDict

from lxml import etree

from ibt.messages.writer import NAMESPACE
from ibt.rules.faults import MOST_LINES, Faults, Refusal, Rule, quoted
from ibt.rules.model import RequestedMapping, RequestedVersion, Update
from ibt.rules.periods import read_time

#: The published schema.
SCHEMA: bytes = (resources.files("ibt.messages") / "vnd.iso-ne.contract.customers.v1.xsd").read_bytes()

_ROOT = f"{{{NAMESPACE}}}contract_subaccount_mappings"
_MAPPING = f"{{{NAMESPACE}}}contract_subaccount_mapping"
_VERSION = f"{{{NAMESPACE}}}contract_subaccount_mapping_version"
_CONTRACT_ID = f"{{{NAMESPACE}}}contract_id"
_BEGIN = f"{{{NAMESPACE}}}begin"
_END = f"{{{NAMESPACE}}}end"

#: The elements of a mapping that stand before its versions.
_FIELDS = 8

#: The elements of a version, of which `end` may be left out.
_VERSION_FIELDS = 4

#: The body is read in pieces of so many bytes.
_PIECE = 128 * 1024

#: So many mappings are validated at once: what a fault costs grows with its siblings.
_GROUP = 500

#: After a wrong element or attribute, so much more is read, not the whole of a message that is none.
_MORE = 128 * 1024

#: A message has less than one `=` (attributes) and one `&` (references) for each `<`; and so many are free.
_SPARE = 10_000

# What cannot be read: one line (reading 10).

_UNREADABLE = {
    rule.name: rule
    for rule in (
        Rule("not-utf-8", "must be UTF-8; it is not at {place}", "2, reading 10"),
        Rule("encoding", "must be UTF-8 or US-ASCII", "2, reading 51"),
        Rule("not-ascii", "declares US-ASCII and has other characters: declare UTF-8", "2, reading 51"),
        Rule("xml-version", "must be 1.0", "reading 51"),
        Rule("declaration", 'must be as <?xml version="1.0" encoding="UTF-8"?>', "reading 10"),
        Rule("doctype", "must not have a DOCTYPE", "reading 10"),
        Rule("too-dense", "has more attributes or references than any message needs", "reading 10"),
        Rule("too-deep", "has elements, names or texts deeper or longer than what is read, at {place}", "reading 10"),
        Rule("not-well-formed", "is not well-formed XML at {place}", "2.1, reading 10"),
        Rule("empty", "is empty: send contract_subaccount_mappings", "2.1, 3.2.8"),
    )
}

# What is not valid: a line for each fault (reading 10).

_OTHER_ROOT = Rule(
    "root",
    f"the root must be contract_subaccount_mappings in the namespace {NAMESPACE}",
    "3.2.8",
)
_UNEXPECTED = Rule("element-unexpected", "is not expected here; expected: {expected}", "3.2.4")
_OTHER_NAMESPACE = Rule(
    "element-namespace", f"must be in the namespace {NAMESPACE}; expected: {{expected}}", "2, 3.2.4"
)
_MISSING = Rule("element-missing", "lacks an element at its end; expected: {expected}", "3.2.4")
_ELEMENT_IN_VALUE = Rule("element-in-value", "must be a value without elements in it", "3.2.4")
_TEXT = Rule("text", "must not have text between its elements", "3.2.4")
_ATTRIBUTE = Rule("attribute", "the attribute {attribute} is not allowed", "3.2.4, reading 51")
_TYPE = Rule("xsi-type", "xsi:type is not allowed", "3.2.4, reading 51")
_NIL = Rule("xsi-nil", "xsi:nil is not allowed; every element has a value", "3.2.4, reading 51")
_OVERGROWN = Rule("overgrown", "has more elements in it than a message can have there", "3.2.4")
_ID = Rule("id", "must be a whole number of at most 9 digits", "3.2.4, reading 52")
_COUNT = Rule("count", "must be a whole number, or leave query_info out", "3.2.7, reading 32")
_TIME = Rule(
    "time",
    "must be a time in GMT, whole seconds, with Z: write it as 2015-08-01T04:00:00Z",
    "3.2.4, reading 33",
)
_SUBACCOUNT_ID = Rule("subaccount-id", "must be 1 to 100 characters; there are {length}", "3.2.4")
_FORM = Rule("form", "is not as the schema says: leave out its attributes xsi:nil and xsi:type", "2.1")

#: The rule that a wrong value breaks, by its element.
_VALUES = {
    "customer_id": _ID,
    "contract_id": _ID,
    "contract_begin": _TIME,
    "contract_end": _TIME,
    "begin": _TIME,
    "end": _TIME,
    "subaccount_id": _SUBACCOUNT_ID,
    "total_record_count": _COUNT,
}

#: The rule that a wrong element or attribute breaks, by the validator's name for the fault.
_STRUCTURE = {
    "SCHEMAV_ELEMENT_CONTENT": _UNEXPECTED,
    "SCHEMAV_CVC_ELT_1": _OTHER_ROOT,
    "SCHEMAV_CVC_ELT_3_1": _NIL,
    "SCHEMAV_CVC_COMPLEX_TYPE_2_3": _TEXT,
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_1": _ATTRIBUTE,
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_2": _ATTRIBUTE,
    "SCHEMAV_CVC_TYPE_3_1_1": _ATTRIBUTE,
    "SCHEMAV_CVC_TYPE_3_1_2": _ELEMENT_IN_VALUE,
}

#: Every rule of this module, for whoever lists them.
RULES = (
    *_UNREADABLE.values(),
    *dict.fromkeys((*_STRUCTURE.values(), *_VALUES.values())),
    *(_OTHER_NAMESPACE, _MISSING, _TYPE, _OVERGROWN, _FORM),
)

#: These speak of a type that `xsi:type` asks for; that it stands there is fault enough.
_ABOUT_XSI_TYPE = {"SCHEMAV_CVC_ELT_4_1", "SCHEMAV_CVC_ELT_4_2", "SCHEMAV_CVC_ELT_4_3"}

_XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"

#: What may stand before the root: a byte order mark, blanks, comments, processing instructions, the declaration.
_PROLOG = re.compile(rb"(?:[ \t\r\n]++|<!--.{0,200}?-->|<\?.{0,200}?\?>)*+", re.DOTALL)
#: How what is longer begins and ends, which is looked for ten times as fast as by an expression.
_LONG = {b"<!--": b"-->", b"<?": b"?>"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BEGINS_DECLARATION = re.compile(rb"(?:\xef\xbb\xbf)?<\?xml[ \t\r\n?]")
_DECLARATION = re.compile(
    rb"""(?:\xef\xbb\xbf)?<\?xml
    \s+version\s*=\s*(?P<q>["'])(?P<version>[A-Za-z0-9._:-]+)(?P=q)
    (?:\s+encoding\s*=\s*(?P<r>["'])(?P<encoding>[A-Za-z][A-Za-z0-9._-]*)(?P=r))?
    (?:\s+standalone\s*=\s*(?:"(?:yes|no)"|'(?:yes|no)'))?
    \s*\?>""",
    re.VERBOSE,
)

#: The parser's names for what is too much for it, and for what is no UTF-8.
_SYNTAX = {
    "ERR_RESOURCE_LIMIT": "too-deep",
    "ERR_NAME_TOO_LONG": "too-deep",
    "ERR_INVALID_ENCODING": "not-utf-8",
    "ERR_INVALID_CHAR": "not-well-formed",
}

_ROOT_NAME = re.compile(rb"<(?:[^\s/>:]*:)?([^\s/>:]+)")

#: A mapping without fault, for where validation needs one to stand.
_STAND_IN = etree.fromstring(
    f'''<contract_subaccount_mapping xmlns="{NAMESPACE}"><customer_id>0</customer_id><contract_id>0</contract_id>
    <market_name/><buyer_name/><seller_name/><contract_begin>2015-08-01T04:00:00Z</contract_begin>
    <contract_end>2015-08-01T04:00:00Z</contract_end><status/></contract_subaccount_mapping>'''
)

_EMPTY = etree.fromstring(f'<contract_subaccount_mappings xmlns="{NAMESPACE}"/>')

#: The validator's sentences, of which only names are taken.
_ABOUT = re.compile(r"Element '(\{[^}]*\})?([^']*)'")
_ATTRIBUTE_NAME = re.compile(r"attribute '(?:\{[^}]*\})?([^']*)': ")
_EXPECTED = re.compile(r"\{[^}]*\}(\w+)")

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
_WHOLE_NUMBER = re.compile(r"[ \t\r\n]*+\+?(?:0*+[1-9][0-9]{0,8}|0++)[ \t\r\n]*+")
_TIME_FORM = re.compile(r"[0-9:.TZ+-]{1,40}")

#: The blanks of XML, which numbers and times may have around them.
_BLANKS = " \t\r\n"

#: A node keeps no greater line than this.
_LAST_LINE_OF_NODES = 65_535

#: So many faults of one group are told in full; there are never more lines.
_TOLD = MOST_LINES

_PER_THREAD = local()

#: The library makes its own types when it compiles the first schema, and two threads at that never end.
_COMPILING = Lock()


def read_update(body: bytes) -> Update:
    """
    What the message of a POST asks for, in its own order.

    Raises Refusal(400): with one line where *body* cannot be read at all, else with a line for each fault that
    validation finds. A message without mappings and a mapping without versions are valid.

    Clauses 2.1, 3.2.4, 3.2.8. Readings 10, 32, 51, 52.
    """
    root_begins = _judge_prolog(body)
    _judge_density(body)
    # The parser keeps every name that it meets for as long as its thread lives: so each body has a thread of its own.
    outcome: Future[Update] = Future()
    Thread(target=_read, args=(body, root_begins, _schema(), outcome)).start()
    try:
        return outcome.result()
    finally:
        del outcome  # else a refusal would hold itself, and the body with it, until the collector comes


def _schema() -> etree.XMLSchema:
    # One for each thread that calls, since it keeps the faults of its last validation.
    try:
        schema: etree.XMLSchema = _PER_THREAD.schema
    except AttributeError:
        with _COMPILING:
            schema = _PER_THREAD.schema = etree.XMLSchema(etree.fromstring(SCHEMA))
    return schema


def _read(body: bytes, root_begins: int, schema: etree.XMLSchema, outcome: Future[Update]) -> None:
    try:
        outcome.set_result(_Reading(body, root_begins, schema).update())
    except BaseException as refusal:  # whatever it is, it belongs to the thread that waits for the outcome
        outcome.set_exception(refusal)
        del outcome


def _judge_prolog(body: bytes) -> int:
    """Where the root begins."""
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in body[:4]:
        _unreadable("not-utf-8", place="its beginning")
    declared = _DECLARATION.match(body)
    if declared is None and _BEGINS_DECLARATION.match(body):
        _unreadable("declaration", field="XML declaration")
    if declared is not None and declared["version"] != b"1.0":
        _unreadable("xml-version", field="XML version", value=declared["version"].decode("ascii"))
    encoding = declared["encoding"].decode("ascii") if declared is not None and declared["encoding"] else "UTF-8"
    if encoding.upper() not in {"UTF-8", "US-ASCII"}:
        _unreadable("encoding", field="encoding", value=encoding)
    if encoding.upper() == "US-ASCII" and not body.removeprefix(_BYTE_ORDER_MARK).isascii():
        _unreadable("not-ascii")
    root = _root_begins(body)
    if root == len(body):
        _unreadable("empty")
    if body.startswith(b"<!DOCTYPE", root):
        _unreadable("doctype", where=_line_at(body, root))
    return root


def _root_begins(body: bytes) -> int:
    begins = len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0
    while prolog := _PROLOG.match(body, begins):
        begins = prolog.end()
        opened = next((each for each in _LONG if body.startswith(each, begins)), b"")
        end = body.find(_LONG[opened], begins + len(opened)) if opened else -1
        if end < 0:
            break
        begins = end + len(_LONG[opened])
    return begins


def _judge_density(body: bytes) -> None:
    most = body.count(b"<") + _SPARE
    if body.count(b"=") > most or body.count(b"&") > most:
        _unreadable("too-dense")


def _line_at(body: bytes, position: int) -> str:
    line = body.count(b"\n", 0, position) + 1
    return f"line {line}"


def _unreadable(
    name: str, *, where: str = "", field: str = "message", value: str | None = None, **known: object
) -> NoReturn:
    faults = Faults()
    faults.add(_UNREADABLE[name], where=where, field=field, value=value, **known)
    faults.refuse()
    raise AssertionError(name)


class _Options(TypedDict):
    encoding: str
    resolve_entities: bool
    no_network: bool
    load_dtd: bool
    dtd_validation: bool
    huge_tree: bool
    recover: bool
    remove_comments: bool
    remove_pis: bool


_OPTIONS = _Options(
    encoding="utf-8",
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    dtd_validation=False,
    huge_tree=False,
    recover=False,
    remove_comments=True,
    remove_pis=True,
)


class _Reading:
    """One body being read: the parser, the faults so far, the values so far."""

    def __init__(self, body: bytes, root_begins: int, schema: etree.XMLSchema) -> None:
        self.body = body
        self.schema = schema
        self.root_begins = root_begins
        self.may_have_xsi_type = b":type" in body
        self.faults = Faults()
        self.wrong_structure = False
        #: Whether mappings have been taken out of the tree, so that it no longer begins at the root's beginning.
        self.taken = False
        self.mappings: list[RequestedMapping] = []
        #: The versions, taken already, of the mapping that the parser is in.
        self.earlier: list[RequestedVersion] = []
        # Only a parser that tells of events shows the root before its end; it is freed by the collector, later.
        long = len(body) > _PIECE
        self.parser = etree.XMLPullParser(("start",), tag=_ROOT, **_OPTIONS) if long else etree.XMLParser(**_OPTIONS)

    def update(self) -> Update:
        root = None
        for end in range(_PIECE, len(self.body), _PIECE):
            piece = self.body[end - _PIECE : end]
            self.feed(piece)
            if root is None and end - self.root_begins > _PIECE:
                root = self.root_begun(end)
            if root is not None and len(root):
                self.take_what_is_whole(root, end)
            if self.wrong_structure and len(self.body) - end > _MORE:
                self.refuse_unread(end)
        self.feed(self.body[(len(self.body) - 1) // _PIECE * _PIECE :])
        self.take_the_rest(self.close())
        self.faults.refuse()
        return tuple(self.mappings)

    def feed(self, piece: bytes) -> None:
        try:
            self.parser.feed(piece)
        except etree.XMLSyntaxError:
            self.refuse_syntax()

    def close(self) -> etree._Element:
        try:
            root: etree._Element = self.parser.close()
        except etree.XMLSyntaxError:
            self.refuse_syntax()
        return root

    def refuse_syntax(self) -> NoReturn:
        errors = [entry for entry in self.parser.feed_error_log if entry.level >= etree.ErrorLevels.ERROR]
        name, place = "not-well-formed", "its end"
        if errors:
            name = _SYNTAX.get(errors[0].type_name, name)
            place = f"line {errors[0].line}, column {errors[0].column}"
        _unreadable(name, place=place)

    def root_begun(self, end: int) -> etree._Element:
        """The root, whose beginning has been read; refuses another root."""
        begun = next(iter(self.parser.read_events()), None)
        if begun is not None and isinstance(begun[1], etree._Element):
            return begun[1]
        name = _ROOT_NAME.match(self.body, self.root_begins)
        self.faults.add(
            _OTHER_ROOT,
            where=_line_at(self.body, self.root_begins),
            field=_name(name[1].decode("utf-8", "replace") if name else ""),
        )
        return self.refuse_unread(end)

    def refuse_unread(self, end: int) -> NoReturn:
        lines = [*self.faults.lines(), f"The message was read as far as byte {end}; what follows was not judged."]
        raise Refusal(400, "\n".join(lines), faults=tuple(self.faults.told))

    def take_what_is_whole(self, root: etree._Element, end: int) -> None:
        """Judges what the parser has left behind: whole mappings, or the versions of a very long one."""
        *whole, last = root
        if whole:
            for first in range(0, len(whole), _GROUP):
                if first and self.wrong_structure:
                    self.refuse_unread(end)
                group = whole[first : first + _GROUP]
                self.judge(self.group(root, group), group)
            return
        children = list(last)
        for child in (*children[:_FIELDS], *children[_FIELDS:][-1:]):
            if len(child) > _VERSION_FIELDS or any(len(below) for below in child):
                self.faults.add(_OVERGROWN, where=_where(child, last), field=_name(_local(child)))
                self.refuse_unread(end)
        if versions := children[_FIELDS:-1]:
            part = deepcopy(_STAND_IN)
            part.extend(versions)
            self.judge(self.group(root, [part]), [part], part_of=last)

    def take_the_rest(self, root: etree._Element) -> None:
        if root.tag != _ROOT:
            self.faults.add(_OTHER_ROOT, where=f"line {_line(root)}", field=_name(_local(root)))
        elif self.taken:
            rest = list(root)
            self.judge(self.group(root, rest), rest)
        else:
            self.judge(root, list(root))

    def group(self, root: etree._Element, mappings: list[etree._Element]) -> etree._Element:
        """A message of *mappings*, taken out of *root*; the first such has what belongs to the root itself."""
        group = deepcopy(_EMPTY)
        if self.taken:
            group.append(deepcopy(_STAND_IN))  # so that query_info is out of place here
        else:
            group.attrib.update(root.attrib)
            group.text = root.text
            group.sourceline = root.sourceline
        group.extend(mappings)
        self.taken = True
        return group

    def judge(
        self, group: etree._Element, mappings: list[etree._Element], part_of: etree._Element | None = None
    ) -> None:
        """Validates *group*, then reads its *mappings*; *part_of* is the long mapping whose versions these are."""
        found = [] if self.schema.validate(group) else list(_wrong(self.schema))
        if self.may_have_xsi_type:
            found += [(element, _TYPE, "") for element in group.iter() if element.get(_XSI_TYPE) is not None]
        if found:
            self.tell(group, found, part_of)
        if self.faults.count:
            return
        for mapping in mappings:
            if part_of is not None:
                self.earlier += _versions(mapping)
            elif mapping.tag == _MAPPING:  # not query_info
                self.mappings.append(_mapping(mapping, self.earlier))
                self.earlier = []

    def tell(self, group: etree._Element, found: list[_Found], part_of: etree._Element | None) -> None:
        """Adds a fault for each thing *found*, in the order of the document; past the cap they are only counted."""
        self.wrong_structure |= any(rule not in _VALUES.values() for _, rule, _ in found)
        places = [
            (_element(group, at) if isinstance(at, str) else at, rule, said) for at, rule, said in found[:_TOLD]
        ]
        for element, rule, said in sorted(places, key=lambda place: _line(place[0])):
            self.add(element, rule, said, part_of)
        for _, rule, _ in found[_TOLD:]:
            self.faults.add(rule, expected="", attribute="", length="")

    def add(self, element: etree._Element, rule: Rule, said: str, part_of: etree._Element | None) -> None:
        value = (element.text or "") if rule in _VALUES.values() else None
        attribute = _ATTRIBUTE_NAME.search(said)
        expected = said.partition("Expected is")[2]
        self.faults.add(
            rule,
            where=_where(element, part_of),
            field=_name(_local(element)),
            value=value,
            attribute=_name(attribute[1] if attribute else ""),
            expected=", ".join(_EXPECTED.findall(expected)) or "nothing more",
            length=len(value or ""),
        )


#: A fault as validation finds it: the element or the path to it, the rule, the validator's own words.
_Found = tuple[etree._Element | str, Rule, str]


def _wrong(schema: etree.XMLSchema) -> Iterator[_Found]:
    for entry in schema.error_log:  # type: ignore[attr-defined]  # the stubs do not know that a log can be read
        if entry.type_name not in _ABOUT_XSI_TYPE:
            yield entry.path or "/*", _rule(entry), entry.message


def _rule(entry: etree._LogEntry) -> Rule:
    rule = _STRUCTURE.get(entry.type_name)
    if rule is None:
        about = _ABOUT.match(entry.message)
        of_value = _VALUES.get(about[2] if about else "", _FORM)
        return _ATTRIBUTE if of_value is not _FORM and _ATTRIBUTE_NAME.search(entry.message) else of_value
    if rule is _UNEXPECTED and "Missing child" in entry.message:
        return _MISSING
    if rule is _UNEXPECTED and not entry.message.startswith(f"Element '{{{NAMESPACE}}}"):
        return _OTHER_NAMESPACE
    return rule


def _element(group: etree._Element, path: str) -> etree._Element:
    """The element to which the validator's *path* (`/*/*[2]/p:begin`) leads from *group*."""
    element = group
    for step in path.split("/")[2:]:
        name, _, position = step.removesuffix("]").partition("[")
        alike = (child for child in element if name in {"*", _prefixed(child)})
        element = next(islice(alike, int(position or 1) - 1, None), element)
    return element


def _prefixed(element: etree._Element) -> str:
    return f"{element.prefix}:{_local(element)}" if element.prefix else _local(element)


def _local(element: etree._Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _name(name: str) -> str:
    """A name of the client's as it may stand in a line: no long one, none with what does not print."""
    return name if _PLAIN_NAME.fullmatch(name) else quoted(name)


def _line(element: etree._Element) -> int:
    """The line where *element* begins."""
    line: int = int(element.sourceline or 0)  # type: ignore[call-overload]  # a number or None, but not in the stubs
    if line < _LAST_LINE_OF_NODES:
        return line
    if line == _LAST_LINE_OF_NODES:
        return _line_after_what_is_before(element)
    # Beyond, lines are kept with texts only: this is the one where the first text, in it or after it, ends.
    if text := element.text or ("" if len(element) else element.tail):
        return line - text.count("\n")
    nearest = element[0] if len(element) else element.getnext()
    return line if nearest is None else _line(nearest)


def _line_after_what_is_before(element: etree._Element) -> int:
    before, parent = element.getprevious(), element.getparent()
    if before is not None:
        passed = "".join(str(text) for text in before.itertext()) + (before.tail or "")
        return _line(before) + passed.count("\n")
    return _LAST_LINE_OF_NODES if parent is None else _line(parent) + (parent.text or "").count("\n")


def _where(element: etree._Element, part_of: etree._Element | None) -> str:
    """Contract, period and line, so far as they can be read."""
    place = []
    mapping, version = part_of, None
    for around in (element, *element.iterancestors()):
        if around.tag == _VERSION:
            version = around
        if around.tag == _MAPPING and mapping is None:
            mapping = around
    contract = None if mapping is None else mapping.findtext(_CONTRACT_ID)
    if contract is not None and _WHOLE_NUMBER.fullmatch(contract):
        place.append(f"contract {_number(contract)}")
    if version is not None:
        begin, end = version.findtext(_BEGIN), version.findtext(_END)
        if begin is not None:
            place.append(f"period {_time_text(begin)}" + (f" to {_time_text(end)}" if end is not None else ""))
    return ", ".join([*place, f"line {_line(element)}"])


def _time_text(text: str) -> str:
    return text.strip(_BLANKS) if _TIME_FORM.fullmatch(text.strip(_BLANKS)) else quoted(text)


# What a valid message says.


def _mapping(mapping: etree._Element, earlier: list[RequestedVersion]) -> RequestedMapping:
    return RequestedMapping(
        _number(mapping[0].text or ""),
        _number(mapping[1].text or ""),
        (*earlier, *_versions(mapping)),
    )


def _versions(mapping: etree._Element) -> list[RequestedVersion]:
    versions = []
    for begin, *end, _, subaccount_id in list(mapping)[_FIELDS:]:
        versions.append(
            RequestedVersion(
                _time(begin.text or ""), _time(end[0].text or "") if end else None, subaccount_id.text or ""
            )
        )
    return versions


def _number(text: str) -> int:
    # Leading zeros are free, and may be more than int() takes.
    return int(text.strip(_BLANKS).lstrip("+-0") or "0")


@lru_cache(maxsize=8192)
def _time(text: str) -> datetime:
    return read_time(text.strip(_BLANKS))
