"""The reconciling loop: makes what runs into what the manifests ask for, and tells everybody what runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol, assert_never

import structlog

from heddle.local.environment import Data
from heddle.local.log_files import log_path, rotate_logs
from heddle.local.mesh_state import MeshState, encode_state
from heddle.local.places import Place, PlaceRefused, PlaceRequest, Places
from heddle.local.pod_names import replica_name
from heddle.local.pod_plan import Create, Delete, Relabel, plan_pods
from heddle.local.pod_run import Origin, PodContext, PodRun
from heddle.local.sidecar import Plane, SidecarProgram
from heddle.local.state_of_runs import describe_pod, describe_services
from model.mesh import Mesh
from model.pods import LOCALITY, Pod, Workload, WorkloadKind, parse_locality, wants_sidecar
from model.problems import ObjectRef

_ROTATE_EVERY_SECONDS: Final = 2.0
_LONGEST_HOST_NAME: Final = 63
_log = structlog.get_logger()


class PodStore(Protocol):
    """What the runtime needs of `sources.store.Store`."""

    workloads: tuple[Workload, ...]

    @property
    def mesh(self) -> Mesh: ...

    @property
    def config_maps(self) -> Data: ...

    @property
    def secrets(self) -> Data: ...

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]: ...

    def observe(self, pods: Sequence[Pod], service_addresses: Mapping[tuple[str, str], tuple[str, ...]]) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """How a runtime is set up.

    `directory` is where commands start, `folders` holds the sidecars' files (readable by their user), `logs` what
    containers print. `starting` is how many sidecars start at the same time. `isolation` and `process` are for
    `MeshState`. `told` returns once every sidecar has the present snapshot, or has been given the time to.
    `save` is handed the encoded `MeshState` after each change.
    """

    directory: Path
    folders: Path
    logs: Path
    node_name: str
    inherited: Mapping[str, str]
    program: SidecarProgram
    starting: int
    isolation: str
    process: tuple[int, int] | None
    told: Callable[[], Awaitable[None]]
    save: Callable[[bytes], None]
    chance: random.Random = field(default_factory=random.SystemRandom)


class Runtime:
    """Runs the pods of one mesh. `run` does everything; `pending` may be asked at any time."""

    def __init__(self, *, settings: RuntimeSettings, store: PodStore, plane: Plane, places: Places) -> None:
        self._settings = settings
        self._store = store
        self._places = places
        self._runs: dict[tuple[str, str], PodRun] = {}
        self._order = 0
        self._wake = asyncio.Event()
        self._published: Mesh | None = None
        self._publishing = asyncio.Lock()
        self._saved = b""
        self._telling = False
        self._ended: set[tuple[str, str]] = set()
        self._context = PodContext(
            plane=plane,
            program=settings.program,
            folders=settings.folders,
            logs=settings.logs,
            directory=settings.directory,
            node_name=settings.node_name,
            host_address=places.host_address,
            inherited=settings.inherited,
            data=lambda: (store.config_maps, store.secrets),
            slots=asyncio.Semaphore(settings.starting),
            withdrawn=self._withdraw,
            changed=self._wake.set,
        )

    async def run(self) -> None:
        """Goes on until it is cancelled; then every process of every pod is killed."""
        unsubscribe = self._store.on_change(self._wake.set)
        self._wake.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._rotate())
                while True:
                    await self._wake.wait()
                    self._telling = True
                    self._wake.clear()
                    await self._reconcile(tasks)
                    self._telling = False
        finally:
            unsubscribe()

    async def end(self, *, grace_seconds: float) -> None:
        """Tells all applications that the mesh ends, and gives them a moment. `run` is to be cancelled afterwards."""
        for run in self._runs.values():
            run.signal_end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                for run in self._runs.values():
                    for container in run.containers:
                        await container.ended()

    def pending(self) -> tuple[str, ...]:
        """What is not applied yet, for people. Right the moment a manifest has been read: nothing is cached.

        Empty only when everybody has been told, `MeshState` included.
        """
        found = self._unsettled()
        if not found and (self._wake.is_set() or self._telling):
            found = ("what runs is not known everywhere",)
        return found

    def _unsettled(self) -> tuple[str, ...]:
        found = [_describe(action) for action in self._plan()]
        for run in self._runs.values():
            if not run.is_settled:
                namespace, name = run.key
                why = f": {run.reason}" if run.reason else ""
                found.append(f"pod {name}.{namespace} is {run.phase}{why}")
        if self._published is not self._store.mesh:
            found.append("names and Service addresses")
        return tuple(found)

    def stuck(self) -> tuple[str, ...]:
        """Pods that no waiting makes ready, each with its reason."""
        return tuple(
            f"pod {run.key[1]}.{run.key[0]}: {run.phase}: {run.reason}"
            for run in self._runs.values()
            if not run.is_ready
            and not run.has_succeeded
            and (run.is_settled or run.phase == "CreateContainerConfigError")
        )

    def _plan(self) -> tuple[Create | Delete | Relabel, ...]:
        return plan_pods(self._store.workloads, [run.present for run in self._runs.values()])

    async def _reconcile(self, tasks: asyncio.TaskGroup) -> None:
        creates: list[Create] = []
        for action in self._plan():
            match action:
                case Create():
                    creates.append(action)
                case Delete(namespace=namespace, name=name):
                    self._runs[namespace, name].stop()
                case Relabel(namespace=namespace, name=name, labels=labels, annotations=annotations):
                    self._runs[namespace, name].relabel(labels, annotations)
                case _:
                    assert_never(action)
        started = await self._create(creates) if creates else []
        # The control plane lets a sidecar in only if it knows the pod.
        await self._tell()
        for run in started:
            tasks.create_task(self._live(run))

    async def _create(self, creates: Sequence[Create]) -> list[PodRun]:
        pods = [self._name(create) for create in creates]
        requests = [
            PlaceRequest(
                key=f"{pod.ref.namespace}/{pod.ref.name}",
                namespace=pod.ref.namespace,
                hostname=(create.workload.template.hostname or pod.ref.name)[:_LONGEST_HOST_NAME],
                aliases=create.workload.template.host_aliases,
                annotations=pod.annotations,
                meshed=pod.meshed,
            )
            for create, pod in zip(creates, pods, strict=True)
        ]
        found = await self._find_places(requests)
        runs = []
        for create, pod, place in zip(creates, pods, found, strict=True):
            self._order += 1
            origin = Origin(
                owner=create.workload.ref,
                template=create.workload.template,
                revision=create.revision,
                order=self._order,
            )
            run = PodRun(
                pod=pod if isinstance(place, PlaceRefused) else _at(pod, place),
                origin=origin,
                place=None if isinstance(place, PlaceRefused) else place,
                reason=str(place) if isinstance(place, PlaceRefused) else "",
                context=self._context,
            )
            self._runs[run.key] = run
            runs.append(run)
        return runs

    async def _find_places(self, requests: Sequence[PlaceRequest]) -> Sequence[Place | PlaceRefused]:
        try:
            return await self._places.add(requests)
        except PlaceRefused as refused:
            if len(requests) == 1:
                return (refused,)
        # One of them is at fault: the others shall not suffer.
        return [(await self._find_places((request,)))[0] for request in requests]

    async def _live(self, run: PodRun) -> None:
        await run.live()
        namespace, name = run.key
        self._ended.add(run.key)
        await self._tell()
        if run.place is not None:
            await self._places.remove(f"{namespace}/{name}", run.place)
        shutil.rmtree(log_path(self._settings.logs, namespace, name, "any").parent, ignore_errors=True)
        # Only now may another pod have its name, and its address.
        self._ended.discard(run.key)
        del self._runs[run.key]
        self._wake.set()

    async def _tell(self) -> None:
        """Everybody is told what runs: the control plane at once, then names and Service addresses."""
        pods = [run.pod for key, run in self._runs.items() if run.place is not None and key not in self._ended]
        self._store.observe(pods, self._places.service_addresses(self._store.mesh))
        async with self._publishing:
            mesh = self._store.mesh
            if mesh is not self._published:
                await self._places.publish(mesh)
                self._published = mesh
        self._save()

    async def _withdraw(self) -> None:
        await self._tell()
        await self._settings.told()

    def _save(self) -> None:
        pending = self._unsettled()
        state = MeshState(
            isolation=self._settings.isolation,
            process=self._settings.process,
            settled=not pending,
            pending=pending,
            stuck=self.stuck(),
            pods=tuple(
                describe_pod(self._runs[key], logs=self._settings.logs, sidecar_user=self._places.sidecar_user)
                for key in sorted(self._runs)
            ),
            services=describe_services(self._store.mesh),
        )
        encoded = encode_state(state)
        if encoded != self._saved:
            self._settings.save(encoded)
            self._saved = encoded

    def _name(self, create: Create) -> Pod:
        workload, template = create.workload, create.workload.template
        namespace, labels = workload.ref.namespace, dict(template.labels)
        name = create.name
        match workload.kind:
            case WorkloadKind.DEPLOYMENT:
                name = replica_name(workload.ref.name, create.revision, chance=self._settings.chance)
                while (namespace, name) in self._runs:
                    name = replica_name(workload.ref.name, create.revision, chance=self._settings.chance)
                labels["pod-template-hash"] = create.revision
            case WorkloadKind.STATEFUL_SET:
                labels["statefulset.kubernetes.io/pod-name"] = name
                labels["apps.kubernetes.io/pod-index"] = name.rpartition("-")[2]
            case WorkloadKind.POD:
                pass
            case _:
                assert_never(workload.kind)
        stateful = workload.kind is WorkloadKind.STATEFUL_SET
        return Pod(
            ref=ObjectRef(kind="Pod", namespace=namespace, name=name),
            uid=str(uuid.UUID(int=self._settings.chance.getrandbits(128), version=4)),
            labels=labels,
            annotations=template.annotations,
            service_account=template.service_account,
            workload=workload.ref.name,
            ports=tuple(port for container in template.containers for port in container.ports),
            hostname=name if stateful else template.hostname,
            subdomain=workload.service_name if stateful else template.subdomain,
            locality=parse_locality(template.labels.get(LOCALITY, "")),
            meshed=wants_sidecar(template.labels, template.annotations, host_network=template.host_network),
        )

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(_ROTATE_EVERY_SECONDS)
            await asyncio.to_thread(rotate_logs, self._settings.logs)


def sidecars_at_once() -> int:
    """How many sidecars start at the same time: their start is bound by the processor."""
    return max(2, 2 * (os.cpu_count() or 1))


def _at(pod: Pod, place: Place) -> Pod:
    return replace(pod, addresses=place.addresses)


def _describe(action: Create | Delete | Relabel) -> str:
    match action:
        case Create(workload=workload, name=name):
            return f"a pod of {workload.ref} is to be started" if not name else f"{workload.ref} is to be started"
        case Delete(namespace=namespace, name=name):
            return f"pod {name}.{namespace} is to be ended"
        case Relabel(namespace=namespace, name=name):
            return f"pod {name}.{namespace} is to be relabelled"
        case _:
            assert_never(action)
