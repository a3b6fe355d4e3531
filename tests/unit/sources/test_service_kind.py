"""Services: protocols, addresses, ports."""

from __future__ import annotations

import pytest

from model.problem_codes import ProblemCode
from model.services import Protocol, Resolution, Service, ServicePort
from sources.manifests import Parsed, parse_documents
from sources.services import select_protocol


def parse(spec: str) -> Parsed:
    text = f"apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n{spec}"
    return parse_documents("f.yaml", text.encode())


def service(spec: str) -> Service:
    parsed = parse(spec)
    assert parsed.problems == ()
    assert isinstance(parsed.objects[0].value, Service)
    return parsed.objects[0].value


@pytest.mark.parametrize(
    ("name", "app_protocol", "protocol"),
    [
        ("http", "", Protocol.HTTP),
        ("HTTP-api", "", Protocol.HTTP),
        ("http2", "", Protocol.HTTP2),
        ("http2-x", "", Protocol.HTTP2),
        ("http_proxy", "", Protocol.HTTP),
        ("grpc", "", Protocol.HTTP2),
        ("grpc-api", "", Protocol.HTTP2),
        ("grpc-web", "", Protocol.HTTP2),
        ("grpc-web-x", "", Protocol.HTTP2),
        ("https", "", Protocol.TLS),
        ("https-x", "", Protocol.TLS),
        ("tls-x", "", Protocol.TLS),
        ("tcp-x", "", Protocol.TCP),
        ("mongo", "", Protocol.TCP),
        ("mysql-a", "", Protocol.TCP),
        ("redis", "", Protocol.TCP),
        ("udp-x", "", Protocol.UDP),
        ("", "", Protocol.DETECT),
        ("web", "", Protocol.DETECT),
        ("httpx", "", Protocol.DETECT),
        ("xhttp", "", Protocol.DETECT),
        ("tcp", "http", Protocol.HTTP),
        ("http", "tcp", Protocol.TCP),
        ("http", "kubernetes.io/h2c", Protocol.HTTP2),
        ("x", "kubernetes.io/ws", Protocol.HTTP),
        ("x", "kubernetes.io/wss", Protocol.TLS),
        ("http", "example.com/own", Protocol.DETECT),
    ],
)
def test_protocol_selection(name: str, app_protocol: str, protocol: Protocol) -> None:
    assert select_protocol(number=8080, name=name, app_protocol=app_protocol) is protocol


@pytest.mark.parametrize("number", [25, 53, 3306, 27017])
def test_well_known_server_first_ports_are_not_detected(number: int) -> None:
    assert select_protocol(number=number, name="") is Protocol.TCP
    assert select_protocol(number=number, name="http") is Protocol.HTTP


def test_the_transport_comes_first() -> None:
    assert select_protocol(number=80, name="http", transport="UDP") is Protocol.UDP


def test_ports() -> None:
    found = service(
        "  type: NodePort\n  ports:\n  - {name: dns-udp, port: 53, protocol: UDP}\n  - {name: dns, port: 53}\n"
        "  - {name: http, port: 80, targetPort: web, nodePort: 30000}\n  - {name: a, port: 81, targetPort: '8081'}\n"
    )
    assert found.ports == (
        ServicePort(number=53, name="dns", protocol=Protocol.TCP, target=53),
        ServicePort(number=80, name="http", protocol=Protocol.HTTP, target="web"),
        ServicePort(number=81, name="a", protocol=Protocol.DETECT, target=8081),
        ServicePort(number=53, name="dns-udp", protocol=Protocol.UDP, target=53),
    )


@pytest.mark.parametrize("target", ["0", "''"])
def test_zero_and_an_empty_text_are_the_default(target: str) -> None:
    found = service(f"  type: ''\n  ports: [{{port: 80, protocol: '', targetPort: {target}}}]\n")
    assert found.ports == (ServicePort(number=80, name="", protocol=Protocol.DETECT, target=80),)


