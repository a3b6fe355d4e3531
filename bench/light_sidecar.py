"""A sidecar without a proxy, of which a process can have a thousand: it says what Envoy says and reads next to nothing.

One connection and one aggregated stream. It asks for all clusters and listeners, for the endpoints of the clusters it
is sent and the secrets these need, for its route tables once it has a listener, for virtual hosts once it has a table
(incremental only), and acknowledges each response. Of a response only the type, the nonce and, where it has to ask
further, the names are read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import grpc

from bench.simulated_sidecar import OPTIONS
from protos import discovery_pb2 as pb
from protos.scalars import varint
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService"
_RESOURCES, _TYPE_URL, _NONCE = 2, 4, 5
"""The same field numbers in both variants of the protocol's responses."""
_DELIMITED = 2
_SHORT_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What the clients of a crowd have in common.

    `types`: the type URLs it asks for. `tables`: the route tables its listener names. `hosts`: the virtual hosts that
    its application asks for at once (`TABLE/HOST`). `root` None: plaintext.
    """

    address: str
    delta: bool
    root: bytes | None
    server_name: str
    types: frozenset[str]
    tables: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


def fields(raw: bytes) -> Iterator[tuple[int, int, int]]:
    """(number, begin, end) of the top-level delimited fields of an encoded message, the values not looked into."""
    at, size = 0, len(raw)
    while at < size:
        tag, at = _varint(raw, at)
        if tag & 7 == _DELIMITED:
            length, at = _varint(raw, at)
            yield tag >> 3, at, at + length
            at += length
        else:
            _, at = _varint(raw, at)


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    byte = raw[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
        shift += 7


class LightSidecar:
    """`heard` is told of each response after it was acknowledged, with its type URL."""

    __slots__ = (
        "_asked", "_clusters", "_delta", "_habits", "_heard", "_hosts", "_keeps_last", "_names", "_node", "_token",
        "counts", "last", "last_at", "received_bytes", "requests", "responses",
    )  # fmt: skip

    def __init__(
        self,
        habits: Habits,
        *,
        node: str,
        token: str,
        heard: Callable[[LightSidecar, str], None],
        hosts: Sequence[str] = (),
        keeps_last: bool = False,
    ) -> None:
        """`hosts` are asked for beside those of `habits`. `keeps_last`: what it was sent last is wanted."""
        self._habits = habits
        self._delta = habits.delta
        self._node = node
        self._token = token
        self._heard = heard
        self._hosts = (*habits.hosts, *hosts)
        self._keeps_last = keeps_last
        self._asked: set[str] = set()
        self._clusters: set[str] = set()
        self._names: dict[str, tuple[str, ...]] = {}
        """What it is subscribed to, by type (state of the world)."""
        self.counts: dict[str, int] = {}
        """How many resources it was sent, by type: in all, or (state of the world) in the last response."""
        self.requests = 0
        self.responses = 0
        self.received_bytes = 0
        self.last = b""
        self.last_at = 0
        """When the last answer was handed to gRPC, nanoseconds since 1970."""

    async def run(self) -> None:
        """Until cancelled, or the server ends the stream. Raises grpc.aio.AioRpcError if it refuses."""
        method = "DeltaAggregatedResources" if self._delta else "StreamAggregatedResources"
        metadata = (("authorization", f"Bearer {self._token}"),)
        async with self._channel() as channel:
            call = channel.stream_stream(f"{SERVICE}/{method}")(metadata=metadata)
            for type_url in (CLUSTER, LISTENER):
                await self._ask(call, type_url, ())
            while await self._hear(call):
                pass

    def _channel(self) -> grpc.aio.Channel:
        habits = self._habits
        if habits.root is None:
            return grpc.aio.insecure_channel(habits.address, options=OPTIONS)
        options: list[tuple[str, Any]] = [*OPTIONS, ("grpc.ssl_target_name_override", habits.server_name)]
        return grpc.aio.secure_channel(habits.address, _credentials(habits.root), options=options)

    async def _ask(self, call: Any, type_url: str, names: Sequence[str]) -> None:
        if type_url not in self._habits.types:
            return
        request: pb.DeltaDiscoveryRequest | pb.DiscoveryRequest
        if self._delta:
            request = pb.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names)
        else:
            self._names[type_url] = tuple(names)
            request = pb.DiscoveryRequest(type_url=type_url, resource_names=names)
        if not self._asked:
            request.node.id = self._node
        self._asked.add(type_url)
        self.requests += 1
        await call.write(request.SerializeToString())

    async def _hear(self, call: Any) -> bool:
        # What many are sent alike is read once, and not kept, so that the clients leave the machine to the server.
        raw = await call.read()
        if raw is grpc.aio.EOF:
            return False
        type_url, nonce, count = _read_once(raw) if len(raw) <= _SHORT_BYTES else _read(raw)
        first = type_url not in self.counts
        self.counts[type_url] = count + (self.counts.get(type_url, 0) if self._delta else 0)
        if first or type_url == CLUSTER:
            await self._ask_further(call, type_url, raw)
        await call.write(self._answer(type_url, nonce, raw))
        self.last_at = time.time_ns()
        self.requests += 1
        self.responses += 1
        self.received_bytes += len(raw)
        if self._keeps_last:
            self.last = raw
        self._heard(self, type_url)
        return True

    def _answer(self, type_url: str, nonce: str, raw: bytes) -> bytes:
        if self._delta:
            return _delimited(2, type_url) + _delimited(6, nonce)
        version = _text(1, raw)
        names = b"".join(_delimited(3, name) for name in self._names.get(type_url, ()))
        return _delimited(1, version) + names + _delimited(4, type_url) + _delimited(5, nonce)

    async def _ask_further(self, call: Any, type_url: str, raw: bytes) -> None:
        match type_url:
            case _ if type_url == CLUSTER:
                if SECRET not in self._asked:
                    await self._ask(call, SECRET, ("default", "ROOTCA"))
                fresh = {name for name in self._cluster_names(raw) if name.startswith("outbound|")} - self._clusters
                if fresh:
                    self._clusters |= fresh
                    await self._ask(call, ENDPOINT, sorted(fresh if self._delta else self._clusters))
            case _ if type_url == LISTENER:
                await self._ask(call, ROUTE, self._habits.tables)
            case _ if type_url == ROUTE and self._delta:
                await self._ask(call, VIRTUAL_HOST, ())
                if self._hosts:
                    await self._ask(call, VIRTUAL_HOST, self._hosts)
            case _:
                pass

    def _cluster_names(self, raw: bytes) -> list[str]:
        if self._delta:
            return [sys.intern(one.name) for one in pb.DeltaDiscoveryResponse.FromString(raw).resources]
        return [sys.intern(_text(1, one.value)) for one in pb.DiscoveryResponse.FromString(raw).resources]


def _read(raw: bytes) -> tuple[str, str, int]:
    """Type URL, nonce and number of resources of a response."""
    type_url = nonce = ""
    count = 0
    for number, begin, end in fields(raw):
        if number == _TYPE_URL:
            type_url = raw[begin:end].decode()
        elif number == _NONCE:
            nonce = raw[begin:end].decode()
        elif number == _RESOURCES:
            count += 1
    return type_url, nonce, count


@lru_cache(maxsize=4)
def _credentials(root: bytes) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(root)


_read_once = lru_cache(maxsize=16)(_read)


def _text(wanted: int, message: bytes) -> str:
    return next((message[begin:end].decode() for number, begin, end in fields(message) if number == wanted), "")


def _delimited(number: int, text: str) -> bytes:
    value = text.encode()
    return bytes((number << 3 | 2,)) + varint(len(value)) + value
