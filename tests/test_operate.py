"""
The operators' page is followed step by step, and what it and `deploy/` say of settings is what there is.

The page's `sh` blocks are run in their order in one shell, in other places than the page's. What needs a package
manager or systemd stands in `console` blocks: each of their commands is known here, with what takes its place.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from configparser import RawConfigParser
from pathlib import Path

import psycopg
import pytest

from ibt.service.settings import SETTINGS, Setting, effective
from ibt.store import Database
from postgresql import Server

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs" / "operate.md").read_text()
UNIT = PROJECT / "deploy" / "ibt.service"
FILE = PROJECT / "deploy" / "ibt.toml"

PATIENCE = 120
WORKERS = 2

_BLOCK = re.compile(r"^```(sh|console|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r'^([A-Z_]+)=("[^"]*"|\S*)', re.MULTILINE)

BLOCKS: list[tuple[str, str]] = _BLOCK.findall(PAGE)
PLACES = {name: value.strip('"') for name, value in _PLACE.findall(BLOCKS[0][1])}

#: systemd, as far as the page needs it: the service is started, told, ended.
_START = """mkfifo ready 2> ibt.err || true
"$PROGRAM/bin/ibt" serve --config "$ETC/ibt.toml" > ready 2>> service.log &
service=$!
read -r ready < ready
"""
_READ_ANEW = "grep -o 'certificates read anew' service.log | wc -l"
_RELOAD = f"""read_anew=$({_READ_ANEW})
kill -HUP $service
while [ "$({_READ_ANEW})" -lt $((read_anew + {WORKERS})) ]; do kill -0 $service; done
"""
_END = """kill $service
wait $service
"""

#: The commands that are not run as they stand: how each begins, and what is run in its place.
INSTEAD: Mapping[str, str] = {
    "apt-get ": "",
    "useradd ": "",
    "python3 -m venv $PROGRAM": "",
    "$PROGRAM/bin/pip install ": "",
    "cp $SOURCE/deploy/ibt.service ": "",
    "systemctl daemon-reload": "",
    "systemctl enable --now ibt": _START,
    "systemctl reload ibt": _RELOAD,
    "systemctl restart ibt": _END + _START,
    "journalctl -u ibt": "",
    "$AS_IBT $PROGRAM/bin/ibt db upgrade ": "$AS_IBT $PROGRAM/bin/ibt db upgrade --config $ETC/ibt.toml\n",
}


def commands(block: str) -> list[str]:
    """The commands of a `console` block."""
    lines = block.splitlines()
    assert all(line.startswith("# ") for line in lines)
    return [line.removeprefix("# ") for line in lines]


def instead(command: str) -> str:
    """What is run in the place of *command*."""
    (text,) = (text for begin, text in INSTEAD.items() if command.startswith(begin))
    return text


def script(places: Mapping[str, str]) -> str:
    """The page as a script that ends each `sh` block with a NUL on stdout."""
    assert places.keys() == PLACES.keys()
    parts = ["set -eu", *(f"{name}='{value}'" for name, value in places.items())]
    parts += ["service=", "trap '[ -z \"$service\" ] || kill $service 2> ibt.err || true' EXIT", "printf '\\0'"]
    for kind, block in BLOCKS[1:]:
        if kind == "sh":
            parts += [block, "printf '\\0'"]
        elif kind == "console":
            parts += map(instead, commands(block))
    return "\n".join([*parts, _END, "service=", ""])


@pytest.fixture
def server(postgresql: Server) -> Iterator[Server]:
    """The tests' own PostgreSQL without the role and the database that the page makes."""

    def clear() -> None:
        with psycopg.connect(postgresql.url("postgres"), autocommit=True) as connection:
            connection.execute("drop database if exists ibt with (force)")
            connection.execute(f'drop role if exists "{getpass.getuser()}"'.encode())

    clear()
    yield postgresql
    clear()


@pytest.mark.timeout(2 * PATIENCE)
def test_the_page_leads_from_an_empty_machine_to_a_service_and_through_its_life(
    server: Server, tmp_path: Path
) -> None:
    user = getpass.getuser()
    program = tmp_path / "program"
    program.symlink_to(PROJECT / ".venv")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    places = {
        "SOURCE": str(PROJECT),
        "PROGRAM": str(program),
        "ETC": str(tmp_path / "etc"),
        "AUTHORITY": str(tmp_path / "authority"),
        "MARKET": str(tmp_path / "market"),
        "RUN_USER": user,
        "DATABASE": f"postgresql://{user}@127.0.0.1:{server.port}/ibt",
        "HOST": "localhost",
        "PORT": str(port),
        "AS_POSTGRES": "",
        "AS_IBT": "",
    }
    where = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "ibt", "IBT_WORKERS": str(WORKERS)}
    ran = subprocess.run(
        ["sh"],
        input=script(places),
        cwd=tmp_path,
        env={**os.environ, **where},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    log = tmp_path / "service.log"
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}\n{log.read_text() if log.exists() else ''}"
    told = dict(zip([block for kind, block in BLOCKS if kind == "sh"], ran.stdout.split("\0"), strict=False))
    assert [line.split(" = ")[0] for line in answer(told, "--check").splitlines()] == [one.key for one in SETTINGS]
    assert answer(told, "curl").count("<contract_subaccount_mapping_version>") == 2
    enddate = ["openssl", "x509", "-noout", "-enddate", "-in", str(tmp_path / "etc" / "server.pem")]
    assert answer(told, "s_client") == subprocess.run(enddate, capture_output=True, text=True, check=True).stdout
    users = [(tmp_path / "market" / place / "users.csv").read_text() for place in ("in", "out")]
    assert ["abc,2,IBT" in text for text in users] == [True, False]
    assert (tmp_path / "market" / "backup").stat().st_size > 0


