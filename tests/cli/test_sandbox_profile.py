"""The profile that `ibt sandbox` leaves."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cli.conftest import PATIENCE
from ibt.client.profiles import Profile, keep_profile, read_profiles


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "ibt" / "profiles.toml"


def started(folder: Path, file: Path) -> tuple[str, str]:
    """The URL of a sandbox in *folder* that has served once, and what it said."""
    command = [sys.executable, "-m", "ibt", "sandbox", "--dir", str(folder), "--port", "0"]
    environment = {"PATH": "/usr/bin:/bin", "XDG_CONFIG_HOME": str(file.parents[1])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().removeprefix("ready: ").strip()
        process.terminate()
        said = process.stderr.read()
        process.wait(PATIENCE)
    return url, said


def test_it_leads_to_the_sandbox_that_started_last(tmp_path: Path, file: Path) -> None:
    keep_profile(file, "mine", Profile("h"))
    for name in ("one", "two"):
        folder = tmp_path / name
        url, said = started(folder, file)
        expected = Profile(url, folder / "clients" / "xyz.pem", ca=folder / "ca.pem", customer=1)
        assert read_profiles(file) == {"mine": Profile("h"), "sandbox": expected}
        assert "For the command ibt, the profile sandbox leads here: ibt subaccounts --profile sandbox\n" in said
    other = replace(expected, certificate=tmp_path / "two" / "clients" / "two.pem", customer=20)
    keep_profile(file, "sandbox", other)
    url, _ = started(tmp_path / "two", file)
    assert read_profiles(file)["sandbox"] == replace(other, url=url)


def test_what_leads_elsewhere_stays(tmp_path: Path, file: Path) -> None:
    mine = Profile("sandboxsmd.iso-ne.com", Path("/me.pem"), customer=1)
    keep_profile(file, "sandbox", mine)
    _, said = started(tmp_path / "one", file)
    assert read_profiles(file) == {"sandbox": mine}
    assert f"The profile sandbox in {file} is not of a sandbox, so it stays as it is.\n" in said


def test_a_file_that_cannot_be_read_does_not_keep_it_from_serving(tmp_path: Path, file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text("[")
    url, said = started(tmp_path / "one", file)
    assert url.startswith("https://localhost:")
    assert f"No profile is left for the command ibt: {file}: this is not TOML.\n" in said
    assert file.read_text() == "["
