"""What is spoken on a port, how it is found out, and where it goes."""

from __future__ import annotations

import pytest

from tests.mesh.conftest import BOTH
from tests.mesh.raw_requests import get, requests
from tests.mesh.running_mesh import RunningMesh

pytestmark = [pytest.mark.envoy, pytest.mark.network, pytest.mark.slow]
MODES = BOTH

SPLIT_TO_V2 = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: app}
spec:
  hosts: [echo]
  http: [{route: [{destination: {host: echo, subset: v2}}]}]
"""


@pytest.mark.parametrize("caller", ["client", "outsider"])
def test_tcp_by_address(mesh: RunningMesh, caller: str) -> None:
    answer = mesh.call(caller, {"tcp": "echo:9000", "send": "ping", "expect": "ping"})[0]
    assert answer["text"].startswith("tcp v"), answer


SOURCE_STAYS = """
apiVersion: v1
kind: Service
metadata: {name: echo-by-source, namespace: app}
spec:
  selector: {app: echo}
  ports: [{name: tcp, port: 9000}]
"""
BY_SOURCE = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo-by-source, namespace: app}
spec:
  host: echo-by-source
  trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}
"""


def test_tcp_connections_of_one_source_stay_on_one_pod(mesh: RunningMesh) -> None:
    calls = [{"tcp": "echo-by-source:9000", "send": "ping", "expect": "ping"} for _ in range(24)]
    mesh.apply(SOURCE_STAYS)
    assert len({answer["text"] for answer in mesh.call("client", *calls)}) == 2
    mesh.apply(SOURCE_STAYS + BY_SOURCE)
    assert len({answer["text"] for answer in mesh.call("client", *calls)}) == 1


@pytest.mark.parametrize("port", [3306, 9001], ids=["declared tcp", "detected"])
@pytest.mark.parametrize("caller", ["client", "outsider"])
def test_servers_that_speak_first_never_hang(mesh: RunningMesh, caller: str, port: int) -> None:
    answer = mesh.call(caller, {"tcp": f"echo:{port}", "expect": "\n", "timeout": 5})[0]
    assert answer["text"].startswith("banner v"), answer
    assert answer["seconds"] < 3


def test_http_on_a_port_without_a_name_is_detected_and_routed(mesh: RunningMesh) -> None:
    mesh.apply(SPLIT_TO_V2)
    found = mesh.get("client", "http://echo:8081/", repeat=20)
    assert found["versions"] == {"v2": 20}


def test_a_headless_service_reaches_the_pod_that_was_named(mesh: RunningMesh) -> None:
    for pod in ("web-0", "web-1"):
        answer = mesh.get("client", f"http://{pod}.web:8080/")
        assert answer["json"]["pod"] == pod
        text = mesh.call("client", {"tcp": f"{pod}.web:9000", "send": "x", "expect": "x"})[0]["text"]
        assert text.split()[2].startswith(pod)


def test_a_headless_service_reaches_all_its_pods(mesh: RunningMesh) -> None:
    found = mesh.get("client", "http://web:8080/", repeat=40)
    assert set(found["pods"]) == {"web-0", "web-1"}


@pytest.mark.parametrize("caller", ["client", "outsider"])
def test_meshed_and_unmeshed_pods_behind_one_service(mesh: RunningMesh, caller: str) -> None:
    calls = [{"url": "http://mixed/"} for _ in range(20)]
    answers = mesh.call(caller, *calls)
    assert {answer["status"] for answer in answers} == {200}
    assert {answer["json"]["pod"].rsplit("-", 2)[0] for answer in answers} == {"echo-v1", "legacy"}


def test_an_unmeshed_server(mesh: RunningMesh) -> None:
    assert mesh.get("client", "http://legacy/")["status"] == 200


def test_a_pod_by_its_address_passes_through(mesh: RunningMesh) -> None:
    address = mesh.pods("legacy")[0]["ip"]
    assert mesh.get("client", f"http://{address}:8080/")["status"] == 200
    undeclared = mesh.get("client", f"http://{address}:9999/")
    assert undeclared["status"] == 200


def test_unknown_destinations_are_refused_where_the_mesh_says_so(mesh: RunningMesh) -> None:
    address = mesh.pods("legacy")[0]["ip"]
    mesh.apply("""
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
""")
    unknown, raw, known = mesh.call(
        "client",
        {"url": f"http://{address}:80/", "headers": {"host": "unknown.example"}},
        {"tcp": f"{address}:9999", "send": "GET / HTTP/1.0\r\n\r\n", "expect": "HTTP", "timeout": 3},
        {"url": "http://echo/"},
    )
    # On demand nothing is sent for a host that nobody has: Envoy finds no route.
    assert unknown["status"] == (404 if mesh.on_demand else 502)
    assert "error" in raw
    assert known["status"] == 200


def test_outsiders_are_balanced_as_kube_proxy_would(mesh: RunningMesh) -> None:
    answers = mesh.call("outsider", *[{"url": "http://echo/"} for _ in range(30)])
    assert {answer["status"] for answer in answers} == {200}
    assert {answer["json"]["version"] for answer in answers} == {"v1", "v2"}


def test_hosts_of_odd_characters_pass_through(mesh: RunningMesh) -> None:
    hosts = ("a~b", "foo!bar", "a%20b", "user@echo", "echo,echo")
    with requests(mesh) as raw:
        assert raw.statuses(*map(get, hosts)) == [200] * len(hosts)


def test_hosts_that_are_none_are_answered_at_once(mesh: RunningMesh) -> None:
    hosts = ("*", "*.example", "a/b", "a" * 300, "", "[::1")
    with requests(mesh) as raw:
        answers = raw.send(*map(get, hosts))
    assert max(answer["seconds"] for answer in answers) < 2
