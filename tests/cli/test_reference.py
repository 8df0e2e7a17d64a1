"""docs/cli.md, and what `--help` says of each command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import Command, Sandbox
from ibt.cli import reference
from ibt.cli.options import STATUSES

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"

COMMANDS = ["subaccounts", "mappings", "mapping", "plan", "apply", "undo", "doctor"]


def test_the_page_is_what_the_program_says() -> None:
    assert PAGE.read_text() == reference.page(), "make docs makes it anew"


@pytest.mark.parametrize("command", [*COMMANDS, "profile add", "profile list", "profile remove"])
def test_the_help_of_each_command_has_an_example(ibt: Command, command: str) -> None:
    ran = ibt(*command.split(), "--help")
    assert ran.status == 0
    assert f"Examples:\n    ibt {command}" in ran.out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_who_asks_in_the_same_way(ibt: Command, command: str) -> None:
    out = ibt(command, "--help").out
    for name in ("profile", "url", "certificate", "key", "password", "ca", "customer", "verbose"):
        assert f" --{name}" in out


def test_the_page_has_every_exit_status() -> None:
    assert [status for status in STATUSES if f"\n| {status} | " not in PAGE.read_text()] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_completion_for_each_shell(shell: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "ibt", "--show-completion", shell],
        env=os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_IBT_COMPLETE" in ran.stdout


def test_completion_knows_profiles(sandbox: Sandbox) -> None:
    asked = {"_IBT_COMPLETE": "complete_bash", "COMP_WORDS": "ibt mappings --profile s", "COMP_CWORD": "3"}
    environment = os.environ | asked | {"XDG_CONFIG_HOME": str(sandbox.config.parent)}
    command = [sys.executable, "-c", "from ibt.cli import main; main()"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["sandbox"]
