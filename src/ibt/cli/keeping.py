"""The command `backup`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from ibt.cli.database import ConfigOption

_EXAMPLES = """\b
Examples:
  ibt backup /srv/ibt/monday.db --config /etc/ibt/ibt.toml
  ibt backup copy.db --database sqlite:////var/lib/ibt/ibt.db
"""


def add_commands(app: typer.Typer) -> None:
    """Adds `backup` to *app*."""
    app.command(epilog=_EXAMPLES)(backup)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.", show_default=False)],
    config: ConfigOption = None,
    database: Annotated[
        str | None, typer.Option("--database", metavar="URL", help="sqlite:////path/ibt.db [IBT_DATABASE]")
    ] = None,
) -> None:
    """
    Copy the SQLite database, of one moment, while the service runs.

    The copy is a database itself: to restore it, put it in the place of the other one. For PostgreSQL see
    docs/operate.md.
    """
    # Imported here: they bring the database's libraries.
    from ibt.cli.serve import database_url
    from ibt.store import Database, Unusable
    from ibt.store import backup as keeping

    try:
        with closing(Database(database_url(config, database))) as store:
            size = keeping.backup(store, file)
    except (Unusable, keeping.NotMade) as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("There is no backup: interrupted.", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"{file} has the database, {size:,} bytes.")
