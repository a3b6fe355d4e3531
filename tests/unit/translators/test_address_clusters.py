"""Clusters of addresses: their service's port as bytes, in the caller's scope, and something for every address."""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType, ClusterLbPolicy
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import UpstreamTlsContext

from model.asker import Asker, Capture
from model.mesh import Mesh
from model.names import AddressCluster
from model.on_demand import Wanted
from model.pods import ProxyKind
from model.problems import ObjectRef
from model.services import Protocol
from model.settings import OutboundTraffic
from model.sidecars import Egress, EgressHost, Sidecar, SidecarChoice
from model.traffic import ClientTls, ConnectionPool, SimpleBalancer, TlsMode, TrafficPolicy
from model.view import view_of
from protos.type_urls import CLUSTER
from tests.unit.translators.outbound_meshes import endpoint, mesh, rule, seen_from, service
from translators.address_clusters import build_address_cluster
from translators.resources import answering, derive

DATABASE = AddressCluster(address="10.96.0.1", port=5432)
HOST = "db.shop.svc.cluster.local"
OUTBOUND = f"outbound|5432||{HOST}"


def database(protocol: Protocol = Protocol.TCP, *, policy: TrafficPolicy | None = None) -> Mesh:
    db = service("db", (5432, protocol), addresses=(DATABASE.address, "fd00::1"))
    pods = {HOST: (endpoint("10.2.0.1", 5432), endpoint("10.2.0.2", 5432, account="other"))}
    return mesh([db], endpoints=pods, rules=[rule(HOST, policy=policy)] if policy else [])


def built(snapshot: Mesh, name: AddressCluster = DATABASE) -> Cluster:
    cluster = build_address_cluster(name, seen_from(snapshot, on_demand=True))
    assert cluster is not None
    assert cluster.name == str(name)
    return cluster


def tls_of(cluster: Cluster) -> UpstreamTlsContext:
    socket = cluster.transport_socket or cluster.transport_socket_matches[0].transport_socket
    assert socket is not None
    assert socket.typed_config is not None
    return UpstreamTlsContext.parse(socket.typed_config.value)


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.TLS, Protocol.DETECT, Protocol.HTTP])
def test_it_is_the_service_s_port_as_bytes_whatever_else_the_port_may_carry(protocol: Protocol) -> None:
    cluster = built(database(protocol))
    assert cluster.alt_stat_name == OUTBOUND
    assert cluster.eds_cluster_config is not None
    assert cluster.eds_cluster_config.service_name == OUTBOUND
    assert not cluster.typed_extension_protocol_options
    tls = tls_of(cluster)
    assert tls.sni == f"outbound_.5432_._.{HOST}"
    assert tls.common_tls_context is not None
    assert tls.common_tls_context.alpn_protocols == ["istio"]
    validation = tls.common_tls_context.combined_validation_context
    assert validation is not None
    assert validation.default_validation_context is not None
    assert [each.matcher.exact for each in validation.default_validation_context.match_typed_subject_alt_names] == [
        "spiffe://cluster.local/ns/shop/sa/other",
        "spiffe://cluster.local/ns/shop/sa/users",
    ]


def test_both_families_lead_to_the_same_service() -> None:
    assert built(database(), AddressCluster(address="fd00::1", port=5432)).alt_stat_name == OUTBOUND


def test_a_rule_s_policy_of_the_cluster_holds() -> None:
    simple = TrafficPolicy(tls=ClientTls(mode=TlsMode.SIMPLE, sni="db.example.com"))
    tls = tls_of(built(database(policy=simple)))
    assert tls.sni == "db.example.com"
    assert tls.common_tls_context is not None
    assert tls.common_tls_context.alpn_protocols == []
    mutual = tls_of(built(database(Protocol.DETECT, policy=TrafficPolicy(tls=ClientTls(mode=TlsMode.ISTIO_MUTUAL)))))
    assert mutual.common_tls_context is not None
    assert mutual.common_tls_context.alpn_protocols == ["istio"]
    few = built(database(policy=TrafficPolicy(connection_pool=ConnectionPool(max_connections=3))))
    assert few.circuit_breakers is not None
    assert few.circuit_breakers.thresholds[0].max_connections == 3
    passing = built(database(policy=TrafficPolicy(load_balancer=SimpleBalancer.PASSTHROUGH)))
    assert (passing.type, passing.lb_policy) == (ClusterDiscoveryType.ORIGINAL_DST, ClusterLbPolicy.CLUSTER_PROVIDED)


def test_a_port_that_the_service_does_not_have_is_nobody_s() -> None:
    other = AddressCluster(address=DATABASE.address, port=5433)
    assert built(database(), other).alt_stat_name == "PassthroughCluster"
    assert built(database(Protocol.UDP)).alt_stat_name == "PassthroughCluster"


def limited(*names: str, mode: OutboundTraffic | None = None) -> Mesh:
    """A mesh in which the caller's Sidecar names these hosts alone."""
    egress = (Egress(hosts=tuple(EgressHost(namespace="*", host=name) for name in names)),)
    ref = ObjectRef(kind="Sidecar", namespace="shop", name="limit")
    return database().with_parts(
        sidecars={("shop", "limit"): Sidecar(ref=ref, egress=egress, outbound_traffic=mode)},
        sidecar_choices={"shop": (SidecarChoice(name="limit", labels=None),)},
        hosts_in={"shop": (HOST,)},
    )


def test_what_is_out_of_the_caller_s_scope_is_nobody_s() -> None:
    assert built(limited(HOST)).alt_stat_name == OUTBOUND
    assert built(limited("other.shop.svc.cluster.local")).alt_stat_name == "PassthroughCluster"
    refusing = limited("other.shop.svc.cluster.local", mode=OutboundTraffic.REGISTRY_ONLY)
    assert built(refusing).alt_stat_name == "BlackHoleCluster"
    assert built(refusing).load_assignment is None


def test_what_is_asked_for_is_told_apart_by_whether_the_mesh_has_it() -> None:
    view = seen_from(database(), on_demand=True)
    assert answering(str(DATABASE), view) == Wanted(name=str(DATABASE), declared=True)
    unknown = "tcp|10.9.9.9:1"
    assert answering(unknown, view) == Wanted(name=unknown, declared=False)
    assert answering("tcp|somewhere:1", view) is None
    assert derive(CLUSTER, "tcp|somewhere:1", view) is None


@pytest.mark.parametrize(
    ("kind", "capture"), [(ProxyKind.GATEWAY, Capture.REDIRECT), (ProxyKind.SIDECAR, Capture.EXPLICIT)]
)
def test_only_who_is_redirected_has_clusters_of_addresses(kind: ProxyKind, capture: Capture) -> None:
    asker = Asker(namespace="shop", pod="caller", service_account="caller", kind=kind, capture=capture)
    assert derive(CLUSTER, str(DATABASE), view_of(database(), asker)) is None


def test_a_sidecar_that_became_eager_keeps_what_it_asked_for() -> None:
    assert derive(CLUSTER, str(DATABASE), seen_from(database())) == built(database())
