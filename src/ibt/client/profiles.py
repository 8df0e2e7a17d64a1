"""
Who asks, and where: what a command is told by its options, by the environment and by a profile.

Profiles are tables of one TOML file, which people may edit too: what is written here leaves their comments and
their other tables as they are. A password is in it only where its owner wants it there, and nobody else may read it.

Clauses 1.2, 5.4.
"""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from platformdirs import user_config_path

from ibt.rules.faults import quoted
from ibt.rules.model import LARGEST_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The host where the operator's own contracts are (5.4).
OPERATORS_HOST = "smd.iso-ne.com"

#: The variable that names a profile; those of the fields are IBT_URL and so on.
PROFILE_VARIABLE = "IBT_PROFILE"

#: The profile that is taken where several are there and none is named.
USUAL = "default"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TABLE = re.compile(r"\s*\[")


class NoProfile(ValueError):
    """There is no such profile, or no profile can be read or written; says in one sentence why and what to do."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Where a service is, who asks, about which customer; what is None is not said. *production* guards updates."""

    url: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    password: str | None = None
    ca: Path | None = None
    customer: int | None = None
    production: bool = False

    @property
    def guarded(self) -> bool:
        """Whether updates need to be allowed one by one: where it says so, and always at the operator's own host."""
        url = self.url or ""
        host = urlsplit(url if "://" in url else f"//{url}").hostname or ""
        return self.production or host.lower().rstrip(".") == OPERATORS_HOST

    def over(self, lower: Profile) -> Profile:
        """
        What this one says, and *lower* where it says nothing.

        A key belongs to its certificate: where this one has a certificate, the key of *lower* does not count.
        """
        below = replace(lower, key=None) if self.certificate is not None else lower
        said = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}
        return replace(below, **(said | {"production": self.production or lower.production}))


#: How the text of a variable, or the value in a file, becomes that of a field.
_FIELDS = tuple(field.name for field in fields(Profile))
_PATHS = frozenset(("certificate", "key", "ca"))
_VARIABLES = tuple(name for name in _FIELDS if name != "production")


def profiles_file() -> Path:
    """Where this user's profiles are, or would be."""
    return user_config_path("ibt") / "profiles.toml"


def read_profiles(file: Path) -> dict[str, Profile]:
    """The profiles in *file*, by name; none where there is no such file. Raises NoProfile."""
    return {name: _profile(file, name, table) for name, table in _tables(file, _text(file)).items()}


def settled(options: Profile, name: str | None, environment: Mapping[str, str], file: Path) -> Profile:
    """
    What *options*, the environment and the profile say together. Raises NoProfile.

    The options count most. A profile that is named by them, *name*, counts more than the environment; else the
    environment counts more, and the profile is that of IBT_PROFILE, or the one called `default`, or the only one.
    """
    variables = _of_environment(environment)
    if name is not None:
        return options.over(_named(name, file)).over(variables)
    said = options.over(variables)
    name = environment.get(PROFILE_VARIABLE)
    return said.over(_named(name, file) if name else _usual(file, needed=said.url is None))


def keep_profile(file: Path, name: str, profile: Profile) -> None:
    """Writes *profile* into *file*, in the place of one of that name. Raises NoProfile."""
    if not _NAME.fullmatch(name):
        raise NoProfile(f"{quoted(name)} is no name for a profile: use letters, digits, - and _")
    text = _text(file)
    tables = _tables(file, text)
    tables[name] = {
        field: str(value) if isinstance(value, Path) else value
        for field in _FIELDS
        if (value := getattr(profile, field)) is not None and value is not False
    }
    lines = [f"[{name}]\n", *(f"{field} = {_toml(value)}\n" for field, value in tables[name].items())]
    _write(file, _with_table(text, name, lines), tables)


def drop_profile(file: Path, name: str) -> None:
    """Takes the profile *name* out of *file*. Raises NoProfile where it is not there."""
    _named(name, file)
    text = _text(file)
    tables = _tables(file, text)
    del tables[name]
    _write(file, _with_table(text, name, []), tables)


def _named(name: str, file: Path) -> Profile:
    profiles = read_profiles(file)
    if name not in profiles:
        raise NoProfile(f"There is no profile {quoted(name)}: {_there(profiles, file)}")
    return profiles[name]


