"""grpcio's own xDS client, which nobody here wrote, against a whole control plane: TLS, a pod's token, and no Envoy."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from heddle import clock
from heddle.control_plane import ControlPlane, PlaneSettings
from model.identity import SpiffeId
from model.pods import ProxyKind
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE
from sds.authority import Authority
from sds.authority_store import load_or_create_authority
from sds.certificate_policy import CertificatePolicy
from sds.signing import Svid, issue_workload
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
spec: {{serviceAccountName: echo, containers: [{{name: echo, image: echo}}]}}
status: {{podIP: {ADDRESSES[version]}, phase: Running, conditions: [{{type: Ready, status: "True"}}]}}
"""
        for version in versions
    )
    return f"""apiVersion: v1
kind: Pod
metadata: {{name: caller, namespace: shop, uid: caller}}
spec: {{serviceAccountName: caller, containers: [{{name: caller, image: caller}}]}}
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
async def echoing(*versions: str, port: int = 0) -> AsyncIterator[int]:
    """Servers at each version's address, all if none is named, on one port, that say which they are."""
    async with AsyncExitStack() as stack:
        for version in versions or ADDRESSES:
            address = ADDRESSES[version]
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
async def calling(target: str, bootstrap_file: Path, *more: str) -> AsyncIterator[Caller]:
    environment = {
        **os.environ,
        "GRPC_XDS_BOOTSTRAP": str(bootstrap_file),
        "GRPC_EXPERIMENTAL_XDS_BOOTSTRAP_CALL_CREDS": "true",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CLIENT), target, *more, env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Caller(process)
    finally:
        process.kill()
        await process.communicate()


@asynccontextmanager
async def mesh(directory: Path, text: str, policy: CertificatePolicy | None = None) -> AsyncIterator[ControlPlane]:
    (directory / "manifests").mkdir()
    (directory / "manifests" / "mesh.yaml").write_text(text)
    plane = ControlPlane(
        PlaneSettings(
            directory=directory / "manifests",
            keys=directory / "keys",
            host="127.0.0.1",
            certificates=policy or CertificatePolicy(),
        )
    )
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


STRICT = """---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
"""


def declaring(text: str, mode: str) -> str:
    """The manifests with a mode of TLS in their DestinationRule."""
    return text.replace("spec:\n  host: echo\n", f"spec:\n  host: echo\n  trafficPolicy: {{tls: {{mode: {mode}}}}}\n")


def only_mutual(port: int, how: str) -> str:
    """One endpoint, which is called with mutual TLS because of what is said of the server, or of calls to it."""
    plain = manifests(port, (100, 0), ("v1",))
    return plain + STRICT if how == "STRICT" else declaring(plain, how)


def identity_of(account: str) -> str:
    return f"spiffe://cluster.local/ns/shop/sa/{account}"


def issue(authority: Authority, account: str) -> Svid:
    identity = SpiffeId(namespace="shop", service_account=account)
    return issue_workload(authority, identity=identity, now=clock.now(), life=timedelta(hours=1))


def write_certificates(directory: Path, held: Svid) -> None:
    """As whoever renews them would: each file is whole at any time."""
    for name, content in (("key.pem", held.private_key), ("chain.pem", held.certificate_chain)):
        (directory / f".{name}").write_bytes(content)
        (directory / f".{name}").replace(directory / name)


def with_certificates(bootstrap_file: Path, held: Svid) -> Path:
    """The bootstrap with these, which are beside it."""
    write_certificates(bootstrap_file.parent, held)
    return with_provider(bootstrap_file, bootstrap_file.parent)


def with_provider(bootstrap_file: Path, directory: Path) -> Path:
    """The bootstrap, completed as docs/proxyless-grpc.md says."""
    whole = json.loads(bootstrap_file.read_text())
    files = {
        "private_key_file": str(directory / "key.pem"),
        "certificate_file": str(directory / "chain.pem"),
        "ca_certificate_file": str(directory / "roots.pem"),
        "refresh_interval": "1s",
    }
    whole["certificate_providers"] = {"default": {"plugin_name": "file_watcher", "config": files}}
    whole["node"]["metadata"] = {"CERTIFICATE_PROVIDER": "default"}
    bootstrap_file.write_text(json.dumps(whole))
    return bootstrap_file


