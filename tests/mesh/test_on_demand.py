"""Destinations that a real sidecar learns as its application asks for them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from model.on_demand import SidecarConfig
from tests.mesh.raw_requests import get, requests
from tests.mesh.running_mesh import RunningMesh
from tests.mesh.test_changes import load

pytestmark = [pytest.mark.envoy, pytest.mark.network, pytest.mark.slow]
MODES = (SidecarConfig.ON_DEMAND,)

BOUND_SECONDS = 15
DRAIN_SECONDS = 5
"""Of a listener's old connections, on one machine."""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: app}}
spec:
  selector: {{app: echo}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"""


def clusters(mesh: RunningMesh, workload: str = "client") -> set[str]:
    printed = mesh.must("config", "cluster", f"deploy/{workload}", "-n", "app", "--mesh", mesh.name, "-o", "json")
    return {one["name"] for one in json.loads(printed)["cluster"]}


def test_a_sidecar_has_no_http_destination_before_it_is_asked_for_and_keeps_it_then(mesh: RunningMesh) -> None:
    mesh.apply(SERVICE.format(name="fresh"))
    sidecars = json.loads(mesh.must("status", "--mesh", mesh.name, "-o", "json"))["sidecars"]
    assert [sidecar["on_demand"] for sidecar in sidecars if sidecar["pod"].startswith("client-")] == [True]
    name = "outbound|80||fresh.app.svc.cluster.local"
    assert name not in clusters(mesh)
    assert mesh.get("client", "http://fresh/")["status"] == 200
    assert name in clusters(mesh)
    assert name not in clusters(mesh, "other")


def test_r24_a_host_that_nobody_has_is_answered_fast_and_is_there_once_somebody_has_it(mesh: RunningMesh) -> None:
    registry_only = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}
"""
    mesh.apply(registry_only)
    with requests(mesh) as raw:
        answers = raw.send(get("later"), get("later"), get("echo"))
        assert [answer["status"] for answer in answers] == [404, 404, 200]
        assert max(answer["seconds"] for answer in answers) < 2
        mesh.apply(registry_only + "---" + SERVICE.format(name="later"))
        assert raw.statuses(get("later")) == [200]
        mesh.apply(registry_only)
        assert raw.statuses(get("later")) == [404]
        mesh.apply(registry_only + "---" + SERVICE.format(name="later"))
        assert raw.statuses(get("later")) == [200], "it is not asked for a second time"


def test_r30_a_port_that_loses_its_only_http_service_and_gets_it_back(mesh: RunningMesh) -> None:
    """Envoy forgets the route table, and what it asked for in it, once the connections to it are drained."""
    service = (
        SERVICE.format(name="lone")
        .replace("port: 80,", "port: 7700,")
        .replace("spec:", "spec:\n  clusterIP: 10.96.77.1")
    )
    lone, passing = (get(host, to="10.96.77.1:7700") for host in ("lone", "lone.example"))
    with requests(mesh) as raw:
        mesh.apply(service)
        assert raw.statuses(lone, passing) == [200, 200]
        for changed in ("", service.replace("name: http", "name: tcp-lone")):
            mesh.apply(changed)
            time.sleep(DRAIN_SECONDS + 2)
            mesh.apply(service)
            answers = raw.send(lone, passing, lone)
            assert [answer["status"] for answer in answers] == [200, 200, 200]
            assert max(answer["seconds"] for answer in answers) < 2


def test_undeclared_hosts_pass_through(mesh: RunningMesh) -> None:
    with requests(mesh) as raw:
        assert raw.statuses(get("passing.example"), get("passing.example")) == [200, 200]


def repointed(host: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: echo, namespace: app}}
spec:
  hosts: [echo]
  http: [{{route: [{{destination: {{host: {host}}}}}]}}]
"""


def test_r40_repointed_under_load_to_what_was_never_used_nothing_fails(mesh: RunningMesh) -> None:
    names = [f"target-{number}" for number in range(15)]
    mesh.write("---".join(SERVICE.format(name=name) for name in names), "targets.yaml")
    try:
        mesh.settle()
        with load(mesh) as summaries:
            for name in names:
                mesh.apply(repointed(name))
        assert summaries[0]["failed"] == 0, summaries
        assert summaries[0]["answers"] > 3 * len(names)
        assert {f"outbound|80||{name}.app.svc.cluster.local" for name in names[-1:]} <= clusters(mesh)
    finally:
        mesh.remove()
        mesh.remove("targets.yaml")


@contextmanager
def control_plane_halted(mesh: RunningMesh) -> Iterator[None]:
    """It answers nobody, as if it were away."""
    pids = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_supervisor(pid, mesh.name)]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def is_supervisor(pid: int, mesh: str) -> bool:
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"heddle.local.supervisor" in command and mesh.encode() in command
    return False


def test_without_a_control_plane_what_is_known_works_and_the_rest_ends_within_the_bound(mesh: RunningMesh) -> None:
    with requests(mesh) as raw:
        assert raw.statuses(get("echo")) == [200]
        with control_plane_halted(mesh):
            known = raw.send(*[get("echo")] * 50)
            (unknown,) = raw.send(get("never-asked.example"))
            assert raw.statuses(get("echo")) == [200]
        assert {answer["status"] for answer in known} == {200}
        assert max(answer["seconds"] for answer in known) < 2
        assert unknown["status"] == 504
        assert BOUND_SECONDS - 1 < unknown["seconds"] < BOUND_SECONDS + 5
        mesh.settle()
        assert raw.statuses(get("never-asked.example")) == [200]
