"""What an operator sets: which place wins, what is wrong told all at once, and what `ibt serve --check` shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from ibt.cli import main
from ibt.service.limits import Limits
from ibt.service.settings import SETTINGS, Setting, effective, limits, masked

#: A file with all that must be set.
LEAST = 'server_certificate = "server.pem"\nclient_ca = "ca.pem"\ndatabase = "postgresql:///ibt"\n'

NONE: Mapping[str, str] = {}

#: Of each setting: a value as the file has it, as the environment has it, and as an option; all differ.
VALUES: Mapping[str, tuple[object, str, str]] = {
    "host": ("192.0.2.1", "192.0.2.2", "192.0.2.3"),
    "port": (1, "2", "3"),
    "server_certificate": ("/one.pem", "two.pem", "/three.pem"),
    "server_key": ("/one.key", "two.key", "/three.key"),
    "client_ca": ("/one.ca", "two.ca", "/three.ca"),
    "client_crl": ("/one.crl", "two.crl", "/three.crl"),
    "client_crl_expired": ("warn", "refuse", "warn"),
    "trusted_proxies": ("192.0.2.1", "192.0.2.0/24", "2001:db8::1, 192.0.2.3"),
    "proxy_socket": ("/one.sock", "two.sock", "/three.sock"),
    "database": ("postgresql:///one", "postgresql:///two", "sqlite:///three.db"),
    "require_synchronous_standby": (True, "false", "true"),
    "workers": (11, "12", "13"),
    "remember": (11, "12", "13"),
    "operator_host": ("192.0.2.1", "192.0.2.2", "192.0.2.3"),
    "operator_port": (1, "2", "3"),
    "leave_seconds": (0.25, "0.5", "7"),
    "limit_drain_seconds": (0.25, "0.5", "7"),
    **{
        f"limit_{limit.name}": (21, "22", "23")
        for limit in fields(Limits)
        if limit.name != "drain_seconds"
    },
}  # fmt: skip


def write(folder: Path, text: str) -> Path:
    """*text* as the file of settings in *folder*."""
    file = folder / "ibt.toml"
    file.write_text(text, encoding="utf-8")
    return file


def faults(
    folder: Path, text: str = LEAST, variables: Mapping[str, str] = NONE, options: Mapping[str, str] = NONE
) -> list[str]:
    """What is wrong with these settings; the file is called FILE."""
    file = write(folder, text)
    _, found = effective(file, variables, options)
    return [fault.replace(str(file), "FILE") for fault in found]


def as_text(value: object) -> str:
    """A value of the file as the environment would have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def in_file(setting: Setting, value: object) -> str:
    """A file with this setting and no other."""
    table, _, key = setting.key.rpartition(".")
    shown = f'"{value}"' if isinstance(value, str) else as_text(value)
    return (f"[{table}]\n" if table else "") + f"{key} = {shown}\n"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_an_option_wins_over_the_environment_that_over_the_file_that_over_the_default(
    setting: Setting, tmp_path: Path
) -> None:
    file_value, variable_value, option_value = VALUES[setting.name]
    file = write(tmp_path, in_file(setting, file_value))
    option, variable = {setting.name: option_value}, {setting.variable: variable_value}
    found = [
        effective(file, variable, option)[0][setting.name],
        effective(file, variable, {})[0][setting.name],
        effective(file, {}, {})[0][setting.name],
        effective(None, {}, {})[0][setting.name],
    ]
    assert [one.value for one in found] == [one.text and setting.kind.read(one.text) for one in found]
    assert [(one.text, one.source) for one in found] == [
        (option_value, f"option {setting.option}"),
        (variable_value, f"environment {setting.variable}"),
        (as_text(file_value), str(file)),
        (setting.default, "default"),
    ]


def test_an_empty_text_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    file = write(tmp_path, LEAST + 'host = "192.0.2.1"\nport = ""\nserver_key = ""\n')
    found, wrong = effective(file, {"IBT_HOST": "", "IBT_DATABASE": ""}, {"host": "", "workers": ""})
    assert wrong == []
    assert [found[name].source for name in ("host", "database", "port", "server_key", "workers")] == [
        *(str(file), str(file)),
        *("default", "default", "default"),
    ]


