"""A real API server with 1,000 services: from the start of `heddle serve --kubernetes` until a sidecar is served.

Beside it, in the same run, a bare list and parse of the same objects. Then one VirtualService is written at a time, at
rest: how long until the traffic of a real sidecar, in a pod of our nodes, follows it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import grpc

from bench import cluster_objects
from bench.cluster_sync import list_bare
from bench.simulated_sidecar import SimulatedSidecar
from protos.type_urls import CLUSTER, ENDPOINT, VIRTUAL_HOST
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from tests.kubelet.images import CHECKOUT
from tests.kubelet.running_cluster import Cluster, cluster_up

Json: TypeAlias = dict[str, Any]

SERVICES = 1000
ROUNDS = 100
TARGET_SYNC_SECONDS = 6.0
TARGET_P50_MS, TARGET_P99_MS = 50.0, 150.0
TARGET_PLANE_MIB, TARGET_SIDECAR_MIB = 300.0, 75.0
_NAMESPACE = cluster_objects.NAMESPACE
_OWN = "heddle-system"
_XDS_PORT = 15012
_WRITERS = 24
_LIMIT_SECONDS = 120.0
_REST_SECONDS = 300.0
_SEED = 20261126
_MERGE = {"Content-Type": "application/merge-patch+json"}
_FAR = "far"
"""A node that nobody plays: the pods there are objects only."""

_POLLER = """
import http.client, sys, time
connection = http.client.HTTPConnection("target", 80, timeout=10)
last = None
while True:
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        turn = answer.headers.get("x-turn")
    except OSError:
        connection.close()
        continue
    if turn != last:
        last = turn
        print(turn, time.monotonic(), flush=True)
    time.sleep(0.001)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Seconds, milliseconds and MiB.

    `follow`: from the sending of a PATCH until an answer shows it; `sent`: until another sidecar was sent it.
    """

    services: int
    objects: int
    mib_read: float
    bare_s: float
    served_s: float
    served_cpu_s: float
    plane_mib: float
    plane_peak_mib: float
    sidecar_mib: float
    follow_p50_ms: float
    follow_p99_ms: float
    sent_p50_ms: float
    put_p50_ms: float
    load: float


async def measure(services: int, rounds: int) -> Found:
    with cluster_up() as cluster:
        await _fill(cluster, services)
        with _serving(cluster):
            cluster.kubectl("wait", "--for=create", "configmap/heddle-root", "-n", _NAMESPACE, "--timeout=120s")
        async with open_api(ClusterAccess(kubeconfig=cluster.control_plane.kubeconfig)) as api:
            before = time.perf_counter()
            read = await list_bare(api)
            bare = time.perf_counter() - before
        token = cluster.control_plane.token(_NAMESPACE, "default", audience="heddle", pod=_pod_name())
        roots = cluster.control_plane.admin.get("configmap", "heddle-root", "-n", _NAMESPACE)["data"]["root.pem"]
        began = time.monotonic()
        with _serving(cluster) as plane:
            await _served(cluster, token, roots.encode(), services)
            served, spent = time.monotonic() - began, _cpu_seconds(plane.pid)
            async with _watching(cluster, token, roots.encode(), services) as watching:
                took, sent, puts, sidecar = await _follow(cluster, watching, rounds, plane.pid)
            memory = _memory(Path(f"/proc/{plane.pid}/status").read_text())
    return Found(
        services=services,
        objects=sum(count for count, _ in read.values()),
        mib_read=sum(size for _, size in read.values()) / 2**20,
        bare_s=bare,
        served_s=served,
        served_cpu_s=spent,
        plane_mib=memory["VmRSS"],
        plane_peak_mib=memory["VmHWM"],
        sidecar_mib=sidecar,
        follow_p50_ms=1000 * statistics.median(took),
        follow_p99_ms=1000 * statistics.quantiles(took, n=100)[98],
        sent_p50_ms=1000 * statistics.median(sent),
        put_p50_ms=1000 * statistics.median(puts),
        load=os.getloadavg()[0],
    )


# What is there before


async def _fill(cluster: Cluster, services: int) -> None:
    cluster.kubectl("create", "-f", str(CHECKOUT / "deploy" / "chart" / "crds"))
    for name in (_OWN, _NAMESPACE):
        cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", _NAMESPACE, "heddle.io/inject=enabled")
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", _NAMESPACE, "--timeout=60s")
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    cluster.apply(_own_service(cluster.nodes.host), _OWN)
    queue: asyncio.Queue[Json] = asyncio.Queue()
    for item in (*_node(), *map(_plain, cluster_objects.objects(services))):
        queue.put_nowait(item)
    async with _session(cluster) as session, asyncio.TaskGroup() as tasks:
        for _ in range(_WRITERS):
            tasks.create_task(_write_all(session, queue))


def _own_service(host: str) -> str:
    """The name that sidecars ask for, and the machine itself behind it."""
    metadata = {"name": "heddle"}
    port = {"name": "grpc-xds", "port": _XDS_PORT}
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
        case _:
            pass
    return found


_PLURALS = {
    "Node": "api/v1/nodes",
    "Service": f"api/v1/namespaces/{_NAMESPACE}/services",
    "Pod": f"api/v1/namespaces/{_NAMESPACE}/pods",
    "EndpointSlice": f"apis/discovery.k8s.io/v1/namespaces/{_NAMESPACE}/endpointslices",
    "VirtualService": f"apis/networking.istio.io/v1/namespaces/{_NAMESPACE}/virtualservices",
    "DestinationRule": f"apis/networking.istio.io/v1/namespaces/{_NAMESPACE}/destinationrules",
}


async def _write_all(session: aiohttp.ClientSession, queue: asyncio.Queue[Json]) -> None:
    while not queue.empty():
        item = queue.get_nowait()
        path = f"/{_PLURALS[item['kind']]}"
        async with session.post(path, json=item) as answer:
            if answer.status != 201:
                raise RuntimeError(f"{item['kind']} {item['metadata']['name']}: {await answer.text()}")
        if item["kind"] == "Pod":
            body = json.dumps({"status": item["status"]})
            status_path = f"{path}/{item['metadata']['name']}/status"
            async with session.patch(status_path, data=body, headers=_MERGE) as answer:
                if answer.status != 200:
                    raise RuntimeError(await answer.text())


@asynccontextmanager
async def _session(cluster: Cluster) -> AsyncIterator[aiohttp.ClientSession]:
    plane = cluster.control_plane
    context = ssl.create_default_context(cafile=str(plane.ca_file))
    headers = {"Authorization": f"Bearer {plane.admin_token}"}
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(plane.url, connector=connector, headers=headers) as session:
        yield session
        await asyncio.sleep(0)


# Until it is served


@contextlib.contextmanager
def _serving(cluster: Cluster) -> Iterator[subprocess.Popen[bytes]]:
    """`heddle serve --kubernetes` as a process of the machine, reached by pods at the machine's address."""
    with tempfile.TemporaryDirectory(prefix="heddle-bench-") as state:
        line = (
            sys.executable, "-m", "heddle.main", "serve", "--kubernetes", "--sidecar-config", "eager",
            "--kubeconfig", str(cluster.control_plane.kubeconfig), "--xds", f"{cluster.nodes.host}:{_XDS_PORT}",
        )  # fmt: skip
        # Compiled, as it is in the image; the first one that runs here does it.
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(cluster.nodes.directory / "compiled")}
        environment = {**os.environ, **compiled, "HEDDLE_STATE": state, "PYTHONPATH": str(CHECKOUT)}
        with open(Path(state) / "log", "wb") as log:
            process = subprocess.Popen(line, env=environment, stderr=log, stdout=log)
        try:
            yield process
        except BaseException:
            sys.stderr.write((Path(state) / "log").read_text()[-4000:])
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


