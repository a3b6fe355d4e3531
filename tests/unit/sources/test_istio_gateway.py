"""Gateway: field by field from the manifest to the model."""

from __future__ import annotations

import pytest

from model.gateways import Gateway, Server, ServerHost, ServerProtocol, ServerTls, TlsVersion
from model.problems import Severity
from sources.istio_gateway import OWN_PORTS
from sources.manifests import parse_documents
from translators.well_known_ports import METRICS, PROBES, READINESS

HTTPS = "port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.example]"


def parse(servers: str, version: str = "v1") -> Gateway:
    text = f"""
apiVersion: networking.istio.io/{version}
kind: Gateway
metadata: {{name: public, namespace: edge}}
spec: {{selector: {{app: edge}}, servers: {servers}}}
"""
    parsed = parse_documents("case.yaml", text.encode())
    assert not [problem for problem in parsed.problems if problem.severity is Severity.ERROR]
    (entry,) = parsed.objects
    assert isinstance(entry.value, Gateway)
    return entry.value


def one(server: str) -> Server:
    (found,) = parse(f"[{{{server}}}]").servers
    return found


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_every_version(version: str) -> None:
    found = parse("[{port: {number: 80, name: web, protocol: HTTP}, hosts: ['*']}]", version)
    assert found.name == "edge/public"
    assert found.selector == {"app": "edge"}
    assert found.servers == (
        Server(index=0, port=80, protocol=ServerProtocol.HTTP, port_name="web", hosts=(ServerHost(host="*"),)),
    )


@pytest.mark.parametrize("written", ["HTTP", "http", "HTTP2", "GRPC", "GRPC-WEB"])
def test_all_of_these_are_http(written: str) -> None:
    assert one(f"port: {{number: 80, name: a, protocol: {written}}}, hosts: [a]").protocol is ServerProtocol.HTTP


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("A.Example", ServerHost(host="a.example")),
        ("*.example", ServerHost(host="*.example")),
        ("shop/a.example", ServerHost(host="a.example", namespace="shop")),
        ("./a.example", ServerHost(host="a.example", namespace="edge")),
        ("*/a.example", ServerHost(host="a.example")),
        ("shop/*", ServerHost(host="*", namespace="shop")),
    ],
)
def test_hosts(written: str, host: ServerHost) -> None:
    assert one(f"port: {{number: 80, name: a, protocol: HTTP}}, hosts: ['{written}']").hosts == (host,)


def test_tls() -> None:
    fields = "minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_3, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]"
    found = one(f"{HTTPS}, tls: {{mode: SIMPLE, credentialName: shop-tls, {fields}}}")
    assert found.tls == ServerTls(
        credential="shop-tls",
        minimum=TlsVersion.TLSV1_2,
        maximum=TlsVersion.TLSV1_3,
        cipher_suites=("ECDHE-RSA-AES128-GCM-SHA256",),
    )


def test_redirect() -> None:
    assert one("port: {number: 80, name: a, protocol: HTTP}, hosts: [a], tls: {httpsRedirect: true}").https_redirect


@pytest.mark.parametrize("mode", ["MUTUAL", "PASSTHROUGH", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"])
def test_hosts_of_another_kind_of_tls_stay_taken_and_are_refused(mode: str) -> None:
    found = one(f"{HTTPS}, tls: {{mode: {mode}, credentialName: shop-tls}}")
    assert found.needs_tls
    assert found.tls is None


@pytest.mark.parametrize(
    "server",
    [
        "port: {number: 80, name: a, protocol: HTTP}, hosts: [a], bind: 127.0.0.1",
        "port: {number: 3306, name: a, protocol: MYSQL}, hosts: [a]",
    ],
)
def test_what_would_listen_otherwise_is_not_opened(server: str) -> None:
    assert parse(f"[{{{server}}}]").servers == ()


def test_a_gateways_own_ports_are_those_of_the_bootstrap() -> None:
    assert OWN_PORTS == (PROBES, READINESS, METRICS)
