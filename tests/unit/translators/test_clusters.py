"""Outbound clusters, field by field and before the real Envoy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType, ClusterLbPolicy
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import UpstreamTlsContext
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions

from model.mesh import Mesh
from model.names import OutboundCluster
from model.policies import MtlsMode, PeerAuthentication
from model.problems import ObjectRef
from model.services import Endpoint, Protocol, Resolution
from model.settings import MeshSettings
from model.traffic import (
    ClientTls,
    ConnectionPool,
    ConsistentHash,
    HashHeader,
    OutlierDetection,
    SimpleBalancer,
    TcpKeepalive,
    TlsMode,
    TrafficPolicy,
)
from tests.envoy_validation import refusal, refusals
from tests.unit.translators.outbound_meshes import USERS, endpoint, mesh, rule, seen_from, service
from translators.circuit_breaking import UNLIMITED
from translators.clusters import build_black_hole_cluster, build_outbound_cluster, build_passthrough_cluster
from translators.upstream_http import HTTP_PROTOCOL_OPTIONS
from translators.upstream_tls import NOBODY, tcp_alpn_override

NAME = OutboundCluster(port=80, host=USERS)


def shop(
    protocol: Protocol = Protocol.HTTP,
    policy: TrafficPolicy | None = None,
    *,
    resolution: Resolution = Resolution.CLUSTER_IP,
    settings: MeshSettings | None = None,
    meshed: bool = True,
) -> Mesh:
    return mesh(
        [service("users", (80, protocol), (53, Protocol.UDP), resolution=resolution)],
        endpoints={USERS: (endpoint("10.0.0.1", meshed=meshed, version="v1"),)},
        rules=[rule(USERS, "v1", policy=policy)] if policy else [],
        settings=settings,
    )


def built(snapshot: Mesh, name: OutboundCluster = NAME) -> Cluster:
    cluster = build_outbound_cluster(name, seen_from(snapshot))
    assert cluster is not None
    return cluster


def http_options(cluster: Cluster) -> HttpProtocolOptions:
    return HttpProtocolOptions.parse(cluster.typed_extension_protocol_options[HTTP_PROTOCOL_OPTIONS].value)


def tls(cluster: Cluster) -> UpstreamTlsContext:
    socket = cluster.transport_socket or cluster.transport_socket_matches[0].transport_socket
    assert socket is not None
    assert socket.typed_config is not None
    return UpstreamTlsContext.parse(socket.typed_config.value)


def sans(cluster: Cluster) -> list[str]:
    context = tls(cluster).common_tls_context
    assert context is not None
    combined = context.combined_validation_context
    validation = combined.default_validation_context if combined else context.validation_context
    assert validation is not None
    return [each.matcher.exact or "" for each in validation.match_typed_subject_alt_names if each.matcher]


def alpn(cluster: Cluster) -> list[str]:
    context = tls(cluster).common_tls_context
    assert context is not None
    return context.alpn_protocols


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def self_signed(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=36500))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_cluster_has_istio_s_defaults() -> None:
    cluster = built(shop())
    assert cluster.name == f"outbound|80||{USERS}"
    assert cluster.type is ClusterDiscoveryType.EDS
    assert cluster.eds_cluster_config is not None
    assert cluster.eds_cluster_config.eds_config is not None
    assert cluster.eds_cluster_config.eds_config.ads is not None
    assert cluster.connect_timeout == timedelta(seconds=10)
    assert cluster.lb_policy is ClusterLbPolicy.LEAST_REQUEST
    assert cluster.circuit_breakers is not None
    (limits,) = cluster.circuit_breakers.thresholds
    assert {limits.max_connections, limits.max_pending_requests, limits.max_requests, limits.max_retries} == {UNLIMITED}
    assert cluster.outlier_detection is None
    assert cluster.lb_subset_config is None


@pytest.mark.parametrize(
    "name",
    [
        OutboundCluster(port=81, host=USERS),
        OutboundCluster(port=53, host=USERS),
        OutboundCluster(port=80, host="nobody.shop.svc.cluster.local"),
        OutboundCluster(port=80, subset="v9", host=USERS),
    ],
    ids=str,
)
def test_what_does_not_exist_has_no_cluster(name: OutboundCluster) -> None:
    view = seen_from(shop(policy=TrafficPolicy()))
    assert build_outbound_cluster(name, view) is None
    assert build_outbound_cluster(OutboundCluster(port=80, subset="v1", host=USERS), view) is not None


def test_every_port_speaks_its_protocol() -> None:
    http1 = http_options(built(shop(Protocol.HTTP))).explicit_http_config
    http2 = http_options(built(shop(Protocol.HTTP2))).explicit_http_config
    detected = http_options(built(shop(Protocol.DETECT))).use_downstream_protocol_config
    assert http1 is not None
    assert http1.http_protocol_options is not None
    assert http2 is not None
    assert http2.http2_protocol_options is not None
    assert detected is not None
    assert detected.http_protocol_options is not None
    assert detected.http2_protocol_options is not None
    assert built(shop(Protocol.TCP)).typed_extension_protocol_options == {}


def test_upgrade_and_client_protocol_change_what_is_spoken() -> None:
    upgraded = http_options(built(shop(policy=TrafficPolicy(connection_pool=ConnectionPool(h2_upgrade=True)))))
    client = http_options(built(shop(policy=TrafficPolicy(connection_pool=ConnectionPool(use_client_protocol=True)))))
    assert upgraded.explicit_http_config is not None
    assert upgraded.explicit_http_config.http2_protocol_options is not None
    assert client.use_downstream_protocol_config is not None


def test_a_connection_pool_sets_limits_times_and_keepalive() -> None:
    pool = ConnectionPool(
        max_connections=1,
        max_pending_requests=2,
        max_requests=3,
        max_retries=4,
        connect_timeout=timedelta(seconds=5),
        tcp_keepalive=TcpKeepalive(probes=3, time=timedelta(minutes=1), interval=timedelta(milliseconds=200)),
        max_requests_per_connection=7,
        http_idle_timeout=timedelta(seconds=9),
        max_connection_duration=timedelta(hours=1),
    )
    cluster = built(shop(policy=TrafficPolicy(connection_pool=pool)))
    assert cluster.circuit_breakers is not None
    (limits,) = cluster.circuit_breakers.thresholds
    assert (limits.max_connections, limits.max_pending_requests, limits.max_requests, limits.max_retries) == (
        1,
        2,
        3,
        4,
    )
    assert cluster.connect_timeout == timedelta(seconds=5)
    assert cluster.upstream_connection_options is not None
    keepalive = cluster.upstream_connection_options.tcp_keepalive
    assert keepalive is not None
    assert (keepalive.keepalive_probes, keepalive.keepalive_time, keepalive.keepalive_interval) == (3, 60, 1)
    common = http_options(cluster).common_http_protocol_options
    assert common is not None
    assert common.max_requests_per_connection == 7
    assert common.idle_timeout == timedelta(seconds=9)
    assert common.max_connection_duration == timedelta(hours=1)


@pytest.mark.parametrize(
    ("http", "tcp", "found"),
    [(None, 5, 5), (9, 5, 9), (9, None, 9), (None, 0, 0)],
    ids=["only tcp", "both", "only http", "tcp off"],
)
def test_the_idle_timeout_of_connections_is_that_of_requests_too(http: int | None, tcp: int | None, found: int) -> None:
    pool = ConnectionPool(
        http_idle_timeout=None if http is None else timedelta(seconds=http),
        tcp_idle_timeout=None if tcp is None else timedelta(seconds=tcp),
    )
    common = http_options(built(shop(policy=TrafficPolicy(connection_pool=pool)))).common_http_protocol_options
    assert common is not None
    assert common.idle_timeout == timedelta(seconds=found)


def test_outlier_detection_ejects_by_consecutive_failures_alone() -> None:
    policy = OutlierDetection(consecutive_5xx=0, consecutive_gateway=2, max_ejection_percent=100)
    cluster = built(shop(policy=TrafficPolicy(outlier_detection=policy)))
    found = cluster.outlier_detection
    assert found is not None
    assert (found.consecutive_5xx, found.enforcing_consecutive_5xx) == (None, 0)
    assert (found.consecutive_gateway_failure, found.enforcing_consecutive_gateway_failure) == (2, 100)
    assert found.enforcing_success_rate == 0
    assert cluster.common_lb_config is not None
    assert cluster.common_lb_config.healthy_panic_threshold is not None
    assert cluster.common_lb_config.healthy_panic_threshold.value == 0


def test_consistent_hashes_are_rings_or_maglev_tables() -> None:
    key = HashHeader(name="x-user")
    ring = built(shop(policy=TrafficPolicy(load_balancer=ConsistentHash(key=key, minimum_ring_size=2048))))
    maglev = built(shop(policy=TrafficPolicy(load_balancer=ConsistentHash(key=key, maglev_table_size=4099))))
    assert ring.lb_policy is ClusterLbPolicy.RING_HASH
    assert ring.ring_hash_lb_config is not None
    assert ring.ring_hash_lb_config.minimum_ring_size == 2048
    assert maglev.lb_policy is ClusterLbPolicy.MAGLEV
    assert maglev.maglev_lb_config is not None
    assert maglev.maglev_lb_config.table_size == 4099


def test_automatic_mutual_tls_takes_exactly_the_identities_behind_the_service() -> None:
    settings = MeshSettings(trust_domain_aliases=("old.example",))
    cluster = built(shop(settings=settings))
    assert [match.name for match in cluster.transport_socket_matches] == ["tlsMode-istio", "tlsMode-disabled"]
    assert sans(cluster) == [
        "spiffe://cluster.local/ns/shop/sa/users",
        "spiffe://old.example/ns/shop/sa/users",
    ]
    assert tls(cluster).sni == f"outbound_.80_._.{USERS}"


def test_the_sni_names_port_subset_and_host() -> None:
    cluster = built(shop(policy=TrafficPolicy()), OutboundCluster(port=80, subset="v1", host=USERS))
    assert tls(cluster).sni == f"outbound_.80_.v1_.{USERS}"


def test_nobody_in_the_mesh_answers_so_nobody_is_trusted() -> None:
    automatic = built(shop(meshed=False))
    explicit = built(shop(policy=TrafficPolicy(tls=ClientTls(mode=TlsMode.ISTIO_MUTUAL)), meshed=False))
    assert [match.name for match in automatic.transport_socket_matches] == ["tlsMode-disabled"]
    assert sans(explicit) == [NOBODY]


def test_who_is_called_past_the_sidecar_is_not_trusted_on_that_port() -> None:
    own = endpoint("10.0.0.1", 80, 90)
    past = replace(endpoint("10.0.0.2", 80, 90, account="past"), uncaptured=frozenset({80}))

    def snapshot(*endpoints: Endpoint, mode: MtlsMode = MtlsMode.PERMISSIVE) -> Mesh:
        users = service("users", (80, Protocol.HTTP), (90, Protocol.HTTP))
        peer = PeerAuthentication(ref=ObjectRef(kind="PeerAuthentication", namespace="shop", name="p"), mode=mode)
        return mesh([users], endpoints={USERS: endpoints}, peers=[peer])

    other = OutboundCluster(port=90, host=USERS)
    own_name, past_name = (f"spiffe://cluster.local/ns/shop/sa/{account}" for account in ("users", "past"))
    assert sans(built(snapshot(own, past))) == [own_name]
    assert sans(built(snapshot(own, past), other)) == [past_name, own_name]
    assert [match.name for match in built(snapshot(past)).transport_socket_matches] == ["tlsMode-disabled"]
    # STRICT forbids plaintext: nothing is sent in the clear because of an annotation.
    assert sans(built(snapshot(past, mode=MtlsMode.STRICT))) == [past_name]


def test_automatic_mutual_tls_can_be_switched_off_for_the_mesh_or_a_host() -> None:
    off = built(shop(settings=MeshSettings(enable_auto_mtls=False)))
    disabled = built(shop(policy=TrafficPolicy(tls=ClientTls(mode=TlsMode.DISABLE))))
    for cluster in (off, disabled):
        assert cluster.transport_socket_matches == []
        assert cluster.transport_socket is None


@pytest.mark.parametrize(
    ("protocol", "pool", "offered", "override"),
    [
        (Protocol.TCP, ConnectionPool(), ["istio"], ()),
        (Protocol.TLS, ConnectionPool(), ["istio"], ()),
        (Protocol.HTTP, ConnectionPool(), ["istio-http/1.1"], ("istio",)),
        (Protocol.HTTP, ConnectionPool(h2_upgrade=True), ["istio-h2"], ("istio",)),
        (Protocol.HTTP2, ConnectionPool(), ["istio-h2"], ("istio",)),
        (Protocol.DETECT, ConnectionPool(), ["istio-http/1.1"], ("istio",)),
    ],
)
def test_alpn_tells_the_other_sidecar_what_is_inside(
    protocol: Protocol, pool: ConnectionPool, offered: list[str], override: tuple[str, ...]
) -> None:
    snapshot = shop(protocol, TrafficPolicy(connection_pool=pool))
    assert alpn(built(snapshot)) == offered
    assert tcp_alpn_override(NAME, seen_from(snapshot)) == override


def test_a_server_outside_the_mesh_is_offered_no_names_of_ours() -> None:
    snapshot = shop(Protocol.DETECT, TrafficPolicy(tls=ClientTls(mode=TlsMode.SIMPLE)))
    assert alpn(built(snapshot)) == []
    assert tcp_alpn_override(NAME, seen_from(snapshot)) == ()


def test_simple_tls_checks_the_server_s_name() -> None:
    simple = built(shop(policy=TrafficPolicy(tls=ClientTls(mode=TlsMode.SIMPLE, sni="api.example.com"))))
    named = built(shop(policy=TrafficPolicy(tls=ClientTls(mode=TlsMode.SIMPLE, subject_alt_names=("a", "b")))))
    blind = built(shop(policy=TrafficPolicy(tls=ClientTls(mode=TlsMode.SIMPLE, insecure_skip_verify=True))))
    assert (tls(simple).sni, sans(simple)) == ("api.example.com", ["api.example.com"])
    assert sans(named) == ["a", "b"]
    context = tls(blind).common_tls_context
    assert context is not None
    assert context.validation_context is None


def test_an_external_name_is_looked_up_by_dns_unless_it_is_one_of_ours() -> None:
    outside = service("out", (80, Protocol.HTTP), resolution=Resolution.EXTERNAL_NAME, external_name="api.example.com")
    inside = service("alias", (80, Protocol.HTTP), resolution=Resolution.EXTERNAL_NAME, external_name=USERS)
    users = service("users", (80, Protocol.HTTP))
    snapshot = mesh([outside, inside, users], endpoints={USERS: (endpoint("10.0.0.1"),)})
    by_dns = built(snapshot, OutboundCluster(port=80, host=outside.host))
    ours = built(snapshot, OutboundCluster(port=80, host=inside.host))
    assert by_dns.cluster_type is not None
    assert by_dns.load_assignment is not None
    assert by_dns.transport_socket_matches == []
    assert ours.type is ClusterDiscoveryType.EDS
    assert sans(ours) == ["spiffe://cluster.local/ns/shop/sa/users"]


ACCEPTED = [
    (Protocol.HTTP, TrafficPolicy(), Resolution.CLUSTER_IP),
    (Protocol.HTTP2, TrafficPolicy(), Resolution.HEADLESS),
    (Protocol.DETECT, TrafficPolicy(load_balancer=SimpleBalancer.RANDOM), Resolution.HEADLESS),
    (Protocol.TCP, TrafficPolicy(load_balancer=SimpleBalancer.PASSTHROUGH), Resolution.HEADLESS),
    (
        Protocol.HTTP,
        TrafficPolicy(
            load_balancer=ConsistentHash(key=HashHeader(name="x"), maglev_table_size=4099),
            outlier_detection=OutlierDetection(
                consecutive_5xx=0, split_local_origin=True, consecutive_local_origin=0, max_ejection_percent=100
            ),
            connection_pool=ConnectionPool(
                max_connections=1,
                max_concurrent_streams=10,
                tcp_keepalive=TcpKeepalive(time=timedelta(seconds=1)),
                http_idle_timeout=timedelta(0),
                use_client_protocol=True,
            ),
        ),
        Resolution.HEADLESS,
    ),
    (Protocol.HTTP, TrafficPolicy(tls=ClientTls(mode=TlsMode.ISTIO_MUTUAL)), Resolution.CLUSTER_IP),
    (Protocol.HTTP, TrafficPolicy(tls=ClientTls(mode=TlsMode.DISABLE)), Resolution.CLUSTER_IP),
]


@cache
def refused_clusters() -> Mapping[str, str]:
    """Which of them Envoy refuses, and why: asked of one Envoy, as each that starts takes longer than all else here."""
    return refusals({str(each): [built(shop(each[0], each[1], resolution=each[2]))] for each in ACCEPTED})


@pytest.mark.envoy
@pytest.mark.parametrize(("protocol", "policy", "resolution"), ACCEPTED)
def test_envoy_accepts_the_cluster(protocol: Protocol, policy: TrafficPolicy, resolution: Resolution) -> None:
    assert refused_clusters().get(str((protocol, policy, resolution))) is None


@pytest.mark.envoy
@pytest.mark.parametrize("mode", [TlsMode.SIMPLE, TlsMode.MUTUAL])
def test_envoy_accepts_tls_to_a_server_outside(mode: TlsMode, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(key_pem(key))
    (tmp_path / "cert.pem").write_bytes(self_signed(key))
    certificate = str(tmp_path / "cert.pem")
    declared = ClientTls(
        mode=mode, client_certificate=certificate, private_key=str(tmp_path / "key.pem"), ca_certificates=certificate
    )
    assert refusal([built(shop(policy=TrafficPolicy(tls=declared)))]) is None


@pytest.mark.envoy
def test_envoy_accepts_an_external_name_and_the_two_fixed_clusters() -> None:
    outside = service("out", (80, Protocol.HTTP), resolution=Resolution.EXTERNAL_NAME, external_name="api.example.com")
    by_dns = built(mesh([outside]), OutboundCluster(port=80, host=outside.host))
    assert refusal([by_dns, build_passthrough_cluster(), build_black_hole_cluster()]) is None


@pytest.mark.envoy
def test_envoy_refuses_what_is_wrong() -> None:
    """The check itself can fail."""
    wrong = Cluster(name="wrong", type=ClusterDiscoveryType.EDS)
    assert "EDS" in (refusal([wrong]) or "").upper()
