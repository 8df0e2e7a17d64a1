"""The command `audit`: who changed what, and whether the record of it is whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ibt.cli.database import ConfigOption, DatabaseOption, opened, tell, told
from ibt.cli.operator import time_option
from ibt.rules.model import LARGEST_ID

if TYPE_CHECKING:
    from ibt.cli.tables import Row
    from ibt.store.audit import Entry
    from ibt.store.chains import ChainHead, Tally

_Customer = Annotated[
    int | None,
    typer.Option(
        "--customer", min=0, max=LARGEST_ID, metavar="ID", help="That customer's alone; 0 for the operators' own."
    ),
]

_LIST_EXAMPLES = """\b
Examples:
  ibt audit list --limit 20 --config /etc/ibt/ibt.toml
  ibt audit list --customer 1 --since 2026-01-01T05:00:00Z --kind update --database postgresql:///ibt
"""
_EXPORT_EXAMPLE = "Example: ibt audit export 2026.jsonl --before 2027-01-01T05:00:00Z --config /etc/ibt/ibt.toml"
_HEAD_EXAMPLE = "Example: ibt audit head --config /etc/ibt/ibt.toml > head.json"
_VERIFY_EXAMPLES = """\b
Examples:
  ibt audit verify --head head.json --config /etc/ibt/ibt.toml
  ibt audit verify 2026.jsonl
"""

#: What a table shows of a row; CSV has all columns.
_SHOWN = (
    "time",
    "customer_id",
    "audit_number",
    "kind",
    "user_name",
    "address",
    "status",
    "versions_created",
    "detail",
)

#: So many faults are told.
_MOST_FAULTS = 100

_NOT_WHOLE, _USAGE, _NO_READER = 1, 2, 141
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(Enum):
    """What a row can be of."""

    UPDATE = "update"
    REFUSAL = "refusal"
    LOAD = "load"
    USERS = "users"
    CERTIFICATES = "certificates"


def add_commands(app: typer.Typer) -> None:
    """Adds `audit` to *app*."""
    audit = typer.Typer(
        help="Who changed what, and whether the record of it is whole.", no_args_is_help=True, rich_markup_mode=None
    )
    audit.command("list", epilog=_LIST_EXAMPLES)(list_rows)
    audit.command(epilog=_EXPORT_EXAMPLE)(export)
    audit.command(epilog=_HEAD_EXAMPLE)(head)
    audit.command(epilog=_VERIFY_EXAMPLES)(verify)
    app.add_typer(audit, name="audit")


def list_rows(  # noqa: PLR0913, PLR0917 - the parameters are the command's options
    customer: _Customer = None,
    since: Annotated[
        datetime | None, typer.Option(parser=time_option, metavar="TIME", help="Rows of that time and later.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Rows of that user.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Rows of that kind.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="The last N of them.")] = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """List the rows by time, the last one last: a table on a terminal, else CSV with all columns."""
    from ibt.cli.options import Form
    from ibt.cli.tables import form_of, write_rows
    from ibt.store import chains
    from ibt.store.audit import Entry

    form = form_of(None, None)
    columns = _SHOWN if form is Form.TABLE else Entry._fields
    with told("Not all was listed"), opened(database, config) as store, store.reading() as connection:
        rows = chains.entries(
            connection,
            customer_id=customer,
            since=since,
            user_name=user,
            kind=kind.value if kind else None,
            limit=limit,
        )
        with _while_someone_reads():
            write_rows(form, columns, (_row(entry, columns) for entry in rows), sys.stdout.buffer)


def _row(entry: Entry, columns: tuple[str, ...]) -> Row:
    values = entry._asdict() | {"time": _EPOCH + timedelta(seconds=entry.time)}
    return [values[column] for column in columns]


@contextmanager
def _while_someone_reads() -> Iterator[None]:
    """Ends with a status of its own where nobody reads the output any more."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What Python would still write at its end has no place to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(_NO_READER) from None


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to.", show_default=False)],
    customer: _Customer = None,
    before: Annotated[
        datetime | None, typer.Option(parser=time_option, metavar="TIME", help="Only rows before that time.")
    ] = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """
    Write the rows into a file, JSON on each line, which can be verified apart from the database.

    Nothing is removed from the database.
    """
    from ibt.cli.failures import Unusable
    from ibt.cli.tables import opened as opened_file
    from ibt.store import chains

    try:
        with (
            told("Nothing was written"),
            opened(database, config) as store,
            store.reading() as connection,
            opened_file(file) as stream,
        ):
            tally = chains.export(connection, stream, customer, before)
    except Unusable as unusable:
        _end(str(unusable))
    tell(f"{file} has {_counted(tally.rows, 'row')} of {_counted(tally.chains, 'chain')}.")


def head(customer: _Customer = None, config: ConfigOption = None, database: DatabaseOption = None) -> None:
    """
    Write the end of each chain: how many rows it has, and the last one's hash, as JSON.

    Keep it where whoever can write to the database cannot: verify --head finds what was rewritten since.
    """
    from ibt.store import chains

    with told("Nothing was written"), opened(database, config) as store, store.reading() as connection:
        heads = chains.heads(connection, customer)
    chains.write_heads(heads, sys.stdout)


def verify(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="What audit export wrote; else the database.", show_default=False),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option("--head", metavar="FILE", help="What audit head wrote, which must be passed through."),
    ] = None,
    customer: _Customer = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """
    Verify that no row was changed, put in or removed, and that the mapping versions are those that rows tell of.

    Rows that were removed at the end, or rewritten with all that follow, are found by a head that was kept
    elsewhere. Ends with 0 where all is whole, 1 where it is not.
    """
    from ibt.store import chains

    tally = chains.Tally()
    with told("It is not known whether the audit is whole"):
        try:
            kept = _kept(head)
            if file is None:
                with opened(database, config) as store, store.reading() as connection:
                    faults = _first(chains.faults(connection, tally, kept, customer))
            else:
                with file.open("rb") as lines:
                    faults = _first(chains.faults_of_file(lines, tally, kept, customer))
        except chains.Unreadable as unreadable:
            _end(f"{file} {unreadable}.")
    for fault in faults[:_MOST_FAULTS]:
        typer.echo(fault)
    if faults:
        more = ", and there is more" if len(faults) > _MOST_FAULTS else ""
        typer.echo(f"The audit is not whole{more}.")
        raise typer.Exit(_NOT_WHOLE)
    typer.echo(_whole(tally))


def _kept(file: Path | None) -> dict[int, ChainHead]:
    from ibt.store import chains

    if file is None:
        return {}
    try:
        return chains.read_heads(file.read_text(encoding="utf-8"))
    except (chains.Unreadable, UnicodeDecodeError):
        _end(f"{file} is not what ibt audit head writes.")


def _first(faults: Iterator[str]) -> list[str]:
    return list(islice(faults, _MOST_FAULTS + 1))


def _whole(tally: Tally) -> str:
    counts = ((tally.chains, "chain"), (tally.rows, "row"), (tally.versions, "mapping version"))
    said = f"The audit is whole: {', '.join(_counted(*count) for count in counts)}."
    if tally.older:
        said += f" {_counted(tally.older, 'more mapping version')} came before the audit: no row tells of them."
    return said


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _end(sentence: str) -> NoReturn:
    tell(sentence)
    raise typer.Exit(_USAGE) from None
