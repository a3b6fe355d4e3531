"""The whole of Heddle in a cluster: its chart's Deployment, its webhook, real pods with the sidecars they got."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model.on_demand import SidecarConfig
from tests.certificates import make_certificate, tls_secret
from tests.cluster.build import ClusterUnavailable
from tests.cluster.client import CommandFailed
from tests.kubelet import mesh_manifests as manifests
from tests.kubelet.installed_mesh import NAMESPACE, Call, InstalledMesh, install, installed
from tests.kubelet.load import load
from tests.kubelet.running_cluster import Cluster, cluster_up, eventually
from tests.sidecar_modes import config as config  # the fixture
from tests.sidecar_modes import in_both_modes, parametrize_modes

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.network,
    pytest.mark.envoy,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="pods have users of their own, which only root can give them"),
    pytest.mark.skipif(os.environ.get("HEDDLE_SKIP_CLUSTER") == "1", reason="HEDDLE_SKIP_CLUSTER=1"),
]

CERTIFICATE_LIFE_SECONDS = 40
EDGE = "edge"
"""The namespace of gateways, whose Secrets Heddle may read."""
pytest_generate_tests = parametrize_modes


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with cluster_up() as cluster:
            cluster.kubectl("create", "namespace", EDGE)
            yield cluster
    except ClusterUnavailable as reason:
        pytest.fail(str(reason), pytrace=False)


@pytest.fixture(scope="module")
def mesh(cluster: Cluster, config: SidecarConfig) -> Iterator[InstalledMesh]:
    """Heddle there; what was installed before, for the other mode, is upgraded."""
    with installed(cluster, values(config)) as mesh:
        yield mesh


def values(config: SidecarConfig, **more: Any) -> dict[str, Any]:
    return {
        "replicas": 1,
        "certificateLife": f"{CERTIFICATE_LIFE_SECONDS}s",
        "logging": {"json": False},
        "gatewaySecretNamespaces": [EDGE],
        "sidecarConfig": {"mode": str(config)},
        **more,
    }


@pytest.fixture
def namespace(mesh: InstalledMesh) -> Iterator[str]:
    """A namespace of the test's own, whose pods are injected."""
    name = f"test-{secrets.token_hex(4)}"
    mesh.meshed_namespace(name)
    yield name
    mesh.cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def outsider(cluster: Cluster) -> tuple[str, str]:
    """A pod without a sidecar: its namespace and name."""
    cluster.kubectl("create", "namespace", "outside")
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", "outside", "--timeout=50s")
    cluster.apply(manifests.client("outsider"), "outside")
    cluster.ready("outside", "outsider")
    return "outside", "outsider"


def web_and_client(mesh: InstalledMesh, namespace: str, **server: Any) -> str:
    """A server behind the Service `web`, and a client that reaches it; the name of the server's (first) pod."""
    everything = manifests.server("web", **server) + manifests.service("web") + manifests.client("client")
    mesh.cluster.apply(everything, namespace)
    mesh.cluster.rolled_out(namespace, "deployment/web-v1")
    mesh.cluster.ready(namespace, "client")
    eventually(lambda: mesh.call(namespace, "client", "http://web/"), lambda call: call.status == 200)
    return mesh.cluster.pods(namespace, "app=web")[0]


def address_of(mesh: InstalledMesh, namespace: str, pod: str, version: int = 4) -> str:
    found = [one["ip"] for one in mesh.cluster.pod(namespace, pod)["status"]["podIPs"]]
    return str(next(ip for ip in found if (":" in ip) == (version == 6)))


