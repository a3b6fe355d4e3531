"""What a control plane takes from its directory at its start, and keeps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from bench import manifests
from bench.simulated_sidecar import SimulatedSidecar
from heddle import clock
from heddle.control_plane import ControlPlane, PlaneSettings
from model.names import IDENTITY_SECRET
from model.on_demand import SidecarConfig
from model.problem_codes import ProblemCode
from protos.type_urls import CLUSTER, VIRTUAL_HOST
from sds.authority_store import load_or_create_authority
from sds.keyfiles import KeyFileError
from sds.tokens import Caller
from sources.directory import Directory

CHECKOUT = Path(__file__).resolve().parents[3]
CALLER = Caller(namespace="shop", service_account="web", pod_name="web-1", pod_uid="u1")


def write(directory: Path, trust_domain: str) -> None:
    (directory / "mesh.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
        f"data: {{mesh: 'trustDomain: {trust_domain}'}}\n"
    )


def start(directory: Path) -> ControlPlane:
    return ControlPlane(PlaneSettings(directory=directory, keys=directory.with_name("keys"), host="127.0.0.1"))


def new_identity(plane: ControlPlane) -> str:
    """The identity that a stream gets which opens now."""
    plane.admission.secrets_for(CALLER, "ipv4:10.0.0.1:9").secret(IDENTITY_SECRET, clock.now())
    found = plane.admission.describe(CALLER.namespace, CALLER.pod_name)
    return next(secret.spiffe_id for secret in found if secret.name == IDENTITY_SECRET)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    write(manifests, "a.b")
    (manifests / "web.yaml").write_text(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: shop}\n---\n"
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web-1, namespace: shop, uid: u1}\n"
        "spec: {serviceAccountName: web, containers: [{name: app, image: web}]}\nstatus: {podIP: 10.0.0.1}\n"
    )
    return manifests


async def test_a_stream_that_opens_after_a_change_gets_the_identity_that_others_expect(directory: Path) -> None:
    plane = start(directory)
    write(directory, "c.d")
    assert isinstance(plane.source, Directory)
    assert plane.source.scan()
    assert plane.store.mesh.settings.trust_domain == "a.b"
    assert new_identity(plane) == "spiffe://a.b/ns/shop/sa/web"
    assert [problem.code for problem in plane.store.problems] == [ProblemCode.RESTART_NEEDED]


async def test_another_trust_domain_takes_another_authority(directory: Path) -> None:
    start(directory)
    write(directory, "c.d")
    authority = directory.with_name("keys") / "authority"
    with pytest.raises(KeyFileError, match=rf"move {authority} away"):
        start(directory)
    authority.rename(authority.with_name("old"))
    assert new_identity(start(directory)) == "spiffe://c.d/ns/shop/sa/web"


async def test_what_a_workload_used_is_sent_ahead_to_its_next_sidecar_and_taken_back_after_its_time(
    tmp_path: Path,
) -> None:
    (tmp_path / "manifests").mkdir()
    services = map(manifests.service, range(3))
    (tmp_path / "manifests" / "all.yaml").write_text(manifests.together(*services, manifests.pod(0)))
    settings = PlaneSettings(
        directory=tmp_path / "manifests",
        keys=tmp_path / "keys",
        host="127.0.0.1",
        sidecar_config=SidecarConfig.ON_DEMAND,
        unused_after=timedelta(seconds=2),
    )
    host = f"s1.{manifests.NAMESPACE}.svc.cluster.local"
    plane = ControlPlane(settings)
    async with plane.running(), asyncio.timeout(30):
        ((_, pod),) = plane.store.mesh.pods.items()
        new = partial(
            SimulatedSidecar,
            f"127.0.0.1:{plane.xds_address[1]}",
            node_id=f"sidecar~{pod.addresses[0]}~p0.{manifests.NAMESPACE}~x",
            token=plane.mint_token(pod),
            root=plane.trust_bundle,
            server_name=plane.server_name,
            route_tables=("80",),
        )
        async with _connected(new(virtual_hosts=(f"80/{host}",))) as sidecar:
            await sidecar.until(VIRTUAL_HOST, f"80/{host}:80")
        async with _connected(new()) as sidecar:
            await sidecar.until(VIRTUAL_HOST, f"80/{host}:80")
            assert f"outbound|80||{host}" in sidecar.versions[CLUSTER]
            while f"80/{host}:80" in sidecar.versions[VIRTUAL_HOST]:  # noqa: ASYNC110 - it tells of what comes
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def _connected(sidecar: SimulatedSidecar) -> AsyncIterator[SimulatedSidecar]:
    running = asyncio.create_task(sidecar.run())
    try:
        yield sidecar
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def test_serve_with_the_keys_of_another_trust_domain_names_the_fix(directory: Path, tmp_path: Path) -> None:
    authority = tmp_path / "state" / "it" / "ca" / "authority"
    load_or_create_authority(authority, trust_domain="c.d", now=clock.now())
    done = subprocess.run(
        [sys.executable, "-m", "heddle.main", "serve", "--config", directory, "--mesh", "it", "--xds", "127.0.0.1:0"],
        env={**os.environ, "HEDDLE_STATE": str(tmp_path / "state"), "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert f"{authority} holds the authority of 'c.d', not of 'a.b'" in done.stderr
    assert f"move {authority} away" in done.stderr
    assert "Traceback" not in done.stderr
    assert (authority / "root.pem").exists()
