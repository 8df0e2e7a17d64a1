"""
What an operator sets, and where each setting came from.

A setting is an option of `ibt serve`, an environment variable `IBT_…` or a key of the TOML file; an option
wins over the environment, that over the file, that over the default. All of it is read and judged at once,
so that an operator learns of every fault together. What `SETTINGS` does not list does not exist.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import sqlalchemy

from ibt.service.limits import Limits

#: The section of the file in which the limits stand.
_LIMITS = "limits"


@dataclass(frozen=True, slots=True)
class Setting:
    """
    One setting: its name, how its text is read (raising ValueError with the end of a sentence), its default.

    *says* is for people. A setting without a default must be set; an empty text is no value.
    """

    name: str
    read: Callable[[str], Any]  # Any: each setting has a value of its own kind
    default: str | None
    says: str
    required: bool = False

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"IBT_{self.name.upper()}"


@dataclass(frozen=True, slots=True)
class Effective:
    """The value of a setting, as text and as what it means, and where it came from."""

    setting: Setting
    text: str | None
    value: Any  # Any: see Setting.read
    source: str

    def __str__(self) -> str:
        return f"{self.setting.name} = {_masked(self.text) if self.text else '(not set)'}  # {self.source}"


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return read


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86_400:
        raise ValueError("must be a number of seconds, more than 0 and at most 86400")
    return value


_CORES = str(os.cpu_count() or 1)

SETTINGS: tuple[Setting, ...] = (
    Setting("host", str, "127.0.0.1", "the address or name to listen on"),
    Setting("port", _whole(0, 65535), "8443", "the port to listen on; 0 picks a free one"),
    Setting("server_certificate", Path, None, "a PEM file: the server's certificate and its chain", required=True),
    Setting("server_key", Path, None, "a PEM file: the server's private key, where server_certificate has none"),
    Setting("client_ca", Path, None, "a PEM file: the authorities whose client certificates count", required=True),
    Setting("database", str, None, "sqlite:////path/ibt.db or postgresql://…", required=True),
    Setting("workers", _whole(1, 64), _CORES, "how many processes serve; as many as there are cores"),
    *(
        Setting(
            f"limit_{limit.name}",
            _seconds if limit.name.endswith("_seconds") else _whole(1, 2**31 - 1),
            f"{limit.default:g}" if isinstance(limit.default, float) else str(limit.default),
            f"a limit of the door: {limit.name.replace('_', ' ')}",
        )
        for limit in fields(Limits)
    ),
)


def effective(
    file: Path | None, environment: Mapping[str, str], options: Mapping[str, str | None]
) -> tuple[dict[str, Effective], list[str]]:
    """
    Each setting's value by its name, and what is wrong: one sentence for each fault, none where all is well.

    *options* has the texts of the options that were given. Paths of the file are relative to its folder.
    """
    faults: list[str] = []
    of_file = _of_file(file, faults) if file else {}
    found: dict[str, Effective] = {}
    for setting in SETTINGS:
        text, source = _text(setting, of_file, environment, options, file)
        value = None
        if text:
            try:
                value = setting.read(text)
            except ValueError as error:
                faults.append(f'{setting.name} is "{text}", from {source}: it {error}.')
            if isinstance(value, Path) and file is not None and source == str(file):
                value = file.parent / value
        elif setting.required:
            faults.append(
                f"{setting.name} is not set: give --{setting.name.replace('_', '-')}, {setting.variable} or the key "
                f"{setting.name} in the file; it is {setting.says}."
            )
        found[setting.name] = Effective(setting, text, value, source)
    return found, faults


def limits(found: Mapping[str, Effective]) -> Limits:
    """The limits of the door among the effective settings."""
    return Limits(**{limit.name: found[f"limit_{limit.name}"].value for limit in fields(Limits)})


def _text(
    setting: Setting,
    of_file: Mapping[str, str],
    environment: Mapping[str, str],
    options: Mapping[str, str | None],
    file: Path | None,
) -> tuple[str | None, str]:
    """The text that wins, and where it came from."""
    option = options.get(setting.name)
    if option is not None:
        return option, f"option --{setting.name.replace('_', '-')}"
    if environment.get(setting.variable):
        return environment[setting.variable], f"environment {setting.variable}"
    if setting.name in of_file:
        return of_file[setting.name], str(file)
    return setting.default, "default"


def _of_file(file: Path, faults: list[str]) -> dict[str, str]:
    """The texts of a TOML file by the names of their settings."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        faults.append(f"{file} cannot be read: {error.strerror}.")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.append(f"{file} is not TOML: {error}.")
        return {}
    flat = {name: value for name, value in content.items() if name != _LIMITS}
    section = content.get(_LIMITS, {})
    if isinstance(section, dict):
        flat |= {f"limit_{name}": value for name, value in section.items()}
    known = {setting.name for setting in SETTINGS}
    for name, value in flat.items():
        shown = f"{_LIMITS}.{name.removeprefix('limit_')}" if name.startswith("limit_") else name
        if name not in known:
            faults.append(f"{file} has the key {shown}, which is no setting: see ibt serve --help.")
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            faults.append(f"{file} has no text and no number at the key {shown}: write one.")
    return {name: str(value) for name, value in flat.items() if name in known}


def _masked(text: str) -> str:
    """*text* without the password of a URL."""
    if "://" not in text:
        return text
    try:
        return sqlalchemy.make_url(text).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return "(not shown: it is not a URL, and may hold a password)"
