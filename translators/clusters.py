"""Outbound clusters: how a sidecar calls one port of a service, or one subset of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterCommonLbConfig,
    ClusterCustomClusterType,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
    ClusterLbPolicy,
)
from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.clusters.common.dns.v3 import DnsLookupFamily
from envoy_data_plane.envoy.extensions.clusters.dns.v3 import DnsCluster
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from model.names import BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER, AddressCluster, OutboundCluster
from model.services import Protocol, Resolution, Service
from model.traffic import ConnectionPool, OutlierDetection, TrafficPolicy, policy_for
from model.view import View
from protos.encoder import to_any
from translators.addresses import build_address
from translators.aliases import aliased
from translators.circuit_breaking import (
    build_circuit_breakers,
    build_connection_options,
    build_outlier_detection,
    panic_threshold,
)
from translators.config_source import ads
from translators.discovery import Discovery, discovery_of
from translators.load_balancing import build_balancing, build_pod_subsets
from translators.upstream_http import HTTP_PROTOCOL_OPTIONS, UpstreamHttp, build_protocol_options, upstream_http
from translators.upstream_tls import build_automatic_tls, build_client_tls, mesh_names, takes_mtls

_TYPES: Mapping[Discovery, ClusterDiscoveryType] = {
    Discovery.EDS: ClusterDiscoveryType.EDS,
    Discovery.DESTINATION: ClusterDiscoveryType.ORIGINAL_DST,
}

DNS_REFRESH = timedelta(seconds=60)
"""How often an external name is looked up where its records give no time of their own; Istio's."""


def build_outbound_cluster(name: OutboundCluster, view: View) -> Cluster | None:
    """The cluster of that name, or None if there is no such service, port (UDP is none) or subset."""
    return _build(name, view)


def build_bytes_cluster(name: OutboundCluster, view: View, *, called: AddressCluster) -> Cluster | None:
    """The same service port for connections of which only the bytes are known, under the name `called`.

    It has the endpoints of the cluster `name`, of a headless service that pod alone whose address was called; and its
    name in statistics.
    """
    return _build(name, view, called)


def _build(name: OutboundCluster, view: View, called: AddressCluster | None = None) -> Cluster | None:
    service = view.destination(name.host)
    port = service.port(name.port) if service else None
    if service is None or port is None or port.protocol is Protocol.UDP:
        return None
    rule = view.destination_rule(name.host)
    if name.subset and (rule is None or rule.subset(name.subset) is None):
        return None
    policy = policy_for(rule, name.subset, name.port)
    pool = policy.connection_pool or ConnectionPool()
    speaks = UpstreamHttp.NONE if called else upstream_http(port.protocol, pool)
    discovery = discovery_of(service, policy, view)
    balancing = build_balancing(policy.load_balancer)
    outliers = policy.outlier_detection
    by_pod = service.resolution is Resolution.HEADLESS and discovery is Discovery.EDS
    return Cluster(
        name=str(called or name),
        alt_stat_name=str(name) if called else "",
        type=_TYPES.get(discovery),
        cluster_type=_dns() if discovery is Discovery.DNS else None,
        eds_cluster_config=(
            ClusterEdsClusterConfig(eds_config=ads(), service_name=str(name) if called else "")
            if discovery is Discovery.EDS
            else None
        ),
        load_assignment=_by_dns_name(name, service.external_name) if discovery is Discovery.DNS else None,
        connect_timeout=pool.connect_timeout or view.settings.connect_timeout,
        upstream_connection_options=build_connection_options(pool.tcp_keepalive),
        typed_extension_protocol_options=_protocol_options(speaks, pool),
        circuit_breakers=build_circuit_breakers(pool),
        outlier_detection=build_outlier_detection(outliers) if outliers else None,
        common_lb_config=_panic(outliers),
        lb_policy=balancing.policy,
        ring_hash_lb_config=balancing.ring_hash,
        maglev_lb_config=balancing.maglev,
        lb_subset_config=build_pod_subsets(called.address if called else None) if by_pod else None,
        transport_socket=_declared_tls(name, service, policy, speaks, view),
        transport_socket_matches=(
            build_automatic_tls(name, _taken_by_mesh(name.port, aliased(service, view).host, view), speaks)
            if policy.tls is None and view.settings.enable_auto_mtls and discovery is Discovery.EDS
            else []
        ),
    )


