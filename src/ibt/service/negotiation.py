"""
What a request's head and target say: media types, codings, preferences, entity tags, path and query string.

Pure: each function takes the values of one header, all fields of that name in their order and decoded as
latin-1, or the raw target, and gives a value or raises the Refusal. What a list holds that is malformed is
passed over. No pattern here looks at a text more than a few times over, however long it is.

Clauses 2.1, 2.2. Readings 1, 4, 5, 15, 57, 60; RFC 9110, RFC 7240.
"""

from __future__ import annotations

import re
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote_to_bytes

from ibt.rules.faults import Faults, Refusal, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Read = TypeVar("Read")

#: The media type of the service, and the Content-Types of its answers, exactly (2, reading 49).
VENDOR = "application/vnd.iso-ne.contract.customers.v1+xml"
VENDOR_TYPE = f"{VENDOR};charset=UTF-8"
XML_TYPE = "application/xml;charset=UTF-8"

#: What there is to choose from; the first wins a tie (reading 5).
_OFFERED = {VENDOR: VENDOR_TYPE, "application/xml": XML_TYPE}

#: What stands for every tag in If-Match and If-None-Match. A tag has quotes, so it is never this.
ANY = ("*",)

# What a head or a target can break.
ACCEPT = Rule(
    "accept", f"fits neither type of this service: ask for {VENDOR_TYPE} or {XML_TYPE}", "2.2, reading 5", 406
)
NO_CONTENT_TYPE = Rule("content-type-missing", f"is missing: send {VENDOR_TYPE}", "2.1, reading 4", 415)
CONTENT_TYPES = Rule(
    "content-type-repeated", f"is given more than once: send {VENDOR_TYPE} once", "2.1, reading 4", 415
)
CONTENT_TYPE = Rule("content-type", f"is not the type of this service: send {VENDOR_TYPE}", "2.1, reading 4", 415)
CHARSET = Rule("charset", f"must have the charset UTF-8 and no other: send {VENDOR_TYPE}", "2.1, reading 4", 415)
CONTENT_ENCODING = Rule(
    "content-encoding", "is not supported: send the body as it is and leave this header out", "2.1, reading 4", 415
)
NOT_UTF_8 = Rule(
    "parameter-not-utf-8", "is not UTF-8 in its name or its value: write é as %C3%A9, for instance", "reading 60"
)

_TCHARS = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_WORD = rf'(?:{_TCHARS}|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*")'
_HEAD = re.compile(rf"{_TCHARS}(?:/{_TCHARS})?")
_PARAMETER = re.compile(rf"[ \t]*;[ \t]*(?:({_TCHARS})=({_WORD}))?")
_PREFERENCE = re.compile(rf"({_TCHARS})(?:[ \t]*=[ \t]*({_WORD}))?[ \t]*(?:;|\Z)")
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_TAG = re.compile(r'(?:W/)?("[!#-~\x80-\xff]*")')

# The elements of a list; the comma inside a quoted string or a tag separates nothing. A quotation that is
# never closed runs to the end. Both always find something, so they never go back.
_ELEMENT = re.compile(r'(?:[^",]+|"(?:[^"\\]+|\\.?)*"?)+', re.DOTALL)
_TAG_ELEMENT = re.compile(r'(?:[^",]+|"[^"]*"?)+')

_BROKEN_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


#: What is longer than any client says in each of its requests is read anew: a head may have 64 KB, and thousands of
#: tags in it.
_LONGEST_REMEMBERED = 512


def _remembered(read: Callable[[Sequence[str]], Read]) -> Callable[[Sequence[str]], Read]:
    """*read*, which is asked once for what clients say in each of their requests."""
    once = lru_cache(maxsize=256)(read)

    @wraps(read)
    def remembered(values: Sequence[str]) -> Read:
        return (once if sum(map(len, values)) <= _LONGEST_REMEMBERED else read)(tuple(values))

    return remembered


