"""What a gRPC client without a sidecar gets: a listener by the name it calls, and what is behind it.

Its target `xds:///reviews.shop:9080` is the name of its listener, and of the route configuration in that. It picks a
route, and a cluster by weight, itself. Source: gRPC proposals A27, A28 and A42; what it does not support it refuses.
"""

from __future__ import annotations

from dataclasses import replace

import betterproto2
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType, ClusterLbPolicy
from envoy_data_plane.envoy.config.core.v3 import Locality
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import ApiListener, Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)

from model.names import OutboundCluster, VirtualHostName, parse_cluster_name
from model.view import View
from protos.encoder import to_any
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE
from translators.clusters import build_outbound_cluster
from translators.config_source import ads
from translators.domains import hosts_meant, is_routed
from translators.endpoints import build_load_assignment
from translators.proxyless_tls import Unspeakable, build_proxyless_tls
from translators.virtual_hosts import build_virtual_host


def build_proxyless(type_url: str, name: str, view: View) -> betterproto2.Message | None:
    """The resource of that type and name for a gRPC client; None if there is none, or if it could not use it."""
    match type_url:
        case _ if type_url == LISTENER:
            return _listener(name) if _virtual_host_name(name, view) else None
        case _ if type_url == ROUTE:
            return _route_table(name, view)
        case _ if type_url == CLUSTER:
            return _cluster(name, view)
        case _ if type_url == ENDPOINT:
            return _load_assignment(name, view)
        case _:
            return None


def _virtual_host_name(target: str, view: View) -> VirtualHostName | None:
    host, _, port = target.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and len(port) <= 5):
        return None
    for meant in hosts_meant(host, view):
        service = view.service(meant)
        if service is not None and is_routed(service, int(port)):
            return VirtualHostName(port=int(port), host=service.host)
    return None


def _listener(name: str) -> Listener:
    manager = HttpConnectionManager(
        rds=Rds(config_source=ads(), route_config_name=name),
        http_filters=[HttpFilter(name="envoy.filters.http.router", typed_config=to_any(Router()))],
    )
    return Listener(name=name, api_listener=ApiListener(api_listener=to_any(manager)))


def _route_table(name: str, view: View) -> RouteConfiguration | None:
    found = _virtual_host_name(name, view)
    host = build_virtual_host(found, view) if found else None
    # A table is of one target, so that its one host has no need of names, which would have to have the port too.
    return RouteConfiguration(name=name, virtual_hosts=[replace(host, domains=["*"])]) if host else None


def _outbound(name: str) -> OutboundCluster | None:
    try:
        parsed = parse_cluster_name(name)
    except ValueError:
        return None
    return parsed if isinstance(parsed, OutboundCluster) else None


def _cluster(name: str, view: View) -> Cluster | None:
    """None where the client cannot speak as a DestinationRule asks it to."""
    parsed = _outbound(name)
    built = build_outbound_cluster(parsed, view) if parsed else None
    if parsed is None or built is None or built.type != ClusterDiscoveryType.EDS:
        return None
    try:
        transport_socket = build_proxyless_tls(parsed, view)
    except Unspeakable:
        return None
    ring = built.lb_policy == ClusterLbPolicy.RING_HASH
    return Cluster(
        name=built.name,
        type=built.type,
        eds_cluster_config=built.eds_cluster_config,
        lb_policy=ClusterLbPolicy.RING_HASH if ring else ClusterLbPolicy.ROUND_ROBIN,
        ring_hash_lb_config=built.ring_hash_lb_config if ring else None,
        circuit_breakers=built.circuit_breakers,
        outlier_detection=built.outlier_detection,
        transport_socket=transport_socket,
    )


def _load_assignment(name: str, view: View) -> ClusterLoadAssignment | None:
    """gRPC wants a locality, if an empty one, and leaves out those without a weight, which is the endpoints' number."""
    parsed = _outbound(name)
    built = build_load_assignment(parsed, view) if parsed else None
    if built is None:
        return None
    weighed = [
        replace(one, locality=one.locality or Locality(), load_balancing_weight=len(one.lb_endpoints))
        for one in built.endpoints
    ]
    return replace(built, endpoints=weighed)
