"""
`ibt`, with a memory for totals alone: not where a page ended, so that each page is looked for from the table's.

The service keeps a place for each hundred versions, which is more than a load of some seconds can make it forget.
What a page costs of which neither bytes nor position are known can be measured only so.
"""

from __future__ import annotations

from ibt import cli
from ibt.service import resources

if __name__ == "__main__":
    assert resources._REMEMBERED_PLACES > 0
    resources._REMEMBERED_PLACES = 0
    cli.main()
