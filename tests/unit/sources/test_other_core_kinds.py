"""EndpointSlices, ConfigMaps, Secrets, and the mesh's own settings."""

from __future__ import annotations

from datetime import timedelta

import pytest

from model.problem_codes import ProblemCode
from model.problems import Position, Severity
from model.routing import RetryPolicy
from model.settings import MeshSettings, OutboundTraffic, PathNormalization
from sources.cluster_objects import (
    ConfigMap,
    EndpointSlice,
    Namespace,
    Secret,
    ServiceAccount,
    SliceEndpoint,
    SlicePort,
)
from sources.manifests import parse_documents
from sources.mesh_config import MESH_CONFIG


def value_of(text: str) -> object:
    parsed = parse_documents("f.yaml", text.encode())
    assert parsed.problems == ()
    return parsed.objects[0].value


def said(text: str) -> list[tuple[str, int, str]]:
    problems = parse_documents("f.yaml", text.encode()).problems
    return [(p.code, p.position.line if p.position else 0, p.field) for p in problems]


SLICE = """apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: %s
ports:
- {name: http, port: 8080, protocol: TCP, appProtocol: http}
- {name: any}
endpoints:
- addresses: [%s]
  conditions: {ready: false, serving: true, terminating: false}
  hostname: web-0
  nodeName: n
  zone: z
  targetRef: {kind: Pod, name: web-0, namespace: shop, uid: u}
- addresses: [10.0.0.2]
  targetRef: {kind: Node, name: node-1}
"""


def test_an_endpoint_slice() -> None:
    found = value_of(SLICE % ("IPv4", "10.0.0.1"))
    assert isinstance(found, EndpointSlice)
    assert found.service == "web"
    assert found.ports == (SlicePort(name="http", number=8080),)
    assert found.endpoints == (
        SliceEndpoint(addresses=("10.0.0.1",), ready=False, hostname="web-0", pod="web-0", pod_namespace="shop"),
        SliceEndpoint(addresses=("10.0.0.2",)),
    )


@pytest.mark.parametrize(
    ("kind", "address", "problem"),
    [
        ("FQDN", "10.0.0.1", (ProblemCode.NOT_IMPLEMENTED, 4, "addressType")),
        ("IP", "10.0.0.1", (ProblemCode.INVALID_VALUE, 4, "addressType")),
        ("IPv4", "web.example.com", (ProblemCode.INVALID_VALUE, 9, "endpoints[0].addresses[0]")),
    ],
)
def test_mistakes_in_slices(kind: str, address: str, problem: tuple[str, int, str]) -> None:
    assert said(SLICE % (kind, address)) == [problem]


def test_names_alone() -> None:
    found = value_of("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}}\nspec: {finalizers: []}")
    assert isinstance(found, Namespace)
    assert found.labels == {"a": "b"}
    account = value_of("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\nimagePullSecrets: []")
    assert isinstance(account, ServiceAccount)
    assert str(account.ref) == "ServiceAccount/default/web"


def test_data_is_bytes() -> None:
    found = value_of("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {b: é}\nbinaryData: {a: AAE=}\n")
    assert isinstance(found, ConfigMap)
    assert list(found.data.items()) == [("a", b"\x00\x01"), ("b", "é".encode())]
    secret = value_of(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: Opaque\ndata: {a: aGk=, b: aGk=}\n"
        "stringData: {b: own}\n"
    )
    assert isinstance(secret, Secret)
    assert secret.data == {"a": b"hi", "b": b"own"}
    assert "hi" not in repr(secret)


def test_what_is_not_base64_is_said_without_the_value() -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  ok: aGk=\n  password: hunter2!\n"
    assert said(text) == [(ProblemCode.INVALID_VALUE, 6, "data.password")]
    assert "hunter2" not in str(parse_documents("f.yaml", text.encode()).problems)


def mesh(text: str) -> str:
    inner = "".join(f"    {line}\n" for line in text.splitlines())
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    return f"{head}data:\n  mesh: |\n{inner}"


def settings(text: str) -> MeshSettings | None:
    found = value_of(mesh(text))
    assert isinstance(found, ConfigMap)
    return found.settings