@in_both_modes
def test_two_pods_talk_over_mutual_tls(mesh: InstalledMesh, namespace: str, config: SidecarConfig) -> None:
    web = web_and_client(mesh, namespace)
    assert mesh.on_demand()[namespace, "client"] is (config is SidecarConfig.ON_DEMAND)
    handshakes, requests = "^listener.*ssl.handshake$", "^http.*inbound.*downstream_rq_2xx$"
    before = mesh.counter(namespace, web, requests)
    call = mesh.call(namespace, "client", "http://web/")
    assert call.caller == f"spiffe://cluster.local/ns/{namespace}/sa/client"
    assert mesh.counter(namespace, web, handshakes) >= 1
    assert mesh.counter(namespace, web, requests) > before
    # And both really are pods that the webhook made: nothing of this is in the manifest.
    spec = mesh.cluster.pod(namespace, "client")["spec"]
    assert [each["name"] for each in spec["initContainers"]] == ["istio-init", "istio-proxy"]


def test_plaintext_is_taken_until_strict(mesh: InstalledMesh, namespace: str, outsider: tuple[str, str]) -> None:
    web_and_client(mesh, namespace)
    url = f"http://web.{namespace}/"
    taken = mesh.call(*outsider, url)
    assert (taken.status, taken.caller) == (200, "")
    mesh.cluster.apply(manifests.strict(), namespace)
    eventually(lambda: mesh.call(*outsider, url), lambda call: call.status == 0)
    refused = mesh.call(*outsider, url)
    assert "reset" in refused.error or "Empty reply" in refused.error, refused
    assert mesh.call(namespace, "client", "http://web/").status == 200


def test_a_namespace_joins_later(mesh: InstalledMesh) -> None:
    """Incremental adoption: the server first without a sidecar, then with one, and its caller never notices."""
    kubectl = mesh.cluster.kubectl
    with _namespaces(mesh) as (callers, servers):
        # Without a sidecar, an application that ends at once is still called by whoever has not heard of it: it waits
        # before it ends, as is usual.
        mesh.cluster.apply(manifests.server("web", pre_stop_seconds=3) + manifests.service("web"), servers)
        mesh.cluster.apply(manifests.client("client"), callers)
        mesh.cluster.rolled_out(servers, "deployment/web-v1")
        mesh.cluster.ready(callers, "client")
        url = f"http://web.{servers}/"
        plain = eventually(lambda: mesh.call(callers, "client", url), lambda call: call.status == 200)
        assert plain.caller == ""
        with load(mesh, callers, url) as summary:
            kubectl("label", "namespace", servers, "heddle.io/inject=enabled")
            kubectl("rollout", "restart", "-n", servers, "deployment/web-v1")
            mesh.cluster.rolled_out(servers, "deployment/web-v1")
            eventually(lambda: mesh.call(callers, "client", url).caller)
        assert mesh.call(callers, "client", url).caller == f"spiffe://cluster.local/ns/{callers}/sa/client"
        assert summary["failed"] == 0, summary


@contextlib.contextmanager
def _namespaces(mesh: InstalledMesh) -> Iterator[tuple[str, str]]:
    """One whose pods are injected, and one without."""
    meshed, plain = (f"{kind}-{secrets.token_hex(4)}" for kind in ("adopting", "adopted"))
    mesh.meshed_namespace(meshed)
    mesh.cluster.kubectl("create", "namespace", plain)
    mesh.cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", plain, "--timeout=50s")
    try:
        yield meshed, plain
    finally:
        for name in (meshed, plain):
            mesh.cluster.kubectl("delete", "namespace", name, "--wait=false")


@in_both_modes
def test_a_policy_lets_one_service_account_in(mesh: InstalledMesh, namespace: str) -> None:
    web_and_client(mesh, namespace)
    mesh.cluster.apply(manifests.client("other") + manifests.only_from(namespace, "client", app="web"), namespace)
    mesh.cluster.ready(namespace, "other")
    eventually(lambda: mesh.call(namespace, "other", "http://web/"), lambda call: call.status == 403)
    assert mesh.call(namespace, "client", "http://web/").status == 200


