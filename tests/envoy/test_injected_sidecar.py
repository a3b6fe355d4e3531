"""The sidecar that an injected pod gets, run as it was injected.

Of one mode alone. What answers a kubelet's probes is in the bootstrap, before there is a control plane. The last test
has one, but no capture, without which nobody learns on demand: tests/kubernetes/test_end_to_end.py has both modes.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from heddle.control_plane import SERVER_NAME, ControlPlane, PlaneSettings
from injector.server import tls_context
from injector.settings import InjectionSettings
from model.asker import Capture
from tests.injector.application import grpc_application, http_application
from tests.injector.sidecar_process import running, sidecar_argv, without_control_plane
from tests.unit.injector.pods import pod
from tests.unit.injector.test_server import write_certificate
from tests.unit.translators.test_bootstrap import root_pem

pytestmark = pytest.mark.envoy

ADDRESS = "127.0.0.78"
"""The pod's: the sidecar's ports are opened there alone, and nobody else's tests use it."""

WITHIN = 15.0


def probed(port: int, **probe: Any) -> dict[str, Any]:
    """A pod with one container, whose readiness probe it is."""
    port_of = {"httpGet": {"path": "/health?full=1", **probe, "port": port}} if not probe.get("kind") else {}
    kind = probe.get("kind")
    check = {kind: {"port": port, **({"service": "shop.Users"} if kind == "grpc" else {})}} if kind else port_of
    return pod(containers=[{"name": "app", "image": "web", "readinessProbe": {**check, "periodSeconds": 1}}])


@asynccontextmanager
async def sidecar_of(before: dict[str, Any], folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    argv = without_control_plane(sidecar_argv(before, folder, address=ADDRESS, roots=root_pem()))
    async with running(argv, folder / "envoy.log"), aiohttp.ClientSession(f"http://{ADDRESS}:15020") as kubelet:
        yield kubelet


async def ask(kubelet: aiohttp.ClientSession, path: str = "/app-health/app/readyz", **more: Any) -> int:
    """The status, 0 if nobody listens."""
    try:
        async with kubelet.get(path, allow_redirects=False, **more) as answer:
            assert "location" not in answer.headers
            return answer.status
    except aiohttp.ClientConnectionError:
        return 0


async def until(kubelet: aiohttp.ClientSession, status: int) -> None:
    """Waits until the probe is answered so. Raises TimeoutError."""
    async with asyncio.timeout(WITHIN):
        while await ask(kubelet) != status:  # noqa: ASYNC110 - Envoy tells nobody
            await asyncio.sleep(0.02)


async def test_an_http_probe_tells_what_the_application_says(tmp_path: Path) -> None:
    async with http_application(ADDRESS) as application:
        async with sidecar_of(probed(application.port), tmp_path) as kubelet:
            await until(kubelet, 200)
            assert application.heads[-1].startswith("GET /health?full=1 HTTP/1.1\r\n")
            assert application.peers == {"127.0.0.6"}
            for status in (500, 404, 302):
                text = f"HTTP/1.1 {status} X\r\nLocation: http://{ADDRESS}:1/\r\nContent-Length: 0\r\n\r\n"
                application.answer = text.encode()
                assert await ask(kubelet) == status
            application.answer = None
            assert await ask(kubelet) == 504


async def test_over_https_whatever_the_certificate(tmp_path: Path) -> None:
    async with http_application(ADDRESS, tls=tls_context(*write_certificate(tmp_path, 1))) as application:
        async with sidecar_of(probed(application.port, scheme="HTTPS"), tmp_path) as kubelet:
            await until(kubelet, 200)
            application.answer = b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"
            assert await ask(kubelet) == 500


async def test_nothing_else_of_the_application_is_reached(tmp_path: Path) -> None:
    async with http_application(ADDRESS) as application:
        async with sidecar_of(probed(application.port), tmp_path) as kubelet:
            await until(kubelet, 200)
            asked = len(application.heads)
            for path in (
                "/",
                "/health",
                "/app-health/app/livez",
                "/app-health/app/readyz/",
                "/app-health/app/readyz/../x",
            ):
                assert await ask(kubelet, path) == 404
            async with kubelet.post("/app-health/app/readyz") as answer:
                assert answer.status == 404
            assert len(application.heads) == asked
            assert await ask(kubelet, headers={"Host": "shop.example", "X-Probe": "yes"}) == 200
            head = application.heads[-1].lower()
            assert "host: shop.example\r\n" in head
            assert "x-probe: yes\r\n" in head


async def test_an_application_that_is_gone_is_not_healthy(tmp_path: Path) -> None:
    async with http_application(ADDRESS) as application:
        port = application.port
    async with sidecar_of(probed(port), tmp_path) as kubelet:
        await until(kubelet, 503)
        async with http_application(ADDRESS, port):
            await until(kubelet, 200)
        await until(kubelet, 503)


async def test_a_tcp_probe_fails_when_the_port_closes(tmp_path: Path) -> None:
    async with http_application(ADDRESS) as application:
        port = application.port
    async with sidecar_of(probed(port, kind="tcpSocket"), tmp_path) as kubelet:
        await until(kubelet, 503)
        async with http_application(ADDRESS, port) as application:
            await until(kubelet, 200)
            async with asyncio.timeout(WITHIN):
                # It is healthy once the kernel has taken the connection; the application has not yet.
                while not application.peers:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.01)
            assert application.peers == {"127.0.0.6"}
        await until(kubelet, 503)