@asynccontextmanager
async def demanding_certificates(authority: Authority, account: str) -> AsyncIterator[int]:
    """A server at v1's address that takes mutual TLS alone and says whom its client's certificate names, and the
    certificate. Connections last a second."""
    held = issue(authority, account)
    credentials = grpc.ssl_server_credentials(
        [(held.private_key, held.certificate_chain)], held.trust_bundle, require_client_auth=True
    )
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0), ("grpc.max_connection_age_ms", 1000)))

    async def who(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        shown = context.auth_context()
        (name,), (certificate,) = shown["x509_subject_alternative_name"], shown["x509_pem_cert"]
        return name + b" " + b"".join(certificate.splitlines())

    handlers = {"Who": grpc.unary_unary_rpc_method_handler(who)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", handlers),))
    port = server.add_secure_port(f"{ADDRESSES['v1']}:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The mesh's own, which its control plane finds."""
    return load_or_create_authority(tmp_path / "keys" / "authority", trust_domain="cluster.local", now=clock.now())


def first_line(certificate: bytes) -> str:
    """The leaf of a chain, as the server above says it."""
    leaf, _, _ = certificate.decode().partition("-----END")
    return "".join(leaf.splitlines())


@pytest.mark.parametrize("how", ["STRICT", "ISTIO_MUTUAL"])
async def test_mutual_tls_with_the_callers_identity(tmp_path: Path, authority: Authority, how: str) -> None:
    async with demanding_certificates(authority, "echo") as port:
        async with mesh(tmp_path, only_mutual(port, how)) as plane:
            first = issue(authority, "caller")
            files = with_certificates(bootstrap(plane, tmp_path), first)
            async with calling(f"xds:///echo.shop:{port}", files, "xds") as caller:
                answer = await caller.call()
                assert answer.startswith(f"{identity_of('caller')} {first_line(first.certificate_chain)}"), answer
                second = issue(authority, "caller")
                write_certificates(tmp_path, second)
                await caller.until(lambda answer: first_line(second.certificate_chain) in answer)
                assert not plane.streams.state()[0].rejected


@pytest.mark.parametrize("how", ["STRICT", "ISTIO_MUTUAL"])
async def test_a_server_of_another_account_is_refused(tmp_path: Path, authority: Authority, how: str) -> None:
    async with demanding_certificates(authority, "thief") as port:
        async with mesh(tmp_path, only_mutual(port, how)) as plane:
            files = with_certificates(bootstrap(plane, tmp_path), issue(authority, "caller"))
            async with calling(f"xds:///echo.shop:{port}", files, "xds") as caller:
                answer = await caller.call()
                assert answer.startswith("UNAVAILABLE"), answer
                assert "SAN" in answer, answer
                assert not plane.streams.state()[0].rejected


async def test_who_takes_plaintext_alone_is_left_out_beside_one_that_does_not(
    tmp_path: Path, authority: Authority
) -> None:
    without_routes, _, _ = manifests(0, (50, 50)).rpartition("---")
    strict = STRICT.replace("spec: {", "spec: {selector: {matchLabels: {version: v1}}, ")
    async with demanding_certificates(authority, "echo") as port, echoing("v2", port=port):
        async with mesh(tmp_path, without_routes.replace("port: 0", f"port: {port}") + strict) as plane:
            files = with_certificates(bootstrap(plane, tmp_path), issue(authority, "caller"))
            async with calling(f"xds:///echo.shop:{port}", files, "xds") as caller:
                answers = {(await caller.call()).split()[0] for _ in range(20)}
                assert answers == {identity_of("caller")}


@asynccontextmanager
async def keeping_certificates(plane: ControlPlane, directory: Path) -> AsyncIterator[Path]:
    """`heddle certificates`, as the pod that `bootstrap` wrote files for; where it leaves its own."""
    host, port = plane.xds_address
    out = directory / "certificates"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "heddle.main", "certificates", "--server", f"{host}:{port}",
        "--roots", str(directory / "roots.pem"), "--token", str(directory / "token"), "--out", str(out),
    )  # fmt: skip
    try:
        yield out / "current"
    finally:
        process.terminate()
        assert await process.wait() == 0


async def test_certificates_that_heddle_keeps_in_files(tmp_path: Path, authority: Authority) -> None:
    """They live for 10 seconds, and are used one after the other."""
    policy = CertificatePolicy(life=timedelta(seconds=10))
    async with demanding_certificates(authority, "echo") as port:
        async with mesh(tmp_path, only_mutual(port, "STRICT"), policy) as plane:
            files = bootstrap(plane, tmp_path)
            async with keeping_certificates(plane, tmp_path) as current:
                # Before they are there: the library waits for them.
                async with calling(f"xds:///echo.shop:{port}", with_provider(files, current), "xds") as caller:
                    seen: list[str] = []

                    def two_seen(answer: str) -> bool:
                        if answer.startswith(identity_of("caller")) and answer not in seen:
                            seen.append(answer)
                        return len(seen) == 2

                    await caller.until(two_seen)


@pytest.mark.parametrize("mode", ["", "DISABLE"])
async def test_plaintext_where_nothing_demands_more(tmp_path: Path, authority: Authority, mode: str) -> None:
    async with echoing("v1") as port:
        plain = manifests(port, (100, 0), ("v1",))
        async with mesh(tmp_path, declaring(plain, mode) if mode else plain) as plane:
            files = with_certificates(bootstrap(plane, tmp_path), issue(authority, "caller"))
            async with calling(f"xds:///echo.shop:{port}", files, "xds") as caller:
                assert await caller.call() == "v1"


async def test_a_client_that_names_no_certificates_is_told_of_none(tmp_path: Path) -> None:
    """It could not use the cluster, and is refused by a server that takes no plaintext."""
    async with echoing("v1") as port, mesh(tmp_path, manifests(port, (100, 0), ("v1",)) + STRICT) as plane:
        async with calling(f"xds:///echo.shop:{port}", bootstrap(plane, tmp_path), "xds") as caller:
            assert await caller.call() == "v1"
            assert not plane.streams.state()[0].rejected
