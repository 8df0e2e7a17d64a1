"""
The client's reader of answers, given what no server should send: it opens nothing that an answer refers to.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hostile_xml import CORPUS
from ibt.messages.answers import NotTheAnswer, read_mapping, read_mappings, read_subaccounts

#: The bodies that say with a DOCTYPE what is to be put in from elsewhere, or again and again. Not those that name a
#: device: where one is opened, the test would never end.
DOCTYPES = {name: body for name, body in CORPUS.items() if b"<!DOCTYPE" in body and b"/dev/" not in body}


@pytest.mark.parametrize("read", [read_mapping, read_mappings, read_subaccounts], ids=lambda read: read.__name__)
def test_no_value_holds_what_an_entity_refers_to(read: Callable[[bytes], object]) -> None:
    assert len(DOCTYPES) > 100
    understood = []
    for body in DOCTYPES.values():
        try:
            understood.append(repr(read(body)))
        except NotTheAnswer as refused:
            understood.append(str(refused))
    # The corpus refers to /etc/passwd among others, and to texts that grow when they are put in.
    assert [text for text in understood if "root:" in text or len(text) > 2000] == []
