"""A change, with 1,000 services and 1,000 connected sidecars: how long until all have acknowledged it, at what cost.

In the same run the same bytes are sent to the same clients by bare grpc.aio, and the same resources by a server on
go-control-plane; rounds take turns. Time is from the change in the store until the server has read the last
acknowledgement. CPU is the server process's alone, all of its threads.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import manifests
from bench.children import Child, Json, child, python
from bench.crowd import Crowd, Member, Totals, connected
from bench.figures_table import Figure, print_figures
from bench.light_sidecar import Habits
from bench.opponents import bare_server, go_program, go_server
from bench.own_certificate import write_certificate
from protos import discovery_pb2 as pb
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST

SERVICES = 1000
SIDECARS = 1000
FEW = 10
ROUNDS = 7
_REST_SECONDS = 0.15
"""After the last acknowledgement, before the CPU time is read."""
_KB_OVER_VHDS = 3.0


@dataclass(slots=True)
class Took:
    """Of the rounds of one contender: milliseconds, and milliseconds of CPU."""

    time: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def time_ms(self) -> float:
        return statistics.median(self.time)

    @property
    def cpu_ms(self) -> float:
        return statistics.median(self.cpu)

    def __str__(self) -> str:
        return f"{self.time_ms:,.0f} ms, CPU {self.cpu_ms:,.0f} ms"


@dataclass(frozen=True, slots=True)
class Contender:
    """A server with the crowd that is connected to it."""

    server: Child
    crowd: Crowd
    sidecars: int
    took: Took

    async def change(self, command: Json, *, answers: int | None = None) -> Totals:
        """One round. `answers`: how many sidecars are sent it, None for all. What the crowd heard of it."""
        await self.crowd.arm(all_of_them=answers is None)
        before, spent = await self.crowd.totals(), self.server.cpu_ms()
        began = (await self.server.ask(command))["at"]
        last = await self.crowd.answered()
        ended = max(last, (await self.server.ask({"acks": self.sidecars if answers is None else answers}))["at"])
        await asyncio.sleep(_REST_SECONDS)
        self.took.time.append((ended - began) / 1e6)
        self.took.cpu.append(self.server.cpu_ms() - spent)
        return (await self.crowd.totals()).since(before)

    def anew(self) -> Contender:
        return Contender(self.server, self.crowd, self.sidecars, Took())


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """All contenders, each with a crowd of its own."""

    heddle: Contender
    bare: Contender
    go: Contender | None
    requests: int
    connect_s: float

    async def rounds(self, file: str, texts: Sequence[str]) -> tuple[Arena, Totals]:
        """The same change for each in turn; what Heddle's crowd heard of the last one."""
        fresh = Arena(
            heddle=self.heddle.anew(),
            bare=self.bare.anew(),
            go=self.go.anew() if self.go else None,
            requests=self.requests,
            connect_s=self.connect_s,
        )
        heard = None
        for number, text in enumerate(texts):
            heard = await fresh.heddle.change({"file": file, "change": text})
            raw = heard.last
            await fresh.bare.change({"push": base64.b64encode(raw).decode()})
            if fresh.go is not None:
                await fresh.go.change({"change": _resource(raw)})
            if number == 0:
                # The first is where everything is done for the first time.
                for one in (fresh.heddle, fresh.bare, fresh.go):
                    if one is not None:
                        one.took.time.clear()
                        one.took.cpu.clear()
        assert heard is not None
        return fresh, heard


def _resource(raw: bytes) -> Json:
    """The one resource of a response, of either variant of the protocol (their fields are told apart by the type)."""
    delta = pb.DeltaDiscoveryResponse.FromString(raw)
    if len(delta.resources) == 1 and delta.resources[0].resource.type_url == delta.type_url:
        packed = delta.resources[0].resource
    else:
        (packed,) = pb.DiscoveryResponse.FromString(raw).resources
    return {"type_url": packed.type_url, "value": base64.b64encode(packed.value).decode()}


@asynccontextmanager
async def arena(services: int, sidecars: int, *, delta: bool) -> AsyncIterator[Arena]:
    """Three servers with what they serve, and their crowds connected and served."""
    program = go_program()
    async with AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heddle-bench-")))
        _write(scratch / "manifests", services, sidecars)
        plane = await stack.enter_async_context(child(*python("bench.plane_process")))
        told = await plane.ask({"manifests": str(scratch / "manifests"), "keys": str(scratch / "keys")})
        root = told["root"].encode()
        certificate, key = write_certificate(scratch, scratch / "keys", told["server_name"])
        few = {f"p{number}.{manifests.FEW}" for number in range(FEW)}
        members = [
            Member(node=node, token=token, few=node.split("~")[2] in few)
            for node, token in told["tokens"].items()
            if not node.split("~")[2].endswith(f".{manifests.APART}")
        ]

        def habits(address: str, types: frozenset[str]) -> Habits:
            return Habits(
                address=address, delta=delta, root=root, server_name=told["server_name"], types=types,
                tables=tuple(map(str, manifests.PORTS)),
            )  # fmt: skip

        content = {CLUSTER, ENDPOINT, LISTENER, ROUTE} | ({VIRTUAL_HOST} if delta else set())
        expected = {CLUSTER: services, ENDPOINT: services, ROUTE: 1}
        if delta:
            expected[VIRTUAL_HOST] = services
        of_plane, seconds = await stack.enter_async_context(
            connected(habits(told["address"], frozenset(content | {SECRET})), members, expected, scratch / "resources")
        )
        print(f"  {len(members)} sidecars connected in {seconds:.1f} s", file=sys.stderr)
        bare, address = await stack.enter_async_context(bare_server(certificate, key))
        of_bare, _ = await stack.enter_async_context(connected(habits(address, frozenset({CLUSTER})), members, {}))
        await bare.ask({"streams": len(members)})
        go = None
        if program is not None:
            server, address = await stack.enter_async_context(
                go_server(program, certificate, key, scratch / "resources")
            )
            of_go, of_go_seconds = await stack.enter_async_context(
                connected(habits(address, frozenset(content)), members, expected)
            )
            print(f"  and to go-control-plane in {of_go_seconds:.1f} s", file=sys.stderr)
            go = Contender(server, of_go, len(members), Took())
        yield Arena(
            heddle=Contender(plane, of_plane, len(members), Took()),
            bare=Contender(bare, of_bare, len(members), Took()),
            go=go,
            requests=(await of_plane.totals()).requests,
            connect_s=seconds,
        )


