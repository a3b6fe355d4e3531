"""A change, with 1,000 services and 1,000 connected sidecars: how long until all have acknowledged it, at what cost.

In the same run the same bytes are sent to the same clients by bare grpc.aio, and the same resources by a server on
go-control-plane; rounds take turns. Time is from the change in the store until the server has read the last
acknowledgement (of a change that concerns few: until the last client has sent it). CPU is the server process's alone,
all of its threads.
"""

from __future__ import annotations

import asyncio
import base64
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from bench import manifests
from bench.children import Child, Json, child, server
from bench.crowd import Crowd, Member, Totals, connected
from bench.figures_table import Figure, figures_parser, report
from bench.light_sidecar import Habits
from bench.machine import machine_figures
from bench.opponents import bare_server, go_program, go_server
from bench.own_certificate import write_certificate
from protos import discovery_pb2 as pb
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST

SERVICES = 1000
SIDECARS = 1000
FEW = 10
USED = 50
"""Of a sidecar on demand."""
ROUNDS = 15
_WARM_UP = 3
"""Rounds before those: the first is where everything is done for the first time, and until the fourth the clients'
memory still grows to what a thousand large responses at once need of it."""
_AT_ONCE = 40
"""So many sidecars connect at a time here; what it takes if all do is measured elsewhere (connecting.py)."""
_REST_SECONDS = 0.15
"""After the last acknowledgement, before the CPU time is read. The next round begins when the server has had next to
nothing to do for as long: it may have memory to collect, which is its own cost and not the next one's."""
_CALM_PERCENT = 5.0
"""Of a core. A thousand idle connections are pinged all the time."""
_CALM_WITHIN_SECONDS = 5.0
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
        ended = await self.crowd.answered()
        if answers is None:
            # Of the few it cannot be told so: whom a change does not concern counts as having answered.
            ended = max(ended, (await self.server.ask({"acks": self.sidecars}))["at"])
        self.took.time.append((ended - began) / 1e6)
        self.took.cpu.append(await self._calm() - spent)
        return (await self.crowd.totals()).since(before)

    async def _calm(self) -> float:
        """The server's CPU time in milliseconds once it is at rest."""
        deadline = time.monotonic() + _CALM_WITHIN_SECONDS
        spent = self.server.cpu_ms()
        while True:
            await asyncio.sleep(_REST_SECONDS)
            spent, before = self.server.cpu_ms(), spent
            if spent - before < 10 * _REST_SECONDS * _CALM_PERCENT or time.monotonic() > deadline:
                return spent

    def anew(self) -> Contender:
        return Contender(self.server, self.crowd, self.sidecars, Took())


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """All contenders, each with a crowd of its own."""

    heddle: Contender
    bare: Contender
    go: Contender | None
    go_with_all: Contender | None
    """The same to clients that have every virtual host, as it has no on demand."""
    requests: int
    connect_s: float

    async def rounds(self, file: str, texts: Sequence[str]) -> tuple[Arena, Totals]:
        """The same change for each in turn; what Heddle's crowd heard of the last one."""
        fresh = Arena(
            heddle=self.heddle.anew(),
            bare=self.bare.anew(),
            go=self.go.anew() if self.go else None,
            go_with_all=self.go_with_all.anew() if self.go_with_all else None,
            requests=self.requests,
            connect_s=self.connect_s,
        )
        heard = None
        for number, text in enumerate(texts):
            heard = await fresh.heddle.change({"file": file, "change": text})
            raw = heard.last
            await fresh.bare.change({"push": base64.b64encode(raw).decode()})
            for go in (fresh.go, fresh.go_with_all):
                if go is not None:
                    await go.change({"change": _resource(raw)})
            if number == _WARM_UP - 1:
                for one in (fresh.heddle, fresh.bare, fresh.go, fresh.go_with_all):
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


class Mode(Enum):
    """How the sidecars get their configuration: tables as a whole (state of the world), or virtual hosts apart."""

    JOINED = "joined"
    EAGER = "eager"
    ON_DEMAND = "on-demand"


