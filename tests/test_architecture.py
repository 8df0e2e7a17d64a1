"""
The arrows between the rooms, as docs/architecture.md draws them.

The imports of every file are read, those for types and those inside functions too; what is wrong is told with
its file, its line and the arrow.
"""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROJECT = Path(__file__).parents[1]
SOURCE = PROJECT / "src" / "ibt"
FILES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))

#: The package itself: its version and its public names.
PACKAGE = "ibt"

#: From each room to the rooms that it may know. A room that is not here may not be at all.
ARROWS = {
    "rules": set[str](),
    "messages": {"rules"},
    "store": {"rules"},
    "client": {"messages", "rules"},
    "service": {"messages", "store", "rules"},
    "sandbox": {"service", "client", "store", "rules"},
    "conformance": set[str](),
    "cli": {"sandbox", "client", "service", "store", "messages", "rules", PACKAGE},
    "__main__": {"cli"},
    PACKAGE: {"client", "rules"},
}

#: The rooms or files that may know a library which only they are to know.
LIBRARIES = {
    "uvicorn": {"service/server.py", "service/connection.py"},
    "httptools": {"service/connection.py"},
    "uvloop": {"service/server.py"},
    "prometheus_client": {"service/metrics.py"},
    "lxml": {"messages", "conformance"},
    "alembic": {"store"},
    "typer": {"cli"},
    "rich": {"cli"},
    "xlsxwriter": {"cli"},
    "httpx2": {"client/client.py", "conformance"},
}

#: The only file of the service that knows both what is stored and how it is written.
MEETING_PLACE = "service/resources.py"

DRAWERS = {"util", "utils", "helper", "helpers", "manager", "managers", "misc"}

MOST_LINES = 600


class Import(NamedTuple):
    """One import: the file, relative to the package, its line, and the module or name in full."""

    file: Path
    line: int
    module: str

    @property
    def room(self) -> str:
        """The room that imports."""
        return room_of(self.file.with_suffix("").parts)

    @property
    def imported_room(self) -> str | None:
        """The room that is imported; None where it is a library."""
        library, *rest = self.module.split(".")
        return room_of(rest) if library == PACKAGE else None

    @property
    def library(self) -> str:
        """The topmost package that is imported."""
        return self.module.partition(".")[0]

    def told(self, source: str, target: str) -> str:
        """Where the arrow is, and from what to what it points."""
        return f"src/ibt/{self.file.as_posix()}:{self.line}: {source} -> {target}"


def room_of(parts: Sequence[str]) -> str:
    """The room to which the module ibt.PARTS belongs; the package itself where it belongs to none."""
    return parts[0] if parts and (parts[0] in ARROWS or (SOURCE / parts[0]).is_dir()) else PACKAGE


def imports_of(file: Path, text: str) -> Iterator[Import]:
    """The imports in *text*, which is the content of *file*."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (Import(file, node.lineno, f"{module}.{alias.name}") for alias in node.names)


def wrong_arrows(imports: Sequence[Import]) -> list[str]:
    """The imports that point to a room that theirs may not know."""
    return [
        each.told(each.room, each.imported_room)
        for each in imports
        if each.imported_room is not None and each.imported_room not in {each.room, *ARROWS.get(each.room, ())}
    ]


def wrong_libraries(imports: Sequence[Import]) -> list[str]:
    """The imports of a library that belongs to other rooms or files; `rules` has the standard library alone."""
    found = []
    for each in imports:
        places = LIBRARIES.get(each.library)
        impure = each.room == "rules" and each.library not in {PACKAGE, *sys.stdlib_module_names}
        if impure or (places is not None and not places & {each.room, each.file.as_posix()}):
            found.append(each.told(each.file.as_posix(), each.library))
    return found


def wrong_meetings(imports: Sequence[Import]) -> list[str]:
    """The imports by which a file of the service other than the meeting place knows `messages` beside `store`."""
    by_file: dict[Path, dict[str | None, Import]] = {}
    for each in imports:
        if each.room == "service" and each.file.as_posix() != MEETING_PLACE:
            by_file.setdefault(each.file, {}).setdefault(each.imported_room, each)
    return [
        known["messages"].told(file.as_posix(), "messages and store together")
        for file, known in by_file.items()
        if {"messages", "store"} <= known.keys()
    ]


def relative(imports: Sequence[Import]) -> list[str]:
    """The imports that leave out the package, which no arrow can be read from."""
    return [each.told(each.file.as_posix(), each.module) for each in imports if each.module.startswith(".")]


IMPORTS = [each for file in FILES for each in imports_of(file, (SOURCE / file).read_text())]

CHECKS = [wrong_arrows, wrong_libraries, wrong_meetings, relative]


@pytest.mark.parametrize("check", CHECKS)
def test_imports_follow_the_arrows(check: object) -> None:
    assert callable(check)
    found = check(IMPORTS)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("rules/model.py", "import lxml.etree", "rules/model.py -> lxml"),
        ("rules/model.py", "def f():\n    from ibt import store", "rules -> store"),
        ("store/reads.py", "from ibt.messages.writer import NAMESPACE", "store -> messages"),
        ("messages/writer.py", "if TYPE_CHECKING:\n    import ibt.store.tables", "messages -> store"),
        ("client/client.py", "from ibt.service.app import Application", "client -> service"),
        ("conformance/wire.py", "from ibt import SPECIFICATION", "conformance -> ibt"),
        ("service/page.py", "from ibt import messages, store", "service/page.py -> messages and store together"),
        ("service/app.py", "import uvicorn.config", "service/app.py -> uvicorn"),
        ("store/reads.py", "from . import tables", "store/reads.py -> ..tables"),
        ("attic/box.py", "from ibt.rules import model", "attic -> rules"),
    ],
)
def test_a_wrong_arrow_is_told_with_file_line_and_arrow(
    file: str, text: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARROWS, "attic", set())
    found = [line for check in CHECKS for line in check(list(imports_of(Path(file), text)))]
    assert found == [f"src/ibt/{file}:{text.count(chr(10)) + 1}: {told}"]


def test_the_arrows_go_one_way_and_never_round() -> None:
    TopologicalSorter(ARROWS).prepare()


def test_every_room_has_its_arrows() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and list(path.rglob("*.py"))}
    assert rooms <= ARROWS.keys()


def test_no_module_is_a_drawer() -> None:
    assert [str(file) for file in FILES if DRAWERS & set(file.with_suffix("").parts)] == []


def test_no_file_holds_two_ideas() -> None:
    lengths = {str(file): len((SOURCE / file).read_text().splitlines()) for file in FILES}
    assert {file: lines for file, lines in lengths.items() if lines > MOST_LINES} == {}


def test_the_page_of_the_architecture_names_every_module() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text()
    tree = page.partition("```\n")[2].partition("```")[0]
    named = {line.split()[0] for line in tree.splitlines() if line.strip()}
    modules = {f.name for f in FILES if f.name != "__init__.py" and f.parts[0] != "conformance" and len(f.parts) < 3}
    assert modules - named == set()
    assert {name for name in named if name.endswith(".py")} - modules - {"__init__.py"} == set()