async def _served(cluster: Cluster, token: str, roots: bytes, services: int) -> None:
    """Returns once a sidecar that connects as soon as it can has all clusters, endpoints and virtual hosts."""
    until = time.monotonic() + _LIMIT_SECONDS
    while time.monotonic() < until:
        sidecar = _simulated(cluster, token, roots)
        if not await _listens(cluster.nodes.host):
            await asyncio.sleep(0.01)
            continue
        running = asyncio.create_task(sidecar.run())
        whole = asyncio.create_task(_whole(sidecar, services))
        done, _ = await asyncio.wait((running, whole), return_when=asyncio.FIRST_COMPLETED)
        for task in (running, whole):
            task.cancel()
        if whole in done:
            return
        try:
            running.result()
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            print(f"  refused, again: {error}", file=sys.stderr)
        await asyncio.sleep(0.01)
    raise TimeoutError("no sidecar was served")


def _simulated(cluster: Cluster, token: str, roots: bytes) -> SimulatedSidecar:
    return SimulatedSidecar(
        f"{cluster.nodes.host}:{_XDS_PORT}",
        node_id=f"sidecar~10.1.0.1~{_pod_name()}.{_NAMESPACE}~x",
        token=token,
        root=roots,
        server_name=f"heddle.{_OWN}.svc",
    )


