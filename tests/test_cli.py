"""The command `ibt`: what it says of itself, and of options that it cannot use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ibt.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Runs the command in this process: exit status, stdout, stderr."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_version_names_the_specification_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, "ibt 0.1.0 (specification 1.0)\n", "")


def test_the_module_runs_as_the_command() -> None:
    ran = subprocess.run([sys.executable, "-m", "ibt", "--version"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "ibt 0.1.0 (specification 1.0)\n")


@pytest.mark.parametrize("command", [(), ("sandbox",)])
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    status, out, err = run(capsys, *command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(" ".join(("Usage: ibt", *command)))
    assert "Example" in out
    assert "ibt sandbox --" in out


@pytest.mark.parametrize(
    "option", ["--dir", "--data", "--host", "--port", "--database", "--now", "--workers", "--fresh"]
)
def test_help_of_the_sandbox_names_each_option(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert f"\n  {option} " in run(capsys, "sandbox", "--help")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sandbox", "--port", "x"), "'--port'"),
        (("sandbox", "--port", "-1"), "'--port'"),
        (("sandbox", "--port", "65536"), "'--port'"),
        (("sandbox", "--workers", "0"), "'--workers'"),
        (("sandbox", "--workers", "65"), "'--workers'"),
        (("sandbox", "--now", "2015-07-11"), "write it as 2015-08-01T04:00:00Z"),
        (("sandbox", "--now", "2015-07-11T12:01:22"), "write it as"),
        (("sandbox", "--now", "2015-07-11T12:01:22+00:00"), "write it as"),
        (("sandbox", "--now", "2015-07-11T12:01:22.5Z"), "write it as"),
        (("sandbox", "--now", "2015-02-30T00:00:00Z"), "'--now'"),
        (("sandbox", "--host", ""), "not a host name"),
        (("sandbox", "--host", "a host"), "not a host name"),
        (("sandbox", "--host", "-a"), "not a host name"),
        (("sandbox", "--host", "a" * 64), "not a host name"),
        (("sandbox", "--host", "fe80::1%eth0"), "names an interface"),
        (("sandbox", "--nonsense"), "--nonsense"),
        (("sandbox", "extra"), "extra"),
        (("nonsense",), "nonsense"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_help_is_there_before_the_libraries_of_the_service() -> None:
    check = "import sys, ibt.cli; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert not {"sqlalchemy", "cryptography", "uvicorn", "lxml", "rich"} & set(ran.stdout.split())
