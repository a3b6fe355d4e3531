"""A sidecar without a proxy: speaks incremental ADS over a real gRPC connection as Envoy does.

It subscribes to all clusters and listeners, to the endpoints of the clusters it got, to the route tables it is told of
and to all virtual hosts, and accepts everything at once. To be run in another process than the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc

from protos import discovery_pb2 as pb
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_WRITTEN_TOO_LATE = 'Failed "execute_batch"'
"""What grpc says of a message for a stream that has ended, whatever it has ended with."""
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    # What it lets in at once, and in one frame, is what Envoy does (tests/envoy/test_simulated_windows.py). gRPC's own
    # 64 KiB have large responses wait for it again and again.
    ("grpc.http2.lookahead_bytes", 16 * 1024 * 1024),
    ("grpc.http2.max_frame_size", 16 * 1024),
    ("grpc.http2.bdp_probe", 0),
    # It keeps no buffer for as much as it once read at a time, nor does Envoy. Else gRPC has one for each connection,
    # and a thousand of them are memory that the machine has to fetch for every response.
    ("grpc.experimental.tcp_max_read_buffer_size", 8 * 1024),
)


class SimulatedSidecar:
    """One connection with one stream.

    `node_id` and `token` are what the server's admission wants; `route_tables` are the names a listener would lead to,
    `virtual_hosts` those that an application asks for at once (`TABLE/HOST`).
    `root` None: plaintext. `versions` holds what it has, by type and name.
    """

    def __init__(
        self,
        address: str,
        *,
        node_id: str,
        token: str = "",
        root: bytes | None = None,
        route_tables: Sequence[str] = (),
        virtual_hosts: Sequence[str] = (),
        server_name: str = "",
    ) -> None:
        self.address = address
        self._node_id = node_id
        self._token = token
        self._root = root
        self._server_name = server_name
        self._route_tables = tuple(route_tables)
        self._virtual_hosts = tuple(virtual_hosts)
        self._changed = asyncio.Condition()
        self.versions: dict[str, dict[str, str]] = {}
        self.responses = 0
        self.received_bytes = 0

    async def run(self) -> None:
        """Until cancelled, or the server ends the stream. Raises grpc.aio.AioRpcError if it refuses."""
        metadata = (("authorization", f"Bearer {self._token}"),) if self._token else ()
        async with self._channel() as channel:
            call = channel.stream_stream(METHOD)(metadata=metadata)
            await self._say(call, CLUSTER, node=True)
            await self._say(call, LISTENER)
            if self._route_tables:
                await self._say(call, ROUTE, subscribe=self._route_tables)
            await self._say(call, VIRTUAL_HOST)
            if self._virtual_hosts:
                await self._say(call, VIRTUAL_HOST, subscribe=self._virtual_hosts)
            while (raw := await call.read()) is not grpc.aio.EOF:
                try:
                    await self._hear(call, raw)
                except grpc.aio.AioRpcError as error:
                    if _WRITTEN_TOO_LATE in (error.debug_error_string() or ""):
                        return  # the server had ended the stream meanwhile
                    raise

    async def until(self, type_url: str, name: str, *, other_than: str = "") -> str:
        """Waits until it has a version of this resource that is not `other_than`, and returns it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.versions.get(type_url, {}).get(name, other_than) != other_than)
            return self.versions[type_url][name]

    async def until_count(self, type_url: str, count: int) -> None:
        """Waits until it has at least so many resources of a type."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.versions.get(type_url, {})) >= count)

    async def until_next(self) -> None:
        """Waits for the next response."""
        async with self._changed:
            await self._changed.wait()

    def _channel(self) -> grpc.aio.Channel:
        if self._root is None:
            return grpc.aio.insecure_channel(self.address, options=OPTIONS)
        options: list[tuple[str, Any]] = [*OPTIONS]
        if self._server_name:
            options.append(("grpc.ssl_target_name_override", self._server_name))
        return grpc.aio.secure_channel(self.address, grpc.ssl_channel_credentials(self._root), options=options)

    async def _say(
        self, call: Any, type_url: str, *, subscribe: Sequence[str] = (), nonce: str = "", node: bool = False
    ) -> None:
        message = pb.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=subscribe, response_nonce=nonce)
        if node:
            message.node.id = self._node_id
        await call.write(message.SerializeToString())

    async def _hear(self, call: Any, raw: bytes) -> None:
        message = pb.DeltaDiscoveryResponse.FromString(raw)
        held = self.versions.setdefault(message.type_url, {})
        fresh = [one.name for one in message.resources if one.name not in held]
        held.update((one.name, one.version) for one in message.resources)
        for name in message.removed_resources:
            held.pop(name, None)
        if message.type_url == CLUSTER and fresh:
            await self._say(call, ENDPOINT, subscribe=fresh)
        await self._say(call, message.type_url, nonce=message.nonce)
        self.responses += 1
        self.received_bytes += len(raw)
        async with self._changed:
            self._changed.notify_all()