def test_what_must_be_set_and_is_not_is_told_with_each_place_where_it_can_be() -> None:
    _, wrong = effective(None, {}, {})
    assert "\n".join(wrong) == (
        "server_certificate is not set: give --server-certificate, IBT_SERVER_CERTIFICATE or the key "
        "server_certificate in the file; it is a PEM file: the server's certificate and its chain.\n"
        "client_ca is not set: give --client-ca, IBT_CLIENT_CA or the key client_ca in the file; it is a PEM file: "
        "the authorities whose client certificates count.\n"
        "database is not set: give --database, IBT_DATABASE or the key database in the file; it is "
        "sqlite:////path/ibt.db or postgresql://…."
    )


WHOLE_65535 = "must be a whole number from 0 to 65535."
NETWORKS = "must be addresses and networks with commas between them, as 192.0.2.1, 2001:db8::/64."
SECONDS = "must be a number of seconds, more than 0 and at most 86400."

BAD_VALUES = [
    ("port", "65536", WHOLE_65535),
    ("port", "-1", WHOLE_65535),
    ("port", "8443.0", WHOLE_65535),
    ("port", " 8443", WHOLE_65535),
    ("port", "٣", WHOLE_65535),
    ("port", "9" * 5000, WHOLE_65535),
    ("workers", "0", "must be a whole number from 1 to 64."),
    ("workers", "65", "must be a whole number from 1 to 64."),
    ("client_crl_expired", "Refuse", "must be refuse or warn."),
    ("require_synchronous_standby", "yes", "must be true or false."),
    ("require_synchronous_standby", "True", "must be true or false."),
    ("trusted_proxies", "192.0.2.1/24", NETWORKS),
    ("trusted_proxies", "proxy.example.org", NETWORKS),
    ("leave_seconds", "-1", "must be a number of seconds, from 0 to 3600."),
    ("leave_seconds", "3601", "must be a number of seconds, from 0 to 3600."),
    ("limit_body", "0", "must be a whole number from 1 to 2147483647."),
    ("limit_body", "16M", "must be a whole number from 1 to 2147483647."),
    ("limit_idle_seconds", "0", SECONDS),
    ("limit_idle_seconds", "86400.1", SECONDS),
    ("limit_idle_seconds", "nan", SECONDS),
    ("limit_idle_seconds", "1_0", SECONDS),
    ("limit_idle_seconds", "a minute", SECONDS),
    ("host", "local\nhost", "must be one line of characters that print."),
    ("client_ca", "ca\0.pem", "must be one line of characters that print."),
]


@pytest.mark.parametrize(("name", "text", "rule"), BAD_VALUES, ids=lambda part: part[:20])
def test_a_value_that_is_wrong_is_told_with_its_place_and_the_rule(
    name: str, text: str, rule: str, tmp_path: Path
) -> None:
    setting = next(setting for setting in SETTINGS if setting.name == name)
    shown = text if text.isprintable() else ascii(text)[1:-1]
    assert faults(tmp_path, variables={setting.variable: text}) == [
        f'{setting.key} is "{shown}", from environment {setting.variable}: it {rule}'
    ]
    assert faults(tmp_path, options={name: text}) == [
        f'{setting.key} is "{shown}", from option {setting.option}: it {rule}'
    ]


BAD_FILES = {
    "an unknown key": ("dtabase = 1", 'FILE has the key "dtabase", which is no setting: see ibt serve --help.'),
    "an unknown limit": (
        "[limits]\nbdy = 1",
        'FILE has the key "limits.bdy", which is no setting: see ibt serve --help.',
    ),
    "a limit outside its table": (
        "limit_body = 1",
        'FILE has the key "limit_body", which is no setting: see ibt serve --help.',
    ),
    "a setting inside the limits": (
        "[limits]\nport = 1",
        'FILE has the key "limits.port", which is no setting: see ibt serve --help.',
    ),
    "a key that does not print": (
        '"a\\nb" = 1',
        'FILE has the key "a\\nb", which is no setting: see ibt serve --help.',
    ),
    "a value for the limits": ("limits = 5", "FILE has a value at the key limits: it must be a table, [limits]."),
    "a number for a text": ("host = 5", "FILE has the wrong kind of value at the key host: it must be a text."),
    "a text for a number": (
        'port = "8443"',
        "FILE has the wrong kind of value at the key port: it must be a whole number.",
    ),
    "a truth for a number": (
        "workers = true",
        "FILE has the wrong kind of value at the key workers: it must be a whole number.",
    ),
    "a text for a truth": (
        'require_synchronous_standby = "true"',
        "FILE has the wrong kind of value at the key require_synchronous_standby: it must be true or false.",
    ),
    "a fraction for a whole number": (
        "port = 8443.0",
        "FILE has the wrong kind of value at the key port: it must be a whole number.",
    ),
    "a list for a file": (
        'server_key = ["a.pem"]',
        "FILE has the wrong kind of value at the key server_key: it must be a text, the path of a file.",
    ),
    "a table for a text": (
        'host = {name = "a"}',
        "FILE has the wrong kind of value at the key host: it must be a text.",
    ),
    "a date for seconds": (
        "[limits]\nidle_seconds = 2015-08-01",
        "FILE has the wrong kind of value at the key limits.idle_seconds: it must be a number of seconds.",
    ),
    "not TOML": ("host: 127.0.0.1", "FILE is not TOML, at line 4, column 5."),
    "TOML cut short": ("[limits", "FILE is not TOML, at end of document."),
    "a number beyond all sense": (f"port = {'9' * 5000}", "FILE is not TOML."),
}


