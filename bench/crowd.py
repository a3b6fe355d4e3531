"""Many light sidecars, in a few processes of their own (`python -m bench.crowd`)."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from google.protobuf.any_pb2 import Any as AnyMessage

from bench.children import Child, Json, child, python, reply, run_child
from bench.light_sidecar import Habits, LightSidecar
from protos import discovery_pb2 as pb
from protos.type_urls import SECRET

PROCESSES = 2
_KEEPS_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}
"""Else the memory of each large response goes back to the kernel, which clears it for the next: that was a third of
what clients did. Source: mallopt(3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Who connects. `few`: it is one of the few that need more than the others; `hosts` as in `LightSidecar`."""

    node: str
    token: str
    few: bool = False
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Of a crowd: what it has said and heard so far; `bytes_to_others` than the few; `last` response of the first."""

    requests: int
    responses: int
    received_bytes: int
    bytes_to_others: int
    last: bytes

    def since(self, before: Totals) -> Totals:
        return Totals(
            requests=self.requests - before.requests,
            responses=self.responses - before.responses,
            received_bytes=self.received_bytes - before.received_bytes,
            bytes_to_others=self.bytes_to_others - before.bytes_to_others,
            last=self.last,
        )


class Crowd:
    """The handle on the processes."""

    def __init__(self, parts: Sequence[Child]) -> None:
        self._parts = parts

    async def arm(self, *, all_of_them: bool = True) -> None:
        """From now on responses count for `answered`: those to every member, or to the few only."""
        await asyncio.gather(*(part.ask({"arm": "all" if all_of_them else "few"}) for part in self._parts))

    async def answered(self) -> int:
        """Returns once each of them has answered a response: when, in nanoseconds since 1970."""
        answers = [await part.hear() for part in self._parts]
        return max(int(answer["at"]) for answer in answers)

    async def totals(self) -> Totals:
        found = await asyncio.gather(*(part.ask({"totals": True}) for part in self._parts))
        return Totals(
            requests=sum(one["requests"] for one in found),
            responses=sum(one["responses"] for one in found),
            received_bytes=sum(one["received_bytes"] for one in found),
            bytes_to_others=sum(one["bytes_to_others"] for one in found),
            last=base64.b64decode(found[0]["last"]),
        )


@asynccontextmanager
async def connected(
    habits: Habits,
    members: Sequence[Member],
    expected: Mapping[str, int],
    record: Path | None = None,
    at_once: int | None = None,
) -> AsyncIterator[tuple[Crowd, float]]:
    """A crowd of which each member was sent as many resources as are expected, by type; seconds until then.

    `at_once`: how many may be waiting for them at a time, None for all. The resources that the first one was sent are
    written to `record`, a JSON object a line.
    """
    async with AsyncExitStack() as stack:
        parts = [
            await stack.enter_async_context(child(*python("bench.crowd"), environment=_KEEPS_MEMORY))
            for _ in range(PROCESSES)
        ]
        for number, part in enumerate(parts):
            await part.hear()
            part.tell(
                {
                    "habits": {
                        **asdict(habits),
                        "root": habits.root.decode() if habits.root else None,
                        "types": sorted(habits.types),
                    },
                    "members": [asdict(member) for member in members[number::PROCESSES]],
                    "expected": dict(expected),
                    "at_once": at_once // PROCESSES if at_once else None,
                    "record": str(record) if record and number == 0 else None,
                }
            )
        began = time.time_ns()
        answers = [await part.hear() for part in parts]
        yield Crowd(parts), (max(answer["at"] for answer in answers) - began) / 1e9


# In the process


class _Part:
    """The members in one process."""

    def __init__(self, specification: Json) -> None:
        habits = specification["habits"]
        root = habits.pop("root")
        habits |= {
            "types": frozenset(habits["types"]),
            "tables": tuple(habits["tables"]),
            "hosts": tuple(habits["hosts"]),
        }
        self._habits = Habits(**habits, root=root.encode() if root else None)
        self._expected: dict[str, int] = specification["expected"]
        self._record: TextIO | None = open(specification["record"], "w") if specification["record"] else None  # noqa: SIM115
        self._members = [
            (
                LightSidecar(
                    self._habits,
                    node=one["node"],
                    token=one["token"],
                    heard=self._heard,
                    hosts=one["hosts"],
                    keeps_last=number == 0,
                ),
                one["few"],
            )
            for number, one in enumerate(specification["members"])
        ]
        self._at_once: int = specification["at_once"] or len(self._members)
        self._to_start: list[LightSidecar] = []
        self._running: list[asyncio.Task[None]] = []
        self._waited_for: set[LightSidecar] = set()
        self._arriving: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._armed = False

    async def connect(self) -> None:
        """Returns once all members were sent what is expected. Raises what ends a stream."""
        self._waited_for = {member for member, _ in self._members} if self._expected else set()
        self._to_start = [member for member, _ in reversed(self._members)]
        for _ in range(self._at_once):
            self._start_next()
        while self._waited_for:
            await asyncio.wait({self._arriving, *self._running}, return_when=asyncio.FIRST_COMPLETED)
            self._check()
            await asyncio.sleep(0)
        self._check()
        if self._record is not None:
            self._record.close()
            self._record = None

    def _start_next(self) -> None:
        if self._to_start:
            self._running.append(asyncio.create_task(self._to_start.pop().run()))

    def _check(self) -> None:
        for task in self._running:
            if task.done():
                raise RuntimeError(f"a stream has ended: {task.exception()}")

    def arm(self, whom: str) -> None:
        self._waited_for = {member for member, few in self._members if few or whom == "all"}
        self._armed = True
        if not self._waited_for:
            reply({"at": 0})

    def totals(self) -> Json:
        all_of = [member for member, _ in self._members]
        return {
            "requests": sum(member.requests for member in all_of),
            "responses": sum(member.responses for member in all_of),
            "received_bytes": sum(member.received_bytes for member in all_of),
            "bytes_to_others": sum(member.received_bytes for member, few in self._members if not few),
            "last": base64.b64encode(all_of[0].last).decode(),
        }

    def _heard(self, member: LightSidecar, type_url: str) -> None:
        if self._armed:
            self._waited_for.discard(member)
            if not self._waited_for:
                self._armed = False
                reply({"at": member.last_at})
            return
        if self._record is not None and member is self._members[0][0]:
            self._record.writelines(_recorded(member.last, delta=self._habits.delta))
        if self._waited_for and all(member.counts.get(url, 0) >= count for url, count in self._expected.items()):
            if member in self._waited_for:
                self._waited_for.remove(member)
                self._start_next()
            if not self._waited_for and not self._arriving.done():
                self._arriving.set_result(None)


def _recorded(raw: bytes, *, delta: bool) -> list[str]:
    if delta:
        packed = [one.resource for one in pb.DeltaDiscoveryResponse.FromString(raw).resources]
    else:
        packed = list(pb.DiscoveryResponse.FromString(raw).resources)
    # Secrets are each client's own.
    return [_to_line(one) for one in packed if one.value and one.type_url != SECRET]


def _to_line(packed: AnyMessage) -> str:
    """One resource as the Go program reads it."""
    return json.dumps({"type_url": packed.type_url, "value": base64.b64encode(packed.value).decode()}) + "\n"


async def _serve(given: AsyncIterator[Json]) -> None:
    reply({"ready": True})
    part: _Part | None = None
    async for command in given:
        if part is None:
            part = _Part(command)
            await part.connect()
            reply({"at": time.time_ns()})
        elif "arm" in command:
            reply({"armed": True})
            part.arm(command["arm"])
        elif "totals" in command:
            reply(part.totals())


if __name__ == "__main__":
    run_child(_serve)
