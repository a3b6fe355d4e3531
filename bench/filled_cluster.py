"""A real API server with the objects of a thousand services in it, and requests to it."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import aiohttp

from bench import cluster_objects
from model.on_demand import SIDECAR_CONFIG
from tests.kubelet.images import CHECKOUT
from tests.kubelet.running_cluster import Cluster

Json: TypeAlias = dict[str, Any]

NAMESPACE: Final = cluster_objects.NAMESPACE
OWN: Final = "heddle-system"
XDS_PORT: Final = 15012
DEFAULT, EAGER = 1, 0
"""Two pods of the first service: one whose sidecar is as the default has it, one that is told to have everything."""
MERGE: Final = {"Content-Type": "application/merge-patch+json"}
_WRITERS = 24
_FAR = "far"
"""A node that nobody plays: the pods there are objects only."""


def pod_name(replica: int) -> str:
    """Of the first service."""
    return str(cluster_objects.pod(0, replica)["metadata"]["name"])


async def fill(cluster: Cluster, services: int) -> None:
    """Defines Istio's kinds, and writes what `cluster_objects` has of so many services."""
    cluster.kubectl("create", "-f", str(CHECKOUT / "deploy" / "chart" / "crds"))
    for name in (OWN, NAMESPACE):
        cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", NAMESPACE, "heddle.io/inject=enabled")
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", NAMESPACE, "--timeout=60s")
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    cluster.apply(_own_service(cluster.nodes.host), OWN)
    queue: asyncio.Queue[Json] = asyncio.Queue()
    for item in (*_node(), *map(_plain, cluster_objects.objects(services))):
        queue.put_nowait(item)
    async with session(cluster) as opened, asyncio.TaskGroup() as tasks:
        for _ in range(_WRITERS):
            tasks.create_task(_write_all(opened, queue))


def _own_service(host: str) -> str:
    """The name that sidecars ask for, and the machine itself behind it."""
    metadata = {"name": "heddle"}
    port = {"name": "grpc-xds", "port": XDS_PORT}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [port]}}
    slice_of = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "heddle-1", "labels": {"kubernetes.io/service-name": "heddle"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [host]}],
        "ports": [port],
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [service, slice_of]})


def _node() -> Iterator[Json]:
    labels = {"topology.kubernetes.io/region": "r1", "topology.kubernetes.io/zone": "z1"}
    yield {"apiVersion": "v1", "kind": "Node", "metadata": {"name": _FAR, "labels": labels}}


def _plain(item: Json) -> Json:
    """The object as somebody creates it: without what the API server gives, and nothing that controllers act on."""
    metadata = {
        key: item["metadata"][key] for key in ("name", "namespace", "labels", "annotations") if key in item["metadata"]
    }
    found = {**item, "metadata": metadata}
    match item["kind"]:
        case "Node":
            found["metadata"] = {"name": "near"}
        case "Service":
            spec = item["spec"]
            found["spec"] = {"ports": spec["ports"]}
        case "EndpointSlice":
            found["endpoints"] = [
                {**one, "nodeName": _FAR, "targetRef": {k: v for k, v in one["targetRef"].items() if k != "uid"}}
                for one in item["endpoints"]
            ]
        case "Pod":
            found["spec"] = {**item["spec"], "serviceAccountName": "default", "nodeName": _FAR}
            if metadata["name"] == pod_name(EAGER):
                metadata["annotations"] = {**metadata.get("annotations", {}), SIDECAR_CONFIG: "eager"}
        case _:
            pass
    return found


PLURALS = {
    "Node": "api/v1/nodes",
    "Service": f"api/v1/namespaces/{NAMESPACE}/services",
    "Pod": f"api/v1/namespaces/{NAMESPACE}/pods",
    "EndpointSlice": f"apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices",
    "VirtualService": f"apis/networking.istio.io/v1/namespaces/{NAMESPACE}/virtualservices",
    "DestinationRule": f"apis/networking.istio.io/v1/namespaces/{NAMESPACE}/destinationrules",
}


async def _write_all(opened: aiohttp.ClientSession, queue: asyncio.Queue[Json]) -> None:
    while not queue.empty():
        item = queue.get_nowait()
        path = f"/{PLURALS[item['kind']]}"
        async with opened.post(path, json=item) as answer:
            if answer.status != 201:
                raise RuntimeError(f"{item['kind']} {item['metadata']['name']}: {await answer.text()}")
        if item["kind"] == "Pod":
            body = json.dumps({"status": item["status"]})
            status_path = f"{path}/{item['metadata']['name']}/status"
            async with opened.patch(status_path, data=body, headers=MERGE) as answer:
                if answer.status != 200:
                    raise RuntimeError(await answer.text())


@asynccontextmanager
async def session(cluster: Cluster) -> AsyncIterator[aiohttp.ClientSession]:
    """Requests as the cluster's administrator."""
    plane = cluster.control_plane
    context = ssl.create_default_context(cafile=str(plane.ca_file))
    headers = {"Authorization": f"Bearer {plane.admin_token}"}
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(plane.url, connector=connector, headers=headers) as opened:
        yield opened
        await asyncio.sleep(0)