@pytest.mark.parametrize(("text", "fault"), BAD_FILES.values(), ids=BAD_FILES)
def test_what_a_file_must_not_have_is_told_by_its_key(text: str, fault: str, tmp_path: Path) -> None:
    told = faults(tmp_path, LEAST + text)
    assert told[0] == fault
    assert len(told) == (4 if "not TOML" in fault else 1)


def test_a_file_that_is_not_there_or_not_utf_8_is_told(tmp_path: Path) -> None:
    missing, latin = tmp_path / "missing.toml", tmp_path / "latin.toml"
    latin.write_bytes(b'host = "caf\xe9"')
    assert effective(missing, {}, {})[1][0] == f"{missing} cannot be read: No such file or directory."
    assert effective(tmp_path, {}, {})[1][0] == f"{tmp_path} cannot be read: Is a directory."
    assert effective(latin, {}, {})[1][0] == f"{latin} is not UTF-8."


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = 'dtabase = "x"\nworkers = "many"\nport = 99999\n[limits]\nhead = -1\nbdy = 2\n'
    told = faults(tmp_path, text, {"IBT_LIMIT_BODY": "much"}, {"limit_fields": "few"})
    assert [fault.partition(":")[0].partition(",")[0] for fault in told] == [
        'FILE has the key "dtabase"',
        'FILE has the key "limits.bdy"',
        "FILE has the wrong kind of value at the key workers",
        'port is "99999"',
        "server_certificate is not set",
        "client_ca is not set",
        "database is not set",
        'limits.head is "-1"',
        'limits.fields is "few"',
        'limits.body is "much"',
    ]
    assert all(fault.endswith(".") and "\n" not in fault for fault in told)


RELATIVE = [
    ("server_certificate", "server.pem", "FOLDER/server.pem"),
    ("server_key", "keys/server.pem", "FOLDER/keys/server.pem"),
    ("client_ca", "/etc/ca.pem", "/etc/ca.pem"),
    ("database", "sqlite:///ibt.db", "sqlite:///FOLDER/ibt.db"),
    ("database", "sqlite:////var/ibt.db", "sqlite:////var/ibt.db"),
    ("database", "sqlite:///:memory:", "sqlite:///:memory:"),
    ("database", "postgresql:///ibt", "postgresql:///ibt"),
    ("host", "host.pem", "host.pem"),
]


