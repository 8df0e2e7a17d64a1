"""
The form of a CSV file that is loaded: UTF-8, a header line, RFC 4180; columns by name and in any order.

A file is read record by record, and each becomes the row that its `File` describes, or is refused with a
fault for each field that breaks a rule. What spans fields or lines is judged in `ibt.store.market`.

Readings 64, 65.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar

from ibt.rules.faults import Rule
from ibt.rules.periods import write_time

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from ibt.rules.faults import Faults

Row = TypeVar("Row", bound=tuple[Any, ...])

#: What a row is known by: the values of its first columns, of whatever kind those are.
Key = tuple[Any, ...]

_FORM = "reading 64"

#: After how many bytes progress is told.
_PROGRESS = 1 << 20

FILE_MISSING = Rule("file-missing", "the file is missing", _FORM)
FILE_UNREADABLE = Rule("file-unreadable", "the file cannot be read: {why}", _FORM)
FILE_EMPTY = Rule("file-empty", "the file is empty: it must begin with a header line, {header}", _FORM)
NOT_UTF_8 = Rule("not-utf-8", "must be UTF-8; nothing was read from here on", _FORM)
NOT_CSV = Rule(
    "not-csv",
    "must be CSV as RFC 4180 has it: a quote is not closed, or a quote or line end stands where it must not; "
    "nothing was read from here on",
    _FORM,
)
COLUMN_MISSING = Rule("column-missing", "is missing from the header line", _FORM)
COLUMN_TWICE = Rule("column-twice", "is named more than once in the header line", _FORM)
FIELD_COUNT = Rule("field-count", "must have as many fields as the header line, {expected}, not {found}", _FORM)
ID_TWICE = Rule("id-twice", "must not come twice: line {first} has the same {columns}", "reading 65")

#: Every rule of a file's form.
RULES = (
    FILE_MISSING,
    FILE_UNREADABLE,
    FILE_EMPTY,
    NOT_UTF_8,
    NOT_CSV,
    COLUMN_MISSING,
    COLUMN_TWICE,
    FIELD_COUNT,
    ID_TWICE,
)


class Broken(Exception):
    """The text of a field breaks *rule*; *known* is what the rule tells."""

    def __init__(self, rule: Rule, **known: object) -> None:
        super().__init__(rule, known)
        self.rule = rule
        self.known = known


@dataclass(frozen=True, slots=True)
class File(Generic[Row]):
    """
    A file by its columns: each name with what reads its fields, which raises Broken.

    *row*, a NamedTuple, is what a row becomes, its fields in this order. The first *key* columns are what a row is
    known by; where *unique* they must not come twice. Columns that are *optional* may be missing; their fields
    are read as empty.
    """

    name: str
    row: type[Row]
    columns: tuple[tuple[str, Callable[[str], object]], ...]
    key: int
    unique: bool = False
    optional_columns: frozenset[str] = frozenset()


class Records(Generic[Row]):
    """
    The rows of *file* in *folder*, each with the line where its record begins; what is wrong goes to *faults*.

    A file that is *required* must be there. *progress* is told of the bytes that were read, now and then.

    After they were read: *whole* is false where something of the file could not be read, so that what it does
    not say is not known; *refused* has the keys of the refused rows, *lines* the first line of each key.
    """

    def __init__(
        self,
        folder: Path | Traversable,
        file: File[Row],
        faults: Faults,
        *,
        required: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.folder = folder
        self.file = file
        self.faults = faults
        self.required = required
        self.progress = progress
        self.whole = True
        self.refused: set[Key] = set()
        self.lines: dict[Key, int] = {}

    def tell(
        self, rule: Rule, line: int | None = None, field: str = "", value: object = None, /, **known: object
    ) -> None:
        """Adds a fault of this file; times and numbers become texts here."""
        where = self.file.name if line is None else f"{self.file.name}, line {line}"
        told = None if value is None else str(_told(value))
        self.faults.add(
            rule, where=where, field=field, value=told, **{name: _told(one) for name, one in known.items()}
        )

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        try:
            with (self.folder / self.file.name).open("rb") as stream:
                yield from self._rows(stream)
        except FileNotFoundError:
            if self.required:
                self._unread(FILE_MISSING)
        except OSError as error:
            self._unread(FILE_UNREADABLE, why=error.strerror or "the system does not say why")

    def _unread(self, rule: Rule, line: int | None = None, column: str | None = None, **known: object) -> None:
        self.whole = False
        self.tell(rule, line, "" if column is None else "column", column, **known)

    def _rows(self, stream: IO[bytes]) -> Iterator[tuple[int, Row]]:
        records = self._records(stream)
        line, header = next(records, (1, []))
        places = self._places(line, header)
        in_order = places == list(range(len(header)))
        width, key = len(header), self.file.key
        reads = [read for _, read in self.file.columns]
        # There may be millions: a row is made as a NamedTuple makes it, without the function around that.
        row = partial(tuple.__new__, self.file.row)
        for line, record in records if places else ():
            if len(record) != width:
                self._unread(FIELD_COUNT, line, expected=width, found=len(record))
                continue
            if in_order:
                texts = record
            else:
                record.append("")  # the field of a column that was left out: its place is -1
                texts = [record[place] for place in places]
            try:
                values = [read(text) for read, text in zip(reads, texts)]  # noqa: B905 - of one length, a hot path
            except Broken:
                self._refuse(line, texts)
                continue
            if not self.file.unique or self._first(line, tuple(values[:key]), texts):
                yield line, row(values)

    def _records(self, stream: IO[bytes]) -> Iterator[tuple[int, list[str]]]:
        """The records that are not blank, each with the line where it begins, until one that cannot be read."""
        reader = csv.reader(self._lines(stream), strict=True)
        line = 1
        try:
            for record in reader:
                if record:
                    yield line, record
                line = reader.line_num + 1
        except UnicodeDecodeError:
            self._unread(NOT_UTF_8, line)
        except csv.Error:
            self._unread(NOT_CSV, line)

    def _lines(self, stream: Iterable[bytes]) -> Iterator[str]:
        """The lines of *stream*, decoded one by one, so that the line of a wrong octet is known."""
        unreported = 0
        first = True
        for line in stream:
            unreported += len(line)
            if unreported >= _PROGRESS and self.progress is not None:
                self.progress(unreported)
                unreported = 0
            yield (line.removeprefix(codecs.BOM_UTF8) if first else line).decode()
            first = False
        if self.progress is not None:
            self.progress(unreported)

    def _places(self, line: int, header: list[str]) -> list[int]:
        """Where each column stands in *header*, -1 for one left out; empty where the rows cannot be read."""
        names = [name for name, _ in self.file.columns]
        if not header:
            if self.whole:
                self._unread(FILE_EMPTY, header=",".join(names))
            return []
        for name in names:
            if header.count(name) > 1:
                self._unread(COLUMN_TWICE, line, column=name)
            elif name not in header and name not in self.file.optional_columns:
                self._unread(COLUMN_MISSING, line, column=name)
        return [header.index(name) if name in header else -1 for name in names] if self.whole else []

    def _refuse(self, line: int, texts: list[str]) -> None:
        """Tells each field that breaks a rule, and remembers the row's key where that is right."""
        key: list[object] = []
        for place, ((name, read), text) in enumerate(zip(self.file.columns, texts, strict=True)):
            try:
                value = read(text)
            except Broken as broken:
                self.tell(broken.rule, line, name, text, **broken.known)
            else:
                if place < self.file.key:
                    key.append(value)
        if len(key) == self.file.key:
            self.refused.add(tuple(key))
            self._first(line, tuple(key), texts)

    def _first(self, line: int, key: Key, texts: list[str]) -> bool:
        """Whether a row with *key* may stand here: the first one, where keys are unique."""
        if not self.file.unique or (first := self.lines.setdefault(key, line)) == line:
            return True
        columns = ", ".join(name for name, _ in self.file.columns[: self.file.key])
        self.tell(ID_TWICE, line, self.file.columns[0][0], texts[0], first=first, columns=columns)
        return False


def _told(value: object) -> object:
    return write_time(value) if isinstance(value, datetime) else value
