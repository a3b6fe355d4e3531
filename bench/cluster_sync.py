"""A cluster of 1,000 services is read: how long from start until served, beside a bare list and parse of the same.

The API server is the fake of the tests, in another process, so that what is measured is the reader. Then one
VirtualService is written at a time: how long until it is in force.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from bench.cluster_objects import objects, virtual_service
from bench.figures_table import Figure, figures_parser, report
from heddle.control_plane import Cluster, ControlPlane, PlaneSettings
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import FULL, METADATA_LIST, Api, open_api
from sources.kubernetes.reflector import PAGE
from sources.kubernetes.resources import Scope, resources_in
from tests.kubernetes_api.server import FakeApiServer

SERVICES = 1000
ROUNDS = 200
TARGET_SECONDS = 6.0


async def measure(services: int, rounds: int) -> list[Figure]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.cluster_sync", "--server", "--services", str(services),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        with tempfile.TemporaryDirectory() as folder:
            kubeconfig = Path(folder) / "kubeconfig"
            kubeconfig.write_bytes(await server.stdout.readline())
            async with open_api(ClusterAccess(kubeconfig=kubeconfig)) as api:
                before = time.perf_counter()
                read = await list_bare(api)
                bare = time.perf_counter() - before
            before, cpu = time.perf_counter(), time.process_time()
            async with open_api(ClusterAccess(kubeconfig=kubeconfig)) as api:
                plane = ControlPlane(PlaneSettings(cluster=Cluster(api=api), keys=Path(folder) / "k", host="127.0.0.1"))
                async with plane.running():
                    took, spent = time.perf_counter() - before, time.process_time() - cpu
                    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                    assert len(plane.store.mesh.services) == len(plane.store.mesh.virtual_services) == services
                    changes = [await _change(server.stdin, server.stdout, plane) for _ in range(rounds)]
    finally:
        server.stdin.close()
        await server.wait()
    count, size = sum(number for number, _ in read.values()), sum(size for _, size in read.values()) / 2**20
    p50, p99 = 1000 * statistics.median(changes), 1000 * statistics.quantiles(changes, n=100)[98]
    return [
        Figure(
            what=f"a bare list and parse of {services:,} services' objects",
            measured=f"{bare:.2f} s: {count:,} objects, {size:.1f} MiB",
            values={"services": services, "objects": count, "mib_read": size, "bare_s": bare},
        ),
        Figure(
            what="from start until served",
            measured=f"{took:.2f} s, {spent:.2f} s of CPU",
            target=f"under {TARGET_SECONDS:.0f} s",
            met=took < TARGET_SECONDS,
            values={"synced_s": took, "synced_cpu_s": spent},
        ),
        Figure(what="memory, peak", measured=f"{memory:,.0f} MiB", values={"memory_mib": memory}),
        Figure(
            what=f"a VirtualService written until it is in force, {rounds} times",
            measured=f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
            values={"change_p50_ms": p50, "change_p99_ms": p99},
        ),
    ]


async def list_bare(api: Api) -> Mapping[str, tuple[int, int]]:
    """Objects and bytes by resource: the same requests as the source makes, all resources at once."""
    found: dict[str, tuple[int, int]] = {}

    async def read(name: str, path: str, accept: str) -> None:
        count = size = 0
        token = ""
        while True:
            query = {"limit": str(PAGE), **({"continue": token} if token else {})}
            body = await api.get(path, query, accept)
            page = json.loads(body)
            count, size = count + len(page["items"]), size + len(body)
            token = page["metadata"].get("continue", "")
            if not token:
                found[name] = (count, size)
                return

    async with asyncio.TaskGroup() as tasks:
        for each in resources_in(Scope()):
            accept = METADATA_LIST if each.metadata_only else FULL
            tasks.create_task(read(str(each), each.path(each.versions[0]), accept))
    return found


async def _change(stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader, plane: ControlPlane) -> float:
    """Seconds from the write at the API server until the changed route is in force here."""
    arrived: list[float] = []
    changed = asyncio.Event()

    def note() -> None:
        arrived.append(time.monotonic())
        changed.set()

    done = plane.store.on_change(note)
    stdin.write(b"\n")
    written = float(await stdout.readline())
    await changed.wait()
    done()
    return arrived[0] - written


async def serve(services: int) -> None:
    """The other process: the API server; each line it is sent makes it write one VirtualService."""
    server = FakeApiServer()
    for item in objects(services):
        server.put(item)
    await server.start()
    with tempfile.TemporaryDirectory() as folder:
        written = server.write_kubeconfig(Path(folder) / "kubeconfig").read_text()
    print(json.dumps(_parsed(written)), flush=True)
    loop = asyncio.get_running_loop()
    seconds = 1
    while await loop.run_in_executor(None, sys.stdin.readline):
        seconds = seconds % 100 + 1
        now = time.monotonic()
        server.put(virtual_service(0, seconds + 1))
        print(now, flush=True)
    os._exit(0)


def _parsed(kubeconfig: str) -> object:
    import yaml

    return yaml.safe_load(kubeconfig)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = figures_parser("cluster_sync", __doc__)
    parser.add_argument("--server", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args(arguments)
    if args.server:
        asyncio.run(serve(args.services))
        return 0
    print(f"  an API server with {args.services} services and five pods each ...", file=sys.stderr)
    return report(asyncio.run(measure(args.services, args.rounds)), args.json)


if __name__ == "__main__":
    sys.exit(main())
