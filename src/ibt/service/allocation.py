"""
Memory: what is kept for good is not looked at again, and what is free is given back after a large message.

libxml2 asks the C library for its trees, in small pieces. glibc keeps these when they are free, for each thread's
arena as many as there ever were: a few large messages would leave a process large for as long as it runs.
"""

from __future__ import annotations

import ctypes
import gc

#: A body of more bytes than this leaves enough behind to be worth the milliseconds.
LARGE = 256 * 1024


def settle() -> None:
    """Takes all that there is now for permanent: the collector of garbage need not go through it again and again."""
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Gives free memory back to the system, where the C library can: glibc; others keep less by themselves."""
    if _TRIM is not None:
        _TRIM(0)


_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
