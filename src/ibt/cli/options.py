"""
What the participant's commands have in common: who asks and where, which mappings, which form, how it ended.

Nothing here imports the client, so that `ibt --help` answers at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from ibt.rules.model import LARGEST_ID, Category

_CATEGORIES = [category.value for category in Category]

#: What each exit status says.
STATUSES = {
    0: "done; of a plan: nothing is to be changed",
    1: (
        "refused here: the plan is refused, or the data have changed since it was made; of doctor: a check has "
        "failed; of audit verify: it is not whole"
    ),
    2: "the command cannot be used so: an option, a file, a profile",
    3: "a plan with changes; of apply: changes that were not wanted after all",
    4: "the service refused (4xx), and says why",
    5: "the service failed (5xx), or what answered is no IBT service",
    6: "no connection, or a certificate that does not serve; of apply also: the answer was lost",
    130: "interrupted",
    141: "nobody reads the output any more",
}


class Form(Enum):
    """The forms of output, by their names and the endings of files."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    XML = "xml"
    XLSX = "xlsx"


@dataclass(frozen=True)
class Asked:
    """What the options of a command say of who asks and where; what is None they do not say."""

    profile: str | None
    url: str | None
    certificate: Path | None
    key: Path | None
    password: str | None
    ca: Path | None
    customer: int | None
    verbose: bool = False


def profile_names(incomplete: str) -> list[str]:
    """The profiles whose names begin so, for the shell's completion."""
    from ibt.client.profiles import NoProfile, profiles_file, read_profiles

    try:
        return [name for name in read_profiles(profiles_file()) if name.startswith(incomplete)]
    except NoProfile:
        return []


def _categories(incomplete: str) -> list[str]:
    return [name for name in _CATEGORIES if name.startswith(incomplete)]


UrlOption = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="The service: a host, or the API's whole base. [IBT_URL]")
]
CertificateOption = Annotated[
    Path | None,
    typer.Option("--certificate", metavar="FILE", help="Your certificate, PEM or PKCS#12. [IBT_CERTIFICATE]"),
]
KeyOption = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="Its key, where that is in another PEM file. [IBT_KEY]")
]
PasswordOption = Annotated[
    str | None,
    typer.Option(
        "--password",
        metavar="TEXT",
        help="What opens the key; asked for on a terminal. Better as IBT_PASSWORD: others see command lines.",
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="The authorities to trust, in PEM, or a folder of them. [IBT_CA]"),
]
CustomerOption = Annotated[
    int | None,
    typer.Option("--customer", min=0, max=LARGEST_ID, metavar="ID", help="Whose data. [IBT_CUSTOMER]"),
]


def _asked(  # noqa: PLR0913, PLR0917 - the parameters are the options
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", "-p", metavar="NAME", help="A profile's name. [IBT_PROFILE]", autocompletion=profile_names
        ),
    ] = None,
    url: UrlOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    password: PasswordOption = None,
    ca: CaOption = None,
    customer: CustomerOption = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show requests, replies and the same as curl, on stderr.")
    ] = False,
) -> Asked:
    return Asked(profile, url, certificate, key, password, ca, customer, verbose)


def _filters(  # noqa: PLR0913, PLR0917 - the parameters are the options
    contract_id: Annotated[
        str | None, typer.Option("--contract-id", metavar="ID", help="A contract, or digits with wildcards, * or %.")
    ] = None,
    reference_id: Annotated[
        str | None, typer.Option("--reference-id", metavar="TEXT", help="A reference id, wildcards too, or blank.")
    ] = None,
    subaccount_id: Annotated[
        str | None, typer.Option("--subaccount-id", metavar="TEXT", help="The subaccount mapped to, wildcards too.")
    ] = None,
    subaccount_name: Annotated[
        str | None, typer.Option("--subaccount-name", metavar="TEXT", help="Its name, wildcards too.")
    ] = None,
    category: Annotated[
        str | None,
        typer.Option(
            "--category", metavar="NAME", help=f"One of: {', '.join(_CATEGORIES)}.", autocompletion=_categories
        ),
    ] = None,
    location_id: Annotated[
        int | None, typer.Option("--location-id", min=0, metavar="ID", help="The contract's location.")
    ] = None,
    party_id: Annotated[
        int | None, typer.Option("--party-id", min=0, metavar="ID", help="A customer, as buyer or seller.")
    ] = None,
) -> dict[str, object]:
    return locals()


def gathers(name: str, options: Callable[..., object]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """
    A decorator that gives a command the *options* after its own; what they come to is its parameter *name*.

    So the same options are written down once, and each command says no more than that it has them.
    """
    gathered = inspect.signature(options, eval_str=True).parameters

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)

        @wraps(command)
        def run(**given: Any) -> None:  # Any: each as its option has it
            value = options(**{parameter: given.pop(parameter) for parameter in gathered})
            command(**given, **{name: value})

        parameters = [parameter for parameter in own.parameters.values() if parameter.name != name]
        signature = own.replace(parameters=[*parameters, *gathered.values()])
        run.__signature__ = signature  # type: ignore[attr-defined]  # what typer reads; functions may have it
        run.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
        return run

    return decorate


#: A command's parameter `asked`.
asks = gathers("asked", _asked)

#: A command's parameter `filters`.
filtered = gathers("filters", _filters)


def told(command: Callable[..., None]) -> Callable[..., None]:
    """*command*, whose failures are told in words, with their exit statuses."""

    @wraps(command)
    def run(**given: Any) -> None:  # Any: each as its option has it
        from ibt.cli.failures import failures_told

        with failures_told():
            command(**given)

    return run
