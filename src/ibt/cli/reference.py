"""
The page docs/cli.md, made from the program: `python -m ibt.cli.reference` prints it.

Every command with its help as a terminal of 100 characters shows it, and the exit statuses.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import typer
from typer import _click
from typer.core import TyperGroup

from ibt.cli import app
from ibt.cli.options import STATUSES

_WIDTH = 100

_BEGIN = """\
# The command `ibt`

This page is made from the program, with `make docs`.
[The client](client.md) is the tutorial; `ibt COMMAND --help` shows on a terminal what is here.

## Who asks, and where

The commands that ask a service need a URL, a certificate and a customer.
Options say it, variables of the environment, or a profile; what is nearest counts most:

1. the options of the command;
2. the profile that `--profile` names;
3. the variables `IBT_URL`, `IBT_CERTIFICATE`, `IBT_KEY`, `IBT_PASSWORD`, `IBT_CA`, `IBT_CUSTOMER`;
4. the profile that `IBT_PROFILE` names; else the one called `default`; else the only one there is.

A profile is a table of `profiles.toml`, in your system's folder for configuration; `ibt profile add` says where.
You may edit it: the fields are `url`, `certificate`, `key`, `password`, `ca`, `customer` and `production`.
Relative paths begin at its folder.
The file is readable by you alone, and no password is put there unless you say `--store-password`.

Where a profile says `production = true`, and always at `smd.iso-ne.com`, nothing is changed without `--production`.

`ibt sandbox` leaves a profile `sandbox` that leads to it.
It changes no profile of that name that leads elsewhere than to a sandbox.

`ibt --install-completion` teaches your shell to complete commands, options and the names of profiles.
"""


def page() -> str:
    """The page, as Markdown."""
    statuses = "\n".join(f"| {status} | {meaning} |" for status, meaning in STATUSES.items())
    parts = [_BEGIN, f"## Exit statuses\n\n| Status | Meaning |\n|---|---|\n{statuses}\n"]
    command = typer.main.get_command(app)
    parts += [f"## {name}\n\n```text\n{text}\n```\n" for name, text in _helps(command, "ibt", None)]
    return "\n".join(parts)


def _helps(command: _click.Command, name: str, parent: _click.Context | None) -> Iterator[tuple[str, str]]:
    """The name and the help of *command* and of those below it."""
    context = _click.Context(command, info_name=name, parent=parent, terminal_width=_WIDTH, max_content_width=_WIDTH)
    yield context.command_path, command.get_help(context)
    if isinstance(command, TyperGroup):
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            if below is not None:
                yield from _helps(below, each, context)


if __name__ == "__main__":
    sys.stdout.write(page())
