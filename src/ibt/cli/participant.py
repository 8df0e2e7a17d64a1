"""
The commands of a Market Participant: their options and what `--help` says of them.

What they do is in `questions.py` and `changes.py`, which are imported when a command runs.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from ibt.cli.options import (
    Asked,
    CaOption,
    CertificateOption,
    CustomerOption,
    Form,
    KeyOption,
    PasswordOption,
    UrlOption,
    asks,
    filtered,
    profile_names,
    told,
)
from ibt.rules.model import LARGEST_ID, Month

FormOption = Annotated[
    Form | None,
    typer.Option(
        "--format", help="Else as FILE ends, or a table on a terminal and CSV elsewhere.", show_choices=True
    ),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to FILE instead, whole or not at all.")
]
PlanOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Keep the plan in FILE, for ibt apply.")
]


def add_commands(app: typer.Typer) -> None:
    """Adds the participant's commands to *app*."""
    for command, examples in _COMMANDS:
        app.command(epilog=_epilog(examples))(told(command))
    profile = typer.Typer(help="Keep under a name who asks, and where.", no_args_is_help=True, rich_markup_mode=None)
    for name, command, examples in _PROFILE_COMMANDS:
        profile.command(name, epilog=_epilog(examples))(told(command))
    app.add_typer(profile, name="profile")


def _epilog(examples: tuple[str, ...]) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples)


def _day(text: str) -> date | Month:
    """A day as 3.2.4 writes it, or as ISO 8601 does, or a month."""
    try:
        return Month(text)
    except ValueError:
        pass
    american = re.fullmatch(r"([0-9]{2})/([0-9]{2})/([0-9]{4})", text)
    try:
        return date.fromisoformat(f"{american[3]}-{american[1]}-{american[2]}" if american else text)
    except ValueError:
        raise typer.BadParameter(
            f'"{text}" is no day: write 08/01/2015 or 2015-08-01, or a month, 2015-08.'
        ) from None


@asks
def subaccounts(asked: Asked, form: FormOption = None, output: OutputOption = None) -> None:
    """
    Show the customer's subaccounts.

    One line for each version of a subaccount. To these, contracts can be mapped. Clause 3.1.
    """
    from ibt.cli import questions

    questions.subaccounts(asked, form, output)


@asks
@filtered
def mappings(  # noqa: PLR0913, PLR0917 - the parameters are the command's options
    asked: Asked,
    filters: dict[str, object],
    form: FormOption = None,
    output: OutputOption = None,
    start_date: Annotated[
        str | None,  # as it is typed: a parser is not asked what it makes of that, a day or a month
        typer.Option(
            parser=_day,
            metavar="DAY",
            help="Periods on this Eastern day, 08/01/2015 or 2015-08-01, or month, 2015-08.",
        ),
    ] = None,
    end_date: Annotated[
        str | None, typer.Option(parser=_day, metavar="DAY", help="Together: on the days from the one to the other.")
    ] = None,
) -> None:
    """
    Show contracts and their subaccounts by month.

    One line for each mapping version; all pages are read. Without filters: all of the customer's. Clause 3.2.
    """
    from ibt.cli import questions

    questions.mappings(asked, filters | {"start_date": start_date, "end_date": end_date}, form, output)


@asks
def mapping(
    asked: Asked,
    contract: Annotated[int, typer.Argument(min=0, max=LARGEST_ID, metavar="CONTRACT", help="Its id.")],
    form: FormOption = None,
    output: OutputOption = None,
) -> None:
    """
    Show the history of one contract's mapping.

    All versions, oldest first in each month. Clause 3.3.
    """
    from ibt.cli import questions

    questions.mapping(asked, contract, form, output)


@asks
@filtered
def plan(  # noqa: PLR0913, PLR0917 - the parameters are the command's options
    asked: Asked,
    filters: dict[str, object],
    changes: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CHANGES.CSV]",
            help="Columns contract_id, subaccount_id, and month (2015-08) or begin; others do not count.",
        ),
    ] = None,
    set_: Annotated[
        str | None,
        typer.Option("--set", metavar="SUBACCOUNT", help="Or: map all that the filters and --months choose to this."),
    ] = None,
    months: Annotated[
        str | None, typer.Option("--months", metavar="MONTHS", help="With --set: 2015-08, or 2015-08..2015-12.")
    ] = None,
    output: PlanOption = None,
) -> None:
    """
    Show what changes would come to.

    The specification's rules are asked here, and nothing is changed.
    Exit status 0: nothing is to be changed; 3: there are changes; 1: the service would refuse them, and why.
    """
    from ibt.cli import changes as doing

    doing.plan(asked, changes, set_, filters, months, output)