def build_bytes_to(called: AddressCluster) -> Cluster:
    """Where nobody has declared the address: to it as it is, counted with everything that passes through."""
    endpoint = LbEndpoint(endpoint=Endpoint(address=build_address(called.address, called.port)))
    return Cluster(
        name=str(called),
        alt_stat_name=PASSTHROUGH_CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        load_assignment=_assignment(str(called), endpoint),
        connect_timeout=timedelta(seconds=10),
        circuit_breakers=build_circuit_breakers(ConnectionPool()),
    )


def build_bytes_to_nobody(called: AddressCluster) -> Cluster:
    """A cluster without endpoints: connections to it are closed, and counted with everything that is refused."""
    return Cluster(
        name=str(called),
        alt_stat_name=BLACK_HOLE_CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=10),
    )


def build_passthrough_cluster() -> Cluster:
    """Where nobody has declared anything: to the address that the application itself asked for, as it is."""
    return Cluster(
        name=PASSTHROUGH_CLUSTER,
        type=ClusterDiscoveryType.ORIGINAL_DST,
        lb_policy=ClusterLbPolicy.CLUSTER_PROVIDED,
        connect_timeout=timedelta(seconds=10),
        circuit_breakers=build_circuit_breakers(ConnectionPool()),
        typed_extension_protocol_options=_protocol_options(UpstreamHttp.DOWNSTREAM, ConnectionPool()),
    )


def build_black_hole_cluster() -> Cluster:
    """A cluster without endpoints: a connection to it is closed, a request answered with 503."""
    return Cluster(
        name=BLACK_HOLE_CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=10),
    )


def _protocol_options(speaks: UpstreamHttp, pool: ConnectionPool) -> dict[str, Any]:
    options = build_protocol_options(speaks, pool)
    return {} if options is None else {HTTP_PROTOCOL_OPTIONS: to_any(options)}


def _dns() -> ClusterCustomClusterType:
    """All of the name's addresses, of both families, each an endpoint."""
    dns = DnsCluster(dns_refresh_rate=DNS_REFRESH, respect_dns_ttl=True, dns_lookup_family=DnsLookupFamily.ALL)
    return ClusterCustomClusterType(name="envoy.cluster.dns", typed_config=to_any(dns))


def _by_dns_name(name: OutboundCluster, host: str) -> ClusterLoadAssignment:
    return _assignment(str(name), LbEndpoint(endpoint=Endpoint(address=build_address(host, name.port))))


def _assignment(name: str, endpoint: LbEndpoint) -> ClusterLoadAssignment:
    return ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])])


def _taken_by_mesh(port: int, host: str, view: View) -> tuple[str, ...]:
    """The identities to whom mutual TLS may be spoken; empty if nobody there takes it."""
    at = OutboundCluster(port=port, host=host)
    return mesh_names(at, view) if takes_mtls(at, view) else ()


def _panic(policy: OutlierDetection | None) -> ClusterCommonLbConfig | None:
    threshold = panic_threshold(policy)
    if threshold is None:
        return None
    # Without it Envoy gathers changes of health for up to a second, in which who is ejected still gets requests.
    return ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=threshold), update_merge_window=timedelta())


def _declared_tls(
    name: OutboundCluster, service: Service, policy: TrafficPolicy, speaks: UpstreamHttp, view: View
) -> TransportSocket | None:
    if policy.tls is None:
        return None
    target = aliased(service, view)
    server_name = target.external_name or target.host
    names = mesh_names(OutboundCluster(port=name.port, host=target.host), view)
    return build_client_tls(policy.tls, name, server_name, names, speaks)
