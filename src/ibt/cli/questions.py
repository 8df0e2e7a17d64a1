"""What the commands that only read do: ask, and write what was answered in the form that is wanted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from ibt.cli.access import client_of, profile_of
from ibt.cli.options import Asked, Form
from ibt.cli.tables import Row, form_of, opened, write_rows
from ibt.client import COLUMNS, Filters, Mappings, StateChanged, rows
from ibt.messages import write_mapping, write_mappings, write_subaccounts
from ibt.rules.model import Subaccount, SubaccountMapping
from ibt.rules.periods import month_of

_SUBACCOUNT_COLUMNS = ("subaccount_id", "begin", "end", "subaccount_name", "subaccount_status")

#: What a table shows of mappings, which is narrower than all columns: the period as its Eastern month (reading 62).
_TABLE_COLUMNS = (
    "contract_id",
    "market_name",
    "buyer_name",
    "seller_name",
    "status",
    "month",
    "subaccount_id",
    "version",
)

#: How often a file is begun again because the data changed while they were read.
_READINGS = 5

#: Fewer rows than that come at once.
_LONG = 1000


def subaccounts(asked: Asked, wanted: Form | None, output: Path | None) -> None:
    """Writes the customer's subaccounts. Clause 3.1."""
    form = form_of(wanted, output)
    with client_of(profile_of(asked), verbose=asked.verbose) as client, opened(output) as stream:
        found = client.subaccounts()
        if form is Form.XML:
            stream.write(write_subaccounts(found))
        else:
            write_rows(form, _SUBACCOUNT_COLUMNS, _subaccount_rows(found), stream)


def mapping(asked: Asked, contract_id: int, wanted: Form | None, output: Path | None) -> None:
    """Writes all versions of one contract's mapping. Clause 3.3."""
    form = form_of(wanted, output)
    with client_of(profile_of(asked), verbose=asked.verbose) as client, opened(output) as stream:
        found = client.mapping(contract_id)
        if form is Form.XML:
            stream.write(write_mapping(found))
        else:
            _write(form, [found], stream)


def mappings(asked: Asked, filters: dict[str, object], wanted: Form | None, output: Path | None) -> None:
    """Writes the current mappings that fit *filters*. Clause 3.2."""
    form = form_of(wanted, output)
    with client_of(profile_of(asked), verbose=asked.verbose) as client:
        for attempt in range(1, _READINGS + 1):
            try:
                with opened(output) as stream:
                    _write_found(form, client.mappings(**cast(Filters, filters)), stream, shown=output is None)
            except StateChanged:
                if output is None:
                    raise StateChanged(
                        "The customer's data changed while they were read, so what was written is not all of one "
                        "state: run it again, or give -o FILE, which begins again by itself"
                    ) from None
                if attempt == _READINGS:
                    raise
            else:
                return


def _write_found(form: Form, found: Mappings, stream: IO[bytes], *, shown: bool) -> None:
    quiet = not sys.stderr.isatty() or (shown and sys.stdout.isatty()) or found.total <= _LONG
    with _progress(0 if quiet else found.total) as advance:
        each = _counted(found, advance)
        if form is Form.XML:
            stream.write(write_mappings(list(each), found.total))
        else:
            _write(form, each, stream)


def _write(form: Form, found: Iterable[SubaccountMapping], stream: IO[bytes]) -> None:
    if form is Form.TABLE:
        write_rows(form, _TABLE_COLUMNS, _table_rows(found), stream)
    else:
        write_rows(form, COLUMNS, rows(found), stream)


def _table_rows(found: Iterable[SubaccountMapping]) -> Iterator[Row]:
    for each in found:
        contract = each.contract
        said = (
            contract.contract_id,
            contract.market_name,
            contract.buyer_name,
            contract.seller_name,
            contract.status,
        )
        for version in each.versions:
            yield (*said, str(month_of(version.begin)), version.subaccount_id, version.version)


def _subaccount_rows(found: Iterable[Subaccount]) -> Iterator[Row]:
    for each in found:
        for version in each.subaccount_versions:
            yield (
                each.subaccount_id,
                version.begin,
                version.end,
                version.subaccount_name,
                version.subaccount_status,
            )


def _counted(found: Iterable[SubaccountMapping], advance: Callable[[int], None]) -> Iterator[SubaccountMapping]:
    for each in found:
        advance(len(each.versions))
        yield each


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """What shows on stderr how many of *total* versions have come; nothing where that is 0."""
    if not total:
        yield lambda _: None
        return
    # Imported here, as it is for terminals alone.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    parts = ("Reading", BarColumn(), MofNCompleteColumn(), "versions", TimeRemainingColumn())
    with Progress(*parts, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.advance(task, count)
