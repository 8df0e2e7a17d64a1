"""
The limits of the door: how much of anything, and how long, before a client is refused; and what it is told then.

Reading 53.
"""

from __future__ import annotations

from dataclasses import dataclass

from ibt.rules.faults import Rule

_LIMIT = "reading 53"

# What is refused beyond a limit.
REQUEST_LINE = Rule(
    "request-line-too-long", "The request line is longer than {limit} bytes: shorten its query", _LIMIT, 414
)
HEAD = Rule("head-too-long", "The head is longer than {limit} bytes: send fewer or shorter fields", _LIMIT, 431)
FIELDS = Rule("too-many-fields", "The head has more than {limit} fields: send fewer", _LIMIT, 431)
BODY = Rule("body-too-long", "The body is longer than {limit} bytes: send it in several messages", _LIMIT, 413)
SLOW_HEAD = Rule("head-too-slow", "Send the head in one go: it took longer than {limit:g} seconds", _LIMIT, 408)
SLOW_BODY = Rule(
    "body-too-slow",
    "Nothing was changed: send the body faster, or in several messages; it took longer than {limit:g} seconds",
    _LIMIT,
    408,
)
CONNECTIONS = Rule(
    "too-many-connections",
    "There are more than {limit} connections: try again in a moment, and close those that you do not need",
    _LIMIT,
    503,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds; exactly so much is still allowed."""

    request_line: int = 16 * 1024
    head: int = 64 * 1024
    fields: int = 100
    body: int = 16 * 1024 * 1024
    connections: int = 4096
    handshake_seconds: float = 10
    head_seconds: float = 30
    body_seconds: float = 60
    idle_seconds: float = 75
    answer_seconds: float = 60
    drain_seconds: float = 30
