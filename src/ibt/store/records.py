"""
The form of a CSV file that is loaded: UTF-8, a header line, RFC 4180; columns by name and in any order.

Each record becomes the row that its `File` describes, or is refused with a fault for each field that breaks a rule.
There may be millions: many are read at once, and their fields converted a column at a time; only where that finds
something wrong are they gone through one by one. What spans fields or lines is judged in `ibt.store.market`.

Readings 64, 65.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from io import BytesIO, StringIO
from itertools import accumulate, chain, compress, islice
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar

from ibt.rules.faults import Rule
from ibt.rules.periods import write_time

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from ibt.rules.faults import Faults

Row = TypeVar("Row", bound=tuple[Any, ...])

#: The values of a row, or of its first columns by which it is known, of whatever kind those are.
Values = tuple[Any, ...]

_FORM = "reading 64"

#: How many bytes are read at a time, and then told as progress; and how many records.
_BYTES = 1 << 18
_RECORDS = 5_000

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
        self.refused: set[Values] = set()
        self.lines: dict[Values, int] = {}

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
        # There may be millions: a row is made as a NamedTuple makes it, without the function around that.
        row = partial(tuple.__new__, self.file.row)
        for lines, rows in self._pieces():
            yield from zip(lines, map(row, rows), strict=True)

    def batches(self, size: int) -> Iterator[tuple[Sequence[int], Sequence[Values]]]:
        """
        The same, *size* rows at a time and fewer at the end: the lines, and as many rows, which are mere tuples.

        Nothing is told of what comes after the last row of a batch before the next one is asked for.
        """
        lines: list[int] = []
        rows: list[Values] = []
        for some_lines, some_rows in self._pieces():
            lines += some_lines
            rows += some_rows
            while len(rows) >= size:
                yield lines[:size], rows[:size]
                del lines[:size], rows[:size]
        if rows:
            yield lines, rows

    def _pieces(self) -> Iterator[tuple[Sequence[int], Sequence[Values]]]:
        """The rows as they come: many that have no fault, or a single one."""
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

    def _rows(self, stream: IO[bytes]) -> Iterator[tuple[Sequence[int], Sequence[Values]]]:
        records = self._records(stream)
        (line,), (header,) = next(records, ((1,), ([],)))
        places = self._places(line, header)
        for lines, piece in records if places else ():
            if rows := self._faultless(lines, piece, places, len(header)):
                yield lines, rows
            else:
                yield from self._one_by_one(lines, piece, places, len(header))

    def _faultless(
        self, lines: Sequence[int], records: Sequence[list[str]], places: list[int], width: int
    ) -> Sequence[Values]:
        """The rows of *records*, where none of them breaks a rule; else none."""
        if set(map(len, records)) != {width}:
            return ()
        texts = [*zip(*records, strict=True), [""] * len(records)]  # a column that was left out has the place -1
        try:
            columns = [
                list(map(read, texts[place])) for (_, read), place in zip(self.file.columns, places, strict=True)
            ]
        except Broken:
            return ()
        if self.file.unique:
            keys = list(zip(*columns[: self.file.key], strict=True))
            if len(set(keys)) < len(keys) or not self.lines.keys().isdisjoint(keys):
                return ()
            self.lines.update(zip(keys, lines, strict=True))
        return list(zip(*columns, strict=True))

    def _one_by_one(
        self, lines: Sequence[int], records: Sequence[list[str]], places: list[int], width: int
    ) -> Iterator[tuple[Sequence[int], Sequence[Values]]]:
        for line, record in zip(lines, records, strict=True):
            if len(record) != width:
                self._unread(FIELD_COUNT, line, expected=width, found=len(record))
                continue
            record.append("")  # the field of a column that was left out: its place is -1
            texts = [record[place] for place in places]
            try:
                values = tuple(read(text) for (_, read), text in zip(self.file.columns, texts, strict=True))
            except Broken:
                self._refuse(line, texts)
                continue
            if not self.file.unique or self._first(line, values[: self.file.key], texts):
                yield (line,), (values,)

    def _records(self, stream: IO[bytes]) -> Iterator[tuple[Sequence[int], Sequence[list[str]]]]:
        """
        The records that are not blank, and the lines where they begin, until a record that cannot be read.

        The first one, which is the header, comes alone.
        """
        reader = csv.reader(chain.from_iterable(self._texts(stream)), strict=True)
        line, many = 1, 1
        wrong: Rule | None = None
        while wrong is None:
            records: list[list[str]] = []
            try:
                records.extend(islice(reader, many))  # keeps those before one that cannot be read
            except UnicodeDecodeError:
                wrong = NOT_UTF_8
            except csv.Error:
                wrong = NOT_CSV
            if not records and wrong is None:
                return
            after = reader.line_num + 1
            lines: Sequence[int] = range(line, line + len(records))
            if wrong or line + len(records) != after:  # a record with line feeds in it has more lines than one
                ends = accumulate((1 + sum(text.count("\n") for text in record) for record in records), initial=line)
                *lines, after = ends  # of the lines that are blank too: each is a record without fields
            line = after
            if not all(records):
                lines, records = list(compress(lines, records)), list(filter(None, records))
            if records:
                yield lines, records
                many = _RECORDS
        self._unread(wrong, line)

    def _texts(self, stream: IO[bytes]) -> Iterator[Iterable[str]]:
        """The lines of *stream*, many at a time and decoded."""
        first = True
        while read := stream.read(_BYTES):
            read += stream.readline()
            whole = read.removeprefix(codecs.BOM_UTF8) if first else read
            first = False
            try:
                yield StringIO(whole.decode(), newline="\n")
            except UnicodeDecodeError:
                # One by one, so that those before the wrong octet are read.
                yield (line.decode() for line in BytesIO(whole))
            if self.progress is not None:
                self.progress(len(read))

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

    def _first(self, line: int, key: Values, texts: list[str]) -> bool:
        """Whether a row with *key* may stand here: the first one, where keys are unique."""
        if not self.file.unique or (first := self.lines.setdefault(key, line)) == line:
            return True
        columns = ", ".join(name for name, _ in self.file.columns[: self.file.key])
        self.tell(ID_TWICE, line, self.file.columns[0][0], texts[0], first=first, columns=columns)
        return False


def _told(value: object) -> object:
    return write_time(value) if isinstance(value, datetime) else value