@asks
def apply(
    asked: Asked,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A plan, or a CSV with changes as for ibt plan.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    production: Annotated[bool, typer.Option("--production", help="Allow it where contracts are real.")] = False,
    receipt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where the receipt goes; else receipt-CUSTOMER-TIME.json in the folder you are in."
        ),
    ] = None,
) -> None:
    """
    Make the changes of a plan, all or none.

    Nothing is changed where the data are no longer as when the plan was made. The receipt leads back: ibt undo.
    """
    from ibt.cli import changes

    changes.apply(asked, file, yes=yes, production=production, receipt=receipt)


@asks
def undo(
    asked: Asked,
    receipt: Annotated[Path, typer.Argument(metavar="RECEIPT", help="What ibt apply has written.")],
    output: PlanOption = None,
) -> None:
    """
    Plan the way back from a receipt.

    Nothing is changed until that plan is applied. A note tells of each period that someone has changed since.
    Exit statuses are those of ibt plan.
    """
    from ibt.cli import changes

    changes.undo(asked, receipt, output)


@asks
def doctor(asked: Asked) -> None:
    """
    Check certificate, connection, clock, role.

    Each check that fails says how to mend it. Exit status 0: all is well; 1: a check has failed.
    """
    from ibt.cli import profiles

    profiles.doctor(asked)


ProfileName = Annotated[str, typer.Argument(metavar="NAME", help="Its name.", autocompletion=profile_names)]


def profile_add(  # noqa: PLR0913, PLR0917 - the parameters are the command's options
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, - and _.")],
    url: UrlOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    password: PasswordOption = None,
    ca: CaOption = None,
    customer: CustomerOption = None,
    production: Annotated[
        bool, typer.Option("--production", help="Contracts are real there: it is only read without --production.")
    ] = False,
    store_password: Annotated[
        bool, typer.Option("--store-password", help="Keep the password too, in plain text, readable by you alone.")
    ] = False,
) -> None:
    """
    Keep a profile; one of the same name is replaced.
    """
    from ibt.cli import profiles

    asked = Asked(None, url, certificate, key, password, ca, customer)
    profiles.add(name, asked, production=production, store_password=store_password)


def profile_list(form: FormOption = None, output: OutputOption = None) -> None:
    """
    Show the profiles; of passwords only whether they are kept.
    """
    from ibt.cli import profiles

    profiles.show(form, output)


def profile_remove(name: ProfileName) -> None:
    """
    Forget a profile.
    """
    from ibt.cli import profiles

    profiles.remove(name)


_COMMANDS = (
    (subaccounts, ("ibt subaccounts", "ibt subaccounts --profile sandbox --format json")),
    (
        mappings,
        (
            "ibt mappings --start-date 2015-08",
            'ibt mappings --category "FCM LOAD OBLIGATION" --subaccount-id "ABC*" -o fcm.xlsx',
        ),
    ),
    (mapping, ("ibt mapping 999999", "ibt mapping 999999 --format xml")),
    (
        plan,
        (
            "ibt plan changes.csv -o plan.json",
            'ibt plan --set ABC1 --category "FCM LOAD OBLIGATION" --months 2015-08..2015-12',
        ),
    ),
    (apply, ("ibt apply plan.json", "ibt apply changes.csv --yes --receipt august.json")),
    (undo, ("ibt undo august.json -o back.json",)),
    (doctor, ("ibt doctor", "ibt doctor --profile production")),
)

_PROFILE_COMMANDS = (
    (
        "add",
        profile_add,
        (
            "ibt profile add test --url sandboxsmd.iso-ne.com --certificate me.p12 --customer 1",
            "ibt profile add real --url smd.iso-ne.com --certificate me.pem --key me.key --customer 1 --production",
        ),
    ),
    ("list", profile_list, ("ibt profile list",)),
    ("remove", profile_remove, ("ibt profile remove test",)),
)