def answer(told: Mapping[str, str], part: str) -> str:
    """What the one block with *part* in it printed."""
    (text,) = (text for block, text in told.items() if part in block)
    return text


# --- what is not run as it stands -------------------------------------------------------------------------


def test_every_command_that_is_not_run_is_known_here() -> None:
    shown = [command for kind, block in BLOCKS if kind == "console" for command in commands(block)]
    assert {begin for begin in INSTEAD if not any(command.startswith(begin) for command in shown)} == set()
    for command in shown:
        assert instead(command) is not None


def test_the_page_installs_as_the_makefile_does() -> None:
    page = re.findall(r"^# \$PROGRAM/bin/pip (install .*)$", PAGE, re.MULTILINE)
    makefile = re.findall(r"\$\(PIP\) (install .*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    as_there = [line.replace("$SOURCE/", "").replace("$SOURCE", "--editable .") for line in page]
    assert as_there == 2 * makefile


def test_the_unit_runs_what_the_page_installs() -> None:
    unit = section("Service")
    program = f"{PLACES['PROGRAM']}/bin/ibt serve --config {PLACES['ETC']}/ibt.toml"
    assert (unit["ExecStart"], unit["User"]) == (program, PLACES["RUN_USER"])
    assert f"useradd --system --home-dir /var/lib/{unit['StateDirectory']} " in PAGE
    assert PLACES["AS_IBT"] == f"runuser -u {unit['User']} --"


def test_the_unit_leaves_time_and_files_for_the_limits() -> None:
    unit = section("Service")
    defaults = {setting.name: setting.default or "" for setting in SETTINGS}
    assert int(unit["TimeoutStopSec"]) > float(defaults["limit_drain_seconds"])
    assert int(unit["LimitNOFILE"]) >= 2 * int(defaults["limit_connections"]) + 256


def section(name: str) -> Mapping[str, str]:
    """The values of a section of the unit; of a key that is there twice the last."""
    parser = RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys have capitals
    parser.read_string(UNIT.read_text())
    return dict(parser[name])


def test_systemd_takes_the_unit_and_finds_it_shut_in(tmp_path: Path) -> None:
    unit = tmp_path / "ibt.service"
    unit.write_text(UNIT.read_text().replace(f"{PLACES['PROGRAM']}/bin/ibt ", "/bin/true "))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", str(unit)]
    assert subprocess.run(judged, capture_output=True, check=False).returncode == 0


# --- settings ---------------------------------------------------------------------------------------------


def row(setting: Setting) -> str:
    """The row of the page's table for a setting."""
    default = "one for each core" if setting.name == "workers" else setting.default or "none"
    says = setting.says + (" (must be set)" if setting.required else "")
    return f"| `{setting.variable}` | {default} | `{setting.key}` | {says} |"


def test_the_table_of_settings_is_made_from_them() -> None:
    expected = [row(setting) for setting in SETTINGS]
    assert [line for line in PAGE.splitlines() if line.startswith("| `IBT_")] == expected, "\n".join(expected)


def test_the_file_of_settings_has_each_of_them_at_its_default_and_says_what_it_is(tmp_path: Path) -> None:
    text = FILE.read_text()
    commented = re.sub(r"^#(?=[a-z])", "", text, flags=re.MULTILINE)
    content = tomllib.loads(commented)
    flat = content | {f"limits.{name}": value for name, value in content.pop("limits").items()}
    assert list(flat) == [setting.key for setting in SETTINGS]
    defaults = {setting.key: setting.default for setting in SETTINGS if setting.name != "workers"}
    texts = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in flat.items()}
    given = {key: text for key, text in texts.items() if defaults.get(key)}
    assert given == {key: default for key, default in defaults.items() if default}
    for setting in SETTINGS:
        (says,) = re.findall(rf"^# (.*)\.?\n#?{setting.key.removeprefix('limits.')} = ", text, re.MULTILINE)
        said = says.removeprefix("Seconds: ").rstrip(".")
        assert said[0].lower() + said[1:] == setting.says[0].lower() + setting.says[1:]
    assert effective(FILE, {}, {})[1] == []


@pytest.mark.parametrize("text", [block for kind, block in BLOCKS if kind == "toml"])
def test_settings_that_the_page_shows_are_such(text: str, tmp_path: Path) -> None:
    file = tmp_path / "ibt.toml"
    file.write_text(text)
    found, _ = effective(file, {}, {"server_certificate": "server.pem", "client_ca": "ca.pem"})
    assert found["database"].source == str(file)
    Database(found["database"].value).close()
