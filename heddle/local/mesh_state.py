"""What the runtime tells the other commands: one small JSON file in the mesh's directory, replaced in one step.

Light: `exec` and `status` read it, and start as fast as they can.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from heddle.meshes import MeshHome, write_atomically
from heddle.pod_names import PodEntry

_FILE: Final = "pods.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """One container. `environment` may hold secrets; `log` is a path on the host; `user` None is the pod's root."""

    name: str
    phase: str
    reason: str
    restarts: int
    ready: bool
    environment: Mapping[str, str]
    directory: str
    log: str
    user: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """One pod. `handle` holds the fields of its `PodHandle`, None in a loopback mesh."""

    namespace: str
    name: str
    workload: str
    workload_kind: str
    labels: Mapping[str, str]
    ip: str
    ready: bool
    sidecar: bool
    phase: str
    reason: str
    restarts: int
    handle: Mapping[str, str] | None
    containers: tuple[ContainerState, ...]

    @property
    def entry(self) -> PodEntry:
        return PodEntry(namespace=self.namespace, name=self.name, workload=self.workload, ready=self.ready)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """One Service; `ip` is `None` for a headless one, as kubectl prints it."""

    namespace: str
    name: str
    ip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshState:
    """The mesh as its runtime last saw it.

    `process` names the mesh's first process as the host sees it (pid, start time in clock ticks), None in a loopback
    mesh. `pending`: what is not as the manifests want it yet. `stuck`: what will not be ready, each with its reason.
    """

    isolation: str
    process: tuple[int, int] | None
    settled: bool
    pending: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    pods: tuple[PodState, ...] = ()
    services: tuple[ServiceState, ...] = ()


def encode_state(state: MeshState) -> bytes:
    return json.dumps(asdict(state)).encode()


def write_state(home: MeshHome, encoded: bytes) -> None:
    """Replaces the file; 0600, because of the environments."""
    write_atomically(home.path / _FILE, encoded)


def read_state(home: MeshHome) -> MeshState | None:
    """The newest state, None before there is any."""
    try:
        found: dict[str, Any] = json.loads((home.path / _FILE).read_bytes())
    except FileNotFoundError:
        return None
    return MeshState(
        isolation=found["isolation"],
        process=tuple(found["process"]) if found["process"] else None,
        settled=found["settled"],
        pending=tuple(found["pending"]),
        stuck=tuple(found["stuck"]),
        pods=tuple(
            PodState(**{**pod, "containers": tuple(ContainerState(**container) for container in pod["containers"])})
            for pod in found["pods"]
        ),
        services=tuple(ServiceState(**service) for service in found["services"]),
    )
