"""The commands `serve` and `db`: the service for operators, and the schema of its database."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

_Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A TOML file of settings; see docs/operate.md.")
]
_Database = Annotated[
    str | None, typer.Option("--database", metavar="URL", help="sqlite:////path/ibt.db or postgresql://…")
]
_Check = Annotated[
    bool,
    typer.Option("--check", help="Show each setting, where it came from and what is wrong; do not serve."),
]

_SERVE_EXAMPLES = """\b
Examples:
  ibt serve --config /etc/ibt/ibt.toml
  ibt serve --config /etc/ibt/ibt.toml --check
"""
_UPGRADE_EXAMPLE = "Example: ibt db upgrade --database postgresql:///ibt"
_STATUS_EXAMPLE = "Example: ibt db status --config /etc/ibt/ibt.toml"


def add_commands(app: typer.Typer) -> None:
    """Adds `serve` and `db` to *app*."""
    app.command(epilog=_SERVE_EXAMPLES)(_with_option_for_each_setting(serve))
    db = typer.Typer(
        help="The schema of the database.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    db.command(epilog=_UPGRADE_EXAMPLE)(upgrade)
    db.command(epilog=_STATUS_EXAMPLE)(status)
    app.add_typer(db, name="db")


def serve(config: _Config = None, check: _Check = False, **options: str | None) -> None:
    """
    Run the service, on certificates and a database of your own.

    Each setting is an option, an environment variable IBT_… or a key of the file; an option wins over the
    environment, that over the file. SIGTERM ends it when the requests in flight are answered; SIGHUP reads the
    certificates anew.
    """
    from ibt.service import operation, settings

    found, faults = settings.effective(config, os.environ, options)
    if check:
        for one in found.values():
            print(one)  # noqa: T201 - what was asked for
        _end_where(faults or operation.faults(found))
    else:
        _end_where(faults)
        _end_where(operation.run(found, announce=lambda line: print(line, flush=True)))  # noqa: T201 - as above


def upgrade(config: _Config = None, database: _Database = None) -> None:
    """Bring the schema of the database up to date; makes it where there is none. Then see to the table place."""
    from ibt.cli.database import told
    from ibt.store import Database
    from ibt.store.loading import mend_places

    with told("The table place was not looked at"):
        store = Database(database_url(config, database))
        store.upgrade()
        print(store.status())  # noqa: T201 - what was asked for
        if mend_places(store):
            print("The rows of place were not right, and were made anew.")  # noqa: T201 - what came of it


def status(config: _Config = None, database: _Database = None) -> None:
    """Say which schema the database has, and whether this program can run on it."""
    from ibt.store import Database, Unusable

    try:
        store = Database(database_url(config, database))
        print(store.status())  # noqa: T201 - what was asked for
        store.check()
    except Unusable as unusable:
        _end_where([str(unusable)])


def database_url(config: Path | None, database: str | None) -> str:
    """The database's URL, from the option, IBT_DATABASE or the file; ends the program where it is set nowhere."""
    from ibt.service import settings

    found, faults = settings.effective(config, os.environ, {"database": database})
    # Other settings may be wrong or missing: they are not asked for here.
    if found["database"].value is None:
        _end_where([fault for fault in faults if fault.startswith(("database ", str(config)))])
    return str(found["database"].value)


def _end_where(faults: Sequence[str]) -> None:
    """Ends with status 2 and a line for each fault, if there is one."""
    for fault in faults:
        typer.echo(fault, err=True)
    if faults:
        raise typer.Exit(2)


def _with_option_for_each_setting(command: Callable[..., None]) -> Callable[..., None]:
    """*command* with an option for each setting, which the settings' own table names, in the place of `**options`."""
    from ibt.service.settings import SETTINGS

    parameters = [
        parameter
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    for setting in SETTINGS:
        default = f" [default: {setting.default}]" if setting.default else ""
        option: Any = typer.Option(setting.option, metavar="VALUE", help=setting.says + default, show_default=False)
        parameters.append(
            inspect.Parameter(
                setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
            )
        )

    def with_options(**given: Any) -> None:  # Any: as typer hands them over
        command(**given)

    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
    return with_options
