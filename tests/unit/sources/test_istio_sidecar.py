"""Sidecar: field by field from the manifest to the model. What is refused is in tests/analyze/poison."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.problems import Severity
from model.services import Protocol
from model.settings import OutboundTraffic
from model.sidecars import Egress, EgressHost, Sidecar
from sources.istio_sidecar import MAX_EGRESS, MAX_HOSTS
from sources.istio_sidecar_listeners import PROTOCOLS
from sources.manifests import Parsed, parse_documents

EVERYTHING = EgressHost(namespace="*", host="*")


def parse_any(spec: str, version: str = "v1") -> Parsed:
    text = f"""
apiVersion: networking.istio.io/{version}
kind: Sidecar
metadata: {{name: case, namespace: shop}}
spec: {spec}
"""
    return parse_documents("case.yaml", text.encode())


def parse(spec: str, version: str = "v1", *told: str) -> Sidecar:
    parsed = parse_any(spec, version)
    assert sorted(str(problem.code) for problem in parsed.problems) == sorted(told)
    (entry,) = parsed.objects
    assert isinstance(entry.value, Sidecar)
    return entry.value


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_every_version(version: str) -> None:
    spec = """
  workloadSelector: {labels: {version: v1, app: web}}
  egress: [{hosts: [./*]}]
  outboundTrafficPolicy: {mode: ALLOW_ANY}"""
    found = parse(spec, version)
    assert str(found.ref) == "Sidecar/shop/case"
    assert found.selector == {"app": "web", "version": "v1"}
    assert found.egress == (Egress(hosts=(EgressHost(namespace=".", host="*"),)),)
    assert found.outbound_traffic is OutboundTraffic.ALLOW_ANY


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("*/*", EVERYTHING),
        ("./*", EgressHost(namespace=".", host="*")),
        ("bank/*", EgressHost(namespace="bank", host="*")),
        ("bank/Pay.Bank.svc.cluster.local", EgressHost(namespace="bank", host="pay.bank.svc.cluster.local")),
        ("*/*.example.com", EgressHost(namespace="*", host="*.example.com")),
        ("~/*", EgressHost(namespace="*", host="*", excluded=True)),
        ("~*/a.b", EgressHost(namespace="*", host="a.b", excluded=True)),
        ("~./a.b", EgressHost(namespace=".", host="a.b", excluded=True)),
        ("~bank/*", EgressHost(namespace="bank", host="*", excluded=True)),
    ],
)
def test_hosts(written: str, host: EgressHost) -> None:
    assert parse(f'{{egress: [{{hosts: ["{written}"]}}]}}').egress == (Egress(hosts=(host,)),)


def test_ports() -> None:
    found = parse("""
  egress:
  - {port: {number: 9080, protocol: http, name: web}, captureMode: IPTABLES, hosts: ["*/*"]}
  - {port: {number: 3306, protocol: MYSQL}, hosts: ["*/*"]}
  - {port: {number: 81}, hosts: ["*/*"]}
  - {captureMode: DEFAULT, hosts: ["*/*"]}""")
    assert found.egress == (
        Egress(index=0, port=9080, protocol=Protocol.HTTP, hosts=(EVERYTHING,)),
        Egress(index=1, port=3306, protocol=Protocol.TCP, hosts=(EVERYTHING,)),
        Egress(index=2, port=81, hosts=(EVERYTHING,)),
        Egress(index=3, hosts=(EVERYTHING,)),
    )


def test_an_entry_that_opens_nothing_leaves_no_more_than_the_others() -> None:
    socket = "{port: {protocol: HTTP}, bind: 'unix:///run/a.sock', hosts: ['*/*']}"
    proxy = "{port: {number: 3128, protocol: HTTP_PROXY}, hosts: ['*/*']}"
    assert parse(f"{{egress: [{socket}]}}", "v1", "NotImplemented").egress == ()
    found = parse(f"{{egress: [{proxy}, {{hosts: [./*]}}]}}", "v1", "NotImplemented").egress
    assert found == (Egress(index=1, hosts=(EgressHost(namespace=".", host="*"),)),)


@pytest.mark.parametrize("egress", ["", "egress: [], ", "egress: null, "])
def test_without_egress_everything_may_be_called(egress: str) -> None:
    found = parse(f"{{{egress}outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}}}")
    assert found.egress is None
    assert not found.is_limiting


def test_a_policy_without_mode_is_the_first_of_istios() -> None:
    assert parse("{outboundTrafficPolicy: {}}").outbound_traffic is OutboundTraffic.REGISTRY_ONLY
    assert parse('{egress: [{hosts: ["*/*"]}]}').outbound_traffic is None


def test_an_empty_selector_is_one() -> None:
    assert parse("{workloadSelector: {}, outboundTrafficPolicy: {}}", "v1", "MissingField").selector == {}
    assert parse("{outboundTrafficPolicy: {}}").selector is None


def test_what_has_no_effect_is_told_and_the_rest_is_in_force() -> None:
    spec = """
  ingress:
  - {port: {number: 9080, protocol: HTTP, name: a}, bind: 10.0.0.1, captureMode: NONE, defaultEndpoint: "[::1]:8080"}
  - {port: {number: 9081}, defaultEndpoint: "unix://@abstract"}
  - {port: {number: 9082}, defaultEndpoint: ":8080", connectionPool: {tcp: {maxConnections: 5}}}
  - port: {number: 9443, protocol: https}
    tls: {mode: MUTUAL, serverCertificate: /a, privateKey: /b, caCertificates: /c, minProtocolVersion: TLSV1_2}
  egress: [{port: {number: 80}, bind: "::1", captureMode: NONE, hosts: [./*]}]
  inboundConnectionPool: {http: {http1MaxPendingRequests: 5}}
  outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: proxy, port: {number: 3128}}}"""
    found = parse(spec, "v1", *["NotImplemented"] * 5)
    assert found.egress == (Egress(port=80, hosts=(EgressHost(namespace=".", host="*"),)),)
    fields = sorted(problem.field for problem in parse_any(spec).problems)
    assert fields == [
        "spec.egress[0].bind",
        "spec.egress[0].captureMode",
        "spec.inboundConnectionPool",
        "spec.ingress",
        "spec.outboundTrafficPolicy.egressProxy",
    ]
    assert {problem.severity for problem in parse_any(spec).problems} == {Severity.WARNING}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol(protocol: str) -> None:
    ingress = f"{{ingress: [{{port: {{number: 9080, protocol: {protocol.lower()}}}}}]}}"
    assert not parse_any(ingress).rejected


@pytest.mark.parametrize(
    "spec",
    [
        {"egress": [{"port": {"number": 1 + port}, "hosts": ["*/*"]} for port in range(MAX_EGRESS + 1)]},
        {"egress": [{"hosts": [f"*/h{number}.example.com" for number in range(MAX_HOSTS + 1)]}]},
        {"ingress": [{"port": {"number": 1 + port}} for port in range(1001)]},
    ],
)
def test_there_are_limits(spec: dict[str, object]) -> None:
    assert "TooLarge" in [problem.code for problem in parse_any(json.dumps(spec)).problems]


def test_many_hosts_are_compared_quickly() -> None:
    hosts = [f"*/h{number}.example.com" for number in range(MAX_HOSTS)]
    assert parse(json.dumps({"egress": [{"hosts": hosts}]})).is_limiting


names = st.text("abz09-.*~/", max_size=8)


@given(st.lists(st.builds("{}/{}".format, names, names), min_size=1, max_size=4))
def test_whatever_is_taken_for_a_host_is_one(hosts: list[str]) -> None:
    """A host that is read has a namespace's name, or a sign for one, and a whole DNS name or wildcard of one."""
    for entry in parse_any(json.dumps({"egress": [{"hosts": hosts}]})).objects:
        assert isinstance(entry.value, Sidecar)
        for written, found in zip(hosts, (entry.value.egress or ())[0].hosts, strict=True):
            owner, _, host = written.partition("/")
            assert found.host == host
            assert found.excluded == owner.startswith("~")
            assert found.namespace in (owner.removeprefix("~"), "*" if owner == "~" else None)
            assert found.host == "*" or "." in found.host
            assert "*" not in found.host.removeprefix("*.") or found.host == "*"
