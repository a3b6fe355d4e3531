"""Names parse back to what printed them, and nothing else parses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.identity import SpiffeId, parse_spiffe_id
from model.names import (
    AddressCluster,
    InboundCluster,
    OutboundCluster,
    RouteTable,
    VirtualHostName,
    is_address_cluster,
    parse_address_cluster,
    parse_cluster_name,
    parse_credential_secret,
    parse_gateway_listener,
    parse_gateway_table,
    parse_gateway_virtual_host,
    parse_route_table,
    parse_virtual_host_name,
    to_fqdn,
)

ports = st.integers(1, 65535)
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
hosts = st.lists(labels, min_size=1, max_size=5).map(".".join)
segments = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,30}", fullmatch=True)


@given(ports, st.one_of(st.just(""), labels), hosts)
def test_outbound_cluster_round_trip(port: int, subset: str, host: str) -> None:
    name = OutboundCluster(port=port, subset=subset, host=host)
    assert parse_cluster_name(str(name)) == name


@given(ports)
def test_inbound_cluster_and_route_table_round_trip(port: int) -> None:
    assert parse_cluster_name(str(InboundCluster(port=port))) == InboundCluster(port=port)
    assert parse_route_table(str(RouteTable(port=port))) == RouteTable(port=port)


@given(st.ip_addresses().map(str), ports)
def test_address_cluster_round_trip(address: str, port: int) -> None:
    name = AddressCluster(address=address, port=port)
    assert is_address_cluster(str(name))
    assert parse_address_cluster(str(name)) == name


@pytest.mark.parametrize(
    "text",
    ["", "tcp|", "10.1.2.3:80", "tcp|10.1.2.3", "tcp|10.1.2.3:0", "tcp|10.1.2.3:080", "tcp|10.1.2:80", "tcp|fd00::1:80",
     "tcp|[10.1.2.3]:80", "tcp|[fd00::1]", "tcp|[fd00::01]:80", "tcp|[FD00::1]:80", "tcp|[fe80::1%eth0]:80",
     "tcp|db.example.com:80", "tcp|010.1.2.3:80", " tcp|10.1.2.3:80", "tcp|10.1.2.3:80 "],
)  # fmt: skip
def test_no_cluster_of_an_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|names no|is not how|appear to be"):
        parse_address_cluster(text)


def test_addresses_as_envoy_prints_them() -> None:
    assert str(AddressCluster(address="10.1.2.3", port=80)) == "tcp|10.1.2.3:80"
    assert str(AddressCluster(address="fd00::1", port=80)) == "tcp|[fd00::1]:80"


@given(ports, st.one_of(hosts, st.just("*"), hosts.map("*.{}".format)))
def test_virtual_host_round_trip(port: int, host: str) -> None:
    name = VirtualHostName(port=port, host=host)
    assert parse_virtual_host_name(str(name)) == name


@pytest.mark.parametrize(
    "text",
    ["", "outbound", "outbound|80|v1", "outbound|0||a", "outbound|080||a", "outbound|65536||a", "outbound|80||",
     "inbound|80|x|", "inbound|x||", "PassthroughCluster", "outbound|٨٠||a", "outbound|1|2|3|4"],
)  # fmt: skip
def test_no_cluster_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|names no cluster"):
        parse_cluster_name(text)


@pytest.mark.parametrize("text", ["", "80", "80/a", "80/a:81", "/a:80", "80/:80", "x/a:x", "a:80", "0/a:0"])
def test_no_virtual_host_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|names no virtual host"):
        parse_virtual_host_name(text)


@given(segments, segments)
def test_spiffe_id_round_trip(namespace: str, account: str) -> None:
    identity = SpiffeId(namespace=namespace, service_account=account)
    assert parse_spiffe_id(str(identity)) == identity


@given(st.text(max_size=60))
def test_a_spiffe_id_that_parses_prints_the_same(text: str) -> None:
    for candidate in (text, f"spiffe://{text}", f"spiffe://cluster.local/ns/{text}/sa/{text}"):
        try:
            identity = parse_spiffe_id(candidate)
        except ValueError:
            continue
        assert str(identity) == candidate


@pytest.mark.parametrize(
    "text",
    ["spiffe://a/ns/../sa/x", "spiffe://a/ns/x/sa/", "spiffe://A/ns/x/sa/y", "spiffe://a:1/ns/x/sa/y", "http://a/ns/x/sa/y",
     "spiffe://a/ns/x/sa/y/", "spiffe://a/ns/x/sa/y?z", "spiffe://a/ns/%41/sa/y", "spiffe://a/ns/x/sa/" + "y" * 2048],
)  # fmt: skip
def test_no_spiffe_id(text: str) -> None:
    with pytest.raises(ValueError):
        parse_spiffe_id(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("users", "users.shop.svc.cluster.local"),
        ("Users", "users.shop.svc.cluster.local"),
        ("users.other", "users.other"),
        ("*.example.com", "*.example.com"),
        ("*", "*"),
    ],
)
def test_short_names_mean_the_objects_namespace(host: str, expected: str) -> None:
    assert to_fqdn(host, "shop") == expected


@pytest.mark.parametrize(
    "text",
    ["http.8080", "https.443.https.public.edge", "https.443.https.my.gate.way.edge"],
)
def test_tables_of_gateways_parse_back(text: str) -> None:
    assert str(parse_gateway_table(text)) == text
    host = f"{text}/*.shop.example:{parse_gateway_table(text).port}"
    assert str(parse_gateway_virtual_host(host)) == host


@pytest.mark.parametrize(
    "text", ["80", "http.0", "http.80.x", "https.443.https.edge", "https.443..public.edge", "https.x.a.b.c", ""]
)
def test_what_is_no_table_of_a_gateway(text: str) -> None:
    with pytest.raises(ValueError):
        parse_gateway_table(text)
    with pytest.raises(ValueError):
        parse_gateway_virtual_host(f"{text}/a:80")


def test_a_virtual_host_is_of_its_tables_port() -> None:
    with pytest.raises(ValueError):
        parse_gateway_virtual_host("http.8080/a.example:80")


def test_listeners_and_secrets_of_gateways_parse_back() -> None:
    assert parse_gateway_listener("0.0.0.0_8080").port == 8080
    assert parse_credential_secret("kubernetes://shop-tls").name == "shop-tls"
    assert str(parse_gateway_listener("0.0.0.0_8080")) == "0.0.0.0_8080"
    assert str(parse_credential_secret("kubernetes://shop-tls")) == "kubernetes://shop-tls"
    for wrong in ("0.0.0.0_", "0.0.0.0_x", "::_80", "virtualInbound"):
        with pytest.raises(ValueError):
            parse_gateway_listener(wrong)
    for wrong in ("shop-tls", "kubernetes://", "kubernetes://other/shop-tls"):
        with pytest.raises(ValueError):
            parse_credential_secret(wrong)