async def _whole(sidecar: SimulatedSidecar, services: int) -> None:
    for type_url in (CLUSTER, ENDPOINT, VIRTUAL_HOST):
        await sidecar.until_count(type_url, services)


async def _listens(host: str) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, _XDS_PORT)
    except OSError:
        return False
    writer.close()
    return True


# A change


@asynccontextmanager
async def _watching(cluster: Cluster, token: str, roots: bytes, services: int) -> AsyncIterator[SimulatedSidecar]:
    """A sidecar without a proxy, which has everything."""
    sidecar = _simulated(cluster, token, roots)
    running = asyncio.create_task(sidecar.run())
    await _whole(sidecar, services)
    try:
        yield sidecar
    finally:
        running.cancel()


async def _other_virtual_hosts(sidecar: SimulatedSidecar) -> float:
    """When it was sent some that it did not have."""
    before = dict(sidecar.versions[VIRTUAL_HOST])
    while sidecar.versions[VIRTUAL_HOST] == before:
        await sidecar.until_next()
    return time.monotonic()


async def _at_rest(pid: int) -> None:
    """Returns once the process does next to nothing: every object has got its first status by then."""
    async with asyncio.timeout(_REST_SECONDS):
        before, quiet = _cpu_seconds(pid), 0
        while quiet < 2:
            await asyncio.sleep(1)
            spent = _cpu_seconds(pid)
            quiet = quiet + 1 if spent - before < 0.05 else 0
            before = spent


async def _follow(
    cluster: Cluster, watching: SimulatedSidecar, rounds: int, plane: int
) -> tuple[list[float], list[float], list[float], float]:
    """Seconds of each change until it shows, until it was sent, until the API server had it; MiB of the sidecar."""
    cluster.apply(_target(), _NAMESPACE)
    injected = await asyncio.to_thread(_injected, _client())
    cluster.apply(injected, _NAMESPACE)
    cluster.ready(_NAMESPACE, "client", "target")
    line = cluster.nodes.command(_NAMESPACE, "client", "app", "python3", "-c", _POLLER)
    poller = await asyncio.create_subprocess_exec(
        *line, stdout=asyncio.subprocess.PIPE, env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    )
    assert poller.stdout is not None
    chance = random.Random(_SEED)
    took, sent, puts = [], [], []
    try:
        async with _session(cluster) as session, asyncio.timeout(_LIMIT_SECONDS + _REST_SECONDS + rounds):
            path = f"/{_PLURALS['VirtualService']}"
            async with session.post(path, json=_turn("0")) as answer:
                assert answer.status == 201, await answer.text()
            await _shown(poller.stdout, "0")
            await _at_rest(plane)
            for number in range(1, rounds + 1):
                await asyncio.sleep(0.2 + 0.2 * chance.random())
                arriving = asyncio.create_task(_other_virtual_hosts(watching))
                await asyncio.sleep(0)
                written = time.monotonic()
                # No PUT: its version would be older than that of the status that Heddle has written meanwhile.
                body = json.dumps(_turn(str(number)))
                async with session.patch(f"{path}/target", data=body, headers=_MERGE) as answer:
                    assert answer.status == 200, await answer.text()
                puts.append(time.monotonic() - written)
                took.append(await _shown(poller.stdout, str(number)) - written)
                sent.append(await arriving - written)
        found = cluster.run(_NAMESPACE, "client", "app", "sh", "-c", "cat /proc/$(pgrep -u 1337 -n envoy)/status")
    finally:
        # The program itself: what has entered the pod for it is only its parent.
        cluster.run(_NAMESPACE, "client", "app", "pkill", "-KILL", "-f", "http.client, sys, time")
        poller.kill()
        await poller.wait()
    return took, sent, puts, _memory(found.stdout)["VmRSS"]