@in_both_modes
def test_changed_weights_are_followed(mesh: InstalledMesh, namespace: str) -> None:
    web_and_client(mesh, namespace)
    mesh.cluster.apply(manifests.server("web", version="v2"), namespace)
    mesh.cluster.rolled_out(namespace, "deployment/web-v2")

    def versions() -> set[str]:
        calls = [mesh.call(namespace, "client", "http://web/") for _ in range(12)]
        assert {call.status for call in calls} == {200}
        return {call.json["version"] for call in calls}

    for weights, expected in (({"v1": 100, "v2": 0}, {"v1"}), ({"v1": 0, "v2": 100}, {"v2"})):
        mesh.cluster.apply(manifests.split("web", weights), namespace)
        eventually(versions, lambda found, expected=expected: found == expected)
    mesh.cluster.apply(manifests.split("web", {"v1": 50, "v2": 50}), namespace)
    eventually(versions, lambda found: found == {"v1", "v2"})


@pytest.mark.parametrize(
    "check",
    ["httpGet: {path: /health, port: http}", "tcpSocket: {port: 8081}", "grpc: {port: 8082}"],
    ids=lambda text: text.partition(":")[0],
)
def test_probes_tell_the_applications_health_under_strict(mesh: InstalledMesh, namespace: str, check: str) -> None:
    probe = f"{{{check}, periodSeconds: 1, failureThreshold: 2, timeoutSeconds: 2}}"
    everything = manifests.strict() + manifests.server("web", probes=f"readinessProbe: {probe}")
    mesh.cluster.apply(everything, namespace)
    mesh.cluster.rolled_out(namespace, "deployment/web-v1")
    (web,) = mesh.cluster.pods(namespace, "app=web")
    for path, ready in (("sick", "false"), ("well", "true")):
        assert mesh.call(namespace, web, f"http://127.0.0.1:8080/{path}").status == 200
        mesh.cluster.kubectl("wait", "-n", namespace, f"--for=condition=Ready={ready}", f"pod/{web}", "--timeout=50s")


def test_the_application_starts_once_its_sidecar_works(mesh: InstalledMesh, namespace: str) -> None:
    web_and_client(mesh, namespace)
    # Its first and only try, made as its first deed.
    command = "[curl, -sS, --fail, --max-time, '5', 'http://web/']"
    mesh.cluster.apply(
        manifests.strict() + manifests.client("eager", command=command, spec="restartPolicy: Never"), namespace
    )
    phase = eventually(
        lambda: mesh.cluster.pod(namespace, "eager")["status"]["phase"], lambda found: found in ("Succeeded", "Failed")
    )
    said = mesh.cluster.nodes.log(namespace, "eager", "app")
    assert phase == "Succeeded", said
    assert f"ns/{namespace}/sa/eager" in said


JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: app, image: example/client:1, command: [curl, -sS, --fail, "http://web/"]}]
"""


def test_a_job_ends(mesh: InstalledMesh, namespace: str) -> None:
    web_and_client(mesh, namespace)
    mesh.cluster.apply(JOB, namespace)
    mesh.cluster.kubectl("wait", "-n", namespace, "--for=condition=Complete", "job/once", "--timeout=55s")
    (name,) = mesh.cluster.pods(namespace, "job-name=once")
    statuses = mesh.cluster.pod(namespace, name)["status"]["initContainerStatuses"]
    assert {each["name"]: "terminated" in each["state"] for each in statuses} == {
        "istio-init": True,
        "istio-proxy": True,
    }


def test_a_rollout_of_applications_that_end_at_once_fails_no_request(mesh: InstalledMesh, namespace: str) -> None:
    web_and_client(mesh, namespace, replicas=2)
    before = set(mesh.cluster.pods(namespace, "app=web"))
    with load(mesh, namespace) as summary:
        mesh.cluster.kubectl("rollout", "restart", "-n", namespace, "deployment/web-v1")
        mesh.cluster.rolled_out(namespace, "deployment/web-v1")
        for name in before:
            mesh.cluster.kubectl("wait", "-n", namespace, "--for=delete", f"pod/{name}", "--timeout=60s")
    assert summary["failed"] == 0, summary
    assert summary["answers"] > 50
    assert not before & set(mesh.cluster.pods(namespace, "app=web"))


def test_annotations_exclude_ports(mesh: InstalledMesh, namespace: str, outsider: tuple[str, str]) -> None:
    excluded = 'traffic.sidecar.istio.io/exclude{}Ports: "8080"'
    mesh.cluster.apply(
        manifests.strict()
        + manifests.server("web", annotations=excluded.format("Inbound"))
        + manifests.client("direct", annotations=excluded.format("Outbound")),
        namespace,
    )
    mesh.cluster.rolled_out(namespace, "deployment/web-v1")
    mesh.cluster.ready(namespace, "direct")
    (web,) = mesh.cluster.pods(namespace, "app=web")
    address = address_of(mesh, namespace, web)

    def banner() -> str:
        return mesh.call(*outsider, f"telnet://{address}:8081", "--max-time", "2").body

    # Its other port is captured, and takes no plaintext any more.
    eventually(banner, lambda text: not text.startswith("tcp"))
    assert mesh.call(*outsider, f"http://{address}:8080/").status == 200
    # Straight from the application to the application: neither sidecar has a part in it.
    direct = mesh.call(namespace, "direct", f"http://{address}:8080/")
    assert (direct.status, direct.caller) == (200, "")
    assert direct.json["peer"].endswith(address_of(mesh, namespace, "direct"))
    assert "x-request-id" not in direct.json["headers"]


def test_a_port_past_the_sidecar_is_called_in_plaintext(mesh: InstalledMesh, namespace: str) -> None:
    """By callers with a sidecar too, also where another pod of the same Service has the port captured."""
    excluded = 'traffic.sidecar.istio.io/excludeInboundPorts: "8080"'
    mesh.cluster.apply(manifests.server("web", version="v2", annotations=excluded), namespace)
    mesh.cluster.rolled_out(namespace, "deployment/web-v2")
    mesh.cluster.apply(manifests.service("web") + manifests.client("client"), namespace)
    mesh.cluster.ready(namespace, "client")
    alone = eventually(lambda: mesh.call(namespace, "client", "http://web/"), lambda call: call.status == 200)
    assert (alone.json["version"], alone.caller) == ("v2", "")
    mesh.cluster.apply(manifests.server("web"), namespace)
    mesh.cluster.rolled_out(namespace, "deployment/web-v1")

    def callers() -> dict[str, str]:
        calls = [mesh.call(namespace, "client", "http://web/") for _ in range(12)]
        assert {call.status for call in calls} == {200}
        return {call.json["version"]: call.caller for call in calls}

    both = {"v1": f"spiffe://cluster.local/ns/{namespace}/sa/client", "v2": ""}
    eventually(callers, lambda found: found == both)


def test_both_families_are_captured(mesh: InstalledMesh, namespace: str, outsider: tuple[str, str]) -> None:
    both = manifests.service("web", more="ipFamilyPolicy: RequireDualStack")
    mesh.cluster.apply(both, namespace)
    web = web_and_client(mesh, namespace)
    mesh.cluster.apply(manifests.strict(), namespace)
    six = address_of(mesh, namespace, web, 6)
    eventually(lambda: mesh.call(*outsider, f"http://[{six}]:8080/"), lambda call: call.status == 0)
    for version in ("-4", "-6"):
        call = eventually(
            lambda version=version: mesh.call(namespace, "client", "http://web/", version),
            lambda found: found.status == 200,
        )
        assert call.caller.endswith("/sa/client")


@pytest.mark.parametrize("kills", [8, pytest.param(20, marks=pytest.mark.soak)])
def test_the_control_plane_is_killed_again_and_again_under_load(
    mesh: InstalledMesh, namespace: str, kills: int
) -> None:
    web_and_client(mesh, namespace)
    mesh.cluster.apply(manifests.server("web", version="v2"), namespace)
    mesh.cluster.rolled_out(namespace, "deployment/web-v2")
    mesh.cluster.apply(manifests.split("web", {"v1": 100, "v2": 0}), namespace)
    (control_plane,) = mesh.control_planes()
    restarts = mesh.restarts(control_plane)
    killed: set[str] = set()
    with load(mesh, namespace) as summary:
        for number in range(kills):
            # Some while it starts, some once sidecars have found it again.
            if number % 4 == 0:
                eventually(lambda: (namespace, "client") in _connected(mesh))
            killed.update(eventually(lambda: mesh.signal_control_planes(signal.SIGKILL, besides=killed)))
        eventually(lambda: mesh.restarts(control_plane), lambda count: count == restarts + kills)
        mesh.cluster.rolled_out(NAMESPACE, "deployment/heddle")
        # It is the new one that is followed.
        mesh.cluster.apply(manifests.split("web", {"v1": 0, "v2": 100}), namespace)
        eventually(lambda: mesh.call(namespace, "client", "http://web/").json["version"], lambda found: found == "v2")
    assert len(killed) == kills
    assert summary["failed"] == 0, summary
    assert summary["answers"] > 100


def _connected(mesh: InstalledMesh) -> set[tuple[str, str]]:
    """While it starts again nobody is."""
    try:
        return mesh.connected()
    except (AssertionError, KeyError):
        return set()


@in_both_modes
def test_heddle_is_upgraded_under_load(mesh: InstalledMesh, namespace: str, config: SidecarConfig) -> None:
    """Another revision of its Deployment; the leader is told to end while sidecars are connected to it."""
    web_and_client(mesh, namespace)
    (old,) = mesh.control_planes()
    eventually(mesh.leader, lambda leader: leader == old)
    eventually(lambda: (namespace, "client") in mesh.connected())
    with load(mesh, namespace) as summary:
        # Other than before.
        install(mesh.cluster, values(config, logging={"json": False, "verbose": True}))
        mesh.cluster.kubectl("wait", "-n", NAMESPACE, "--for=delete", f"pod/{old}", "--timeout=90s")
        (new,) = mesh.control_planes()
        eventually(mesh.leader, lambda leader: leader == new)
        eventually(lambda: (namespace, "client") in mesh.connected())
        mesh.cluster.apply(manifests.marked("web", "upgraded"), namespace)
        eventually(lambda: _mark(mesh, namespace), lambda mark: mark == "upgraded")
    assert new != old
    assert summary["failed"] == 0, summary
    assert summary["answers"] > 100


def _mark(mesh: InstalledMesh, namespace: str) -> str:
    return str(mesh.call(namespace, "client", "http://web/").json["headers"].get("x-mark", ""))


def test_the_api_server_is_killed_and_restored_under_load(mesh: InstalledMesh, namespace: str) -> None:
    web = web_and_client(mesh, namespace)
    first = {pod: mesh.certificate(namespace, pod) for pod in ("client", web)}
    assert all(first.values())
    with load(mesh, namespace) as summary:
        mesh.cluster.control_plane.kill_api_server()
        try:
            with pytest.raises(CommandFailed):
                mesh.cluster.kubectl("get", "namespaces")
            # Renewed at half of their life, by a control plane that cannot ask anybody.
            for pod, serial in first.items():
                eventually(lambda pod=pod: mesh.certificate(namespace, pod), lambda now, serial=serial: now != serial)
        finally:
            mesh.cluster.control_plane.start_api_server()
        # What is written after it came back is caught up with.
        mesh.cluster.apply(manifests.marked("web", "restored"), namespace)
        eventually(lambda: _mark(mesh, namespace), lambda mark: mark == "restored")
    mesh.cluster.control_plane.restart_controllers()
    assert summary["failed"] == 0, summary
    assert summary["answers"] > 100


def test_a_gateway_serves_http_and_https(
    mesh: InstalledMesh, namespace: str, outsider: tuple[str, str], tmp_path: Path
) -> None:
    """Its pod is filled in by the webhook; its certificate is a Secret of a namespace that the chart's values name."""
    host = "site.example"
    mesh.cluster.kubectl("label", "namespace", EDGE, "heddle.io/inject=enabled", "--overwrite")
    mesh.cluster.apply(manifests.server("web") + manifests.service("web") + manifests.strict(), namespace)
    mesh.cluster.rolled_out(namespace, "deployment/web-v1")
    mesh.cluster.apply(manifests.behind_gateway("web", host, gateway=f"{EDGE}/public"), namespace)

    def secret(serial: int) -> Path:
        chain, key = make_certificate(host, serial=serial)
        mesh.cluster.apply(tls_secret("site-tls", EDGE, chain, key), EDGE)
        file = tmp_path / f"{serial}.pem"
        file.write_bytes(chain)
        return file

    first = secret(1)
    mesh.cluster.apply(manifests.gateway("edge", host, credential="site-tls"), EDGE)
    mesh.cluster.rolled_out(EDGE, "deployment/edge")
    (pod,) = mesh.cluster.pods(EDGE, "istio=edge")
    (container,) = mesh.cluster.pod(EDGE, pod)["spec"]["containers"]
    assert (container["name"], "envoy" in container["image"]) == ("istio-proxy", True)
    address = mesh.cluster.control_plane.admin.get("service", "edge", "-n", EDGE)["spec"]["clusterIP"]

    def call(scheme: str, certificate: Path) -> Call:
        port = {"http": 80, "https": 443}[scheme]
        options = ("--resolve", f"{host}:{port}:{address}", "--cacert", str(certificate))
        return mesh.call(*outsider, f"{scheme}://{host}/", *options)

    for scheme in ("http", "https"):
        found = eventually(lambda scheme=scheme: call(scheme, first), lambda call: call.status == 200)
        assert found.caller == f"spiffe://cluster.local/ns/{EDGE}/sa/default"
    # Another certificate is taken without a new pod.
    second = secret(2)
    eventually(lambda: call("https", second).status, lambda status: status == 200)
    refused = call("https", first)
    assert (refused.status, "certificate" in refused.error) == (0, True), refused
    assert mesh.cluster.pods(EDGE, "istio=edge") == [pod]


