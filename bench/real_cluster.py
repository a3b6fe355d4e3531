"""A real API server with 1,000 services: from the start of `heddle serve --kubernetes` until a sidecar is served.

Beside it, in the same run, a bare list and parse of the same objects. Then one VirtualService is written at a time, at
rest: how long until the traffic of a real sidecar, in a pod of our nodes, follows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import grpc

from bench.cluster_sync import list_bare
from bench.figures_table import Figure, figures_parser, report
from bench.filled_cluster import DEFAULT, EAGER, MERGE, NAMESPACE, OWN, PLURALS, XDS_PORT, Json, fill, pod_name, session
from bench.simulated_sidecar import SimulatedSidecar
from protos.type_urls import CLUSTER, ENDPOINT, VIRTUAL_HOST
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from tests.kubelet.images import CHECKOUT
from tests.kubelet.running_cluster import Cluster, cluster_up

SERVICES = 1000
ROUNDS = 100
TARGET_SYNC_SECONDS = 6.0
TARGET_P50_MS, TARGET_P99_MS = 50.0, 150.0
TARGET_PLANE_MIB, TARGET_SIDECAR_MIB = 300.0, 75.0
_LIMIT_SECONDS = 120.0
_REST_SECONDS = 300.0
_SEED = 20261126
_USED = 50

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


async def measure(services: int, rounds: int) -> list[Figure]:
    with cluster_up() as cluster:
        await fill(cluster, services)
        with _serving(cluster):
            cluster.kubectl("wait", "--for=create", "configmap/heddle-root", "-n", NAMESPACE, "--timeout=120s")
        async with open_api(ClusterAccess(kubeconfig=cluster.control_plane.kubeconfig)) as api:
            before = time.perf_counter()
            read = await list_bare(api)
            bare = time.perf_counter() - before
        tokens = [
            cluster.control_plane.token(NAMESPACE, "default", audience="heddle", pod=pod_name(replica))
            for replica in (DEFAULT, EAGER)
        ]
        roots = cluster.control_plane.admin.get("configmap", "heddle-root", "-n", NAMESPACE)["data"]["root.pem"]
        began = time.monotonic()
        with _serving(cluster) as plane:
            await _served(lambda: _on_demand(cluster, tokens[0], roots.encode()), _has_what_it_uses)
            served, spent = time.monotonic() - began, _cpu_seconds(plane.pid)
            await _served(lambda: _eager(cluster, tokens[1], roots.encode()), partial(_whole, services=services))
            whole = time.monotonic() - began
            async with _watching(_eager(cluster, tokens[1], roots.encode()), services) as watching:
                took, sent, puts, sidecar = await _follow(cluster, watching, rounds, plane.pid)
            memory = _memory(Path(f"/proc/{plane.pid}/status").read_text())
    count, size = sum(number for number, _ in read.values()), sum(size for _, size in read.values()) / 2**20
    p50, p99 = 1000 * statistics.median(took), 1000 * statistics.quantiles(took, n=100)[98]
    sent_p50, put_p50 = 1000 * statistics.median(sent), 1000 * statistics.median(puts)
    load = os.getloadavg()[0]
    plane_mib, peak_mib = memory["VmRSS"], memory["VmHWM"]
    return [
        Figure(
            what=f"a bare list and parse of {services:,} services' objects",
            measured=f"{bare:.2f} s: {count:,} objects, {size:.1f} MiB",
            values={"services": services, "objects": count, "mib_read": size, "bare_s": bare},
        ),
        Figure(
            what="started until a sidecar is served",
            measured=f"{served:.2f} s, {spent:.2f} s of CPU",
            target=f"under {TARGET_SYNC_SECONDS:.0f} s",
            met=served < TARGET_SYNC_SECONDS,
            values={"served_s": served, "served_cpu_s": spent},
        ),
        Figure(what="  until another has everything", measured=f"{whole:.2f} s", values={"whole_s": whole}),
        Figure(
            what="memory of the control plane",
            measured=f"{plane_mib:,.0f} MiB, peak {peak_mib:,.0f}",
            target=f"peak under {TARGET_PLANE_MIB:.0f} MiB",
            met=peak_mib < TARGET_PLANE_MIB,
            values={"plane_mib": plane_mib, "plane_peak_mib": peak_mib},
        ),
        Figure(
            what="memory of a sidecar",
            measured=f"{sidecar:,.0f} MiB",
            target=f"under {TARGET_SIDECAR_MIB:.0f} MiB",
            met=sidecar < TARGET_SIDECAR_MIB,
            values={"sidecar_mib": sidecar},
        ),
        Figure(
            what=f"a VirtualService's PATCH sent until a real sidecar's traffic follows, {rounds} times",
            measured=f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
            target=f"under {TARGET_P50_MS:.0f} ms, {TARGET_P99_MS:.0f} ms",
            met=p50 < TARGET_P50_MS and p99 < TARGET_P99_MS,
            values={"follow_p50_ms": p50, "follow_p99_ms": p99},
        ),
        Figure(what="  the API server answered", measured=f"p50 {put_p50:.1f} ms", values={"put_p50_ms": put_p50}),
        Figure(
            what="  another sidecar had been sent it",
            measured=f"p50 {sent_p50:.1f} ms",
            values={"sent_p50_ms": sent_p50},
        ),
        Figure(what="load of the machine meanwhile", measured=f"{load:.1f}", values={"load": load}),
    ]


# Until it is served


@contextlib.contextmanager
def _serving(cluster: Cluster) -> Iterator[subprocess.Popen[bytes]]:
    """`heddle serve --kubernetes` as a process of the machine, reached by pods at the machine's address."""
    with tempfile.TemporaryDirectory(prefix="heddle-bench-") as state:
        line = (
            sys.executable, "-m", "heddle.main", "serve", "--kubernetes",
            "--kubeconfig", str(cluster.control_plane.kubeconfig), "--xds", f"{cluster.nodes.host}:{XDS_PORT}",
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


async def _served(
    make: Callable[[], SimulatedSidecar], has_all: Callable[[SimulatedSidecar], Coroutine[None, None, None]]
) -> None:
    """Returns once a sidecar that connects as soon as it can has what it wants."""
    until = time.monotonic() + _LIMIT_SECONDS
    while time.monotonic() < until:
        sidecar = make()
        if not await _listens(sidecar.address):
            await asyncio.sleep(0.01)
            continue
        running = asyncio.create_task(sidecar.run())
        whole = asyncio.create_task(has_all(sidecar))
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


def _on_demand(cluster: Cluster, token: str, roots: bytes) -> SimulatedSidecar:
    """As the default has it for so many services: its application asks for some."""
    asked = tuple(f"80/s{number}.{NAMESPACE}" for number in range(_USED))
    return _simulated(cluster, token, roots, DEFAULT, asked)


def _eager(cluster: Cluster, token: str, roots: bytes) -> SimulatedSidecar:
    return _simulated(cluster, token, roots, EAGER, ())


def _simulated(
    cluster: Cluster, token: str, roots: bytes, replica: int, virtual_hosts: tuple[str, ...]
) -> SimulatedSidecar:
    return SimulatedSidecar(
        f"{cluster.nodes.host}:{XDS_PORT}",
        node_id=f"sidecar~10.1.0.1~{pod_name(replica)}.{NAMESPACE}~x",
        token=token,
        root=roots,
        server_name=f"heddle.{OWN}.svc",
        virtual_hosts=virtual_hosts,
    )


async def _has_what_it_uses(sidecar: SimulatedSidecar) -> None:
    """Each has a cluster for all and one for either subset; its routes name those of the subsets."""
    for type_url, count in ((VIRTUAL_HOST, _USED), (CLUSTER, 2 * _USED), (ENDPOINT, 2 * _USED)):
        await sidecar.until_count(type_url, count)


async def _whole(sidecar: SimulatedSidecar, services: int) -> None:
    for type_url in (CLUSTER, ENDPOINT, VIRTUAL_HOST):
        await sidecar.until_count(type_url, services)


async def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


# A change


@asynccontextmanager
async def _watching(sidecar: SimulatedSidecar, services: int) -> AsyncIterator[SimulatedSidecar]:
    """Once it has everything."""
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
    cluster.apply(_target(), NAMESPACE)
    injected = await asyncio.to_thread(_injected, _client())
    cluster.apply(injected, NAMESPACE)
    cluster.ready(NAMESPACE, "client", "target")
    line = cluster.nodes.command(NAMESPACE, "client", "app", "python3", "-c", _POLLER)
    poller = await asyncio.create_subprocess_exec(
        *line, stdout=asyncio.subprocess.PIPE, env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    )
    assert poller.stdout is not None
    chance = random.Random(_SEED)
    took, sent, puts = [], [], []
    try:
        async with session(cluster) as opened, asyncio.timeout(_LIMIT_SECONDS + _REST_SECONDS + rounds):
            path = f"/{PLURALS['VirtualService']}"
            async with opened.post(path, json=_turn("0")) as answer:
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
                async with opened.patch(f"{path}/target", data=body, headers=MERGE) as answer:
                    assert answer.status == 200, await answer.text()
                puts.append(time.monotonic() - written)
                took.append(await _shown(poller.stdout, str(number)) - written)
                sent.append(await arriving - written)
        found = cluster.run(NAMESPACE, "client", "app", "sh", "-c", "cat /proc/$(pgrep -u 1337 -n envoy)/status")
    finally:
        # The program itself: what has entered the pod for it is only its parent.
        cluster.run(NAMESPACE, "client", "app", "pkill", "-KILL", "-f", "http.client, sys, time")
        poller.kill()
        await poller.wait()
    return took, sent, puts, _memory(found.stdout)["VmRSS"]


def _turn(number: str) -> Json:
    route = [{"destination": {"host": "target"}}]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "target", "namespace": NAMESPACE},
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
    metadata = {"name": "client", "namespace": NAMESPACE, "labels": {"app": "client", "heddle.io/inject": "enabled"}}
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


def _cpu_seconds(pid: int) -> float:
    """What a process has spent so far. Source: proc(5), fields 14 and 15 of `/proc/PID/stat`."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(status: str) -> dict[str, float]:
    """MiB by the names of proc(5)."""
    pairs = (line.split() for line in status.splitlines() if line.startswith(("VmRSS:", "VmHWM:")))
    return {pair[0].rstrip(":"): int(pair[1]) / 1024 for pair in pairs}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = figures_parser("real_cluster", __doc__)
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args(arguments)
    if args.services < _USED:
        parser.error(f"--services must be at least {_USED}: a sidecar waits for that many")
    print(f"  writing {args.services} services with five pods each to a real API server ...", file=sys.stderr)
    return report(asyncio.run(measure(args.services, args.rounds)), args.json)


if __name__ == "__main__":
    sys.exit(main())
