"""The commands of whoever runs the service: `sandbox`."""

from __future__ import annotations

import re
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from ibt.rules.periods import read_time

_EXAMPLES = """\b
Examples:
  ibt sandbox
  ibt sandbox --data my-market --dir my-sandbox --now 2015-07-11T12:01:22Z
"""

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


def add_commands(app: typer.Typer) -> None:
    """Adds the operator's commands to *app*."""
    app.command(epilog=_EXAMPLES)(sandbox)


def _host(text: str) -> str:
    try:
        ip_address(text)
    except ValueError:
        if len(text) > 253 or not _HOST_NAME.fullmatch(text):
            raise typer.BadParameter(f'"{text}" is not a host name or an IP address.') from None
    if "%" in text:
        raise typer.BadParameter(f'"{text}" names an interface, which a certificate cannot: write the address alone.')
    return text


def _time(text: str) -> datetime:
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
        typer.Option(parser=_time, metavar="TIME", help="Freeze the clock for version times and for loading."),
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
    from platformdirs import user_data_path  # noqa: PLC0415

    from ibt.sandbox import Options, Unusable, serve_sandbox  # noqa: PLC0415

    place = (folder or user_data_path("ibt") / "sandbox").resolve()
    options = Options(place, data, host, port, database, now, workers, fresh)
    try:
        serve_sandbox(options, announce=_announce, tell=_tell)
    except Unusable as error:
        _tell(str(error))
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        _tell("Ended before it served.")
        raise typer.Exit(130) from None


def _announce(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the one line on stdout


def _tell(text: str) -> None:
    typer.echo(text, err=True)
