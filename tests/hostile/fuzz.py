"""
Mutated requests to the application in this process, and what is wrong with its answers.

    .venv/bin/python tests/hostile/fuzz.py [HOW MANY]

goes on from where the last run ended, which `.build/fuzz/position` says, and writes what it finds to
`.build/fuzz/findings`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mutations
import structlog
from inside import Answer, Inside, Request, inside

#: What would show that our own texts, or a library's, have come through.
TRACES = (
    *("Traceback", "lxml", "libxml", "sqlalchemy", "sqlite3", "psycopg", "SELECT ", "site-packages", "{http", ".py"),
    *("<class", "object at 0x", "None", "unforeseen", "root:x:0"),
)

#: What a single request may take, in seconds, on a machine that does other things too.
MOST_SECONDS = 5.0

#: The world is made anew after so many requests, so that histories stay short.
_SO_LONG = 2_000

#: A run takes note of its position after so many.
_STEP = 1_000

_BUILD = Path(__file__).parents[2] / ".build" / "fuzz"


@dataclass
class Course:
    """What came of some requests: how many of each kind, such as `POST 400`, and what was wrong."""

    answers: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    findings: list[str] = field(default_factory=list)


def run(served: Inside, numbers: range, course: Course) -> None:
    """Asks the requests of *numbers* one after another and adds what comes of them to *course*."""
    for number in numbers:
        if number % _SO_LONG == 0:
            served.load()
        asked = mutations.request(number)
        before = served.state()
        began = time.perf_counter()
        try:
            answer = served.ask(asked)
        except TimeoutError:
            course.findings.append(f"{number}: no answer")
            continue
        except Exception as error:  # whatever comes out of the application is a finding
            course.findings.append(f"{number}: {error!r}")
            continue
        took = time.perf_counter() - began
        course.answers[f"{asked.method} {answer.status}"] += 1
        course.slowest = max(course.slowest, took)
        if took > MOST_SECONDS:
            course.findings.append(f"{number}: took {took:.1f} seconds")
        changed = before != served.state()
        course.findings += [f"{number}: {what}" for what in wrong(asked, answer, changed=changed)]


def wrong(asked: Request, answer: Answer, *, changed: bool) -> Iterator[str]:
    """What is wrong with *answer*, whether or not the request was."""
    if answer.status >= 500 or answer.status < 200:
        yield f"status {answer.status}: {answer.body!r}"
    if changed and (answer.status != 200 or asked.method != "POST"):
        yield f"changed something, by {asked.method} with {answer.status}"
    if answer.status >= 400:
        yield from _wrong_text(asked, answer)
    elif answer.status == 200 and not answer.headers["content-type"].endswith("xml;charset=UTF-8"):
        yield f"has the type {answer.headers['content-type']}"


def _wrong_text(asked: Request, answer: Answer) -> Iterator[str]:
    if answer.headers["content-type"] != "text/plain;charset=UTF-8":
        yield f"has the type {answer.headers['content-type']}"
    try:
        text = answer.text
    except UnicodeDecodeError as error:
        yield f"is not UTF-8: {error}"
        return
    lines = text.split("\n")
    if lines.pop() != "" or not 1 <= len(lines) <= 101 or not all(line and line.isprintable() for line in lines):
        yield f"has lines that are not lines: {text!r}"
    ours = b" ".join((asked.target, asked.body, *(value for _, value in asked.fields)))
    for trace in TRACES:
        if trace in text and trace.encode() not in ours:
            yield f"betrays {trace}: {text!r}"


@dataclass(frozen=True)
class _Log:
    """Takes the log's lines: what an error logs is a finding of its own, the rest is not looked at."""

    course: Course

    def __call__(self, _logger: object, method: str, event: structlog.typing.EventDict) -> Any:  # Any: it only raises
        if method in ("error", "exception", "critical"):
            self.course.findings.append(f"logged {event!r}"[:2_000])
        raise structlog.DropEvent


def fuzz(database_url: str, folder: Path, numbers: range) -> Iterator[tuple[int, Course]]:
    """What came of each thousand requests, with the number of the next one, while the application answers them."""
    with inside(database_url, folder) as served:
        try:
            for begin in range(numbers.start, numbers.stop, _STEP):
                end = min(begin + _STEP, numbers.stop)
                course = Course()
                structlog.configure(processors=[_Log(course)], cache_logger_on_first_use=False)
                run(served, range(begin, end), course)
                yield end, course
        finally:
            structlog.reset_defaults()


def main() -> int:
    """Runs so many requests as the command line says from the last position on; 1 where something was found."""
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    _BUILD.mkdir(parents=True, exist_ok=True)
    position = _BUILD / "position"
    start = int(position.read_text()) if position.exists() else 0
    whole = Course()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for end, course in fuzz(f"sqlite:///{folder / 'ibt.db'}", folder / "world", range(start, start + many)):
            whole.answers += course.answers
            whole.slowest = max(whole.slowest, course.slowest)
            whole.findings += course.findings
            with (_BUILD / "findings").open("a", encoding="utf-8") as findings:
                findings.writelines(f"{finding}\n" for finding in course.findings)
            position.write_text(str(end))
            _say(f"\r{end:,} of {start + many:,}, {len(whole.findings)} found")
    _say("\n" + ", ".join(f"{kind}: {count:,}" for kind, count in whole.answers.most_common()))
    _say(f"\nThe slowest took {whole.slowest * 1000:.0f} ms.\n")
    return 1 if whole.findings else 0


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
