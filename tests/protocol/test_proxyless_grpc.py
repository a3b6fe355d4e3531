"""grpcio's own xDS client, which nobody here wrote, against a whole control plane: TLS, a pod's token, and no Envoy."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from heddle.control_plane import ControlPlane, PlaneSettings
from model.pods import ProxyKind
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE
from translators.bootstrap import node_id
from xds.state import StreamState

CLIENT = Path(__file__).with_name("proxyless_client.py")
ADDRESSES = {"v1": "127.0.0.2", "v2": "127.0.0.3"}


def manifests(port: int, weights: tuple[int, int], versions: tuple[str, ...] = ("v1", "v2")) -> str:
    pods = "".join(
        f"""---
apiVersion: v1
kind: Pod
metadata: {{name: echo-{version}, namespace: shop, uid: {version}, labels: {{app: echo, version: {version}}}}}
spec: {{containers: [{{name: echo, image: echo}}]}}
status: {{podIP: {ADDRESSES[version]}, phase: Running, conditions: [{{type: Ready, status: "True"}}]}}
"""
        for version in versions
    )
    return f"""apiVersion: v1
kind: Pod
metadata: {{name: caller, namespace: shop, uid: caller}}
spec: {{containers: [{{name: caller, image: caller}}]}}
status: {{podIP: 127.0.0.4}}
{pods}---
apiVersion: v1
kind: Service
metadata: {{name: echo, namespace: shop}}
spec: {{selector: {{app: echo}}, ports: [{{name: grpc, port: {port}}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: echo, namespace: shop}}
spec:
  host: echo
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: echo, namespace: shop}}
spec:
  hosts: [echo]
  http:
  - route:
    - {{destination: {{host: echo, subset: v1}}, weight: {weights[0]}}}
    - {{destination: {{host: echo, subset: v2}}, weight: {weights[1]}}}
"""


def bootstrap(plane: ControlPlane, directory: Path) -> Path:
    """What docs/proxyless-grpc.md tells a user to write."""
    (directory / "roots.pem").write_bytes(plane.trust_bundle)
    (directory / "token").write_text(plane.mint_token(plane.store.mesh.pods["shop", "caller"]))
    host, port = plane.xds_address
    server = {
        "server_uri": f"{host}:{port}",
        "channel_creds": [{"type": "tls", "config": {"ca_certificate_file": str(directory / "roots.pem")}}],
        "call_creds": [{"type": "jwt_token_file", "config": {"jwt_token_file": str(directory / "token")}}],
        "server_features": ["xds_v3"],
    }
    node = {"id": node_id(namespace="shop", pod="caller", address="127.0.0.4", node_type="sidecar")}
    path = directory / "bootstrap.json"
    path.write_text(json.dumps({"xds_servers": [server], "node": node}))
    return path


@asynccontextmanager
async def echoing(count: int = 2) -> AsyncIterator[int]:
    """Servers at each address, on one port, that say which they are."""
    async with AsyncExitStack() as stack:
        port = 0
        for version, address in list(ADDRESSES.items())[:count]:
            server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))

            async def who(request: bytes, context: object, version: str = version) -> bytes:
                return version.encode()

            handlers = {"Who": grpc.unary_unary_rpc_method_handler(who)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", handlers),))
            port = server.add_insecure_port(f"{address}:{port}")
            await server.start()
            stack.push_async_callback(server.stop, None)
        yield port


class Caller:
    """The client program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(self) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        async with asyncio.timeout(20):
            return (await self._process.stdout.readline()).decode().strip()

    async def until(self, met: Callable[[str], bool]) -> None:
        async with asyncio.timeout(20):
            while not met(await self.call()):
                pass


@asynccontextmanager
async def calling(target: str, bootstrap_file: Path) -> AsyncIterator[Caller]:
    environment = {
        **os.environ,
        "GRPC_XDS_BOOTSTRAP": str(bootstrap_file),
        "GRPC_EXPERIMENTAL_XDS_BOOTSTRAP_CALL_CREDS": "true",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CLIENT), target, env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Caller(process)
    finally:
        process.kill()
        await process.communicate()


@asynccontextmanager
async def mesh(directory: Path, text: str) -> AsyncIterator[ControlPlane]:
    (directory / "manifests").mkdir()
    (directory / "manifests" / "mesh.yaml").write_text(text)
    plane = ControlPlane(PlaneSettings(directory=directory / "manifests", keys=directory / "keys", host="127.0.0.1"))
    async with plane.running():
        yield plane


def held(state: StreamState) -> dict[str, set[str]]:
    return {one.type_url: {resource.name for resource in one.acknowledged} for one in state.types}


async def test_a_grpc_client_without_a_sidecar_follows_weights_and_endpoints(tmp_path: Path) -> None:
    async with echoing() as port, mesh(tmp_path, manifests(port, (80, 20))) as plane:
        async with calling(f"xds:///echo.shop:{port}", bootstrap(plane, tmp_path)) as caller:
            answers = Counter([await caller.call() for _ in range(200)])
            assert answers.keys() == {"v1", "v2"}
            assert 0.65 < answers["v1"] / 200 < 0.92
            (state,) = plane.streams.state()
            assert (state.asker.kind, state.delta) == (ProxyKind.PROXYLESS, False)
            target, host = f"echo.shop:{port}", "echo.shop.svc.cluster.local"
            clusters = {f"outbound|{port}|{subset}|{host}" for subset in ("v1", "v2")}
            assert held(state) == {LISTENER: {target}, ROUTE: {target}, CLUSTER: clusters, ENDPOINT: clusters}
            assert not state.rejected
            (tmp_path / "manifests" / "mesh.yaml").write_text(manifests(port, (0, 100)))
            await caller.until(lambda answer: answer == "v2")
            await asyncio.sleep(0.5)
            assert {await caller.call() for _ in range(30)} == {"v2"}
            (tmp_path / "manifests" / "mesh.yaml").write_text(manifests(port, (0, 100), ("v1",)))
            await caller.until(lambda answer: answer.startswith("UNAVAILABLE"))
            (tmp_path / "manifests" / "mesh.yaml").write_text(manifests(port, (100, 0), ("v1",)))
            await caller.until(lambda answer: answer == "v1")
            assert not plane.streams.state()[0].rejected


async def test_a_grpc_client_is_told_that_a_service_does_not_exist(tmp_path: Path) -> None:
    """State of the world has no word for a missing listener but silence: gRPC gives it 15 seconds."""
    async with echoing() as port, mesh(tmp_path, manifests(port, (100, 0))) as plane:
        async with calling(f"xds:///nobody.shop:{port}", bootstrap(plane, tmp_path)) as caller:
            assert (await caller.call()).startswith(("UNAVAILABLE", "DEADLINE_EXCEEDED"))


@pytest.mark.parametrize("wrong", ["another's token", "no token"])
async def test_a_grpc_client_is_known_by_its_pods_token(tmp_path: Path, wrong: str) -> None:
    async with echoing() as port, mesh(tmp_path, manifests(port, (100, 0))) as plane:
        path = bootstrap(plane, tmp_path)
        if wrong == "another's token":
            (tmp_path / "token").write_text(plane.mint_token(plane.store.mesh.pods["shop", "echo-v1"]))
        else:
            plain = json.loads(path.read_text())
            del plain["xds_servers"][0]["call_creds"]
            path.write_text(json.dumps(plain))
        async with calling(f"xds:///echo.shop:{port}", path) as caller:
            answer = await caller.call()
            assert answer.startswith("UNAVAILABLE"), answer
            assert plane.streams.state() == ()
