"""TCP destinations that a real sidecar learns by their addresses, as its application connects to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.on_demand import SidecarConfig
from tests.mesh.running_mesh import RunningMesh
from tests.mesh.test_on_demand import BOUND_SECONDS, clusters, control_plane_halted, get, requests

pytestmark = [pytest.mark.envoy, pytest.mark.network, pytest.mark.slow]
MODES = (SidecarConfig.ON_DEMAND,)

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: app}}
spec:
  selector: {{app: echo}}
  ports: [{{name: tcp, port: {port}, targetPort: {target}}}]
"""
REGISTRY_ONLY = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}
"""


def services(*names: str, port: int = 9000, target: int = 9000) -> str:
    return "---".join(SERVICE.format(name=name, port=port, target=target) for name in names)


def ping(to: str, timeout: float = 5) -> dict[str, Any]:
    return {"tcp": to, "send": "ping", "expect": "ping", "timeout": timeout}


def learnt(mesh: RunningMesh, workload: str = "client") -> set[str]:
    return {name for name in clusters(mesh, workload) if name.startswith("tcp|")}


def chains(mesh: RunningMesh) -> list[str]:
    printed = mesh.must("config", "listener", "deploy/client", "-n", "app", "--mesh", mesh.name, "-o", "json")
    (outbound,) = [one for one in json.loads(printed)["listener"] if one["name"] == "virtualOutbound"]
    return [chain["name"] for chain in outbound["filterChains"]]


def test_a_hundred_services_are_no_chain_more_and_each_is_reached(mesh: RunningMesh) -> None:
    before, known, others = chains(mesh), learnt(mesh), learnt(mesh, "other")
    assert len(before) < 15
    mesh.apply(services(*(f"many-{number}" for number in range(100)), port=7000))
    assert (chains(mesh), learnt(mesh)) == (before, known)
    for answer in mesh.call("client", ping("many-0:7000"), ping("many-99:7000"), ping("many-0:7000")):
        assert answer["text"].startswith("tcp v"), answer
        assert answer["seconds"] < 2
    assert len(learnt(mesh) - known) == 2
    assert learnt(mesh, "other") == others


def test_each_pod_of_a_headless_service_is_reached_by_itself(mesh: RunningMesh) -> None:
    for pod in ("web-0", "web-1", "web-0"):
        answer = mesh.call("client", ping(f"{pod}.web:9000"))[0]
        assert answer["text"].split()[2].startswith(pod)


def test_a_first_connection_to_a_server_that_speaks_first(mesh: RunningMesh) -> None:
    mesh.apply(services("greeter", port=7001, target=3306))
    answer = mesh.call("client", {"tcp": "greeter:7001", "expect": "\n", "timeout": 5})[0]
    assert answer["text"].startswith("banner v"), answer
    assert answer["seconds"] < 2


def test_r24_an_address_that_nobody_has_is_refused_at_once_each_time_until_somebody_has_it(mesh: RunningMesh) -> None:
    mesh.apply(services("later", port=7002))
    found = mesh.exec("deploy/client", "python3", "-c", "import socket; print(socket.gethostbyname('later'))")
    later = ping(f"{found.stdout.strip()}:7002")
    mesh.apply(REGISTRY_ONLY)
    for answer in mesh.call("client", later, later, later):
        assert "error" in answer
        assert answer["seconds"] < 2
    mesh.apply(REGISTRY_ONLY + "---" + services("later", port=7002))
    assert mesh.call("client", later)[0]["text"].startswith("tcp v")


def test_without_a_control_plane_what_was_used_works_and_the_rest_ends_within_the_bound(mesh: RunningMesh) -> None:
    mesh.apply(services("used", "unused", port=7003, target=8080))
    used, unused = get("used", to="used:7003"), get("unused", to="unused:7003")
    with requests(mesh) as raw:
        assert raw.statuses(used, used) == [200, 200]
        raw.send(get("unused", to="unused:7999"))  # so that its address is known
        with control_plane_halted(mesh):
            known = raw.send(*[used] * 20)
            (unknown,) = raw.send(unused)
        assert {answer["status"] for answer in known} == {200}
        assert max(answer["seconds"] for answer in known) < 2
        assert unknown["status"] == 0
        assert BOUND_SECONDS - 1 < unknown["seconds"] < BOUND_SECONDS + 5
        mesh.settle()
        assert raw.statuses(unused) == [200]
