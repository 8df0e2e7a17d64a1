"""The conformance checks that any server must pass, asked of a service on PostgreSQL."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import postgresql as the_tests_own
from ibt import conformance
from ibt.conformance.server import sandbox

SUITE = Path(conformance.__file__).parent


def test_the_service_on_postgresql_conforms(postgresql: the_tests_own.Server, tmp_path: Path) -> None:
    with postgresql.database() as url:
        options = ("--data", str(SUITE / "world"), "--database", url)
        with sandbox(tmp_path / "sandbox", *options) as served:
            asked = subprocess.run(
                [
                    *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SUITE)),
                    *("--server-url", served.url, "--certificates", str(tmp_path / "sandbox")),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
    assert asked.returncode == 0, asked.stdout[-4000:]
    (passed,) = re.findall(r"(\d+) passed", asked.stdout)
    assert int(passed) > 900
