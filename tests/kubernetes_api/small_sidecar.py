"""A sidecar that asks for clusters alone, and takes or refuses them as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc

from protos import discovery_pb2 as pb
from protos.type_urls import CLUSTER
from tests.kubernetes_api.stream import DELTA, node_id


class SmallSidecar:
    """`refused`: the part of a cluster's name because of which whatever has it is refused, '' for none."""

    def __init__(self) -> None:
        self.refused = ""
        self.answers = 0

    async def run(self, call: grpc.aio.StreamStreamCall, node: str) -> None:
        first = pb.DeltaDiscoveryRequest(type_url=CLUSTER)
        first.node.id = node
        await call.write(first.SerializeToString())
        while (answered := await call.read()) is not grpc.aio.EOF:
            response = pb.DeltaDiscoveryResponse.FromString(answered)
            reply = pb.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            if self.refused and any(self.refused in resource.name for resource in response.resources):
                reply.error_detail.code = 3
                reply.error_detail.message = f"no {self.refused} here"
            await call.write(reply.SerializeToString())
            self.answers += 1


@asynccontextmanager
async def connected(
    address: str, *, roots: bytes, server_name: str, token: str, pod: str, namespace: str
) -> AsyncIterator[SmallSidecar]:
    """A stream as long as the block lasts, which begins once it was answered."""
    trust = grpc.ssl_channel_credentials(roots)
    options = (("grpc.ssl_target_name_override", server_name), ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.secure_channel(address, trust, options=options) as channel:
        call = channel.stream_stream(DELTA)(metadata=(("authorization", f"Bearer {token}"),))
        found = SmallSidecar()
        task = asyncio.create_task(found.run(call, node_id(pod, namespace)))
        try:
            while not found.answers:
                assert not task.done(), await call.details()
                await asyncio.sleep(0.01)
            yield found
        finally:
            call.cancel()
            task.cancel()
            with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                await task