@asynccontextmanager
async def arena(
    services: int, sidecars: int, mode: Mode, *, resources: Path, of_all: Path | None = None
) -> AsyncIterator[Arena]:
    """Three servers with what they serve, and their crowds connected and served.

    What a sidecar is sent is written to `resources`. `of_all`: as the eager arena wrote it, for one more server.
    """
    program = go_program()
    delta = mode is not Mode.JOINED
    asked = min(USED, services) if mode is Mode.ON_DEMAND else 0
    used = asked or services
    content = {CLUSTER, ENDPOINT, LISTENER, ROUTE} | ({VIRTUAL_HOST} if delta else set())

    def expected(count: int) -> dict[str, int]:
        return {CLUSTER: count, ENDPOINT: count, ROUTE: 1} | ({VIRTUAL_HOST: count} if delta else {})

    async with AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(_scratch()))
        _write(scratch / "manifests", services, sidecars)
        plane = await stack.enter_async_context(child(*server("bench.plane_process")))
        given = {"manifests": str(scratch / "manifests"), "keys": str(scratch / "keys")}
        told = await plane.ask({**given, "mode": "on-demand" if mode is Mode.ON_DEMAND else "eager"})
        certificate, key = write_certificate(scratch, scratch / "keys", told["server_name"])
        few = {f"p{number}.{manifests.NAMESPACE}" for number in range(FEW)}
        members = [
            Member(node=node, token=token, few=True, hosts=(manifests.asked(manifests.RARE),))
            if node.split("~")[2] in few
            else Member(node=node, token=token)
            for node, token in told["tokens"].items()
        ]

        def habits(address: str, types: set[str], asked: int) -> Habits:
            return Habits(
                address=address,
                delta=delta,
                root=told["root"].encode(),
                server_name=told["server_name"],
                types=frozenset(types),
                tables=tuple(map(str, manifests.PORTS)),
                hosts=tuple(manifests.asked(f"s{number}") for number in range(asked)),
            )

        of_plane, seconds = await stack.enter_async_context(
            connected(habits(told["address"], {*content, SECRET}, asked), members, expected(used), resources, _AT_ONCE)
        )
        print(f"  {mode.value}: {len(members)} sidecars connected in {seconds:.1f} s", file=sys.stderr)
        bare, address = await stack.enter_async_context(bare_server(certificate, key))
        of_bare, _ = await stack.enter_async_context(connected(habits(address, {CLUSTER}, 0), members, {}))
        await bare.ask({"streams": len(members)})

        async def of_go(serves: Path, count: int, asked: int) -> Contender | None:
            if program is None:
                return None
            server, address = await stack.enter_async_context(go_server(program, certificate, key, serves))
            wants = habits(address, content, asked)
            crowd, took = await stack.enter_async_context(connected(wants, members, expected(count), at_once=_AT_ONCE))
            print(f"  and to go-control-plane in {took:.1f} s", file=sys.stderr)
            return Contender(server, crowd, len(members), Took())

        yield Arena(
            heddle=Contender(plane, of_plane, len(members), Took()),
            bare=Contender(bare, of_bare, len(members), Took()),
            go=await of_go(resources, used, asked),
            go_with_all=await of_go(of_all, services, 0) if of_all else None,
            requests=(await of_plane.totals()).requests,
            connect_s=seconds,
        )


def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="heddle-bench-")


def _write(folder: Path, services: int, sidecars: int) -> None:
    folder.mkdir()
    own = [manifests.service(number) for number in range(services - 1)]
    big = manifests.service(services - 1, name=manifests.BIG, selects="client")
    rare = manifests.service(0, name=manifests.RARE)
    (folder / "services.yaml").write_text(manifests.together(*own, big, rare))
    # A workload of their own: what one pod uses is sent ahead to others of its workload.
    few = [manifests.pod(number, app="few") for number in range(FEW)]
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
        figures.append(_against("  go-control-plane with the same resources", heddle, go, is_target=to_go))
    return figures


def _against(what: str, heddle: Took, go: Took, *, is_target: bool) -> Figure:
    return Figure(
        what=what,
        measured=f"{go}: {go.time_ms / heddle.time_ms:.1f} x, CPU {go.cpu_ms / heddle.cpu_ms:.1f} x",
        target="at least 4 x, CPU 5 x" if is_target else "",
        met=go.time_ms >= 4 * heddle.time_ms and go.cpu_ms >= 5 * heddle.cpu_ms if is_target else None,
        values={"time_ms": go.time_ms, "cpu_ms": go.cpu_ms},
    )


