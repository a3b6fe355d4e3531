"""What runs, as other commands read it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from heddle.local.log_files import log_path
from heddle.local.mesh_state import ContainerState, PodState, ServiceState
from heddle.local.pod_run import PodRun
from heddle.local.sidecar import CONTAINER_NAME
from model.mesh import Mesh
from model.services import Resolution


def describe_pod(run: PodRun, *, logs: Path, sidecar_user: int | None) -> PodState:
    """One pod, its init containers and its sidecar last."""
    pod, handle = run.pod, run.place.handle if run.place is not None else None
    containers = [
        ContainerState(
            name=one.container.name,
            phase=one.phase,
            reason=one.reason,
            restarts=one.restarts,
            ready=one.ready,
            environment=one.environment,
            directory=one.directory,
            log=str(log_path(logs, *run.key, one.container.name)),
        )
        for one in (*run.containers, *run.init_containers)
    ]
    if pod.meshed:
        proxy = run.proxy
        containers.append(
            ContainerState(
                name=CONTAINER_NAME,
                phase=proxy.phase.value if proxy is not None else "Waiting",
                reason=proxy.reason if proxy is not None else "",
                restarts=proxy.restarts if proxy is not None else 0,
                ready=run.sidecar_is_ready,
                environment={},
                directory="/",
                log=str(log_path(logs, *run.key, CONTAINER_NAME)),
                user=sidecar_user,
            )
        )
    return PodState(
        namespace=pod.ref.namespace,
        name=pod.ref.name,
        workload=pod.workload,
        workload_kind=run.origin.owner.kind,
        labels=dict(pod.labels),
        ip=pod.addresses[0] if pod.addresses else "",
        ready=pod.ready,
        sidecar=pod.meshed,
        phase=run.phase,
        reason=run.reason,
        restarts=run.restarts,
        handle=asdict(handle) if handle is not None else None,
        containers=tuple(containers),
    )


def describe_services(mesh: Mesh) -> tuple[ServiceState, ...]:
    """All Services, by name."""
    return tuple(
        ServiceState(
            namespace=service.ref.namespace,
            name=service.ref.name,
            ip=service.external_name
            if service.resolution is Resolution.EXTERNAL_NAME
            else next(iter(service.addresses), "None"),
        )
        for service in sorted(mesh.services.values(), key=lambda service: service.ref)
    )