def test_mesh_settings() -> None:
    assert settings(
        """rootNamespace: mesh
trustDomain: prod.example
trustDomainAliases: [old.example]
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
enableAutoMtls: false
pathNormalization: {normalization: MERGE_SLASHES}
defaultHttpRetryPolicy: {attempts: 5, perTryTimeout: 1s, retryOn: 5xx}
connectTimeout: 3s
protocolDetectionTimeout: 0s
accessLogFile: /dev/stdout
accessLogFormat: '{"protocol": "%PROTOCOL%"}'
accessLogEncoding: JSON
defaultVirtualServiceExportTo: ["."]
defaultDestinationRuleExportTo: ["."]
"""
    ) == MeshSettings(
        root_namespace="mesh",
        trust_domain="prod.example",
        trust_domain_aliases=("old.example",),
        outbound_traffic=OutboundTraffic.REGISTRY_ONLY,
        enable_auto_mtls=False,
        path_normalization=PathNormalization.MERGE_SLASHES,
        default_retries=RetryPolicy(attempts=5, per_try_timeout=timedelta(seconds=1), retry_on="5xx"),
        connect_timeout=timedelta(seconds=3),
        protocol_detection_timeout=timedelta(0),
        access_log_file="/dev/stdout",
        access_log_format='{"protocol": "%PROTOCOL%"}',
        access_log_json=True,
        default_export_to=(".",),
    )


@pytest.mark.parametrize(
    "text", ["{}", "# nothing", "pathNormalization: {normalization: DEFAULT}", "defaultServiceExportTo: null"]
)
def test_what_is_not_said_is_istios_default(text: str) -> None:
    assert settings(text) == MeshSettings()


def test_another_config_map_has_no_settings() -> None:
    found = value_of(mesh("a: b").replace("istio-system", "default"))
    assert isinstance(found, ConfigMap)
    assert found.settings is None


@pytest.mark.parametrize(
    ("text", "code", "line", "field"),
    [
        ("# c\ntrustDomain: A", ProblemCode.INVALID_VALUE, 7, "data.mesh.trustDomain"),
        ("trustDomainAliases:\n- a\n- '*'", ProblemCode.INVALID_VALUE, 8, "data.mesh.trustDomainAliases[1]"),
        ("rootNamespace: A", ProblemCode.INVALID_NAME, 6, "data.mesh.rootNamespace"),
        ("outboundTrafficPolicy:\n  mode: ALL", ProblemCode.INVALID_VALUE, 7, "data.mesh.outboundTrafficPolicy.mode"),
        ("accessLogfile: x", ProblemCode.UNKNOWN_FIELD, 6, "data.mesh.accessLogfile"),
        ("connectTimeout: 0s", ProblemCode.INVALID_VALUE, 6, "data.mesh.connectTimeout"),
        ("a: 1\na: 2", ProblemCode.DUPLICATE_KEY, 7, "data.mesh"),
        ("a: [", ProblemCode.MALFORMED_YAML, 7, "data.mesh"),
        ("- a", ProblemCode.WRONG_TYPE, 5, "data.mesh"),
        ("a: 1\n---\nb: 2", ProblemCode.WRONG_TYPE, 5, "data.mesh"),
    ],
)
def test_mistakes_in_mesh_settings(text: str, code: ProblemCode, line: int, field: str) -> None:
    found = parse_documents("f.yaml", mesh(text).encode())
    assert found.objects == ()
    problem = found.problems[0]
    assert (problem.severity, problem.code, problem.field) == (Severity.ERROR, code, field)
    assert problem.position is not None
    assert problem.position.line == line


def test_what_istio_knows_is_reported_and_harmless() -> None:
    parsed = parse_documents("f.yaml", mesh("defaultConfig:\n  discoveryAddress: x\nextensionProviders: []").encode())
    assert len(parsed.objects) == 1
    assert [(p.severity, p.code, p.field) for p in parsed.problems] == [
        (Severity.WARNING, ProblemCode.NOT_IMPLEMENTED, "data.mesh.defaultConfig"),
        (Severity.WARNING, ProblemCode.NOT_IMPLEMENTED, "data.mesh.extensionProviders"),
    ]


@pytest.mark.parametrize("path", ["/var/log/none/x.log", "/tmp", "x.log", "/dev/null", "/dev/stdout/"])
def test_an_access_log_goes_to_streams_alone(path: str) -> None:
    written = mesh(f"# c\naccessLogFile: {path}\ntrustDomain: a.b")
    parsed = parse_documents("f.yaml", written.encode())
    (problem,) = parsed.problems
    assert (problem.severity, problem.code) == (Severity.WARNING, ProblemCode.NOT_IMPLEMENTED)
    assert (problem.object, problem.field) == (MESH_CONFIG, "data.mesh.accessLogFile")
    assert problem.position == Position(file="f.yaml", line=7)
    assert repr(path) in problem.message
    assert "/dev/stdout" in problem.fix
    held = parsed.objects[0].value
    assert isinstance(held, ConfigMap)
    assert held.settings == MeshSettings(trust_domain="a.b")


def test_two_export_lists_that_differ_are_reported() -> None:
    text = "defaultVirtualServiceExportTo: ['.']\ndefaultDestinationRuleExportTo: ['*']\n"
    assert said(mesh(text)) == [(ProblemCode.NOT_IMPLEMENTED, 7, "data.mesh.defaultDestinationRuleExportTo")]
