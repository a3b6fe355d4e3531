"""The application behind the sidecar, as clusters."""

from __future__ import annotations

from typing import assert_never

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterLbPolicy,
)
from envoy_data_plane.envoy.config.core.v3 import BindConfig, ExtraSourceAddress, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)

from model.asker import Capture
from model.names import INBOUND_PASSTHROUGH_CLUSTER, InboundCluster
from model.services import Protocol
from model.traffic import ConnectionPool
from model.view import View
from protos.encoder import to_any
from translators.addresses import build_address
from translators.circuit_breaking import build_circuit_breakers
from translators.upstream_http import HTTP_PROTOCOL_OPTIONS, UpstreamHttp, build_protocol_options
from translators.well_known_ports import INBOUND_SOURCE_V4, INBOUND_SOURCE_V6


def build_inbound_cluster(name: InboundCluster, view: View) -> Cluster | None:
    """The application at a port that the workload declares; None for any other."""
    declared = next((port for port in view.inbound_ports if port.number == name.port), None)
    if declared is None:
        return None
    match view.capture:
        case Capture.REDIRECT:
            return _at_original_destination(str(name), declared.protocol, view)
        case Capture.EXPLICIT:
            cluster = _cluster(str(name), ClusterDiscoveryType.STATIC, declared.protocol, view)
            cluster.load_assignment = _assignment(name, view)
            return cluster
        case _:
            assert_never(view.capture)


def build_inbound_passthrough_cluster(view: View) -> Cluster | None:
    """The application at a port that nobody declared; None where connections have no original destination."""
    if view.capture is not Capture.REDIRECT:
        return None
    return _at_original_destination(INBOUND_PASSTHROUGH_CLUSTER, Protocol.DETECT, view)


def _at_original_destination(name: str, protocol: Protocol, view: View) -> Cluster:
    """Where the connection was going, from an address by which the capture rules know it as the sidecar's."""
    cluster = _cluster(name, ClusterDiscoveryType.ORIGINAL_DST, protocol, view)
    cluster.lb_policy = ClusterLbPolicy.CLUSTER_PROVIDED
    extra = [ExtraSourceAddress(address=_source(INBOUND_SOURCE_V6))] if view.ipv6 else []
    cluster.upstream_bind_config = BindConfig(source_address=_source(INBOUND_SOURCE_V4), extra_source_addresses=extra)
    return cluster


def _source(address: str) -> SocketAddress:
    """An address to call from, at whatever port is free. Socket options stay those of the bootstrap."""
    return SocketAddress(address=address, port_value=0)


def _cluster(name: str, type_: ClusterDiscoveryType, protocol: Protocol, view: View) -> Cluster:
    """What was said is said on: HTTP/1.1 stays HTTP/1.1, HTTP/2 stays HTTP/2."""
    speaks = UpstreamHttp.NONE if protocol in (Protocol.TCP, Protocol.TLS) else UpstreamHttp.DOWNSTREAM
    options = build_protocol_options(speaks, ConnectionPool())
    return Cluster(
        name=name,
        type=type_,
        connect_timeout=view.settings.connect_timeout,
        circuit_breakers=build_circuit_breakers(ConnectionPool()),
        typed_extension_protocol_options={} if options is None else {HTTP_PROTOCOL_OPTIONS: to_any(options)},
    )


def _assignment(name: InboundCluster, view: View) -> ClusterLoadAssignment:
    address = build_address(view.application_address, name.port)
    return ClusterLoadAssignment(
        cluster_name=str(name),
        endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=Endpoint(address=address))])],
    )
