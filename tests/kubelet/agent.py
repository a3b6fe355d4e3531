"""The nodes of a test cluster, as one process: kubelet, scheduler, kube-proxy and DNS.

Runs inside namespaces of its own (`python -m tests.kubelet OPTIONS` makes them): when its first process dies, by any
means, so does everything of all its pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import signal
import sys
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

import structlog

from heddle import clock
from heddle.local import namespaces
from heddle.local.dns import NameServer, serve_names
from heddle.local.isolation import mesh_process
from heddle.local.network import MeshNetwork, NetworkFailed
from heddle.log_output import configure_logging
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import MERGE_PATCH, Api, Refused, Unreachable, open_api
from sources.kubernetes.events import Garbled
from sources.kubernetes.reflector import Reflector
from sources.kubernetes.resources import PODS, Resource
from tests.kubelet.images import known_images
from tests.kubelet.options import NodeOptions, decode
from tests.kubelet.pod_network import PodNetworks
from tests.kubelet.pod_worker import NodeContext, PodWorker
from tests.kubelet.services import ServiceTables
from tests.kubelet.variables import Sources

Json = Mapping[str, Any]
SERVICES: Final = Resource(kind="Service", plural="services")
SLICES: Final = Resource(kind="EndpointSlice", plural="endpointslices", group="discovery.k8s.io")
CONFIG_MAPS: Final = Resource(kind="ConfigMap", plural="configmaps")
SECRETS: Final = Resource(kind="Secret", plural="secrets")
_CONFLICT: Final = 409
_LOOK_SECONDS: Final = 0.02
_log = structlog.get_logger()


class Agent:
    """Follows the API server and makes its pods run. `run` is its whole life."""

    def __init__(self, options: NodeOptions, network: MeshNetwork, names: NameServer, api: Api, scratch: Path) -> None:
        self._options = options
        self._api = api
        self._names = names
        self._tables = ServiceTables()
        self._tables_differ = asyncio.Event()
        self._config_maps: dict[str, Json] = {}
        self._secrets: dict[str, Json] = {}
        self._workers: dict[str, PodWorker] = {}
        self._binding: set[str] = set()
        self._turn = itertools.cycle(options.nodes)
        self._tasks: asyncio.TaskGroup | None = None
        self._networks = PodNetworks(network)
        seconds = options.renew_tokens_after
        self._context = NodeContext(
            api=api,
            networks=self._networks,
            images=known_images(),
            sources=self._sources,
            service_variables=self._service_variables,
            scratch=scratch,
            logs=Path(options.directory) / "logs",
            now=clock.now,
            renew_tokens_after=timedelta(seconds=seconds) if seconds else None,
        )

    async def run(self) -> None:
        """Until cancelled."""
        for name, labels in self._options.nodes.items():
            await self._register(name, labels)
        async with asyncio.TaskGroup() as self._tasks:
            for resource in (SERVICES, SLICES, CONFIG_MAPS, SECRETS, PODS):
                self._tasks.create_task(Reflector(resource, self._api, self, jitter=clock.jitter).run())
            await self._publish_for_ever()

    # What reflectors tell

    def to_value(self, resource: Resource, item: dict[str, Any]) -> object:
        """See `reflector.Receiver`. Other nodes' pods are none of ours."""
        if resource == PODS and item["spec"].get("nodeName", "") not in ("", *self._options.nodes):
            return {}
        return item

    def receive(self, resource: Resource, values: Mapping[str, object | None]) -> None:
        """See `reflector.Receiver`."""
        for key, value in values.items():
            item = cast(Json | None, value)
            if resource == PODS:
                self._receive_pod(key, item)
            elif resource == SERVICES:
                self._tables.put_service(key, item)
                self._tables_differ.set()
            elif resource == SLICES:
                self._tables.put_slice(key, item)
                self._tables_differ.set()
            else:
                held = self._config_maps if resource == CONFIG_MAPS else self._secrets
                if item is None:
                    held.pop(key, None)
                else:
                    held[key] = item
        if resource in (CONFIG_MAPS, SECRETS):
            touched = {key.partition("/")[0] for key in values}
            for worker in self._workers.values():
                if worker.pod["metadata"]["namespace"] in touched:
                    worker.look_again()

    def note(self, resource: Resource) -> None:
        """See `reflector.Receiver`."""

    # Pods

    def _receive_pod(self, key: str, item: Json | None) -> None:
        uid = item["metadata"]["uid"] if item else ""
        for other in [each for each in self._workers.values() if _key(each.pod) == key and each.uid != uid]:
            other.vanish()
        if not item:
            return
        if uid in self._workers:
            self._workers[uid].update(item)
        elif (item.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return
        elif not item["spec"].get("nodeName"):
            if not item["metadata"].get("deletionTimestamp") and not item["spec"].get("schedulingGates"):
                self._start(self._bind(item))
        else:
            worker = PodWorker(item, self._context)
            self._workers[uid] = worker
            worker.update(item)
            self._start(self._live(worker))

    async def _live(self, worker: PodWorker) -> None:
        try:
            await worker.live()
        except Exception:
            # One pod's trouble must not end all; the test that wants it to run sees that it does not.
            _log.exception("kubelet.pod_failed", pod=_key(worker.pod))
        finally:
            del self._workers[worker.uid]

    async def _bind(self, pod: Json) -> None:
        """The scheduler: every pod fits everywhere, but for its node selector."""
        metadata = pod["metadata"]
        if metadata["uid"] in self._binding:
            return
        wanted = (pod["spec"].get("nodeSelector") or {}).items()
        fits = [name for name, labels in self._options.nodes.items() if wanted <= labels.items()]
        if not fits:
            return
        self._binding.add(metadata["uid"])
        node = next(name for name in self._turn if name in fits)
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
        try:
            await self._api.write("POST", path, body)
        except (Refused, Unreachable, Garbled) as error:
            _log.warning("kubelet.not_bound", pod=_key(pod), reason=str(error))
        finally:
            self._binding.discard(metadata["uid"])

    async def _register(self, name: str, labels: Mapping[str, str]) -> None:
        everything = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **labels}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": everything}}
        try:
            await self._api.write("POST", "/api/v1/nodes", node)
        except Refused as error:
            if error.refusal.code != _CONFLICT:
                raise
        amount = {"cpu": "16", "memory": "64Gi", "pods": "500"}
        status = {
            "addresses": [{"type": "InternalIP", "address": self._networks.host_address}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "capacity": amount,
            "allocatable": amount,
        }
        await self._api.write("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, content_type=MERGE_PATCH)

    # Services

    async def _publish_for_ever(self) -> None:
        while True:
            await self._tables_differ.wait()
            self._tables_differ.clear()
            self._names.set_table(self._tables.names())
            try:
                await self._networks.set_services(self._tables.ports())
            except NetworkFailed as error:
                _log.error("kubelet.service_rules", reason=str(error))

    def _service_variables(self) -> Mapping[str, str]:
        address = self._tables.cluster_address("default/kubernetes")
        return {"KUBERNETES_SERVICE_HOST": address, "KUBERNETES_SERVICE_PORT": "443"} if address else {}

    def _sources(self, namespace: str) -> Sources:
        def of_namespace(held: Mapping[str, Json], decode: Callable[[str], bytes]) -> dict[str, dict[str, bytes]]:
            return {
                item["metadata"]["name"]: {
                    **{name: decode(text) for name, text in (item.get("data") or {}).items()},
                    **{name: b64decode(text) for name, text in (item.get("binaryData") or {}).items()},
                }
                for item in held.values()
                if item["metadata"]["namespace"] == namespace
            }

        return Sources(
            config_maps=of_namespace(self._config_maps, str.encode), secrets=of_namespace(self._secrets, b64decode)
        )

    def _start(self, work: Any) -> None:
        assert self._tasks is not None
        self._tasks.create_task(work)


def _key(pod: Json) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


async def serve(options: NodeOptions) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    process, directory = mesh_process(os.environ), Path(options.directory)
    assert process.host_network is not None
    scratch = directory / "scratch"
    scratch.mkdir()
    namespaces.mount_scratch(scratch)
    network = MeshNetwork(subnet=options.mesh_subnet, files=scratch / "files")
    network.connect_host(process.host_network)
    try:
        gateway = str(options.mesh_subnet.gateway)
        async with serve_names([gateway], new_id=lambda: secrets.randbits(16), resolvers=()) as names:
            (directory / "up").write_text(json.dumps({"pid": process.pid, "started": process.started}))
            kubeconfig = directory / "kubeconfig"
            while not kubeconfig.exists() and not stop.is_set():  # noqa: ASYNC110 - no event tells of a file
                await asyncio.sleep(_LOOK_SECONDS)
            async with open_api(ClusterAccess(kubeconfig=kubeconfig)) as api:
                agent = Agent(options, network, names, api, scratch)
                running = asyncio.create_task(agent.run())
                stopping = asyncio.create_task(stop.wait())
                await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
    finally:
        network.disconnect_host()


def main() -> None:
    configure_logging(json_lines=False, verbose=False)
    asyncio.run(serve(decode(sys.argv[1])))


if __name__ == "__main__":
    main()
