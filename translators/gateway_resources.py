"""The resources of a gateway by name, and the names there are. Clusters and endpoints are as a sidecar has them."""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, Vhds, VirtualHost

from model.names import (
    BLACK_HOLE_CLUSTER,
    GatewayTable,
    OutboundCluster,
)
from model.routing import Destination, Forward, HttpRoute
from model.services import Protocol
from model.traffic import policy_for
from model.view import View
from translators.authorization import build_http_authorization
from translators.config_source import ads
from translators.destinations import to_cluster
from translators.discovery import Discovery, discovery_of
from translators.gateway_listeners import gateway_listeners
from translators.gateway_ports import gateway_tables
from translators.gateway_virtual_hosts import all_admitted, build_gateway_virtual_host, gateway_virtual_host_names
from translators.route_tables import MAX_DIRECT_RESPONSE_BYTES


def build_gateway_table(table: GatewayTable, view: View) -> RouteConfiguration | None:
    """A table of a gateway, with the policies in force for whoever comes; None if the asker has none such.

    Its virtual hosts come by VHDS if the caller can take them so, else inside. The port of a Host header is ignored.
    """
    if table not in gateway_tables(view):
        return None
    return RouteConfiguration(
        name=str(table),
        vhds=Vhds(config_source=ads()) if view.vhds else None,
        virtual_hosts=[] if view.vhds else _virtual_hosts(table, view),
        validate_clusters=False,
        ignore_port_in_host_matching=True,
        max_direct_response_body_size_bytes=MAX_DIRECT_RESPONSE_BYTES,
        typed_per_filter_config=build_http_authorization(view),
    )


def cluster_names(view: View) -> list[str]:
    """The clusters that its routes name, as far as they exist: a gateway calls nobody of its own accord."""
    return [BLACK_HOLE_CLUSTER, *(str(name) for name in gateway_clusters(view))]


def assignment_names(view: View) -> list[str]:
    return [str(name) for name in gateway_clusters(view) if _discovers(name, view)]


def listener_names(view: View) -> list[str]:
    return [str(name) for name in gateway_listeners(view)]


def table_names(view: View) -> list[str]:
    return [str(table) for table in gateway_tables(view)]


def virtual_host_names(view: View) -> list[str]:
    return [str(name) for table in gateway_tables(view) for name in gateway_virtual_host_names(table, view)]


def gateway_clusters(view: View) -> tuple[OutboundCluster, ...]:
    """The outbound clusters that routes of the asker lead to, sorted."""
    named = {
        to_cluster(destination, admitted.port, view)
        for admitted in all_admitted(view)
        for route in admitted.value.http
        for destination in _destinations(route)
    }
    return tuple(sorted(name for name in named if _exists(name, view)))


def _destinations(route: HttpRoute) -> list[Destination]:
    main = [each.destination for each in route.action.destinations] if isinstance(route.action, Forward) else []
    return [*main, *(mirror.destination for mirror in route.mirrors)]


def _exists(name: OutboundCluster, view: View) -> bool:
    service = view.service(name.host)
    port = service.port(name.port) if service is not None else None
    if port is None or port.protocol is Protocol.UDP:
        return False
    rule = view.destination_rule(name.host) if name.subset else None
    return not name.subset or (rule is not None and rule.subset(name.subset) is not None)


def _discovers(name: OutboundCluster, view: View) -> bool:
    service = view.service(name.host)
    policy = policy_for(view.destination_rule(name.host), name.subset, name.port)
    return service is not None and discovery_of(service, policy, view) is Discovery.EDS


def _virtual_hosts(table: GatewayTable, view: View) -> list[VirtualHost]:
    built = (build_gateway_virtual_host(name, view) for name in gateway_virtual_host_names(table, view))
    return [host for host in built if host is not None]
