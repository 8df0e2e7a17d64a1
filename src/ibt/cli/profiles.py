"""What `profile` and `doctor` do: keep and show profiles, and look for what is wrong with one."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import typer

from ibt.cli.access import needs_password, profile_of
from ibt.cli.failures import Unusable, whole
from ibt.cli.options import Asked, Form
from ibt.cli.tables import form_of, opened, write_rows
from ibt.client import base_url
from ibt.client.doctor import Finding, examine
from ibt.client.profiles import NoProfile, Profile, drop_profile, keep_profile, profiles_file, read_profiles

_COLUMNS = ("name", "url", "customer", "certificate", "key", "ca", "production", "password")

_FAILED = 1


def add(name: str, asked: Asked, *, production: bool, store_password: bool) -> None:
    """Keeps what *asked* says under *name*; paths are made absolute."""
    for file in (asked.certificate, asked.key, asked.ca):
        if file is not None and not file.exists():
            raise Unusable(f"There is no file {file}.")
    profile = Profile(
        base_url(asked.url) if asked.url is not None else None,
        _absolute(asked.certificate),
        _absolute(asked.key),
        asked.password,
        _absolute(asked.ca),
        asked.customer,
        production,
    )
    profile = replace(profile, password=_password(profile) if store_password else None)
    file = profiles_file()
    keep_profile(file, name, profile)
    typer.echo(f"The profile {name} is in {file}.", err=True)
    if asked.password is not None and not store_password:
        typer.echo("The password is not kept: it is asked for, or taken from IBT_PASSWORD.", err=True)


def show(wanted: Form | None, output: Path | None) -> None:
    """Writes the profiles."""
    form = form_of(wanted, output)
    if form is Form.XML:
        raise Unusable("Profiles have no XML: choose another form.")
    rows = [
        (
            name,
            profile.url,
            profile.customer,
            *(str(path) if path is not None else None for path in (profile.certificate, profile.key, profile.ca)),
            "yes" if profile.guarded else None,
            "kept" if profile.password is not None else None,
        )
        for name, profile in read_profiles(profiles_file()).items()
    ]
    with opened(output) as stream:
        write_rows(form, _COLUMNS, rows, stream)


def remove(name: str) -> None:
    """Forgets the profile *name*."""
    drop_profile(profiles_file(), name)


def doctor(asked: Asked) -> None:
    """Prints each check with what it found, and how to mend what has failed."""
    try:
        profile = profile_of(asked)
    except NoProfile as error:
        fix = "make one with ibt profile add, or name another with --profile"
        _tell(Finding("profile", str(error), fix, failed=True))
        raise typer.Exit(_FAILED) from None
    asks = profile.password is None and profile.certificate is not None and sys.stdin.isatty()
    if asks and profile.certificate is not None and needs_password(profile.certificate, profile.key):
        profile = replace(profile, password=typer.prompt("The key's password", hide_input=True, err=True))
    failed = False
    for finding in examine(profile, lambda: datetime.now(UTC)):
        _tell(finding)
        failed = failed or finding.failed
    if failed:
        raise typer.Exit(_FAILED)


def _tell(finding: Finding) -> None:
    mark = "FAIL" if finding.failed else "ok" if finding.fix is None else "note"
    typer.echo(f"{mark:<4}  {finding.check:<19}  {finding.said}")
    if finding.fix is not None:
        typer.echo(f"      Fix: {whole(finding.fix)}")


def _absolute(path: Path | None) -> Path | None:
    return path.absolute() if path is not None else None


def _password(profile: Profile) -> str | None:
    given = profile.password or os.environ.get("IBT_PASSWORD")
    if given is None and profile.certificate is not None and needs_password(profile.certificate, profile.key):
        if not sys.stdin.isatty():
            raise Unusable("Which password is to be kept? Give --password, or set IBT_PASSWORD.")
        given = str(typer.prompt("The key's password", hide_input=True, err=True))
    return given
