"""
What the documentation promises: the list of readings is whole, the tests that it names exist, links lead somewhere.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READINGS = ROOT / "docs" / "spec-readings.md"
PAGES = sorted(ROOT.glob("docs/**/*.md"))

#: Readings of what the service cannot yet do; the page says so of each.
WITHOUT_TEST: set[int] = set()

_ROW = re.compile(r"\| (?P<number>[0-9]+) \| (?P<clause>[^|]+) \| .+ \| (?P<mark>S|C|S/C) \| (?P<test>[^|]+) \|")
_TEST = re.compile(r"`((?:tests|src)/[^`]*\.py)::(test_\w+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def rows() -> list[re.Match[str]]:
    """The rows of the page's tables, one for each reading."""
    lines = [line for line in READINGS.read_text().splitlines() if re.match(r"\| [0-9]", line)]
    matches = [_ROW.fullmatch(line) for line in lines]
    assert None not in matches, [line for line, match in zip(lines, matches, strict=True) if match is None]
    return [match for match in matches if match]


def functions(file: Path) -> set[str]:
    """The names of all functions of a file; none where there is no such file."""
    if not file.is_file():
        return set()
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make."""
    headings = re.findall(r"^#+ +(.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_reading_from_1_to_68_is_there_once() -> None:
    assert sorted(int(row["number"]) for row in rows()) == list(range(1, 69))


def test_every_reading_names_its_clause() -> None:
    clauses = {row["clause"] for row in rows()}
    assert all(re.fullmatch(r"ours|[1-3](\.\d)*(, [1-3](\.\d)*)*", clause) for clause in clauses), clauses


def test_every_reading_names_a_test_unless_the_page_says_that_there_is_none_yet() -> None:
    without = {int(row["number"]) for row in rows() if not _TEST.search(row["test"])}
    assert without == WITHOUT_TEST


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = _TEST.findall(page.read_text())
    assert [f"{file}::{name}" for file, name in named if name not in functions(ROOT / file)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_of_a_page_resolves(page: Path) -> None:
    dead = []
    for link in _LINK.findall(page.read_text()):
        target, _, anchor = link.partition("#")
        there = page.parent / target if target else page
        if "://" in link or link.startswith("mailto:"):
            continue
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            dead.append(link)
    assert dead == []


def test_every_conformance_test_quotes_a_clause_or_gives_a_reading() -> None:
    for file in sorted((ROOT / "src" / "ibt" / "conformance").glob("test_*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                docstring = ast.get_docstring(node) or ""
                assert re.search(r'"|Readings? \d+', docstring), f"{file.name}::{node.name}"
