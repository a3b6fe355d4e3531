"""A gRPC client without a sidecar calls a server that has one, with files that `heddle certificates` wrote."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh.running_mesh import CHECKOUT, HEDDLE, RunningMesh

pytestmark = [pytest.mark.envoy, pytest.mark.network, pytest.mark.slow]

MANIFESTS = Path(__file__).parent / "proxyless"
CLIENT = CHECKOUT / "tests" / "protocol" / "proxyless_client.py"
POLICIES = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: app}
spec: {mtls: {mode: MODE}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: echo, namespace: app}
spec: {rules: [{from: [{source: {principals: [cluster.local/ns/app/sa/ACCOUNT]}}]}]}
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    directory = tmp_path_factory.mktemp("proxyless") / "mesh"
    shutil.copytree(MANIFESTS, directory, ignore=shutil.ignore_patterns("__pycache__"))
    manifest = directory / "base.yaml"
    manifest.write_text(manifest.read_text().replace("[PYTHON,", f"[{sys.executable},"))
    running = RunningMesh(f"proxyless-{os.getpid()}", directory)
    running.up()
    yield running
    running.down()


def call(mesh: RunningMesh, directory: Path) -> str:
    """What the caller's pod is answered, with a bootstrap and certificates of its own."""
    envoy = mesh.must("bootstrap", "caller", "-n", "app", "--files", str(directory), "--mesh", mesh.name)
    own = json.loads(envoy)["node"]["id"]
    found = re.search(r'"address": "([0-9.]+)",\s+"portValue": (15012)', envoy)
    assert found is not None, envoy
    server, roots, token, out = ":".join(found.groups()), directory / "root.pem", directory / "token", directory / "out"
    options = ("--server", server, "--roots", str(roots), "--token", str(token), "--out", str(out), "--once")
    done = mesh.exec("caller", "env", f"PYTHONPATH={CHECKOUT}", *HEDDLE, "certificates", *options)
    assert done.returncode == 0, done.stderr
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": server,
                "channel_creds": [{"type": "tls", "config": {"ca_certificate_file": str(roots)}}],
                "call_creds": [{"type": "jwt_token_file", "config": {"jwt_token_file": str(token)}}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": own, "metadata": {"CERTIFICATE_PROVIDER": "default"}},
        "certificate_providers": {
            "default": {
                "plugin_name": "file_watcher",
                "config": {
                    "private_key_file": str(out / "current" / "key.pem"),
                    "certificate_file": str(out / "current" / "chain.pem"),
                    "ca_certificate_file": str(out / "current" / "roots.pem"),
                },
            }
        },
    }
    (directory / "bootstrap.json").write_text(json.dumps(bootstrap))
    switches = (f"GRPC_XDS_BOOTSTRAP={directory / 'bootstrap.json'}", "GRPC_EXPERIMENTAL_XDS_BOOTSTRAP_CALL_CREDS=true")
    command = ("env", *switches, sys.executable, str(CLIENT), "xds:///echo.app:9090", "xds")
    return mesh.exec("caller", *command, stdin="\n").stdout


@pytest.mark.parametrize(
    ("mode", "account", "answer"),
    [
        ("STRICT", "caller", "URI=spiffe://cluster.local/ns/app/sa/caller"),
        ("STRICT", "another", "PERMISSION_DENIED"),
        ("PERMISSIVE", "caller", "PERMISSION_DENIED"),
    ],
)
def test_the_servers_sidecar_knows_the_caller(
    mesh: RunningMesh, tmp_path: Path, mode: str, account: str, answer: str
) -> None:
    """Where it takes plaintext, it is called in plaintext, by nobody that it knows."""
    mesh.apply(POLICIES.replace("MODE", mode).replace("ACCOUNT", account))
    assert answer in call(mesh, tmp_path)


def test_plaintext_to_a_sidecar_that_takes_it(mesh: RunningMesh, tmp_path: Path) -> None:
    mesh.apply(POLICIES.partition("---")[0].replace("MODE", "PERMISSIVE"))
    assert call(mesh, tmp_path) == "plaintext\n"
