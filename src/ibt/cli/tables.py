"""
Rows as people and programs want them: a table, CSV, JSON, an Excel workbook; and where they go.

Rows are written as they come, so that many of them need no more memory than few. A file gets its name when it is
whole. Times are as on the wire; in a workbook they are texts too, as a plan reads them.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import IO

from ibt.cli.failures import Unusable
from ibt.cli.options import Form
from ibt.rules.periods import write_time

#: What a field of a row may be.
Value = int | str | datetime | None
Row = Sequence[Value]


#: The widths of a table's columns are those of so many rows; what is wider in a later row is not cut.
_MEASURED = 1000

#: A text in a table is cut at so many characters; a fingerprint just fits.
_WIDEST = 64

#: The rows of a worksheet, which Excel limits, without the header.
_MOST_IN_WORKBOOK = 1_048_575

_time = lru_cache(maxsize=8192)(write_time)


def form_of(wanted: Form | None, output: Path | None) -> Form:
    """The form that is *wanted*, or that the ending of *output* tells; else a table on a terminal, CSV elsewhere."""
    if wanted is None and output is not None:
        endings = {f".{form.value}": form for form in Form if form is not Form.TABLE}
        if output.suffix.lower() not in endings and _is_ours(output):
            raise Unusable(f"Which form for {output}? Name it {' or '.join(endings)}, or give --format.")
        wanted = endings.get(output.suffix.lower(), Form.CSV)
    if wanted is None:
        wanted = Form.TABLE if sys.stdout.isatty() else Form.CSV
    if wanted is Form.XLSX and output is None:
        raise Unusable("A workbook needs a file: give -o FILE.xlsx.")
    return wanted


@contextmanager
def opened(output: Path | None) -> Iterator[IO[bytes]]:
    """A stream to *output*, which gets what is written when the block ends well, and nothing else; or to stdout."""
    if output is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif not _is_ours(output):
        with output.open("wb") as stream:
            yield stream
    else:
        place = output.resolve()
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{place.name}-", dir=place.parent)
        except OSError as error:
            raise Unusable(f"{output} cannot be written: {error.strerror}.") from None
        try:
            with open(descriptor, "wb") as stream:
                yield stream
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, place)
        except BaseException:
            os.unlink(name)
            raise


def write_rows(form: Form, columns: Sequence[str], rows: Iterable[Row], stream: IO[bytes]) -> None:
    """Writes *rows* with the names of their *columns* in *form*, which is not XML."""
    if form is Form.XLSX:
        _write_workbook(columns, rows, stream)
        return
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=False)
    try:
        _TEXTS[form](columns, rows, text)
        text.flush()
    finally:
        text.detach()


def table(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """The lines of a table, each column as wide as its texts in the first rows."""
    rows = iter(rows)
    first = [[_cell(value) for value in row] for row in islice(rows, _MEASURED)]
    widths = [max(map(len, texts)) for texts in zip(columns, *first, strict=True)]
    for texts in chain([list(columns)], first, ([_cell(value) for value in row] for row in rows)):
        yield "  ".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)).rstrip()


def _is_ours(output: Path) -> bool:
    """Whether it is a file that may be replaced, and no device or pipe."""
    return output.is_file() or not output.exists()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _text(value: Value) -> str:
    if value is None:
        return ""
    return _time(value) if isinstance(value, datetime) else str(value)


def _cell(value: Value) -> str:
    text = "".join(character if character.isprintable() else "?" for character in _text(value))
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _write_table(columns: Sequence[str], rows: Iterable[Row], stream: IO[str]) -> None:
    for line in table(columns, rows):
        stream.write(line + "\n")


def _write_csv(columns: Sequence[str], rows: Iterable[Row], stream: IO[str]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_text(value) for value in row] for row in rows)


def _write_json(columns: Sequence[str], rows: Iterable[Row], stream: IO[str]) -> None:
    separator = "[\n"
    for row in rows:
        values = (_time(value) if isinstance(value, datetime) else value for value in row)
        stream.write(separator + json.dumps(dict(zip(columns, values, strict=True)), ensure_ascii=False))
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


_TEXTS: dict[Form, Callable[[Sequence[str], Iterable[Row], IO[str]], None]] = {
    Form.TABLE: _write_table,
    Form.CSV: _write_csv,
    Form.JSON: _write_json,
}


def _write_workbook(columns: Sequence[str], rows: Iterable[Row], stream: IO[bytes]) -> None:
    # Imported here, since few need it and it takes its time; it has no types.
    from xlsxwriter import Workbook  # type: ignore[import-untyped]

    with Workbook(stream, {"constant_memory": True}) as workbook:
        sheet = workbook.add_worksheet()
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, _MOST_IN_WORKBOOK, len(columns) - 1)
        sheet.set_column(0, len(columns) - 1, 20)
        bold = workbook.add_format({"bold": True})
        for column, name in enumerate(columns):
            sheet.write_string(0, column, name, bold)
        for number, row in enumerate(rows, 1):
            if number > _MOST_IN_WORKBOOK:
                raise Unusable(f"A workbook has room for {_MOST_IN_WORKBOOK} rows: write CSV instead.")
            for column, value in enumerate(row):
                if isinstance(value, int):
                    sheet.write_number(number, column, value)
                else:  # as a text, also where it looks like a formula
                    sheet.write_string(number, column, _text(value))
