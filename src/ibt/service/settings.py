"""
What an operator sets, and where each setting came from.

A setting is an option of `ibt serve`, an environment variable `IBT_…` or a key of the TOML file; an option
wins over the environment, that over the file, that over the default. All of it is read and judged at once,
so that an operator learns of every fault together. What `SETTINGS` does not list does not exist.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from ibt.service.limits import Limits
from ibt.service.memory import REMEMBER

#: The table of the file in which the limits stand.
_LIMITS = "limits"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a setting's text is read, raising ValueError with the end of a sentence; the TOML types it may have."""

    read: Callable[[str], Any]  # Any: each setting has a value of its own kind
    types: tuple[type, ...]
    called: str


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. *says* is for people. A required one has no default."""

    name: str
    kind: Kind
    default: str | None
    says: str
    required: bool = False

    @property
    def option(self) -> str:
        """The option of `ibt serve`."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"IBT_{self.name.upper()}"

    @property
    def key(self) -> str:
        """The key in the file, with its table."""
        return re.sub("^limit_", f"{_LIMITS}.", self.name)


@dataclass(frozen=True, slots=True)
class Effective:
    """The value of a setting, as text and as what it means, and where it came from."""

    setting: Setting
    text: str | None
    value: Any  # Any: see Kind.read
    source: str

    def __str__(self) -> str:
        shown = "(not set)" if self.text is None else masked(self.text)
        return f"{self.setting.key} = {shown}  # {self.source}"


def _whole(least: int, most: int) -> Kind:
    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,10}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return Kind(read, (int,), "a whole number")


def _choice(*words: str) -> Kind:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return text

    return Kind(read, (str,), "a text")


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,9})?", text) or not 0 < float(text) <= 86_400:
        raise ValueError("must be a number of seconds, more than 0 and at most 86400")
    return float(text)


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """The addresses and networks of a list with commas, in its order. Raises ValueError: the end of a sentence."""
    try:
        return tuple(ip_network(part.strip()) for part in text.split(","))
    except ValueError:
        raise ValueError(
            "must be addresses and networks with commas between them, as 192.0.2.1, 2001:db8::/64"
        ) from None


def _pause(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,9})?", text) or float(text) > 3600:
        raise ValueError("must be a number of seconds, from 0 to 3600")
    return float(text)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


_TEXT = Kind(str, (str,), "a text")
_FILE = Kind(Path, (str,), "a text, the path of a file")
_SECONDS = Kind(_seconds, (int, float), "a number of seconds")
_TRUTH = Kind(_truth, (bool,), "true or false")
_PAUSE = Kind(_pause, (int, float), "a number of seconds")
_NETWORKS = Kind(networks, (str,), "a text, addresses and networks")

_CORES = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

_LIMITS_SAY = {
    "request_line": "bytes of the request line; then 414",
    "head": "bytes of a request's head; then 431",
    "fields": "header fields of a request; then 431",
    "body": "bytes of a body; then 413",
    "connections": "connections of one process; then 503",
    "handshake_seconds": "the TLS handshake; then closed",
    "head_seconds": "the head of a request; then 408",
    "body_seconds": "the body of a request; then 408",
    "idle_seconds": "the time between requests; then closed",
    "answer_seconds": "a client that does not read its answer; then closed",
    "drain_seconds": "the requests under way when the service is to end; then closed",
}

SETTINGS: tuple[Setting, ...] = (
    Setting("host", _TEXT, "127.0.0.1", "the address or name to listen on; 0.0.0.0 is every address"),
    Setting("port", _whole(0, 65535), "8443", "the port to listen on; 0 picks a free one"),
    Setting("server_certificate", _FILE, None, "a PEM file: the server's certificate and its chain", required=True),
    Setting("server_key", _FILE, None, "a PEM file: the server's private key, where server_certificate has none"),
    Setting("client_ca", _FILE, None, "a PEM file: the authorities whose client certificates count", required=True),
    Setting("client_crl", _FILE, None, "a PEM or DER file: the lists of revoked certificates of these authorities"),
    Setting(
        "client_crl_expired",
        _choice("refuse", "warn"),
        "refuse",
        "what a list past its end does: refuse everyone, or warn in the log",
    ),
    Setting(
        "trusted_proxies",
        _NETWORKS,
        None,
        "the addresses and networks of proxies, with commas between them, who say who a client is",
    ),
    Setting(
        "proxy_socket", _FILE, None, "a socket for proxies on this machine, who say who a client is, without TLS"
    ),
    Setting("database", _TEXT, None, "sqlite:////path/ibt.db or postgresql://…", required=True),
    Setting(
        "require_synchronous_standby",
        _TRUTH,
        "false",
        "whether the service is ready only while a standby of PostgreSQL keeps each update too",
    ),
    Setting("workers", _whole(1, 64), _CORES, "how many processes serve; as many as there are cores"),
    Setting(
        "remember", _whole(0, 2**31 - 1), str(REMEMBER), "how many bytes of answers a process remembers; 0: none"
    ),
    Setting("operator_host", _TEXT, "127.0.0.1", "where health and metrics are told, to whoever asks, without TLS"),
    Setting("operator_port", _whole(0, 65535), "8444", "the port where health and metrics are told; 0: nowhere"),
    Setting(
        "leave_seconds",
        _PAUSE,
        "0",
        "how many seconds the service, told to end, is not ready and serves on, so that a balancer lets go of it",
    ),
    *(
        Setting(
            f"limit_{limit.name}",
            _SECONDS if limit.name.endswith("_seconds") else _whole(1, 2**31 - 1),
            str(limit.default),
            _LIMITS_SAY[limit.name],
        )
        for limit in fields(Limits)
    ),
)


