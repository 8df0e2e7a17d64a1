"""
The README, and the pages with transcripts: each command is run as it stands, and must answer as it is printed.

A transcript is a `console` block: a line after `$ ` is a command, what follows is its answer. The commands of a
page run one after the other in one shell, in the folder of a fresh sandbox whose clock is frozen; only the port
is another one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest

from ibt.service.limits import Limits

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()
PAGES = ["README.md", "docs/sandbox.md", "docs/api.md"]

#: The time at which the pages start the sandbox, and its port.
NOW = "2015-07-11T12:01:22Z"
PORT = "localhost:8443"

PATIENCE = 60

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STEP = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


def steps(page: str) -> list[tuple[str, str]]:
    """The commands of a page's transcripts, each with the answer that is printed."""
    return [step for block in _BLOCK.findall(page) for step in _STEP.findall(block)]


def answers(commands: list[str], folder: Path) -> list[str]:
    """What *commands* print, one after the other in one shell that stands in *folder*."""
    script = "\n".join(f"{command}\nprintf '\\0'" for command in commands)
    ran = subprocess.run(["sh", "-c", script], cwd=folder, stdout=subprocess.PIPE, timeout=PATIENCE, check=True)
    return ran.stdout.decode().split("\0")[:-1]


@contextmanager
def sandbox(folder: Path) -> Iterator[str]:
    """Runs a sandbox in *folder* while the `with` lasts; gives its host and port."""
    command = [sys.executable, "-m", "ibt", "sandbox", "--dir", str(folder), "--port", "0", "--now", NOW]
    with (
        folder.with_suffix(".log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            ready = re.match("ready: https://(localhost:[0-9]+)/", process.stdout.readline())
            assert ready is not None
            yield ready[1]
        finally:
            process.terminate()


@pytest.mark.parametrize("page", PAGES)
def test_every_transcript_is_what_the_sandbox_answers(page: str, tmp_path: Path) -> None:
    printed = steps((PROJECT / page).read_text())
    assert printed
    folder = tmp_path / "sandbox"
    with sandbox(folder) as port:
        commands = [command.replace(PORT, port) for command, _ in printed]
        answered = [answer.replace(port, PORT) for answer in answers(commands, folder)]
    steps_answered = zip(printed, answered, strict=True)
    wrong = [(command, expected, answer) for (command, expected), answer in steps_answered if answer != expected]
    assert not wrong, "\n".join(f"$ {command}\n- {expected}+ {answer}" for command, expected, answer in wrong)


def test_the_readme_has_under_120_lines() -> None:
    assert len(README.splitlines()) < 120


def test_every_make_target_in_the_readme_exists() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)", "\n".join(re.findall(r"`[^`]+`", README))))
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert {"sandbox", "test"} <= named <= targets


@pytest.mark.parametrize("page", sorted(path.name for path in PROJECT.glob("*.md")))
def test_every_link_to_a_file_leads_to_one(page: str) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", (PROJECT / page).read_text())
    assert [link for link in links if not (PROJECT / link).exists()] == []


def test_every_limit_is_on_the_page_for_operators_with_its_default() -> None:
    page = (PROJECT / "docs" / "operate.md").read_text()
    told = dict(re.findall(r"^\| `IBT_LIMIT_([A-Z_]+)` \| ([0-9]+) \|", page, re.MULTILINE))
    assert told == {field.name.upper(): str(field.default) for field in fields(Limits)}
