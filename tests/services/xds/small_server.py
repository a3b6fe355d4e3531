"""An ADS server on loopback whose mesh is names with a word of content each, and a caller's end of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import betterproto2
import grpc
import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster

from bench.simulated_sidecar import METHOD
from model.asker import Asker
from model.mesh import Mesh
from model.problems import ObjectRef
from model.services import Service
from model.view import View
from protos import discovery_pb2 as pb
from protos.type_urls import CLUSTER
from xds.admission import PermissionDenied, Unauthenticated
from xds.events import Event
from xds.memo import Memo
from xds.server import SERVICE, AdsServer
from xds.stream_secrets import NoSecrets, StreamSecrets
from xds.wire import Node

SOTW_METHOD = f"/{SERVICE}/StreamAggregatedResources"
both = pytest.mark.parametrize("method", [METHOD, SOTW_METHOD], ids=["delta", "sotw"])


@dataclass(slots=True)
class TokenIsName:
    """The token is the node's id; `gone` are nobody any more, `refused` may not come (again)."""

    refused: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    async def authenticate(self, metadata: Mapping[str, str], peer: str) -> str:
        token = metadata.get("authorization", "").removeprefix("Bearer ")
        if not token:
            raise Unauthenticated("no token")
        return token

    def admit(self, caller: str, node: Node) -> Asker:
        if caller != node.id or caller in self.refused:
            raise PermissionDenied("not yours")
        return Asker(namespace="n", pod=caller, service_account="s", labels={"app": "first"})

    def asker_of(self, caller: str, node: Node) -> Asker | None:
        self.asked.append(caller)
        if caller in self.gone:
            return None
        return Asker(namespace="n", pod=caller, service_account="s", labels={"app": "second"})

    def secrets_for(self, caller: str, peer: str) -> StreamSecrets:
        return NoSecrets()


def world(**contents: str) -> Mesh:
    return Mesh(
        services={
            name: Service(ref=ObjectRef(kind="Service", name=name), external_name=content)
            for name, content in sorted(contents.items())
        }
    )


def derive(type_url: str, name: str, view: View) -> betterproto2.Message | None:
    service = view.service(name)
    if service is None:
        return None
    label = view.labels["app"] if service.external_name == "label" else ""
    return Cluster(name=name, alt_stat_name=service.external_name + label)


def names(type_url: str, view: View) -> tuple[str, ...]:
    return view.hosts


@asynccontextmanager
async def serving(
    events: list[Event] | deque[Event] | None = None,
    *,
    mesh: Mesh | None = None,
    admission: TokenIsName | None = None,
    **options: Any,
) -> AsyncIterator[tuple[AdsServer[str], str]]:
    report = (events if events is not None else []).append
    memo = Memo(derive=derive, names=names, report=report)
    server = AdsServer(memo=memo, admission=admission or TokenIsName(), report=report, **options)
    port = server.listen("127.0.0.1:0", None)
    await server.start()
    if mesh is not None:
        server.publish(mesh, 1)
    try:
        yield server, f"127.0.0.1:{port}"
    finally:
        await server.stop(timedelta(seconds=1))


def first_request(method: str, node: str) -> bytes:
    message = pb.DeltaDiscoveryRequest(type_url=CLUSTER) if method == METHOD else pb.DiscoveryRequest(type_url=CLUSTER)
    message.node.id = node
    return message.SerializeToString()


async def refusal(address: str, method: str, *messages: bytes, token: str = "me") -> grpc.StatusCode:
    """The status with which the server ends a stream that says this.

    Where a message comes too late, gRPC's client puts INTERNAL in place of that status. The stream was ended for what
    came before, so that then another says no more than that.
    """
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    written = 0
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(method)(metadata=metadata)
        try:
            for message in messages:
                await call.write(message)
                written += 1
            async with asyncio.timeout(10):
                while await call.read() is not grpc.aio.EOF:
                    pass
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the latter if it has ended before a message
            pass
        code = await call.code()
    if code is grpc.StatusCode.INTERNAL and written < len(messages):
        return await refusal(address, method, *messages[:written], token=token)
    return code


async def until(met: Any, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


async def accept(call: Any) -> None:
    """The next response, which has one resource, is taken."""
    response = pb.DeltaDiscoveryResponse.FromString(await call.read())
    assert len(response.resources) == 1
    answer = pb.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
    await call.write(answer.SerializeToString())
