"""The same change in meshes of 10 to 10,000 services, and the start on a directory of 1,000 of each kind.

100 sidecars use the service whose VirtualService changes, and ten others. CPU is the control plane's, from the change
until all have acknowledged it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from bench import manifests
from bench.children import child, server
from bench.crowd import Member, connected
from bench.fanout import Contender, Took
from bench.figures_table import Figure, figures_parser, report
from bench.light_sidecar import Habits
from bench.machine import machine_figures
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST

SIZES = (10, 100, 1000, 10_000)
SIDECARS = 100
USED = 10
ROUNDS = 9
_FLAT = 1.5
_START_SECONDS = 3.0
_STARTS = 3
_TYPES = frozenset({CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST})
_HOSTS = tuple(manifests.asked(f"s{number}") for number in range(USED))
_EXPECTED = {CLUSTER: USED, ENDPOINT: USED, VIRTUAL_HOST: USED}


async def measure(sizes: Sequence[int], rounds: int) -> list[Figure]:
    figures = []
    spent: list[float] = []
    for size in sizes:
        took = await _change(size, rounds)
        spent.append(took.cpu_ms)
        figures.append(
            Figure(
                what=f"a VirtualService changes, {SIDECARS} sidecars, {size:,} services",
                measured=str(took),
                values={"time_ms": took.time_ms, "cpu_ms": took.cpu_ms},
            )
        )
    ratio = max(spent) / min(spent)
    figures.append(
        Figure(
            what="  CPU of the most expensive by that of the cheapest",
            measured=f"{ratio:.2f}",
            target=f"within {_FLAT}",
            met=ratio <= _FLAT,
            values={"ratio": ratio},
        )
    )
    starts = [await _start(1000) for _ in range(_STARTS)]
    seconds = statistics.median(starts)
    figures.append(
        Figure(
            what="start with 1,000 services, VirtualServices and DestinationRules until a sidecar is served",
            measured=f"{seconds:.2f} s",
            target=f"under {_START_SECONDS:.0f} s",
            met=seconds < _START_SECONDS,
            values={"start_s": seconds},
        )
    )
    return [*figures, *machine_figures()]


async def _change(services: int, rounds: int) -> Took:
    with tempfile.TemporaryDirectory(prefix="heddle-bench-") as directory:
        scratch = Path(directory)
        _write(scratch / "manifests", services, SIDECARS, rules=False)
        async with AsyncExitStack() as stack:
            plane = await stack.enter_async_context(child(*server("bench.plane_process")))
            given = {"manifests": str(scratch / "manifests"), "keys": str(scratch / "keys"), "mode": "on-demand"}
            told = await plane.ask(given)
            members = [Member(node=node, token=token) for node, token in told["tokens"].items()]
            crowd, _ = await stack.enter_async_context(connected(_habits(told), members, _EXPECTED))
            contender = Contender(plane, crowd, len(members), Took())
            for number in range(rounds + 1):
                text = manifests.virtual_service(number + 1)
                await contender.change({"file": manifests.CHANGED, "change": text})
                if number == 0:
                    contender = contender.anew()
            return contender.took


async def _start(count: int) -> float:
    """From the start of the process until one sidecar has what it asked for."""
    with tempfile.TemporaryDirectory(prefix="heddle-bench-") as directory:
        scratch = Path(directory)
        _write(scratch / "manifests", count, 1, rules=True)
        # Compiled, as it is in the image; the first one that runs here does it.
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(scratch / "compiled")}
        given = {"manifests": str(scratch / "manifests"), "keys": str(scratch / "keys"), "mode": "auto"}
        async with child(*server("bench.plane_process"), environment=compiled) as plane:
            await plane.ask(given)
        async with AsyncExitStack() as stack:
            # The client is ready before: only its connection counts.
            began = time.perf_counter()
            plane = await stack.enter_async_context(child(*server("bench.plane_process"), environment=compiled))
            told = await plane.ask(given)
            listening = time.perf_counter() - began
            members = [Member(node=node, token=token) for node, token in told["tokens"].items()]
            _, connecting = await stack.enter_async_context(connected(_habits(told), members, _EXPECTED))
            return listening + connecting


def _habits(told: dict[str, str]) -> Habits:
    return Habits(
        address=told["address"],
        delta=True,
        root=told["root"].encode(),
        server_name=told["server_name"],
        types=_TYPES,
        tables=("80",),
        hosts=_HOSTS,
    )


def _write(folder: Path, services: int, sidecars: int, *, rules: bool) -> None:
    folder.mkdir()
    (folder / "services.yaml").write_text(manifests.together(*map(manifests.service, range(services))))
    (folder / "pods.yaml").write_text(manifests.together(*map(manifests.pod, range(sidecars))))
    if rules:
        routes = (manifests.virtual_service(1, f"s{number}") for number in range(services))
        (folder / "routes.yaml").write_text(manifests.together(*routes))
        given = (manifests.destination_rule(f"s{number}") for number in range(services))
        (folder / "rules.yaml").write_text(manifests.together(*given))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = figures_parser("mesh_size", __doc__)
    parser.add_argument("--services", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args(arguments)
    return report(asyncio.run(measure(args.services, args.rounds)), args.json)


if __name__ == "__main__":
    sys.exit(main())
