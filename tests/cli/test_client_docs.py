"""docs/client.md: each command is run as it stands, and must answer as it is printed; so must its programs."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from test_readme import PORT, answers, sandbox, steps

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()

#: A program, whose first line is its file's name.
_PROGRAM = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_transcript_is_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    printed = steps(PAGE)
    assert len(printed) > 15
    folder = tmp_path / "sandbox"
    with sandbox(folder) as port:
        for name, text in _PROGRAM.findall(PAGE):
            (folder / name).write_text(text.replace(PORT, port))
        commands = [command.replace(PORT, port) for command, _ in printed]
        answered = [answer.replace(port, PORT) for answer in answers(commands, folder)]
    steps_answered = zip(printed, answered, strict=True)
    wrong = [(command, expected, answer) for (command, expected), answer in steps_answered if answer != expected]
    assert not wrong, "\n".join(f"$ {command}\n- {expected}+ {answer}" for command, expected, answer in wrong)
