"""What the commands that work on the database have in common: which it is, and what is said where it fails them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ibt.store import Database

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A TOML file of settings; see docs/operate.md.")
]
DatabaseOption = Annotated[
    str | None,
    typer.Option("--database", metavar="URL", help="sqlite:////path/ibt.db or postgresql://… [IBT_DATABASE]"),
]


def tell(text: str) -> None:
    """Says *text* on stderr."""
    typer.echo(text, err=True)


@contextmanager
def opened(url: str | None, config: Path | None = None) -> Iterator[Database]:
    """
    The database at *url*, or of IBT_DATABASE or *config*, which may take its time; its schema is one that we know.

    Raises ibt.store.Unusable; ends the command where no database is named.
    """
    from ibt.cli.serve import database_url
    from ibt.store import Database

    with closing(Database(database_url(config, url), patience=math.inf)) as database:
        database.check()
        yield database


@contextmanager
def told(what: str) -> Iterator[None]:
    """Tells what a block fails with, after *what* came of it; ends with status 2, or 1 if it may be tried again."""
    from ibt.store import Unavailable, Unusable

    try:
        yield
    except Unusable as unusable:
        tell(str(unusable))
        raise typer.Exit(2) from None
    except Unavailable as unavailable:
        outcome = "It is not known whether anything was changed" if unavailable.outcome_unknown else what
        tell(f"{outcome}: the database could not do it now ({unavailable}).")
        raise typer.Exit(1) from None
    except OSError as error:
        tell(f"{what}: {error.filename or 'a file'}: {error.strerror or 'the system does not say why'}.")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        tell(f"{what}: interrupted.")
        raise typer.Exit(130) from None