async def test_a_grpc_probe_tells_what_the_health_service_says(tmp_path: Path) -> None:
    async with grpc_application(ADDRESS) as application:
        async with sidecar_of(probed(application.port, kind="grpc"), tmp_path) as kubelet:
            await until(kubelet, 200)
            assert application.asked[-1] == b"shop.Users"
            application.serving = False
            await until(kubelet, 503)
            application.serving = True
            await until(kubelet, 200)


@pytest.mark.parametrize("count", [0, 1, 20])
def test_envoy_takes_the_bootstrap(tmp_path: Path, count: int) -> None:
    kinds = ("httpGet", "tcpSocket", "grpc")
    containers = [
        {
            "name": f"app-{number}",
            "readinessProbe": {kinds[number % 3]: {"port": 8080, "scheme": "HTTPS", "path": "/%'$"}},
        }
        for number in range(count)
    ]
    argv = sidecar_argv(pod(containers=containers or None), tmp_path, address=ADDRESS, roots=root_pem())
    done = subprocess.run([*argv, "--mode", "validate"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


async def test_it_is_ready_once_the_control_plane_has_answered_its_token(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "web.yaml").write_text(
        f"""\
apiVersion: v1
kind: Pod
metadata: {{name: web-1, namespace: shop, uid: 5f0e}}
spec:
  serviceAccountName: web
  containers: [{{name: app, image: web}}]
status: {{podIP: {ADDRESS}}}
"""
    )
    keys, folder = tmp_path / "keys", tmp_path / "sidecar"
    folder.mkdir()
    settings = PlaneSettings(
        directory=manifests,
        keys=keys,
        host="127.0.0.1",
        capture=lambda pod: (Capture.EXPLICIT, ADDRESS),
    )
    plane = ControlPlane(settings)
    async with plane.running():
        host, port = plane.xds_address
        token = plane.mint_token(plane.store.mesh.pods["shop", "web-1"])
        injection = InjectionSettings(xds_host=host, xds_port=port, server_name=SERVER_NAME)
        argv = sidecar_argv(
            pod(), folder, address=ADDRESS, settings=injection, roots=plane.trust_bundle, token=token.encode()
        )
        async with running(argv, folder / "envoy.log"), aiohttp.ClientSession(f"http://{ADDRESS}:15021") as kubelet:
            async with asyncio.timeout(WITHIN):
                while await ask(kubelet, "/healthz/ready") != 200:  # noqa: ASYNC110 - Envoy tells nobody
                    await asyncio.sleep(0.02)
            (state,) = plane.streams.state()
            assert state.acknowledged(plane.store.generation)
