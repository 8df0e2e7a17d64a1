"""Mappings as a table. Clause 3.2.7."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from ibt.client import COLUMNS, rows, to_frame

if TYPE_CHECKING:
    from ibt import Client


def test_a_row_for_each_version_with_the_xmls_names(client: Client) -> None:
    (mapping,) = client.mappings(contract_id=103)
    (row,) = rows([mapping])
    assert dict(zip(COLUMNS, row, strict=True)) == {
        "customer_id": 1,
        "contract_id": 103,
        "market_name": "Energy DA",
        "buyer_name": "One & Co",
        "seller_name": "Two Inc",
        "contract_begin": datetime(2015, 8, 1, 4, tzinfo=UTC),
        "contract_end": datetime(2015, 9, 1, 4, tzinfo=UTC),
        "status": "Conf",
        "begin": datetime(2015, 8, 1, 4, tzinfo=UTC),
        "end": datetime(2015, 9, 1, 4, tzinfo=UTC),
        "version": mapping.versions[0].version,
        "subaccount_id": mapping.versions[0].subaccount_id,
    }


def test_a_frame_of_a_library_that_is_not_there_is_told_in_one_sentence() -> None:
    with pytest.raises(ImportError, match="A data frame needs narwhals, and nothing_such: install them first"):
        to_frame([], "nothing_such")


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_a_frame_has_a_row_for_each_version(client: Client, library: str) -> None:
    if not (find_spec(library) and find_spec("narwhals")):
        with pytest.raises(ImportError, match=f"A data frame needs narwhals, and {library}"):
            client.mappings().to_frame(library)
        return
    frame = client.mappings().to_frame(library)
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == client.mappings().total
