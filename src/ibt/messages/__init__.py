"""
The XML: bytes to and from the nouns of `ibt.rules.model`.

`SCHEMA` is the published schema, byte for byte. Everything here is pure and may be called from any thread.
"""

from ibt.messages.answers import NotTheAnswer, read_mapping, read_mappings, read_subaccounts
from ibt.messages.reader import SCHEMA, read_update
from ibt.messages.writer import NAMESPACE, write_mapping, write_mappings, write_subaccounts, write_update

__all__ = [
    "NAMESPACE",
    "SCHEMA",
    "NotTheAnswer",
    "read_mapping",
    "read_mappings",
    "read_subaccounts",
    "read_update",
    "write_mapping",
    "write_mappings",
    "write_subaccounts",
    "write_update",
]
