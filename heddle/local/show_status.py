"""`heddle local status`: the pods and Services of the running mesh."""

from __future__ import annotations

import argparse

from heddle.local.execute import find_state
from heddle.local.mesh_state import MeshState, PodState
from heddle.meshes import NoMesh, running_mesh
from heddle.output import complain, print_json, print_table


def show_status(args: argparse.Namespace) -> int:
    """0, or 2 if no mesh runs."""
    try:
        name = running_mesh(args.mesh).name
        state = find_state(name)
    except (NoMesh, PermissionError) as error:
        complain(str(error))
        return 2
    if args.output == "json":
        print_json(to_json(name, state))
    else:
        _print(name, state)
    return 0


def to_json(mesh: str, state: MeshState) -> dict[str, object]:
    """The documented form. Environments stay where they are: they may hold secrets."""
    return {
        "mesh": mesh,
        "isolation": state.isolation,
        "settled": state.settled,
        "pending": list(state.pending),
        "pods": [_pod_to_json(pod) for pod in state.pods],
        "services": [
            {"namespace": service.namespace, "name": service.name, "ip": service.ip} for service in state.services
        ],
    }


def _pod_to_json(pod: PodState) -> dict[str, object]:
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "labels": dict(pod.labels),
        "ip": pod.ip,
        "ready": pod.ready,
        "sidecar": pod.sidecar,
        "phase": pod.phase,
        "reason": pod.reason,
        "restarts": pod.restarts,
        "workload": pod.workload,
        "containers": [
            {
                "name": container.name,
                "phase": container.phase,
                "reason": container.reason,
                "ready": container.ready,
                "restarts": container.restarts,
            }
            for container in pod.containers
        ],
    }


def _print(mesh: str, state: MeshState) -> None:
    print(f"mesh {mesh}, isolation {state.isolation}")
    rows = []
    for pod in state.pods:
        ready = f"{sum(one.ready for one in pod.containers)}/{len(pod.containers)}"
        phase = f"{pod.phase}: {pod.reason}" if pod.reason else pod.phase
        sidecar = "yes" if pod.sidecar else "no"
        rows.append((pod.namespace, pod.name, ready, phase, pod.restarts, sidecar, pod.ip))
    print_table(("NAMESPACE", "POD", "READY", "STATUS", "RESTARTS", "SIDECAR", "IP"), rows)
    if state.services:
        print()
        print_table(("NAMESPACE", "SERVICE", "IP"), [(each.namespace, each.name, each.ip) for each in state.services])
