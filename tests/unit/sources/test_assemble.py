"""Endpoints, inbound ports and indices of the assembled mesh."""

from __future__ import annotations

import pytest

from model.identity import SpiffeId
from model.mesh import Mesh
from model.pods import ContainerPort, Pod
from model.problems import ObjectRef
from model.services import Endpoint, Locality, Protocol
from sources.store import Store

HOST = "web.shop.svc.cluster.local"
IDENTITY = SpiffeId(namespace="shop", service_account="default")


def pod(name: str, address: str = "10.0.0.1", **other: object) -> Pod:
    fields: dict[str, object] = {
        "ref": ObjectRef(kind="Pod", namespace="shop", name=name),
        "labels": {"app": "web"},
        "addresses": (address,) if address else (),
        "ready": True,
        "meshed": True,
    }
    return Pod(**{**fields, **other})  # type: ignore[arg-type]  # the tests name the fields


def service(spec: str, name: str = "web") -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{{spec}}}\n"


def mesh(text: str, *pods: Pod) -> Mesh:
    store = Store()
    store.replace_file("a.yaml", text.encode())
    store.observe(pods, {})
    assert [problem for problem in store.problems if problem.severity == "error"] == []
    return store.mesh


def test_endpoints_of_selected_pods() -> None:
    found = mesh(
        service("selector: {app: web}, ports: [{name: http, port: 80, targetPort: web}, {name: x, port: 81}]"),
        pod("b", "10.0.0.2", ports=(ContainerPort(number=8080, name="web"),), locality=Locality(region="r")),
        pod("a", "10.0.0.10", ports=(ContainerPort(number=9090, name="web"),), meshed=False, ready=False),
        pod("other", "10.0.0.3", labels={"app": "db"}),
        pod("pending", ""),
        pod("v6", "fd00::1"),
    )
    assert found.endpoints[HOST] == (
        Endpoint(address="10.0.0.10", ports={80: 9090, 81: 81}, labels={"app": "web"}, ready=False),
        Endpoint(
            address="10.0.0.2",
            ports={80: 8080, 81: 81},
            labels={"app": "web"},
            identity=IDENTITY,
            meshed=True,
            locality=Locality(region="r"),
        ),
        Endpoint(address="fd00::1", ports={81: 81}, labels={"app": "web"}, identity=IDENTITY, meshed=True),
    )
    assert found.identities[HOST] == {IDENTITY}


def test_a_selector_wants_all_its_labels_in_its_namespace() -> None:
    found = mesh(
        service("selector: {app: web, version: v1}, ports: [{port: 80}]"),
        pod("a", "10.0.0.1", labels={"app": "web", "version": "v1", "more": "x"}),
        pod("b", "10.0.0.2", labels={"app": "web", "version": "v2"}),
        pod(
            "c", "10.0.0.3", labels={"app": "web", "version": "v1"}, ref=ObjectRef(kind="Pod", namespace="db", name="c")
        ),
    )
    assert [endpoint.address for endpoint in found.endpoints[HOST]] == ["10.0.0.1"]


def test_pods_without_the_named_port_are_no_endpoints() -> None:
    found = mesh(service("selector: {app: web}, ports: [{port: 80, targetPort: web}]"), pod("a"))
    assert found.endpoints[HOST] == ()


def test_unready_pods_can_be_published() -> None:
    text = service("selector: {app: web}, publishNotReadyAddresses: true, ports: [{port: 80}]")
    assert [endpoint.ready for endpoint in mesh(text, pod("a", ready=False)).endpoints[HOST]] == [True]


