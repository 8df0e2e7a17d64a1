"""
Several processes, each with its work, and the one that watches over them.

A worker that dies is replaced; SIGHUP is handed on; SIGTERM and SIGINT end the workers, and then the watcher.
A worker whose watcher is gone ends too, as the lifeline between them is closed then.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ibt.service.log import log

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What a process does; it gets what it calls when it is ready, and the lifeline.
Work = Callable[[Callable[[], None], int], None]

_ENDING = {signal.SIGTERM, signal.SIGINT}
_WATCHED = {signal.SIGCHLD, signal.SIGHUP, *_ENDING}

#: A worker that dies sooner than this was hardly begun: the next one waits a little.
_TOO_SOON_SECONDS = 1.0
_PAUSE_SECONDS = 0.5


class StartFailed(Exception):
    """A worker ended before it was ready."""


class _Worker(NamedTuple):
    work: Work
    began: float


def supervise(
    works: Sequence[Work],
    ready: Callable[[], None],
    ending: Callable[[], None] = lambda: None,
    ended: Callable[[int, bool], None] = lambda process, was_ready: None,
) -> None:
    """
    Runs each of *works* in a process until SIGTERM or SIGINT; calls *ready* once when all of them are.

    A work gets what it calls when it is ready, and the lifeline. *ending* is called before the workers are told to
    end, to let go of what they share; *ended* with each worker that ended before that, and whether it was ready.
    Raises StartFailed where a worker never is ready.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    lifeline, held = os.pipe()
    workers: dict[int, _Worker] = {}

    def start(work: Work) -> bool:
        process, is_ready = _start(work, lifeline, held)
        if is_ready:
            workers[process] = _Worker(work, time.monotonic())
        else:
            ended(process, False)
        return is_ready

    try:
        for work in works:
            if not start(work):
                raise StartFailed("A worker process ended before it was ready: the log above says why")
        ready()
        while (signal_number := signal.sigwait(_WATCHED)) not in _ENDING:
            if signal_number == signal.SIGHUP:
                for process in workers:
                    os.kill(process, signal.SIGHUP)
            for process, status in _ended(workers):
                log.error("worker died", process=process, status=os.waitstatus_to_exitcode(status))
                work, began = workers.pop(process)
                ended(process, True)
                if time.monotonic() - began < _TOO_SOON_SECONDS:
                    time.sleep(_PAUSE_SECONDS)
                while not start(work) and not signal.sigpending() & _ENDING:
                    time.sleep(_PAUSE_SECONDS)
    finally:
        ending()
        for process in workers:
            os.kill(process, signal.SIGTERM)
        for process in list(workers):
            os.waitpid(process, 0)
        os.close(lifeline)
        os.close(held)
        while signal.sigpending() & _ENDING:  # it ends already: told so again, it would drop what is left to do
            signal.sigwait(_ENDING)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)


def _ended(workers: dict[int, _Worker]) -> list[tuple[int, int]]:
    found = (os.waitpid(process, os.WNOHANG) for process in workers)
    return [(process, status) for process, status in found if process]


def _start(work: Work, lifeline: int, held: int) -> tuple[int, bool]:
    """Forks a worker and waits until it is ready; its process, and false where that has ended before."""
    told, tells = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(told)
        os.close(held)
        _be_worker(work, tells, lifeline)
    os.close(tells)
    is_ready = os.read(told, 1) != b""
    os.close(told)
    if not is_ready:
        os.waitpid(process, 0)
    return process, is_ready


def _be_worker(work: Work, tells: int, lifeline: int) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
    status = 1
    try:
        work(lambda: _tell(tells), lifeline)
        status = 0
    except BaseException:  # whatever ends a worker must not run on as its watcher
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _tell(tells: int) -> None:
    os.write(tells, b".")
    os.close(tells)
