"""What `plan`, `apply` and `undo` do: show what would be changed, change it, keep what leads back."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar, cast

import typer

from ibt.cli.access import client_of, profile_of
from ibt.cli.failures import Unusable
from ibt.cli.options import Asked
from ibt.cli.tables import opened, table
from ibt.client import (
    Client,
    Filters,
    NotTheDocument,
    Plan,
    Receipt,
    Step,
    Wish,
    read_months,
    read_plan,
    read_receipt,
    write_plan,
    write_receipt,
)
from ibt.client.wishes import read_wishes
from ibt.rules.faults import Faults
from ibt.rules.model import Month
from ibt.rules.periods import month_of

_REFUSED, _CHANGES, _INTERRUPTED = 1, 3, 130

#: A plan begins so, and no CSV does.
_BEGINS_PLAN = b"{"

#: How files are called that are no plan.
_OTHER_KINDS = (".csv", ".xlsx", ".xml")

T = TypeVar("T")


def plan(  # noqa: PLR0913, PLR0917 - what the command was given
    asked: Asked,
    changes: Path | None,
    subaccount_id: str | None,
    filters: dict[str, object],
    months: str | None,
    output: Path | None,
) -> None:
    """Shows what the wishes in *changes*, or that what fits be mapped to *subaccount_id*, come to."""
    filtered = months is not None or any(value is not None for value in filters.values())
    if (changes is None) == (subaccount_id is None):
        raise Unusable("What is to be planned? Give a CSV with the changes, or --set SUBACCOUNT, one of the two.")
    if changes is not None and filtered:
        raise Unusable("Filters and --months belong to --set; a CSV says itself what is to be changed.")
    if subaccount_id is not None and not filtered:
        raise Unusable(f'What is to be mapped to "{subaccount_id}"? Give --months, or a filter such as --category.')
    _refuse_output(output, changes)
    wishes = _wishes_in(changes) if changes is not None else []
    period = read_months(months) if months is not None else []
    with client_of(profile_of(asked), verbose=asked.verbose) as client, _waiting("Reading what stands"):
        if subaccount_id is not None:
            wishes = _wishes_of(client, subaccount_id, filters, period)
        planned = client.plan(wishes)
    _end_with(planned, output)


def apply(asked: Asked, file: Path, *, yes: bool, production: bool, receipt: Path | None) -> None:
    """Makes the changes of the plan or CSV in *file*, once they are wanted; writes the receipt."""
    content = _content(file)
    profile = profile_of(asked)
    planned = _document(file, content, read_plan) if content.lstrip().startswith(_BEGINS_PLAN) else None
    wishes = _wishes(content, file.name) if planned is None else []
    with client_of(profile, verbose=asked.verbose, customer=planned.customer_id if planned else None) as client:
        if profile.guarded and not production:
            raise Unusable(f"{client.url} is for production, where nothing is changed without --production.")
        if planned is not None:
            _refuse_other(client, planned.customer_id, file)
        else:
            with _waiting("Reading what stands"):
                planned = client.plan(wishes)
        _show(planned)
        if planned.refused:
            raise typer.Exit(_REFUSED)
        if not planned.changes:
            return
        if not yes and not _wanted(planned, client.url):
            typer.echo("Nothing was changed.", err=True)
            raise typer.Exit(_CHANGES)
        _make(client, planned, receipt)


def undo(asked: Asked, file: Path, output: Path | None) -> None:
    """Shows the way back from the receipt in *file*."""
    _refuse_output(output, file)
    done = _document(file, _content(file), read_receipt)
    profile = profile_of(asked)
    with client_of(profile, verbose=asked.verbose, customer=done.customer_id) as client:
        _refuse_other(client, done.customer_id, file)
        with _waiting("Reading what stands"):
            planned = client.undo(done)
    _end_with(planned, output)


def _refuse_other(client: Client, customer_id: int, file: Path) -> None:
    if client.customer != customer_id:
        raise Unusable(f"{file} is of customer {customer_id}: give --customer {customer_id}, not {client.customer}.")


# --- what is wished for ------------------------------------------------------------------------------------


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise Unusable(f"There is no file {file}.") from None


def _document(file: Path, content: bytes, read: Callable[[str], T]) -> T:
    """What *read* finds in the *content* of a file that `ibt` has written."""
    try:
        return read(content.decode())
    except UnicodeDecodeError:
        raise Unusable(f"{file}: this is not JSON.") from None
    except NotTheDocument as error:
        raise Unusable(f"{file}: {error}.") from None


def _refuse_output(output: Path | None, source: Path | None) -> None:
    """Refuses to write a plan over what it is made of, or where its name says that it is something else."""
    if output is None:
        return
    if source is not None and output.resolve() == source.resolve():
        raise Unusable(f"{output} is what the plan is made of, and would be lost: give -o another name.")
    if output.suffix.lower() in _OTHER_KINDS:
        raise Unusable(f"A plan is JSON, and {output} is called otherwise: give -o a name that ends in .json.")


def _wishes_in(changes: Path) -> list[Wish]:
    content = _content(changes)
    if content.lstrip().startswith(_BEGINS_PLAN):
        raise Unusable(f"{changes} is a plan already, it seems: ibt apply {changes} makes its changes.")
    return _wishes(content, changes.name)


def _wishes(content: bytes, name: str) -> list[Wish]:
    faults = Faults()
    wishes = read_wishes(content, name, faults)
    if faults.count:
        raise Unusable("\n".join(faults.lines()))
    return wishes


def _wishes_of(client: Client, subaccount_id: str, filters: dict[str, object], months: list[Month]) -> list[Wish]:
    """That each mapping period that fits *filters* in *months*, or in all where there are none, be mapped so."""
    dates = {"start_date": months[0], "end_date": months[-1]} if months else {}
    found = client.mappings(**cast(Filters, filters | dates)).all()
    return [
        Wish(each.contract.contract_id, month_of(version.begin), subaccount_id)
        for each in found
        for version in each.versions
    ]


# --- what is shown -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Run:
    """Steps of one contract in months that follow each other, which come to the same."""

    first: Step
    last: Month

    @property
    def months(self) -> str:
        return str(self.last) if self.first.month == self.last else f"{self.first.month}..{self.last}"

    @property
    def comes_to(self) -> tuple[int, str, str, str]:
        """Contract, old and new subaccount, and what becomes of it."""
        old = self.first.old.subaccount_id if self.first.old is not None else ""
        state = "change" if self.first.changes else "unchanged" if old and not self.first.faults else "refused"
        return self.first.contract_id, old, self.first.subaccount_id, state


def _runs(plan: Plan) -> Iterator[_Run]:
    run: _Run | None = None
    for step in plan.steps:
        alone = _Run(step, step.month)
        if run is not None and step.month == run.last.next and alone.comes_to == run.comes_to:
            run = replace(run, last=step.month)
            continue
        if run is not None:
            yield run
        run = alone
    if run is not None:
        yield run


def _show(plan: Plan) -> None:
    """Prints contract and months, the old and the new subaccount, what is refused and why, and how much it is."""
    rows = []
    for run in _runs(plan):
        contract_id, old, new, state = run.comes_to
        rows.append((contract_id, run.months, old, new, state))
    lines = [*table(("contract_id", "months", "old", "new", "result"), rows), ""] if rows else []
    lines += [f"Note: {note}" for note in plan.notes]
    if plan.refused:
        lines += ["Refused, so nothing of it can be made:", *plan.refused]
    else:
        contracts = len({step.contract_id for step in plan.changes})
        changes = f"{_counted(len(plan.changes), 'change')} in {_counted(contracts, 'contract')}"
        lines.append(f"{changes}, {len(plan.unchanged)} unchanged.")
    typer.echo("\n".join(lines))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _end_with(planned: Plan, output: Path | None) -> None:
    """Shows *planned*, keeps it in *output* and ends with the status that says what it is."""
    _show(planned)
    if output is not None:
        with opened(output) as stream:
            stream.write(write_plan(planned).encode())
    if planned.refused:
        raise typer.Exit(_REFUSED)
    if planned.changes:
        kept = f"To make them: ibt apply {output}" if output is not None else "To keep the plan, give -o plan.json."
        typer.echo(kept, err=True)
        raise typer.Exit(_CHANGES)


@contextmanager
def _waiting(text: str) -> Iterator[None]:
    """Shows on a terminal that something is under way."""
    status: AbstractContextManager[object] = nullcontext()
    if sys.stderr.isatty():
        from rich.console import Console

        status = Console(stderr=True).status(text)
    with status:
        yield


# --- what is made ------------------------------------------------------------------------------------------


def _wanted(planned: Plan, url: str) -> bool:
    if not sys.stdin.isatty():
        raise Unusable("There is no terminal to ask on: give --yes to make these changes.")
    question = f"Make {_counted(len(planned.changes), 'change')} for customer {planned.customer_id} at {url}?"
    return typer.confirm(question, err=True)


def _make(client: Client, planned: Plan, file: Path | None) -> None:
    """Sends the changes; the receipt has its place before they are sent."""
    file = _reserved(file, planned.customer_id)
    try:
        with _waiting("Making the changes"):
            done = client.apply(planned)
    except BaseException as error:
        file.unlink()
        if isinstance(error, KeyboardInterrupt):
            typer.echo("Interrupted: whether the changes were made is not known. Plan them again to see.", err=True)
            raise typer.Exit(_INTERRUPTED) from None
        raise
    _keep(done, file)
    typer.echo(f"Made. The receipt is in {file}; the way back: ibt undo {file}")


def _reserved(file: Path | None, customer_id: int) -> Path:
    """The file for a receipt, made empty: a receipt never takes the place of another file."""
    now = datetime.now(UTC)
    name = f"receipt-{customer_id}-{now:%Y%m%dT%H%M%SZ}"
    places = (
        [file] if file is not None else [Path(f"{name}.json"), *(Path(f"{name}-{n}.json") for n in range(2, 100))]
    )
    for place in places:
        try:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        except OSError as error:
            raise Unusable(
                f"Nothing was changed, as the receipt {place} cannot be written: {error.strerror}. Name another."
            ) from None
        return place
    raise Unusable(f"Nothing was changed, as {places[0]} is there already: give another name with --receipt.")


def _keep(done: Receipt, file: Path) -> None:
    text = write_receipt(done)
    try:
        with opened(file) as stream:
            stream.write(text.encode())
    except (OSError, Unusable) as error:
        typer.echo(f"The changes are made, but {file} cannot be written ({error}). This is the receipt:\n{text}")
