"""Starting a process inside a pod's namespaces: by the supervisor, and by `heddle local exec` from outside the mesh.

Kept light: this is most of what `exec` imports, and a command should start as fast as a shell would start it.
"""

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from heddle.local import namespaces
from heddle.local.init import COMMAND_NOT_FOUND, FORWARDED, exit_status, start_time
from heddle.local.namespaces import Namespace
from heddle.local.programs import find_program

CONTAINER_CAPABILITIES: Final = (
    "chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "net_bind_service", "net_raw", "sys_chroot", "mknod", "audit_write", "setfcap",
)  # fmt: skip
"""What root in an ordinary container may do (the set of Docker and containerd): neither set a socket's mark nor change
packet filters, so an application cannot pass for its sidecar."""

_FROM_TERMINAL: Final = 128  # SI_KERNEL
_CANNOT_EXECUTE: Final = 126


@dataclass(frozen=True, slots=True, kw_only=True)
class PodHandle:
    """A pod's namespaces, as paths that are right inside the mesh (in its `/proc`). Plain text, to be stored."""

    network: str
    mount: str
    hostname: str


class MeshGone(Exception):
    """The mesh's first process is not running any more."""


def pod_command(
    pod: PodHandle,
    argv: Sequence[str],
    *,
    directory: str = "/",
    user: int | None = None,
    capabilities: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """The command line that runs `argv` in the pod, for a process of the mesh (the supervisor) to execute.

    Each program on the way replaces itself by the next, so the process id, standard streams, environment, signals and
    exit status are those of `argv`. `user` is both uid and gid (None: the caller's; another one exists under
    Isolation.ROOT only). `capabilities` is the most that root may hold there, without `cap_` (None: unlimited).
    `directory` must exist.
    """
    enter = (
        find_program("nsenter"),
        f"--net={pod.network}",
        f"--mount={pod.mount}",
        f"--uts={pod.hostname}",
        f"--wd={directory}",
    )
    privileges: list[str] = []
    if capabilities is not None:
        bounding = ",".join(("-all", *(f"+{name}" for name in capabilities)))
        privileges += [f"--bounding-set={bounding}", "--inh-caps=-all"]
    if user is not None:
        privileges += [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    if not privileges:
        return (*enter, "--", *argv)
    return (*enter, find_program("setpriv"), *privileges, "--", *argv)


def run_in_pod(
    mesh: tuple[int, int],
    pod: PodHandle,
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: str = "/",
    user: int | None = None,
) -> int:
    """Run `argv` in a pod from outside the mesh, on this process's own standard streams; returns its exit status.

    `mesh` is (pid, started) of its `MeshProcess`. A command ended by a signal gives 128 + the signal, one that is not
    found 127, one that cannot be executed 126. Signals that end this process go on to the command; if this process is
    killed, the command is too. The process keeps its terminal. `directory` is looked up in the pod; `/` if it is not
    there. The calling process leaves its namespaces for good and must have one thread.
    Raises MeshGone, or OSError (PermissionError: the mesh is another user's).
    """
    _enter(mesh, pod)
    try:
        os.chdir(directory)
    except OSError:
        os.chdir("/")
    signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
    child = os.fork()  # a PID namespace is entered by being born into it
    if child == 0:
        _become(argv, environment, user)
    return _wait_for(child)


def _enter(mesh: tuple[int, int], pod: PodHandle) -> None:
    pid, started = mesh
    try:
        if start_time(pid) != started:
            raise MeshGone(f"process {pid} is not the mesh any more")
        owner = f"/proc/{pid}/ns/user"
        foreign = os.stat(owner).st_ino != os.stat("/proc/self/ns/user").st_ino
        inner = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        if foreign:
            namespaces.setns(owner, Namespace.USER)
    except FileNotFoundError:
        raise MeshGone(f"process {pid}, the mesh's first, is gone") from None
    namespaces.setns(inner, Namespace.PID)
    namespaces.setns(mounts, Namespace.MOUNT)
    # In here /proc is the mesh's, and the pod's paths mean something.
    pod_mounts = os.open(pod.mount, os.O_RDONLY | os.O_CLOEXEC)
    namespaces.setns(pod.network, Namespace.NETWORK)
    namespaces.setns(pod.hostname, Namespace.UTS)
    namespaces.setns(pod_mounts, Namespace.MOUNT)


def _become(argv: Sequence[str], environment: Mapping[str, str], user: int | None) -> None:
    status = _CANNOT_EXECUTE
    try:
        if user is not None:
            os.setgroups(())
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        namespaces.die_with_parent()  # after the uid, whose change resets it
        for number in FORWARDED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # Python ignores these two, and ignored signals stay ignored in what is executed.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.execvpe(argv[0], list(argv), dict(environment))
    except OSError as error:
        # A folder of PATH that may not be read hides that the program is nowhere; a shell would say so as well.
        folders = [""] if "/" in argv[0] else os.get_exec_path(environment)
        exists = any(os.path.exists(os.path.join(folder, argv[0])) for folder in folders)
        status = _CANNOT_EXECUTE if exists else COMMAND_NOT_FOUND
        os.write(2, f"heddle: {argv[0]}: {error.strerror if exists else 'command not found'}\n".encode())
    finally:
        os._exit(status)


def _wait_for(child: int) -> int:
    while True:
        received = signal.sigwaitinfo({*FORWARDED, signal.SIGCHLD})
        if received.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid == child:
                return exit_status(status)
        elif received.si_code != _FROM_TERMINAL:  # the terminal has told the child itself
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, received.si_signo)
