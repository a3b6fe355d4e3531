"""One discovery stream as a sidecar opens it, for tests of who is let in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from heddle.control_plane import Cluster, ControlPlane, PlaneSettings
from protos import discovery_pb2 as pb
from protos.type_urls import CLUSTER
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from xds.server import SERVICE

METHODS = (f"/{SERVICE}/DeltaAggregatedResources", f"/{SERVICE}/StreamAggregatedResources")
DELTA = METHODS[0]
TIMEOUT_SECONDS = 30.0
"""Never measured; only so that a broken server ends."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`code` OK: the stream was answered, and ended by us."""

    code: grpc.StatusCode
    text: str = ""


_LOST = Outcome(code=grpc.StatusCode.INTERNAL, text="Internal error from Core")


def node_id(pod: str, namespace: str, address: str = "10.0.0.1") -> str:
    return f"sidecar~{address}~{pod}.{namespace}~{namespace}.svc.cluster.local"


async def try_stream(plane: ControlPlane, token: str | None, node: str, method: str = DELTA) -> Outcome:
    """Opens a stream with a token (None: with no credential at all) and waits for the first answer."""
    return await try_credential(plane, None if token is None else f"Bearer {token}", node, method)


async def try_credential(plane: ControlPlane, credential: str | None, node: str, method: str = DELTA) -> Outcome:
    """The same with the whole header."""
    while (outcome := await _try_once(plane, credential, node, method)) == _LOST:
        # grpc.aio says so when a stream is refused just while its first message is written.
        pass
    return outcome


async def _try_once(plane: ControlPlane, credential: str | None, node: str, method: str) -> Outcome:
    message = pb.DeltaDiscoveryRequest(type_url=CLUSTER) if method == DELTA else pb.DiscoveryRequest(type_url=CLUSTER)
    message.node.id = node
    metadata = () if credential is None else (("authorization", credential),)
    host, port = plane.xds_address
    trust = grpc.ssl_channel_credentials(plane.trust_bundle)
    options = (("grpc.ssl_target_name_override", plane.server_name), ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.secure_channel(f"{host}:{port}", trust, options=options) as channel:
        call = channel.stream_stream(method)(metadata=metadata)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await call.write(message.SerializeToString())
                if await call.read() is not grpc.aio.EOF:
                    call.cancel()
                    return Outcome(code=grpc.StatusCode.OK)
        except grpc.aio.AioRpcError:
            pass
        return Outcome(code=await call.code(), text=await call.details() or "")


@asynccontextmanager
async def plane_of(
    kubeconfig: Path, *, namespace: str = "heddle-system", host: str = "127.0.0.1"
) -> AsyncIterator[ControlPlane]:
    """A control plane on the cluster of a kubeconfig; serving when the block begins."""
    async with open_api(ClusterAccess(kubeconfig=kubeconfig)) as api:
        cluster = Cluster(api=api, namespace=namespace, server_name=f"heddle.{namespace}.svc")
        settings = PlaneSettings(cluster=cluster, keys=kubeconfig.with_name("unused"), host=host)
        plane = ControlPlane(settings)
        async with plane.running():
            yield plane