def test_r4_a_pod_that_is_gone_is_nobody(mesh: InstalledMesh, namespace: str) -> None:
    web_and_client(mesh, namespace)
    eventually(lambda: (namespace, "client") in mesh.connected())
    with mesh.cluster.nodes.paused():
        # The object goes, and nobody ends the processes: as on a node that was cut off.
        mesh.cluster.kubectl("delete", "pod", "client", "-n", namespace, "--force", "--grace-period=0")
        eventually(lambda: (namespace, "client") not in mesh.connected())
        serial = mesh.certificate(namespace, "client")
        until = time.monotonic() + CERTIFICATE_LIFE_SECONDS
        while time.monotonic() < until:
            assert mesh.certificate(namespace, "client") in (serial, "")
            time.sleep(1)
        assert (namespace, "client") not in mesh.connected()
        assert mesh.call(namespace, "client", "http://web/").status != 200


def test_every_namespace_has_the_roots(mesh: InstalledMesh) -> None:
    kubectl, get = mesh.cluster.kubectl, mesh.cluster.control_plane.admin.get
    kubectl("create", "namespace", "later")
    try:
        kubectl("wait", "--for=create", "configmap/heddle-root", "-n", "later", "--timeout=50s")
        roots = get("configmap", "heddle-root", "-n", "later")["data"]
        assert "BEGIN CERTIFICATE" in roots["root.pem"]
        kubectl("delete", "configmap", "heddle-root", "-n", "later")
        kubectl("wait", "--for=create", "configmap/heddle-root", "-n", "later", "--timeout=50s")
        assert get("configmap", "heddle-root", "-n", "later")["data"] == roots
    finally:
        kubectl("delete", "namespace", "later", "--wait=false")
