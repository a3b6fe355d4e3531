"""Sidecars in a real mesh: what is out of scope cannot be called, what is in scope goes on whatever happens."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mesh.conftest import BOTH
from tests.mesh.load import load
from tests.mesh.running_mesh import RunningMesh

pytestmark = [pytest.mark.envoy, pytest.mark.network, pytest.mark.slow]
MODES = BOTH

ECHO = "app/echo.app.svc.cluster.local"


def sidecar(host: str, mode: str, selector: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: scope, namespace: app}}
spec:
  {f"workloadSelector: {{labels: {{app: {selector}}}}}" if selector else ""}
  egress: [{{hosts: ["{host}"]}}]
  outboundTrafficPolicy: {{mode: {mode}}}
"""


def reached(mesh: RunningMesh, caller: str) -> dict[str, Any]:
    """What a caller gets of a service over HTTP, of its bytes, and of another service."""
    web, raw, echo = mesh.call(
        caller,
        {"url": "http://legacy/"},
        {"tcp": "legacy:9000", "send": "ping", "expect": "ping", "timeout": 5},
        {"url": "http://echo/"},
    )
    return {"legacy": web["status"], "bytes": "error" not in raw, "echo": echo["status"]}


EVERYTHING = {"legacy": 200, "bytes": True, "echo": 200}


def in_scope_alone(mesh: RunningMesh) -> dict[str, Any]:
    return {"legacy": 404 if mesh.on_demand else 502, "bytes": False, "echo": 200}


def test_out_of_scope_is_refused_until_the_sidecar_is_gone_and_no_other_request_fails(mesh: RunningMesh) -> None:
    assert reached(mesh, "client") == EVERYTHING
    with load(mesh) as summaries:
        for _ in range(3):
            mesh.apply(sidecar(ECHO, "REGISTRY_ONLY"))
            assert reached(mesh, "client") == in_scope_alone(mesh)
            mesh.remove()
            assert reached(mesh, "client") == EVERYTHING
    assert summaries[0]["failed"] == 0, summaries
    assert summaries[0]["answers"] > 100


def test_a_selected_workload_alone_is_limited(mesh: RunningMesh) -> None:
    mesh.apply(sidecar(ECHO, "REGISTRY_ONLY", selector="client"))
    assert reached(mesh, "client") == in_scope_alone(mesh)
    assert reached(mesh, "other") == EVERYTHING
    mesh.apply(sidecar(ECHO, "REGISTRY_ONLY", selector="other"))
    assert reached(mesh, "client") == EVERYTHING
    assert reached(mesh, "other") == in_scope_alone(mesh)


def test_what_is_out_of_scope_passes_through_where_anything_may(mesh: RunningMesh) -> None:
    mesh.apply(sidecar("~/*", "ALLOW_ANY"))
    found = reached(mesh, "client")
    assert found["legacy"] == 200
    assert found["bytes"]
    listed = mesh.must("config", "cluster", "deploy/client", "-n", "app", "--mesh", mesh.name)
    assert "legacy.app.svc.cluster.local" not in listed