@pytest.mark.parametrize(("name", "text", "expected"), RELATIVE)
def test_a_relative_path_of_the_file_is_relative_to_its_folder_and_any_other_to_where_we_stand(
    name: str, text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = next(setting for setting in SETTINGS if setting.name == name)
    file = write(tmp_path, in_file(setting, text))
    monkeypatch.chdir(tmp_path.parent)
    for path in (file, file.relative_to(tmp_path.parent)):
        one = effective(path, {}, {})[0][name]
        assert (one.text, str(one.value)) == (expected.replace("FOLDER", str(tmp_path)),) * 2
    assert effective(file, {setting.variable: text}, {})[0][name].text == text
    assert effective(file, {}, {name: text})[0][name].text == text


def test_the_limits_of_the_file_are_those_of_the_door(tmp_path: Path) -> None:
    file = write(tmp_path, LEAST + "[limits]\nbody = 1000\nhead_seconds = 2\ndrain_seconds = 0.5\n")
    found, wrong = effective(file, {"IBT_LIMIT_FIELDS": "7"}, {"limit_connections": "8"})
    assert wrong == []
    assert limits(found) == Limits(body=1000, head_seconds=2.0, drain_seconds=0.5, fields=7, connections=8)
    assert limits(effective(file.parent / "none", {}, {})[0]) == Limits()


PASSWORDS = {
    "none": ("postgresql:///ibt", "postgresql:///ibt"),
    "a user without one": ("postgresql://ibt@db/ibt", "postgresql://ibt@db/ibt"),
    "a port": ("postgresql://db:5432/ibt", "postgresql://db:5432/ibt"),
    "a user with one": ("postgresql://ibt:hunter2@db:5432/ibt", "postgresql://ibt:***@db:5432/ibt"),
    "no user but one": ("postgresql://:hunter2@db/ibt", "postgresql://:***@db/ibt"),
    "one with signs": ("postgresql://ibt:h:u/n?t#e@r2&=@db/ibt", "postgresql://ibt:***@db/ibt"),
    "one encoded": ("postgresql://ibt:hunter%402@db/ibt", "postgresql://ibt:***@db/ibt"),
    "one over two lines": ("postgresql://ibt:hun\nter2@db/ibt", "postgresql://ibt:***@db/ibt"),
    "a parameter": ("postgresql:///ibt?password=hunter2", "postgresql:///ibt?password=***"),
    "a parameter among others": (
        "postgresql:///ibt?user=ibt&password=hunter2&host=/run/postgresql",
        "postgresql:///ibt?user=ibt&password=***&host=/run/postgresql",
    ),
    "a parameter twice": ("postgresql:///?password=hunter2&password=hunter3", "postgresql:///?password=***&password=***"),
    "that of the key": ("postgresql:///ibt?sslpassword=hunter2&x=1", "postgresql:///ibt?sslpassword=***&x=1"),
    "both": ("postgresql://a:hunter2@db/ibt?password=hunter3", "postgresql://a:***@db/ibt?password=***"),
    "several hosts": (
        "postgresql://a:hunter2@/ibt?host=one:5432&host=two:5432",
        "postgresql://a:***@/ibt?host=one:5432&host=two:5432",
    ),
    "another driver": ("postgresql+psycopg://a:hunter2@db/ibt", "postgresql+psycopg://a:***@db/ibt"),
    "no URL but what libpq takes": ("host=db password=hunter2 dbname=ibt", "host=db password=*** dbname=ibt"),
    "the same with quotes": ("password = 'hun ter2' host=db", "password = *** host=db"),
    "SQLite": ("sqlite:////var/lib/ibt/ibt.db", "sqlite:////var/lib/ibt/ibt.db"),
}  # fmt: skip


@pytest.mark.parametrize(("url", "shown"), PASSWORDS.values(), ids=PASSWORDS)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert masked(url) == shown
    found, wrong = effective(None, {}, {"database": url})
    assert "hunter" not in "".join([*map(str, found.values()), *wrong])


def test_every_setting_has_a_value_here_and_says_what_it_is() -> None:
    assert VALUES.keys() == {setting.name for setting in SETTINGS}
    assert all(setting.says for setting in SETTINGS)
    assert {setting.name.removeprefix("limit_") for setting in SETTINGS} >= {limit.name for limit in fields(Limits)}


# --- the command ------------------------------------------------------------------------------------------


def checked(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[str], list[str]]:
    """What `ibt serve --check` ends with and says: exit status, lines of stdout, lines of stderr."""
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--check", *options])
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.out.splitlines(), said.err.splitlines()


def test_check_shows_every_setting_and_where_it_came_from_even_where_some_are_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, LEAST.replace("postgresql:///ibt", "postgresql://ibt:hunter2@db/ibt") + "workers = 0\n")
    monkeypatch.setenv("IBT_LIMIT_BODY", "1000")
    status, out, err = checked(capsys, "--config", str(file), "--port", "9443")
    assert status == 2
    assert err == [f'workers is "0", from {file}: it must be a whole number from 1 to 64.']
    assert [line.partition(" = ")[0] for line in out] == [setting.key for setting in SETTINGS]
    assert {line for line in out if "# default" not in line} == {
        "port = 9443  # option --port",
        f"server_certificate = {tmp_path / 'server.pem'}  # {file}",
        f"client_ca = {tmp_path / 'ca.pem'}  # {file}",
        f"database = postgresql://ibt:***@db/ibt  # {file}",
        f"workers = 0  # {file}",
        "limits.body = 1000  # environment IBT_LIMIT_BODY",
    }
    assert "server_key = (not set)  # default" in out


def test_without_check_what_is_wrong_is_all_that_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["serve", "--config", str(write(tmp_path, LEAST + "port = -1\nhots = 1\n"))])
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 2
