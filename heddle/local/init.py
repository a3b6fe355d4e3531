"""Pid 1 of a mesh: starts the supervisor, reaps orphans, passes signals on, ends with the supervisor's status.

When it ends, for whatever reason, the kernel kills every process of the mesh, and the network namespaces go with
their last process: nothing of the mesh outlives its pid 1 (pid_namespaces(7)).
"""

import os
import select
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from heddle.local import namespaces

FORWARDED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""The signals that ask a mesh to end. Block them, and SIGCHLD, before `run_init` and before its fork."""

COMMAND_NOT_FOUND: Final = 127
SIGNALLED: Final = 128


def run_init(
    argv: Sequence[str],
    *,
    environment: Callable[[int, int], Mapping[str, str]],
    parent_alive: int,
    inherited: Sequence[int],
) -> int:
    """Be pid 1 of the namespaces the caller was just forked into; returns the supervisor's exit status.

    `environment(pid, started)` makes the supervisor's environment, given this process's id in the caller's `/proc`
    and its start time in clock ticks. `parent_alive` is the read end of a pipe whose write end only the parent
    holds. The descriptors `inherited` stay open in the supervisor.
    Raises OSError if `/proc` cannot be mounted.
    """
    namespaces.die_with_parent()
    if select.select([parent_alive], [], [], 0)[0]:  # it died before it could be watched
        return SIGNALLED + signal.SIGKILL
    # A session of its own: Ctrl-C then reaches the mesh once, through the parent, and not every process in it.
    os.setsid()
    pid, started = int(os.readlink("/proc/self")), start_time("self")
    namespaces.make_mounts_private()
    namespaces.mount_proc()
    supervisor = os.fork()
    if supervisor == 0:
        _become(argv, environment(pid, started), inherited)
    return _wait_for(supervisor)


def start_time(pid: int | str) -> int:
    """When the process started, in clock ticks since boot: with the id, it names a process for good.

    Raises OSError if there is no such process. Source: proc(5), field 22 of `/proc/PID/stat`.
    """
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def exit_status(wait_status: int) -> int:
    """A wait status as a shell shows it: the exit status, or 128 + the signal that ended the process."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else SIGNALLED - code


def _become(argv: Sequence[str], environment: Mapping[str, str], inherited: Sequence[int]) -> None:
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for descriptor in inherited:
            os.set_inheritable(descriptor, True)
        os.execvpe(argv[0], list(argv), dict(environment))
    except OSError as error:
        os.write(2, f"heddle: cannot start {argv[0]}: {error}\n".encode())
    finally:
        os._exit(COMMAND_NOT_FOUND)


def _wait_for(supervisor: int) -> int:
    while True:
        number = signal.sigwait({*FORWARDED, signal.SIGCHLD})
        if number != signal.SIGCHLD:
            os.kill(supervisor, number)
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == supervisor:
                return exit_status(status)