@pytest.mark.parametrize(
    ("spec", "resolution", "addresses"),
    [
        ("  ports: [{port: 80}]", Resolution.CLUSTER_IP, ()),
        ("  ports: [{port: 80}]\n  type: LoadBalancer", Resolution.CLUSTER_IP, ()),
        ("  ports: [{port: 80}]\n  clusterIP: 10.0.0.1", Resolution.CLUSTER_IP, ("10.0.0.1",)),
        ("  ports: [{port: 80}]\n  clusterIP: ''", Resolution.CLUSTER_IP, ()),
        (
            "  ports: [{port: 80}]\n  clusterIP: 10.0.0.1\n  clusterIPs: [10.0.0.1, 'FD00::0001']",
            Resolution.CLUSTER_IP,
            ("10.0.0.1", "fd00::1"),
        ),
        ("  ports: [{port: 80}]\n  clusterIP: None", Resolution.HEADLESS, ()),
        ("  clusterIP: None", Resolution.HEADLESS, ()),
        ("  type: ExternalName\n  externalName: DB.example.com.", Resolution.EXTERNAL_NAME, ()),
    ],
)
def test_resolution(spec: str, resolution: Resolution, addresses: tuple[str, ...]) -> None:
    found = service(spec)
    assert (found.resolution, found.addresses) == (resolution, addresses)


def test_the_rest() -> None:
    found = service(
        "  type: ExternalName\n  externalName: DB.example.com.\n  selector: {b: c, a: b}\n"
        "  publishNotReadyAddresses: true"
    )
    assert found.external_name == "db.example.com"
    assert list(found.selector) == ["a", "b"]
    assert found.publish_not_ready
    assert found.host == "web.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("spec", "code", "field"),
    [
        ("  ports: [{port: 0}]", ProblemCode.INVALID_VALUE, "spec.ports[0].port"),
        ("  ports: [{name: x}]", ProblemCode.MISSING_FIELD, "spec.ports[0].port"),
        ("  ports: [{port: 80, name: a}, {port: 81}]", ProblemCode.MISSING_FIELD, "spec.ports[1].name"),
        ("  ports: [{port: 80, name: a}, {port: 81, name: a}]", ProblemCode.INVALID_VALUE, "spec.ports[1].name"),
        ("  ports: [{port: 80, name: a}, {port: 80, name: b}]", ProblemCode.INVALID_VALUE, "spec.ports[1].port"),
        ("  ports: [{port: 80, protocol: tcp}]", ProblemCode.INVALID_VALUE, "spec.ports[0].protocol"),
        ("  ports: [{port: 80, protocol: SCTP}]", ProblemCode.NOT_IMPLEMENTED, "spec.ports[0].protocol"),
        ("  ports: [{port: 80, targetPort: 70000}]", ProblemCode.INVALID_VALUE, "spec.ports[0].targetPort"),
        ("  ports: [{port: 80, targetPort: [x]}]", ProblemCode.WRONG_TYPE, "spec.ports[0].targetPort"),
        ("  selector: {a: b}", ProblemCode.MISSING_FIELD, "spec.ports"),
        ("  ports: [{port: 80}]\n  clusterIP: 10.0.0.300", ProblemCode.INVALID_VALUE, "spec.clusterIP"),
        ("  ports: [{port: 80}]\n  type: Internal", ProblemCode.INVALID_VALUE, "spec.type"),
        ("  type: ExternalName", ProblemCode.MISSING_FIELD, "spec.externalName"),
        ("  type: ExternalName\n  externalName: a b", ProblemCode.INVALID_VALUE, "spec.externalName"),
        (
            "  ports: [{port: 80}]\n  internalTrafficPolicy: Local",
            ProblemCode.NOT_IMPLEMENTED,
            "spec.internalTrafficPolicy",
        ),
        ("  ports: [{port: 80}]\n  selectors: {}", ProblemCode.UNKNOWN_FIELD, "spec.selectors"),
    ],
)
def test_mistakes(spec: str, code: ProblemCode, field: str) -> None:
    assert [(problem.code, problem.field) for problem in parse(spec).problems] == [(code, field)]


def test_a_name_with_a_dot_is_no_service() -> None:
    parsed = parse_documents("f", b"apiVersion: v1\nkind: Service\nmetadata: {name: a.b}\nspec: {ports: [{port: 1}]}")
    assert [problem.code for problem in parsed.problems] == [ProblemCode.INVALID_NAME]
