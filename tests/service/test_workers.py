"""Workers and their watcher, as processes: who is replaced, who ends with whom."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 60

#: Workers that tell who they are, and end at SIGTERM or when their watcher is gone, as those of the service do.
WATCHER = """
import os, select, signal, sys
from ibt.service.log import configure
from ibt.service.workers import StartFailed, supervise

def tell(what):
    os.write(1, f"{what} {os.getpid()}\\n".encode())  # in one piece, whoever writes beside

def work(started, lifeline):
    told, tells = os.pipe()
    os.set_blocking(tells, False)
    signal.set_wakeup_fd(tells)
    signal.signal(signal.SIGTERM, lambda *_: None)
    started()
    tell("worker")
    select.select([told, lifeline], [], [])
    tell("ended")

def broken(started, lifeline):
    raise RuntimeError("broken as asked")

def broken_later(started, lifeline):
    (broken if os.path.exists(sys.argv[2]) else work)(started, lifeline)

configure()
kinds = {"work": work, "broken": broken, "broken later": broken_later}
try:
    supervise([kinds[sys.argv[1]]] * 2, lambda: tell("ready"))
except StartFailed as failed:
    sys.exit(f"told: {failed}")
"""


class Watched:
    """A watcher with its workers, and the lines that they write."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.workers: list[int] = []
        self.log = ""

    def line(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def next_worker(self) -> int:
        word, number = self.line()
        assert word == "worker"
        return int(number)

    def started(self) -> Watched:
        """Itself, when both workers are ready and the watcher has said so."""
        lines = [self.line() for _ in range(3)]
        assert ["ready", str(self.process.pid)] in lines
        self.workers = [int(number) for word, number in lines if word == "worker"]
        assert len(self.workers) == 2
        return self

    def end(self) -> tuple[set[int], int]:
        """Who ended, and the watcher's exit status, when no process is left that could write another line."""
        out, self.log = self.process.communicate(timeout=PATIENCE)
        return {int(line.split()[1]) for line in out.splitlines()}, self.process.returncode


@contextmanager
def watcher(*work: str) -> Iterator[Watched]:
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHER, *(work or ("work",))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Watched(process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_the_watcher_ends_with_status_0_when_all_its_workers_have(how: signal.Signals) -> None:
    with watcher() as watched:
        workers = watched.started().workers
        watched.process.send_signal(how)
        assert watched.end() == (set(workers), 0)


def test_a_watcher_that_is_told_twice_to_end_ends_as_if_it_were_told_once() -> None:
    with watcher() as watched:
        first, second = watched.started().workers
        os.kill(first, signal.SIGSTOP)
        watched.process.terminate()
        assert watched.line() == ["ended", str(second)]
        watched.process.terminate()
        os.kill(first, signal.SIGCONT)
        assert watched.end() == ({first}, 0)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV], ids=lambda how: how.name)
def test_a_worker_that_dies_is_replaced(how: signal.Signals) -> None:
    with watcher() as watched:
        first, second = watched.started().workers
        os.kill(first, how)
        line = watched.line()
        if line == ["ended", str(first)]:
            line = watched.line()
        word, third = line
        assert word == "worker"
        assert int(third) not in {first, second}
        watched.process.terminate()
        assert watched.end() == ({second, int(third)}, 0)
        (logged,) = map(json.loads, watched.log.splitlines())
        assert (logged["event"], logged["process"]) == ("worker died", first)


def test_workers_that_die_together_are_all_replaced() -> None:
    with watcher() as watched:
        workers = watched.started().workers
        for process in workers:
            os.kill(process, signal.SIGKILL)
        replaced = {watched.next_worker(), watched.next_worker()}
        assert replaced.isdisjoint(workers)
        watched.process.terminate()
        assert watched.end() == (replaced, 0)


def test_workers_end_when_their_watcher_is_gone() -> None:
    with watcher() as watched:
        workers = watched.started().workers
        watched.process.kill()
        assert watched.end() == (set(workers), -signal.SIGKILL)


def test_a_worker_started_later_ends_with_its_watcher_too() -> None:
    with watcher() as watched:
        first, second = watched.started().workers
        os.kill(first, signal.SIGKILL)
        third = watched.next_worker()
        watched.process.kill()
        assert watched.end() == ({second, third}, -signal.SIGKILL)


def test_a_worker_that_is_never_ready_ends_the_start() -> None:
    with watcher("broken") as watched:
        out, err = watched.process.communicate(timeout=PATIENCE)
    assert (out, watched.process.returncode) == ("", 1)
    assert "RuntimeError: broken as asked" in err
    assert err.endswith("told: A worker process ended before it was ready: the log above says why\n")


def test_a_replacement_that_is_not_ready_is_tried_again_until_one_is(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    with watcher("broken later", str(broken)) as watched:
        first, second = watched.started().workers
        broken.touch()
        os.kill(first, signal.SIGKILL)
        assert watched.process.stderr is not None
        while "broken as asked" not in watched.process.stderr.readline():
            pass
        broken.unlink()
        third = watched.next_worker()
        watched.process.terminate()
        assert watched.end() == ({second, third}, 0)


def test_the_watcher_ends_while_no_replacement_is_ready(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    with watcher("broken later", str(broken)) as watched:
        first, second = watched.started().workers
        broken.touch()
        os.kill(first, signal.SIGKILL)
        assert watched.process.stderr is not None
        while "broken as asked" not in watched.process.stderr.readline():
            pass
        watched.process.terminate()
        assert watched.end() == ({second}, 0)