async def measure(services: int, sidecars: int, rounds: int) -> list[Figure]:
    changes = [manifests.virtual_service(number + 1) for number in range(rounds + _WARM_UP)]
    with tempfile.TemporaryDirectory(prefix="heddle-bench-") as directory:
        return await _measure(services, sidecars, changes, Path(directory))


async def _measure(services: int, sidecars: int, changes: Sequence[str], scratch: Path) -> list[Figure]:
    figures = []
    async with arena(services, sidecars, Mode.JOINED, resources=scratch / "joined") as found:
        joined, heard = await found.rounds(manifests.CHANGED, changes)
        size = heard.received_bytes / sidecars
        what = f"a VirtualService changes, all of {sidecars} use it, joined tables ({size / 1000:,.0f} KB each)"
        figures += [*_compared(what, joined, to_go=True), _requests(found)]
    async with arena(services, sidecars, Mode.EAGER, resources=scratch / "eager") as found:
        eager, _ = await found.rounds(manifests.CHANGED, changes)
        figures += [*_compared("the same over VHDS, eager", eager, to_go=True), _requests(found)]
        moves = [manifests.pod(sidecars, address=f"10.9.0.{number + 1}") for number in range(len(changes))]
        endpoint, heard = await found.rounds(manifests.MOVED, moves)
        what = f"an endpoint of {sidecars - FEW + 1} changes ({heard.received_bytes / sidecars / 1000:,.0f} KB to each)"
        figures += _compared(what, endpoint, to_go=False)
    of_all = scratch / "eager"
    async with arena(services, sidecars, Mode.ON_DEMAND, resources=scratch / "asked", of_all=of_all) as found:
        asked, heard = await found.rounds(manifests.CHANGED, changes)
        what = f"the same over VHDS, on demand, {USED} used"
        figures += _compared(what, asked, to_go=False)
        if asked.go_with_all is not None:
            what = f"  go-control-plane with all {services} virtual hosts"
            figures.append(_against(what, asked.heddle.took, asked.go_with_all.took, is_target=True))
        figures += [_bytes(heard.received_bytes / sidecars), _requests(found)]
        rare = found.heddle.anew()
        for number in range(len(changes)):
            text = manifests.virtual_service(number + 1, manifests.RARE)
            heard = await rare.change({"file": "rare.yaml", "change": text}, answers=FEW)
            if number == _WARM_UP - 1:
                rare = rare.anew()
        figures.append(_rare(rare.took, heard.bytes_to_others, joined.heddle.took.cpu_ms, sidecars))
    return [*figures, *machine_figures()]


def _bytes(size: float) -> Figure:
    return Figure(
        what="  bytes to each sidecar",
        measured=f"{size:,.0f}",
        target=f"under {_KB_OVER_VHDS:.0f} KB",
        met=size < 1000 * _KB_OVER_VHDS,
        values={"bytes": size},
    )


def _rare(took: Took, others: int, of_all: float, sidecars: int) -> Figure:
    return Figure(
        what=f"the same, {FEW} of {sidecars} use it",
        measured=f"{took}; {others} bytes to the others",
        target="CPU at most 1/20 of the first, 0 bytes",
        met=took.cpu_ms <= of_all / 20 and not others,
        values={"time_ms": took.time_ms, "cpu_ms": took.cpu_ms, "bytes_to_others": others},
    )


def _requests(found: Arena) -> Figure:
    return Figure(
        what="  requests of the simulated sidecars to connect",
        measured=f"{found.requests:,} in {found.connect_s:.1f} s",
        values={"requests": found.requests, "connect_s": found.connect_s},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = figures_parser("fanout", __doc__)
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--sidecars", type=int, default=SIDECARS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args(arguments)
    figures = asyncio.run(measure(args.services, args.sidecars, args.rounds))
    return report(figures, args.json)


if __name__ == "__main__":
    sys.exit(main())
