"""
The log: one line on stderr for each request and each event, for people on a terminal and JSON otherwise.

Nothing that a client sends can forge a line: what does not print is escaped before it is rendered. A line that
cannot be written, as the disk is full or nobody reads any more, is lost: the service goes on without it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from typing import TextIO

    from structlog.typing import EventDict, FilteringBoundLogger, Processor

log: FilteringBoundLogger = structlog.get_logger()


def configure() -> None:
    """Sets how the log is written, once for a process."""
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