def _turn(number: str) -> Json:
    route = [{"destination": {"host": "target"}}]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "target", "namespace": _NAMESPACE},
        "spec": {
            "hosts": ["target"],
            "http": [{"headers": {"response": {"set": {"x-turn": number}}}, "route": route}],
        },
    }


async def _shown(output: asyncio.StreamReader, turn: str) -> float:
    while True:
        seen, at = (await output.readline()).split()
        if seen.decode() == turn:
            return float(at)


def _target() -> str:
    probe = {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 1}
    container = {
        "name": "app",
        "image": "example/server",
        "command": ["python3", "/app/server.py", "http:8080"],
        "readinessProbe": probe,
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "target", "labels": {"app": "target"}},
        "spec": {"containers": [container]},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "target"},
        "spec": {"selector": {"app": "target"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [pod, service]})


def _client() -> Json:
    container = {"name": "app", "image": "example/client", "command": ["sleep", "infinity"]}
    metadata = {"name": "client", "namespace": _NAMESPACE, "labels": {"app": "client", "heddle.io/inject": "enabled"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def _injected(pod: Json) -> str:
    """As `heddle inject` does it: no webhook is part of this."""
    return subprocess.run(
        (sys.executable, "-m", "heddle.main", "inject", "-f", "-"),
        input=json.dumps(pod),
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _pod_name() -> str:
    return str(cluster_objects.pod(0, 0)["metadata"]["name"])


def _cpu_seconds(pid: int) -> float:
    """What a process has spent so far. Source: proc(5), fields 14 and 15 of `/proc/PID/stat`."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(status: str) -> dict[str, float]:
    """MiB by the names of proc(5)."""
    pairs = (line.split() for line in status.splitlines() if line.startswith(("VmRSS:", "VmHWM:")))
    return {pair[0].rstrip(":"): int(pair[1]) / 1024 for pair in pairs}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.real_cluster", description=__doc__)
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    args = parser.parse_args([] if sys.argv[0].endswith("bench/__main__.py") else None)
    print(f"  writing {args.services} services with five pods each to a real API server ...", file=sys.stderr)
    found = asyncio.run(measure(args.services, args.rounds))
    if args.json:
        print(json.dumps(asdict(found), indent=2))
        return 0
    print(f"{found.objects:,} objects of {found.services:,} services in a real API server, {found.mib_read:.1f} MiB")
    print(f"  bare list and parse                {found.bare_s:10,.2f} s")
    print(f"  process started until served       {found.served_s:10,.2f} s  (CPU {found.served_cpu_s:.2f} s)")
    print(f"  memory of the control plane        {found.plane_mib:10,.0f} MiB (peak {found.plane_peak_mib:,.0f})")
    print(f"  memory of a sidecar                {found.sidecar_mib:10,.0f} MiB")
    print(f"  a VirtualService written until a real sidecar's traffic follows, {args.rounds} times")
    print(
        f"    p50                              {found.follow_p50_ms:10,.1f} ms: the API server answered after "
        f"{found.put_p50_ms:,.1f}, sidecars had been sent it after {found.sent_p50_ms:,.1f}"
    )
    print(f"    p99                              {found.follow_p99_ms:10,.1f} ms")
    print(f"  load of the machine meanwhile      {found.load:10,.1f}")
    good = (
        found.served_s < TARGET_SYNC_SECONDS
        and found.follow_p50_ms < TARGET_P50_MS
        and found.follow_p99_ms < TARGET_P99_MS
        and found.plane_peak_mib < TARGET_PLANE_MIB
        and found.sidecar_mib < TARGET_SIDECAR_MIB
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
