"""`heddle local exec`: a command inside a pod."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping

from heddle.local.mesh_state import ContainerState, MeshState, PodState, read_state
from heddle.meshes import NoMesh, running_mesh
from heddle.output import complain
from heddle.pod_names import NoSuchPod, choose_pod

_COMMAND_NOT_FOUND = 127
_CANNOT_EXECUTE = 126
_OF_THE_TERMINAL = ("TERM", "COLORTERM", "COLUMNS", "LINES")


def execute(args: argparse.Namespace) -> int:
    """Its exit status is the command's; 2 if it could not be run."""
    if not args.exec_command:
        complain("which command? heddle local exec POD -- COMMAND")
        return 2
    try:
        state = find_state(args.mesh)
        pod = find_pod(state, args.pod, args.namespace)
        container = find_container(pod, args.container)
    except (NoMesh, NoSuchPod, PermissionError) as error:
        complain(str(error))
        return 2
    environment = {**_environment(pod, container), **_of_terminal(os.environ)}
    if pod.handle is None or state.process is None:
        return _run_here(args.exec_command, environment, container)
    from heddle.local.enter import MeshGone, PodHandle, run_in_pod

    sys.stdout.flush()
    try:
        return run_in_pod(
            state.process,
            PodHandle(**pod.handle),
            args.exec_command,
            environment=environment,
            directory=container.directory,
            user=container.user,
        )
    except (MeshGone, OSError) as error:
        complain(f"{pod.name}: {error}")
        return 2


def find_state(mesh: str | None) -> MeshState:
    """What the running mesh last said of itself. Raises NoMesh."""
    home = running_mesh(mesh)
    state = read_state(home)
    if state is None:
        raise NoMesh(f"mesh {home.name} runs no pods: it was started by `heddle serve`")
    return state


def find_pod(state: MeshState, wanted: str, namespace: str | None) -> PodState:
    """Raises NoSuchPod."""
    entry = choose_pod(wanted, namespace, [pod.entry for pod in state.pods])
    return next(pod for pod in state.pods if (pod.namespace, pod.name) == (entry.namespace, entry.name))


def find_container(pod: PodState, name: str | None) -> ContainerState:
    """The container of that name, else the first. Raises NoSuchPod."""
    for container in pod.containers:
        if name is None or container.name == name:
            return container
    there = ", ".join(container.name for container in pod.containers) or "none"
    raise NoSuchPod(f"pod {pod.name} has no container {name or ''}; there are: {there}")


def _environment(pod: PodState, container: ContainerState) -> Mapping[str, str]:
    if container.environment:
        return container.environment
    # Its own could not be worked out yet, or it is the sidecar's, which is empty: enough to find programs.
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "POD_NAME": pod.name, "POD_NAMESPACE": pod.namespace, "POD_IP": pod.ip}


def _of_terminal(environment: Mapping[str, str]) -> dict[str, str]:
    """What belongs to the terminal at this end."""
    return {name: environment[name] for name in _OF_THE_TERMINAL if name in environment}


def _run_here(argv: list[str], environment: Mapping[str, str], container: ContainerState) -> int:
    """In a loopback mesh a pod is no more than its environment."""
    os.chdir(container.directory)
    try:
        os.execvpe(argv[0], argv, dict(environment))
    except FileNotFoundError:
        complain(f"{argv[0]}: command not found")
        return _COMMAND_NOT_FOUND
    except OSError as error:
        complain(f"{argv[0]}: {error.strerror}")
        return _CANNOT_EXECUTE
