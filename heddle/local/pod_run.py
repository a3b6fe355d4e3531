"""One pod's life: sidecar first, then its containers; and at the end out of service first, sidecar last."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from heddle.local.container_process import Command, ContainerProcess, RestartPolicy
from heddle.local.container_run import NO_CONFIGURATION, ContainerContext, ContainerRun
from heddle.local.environment import Data, PodFacts
from heddle.local.log_files import log_path
from heddle.local.places import Place
from heddle.local.pod_plan import PresentPod
from heddle.local.sidecar import CONTAINER_NAME, TOKEN_RENEWAL_SECONDS, Plane, Sidecar, SidecarProgram
from model.pods import LOCALITY, PROXY_CONTAINER, Container, Pod, PodTemplate, ProxyKind, parse_locality
from model.problems import ObjectRef

LONGEST_GRACE_SECONDS: Final = 10.0
"""However long a manifest's grace is, nobody waits longer for a pod on a laptop."""

_DRAIN_SECONDS: Final = 5.0
_SIDECAR_GRACE_SECONDS: Final = 1.0
_SLOT_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PodContext:
    """What every pod of the mesh needs.

    `withdrawn` returns once nobody is told of a pod any more that is not ready. `slots` bounds how many sidecars
    start at the same time. `changed` is called after each change of what can be asked of a pod.
    """

    plane: Plane
    program: SidecarProgram
    folders: Path
    logs: Path
    directory: Path
    node_name: str
    host_address: str
    inherited: Mapping[str, str]
    data: Callable[[], tuple[Data, Data]]
    slots: asyncio.Semaphore
    withdrawn: Callable[[], Awaitable[None]]
    changed: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a pod was made from."""

    owner: ObjectRef
    template: PodTemplate
    revision: str
    order: int


def own_containers(pod: Pod, template: PodTemplate) -> tuple[Container, ...]:
    """The containers that are run beside the pod's Envoy: a gateway's `istio-proxy` is that Envoy."""
    if not (pod.meshed and pod.proxy is ProxyKind.GATEWAY):
        return template.containers
    return tuple(container for container in template.containers if container.name != PROXY_CONTAINER)


class PodRun:
    """A pod that runs, or is refused a place (`place` None, with the `reason`)."""

    def __init__(self, *, pod: Pod, origin: Origin, place: Place | None, reason: str, context: PodContext) -> None:
        self.origin = origin
        self.place = place
        self.terminating = False
        self._pod = pod
        self._reason = reason
        self._context = context
        self._stop = asyncio.Event()
        self._sidecar: Sidecar | None = None
        self._proxy: ContainerProcess | None = None
        self._sidecar_ready = asyncio.Event()
        template = origin.template
        self.containers: tuple[ContainerRun, ...] = ()
        self.init_containers: tuple[ContainerRun, ...] = ()
        if place is not None:
            again = RestartPolicy(template.restart_policy)
            once = RestartPolicy.NEVER if again is RestartPolicy.NEVER else RestartPolicy.ON_FAILURE
            self.containers = tuple(
                ContainerRun(c, self._container(c.name, again)) for c in own_containers(pod, template)
            )
            self.init_containers = tuple(
                ContainerRun(c, self._container(c.name, once)) for c in template.init_containers
            )

    @property
    def _folder(self) -> Path:
        return self._context.folders / self._pod.addresses[0]

    @property
    def key(self) -> tuple[str, str]:
        return (self._pod.ref.namespace, self._pod.ref.name)

    @property
    def pod(self) -> Pod:
        """The pod as the control plane should see it now."""
        return self._pod if self._pod.ready == self.is_ready else replace(self._pod, ready=self.is_ready)

    @property
    def present(self) -> PresentPod:
        """The pod as the planner should see it now."""
        return PresentPod(
            namespace=self._pod.ref.namespace,
            name=self._pod.ref.name,
            owner=self.origin.owner,
            revision=self.origin.revision,
            order=self.origin.order,
            labels=self._pod.labels,
            annotations=self._pod.annotations,
            ready=self.is_ready,
            terminating=self.terminating,
        )

    @property
    def is_ready(self) -> bool:
        if self.terminating or self.place is None:
            return False
        sidecar = self._sidecar_ready.is_set() or not self._pod.meshed
        return sidecar and all(container.ready for container in self.containers)

    @property
    def phase(self) -> str:
        """One word, as `kubectl get pods` would say it."""
        if self.terminating:
            return "Terminating"
        if self.place is None:
            return "CannotRun"
        if self._pod.meshed and not self._sidecar_ready.is_set():
            return "SidecarStarting" if self._proxy is None or not self._proxy.restarts else "SidecarRestarting"
        waiting = next((c for c in self.init_containers if not c.succeeded), None)
        if waiting is not None:
            return "Init" if not waiting.reason else f"Init:{waiting.phase}"
        worst = [c.phase for c in self.containers if c.phase != "Running"]
        return worst[0] if worst else "Running"

    @property
    def reason(self) -> str:
        """Why it is not ready, for people; '' if there is nothing to say."""
        if self.is_ready:
            return self.place.problem if self.place is not None else ""
        if self._reason:
            return self._reason
        if self._proxy is not None and self._proxy.reason:
            return f"{CONTAINER_NAME}: {self._proxy.reason}"
        said = [f"{c.container.name}: {c.reason}" for c in (*self.init_containers, *self.containers) if c.reason]
        return "; ".join(said)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to wait for: it is ready, has ended for good, or can never be ready."""
        if self.terminating:
            return False
        return self.is_ready or self.place is None or any(c.is_final for c in (*self.failed_inits, *self.containers))

    @property
    def failed_inits(self) -> tuple[ContainerRun, ...]:
        return tuple(c for c in self.init_containers if c.is_final and not c.succeeded)

    @property
    def is_stuck(self) -> bool:
        """Whether nothing but an edit makes it ready."""
        if self.is_ready or self.terminating or self.has_succeeded:
            return False
        return self.is_settled or self.phase == NO_CONFIGURATION

    @property
    def has_succeeded(self) -> bool:
        """Whether all its containers have ended, and well."""
        return bool(self.containers) and all(container.succeeded for container in self.containers)

    @property
    def proxy(self) -> ContainerProcess | None:
        """The sidecar's process, None before it is started and without one."""
        return self._proxy

    @property
    def sidecar_is_ready(self) -> bool:
        return self._sidecar_ready.is_set()

    @property
    def restarts(self) -> int:
        return sum(container.restarts for container in self.containers)

    def relabel(self, labels: Mapping[str, str], annotations: Mapping[str, str]) -> None:
        """Gives it other labels; whatever runs goes on running."""
        locality = parse_locality(labels.get(LOCALITY, ""))
        self._pod = replace(self._pod, labels=labels, annotations=annotations, locality=locality)
        self._context.changed()

    def stop(self) -> None:
        """Ends it in good order; `live` returns when it is over."""
        self.terminating = True
        self._stop.set()
        self._context.changed()

    def signal_end(self) -> None:
        """Tells the applications at once, when the whole mesh ends."""
        for container in self.containers:
            container.terminate()

    async def live(self) -> None:
        """The whole life, from the start of the sidecar to the end of the last process."""
        if self.place is None:
            await self._stop.wait()
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                everything = [tasks.create_task(self._run_containers())]
                if self._pod.meshed:
                    everything += [tasks.create_task(self._run_sidecar()), tasks.create_task(self._renew_tokens())]
                await self._stop.wait()
                await self._leave(everything[0])
                for task in everything:
                    task.cancel()
        finally:
            self.place.kill_all()
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _run_sidecar(self) -> None:
        assert self.place is not None
        self._sidecar = Sidecar(
            program=self._context.program,
            plane=self._context.plane,
            place=self.place,
            folder=self._folder,
        )
        self._sidecar.prepare(self._pod)
        command = Command(
            argv=self._sidecar.argv(),
            environment=self.place.environment,
            log=log_path(self._context.logs, *self.key, CONTAINER_NAME),
        )
        self._proxy = ContainerProcess(command=command, policy=RestartPolicy.ALWAYS, changed=self._context.changed)
        async with asyncio.TaskGroup() as tasks, self._context.slots:
            tasks.create_task(self._proxy.run(self._watch_sidecar))
            with contextlib.suppress(TimeoutError):  # it may wait for the control plane: others need not
                async with asyncio.timeout(_SLOT_SECONDS):
                    await self._sidecar_ready.wait()

    async def _watch_sidecar(self) -> None:
        """Beside each process of the sidecar."""
        assert self._sidecar is not None
        try:
            await self._sidecar.wait_until_ready()
            self._sidecar_ready.set()
            self._context.changed()
            await asyncio.Event().wait()
        finally:
            self._sidecar_ready.clear()
            self._context.changed()

    async def _renew_tokens(self) -> None:
        while True:
            await asyncio.sleep(TOKEN_RENEWAL_SECONDS)
            if self._sidecar is not None:
                self._sidecar.renew_token(self._pod)

    async def _run_containers(self) -> None:
        if self._pod.meshed:
            await self._sidecar_ready.wait()
        for container in self.init_containers:
            await container.run()
            if not container.succeeded:
                return
        async with asyncio.TaskGroup() as tasks:
            for container in self.containers:
                tasks.create_task(container.run())

    async def _leave(self, containers: asyncio.Task[None]) -> None:
        """Nobody is sent here any more; what is under way is finished; the application ends; then the sidecar."""
        await self._context.withdrawn()
        if self._sidecar is not None and self._sidecar_ready.is_set():
            await self._sidecar.drain(at_most_seconds=_DRAIN_SECONDS)
        grace = min(self.origin.template.termination_grace.total_seconds(), LONGEST_GRACE_SECONDS)
        async with asyncio.TaskGroup() as tasks:
            for container in (*self.init_containers, *self.containers):
                tasks.create_task(container.stop(grace_seconds=grace))
        containers.cancel()
        if self._proxy is not None:
            await self._proxy.stop(grace_seconds=_SIDECAR_GRACE_SECONDS)

    def _container(self, name: str, policy: RestartPolicy) -> ContainerContext:
        assert self.place is not None
        context, pod = self._context, self._pod
        return ContainerContext(
            place=self.place,
            facts=PodFacts(
                namespace=pod.ref.namespace,
                name=pod.ref.name,
                uid=pod.uid,
                labels=pod.labels,
                annotations=pod.annotations,
                service_account=pod.service_account,
                node_name=context.node_name,
                host_address=context.host_address,
                addresses=self.place.application_addresses,
            ),
            data=context.data,
            inherited=context.inherited,
            directory=context.directory,
            log=log_path(context.logs, *self.key, name),
            policy=policy,
            changed=context.changed,
        )
