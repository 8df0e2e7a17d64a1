"""
The command `ibt`, which only parses and prints.

Usage faults are one sentence and exit status 2. What a command needs is imported when it runs, so that
`ibt --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ibt import SPECIFICATION, __version__
from ibt.cli import audit, keeping, operator, participant, people, serve

app = typer.Typer(
    name="ibt",
    help="ISO New England's Internal Bilateral Transactions (IBT) web services.",
    epilog="Example: ibt sandbox --port 8443 (each command's --help has an example of its own)",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
operator.add_commands(app)
serve.add_commands(app)
people.add_commands(app)
audit.add_commands(app)
keeping.add_commands(app)
participant.add_commands(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ibt {__version__} (specification {SPECIFICATION})")
        raise typer.Exit


@app.callback()
def _ibt(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Runs the command that *arguments*, or else this process's own, name; exits with its status."""
    try:
        status = app(arguments, prog_name="ibt", standalone_mode=False)
    except typer.TyperException as error:
        typer.echo(error.format_message(), err=True)
        status = 2
    sys.exit(status)
