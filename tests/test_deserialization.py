"""
What may make values of foreign bytes: no library that lets the bytes say what is made. OWASP ASVS 5.0, V1.5.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "ibt"

#: Whose readers make whatever object the bytes ask for, or do what they say.
FORBIDDEN = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
    "yaml",
    "xmlrpc",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}

#: What each parser of XML must be told.
RESTRICTIVE = {"resolve_entities": False, "no_network": True, "load_dtd": False}
PARSERS = {"XMLParser", "XMLPullParser"}

#: Of lxml: what reads XML with a parser of its own unless it is given one, and what goes beyond the document.
READERS = {"fromstring", "parse", "XML", "iterparse", "XMLID"}
BEYOND = {"HTMLParser", "XSLT", "XInclude", "DTD", "Schematron", "Resolver"}

FILES = sorted(file for file in SOURCE.rglob("*.py") if "conformance" not in file.parts)


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_no_reader_is_used_that_makes_what_the_bytes_ask_for(file: Path) -> None:
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            assert not {name.name.partition(".")[0] for name in node.names} & FORBIDDEN
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in FORBIDDEN
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS


def test_every_parser_of_xml_is_told_to_open_nothing_and_to_put_nothing_in() -> None:
    parsers = []
    for file in FILES:
        tree = _tree(file)
        options = {
            node.targets[0].id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "etree":
                assert node.func.attr not in BEYOND, file
                if node.func.attr in PARSERS:
                    parsers.append(_told(node, options))
                elif node.func.attr in READERS:
                    # Without a parser: our own words alone, never foreign bytes.
                    ours = isinstance(node.args[0], ast.JoinedStr | ast.Constant) or _is_schema(node.args[0])
                    assert ours or len(node.args) == 2, f"{file}, line {node.lineno}"
    assert len(parsers) >= 3
    assert [told for told in parsers if not told.items() >= RESTRICTIVE.items()] == []


def _is_schema(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "SCHEMA"


def _told(call: ast.Call, options: dict[str, ast.expr]) -> dict[str, object]:
    """What a parser is told by its arguments, those too that are kept under a name."""
    told: dict[str, object] = {}
    for keyword in call.keywords:
        value = keyword.value
        if keyword.arg is None and isinstance(value, ast.Name):
            kept = options[value.id]
            assert isinstance(kept, ast.Call)
            told |= _told(kept, {})
        elif keyword.arg and isinstance(value, ast.Constant):
            told[keyword.arg] = value.value
    return told
