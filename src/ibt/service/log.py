"""
The log: one line on stderr for each request and each event, for people on a terminal and JSON otherwise.

The line of a request that was answered is written most by far, and goes a shorter way: docs/decisions/0027.

Nothing that a client sends can forge a line: what does not print is escaped before it is rendered. A line that
cannot be written, as the disk is full or nobody reads any more, is lost: the service goes on without it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from datetime import UTC, datetime
from json import JSONEncoder
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from structlog.typing import EventDict, FilteringBoundLogger, Processor

log: FilteringBoundLogger = structlog.get_logger()


def log_answered(level: str, known: dict[str, object]) -> None:
    """Writes the line of a request that was answered: what is *known* of it, at *level*, "info" or "error"."""
    _write_answered(level, known)


def _by_structlog(level: str, known: dict[str, object]) -> None:
    getattr(log, level)("request", **known)


_write_answered: Callable[[str, dict[str, object]], None] = _by_structlog


def configure() -> None:
    """Sets how the log is written, once for a process."""
    global _write_answered  # noqa: PLW0603 - as structlog's own configuration, it is the process's
    on_terminal = sys.stderr.isatty()
    renderers: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if on_terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _escape,
            *renderers,
        ],
        # In one write, line and its end: several processes share stderr.
        logger_factory=structlog.WriteLoggerFactory(_Losing(sys.stderr)),  # type: ignore[arg-type]  # all that is used
        cache_logger_on_first_use=True,
    )
    _write_answered = _by_structlog if on_terminal else _as_json(_Losing(sys.stderr))
    logging.basicConfig(handlers=[_Others()], level=logging.WARNING, force=True)


class _Losing:
    """What is written to *stream*, without what it cannot take."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Writes *text*, or a part of it, or nothing."""
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Hands on what was written."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def _as_json(stream: _Losing) -> Callable[[str, dict[str, object]], None]:
    """What writes the line that structlog would, to *stream*."""
    encode = JSONEncoder(default=repr).encode

    def write(level: str, known: dict[str, object]) -> None:
        time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        event: EventDict = {**known, "event": "request", "level": level, "time": time}
        line = encode(event)
        if "\\" in line:  # without one, nothing in it had to be escaped
            line = encode(_escape(None, level, event))
        stream.write(f"{line}\n")

    return write


class _Others(logging.Handler):
    """What libraries have to say, in the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def _escape(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {key: _printable(value) if isinstance(value, str) else value for key, value in event.items()}


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
