"""The commands of whoever runs the service: `sandbox`, `load` and `export`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from ibt.cli.database import ConfigOption, DatabaseOption, opened, tell, told
from ibt.rules.periods import read_time

_EXAMPLES = """\b
Examples:
  ibt sandbox
  ibt sandbox --data my-market --dir my-sandbox --now 2015-07-11T12:01:22Z
"""

_LOAD_EXAMPLES = """\b
Examples:
  ibt load my-market --dry-run --database postgresql:///ibt
  IBT_DATABASE=postgresql:///ibt ibt load my-market
  ibt load my-market --config /etc/ibt/ibt.toml
"""
_EXPORT_EXAMPLE = "Example: ibt export my-market --database postgresql:///ibt"

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


def add_commands(app: typer.Typer) -> None:
    """Adds the operator's commands to *app*."""
    app.command(epilog=_EXAMPLES)(sandbox)
    app.command(epilog=_LOAD_EXAMPLES)(load)
    app.command(epilog=_EXPORT_EXAMPLE)(export)


def _host(text: str) -> str:
    try:
        ip_address(text)
    except ValueError:
        if len(text) > 253 or not _HOST_NAME.fullmatch(text):
            raise typer.BadParameter(f'"{text}" is not a host name or an IP address.') from None
    if "%" in text:
        raise typer.BadParameter(f'"{text}" names an interface, which a certificate cannot: write the address alone.')
    return text


def time_option(text: str) -> datetime:
    """The value of an option that is a time, in UTC."""
    try:
        return read_time(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def sandbox(  # noqa: PLR0913, PLR0917 - the parameters are the command's options
    folder: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", help="The sandbox's folder; made on first use. Has a default."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="CSV files to load on first use; else a demonstration world."),
    ] = None,
    host: Annotated[str, typer.Option(metavar="HOST", help="Where to listen.", callback=_host)] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0 picks a free one.")] = 8443,
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Another database than ibt.db in DIR: sqlite:// or postgresql://"),
    ] = None,
    now: Annotated[
        datetime | None,
        typer.Option(parser=time_option, metavar="TIME", help="Freeze the clock for version times and for loading."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="How many processes serve.")] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew: new certificates, data loaded again.")] = False,
) -> None:
    """
    Serve on this machine, with certificates and data to try.

    DIR is made on first use and kept: certificates, a database, data. Once it serves it prints its URL and
    requests to paste. Ctrl-C ends it.
    """
    # Imported here: they bring the database, cryptography and the server.
    from platformdirs import user_data_path

    from ibt.sandbox import Options, Unusable, serve_sandbox

    place = (folder or user_data_path("ibt") / "sandbox").resolve()
    options = Options(place, data, host, port, database, now, workers, fresh)
    try:
        serve_sandbox(options, announce=_announce, tell=tell)
    except Unusable as error:
        tell(str(error))
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        tell("Ended before it served.")
        raise typer.Exit(130) from None


def _announce(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the one line on stdout


def load(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The CSV files.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come of it; change nothing.")] = False,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """
    Load CSV files over what is in the database.

    Customers, subaccounts, contracts, mappings and users are added or changed; what the files do not name stays.
    All or nothing: each fault is told with its file and line, and then nothing is changed.
    """
    # Imported here: they bring the database's libraries.
    from ibt.rules.faults import Faults
    from ibt.store import loading
    from ibt.store.folder import FILES

    now = datetime.now(UTC).replace(microsecond=0)
    faults = Faults()
    with told("Nothing was changed"), opened(database, config) as store:
        files = (folder / file.name for file in FILES)
        size = sum(file.stat().st_size for file in files if file.is_file())
        with _progress("Loading", size, "bytes") as advance:
            report = loading.load_folder(store, folder, now, faults, dry_run=dry_run, progress=advance)
    if faults.count:
        tell("\n".join(faults.lines()))
        raise typer.Exit(2)
    typer.echo("\n".join(report.lines()))
    if dry_run:
        typer.echo("Nothing was changed: this was a dry run.")


def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or an empty folder.", show_default=False)],
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """
    Write the database as CSV files.

    They are of one moment. Loaded into an empty database they give the same answers to every request, with the
    history of every mapping.
    """
    from ibt.store import export as exporting

    with (
        told("Nothing was written"),
        opened(database, config) as store,
        _progress("Writing", None, "lines") as advance,
    ):
        try:
            lines = exporting.export(store, folder, advance)
        except exporting.Occupied as occupied:
            tell(str(occupied))
            raise typer.Exit(2) from None
    for name, count in lines.items():
        typer.echo(f"{name:20}{count:10}")


@contextmanager
def _progress(doing: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    """What shows on a terminal's stderr how many of *total* have come; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    # Imported here, as it is for terminals alone.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    parts = (doing, BarColumn(), TextColumn(f"{{task.completed:,.0f}} {unit}"), TimeElapsedColumn())
    with Progress(*parts, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.advance(task, count)
