"""One VirtualService changes, with 1,000 services and 100 connected sidecars: how long, how much CPU and memory.

The sidecars are real gRPC clients (TLS, tokens, incremental ADS, one request an answer) in another process. Time is
from the change in the store until the last acknowledgement; CPU is the server process's alone.
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
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from bench.simulated_sidecar import SimulatedSidecar
from heddle.control_plane import ControlPlane, PlaneSettings
from model.on_demand import SidecarConfig
from protos.type_urls import VIRTUAL_HOST

SERVICES = 1000
SIDECARS = 100
ROUNDS = 20
NAMESPACE = "bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fanout:
    """Medians over the rounds; milliseconds, and MiB of the server's resident memory. Bytes to each sidecar."""

    services: int
    sidecars: int
    connect_ms: float
    change_ms: float
    change_cpu_ms: float
    change_bytes: float
    memory_mib: float


def service(number: int) -> str:
    return f"""apiVersion: v1
kind: Service
metadata: {{name: s{number}, namespace: {NAMESPACE}}}
spec:
  clusterIP: 10.96.{number // 250}.{number % 250 + 1}
  selector: {{app: s{number}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"""


def routed(seconds: int) -> bytes:
    return f"""apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s0, namespace: {NAMESPACE}}}
spec:
  hosts: [s0]
  http: [{{timeout: {seconds}s, route: [{{destination: {{host: s0}}}}]}}]
""".encode()


def pod(number: int) -> str:
    return f"""apiVersion: v1
kind: Pod
metadata: {{name: p{number}, namespace: {NAMESPACE}, uid: u{number}, labels: {{app: client}}}}
spec: {{containers: [{{name: c, command: [sleep]}}]}}
status:
  podIP: 10.1.{number // 250}.{number % 250 + 1}
  conditions: [{{type: Ready, status: "True"}}]
"""


async def measure(services: int, sidecars: int, rounds: int) -> Fanout:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    async with AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        manifests = scratch / "manifests"
        manifests.mkdir()
        (manifests / "services.yaml").write_text("---\n".join(map(service, range(services))))
        (manifests / "pods.yaml").write_text("---\n".join(map(pod, range(sidecars))))
        plane = ControlPlane(
            PlaneSettings(
                directory=manifests,
                keys=scratch / "keys",
                host="127.0.0.1",
                sidecar_config=SidecarConfig.EAGER,
            )
        )
        await stack.enter_async_context(plane.running())

        crowd = {
            "address": f"127.0.0.1:{plane.xds_address[1]}",
            "root": plane.trust_bundle.decode(),
            "server_name": plane.server_name,
            "services": services,
            "tokens": {
                f"sidecar~{pod.addresses[0]}~{name}.{namespace}~x": plane.mint_token(pod)
                for (namespace, name), pod in plane.store.mesh.pods.items()
            },
        }
        clients = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.fanout", "--clients",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
        )  # fmt: skip
        assert clients.stdin is not None
        assert clients.stdout is not None
        try:
            clients.stdin.write(json.dumps(crowd).encode() + b"\n")
            connected = float(await clients.stdout.readline())
            await _acknowledged(plane, sidecars)
            print(f"  {sidecars} sidecars connected in {connected:.1f} s", file=sys.stderr)
            took, spent, received = [], [], []
            for number in range(rounds):
                before, cpu = time.perf_counter(), time.process_time()
                plane.store.replace_file("change.yaml", routed(number + 1))
                await _acknowledged(plane, sidecars)
                took.append(1000 * (time.perf_counter() - before))
                spent.append(1000 * (time.process_time() - cpu))
                clients.stdin.write(b"\n")
                received.append(float(await clients.stdout.readline()))
        finally:
            clients.stdin.close()
            await clients.wait()
        return Fanout(
            services=services,
            sidecars=sidecars,
            connect_ms=1000 * connected,
            change_ms=statistics.median(took),
            change_cpu_ms=statistics.median(spent),
            change_bytes=statistics.median(received[1:]),
            memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )


async def _acknowledged(plane: ControlPlane, sidecars: int) -> None:
    while True:
        if plane.streams.acknowledged(plane.store.generation) >= sidecars:
            return
        await asyncio.sleep(0.0005)


async def clients() -> None:
    """The other process: opens every stream, says when all have everything, then reports bytes when asked."""
    loop = asyncio.get_running_loop()
    crowd = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    started = time.perf_counter()
    sidecars = [
        SimulatedSidecar(
            crowd["address"], node_id=node, token=token, root=crowd["root"].encode(), server_name=crowd["server_name"],
            route_tables=("80",),
        )
        for node, token in crowd["tokens"].items()
    ]  # fmt: skip
    running = [asyncio.create_task(sidecar.run()) for sidecar in sidecars]
    ready = asyncio.gather(*(sidecar.until_count(VIRTUAL_HOST, crowd["services"]) for sidecar in sidecars))
    await asyncio.wait({ready, *running}, return_when=asyncio.FIRST_COMPLETED)
    for task in running:
        if task.done():
            task.result()
    print(time.perf_counter() - started, flush=True)
    last = sum(sidecar.received_bytes for sidecar in sidecars)
    while await loop.run_in_executor(None, sys.stdin.readline):
        now = sum(sidecar.received_bytes for sidecar in sidecars)
        print((now - last) / len(sidecars), flush=True)
        last = now
    os._exit(0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fanout", description=__doc__)
    parser.add_argument("--clients", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--sidecars", type=int, default=SIDECARS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    args = parser.parse_args()
    if args.clients:
        asyncio.run(clients())
        return 0
    print(f"  {args.services} services, {args.sidecars} simulated sidecars in another process ...", file=sys.stderr)
    found = asyncio.run(measure(args.services, args.sidecars, args.rounds))
    if args.json:
        print(json.dumps(asdict(found), indent=2))
        return 0
    print(f"{found.services} services, {found.sidecars} sidecars (incremental, TLS, a token and a certificate each)")
    print(f"  all connected and served           {found.connect_ms:10,.0f} ms")
    print(f"  one VirtualService changes, until the last acknowledgement (median of {args.rounds})")
    print(f"    time                             {found.change_ms:10,.1f} ms")
    print(f"    CPU of the server                {found.change_cpu_ms:10,.1f} ms")
    print(f"    bytes to each sidecar            {found.change_bytes:10,.0f}")
    print(f"  memory of the server, peak         {found.memory_mib:10,.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
