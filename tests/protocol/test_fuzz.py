"""Nonsense of every kind, at the core and at the port: nobody crashes, nothing grows, and the next client is served."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from bench.simulated_sidecar import METHOD
from protos import discovery_pb2 as pb
from tests.protocol.conversation import CDS, EDS, LDS, RDS, SDS, VHDS, Talk, World
from tests.protocol.on_demand import OnDemandTalk
from tests.services.xds.small_server import SOTW_METHOD, first_request, refusal, serving, world
from xds.demand import DemandLimits
from xds.events import StreamFailed
from xds.protocol import Violation
from xds.wire import NotARequest, parse_delta_request, parse_sotw_request

URLS = (CDS, EDS, LDS, RDS, SDS, VHDS, "type.googleapis.com/unheard.Of", "", "x" * 300)
NAMES = (
    "a",
    "b",
    "80",
    "80/a",
    "80/a:80",
    "80/x",
    "tcp|1",
    "*",
    "",
    "xdstp://x/*",
    "col/*",
    "\x00",
    "ü" * 50,
    "default",
    "n" * 5000,
)
NUMBERED = ("n{}", "80/n{}", "80/n{}:80", "80/a:{}", "tcp|{}", "outbound|80||n{}")
"""Names without end."""
MEMO_LIMITS = {"limit": 2000, "asked_limit": 500, "absent_limit": 500}
WORDS = ("", "a is wrong", "b: no", "\n\x1b[31m", "w" * 2000)
WORLDS = ({}, {"a": "1"}, {"a": "2", "b": "1"}, {"a": "1", "b": "2", "80": "to a", "80/a": "uses a", "l": "1"})
Request = pb.DeltaDiscoveryRequest | pb.DiscoveryRequest


def some_names(chance: random.Random, count: int) -> list[str]:
    """Of which there are few, mostly."""
    some = chance.choices(NAMES, k=count)
    return [chance.choice(NUMBERED).format(chance.randrange(10**6)) if chance.random() < 0.2 else name for name in some]


def some_request(chance: random.Random, *, delta: bool, nonces: list[str]) -> Request:
    """A request that a client could send, likely or not."""
    url = chance.choice(URLS[:6]) if chance.random() < 0.98 else chance.choice(URLS)
    nonce = chance.choice([*nonces[-3:], "", "77", "x" * 100])
    names = some_names(chance, chance.choice((0, 0, 1, 2, 6)))
    message: Request
    if delta:
        message = pb.DeltaDiscoveryRequest(
            type_url=url,
            resource_names_subscribe=names,
            resource_names_unsubscribe=some_names(chance, chance.choice((0, 0, 1, 3))),
            initial_resource_versions={name: chance.choice(("", "1", "x")) for name in some_names(chance, 2)}
            if chance.random() < 0.1
            else {},
            response_nonce=nonce,
        )
    else:
        version = chance.choice(("", "1", "f" * 16))
        message = pb.DiscoveryRequest(type_url=url, resource_names=names, response_nonce=nonce, version_info=version)
    if chance.random() < 0.2:
        message.error_detail.message = chance.choice(WORDS)
    if chance.random() < 0.1:
        message.node.id = chance.choice(("node", "node", "node", "node", "other", ""))
    return message


def garble(chance: random.Random, raw: bytes) -> bytes:
    """The same with some bytes changed, cut or repeated."""
    mangled = bytearray(raw or b"\x0a")
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(mangled))
        mangled[place] = chance.randrange(256)
    return bytes(mangled[: chance.randint(1, len(mangled))]) * chance.choice((1, 1, 2))


def fuzz_core(messages: int, seed: int) -> Counter[str]:
    """How often each end was met. A stream lasts until its client breaks a rule, a few hundred messages at most."""
    chance = random.Random(seed)
    ends: Counter[str] = Counter()
    empty: World = {url: {} for url in URLS[:6]}
    few = DemandLimits(nobodys=3, passing=3, addresses=3, names=10)
    talks = (
        Talk(True, empty, memo_limits=MEMO_LIMITS),
        Talk(False, empty, memo_limits=MEMO_LIMITS),
        OnDemandTalk(world=empty, memo_limits=MEMO_LIMITS, limits=few),
    )
    nonces: list[str] = []
    talk, left = talks[0], 0
    for _ in range(messages):
        if left == 0:
            talk, left = chance.choice(talks), chance.randint(1, 300)
            talk.reconnect(to_another=chance.random() < 0.3)
            talk.events.clear()
            talk.derived.clear()
            if isinstance(talk, OnDemandTalk):
                talk.looked_for.clear()
            nonces.clear()
        left -= 1
        raw = some_request(chance, delta=talk.delta, nonces=nonces).SerializeToString()
        if chance.random() < 0.05:
            raw = garble(chance, raw)
        try:
            talk.stream.receive((parse_delta_request if talk.delta else parse_sotw_request)(raw), talk.now)
            ends["taken"] += 1
        except Violation as violation:
            ends[violation.fault.name] += 1
            left = 0
        except NotARequest:
            ends["no request"] += 1
            left = 0
        ends["asks for too much"] += talk.stream.excessive
        if chance.random() < 0.1:
            talk.becomes({chance.choice(URLS[:6]): chance.choice(WORLDS)})
        if chance.random() < 0.05:
            talk.passes(seconds=chance.choice((1, 6, 31, 1800)))
        for _ in range(20):
            heard = talk.next()
            if heard is None:
                break
            ends["answered"] += 1
            nonces.append(heard.nonce)
        else:
            raise AssertionError("it answers without end")
    assert not [failure for talk in talks for failure in talk.failures]
    return ends


def resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def withstands(messages: int, seed: int, *, growth_kib: int) -> None:
    fuzz_core(2000, seed=0)
    gc.collect()
    before = resident_kib()
    ends = fuzz_core(messages, seed=seed)
    gc.collect()
    assert resident_kib() - before < growth_kib
    assert ends["taken"] > messages / 2
    assert ends["answered"] > messages / 50
    assert ends["INVALID_ARGUMENT"]
    assert ends["no request"]
    assert ends["asks for too much"]


def test_the_core_withstands_thousands_of_messages() -> None:
    withstands(15_000, 1, growth_kib=10_000)


@pytest.mark.soak
def test_the_core_withstands_a_million_messages() -> None:
    withstands(1_000_000, 2, growth_kib=20_000)


async def say_nonsense(address: str, chance: random.Random, messages: int) -> int:
    """One connection and stream; how many messages were sent before it ended."""
    delta = chance.random() < 0.5
    method = METHOD if delta else SOTW_METHOD
    sent = 0
    async with grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        call = channel.stream_stream(method)(metadata=(("authorization", "Bearer me"),))

        async def listen() -> None:
            while await call.read() is not grpc.aio.EOF:
                pass

        listening = asyncio.create_task(listen())
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(first_request(method, "me"))
            while sent < messages and not call.done():
                raw = some_request(chance, delta=delta, nonces=[str(sent)]).SerializeToString()
                await call.write(garble(chance, raw) if chance.random() < 0.005 else raw)
                sent += 1
        listening.cancel()
        call.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return max(sent, 1)


async def say_bytes(address: str, chance: random.Random) -> None:
    """What is no HTTP/2, or a beginning of it."""
    host, _, port = address.rpartition(":")
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(host, int(port))
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if chance.random() < 0.5 else b"GET / HTTP/1.1\r\n\r\n"
        writer.write(preface + chance.randbytes(chance.randrange(200)))
        with suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await reader.read(1000)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def port_withstands(messages: int, seed: int, *, growth_kib: int) -> None:
    chance = random.Random(seed)
    events: list[object] = []
    async with serving(events, mesh=world(a="1", b="2")) as (server, address):  # type: ignore[arg-type]
        sent, before = 0, 0
        while sent < messages:
            sent += await say_nonsense(address, chance, 500)
            if chance.random() < 0.3:
                await say_bytes(address, chance)
            if not before and sent > messages / 5:
                gc.collect()
                before = resident_kib()
            assert not [event for event in events if isinstance(event, StreamFailed)]
            events.clear()
        assert await refusal(address, METHOD, first_request(METHOD, "you")) is grpc.StatusCode.PERMISSION_DENIED
        async with asyncio.timeout(20):
            while server.state():  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
        gc.collect()
        assert resident_kib() - before < growth_kib


async def test_the_port_withstands_thousands_of_messages() -> None:
    await port_withstands(4_000, 1, growth_kib=15_000)


@pytest.mark.soak
async def test_the_port_withstands_a_hundred_thousand_messages() -> None:
    await port_withstands(100_000, 2, growth_kib=30_000)