@pytest.mark.parametrize(
    ("annotations", "ports"),
    [
        ({}, set()),
        ({"excludeInboundPorts": "9090"}, {81}),
        ({"includeInboundPorts": "8080, 9999"}, {81, 82}),
        ({"includeInboundPorts": ""}, {80, 81, 82}),
        ({"includeInboundPorts": "*", "excludeInboundPorts": "8080"}, {80}),
        ({"excludeInboundPorts": "many"}, set()),
    ],
)
def test_service_ports_that_lead_past_a_sidecar(annotations: dict[str, str], ports: set[int]) -> None:
    text = service(
        "selector: {app: web}, ports: [{name: a, port: 80, targetPort: 8080}, {name: b, port: 81, targetPort: 9090},"
        " {name: c, port: 82, targetPort: 7070}]"
    )
    of_it = {f"traffic.sidecar.istio.io/{name}": value for name, value in annotations.items()}
    found = mesh(text, pod("a", annotations=of_it), pod("b", "10.0.0.2", annotations=of_it, meshed=False))
    assert [set(endpoint.uncaptured) for endpoint in found.endpoints[HOST]] == [ports, set()]
    assert found.uncaptured_ports == ({HOST: ports} if ports else {})


def test_the_sidecars_own_ports_are_never_captured() -> None:
    found = mesh(service("selector: {app: web}, ports: [{port: 15090}]"), pod("a"))
    assert found.uncaptured_ports == {HOST: {15090}}


STATEFUL = """---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec: {serviceName: web, selector: {}, template: {spec: {containers: [{name: c}]}}}
"""


@pytest.mark.parametrize(
    ("spec", "extra", "one", "hostname"),
    [
        ("clusterIP: None", "", pod("db-0", hostname="first", subdomain="web"), "first"),
        ("clusterIP: None", "", pod("db-0", hostname="first", subdomain="other"), ""),
        ("clusterIP: None", STATEFUL, pod("db-0", workload="db"), "db-0"),
        ("clusterIP: None", STATEFUL, pod("db-0", workload="other"), ""),
        ("type: ClusterIP", STATEFUL, pod("db-0", workload="db", hostname="first", subdomain="web"), ""),
    ],
)
def test_host_names_behind_headless_services(spec: str, extra: str, one: Pod, hostname: str) -> None:
    found = mesh(service(f"{spec}, selector: {{app: web}}, ports: [{{port: 80}}]") + extra, one)
    assert [endpoint.hostname for endpoint in found.endpoints[HOST]] == [hostname]


def test_an_external_name_has_no_endpoints() -> None:
    text = service("type: ExternalName, externalName: a.b, selector: {app: web}, ports: [{port: 80}]")
    found = mesh(text, pod("a"))
    assert found.endpoints[HOST] == ()
    assert found.inbound_ports["shop", "a"] == ()
    assert found.hosts_on_port == {80: (HOST,)}


SLICE = """---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: %s
ports: [{name: http, port: 8080}]
endpoints: [%s]
"""


def test_endpoint_slices_come_before_the_selector() -> None:
    found = mesh(
        service("selector: {app: web}, ports: [{name: http, port: 80}, {name: x, port: 81}]")
        + SLICE % ("a", "IPv4", "{addresses: [10.0.0.1], targetRef: {kind: Pod, name: a}}, {addresses: [10.9.0.9]}")
        + SLICE
        % ("b", "IPv6", "{addresses: ['fd00::1'], targetRef: {kind: Pod, name: a}, conditions: {ready: false}}"),
        pod("a", "10.0.0.1", addresses=("10.0.0.1", "fd00::1")),
        pod("b", "10.0.0.2"),
    )
    assert found.endpoints[HOST] == (
        Endpoint(address="10.0.0.1", ports={80: 8080}, labels={"app": "web"}, identity=IDENTITY, meshed=True),
        Endpoint(address="10.9.0.9", ports={80: 8080}),
    )


@pytest.mark.parametrize(
    ("conditions", "ready", "draining"),
    [
        ("ready: false, serving: true, terminating: true", False, True),
        ("ready: false, terminating: true", False, True),
        ("ready: false, serving: false, terminating: true", False, False),
        ("ready: false, serving: true", False, False),
        ("ready: true, serving: true, terminating: false", True, False),
    ],
)
def test_an_endpoint_that_ends_and_still_serves_is_draining(conditions: str, ready: bool, draining: bool) -> None:
    found = mesh(
        service("ports: [{name: http, port: 80}]")
        + SLICE % ("a", "IPv4", f"{{addresses: [10.0.0.1], conditions: {{{conditions}}}}}"),
    )
    assert [(each.ready, each.draining) for each in found.endpoints[HOST]] == [(ready, draining)]


