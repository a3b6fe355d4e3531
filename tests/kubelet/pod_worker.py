"""One pod's life on its node, as Kubernetes has it: init containers in order, sidecars first in and last out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from heddle.local.environment import PodFacts
from heddle.local.log_files import log_path
from heddle.local.network import NetworkFailed, PodNetwork
from sources.kubernetes.api import MERGE_PATCH, Api, Refused, Unreachable
from sources.kubernetes.events import Garbled
from tests.kubelet.container import PodContainer, Prepared, Role, Surroundings
from tests.kubelet.container_command import Namespaces, Rights, command_line, parse_rights
from tests.kubelet.container_root import Mount, RootPlan, make_root
from tests.kubelet.images import Image, find_image
from tests.kubelet.pod_network import PodNetworks
from tests.kubelet.status import Conditions, Observed, build_status
from tests.kubelet.variables import Sources, command_of, pod_facts, resolve_variables
from tests.kubelet.volumes import PodVolumes, Token, TokenUnavailable

Json = Mapping[str, Any]
_AGAIN_SECONDS: Final = 0.3
_NOT_FOUND, _CONFLICT = 404, 409
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """What all pods need. `sources` are the ConfigMaps and Secrets of a namespace, `service_variables` what a pod
    is told of the API server. `scratch` is memory, `logs` outlives pods."""

    api: Api
    networks: PodNetworks
    images: tuple[Image, ...]
    sources: Callable[[str], Sources]
    service_variables: Callable[[], Mapping[str, str]]
    scratch: Path
    logs: Path
    now: Callable[[], datetime]
    renew_tokens_after: timedelta | None


class PodWorker:
    """A pod that is bound to us. `live` is its whole life, the deletion of its object included."""

    def __init__(self, pod: Json, context: NodeContext) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self._context = context
        self._network: PodNetwork | None = None
        self._mounts: list[int] = []
        self._entries: dict[str, list[str]] = {}
        self._folder = context.scratch / self.uid
        self._conditions = Conditions()
        self._began = context.now()
        self._initialized = False
        self._message = ""
        self._moments: dict[str, float] = {}
        self._dirty = asyncio.Event()
        self._leave = asyncio.Event()
        self._grace = 30.0
        self._gone = False
        self._over = asyncio.Event()
        self._volumes = PodVolumes(
            pod,
            self._folder / "volumes",
            facts=self._facts,
            sources=lambda: context.sources(self._namespace),
            ask_token=self._ask_token,
            now=context.now,
            renew_after=context.renew_tokens_after,
        )
        spec = pod["spec"]
        inits = spec.get("initContainers") or ()
        self._before = [
            self._container(each, Role.SIDECAR if each.get("restartPolicy") == "Always" else Role.INIT)
            for each in inits
        ]
        self._mains = [self._container(each, Role.MAIN) for each in spec["containers"]]
        self._running: dict[PodContainer, asyncio.Task[None]] = {}

    @property
    def _namespace(self) -> str:
        return str(self.pod["metadata"]["namespace"])

    @property
    def _name(self) -> str:
        return str(self.pod["metadata"]["name"])

    @property
    def _containers(self) -> list[PodContainer]:
        return [*self._before, *self._mains]

    @property
    def _addresses(self) -> tuple[str, ...]:
        if self._network is None:
            return ()
        second = (str(self._network.address6),) if self._network.address6 is not None else ()
        return (str(self._network.address), *second)

    def update(self, pod: Json) -> None:
        """The object is this now; with a time of deletion it is to leave."""
        self.pod = pod
        self._volumes.look_again()
        if pod["metadata"].get("deletionTimestamp"):
            self._grace = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
            self._leave.set()

    def vanish(self) -> None:
        """The object is gone: nothing may run any more."""
        self._gone, self._grace = True, 0.0
        self._leave.set()

    def look_again(self) -> None:
        """ConfigMaps or Secrets of its namespace changed."""
        self._volumes.look_again()

    def state(self) -> dict[str, Any]:
        """How its containers are entered from within this process's namespaces, and when what was first true.

        `moments` are of the machine's monotonic clock, in seconds.
        """
        return {"containers": self._entries, "addresses": list(self._addresses), "moments": self._moments}

    def _mark(self, what: str) -> None:
        if what not in self._moments:
            self._moments[what] = asyncio.get_running_loop().time()

    async def live(self) -> None:
        try:
            if not await self._find_place():
                return
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(self._tell()), tasks.create_task(self._volumes.keep())]
                life = tasks.create_task(self._start(tasks))
                await self._leave.wait()
                life.cancel()
                await self._stop(self._grace)
                for task in (*self._running.values(), *background):
                    task.cancel()
            await self._clear_away()
            await self._say_goodbye()
        finally:
            await asyncio.shield(self._clear_away())

    # Beginning

    async def _find_place(self) -> bool:
        hostname = (self.pod["spec"].get("hostname") or self._name)[:63]
        self._mark("bound")
        while not self._leave.is_set():
            try:
                self._network = await self._context.networks.add(self.uid, namespace=self._namespace, hostname=hostname)
            except (NetworkFailed, OSError) as error:
                _log.error("kubelet.no_network", pod=f"{self._namespace}/{self._name}", reason=str(error))
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                self._folder.mkdir()
                self._mark("network")
                self._dirty.set()
                return True
        await self._say_goodbye()
        return False

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        while not self._volumes.ready.is_set():
            try:
                async with asyncio.timeout(_AGAIN_SECONDS):
                    await self._volumes.ready.wait()
            except TimeoutError:
                self._message = self._volumes.problem
                self._dirty.set()
        self._message = ""
        self._mark("volumes")
        for container in self._before:
            running = self._running[container] = tasks.create_task(container.run())
            if container.role is Role.SIDECAR:
                await container.started.wait()
                self._mark(f"{container.name} started")
                continue
            await running
            self._mark(f"{container.name} ended")
            if not container.succeeded:
                await self._finish()
                return
        self._initialized = True
        self._dirty.set()
        for container in self._mains:
            self._running[container] = tasks.create_task(container.run())
        await asyncio.wait([self._running[container] for container in self._mains])
        # Only a pod that is not to run for ever gets here: its sidecars end with it.
        await self._finish()

    async def _finish(self) -> None:
        grace = float(self.pod["spec"].get("terminationGracePeriodSeconds", 30))
        for container in reversed(self._before):
            if container.role is Role.SIDECAR:
                await container.stop(grace_seconds=grace)
        self._dirty.set()

    def _container(self, spec: Json, role: Role) -> PodContainer:
        return PodContainer(
            spec,
            role,
            Surroundings(
                address=lambda: self._addresses[0],
                restart_policy=self.pod["spec"].get("restartPolicy") or "Always",
                log=log_path(self._context.logs, self._namespace, self._name, spec["name"]),
                prepare=self._prepare,
                now=self._context.now,
                changed=self._dirty.set,
            ),
        )

    async def _prepare(self, spec: Json) -> Prepared:
        """Raises CannotRun, CannotResolve, OSError."""
        assert self._network is not None
        rights = parse_rights(self.pod, spec)
        image = find_image(self._context.images, spec.get("image") or "")
        hostname = self.pod["spec"].get("hostname") or self._name
        variables = resolve_variables(
            spec,
            self._facts(),
            self._context.sources(self._namespace),
            image,
            self._context.service_variables(),
            hostname,
        )
        argv = command_of(spec, image, variables)
        plan = RootPlan(
            mounts=(*_image_mounts(image), *self._volumes.mounts(spec)),
            links=image.links,
            open_folders=image.folders,
            read_only=rights.read_only_root,
        )
        scratch = self._folder / "roots" / spec["name"]
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        mounts = await asyncio.to_thread(make_root, plan, pod_mounts=self._network.handle.mount, scratch=scratch)
        self._mounts.append(mounts)
        network, _, uts = self._network.descriptors
        where = Namespaces(network=network, mounts=mounts, hostname=uts)
        directory = spec.get("workingDir") or "/"
        line = partial(_line, where, rights, directory)
        self._entries[spec["name"]] = list(line(()))
        self._mark(f"{spec['name']} prepared")
        self._write_state()
        return Prepared(line=line, argv=argv, variables=variables)

    def _write_state(self) -> None:
        """For whoever enters the pod from outside."""
        folder = self._context.logs.parent / "pods"
        folder.mkdir(exist_ok=True)
        temporary = folder / f".{self.uid}"
        temporary.write_text(json.dumps(self.state()))
        temporary.rename(folder / f"{self._namespace}_{self._name}.json")

    def _facts(self) -> PodFacts:
        return pod_facts(self.pod, addresses=self._addresses, host_address=self._context.networks.host_address)

    async def _ask_token(self, audience: str, life_seconds: int) -> Token:
        account = self.pod["spec"].get("serviceAccountName") or "default"
        bound = {"apiVersion": "v1", "kind": "Pod", "name": self._name, "uid": self.uid}
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": life_seconds,
                "boundObjectRef": bound,
            },
        }
        path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{account}/token"
        try:
            status = (await self._context.api.write("POST", path, body))["status"]
        except (Refused, Unreachable, Garbled) as error:
            raise TokenUnavailable(str(error)) from error
        expires = datetime.fromisoformat(status["expirationTimestamp"])
        return Token(text=status["token"], issued=self._context.now(), expires=expires)

    # Telling

    async def _tell(self) -> None:
        """Keeps the object's status as it is here. One write after the other, each with the newest."""
        path = f"/api/v1/namespaces/{self._namespace}/pods/{self._name}/status"
        told: dict[str, Any] = {}
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            status = self._status()
            if status == told:
                continue
            body = {"metadata": {"uid": self.uid}, "status": status}
            try:
                await self._context.api.write("PATCH", path, body, content_type=MERGE_PATCH)
                told = status
            except Refused as error:
                if error.refusal.code in (_NOT_FOUND, _CONFLICT):
                    return
                _log.warning("kubelet.status_refused", pod=f"{self._namespace}/{self._name}", reason=str(error))
                await self._later()
            except (Unreachable, Garbled):
                await self._later()

    async def _later(self) -> None:
        await asyncio.sleep(_AGAIN_SECONDS)
        self._dirty.set()

    def _status(self) -> dict[str, Any]:
        observed = Observed(
            addresses=self._addresses,
            host_address=self._context.networks.host_address,
            started=self._began,
            initialized=self._initialized,
            terminating=self._leave.is_set(),
            restart_policy=self.pod["spec"].get("restartPolicy") or "Always",
            message=self._message,
        )
        return build_status(self._containers, observed, self._conditions, self._context.now())

    # End

    async def _stop(self, grace_seconds: float) -> None:
        """The applications together, then the sidecars, the first last; all within the grace."""
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_seconds
        async with asyncio.TaskGroup() as tasks:
            for container in (*self._mains, *(each for each in self._before if each.role is Role.INIT)):
                tasks.create_task(container.stop(grace_seconds=grace_seconds))
        for container in reversed(self._before):
            if container.role is Role.SIDECAR:
                left = max(until - loop.time(), 2.0) if grace_seconds else 0.0
                await container.stop(grace_seconds=left)

    async def _clear_away(self) -> None:
        if self._network is None:
            return
        network, self._network = self._network, None
        await self._context.networks.remove(self.uid, network)
        for descriptor in self._mounts:
            os.close(descriptor)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            (self._context.logs.parent / "pods" / f"{self._namespace}_{self._name}.json").unlink()

    async def _say_goodbye(self) -> None:
        """Deletes the object, which has been waiting for that."""
        path = f"/api/v1/namespaces/{self._namespace}/pods/{self._name}"
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
        while not self._gone:
            try:
                await self._context.api.write("DELETE", path, body)
                return
            except Refused as error:
                if error.refusal.code in (_NOT_FOUND, _CONFLICT):
                    return
            except (Unreachable, Garbled):
                pass
            await asyncio.sleep(_AGAIN_SECONDS)


def _image_mounts(image: Image) -> tuple[Mount, ...]:
    return tuple(Mount(source=source, path=path, read_only=True) for path, source in image.mounts.items())


def _line(where: Namespaces, rights: Rights, directory: str, argv: tuple[str, ...]) -> tuple[str, ...]:
    return command_line(where, rights, argv, directory=directory)
