"""How far a mesh can be set apart from its host, and starting it so.

A mesh lives in a network, mount, PID, UTS and IPC namespace of its own, and for an ordinary user in a user namespace
too. The host's network gets no bridge and no rule. When the mesh's pid 1 dies, by any means, the kernel takes every
process, interface, route and rule of it away; a crash can leave files only.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Final, assert_never

from heddle.local import namespaces
from heddle.local.init import FORWARDED, exit_status, run_init
from heddle.local.namespaces import Namespace
from heddle.local.programs import REQUIRED, find_program

_VARIABLE: Final = "HEDDLE_MESH_PROCESS"
_MESH: Final = Namespace.NETWORK | Namespace.MOUNT | Namespace.PID | Namespace.UTS | Namespace.IPC


class Isolation(Enum):
    """What separates a mesh from its host, best first."""

    ROOT = "root"
    """Namespaces made by root: uids work, and the host reaches pods through one uplink."""
    USER_NAMESPACE = "user-namespace"
    """Namespaces made by an ordinary user: one uid, the host reaches pods by `heddle local exec` only."""
    LOOPBACK = "loopback"
    """No namespaces: an address of 127.0.0.0/8 for each pod, nothing captured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The best isolation this host allows its caller. `reason` says why not a better one; empty for ROOT."""

    isolation: Isolation
    reason: str


class IsolationRefused(Exception):
    """The host does not allow the isolation that was asked for; the message says what failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshProcess:
    """A running mesh: its pid 1 as the host sees it, and what the supervisor inherited from outside.

    `pid` and `started` (clock ticks since boot) name the process; `host_network` is an open descriptor of the host's
    network namespace, None where the mesh may not touch it; `resolvers` are connected UDP sockets to the host's name
    servers, made in the host's network.
    """

    isolation: Isolation
    pid: int
    started: int
    host_network: int | None
    resolvers: tuple[int, ...]


def probe(wanted: Isolation | None = None) -> Probe:
    """Find the best isolation by trying (50 ms); with `wanted`, try that one only.

    Raises IsolationRefused if `wanted` does not work here. Forks, so call it before threads are started.
    """
    candidates = (wanted,) if wanted else (Isolation.ROOT, Isolation.USER_NAMESPACE)
    reasons: list[str] = []
    for candidate in candidates:
        failure = _failure_of(candidate)
        if failure is None:
            return Probe(isolation=candidate, reason="; ".join(reasons))
        reasons.append(f"{candidate.value}: {failure}")
    if wanted:
        raise IsolationRefused("; ".join(reasons))
    return Probe(isolation=Isolation.LOOPBACK, reason="; ".join(reasons))


def run_isolated(isolation: Isolation, argv: Sequence[str], *, resolvers: Sequence[int] = ()) -> int:
    """Run `argv` (the supervisor) in new namespaces of the given kind, and return its exit status.

    The calling process leaves its own namespaces for good and becomes the mesh's parent: SIGTERM, SIGINT, SIGHUP and
    SIGQUIT sent to it go on to the supervisor, once each; if it is killed, the mesh dies with it. A supervisor that
    died of a signal gives 128 + the signal. The supervisor finds itself described by `mesh_process`. `resolvers` are
    descriptors kept open for it.
    Must be called by a process with one thread. Raises OSError where the host does not allow it, ValueError for
    LOOPBACK, which needs no process of its own.
    """
    host_network = None
    match isolation:
        case Isolation.ROOT:
            host_network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            inherited = (*resolvers, host_network)
        case Isolation.USER_NAMESPACE:
            inherited = tuple(resolvers)
        case Isolation.LOOPBACK:
            raise ValueError("a loopback mesh has no namespaces to run in")
        case _:
            assert_never(isolation)
    # Blocked before the fork, so that a signal that arrives early waits for `sigwait` and is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
    leave_host(isolation)

    def environment(pid: int, started: int) -> dict[str, str]:
        process = MeshProcess(
            isolation=isolation, pid=pid, started=started, host_network=host_network, resolvers=tuple(resolvers)
        )
        return {**os.environ, _VARIABLE: json.dumps({**asdict(process), "isolation": isolation.value})}

    parent_alive, held_open = os.pipe()
    init = os.fork()
    if init == 0:
        status = 125
        try:
            os.close(held_open)
            status = run_init(argv, environment=environment, parent_alive=parent_alive, inherited=inherited)
        except OSError as error:
            os.write(2, f"heddle: the mesh's first process failed: {error}\n".encode())
        finally:
            os._exit(status)
    return _wait_for(init)


def mesh_process(environment: Mapping[str, str]) -> MeshProcess:
    """What `run_isolated` told the supervisor. Raises KeyError outside of one."""
    fields = json.loads(environment[_VARIABLE])
    return MeshProcess(
        isolation=Isolation(fields["isolation"]),
        pid=fields["pid"],
        started=fields["started"],
        host_network=fields["host_network"],
        resolvers=tuple(fields["resolvers"]),
    )


def without_mesh_process(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment less what is only the supervisor's business, as pods should get it."""
    return {name: value for name, value in environment.items() if name != _VARIABLE}


def leave_host(isolation: Isolation) -> None:
    """Move this process to a mesh's new namespaces; its next child is their pid 1. Raises OSError if refused."""
    if isolation is Isolation.USER_NAMESPACE:
        user, group = os.getuid(), os.getgid()
        namespaces.unshare(_MESH | Namespace.USER)
        namespaces.map_root_to(user, group)
    else:
        namespaces.unshare(_MESH)


def _wait_for(init: int) -> int:
    while True:
        number = signal.sigwait({*FORWARDED, signal.SIGCHLD})
        if number != signal.SIGCHLD:
            # A terminal that went away ends the mesh as SIGTERM does.
            with contextlib.suppress(ProcessLookupError):
                os.kill(init, signal.SIGTERM if number == signal.SIGHUP else number)
            continue
        pid, status = os.waitpid(init, os.WNOHANG)
        if pid == init:
            return exit_status(status)


def _failure_of(candidate: Isolation) -> str | None:
    if candidate is Isolation.LOOPBACK:
        return None
    if candidate is Isolation.ROOT and os.geteuid() != 0:
        return "not root"
    try:
        for name in REQUIRED:
            find_program(name)
    except FileNotFoundError as error:
        return str(error)
    # An interpreter of its own, because a trial changes the namespaces of the process that makes it.
    trial = subprocess.run(
        [sys.executable, "-S", "-m", "heddle.local.trial", candidate.value],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if trial.returncode == 0:
        return None
    return trial.stderr.strip().rpartition("\n")[2] or f"trial ended with {trial.returncode}"
