"""A child that does what changes a process for good, under a parent that stays as it was."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from heddle.local import namespaces
from heddle.local.init import FORWARDED, exit_status


def run_in_child(work: Callable[[], int]) -> int:
    """Runs `work` in a child of its own and returns what it answers, or 128 + the signal that ended it.

    SIGTERM, SIGINT and their like are blocked in the child when `work` starts, and passed on to it; if this process
    is killed, so is the child. For a process with one thread.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        status = 1
        try:
            namespaces.die_with_parent()
            status = work()
        finally:
            os._exit(status)
    try:
        while True:
            number = signal.sigwait({*FORWARDED, signal.SIGCHLD})
            if number != signal.SIGCHLD:
                # A terminal that went away ends it as SIGTERM does.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGTERM if number == signal.SIGHUP else number)
                continue
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return exit_status(status)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*FORWARDED, signal.SIGCHLD})