def effective(
    file: Path | None, environment: Mapping[str, str], options: Mapping[str, str | None]
) -> tuple[dict[str, Effective], list[str]]:
    """
    Each setting's value by its name, and what is wrong: one sentence for each fault, none where all is well.

    *options* has the texts of the options that were given; an empty text, wherever it stands, is none. Paths of
    the file are relative to its folder.
    """
    faults: list[str] = []
    of_file = _of_file(file, faults) if file else {}
    found: dict[str, Effective] = {}
    for setting in SETTINGS:
        places = (
            (options.get(setting.name), f"option {setting.option}"),
            (environment.get(setting.variable), f"environment {setting.variable}"),
            (of_file.get(setting.name), str(file)),
            (setting.default, "default"),
        )
        text, source = next(((text, source) for text, source in places if text), (None, "default"))
        found[setting.name] = Effective(setting, text, _value(setting, text, source, faults), source)
    return found, faults


def limits(found: Mapping[str, Effective]) -> Limits:
    """The limits of the door among the effective settings."""
    return Limits(**{limit.name: found[f"limit_{limit.name}"].value for limit in fields(Limits)})


def masked(url: str) -> str:
    """*url* with three stars for each password that it has: before the host, among the parameters, or as libpq's."""
    before_host = re.sub(r"(://[^:/@]*:).*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"((?:password|secret)\s*=\s*)('[^']*'|[^&\s]*)", r"\1***", before_host, flags=re.IGNORECASE)


def _value(setting: Setting, text: str | None, source: str, faults: list[str]) -> Any:  # Any: see Kind.read
    if text is None:
        if setting.required:
            faults.append(
                f"{setting.key} is not set: give {setting.option}, {setting.variable} or the key {setting.key} in "
                f"the file; it is {setting.says}."
            )
        return None
    try:
        return setting.kind.read(_printable(text))
    except ValueError as error:
        faults.append(f"{setting.key} is {_quoted(text)}, from {source}: it {error}.")
        return None


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of characters that print")
    return text


def _quoted(text: str) -> str:
    return f'"{masked(text) if text.isprintable() else ascii(masked(text))[1:-1]}"'


def _of_file(file: Path, faults: list[str]) -> dict[str, str]:
    """The texts of a TOML file by the names of their settings."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        faults.append(f"{file} cannot be read: {error.strerror}.")
        return {}
    except UnicodeDecodeError:
        faults.append(f"{file} is not UTF-8.")
        return {}
    except ValueError as error:  # a number of thousands of digits is one that is not TOML's own
        place = re.search(r"\(at (line [0-9]+, column [0-9]+|end of document)\)", str(error))
        faults.append(f"{file} is not TOML{f', at {place[1]}' if place else ''}.")
        return {}
    section = content.pop(_LIMITS, {})
    if isinstance(section, dict):
        content |= {f"{_LIMITS}.{name}": value for name, value in section.items()}
    else:
        faults.append(f"{file} has a value at the key {_LIMITS}: it must be a table, [{_LIMITS}].")
    known = {setting.key: setting for setting in SETTINGS}
    faults += [
        f"{file} has the key {_quoted(key)}, which is no setting: see ibt serve --help."
        for key in content
        if key not in known
    ]
    texts = {}
    for key, setting in known.items():
        value = content.get(key, "")
        if value == "" or type(value) in setting.kind.types:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            texts[setting.name] = _from_folder(setting, text, file.absolute().parent)
        else:
            faults.append(f"{file} has the wrong kind of value at the key {key}: it must be {setting.kind.called}.")
    return texts


def _from_folder(setting: Setting, text: str, folder: Path) -> str:
    """*text* of a file in *folder*: a path that is relative is so to that folder."""
    if setting.kind is _FILE:
        return str(folder / text) if text else ""
    if setting.name == "database" and (relative := re.fullmatch("sqlite:///([^/:].*)", text)):
        return f"sqlite:///{folder / relative[1]}"
    return text