def _usual(file: Path, *, needed: bool) -> Profile:
    profiles = read_profiles(file)
    if USUAL in profiles:
        return profiles[USUAL]
    if len(profiles) > 1:
        if not needed:
            return Profile()
        raise NoProfile(f"Which profile? Give --profile, or set {PROFILE_VARIABLE}: {_there(profiles, file)}")
    return next(iter(profiles.values()), Profile())


def _there(profiles: Mapping[str, Profile], file: Path) -> str:
    return f"{file} has {', '.join(profiles)}" if profiles else "none was made yet, see ibt profile add --help"


def _of_environment(environment: Mapping[str, str]) -> Profile:
    texts = {name: environment.get(f"IBT_{name.upper()}") for name in _VARIABLES}
    said: dict[str, Any] = {name: text for name, text in texts.items() if text}  # Any: each as its field has it
    if "customer" in said:
        said["customer"] = _customer("IBT_CUSTOMER", said["customer"])
    return Profile(**said | {name: Path(said[name]) for name in _PATHS & said.keys()})


def _customer(where: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise NoProfile(f"{where} {quoted(text)} is no customer's id: give 1 to 9 digits")
    return int(text)


def _profile(file: Path, name: str, table: dict[str, Any]) -> Profile:  # Any: as TOML has it
    where = f"{file}, profile {name}"
    said: dict[str, Any] = {}
    for field, value in table.items():
        if field not in _FIELDS:
            raise NoProfile(f"{where}: the field {field} is unknown: there are {', '.join(_FIELDS)}")
        kind, written = _KINDS.get(field, (str, "a text in quotes"))
        right = type(value) is kind  # and not isinstance: true is no number here
        if not right or (field == "customer" and not 0 <= value <= LARGEST_ID):
            raise NoProfile(f"{where}: {field} must be {written}")
        said[field] = file.parent / os.path.expanduser(value) if field in _PATHS else value
    return Profile(**said)


#: What a field must be that is no text.
_KINDS: dict[str, tuple[type, str]] = {
    "customer": (int, "a number of at most 9 digits"),
    "production": (bool, "true or false"),
}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise NoProfile(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise NoProfile(f"{file} is not in UTF-8: save it so, or remove it") from None


def _tables(file: Path, text: str) -> dict[str, dict[str, Any]]:  # Any: as TOML has it
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line [0-9]+", str(error))
        raise NoProfile(f"{file}{f', {place[0]}' if place else ''}: this is not TOML") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise NoProfile(f"{file}: {name} stands outside a profile: begin one with a line such as [{USUAL}]")
    return tables


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _toml_text(str(value))


def _toml_text(text: str) -> str:
    safe = re.sub(r'["\\]', r"\\\g<0>", text)
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", safe) + '"'


def _with_table(text: str, name: str, lines: list[str]) -> str:
    """*text* with *lines* in the place of the table *name*, or at its end."""
    old = text.splitlines(keepends=True)
    header = re.compile(rf"\s*\[\s*(\"{name}\"|'{name}'|{name})\s*\]")
    begin = next((place for place, line in enumerate(old) if header.match(line)), None)
    if begin is None:
        return text + ("" if not text or text.endswith("\n") else "\n") + ("\n" if text else "") + "".join(lines)
    end = next((place for place in range(begin + 1, len(old)) if _TABLE.match(old[place])), len(old))
    while end > begin + 1 and (not old[end - 1].strip() or old[end - 1].lstrip().startswith("#")):
        end -= 1  # what is said before the next table belongs to that
    return "".join([*old[:begin], *lines, *old[end:]])


def _write(file: Path, text: str, tables: dict[str, dict[str, Any]]) -> None:  # Any: as TOML has it
    """Puts *text*, which must say *tables*, in the place of *file*: whole or not at all, and for its owner alone."""
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        told = {}
    if told != tables:
        raise NoProfile(f"{file} is written in a way that is not understood here: change it by hand")
    place = file.resolve()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".profiles-", dir=place.parent)
        try:
            with open(descriptor, "w", encoding="utf-8") as new:
                new.write(text)
            os.replace(name, place)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise NoProfile(f"{file} cannot be written: {error.strerror}") from None
