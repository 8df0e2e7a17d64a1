"""
A small file system of the tests' own, which can be filled and emptied: for what becomes of a disk without room.

It is in memory, in a mount namespace that a process holds: all of it is gone with that process, which ends with the
tests. A user namespace lets everyone do so; where the system allows none, root needs none.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MISSING = (
    "The tests need a small file system of their own, and none can be mounted here: allow user namespaces (sysctl "
    "user.max_user_namespaces, seccomp's unshare and mount), or run the tests as root with the capability to mount"
)

_MOUNT = 'mount -t tmpfs -o "size=$1,mode=700$2" tmpfs "$0" && echo held && exec'


@dataclass(frozen=True)
class SmallDisk:
    """
    The file system: where it lies for what runs within it, and for all others.

    *within* is what the command begins with that shall run within it: programs that ask where they really are
    (SQLite) find it nowhere else. *filler* is who fills it, as Popen has it.
    """

    inside: Path
    place: Path
    within: tuple[str, ...]
    filler: Mapping[str, Any]

    def fill(self) -> None:
        """Takes all the room that is left."""
        self._tell('cat /dev/zero > "$0"/filler 2> /dev/null || true')

    def empty(self) -> None:
        """Gives back what was taken."""
        self._tell('rm "$0"/filler')

    def _tell(self, script: str) -> None:
        # As one whom its user namespace knows: the kernel takes files from no other.
        subprocess.run([*self.within, "sh", "-c", script, str(self.inside)], check=True, **self.filler)

    def room(self) -> int:
        """How many bytes are left."""
        told = os.statvfs(self.place)
        return told.f_bavail * told.f_frsize


@contextmanager
def small_disk(size: int, owner: Mapping[str, Any] | None = None) -> Iterator[SmallDisk]:
    """A file system of *size* bytes for as long as the block runs, for us or for *owner*, as Popen has it."""
    with tempfile.TemporaryDirectory(prefix="ibt-disk-") as folder:
        Path(folder).chmod(0o755)
        holder, kinds = _holder(folder, size, owner or {})
        assert holder.stdin is not None
        assert holder.stdout is not None
        with holder.stdin, holder.stdout:
            within = ("nsenter", f"--target={holder.pid}", "--preserve-credentials", *kinds, "--")
            filler = owner or {} if "--user" in kinds else {}
            yield SmallDisk(Path(folder), Path(f"/proc/{holder.pid}/root{folder}"), within, filler)
        holder.wait()


def _holder(folder: str, size: int, owner: Mapping[str, Any]) -> tuple[subprocess.Popen[str], tuple[str, ...]]:
    """The process that holds it until its stdin ends, and the kinds of its namespaces. Fails where there is none."""
    kinds: tuple[str, ...] = ("--user", "--mount")
    command = ["unshare", *kinds, "--map-root-user", "sh", "-c", f"{_MOUNT} cat", folder, str(size), ""]
    holder = _started(command, owner)
    if holder is None and os.geteuid() == 0:
        kinds = ("--mount",)
        user, group = owner.get("user", 0), owner.get("group", 0)
        become = f"setpriv --reuid={user} --regid={group} --clear-groups cat"
        options = f",uid={user},gid={group}"
        holder = _started(["unshare", *kinds, "sh", "-c", f"{_MOUNT} {become}", folder, str(size), options], {})
    if holder is None:
        pytest.fail(MISSING, pytrace=False)
    return holder, kinds


def _started(command: list[str], owner: Mapping[str, Any]) -> subprocess.Popen[str] | None:
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests: it is gone when they have ended
            **owner,
        )
    except FileNotFoundError:
        return None
    assert process.stdout is not None
    if process.stdout.readline() == "held\n":
        return process
    process.communicate()
    return None