def test_a_slices_pod_is_found_by_its_address_and_later_too() -> None:
    store = Store()
    text = service("ports: [{name: http, port: 80}]") + SLICE % ("a", "IPv4", "{addresses: [10.0.0.1]}")
    store.replace_file("a.yaml", text.encode())
    assert [endpoint.meshed for endpoint in store.mesh.endpoints[HOST]] == [False]
    store.observe([pod("a")], {})
    assert [endpoint.meshed for endpoint in store.mesh.endpoints[HOST]] == [True]
    store.replace_file("a.yaml", service("ports: [{name: http, port: 80}]").encode())
    assert store.mesh.endpoints[HOST] == ()


@pytest.mark.parametrize(
    ("services", "containers", "ports"),
    [
        (["ports: [{name: http, port: 80, targetPort: 8080}]"], (8080, 9090), {8080: "http", 9090: "detect"}),
        (["ports: [{name: http, port: 80}]", "ports: [{name: tcp, port: 80}]"], (), {80: "detect"}),
        (["ports: [{name: http, port: 80}]", "ports: [{name: http2, port: 80}]"], (), {80: "detect"}),
        (["ports: [{name: http, port: 80}]", "ports: [{port: 80}]"], (), {80: "detect"}),
        (["ports: [{name: tls, port: 443}]", "ports: [{name: tcp, port: 443}]"], (), {443: "tcp"}),
        (["ports: [{name: http, port: 80}]", "ports: [{name: http-b, port: 81, targetPort: 80}]"], (), {80: "http"}),
        (["ports: [{name: dns, port: 53, protocol: UDP}]"], (), {}),
        (["clusterIP: None, ports: [{name: grpc, port: 80}]"], (), {80: "http2"}),
    ],
)
def test_inbound_ports(services: list[str], containers: tuple[int, ...], ports: dict[int, str]) -> None:
    text = "---\n".join(service(f"selector: {{app: web}}, {spec}", f"s{index}") for index, spec in enumerate(services))
    declared = (*(ContainerPort(number=number) for number in containers), ContainerPort(number=5, protocol="UDP"))
    found = mesh(text, pod("a", ports=declared)).inbound_ports["shop", "a"]
    assert {port.number: port.protocol.value for port in found} == ports


def test_inbound_ports_follow_their_services() -> None:
    store = Store()
    store.observe([pod("a"), pod("b", labels={"app": "b"})], {})
    assert store.mesh.inbound_ports["shop", "a"] == ()
    before = store.mesh.inbound_ports["shop", "b"]
    store.replace_file("a.yaml", service("selector: {app: web}, ports: [{name: http, port: 80}]").encode())
    assert [port.protocol for port in store.mesh.inbound_ports["shop", "a"]] == [Protocol.HTTP]
    assert store.mesh.inbound_ports["shop", "b"] is before
    store.replace_file("a.yaml", service("selector: {app: web}, ports: [{name: tcp, port: 80}]").encode())
    assert [port.protocol for port in store.mesh.inbound_ports["shop", "a"]] == [Protocol.TCP]
    store.replace_file("a.yaml", None)
    assert store.mesh.inbound_ports["shop", "a"] == ()


def test_a_new_trust_domain_is_a_new_identity() -> None:
    store = Store()
    store.observe([pod("a")], {})
    store.replace_file("a.yaml", service("selector: {app: web}, ports: [{port: 80}]").encode())
    settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    settings += "data: {mesh: 'trustDomain: x.y'}"
    store.replace_file("b.yaml", settings.encode())
    assert [identity.trust_domain for identity in store.mesh.identities[HOST]] == ["x.y"]


def test_every_index_is_sorted() -> None:
    found = mesh(
        service("ports: [{port: 90, name: a}, {port: 80, name: b}, {port: 53, name: c, protocol: UDP}]", "b")
        + "---\n"
        + service("ports: [{port: 80}]", "a")
    )
    assert found.hosts == ("a.shop.svc.cluster.local", "b.shop.svc.cluster.local")
    assert list(found.hosts_on_port.items()) == [(80, found.hosts), (90, found.hosts[1:])]