def _write(folder: Path, services: int, sidecars: int) -> None:
    folder.mkdir()
    own = [manifests.service(number) for number in range(services - 1)]
    big = manifests.service(services - 1, name=manifests.BIG, selects="client")
    apart = manifests.service(0, manifests.APART, name="rare")
    (folder / "services.yaml").write_text(manifests.together(*own, big, apart, manifests.sidecar()))
    few = [manifests.pod(number, manifests.FEW) for number in range(FEW)]
    pods = [manifests.pod(number) for number in range(FEW, sidecars)]
    (folder / "pods.yaml").write_text(manifests.together(*few, *pods))


def _compared(what: str, found: Arena, *, to_go: bool) -> list[Figure]:
    heddle, bare, go = found.heddle.took, found.bare.took, found.go.took if found.go else None
    figures = [
        Figure(
            what=what,
            measured=f"{heddle}; bare {bare}",
            target="at most 2 x bare",
            met=heddle.time_ms <= 2 * bare.time_ms,
            values={
                "time_ms": heddle.time_ms, "cpu_ms": heddle.cpu_ms, "bare_ms": bare.time_ms, "bare_cpu_ms": bare.cpu_ms
            },
        )
    ]  # fmt: skip
    if go is not None:
        figures.append(
            Figure(
                what="  go-control-plane",
                measured=f"{go}: {go.time_ms / heddle.time_ms:.1f} x, CPU {go.cpu_ms / heddle.cpu_ms:.1f} x",
                target="at least 4 x, CPU 5 x" if to_go else "",
                met=go.time_ms >= 4 * heddle.time_ms and go.cpu_ms >= 5 * heddle.cpu_ms if to_go else None,
                values={"time_ms": go.time_ms, "cpu_ms": go.cpu_ms},
            )
        )
    return figures


async def measure(services: int, sidecars: int, rounds: int) -> list[Figure]:
    figures = []
    changes = [manifests.virtual_service(number + 1) for number in range(rounds + 1)]
    async with arena(services, sidecars, delta=False) as found:
        joined, heard = await found.rounds(manifests.CHANGED, changes)
        size = heard.received_bytes / sidecars
        what = f"a VirtualService changes, all of {sidecars} use it, joined tables ({size / 1000:,.0f} KB each)"
        figures += _compared(what, joined, to_go=True)
    async with arena(services, sidecars, delta=True) as found:
        hosts, heard = await found.rounds(manifests.CHANGED, changes)
        figures += _compared("  the same over VHDS, eager", hosts, to_go=True)
        size = heard.received_bytes / sidecars
        figures.append(
            Figure(
                what="    bytes to each sidecar",
                measured=f"{size:,.0f}",
                target=f"under {_KB_OVER_VHDS:.0f} KB",
                met=size < 1000 * _KB_OVER_VHDS,
                values={"bytes": size},
            )
        )
        rare = found.heddle.anew()
        for number in range(rounds):
            text = manifests.virtual_service(number + 1, "rare", manifests.APART)
            heard = await rare.change({"file": "rare.yaml", "change": text}, answers=FEW)
        figures.append(
            Figure(
                what=f"  the same, {FEW} of {sidecars} use it",
                measured=f"{rare.took}; {heard.bytes_to_others} bytes to the others",
                target="CPU at most 1/20, 0 bytes",
                met=rare.took.cpu_ms <= joined.heddle.took.cpu_ms / 20 and not heard.bytes_to_others,
                values={
                    "time_ms": rare.took.time_ms, "cpu_ms": rare.took.cpu_ms, "bytes_to_others": heard.bytes_to_others
                },
            )
        )  # fmt: skip
        moves = [manifests.pod(0, app="client", address=f"10.9.0.{number + 1}") for number in range(rounds + 1)]
        endpoint, heard = await found.rounds(manifests.MOVED, moves)
        what = f"an endpoint of {sidecars + 1} changes ({heard.received_bytes / sidecars / 1000:,.0f} KB to each)"
        figures += _compared(what, endpoint, to_go=False)
        said = Figure(
            what="  requests of the simulated sidecars, to connect",
            measured=f"{found.requests:,} in {found.connect_s:.1f} s",
            values={"requests": found.requests},
        )
        figures.append(said)
    figures.append(Figure(what="  load of the machine meanwhile", measured=f"{os.getloadavg()[0]:.1f}"))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fanout", description=__doc__)
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--sidecars", type=int, default=SIDECARS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    args = parser.parse_args()
    figures = asyncio.run(measure(args.services, args.sidecars, args.rounds))
    return print_figures(figures, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
