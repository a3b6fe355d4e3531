"""1,000 sidecars connect at once, each using 50 of 1,000 services, and then rest: how long, how much memory and CPU.

Each has TLS, a token, and a key and certificate made for it. The services have 10,000 endpoints. All of them use the
same, as the pods of one workload do; then they connect once more as 20 workloads, each of which uses 50 others.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import manifests
from bench.children import Child, child, server
from bench.crowd import Member, connected
from bench.figures_table import Figure, figures_parser, report
from bench.light_sidecar import Habits
from bench.machine import machine_figures
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST

SERVICES = 1000
SIDECARS = 1000
USED = 50
ENDPOINTS = 10
"""Of each service."""
WORKLOADS = 20
"""Of as many pods each."""
REST_SECONDS = 30.0
_SETTLE_SECONDS = 35.0
"""Until the last timers of the connecting have run out: for an answer the server waits 30 s."""
_CONNECT_SECONDS, _PEAK_MIB = 20.0, 600.0
_REST_MIB, _REST_PERCENT = 350.0, 2.0


async def measure(services: int, sidecars: int, used: int, rest_seconds: float) -> list[Figure]:
    what = f"{sidecars} sidecars connect at once, {services} services, {used} used by each"
    async with _connected(services, sidecars, used, workloads=1) as (plane, connecting):
        figures = connecting.figures(what)
        print(f"  waiting for {_SETTLE_SECONDS:.0f} s, until it is at rest", file=sys.stderr)
        await asyncio.sleep(_SETTLE_SECONDS)
        spent = plane.cpu_ms()
        await asyncio.sleep(rest_seconds)
        percent = (plane.cpu_ms() - spent) / rest_seconds / 10
        memory = plane.memory_mib()
        figures.append(
            Figure(
                what=f"the server at rest, {services * ENDPOINTS:,} endpoints, {sidecars} sidecars",
                measured=f"{memory:,.0f} MiB, {percent:.2f} % of a core",
                target=f"under {_REST_MIB:.0f} MB, {_REST_PERCENT:.0f} %",
                met=memory * 1.048576 < _REST_MIB and percent < _REST_PERCENT,
                values={"memory_mib": memory, "cpu_percent": percent},
            )
        )
    async with _connected(services, sidecars, used, workloads=WORKLOADS) as (_, connecting):
        figures += connecting.figures(f"the same, each of {WORKLOADS} workloads uses {used} others")
    return [*figures, *machine_figures()]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Connecting:
    seconds: float
    cpu_seconds: float
    requests: int
    peak_mib: float

    def figures(self, what: str) -> list[Figure]:
        return [
            Figure(
                what=what,
                measured=(
                    f"{self.seconds:.1f} s, CPU {self.cpu_seconds:.1f} s, {self.requests:,} requests, none refused"
                ),
                target=f"within {_CONNECT_SECONDS:.0f} s, none refused",
                met=self.seconds <= _CONNECT_SECONDS,
                values={"connect_s": self.seconds, "cpu_s": self.cpu_seconds, "requests": self.requests},
            ),
            Figure(
                what="  peak memory of the server",
                measured=f"{self.peak_mib:,.0f} MiB",
                target=f"under {_PEAK_MIB:.0f} MB",
                met=self.peak_mib * 1.048576 < _PEAK_MIB,
                values={"peak_mib": self.peak_mib},
            ),
        ]


@asynccontextmanager
async def _connected(
    services: int, sidecars: int, used: int, *, workloads: int
) -> AsyncIterator[tuple[Child, _Connecting]]:
    """A control plane whose sidecars have all that they use; those of a workload use the same."""
    types = frozenset({CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST})
    expected = {CLUSTER: used, ENDPOINT: used, VIRTUAL_HOST: used, SECRET: 2}
    with tempfile.TemporaryDirectory(prefix="heddle-bench-") as directory:
        scratch = Path(directory)
        _write(scratch / "manifests", services, sidecars, workloads)
        async with child(*server("bench.plane_process")) as plane:
            given = {"manifests": str(scratch / "manifests"), "keys": str(scratch / "keys"), "mode": "auto"}
            told = await plane.ask(given)
            habits = Habits(
                address=told["address"],
                delta=True,
                root=told["root"].encode(),
                server_name=told["server_name"],
                types=types,
                tables=tuple(map(str, manifests.PORTS)),
            )
            members = [
                Member(node=node, token=token, hosts=_hosts(_number(node) % workloads, used, services))
                for node, token in told["tokens"].items()
            ]
            spent = plane.cpu_ms()
            async with connected(habits, members, expected) as (crowd, seconds):
                connecting = _Connecting(
                    seconds=seconds,
                    cpu_seconds=(plane.cpu_ms() - spent) / 1000,
                    peak_mib=plane.memory_mib("VmHWM"),
                    requests=(await crowd.totals()).requests,
                )
                yield plane, connecting


def _number(node: str) -> int:
    """Of the pod: see `manifests.pod`."""
    return int(node.split("~")[2].partition(".")[0].removeprefix("p"))


def _hosts(workload: int, used: int, services: int) -> tuple[str, ...]:
    numbers = [number % services for number in range(workload * used, (workload + 1) * used)]
    return tuple(manifests.asked(f"s{number}", manifests.port_of(number)) for number in numbers)


def _write(folder: Path, services: int, sidecars: int, workloads: int) -> None:
    folder.mkdir()
    (folder / "services.yaml").write_text(manifests.together(*map(manifests.service, range(services))))
    slices = (manifests.endpoint_slice(number, ENDPOINTS) for number in range(services))
    (folder / "endpoints.yaml").write_text(manifests.together(*slices))
    pods = (manifests.pod(number, app=f"client{number % workloads}") for number in range(sidecars))
    (folder / "pods.yaml").write_text(manifests.together(*pods))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = figures_parser("connecting", __doc__)
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--sidecars", type=int, default=SIDECARS)
    parser.add_argument("--used", type=int, default=USED)
    parser.add_argument("--rest", type=float, default=REST_SECONDS, metavar="SECONDS")
    args = parser.parse_args(arguments)
    figures = asyncio.run(measure(args.services, args.sidecars, args.used, args.rest))
    return report(figures, args.json)


if __name__ == "__main__":
    sys.exit(main())
