"""
What a process remembers of the answers it gave: bounded, the least recently used goes first.

Everything is kept under the customer's revision, which names a state of all that the customer can see: what
was true of that state stays true, so nothing here is ever made invalid (reading 57).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

#: How many bytes of answers a process remembers, unless it is set.
REMEMBER = 32 * 1024 * 1024

Value = TypeVar("Value")


class Memory(Generic[Value]):
    """Values by their keys, of at most *most* cost together; of any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._cost = 0
        self._kept: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._lock = Lock()

    def recall(self, key: Hashable) -> Value | None:
        """The value kept under *key*, or None."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            self._kept.move_to_end(key)
            return kept[0]

    def keep(self, key: Hashable, value: Value, cost: int = 1) -> None:
        """Keeps *value* under *key*, in the place of what was used least recently; not where it alone is too much."""
        if cost > self._most:
            return
        with self._lock:
            if key not in self._kept:
                self._kept[key] = value, cost
                self._cost += cost
            while self._cost > self._most:
                _, (_, freed) = self._kept.popitem(last=False)
                self._cost -= freed
