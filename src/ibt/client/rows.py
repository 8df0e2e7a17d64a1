"""
Mappings as a table: one row for each mapping version, columns named as the XML's elements.

Clause 3.2.7.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ibt.rules.model import Contract, MappingVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from ibt.rules.model import SubaccountMapping

_CONTRACT = tuple(field.name for field in fields(Contract))
_VERSION = tuple(field.name for field in fields(MappingVersion))

#: The columns, in the order of the XML.
COLUMNS = ("customer_id", *_CONTRACT, *_VERSION)

#: The libraries whose tables are made, the first that is there.
_LIBRARIES = ("polars", "pandas")


def rows(mappings: Iterable[SubaccountMapping]) -> Iterator[tuple[int | str | datetime, ...]]:
    """A row for each mapping version of *mappings*, in their order; times are in UTC."""
    for mapping in mappings:
        contract = (mapping.customer_id, *(getattr(mapping.contract, name) for name in _CONTRACT))
        for version in mapping.versions:
            yield (*contract, version.begin, version.end, version.version, version.subaccount_id)


def to_frame(
    mappings: Iterable[SubaccountMapping], library: str | None = None
) -> Any:  # Any: a frame of that library
    """
    A data frame of *library*, `polars` or `pandas`, or else of the first of them that is installed.

    Raises ImportError, saying what to install, where narwhals or the library is missing.
    """
    wanted = (library,) if library is not None else _LIBRARIES
    found = [name for name in wanted if find_spec(name)]
    if not found or not find_spec("narwhals"):
        raise ImportError(f"A data frame needs narwhals, and {' or '.join(wanted)}: install them first")
    columns = list(zip(*rows(mappings), strict=True)) or [()] * len(COLUMNS)
    data = {name: list(values) for name, values in zip(COLUMNS, columns, strict=True)}
    return import_module("narwhals").from_dict(data, backend=found[0]).to_native()
