"""What a control plane takes from its directory at its start, and keeps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heddle import clock
from heddle.control_plane import ControlPlane, PlaneSettings
from model.names import IDENTITY_SECRET
from model.problem_codes import ProblemCode
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
