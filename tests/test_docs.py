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
SECURITY = ROOT / "docs" / "security.md"
OPERATE = ROOT / "docs" / "operate.md"
PAGES = sorted(ROOT.glob("docs/**/*.md"))

#: Readings of what the service cannot yet do; the page says so of each.
WITHOUT_TEST: set[int] = set()

#: What the walk through OWASP ASVS 5.0.0 goes through: how many requirements each section has.
ASVS = {
    "1.5": 3,
    "4.1": 5,
    "4.2": 5,
    "8.1": 4,
    "8.2": 4,
    "8.3": 3,
    "8.4": 2,
    "12.1": 5,
    "16.2": 5,
    "16.3": 4,
    "16.4": 3,
    "16.5": 4,
}
#: What the walk can say of a requirement; of what is met, a test is named.
MET = {"yes", "in part", "no", "does not apply"}

_LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
_REQUIREMENT = re.compile(
    r"\| (?P<number>[0-9]+\.[0-9]+\.[0-9]+) \([123]\) \| [^|]+ \| (?P<met>[^|]+) \| [^|]+ \| (?P<tests>[^|]+) \|"
)
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


def test_the_walk_through_asvs_has_every_requirement_once_in_its_order() -> None:
    lines = [line for line in SECURITY.read_text().splitlines() if re.match(r"\| [0-9]+\.[0-9]+\.[0-9]", line)]
    found = [_REQUIREMENT.fullmatch(line) for line in lines]
    assert None not in found, [line for line, match in zip(lines, found, strict=True) if match is None]
    requirements = [match for match in found if match]
    numbers = [f"{section}.{number}" for section, count in ASVS.items() for number in range(1, count + 1)]
    assert [each["number"] for each in requirements] == numbers
    assert {each["met"] for each in requirements} <= MET
    without = {each["number"] for each in requirements if not _TEST.search(each["tests"])}
    assert [each["number"] for each in requirements if each["met"] == "yes" and each["number"] in without] == []


def test_the_page_for_operators_lists_every_event_of_the_log_and_every_field() -> None:
    events, fields = set(), set()
    for file in sorted((ROOT / "src" / "ibt" / "service").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and _logs(node.func) and isinstance(node.args[0], ast.Constant):
                events.add(node.args[0].value)
                fields |= {keyword.arg for keyword in node.keywords if keyword.arg}
    page = OPERATE.read_text().partition("## The log")[2].partition("\n## ")[0]
    listed = [set(re.findall(r"`([^`]+)`", line.split("|")[1])) for line in page.splitlines() if line.startswith("|")]
    known = set().union(*listed)
    assert len(events) > 10
    assert events - known == set()
    assert fields - {"exc_info"} - known == set()


def _logs(function: ast.expr) -> bool:
    """Whether this writes a line of the log: by its level, or by a name for one of two."""
    if isinstance(function, ast.Attribute):
        return function.attr in _LEVELS and isinstance(function.value, ast.Name) and function.value.id == "log"
    return isinstance(function, ast.Name) and function.id in {"say", "level"}