@_remembered
def media_type(accept: Sequence[str]) -> str:
    """
    The Content-Type of the answer that *accept* prefers: VENDOR_TYPE or XML_TYPE.

    For each type the most specific range decides. Raises Refusal(406) where neither is acceptable.

    Clause 2.2. Reading 5; RFC 9110 12.5.1.
    """
    ranges = [element for element in _weighted(accept) if "/" in element[0]]
    if not ranges:
        return VENDOR_TYPE
    weights = {offered: _acceptability(offered, ranges) for offered in _OFFERED}
    best = max(weights, key=lambda offered: weights[offered])
    if weights[best] == 0:
        raise Refusal.of(ACCEPT, field="Accept", value=", ".join(accept))
    return _OFFERED[best]


def refuse_other_content(content_type: Sequence[str], content_encoding: Sequence[str]) -> None:
    """
    Raises Refusal(415) unless a body is of the service's type, in UTF-8, and sent as it is.

    Clause 2.1. Reading 4.
    """
    if not any(content_type):
        raise _unsupported_type(NO_CONTENT_TYPE)
    if len(content_type) > 1:
        raise _unsupported_type(CONTENT_TYPES, ", ".join(content_type))
    value = content_type[0].strip(" \t")
    item = _item(value)
    if item is None or item[0] != VENDOR:
        raise _unsupported_type(CONTENT_TYPE, value)
    charsets = [_unquoted(word).lower() for name, word in item[1] if name == "charset"]
    if charsets not in ([], ["utf-8"]):
        raise _unsupported_type(CHARSET, value)
    if any(coding.lower() != "identity" for coding in _elements(content_encoding)):
        headers = {"Accept-Encoding": "identity"}  # RFC 9110 15.5.16
        value = ", ".join(content_encoding)
        raise Refusal.of(CONTENT_ENCODING, field="Content-Encoding", value=value, headers=headers)


@_remembered
def strict(prefer: Sequence[str]) -> bool:
    """Whether *prefer* has `handling=strict`; the first `handling` counts. Reading 15; RFC 7240 2, 4.4."""
    for element in _elements(prefer):
        match = _PREFERENCE.match(element)
        if match and match[1].lower() == "handling":
            return _unquoted(match[2] or "").lower() == "strict"
    return False


@_remembered
def gzip_wanted(accept_encoding: Sequence[str]) -> bool:
    """
    Whether gzip is asked for, and not less than the body as it is.

    Without the header, anything would be acceptable; we take that as not asked for. RFC 9110 12.5.3.
    """
    weights: dict[str, float] = {}
    for name, given, weight in _weighted(accept_encoding):
        if "/" not in name and not given:
            coding = "gzip" if name == "x-gzip" else name  # RFC 9110 8.4.1.3
            weights[coding] = max(weight, weights.get(coding, 0.0))
    others = weights.get("*", 0.0)
    gzip = weights.get("gzip", others)
    return gzip > 0 and gzip >= weights.get("identity", others)


@_remembered
def entity_tags(values: Sequence[str]) -> tuple[str, ...]:
    """
    The tags of If-Match or If-None-Match, quotes included and without `W/`; ANY for `*`.

    `W/` is dropped since neither comparison here asks for it. RFC 9110 8.8.3, 13.1.
    """
    elements = _elements(values, _TAG_ELEMENT)
    if elements == ["*"]:
        return ANY
    return tuple(match[1] for match in map(_TAG.fullmatch, elements) if match)


def none_match(if_none_match: Sequence[str], etag: str) -> bool:
    """Whether *if_none_match* knows *etag* (`"REVISION.SUFFIX"`), so that 304 says all. RFC 9110 13.1.2."""
    tags = entity_tags(if_none_match)
    return tags == ANY or etag.removeprefix("W/") in tags


def match_revision(if_match: Sequence[str], revision: str) -> bool:
    """
    Whether *if_match* allows a change at *revision*; a suffix after the revision is ignored.

    True without the header. A header that is empty or malformed names no revision: to take it for none would
    make a change that its sender meant to protect.

    Reading 57; RFC 9110 13.1.1.
    """
    if not if_match:
        return True
    tags = entity_tags(if_match)
    return tags == ANY or any(tag[1:-1].partition(".")[0] == revision for tag in tags)


def parameters(query_string: bytes) -> list[tuple[str, str]]:
    """
    The names and values of a query string, in its order.

    A `%` that begins no octet stands for itself; a name without `=` has an empty value. Raises Refusal(400)
    naming each parameter that is not UTF-8.

    Reading 60.
    """
    found = []
    faults = Faults()
    for element in filter(None, query_string.split(b"&")):
        name, _, value = (unquote_to_bytes(part) for part in element.replace(b"+", b" ").partition(b"="))
        try:
            found.append((name.decode(), value.decode()))
        except UnicodeDecodeError:
            faults.add(NOT_UTF_8, field="parameter", value=name.decode(errors="replace"))
    faults.refuse()
    return found


def path_segments(raw_path: bytes) -> tuple[str, ...] | None:
    """
    The segments of a path after its first `/`, each decoded once; None where it cannot name a resource.

    `%2F` separates nothing, dot segments are left as they are, and a `/` at the end leaves an empty last segment.

    Reading 1.
    """
    if not raw_path.startswith(b"/") or _BROKEN_PERCENT.search(raw_path):
        return None
    try:
        return tuple(unquote_to_bytes(segment).decode() for segment in raw_path[1:].split(b"/"))
    except UnicodeDecodeError:
        return None


def _acceptability(offered: str, ranges: Sequence[tuple[str, list[tuple[str, str]], float]]) -> float:
    """The weight of the most specific of *ranges* that *offered* fits; 0 where it fits none."""
    ladder = ("*/*", "application/*", offered)
    fitting = [
        (ladder.index(name), bool(given), weight)
        for name, given, weight in ranges
        if name in ladder and _in_utf_8(given)
    ]
    return max(fitting)[-1] if fitting else 0.0


def _in_utf_8(given: list[tuple[str, str]]) -> bool:
    """Whether our types have the parameters *given*: they have a charset and nothing else."""
    return all(name == "charset" and _unquoted(word).lower() == "utf-8" for name, word in given)


def _weighted(values: Sequence[str]) -> Iterator[tuple[str, list[tuple[str, str]], float]]:
    """The well-formed elements of Accept or Accept-Encoding: name, parameters without `q`, weight."""
    for element in _elements(values):
        item = _item(element)
        if item is None:
            continue
        name, given = item
        weights = [word for parameter, word in given if parameter == "q"] or ["1"]
        if len(weights) == 1 and _WEIGHT.fullmatch(weights[0]):
            yield name, [pair for pair in given if pair[0] != "q"], float(weights[0])


def _item(text: str) -> tuple[str, list[tuple[str, str]]] | None:
    """A token or media type and its parameters, names in lower case, words as they stand; None if malformed."""
    head = _HEAD.match(text)
    if head is None:
        return None
    given = []
    place = head.end()
    while place < len(text):
        match = _PARAMETER.match(text, place)
        if match is None:
            return None
        if match[1]:
            given.append((match[1].lower(), match[2]))
        place = match.end()
    return head[0].lower(), given


def _elements(values: Sequence[str], element: re.Pattern[str] = _ELEMENT) -> list[str]:
    """The elements of a list header, blanks around them and empty ones dropped (RFC 9110 5.3, 5.6.1)."""
    stripped = (found.strip(" \t") for found in element.findall(", ".join(values)))
    return [found for found in stripped if found]


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word


def _unsupported_type(rule: Rule, value: str | None = None) -> Refusal:
    headers = {"Accept": VENDOR_TYPE}  # RFC 9110 15.5.16
    return Refusal.of(rule, field="Content-Type", value=value, headers=headers)
