"""Every resource can be derived from its type, its name and who asks: that function, and the names there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

import betterproto2
from envoy_data_plane.envoy.config.cluster.v3 import Cluster

from model.asker import Capture
from model.names import (
    BLACK_HOLE_CLUSTER,
    INBOUND_LISTENER,
    INBOUND_PASSTHROUGH_CLUSTER,
    OUTBOUND_LISTENER,
    PASSTHROUGH_CLUSTER,
    PLACEHOLDER_HOST,
    InboundCluster,
    OutboundCluster,
    VirtualHostName,
    is_address_cluster,
    parse_address_cluster,
    parse_asked_host,
    parse_cluster_name,
    parse_gateway_listener,
    parse_gateway_table,
    parse_gateway_virtual_host,
    parse_route_table,
    parse_virtual_host_name,
)
from model.on_demand import Wanted
from model.pods import ProxyKind
from model.view import View
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST
from translators import gateway_resources, on_demand_hosts
from translators.address_clusters import build_address_cluster, owner_of_address
from translators.clusters import build_black_hole_cluster, build_outbound_cluster, build_passthrough_cluster
from translators.declared_hosts import declared_hosts
from translators.endpoints import build_load_assignment
from translators.explicit_listeners import (
    build_explicit_inbound_listener,
    build_explicit_outbound_listener,
    explicit_inbound_ports,
    inbound_listener_name,
    parse_inbound_listener,
)
from translators.gateway_listeners import build_gateway_listener
from translators.gateway_virtual_hosts import build_gateway_virtual_host
from translators.inbound_clusters import build_inbound_cluster, build_inbound_passthrough_cluster
from translators.inbound_listener import build_inbound_listener
from translators.inbound_routes import build_inbound_routes
from translators.on_demand_chains import declared_addresses, own_clusters
from translators.outbound_listener import build_outbound_listener
from translators.proxyless import build_proxyless
from translators.route_tables import build_route_table
from translators.scope import http_ports, load_assignments, outbound_clusters
from translators.virtual_hosts import build_virtual_host, virtual_host_names

HOSTS = "hosts"
"""Beside the types of resources: the services in scope, of which there may be many or few."""

Message: TypeAlias = betterproto2.Message
T = TypeVar("T")


def derive(type_url: str, name: str, view: View) -> Message | None:
    """The resource of that type and name as the asker gets it; None if there is none, or if the name or the type
    means nothing. Depends on nothing but its arguments; what was read of the mesh is in `view.reads`."""
    if view.kind is ProxyKind.PROXYLESS:
        return build_proxyless(type_url, name, view)
    build = _BUILDERS.get(type_url)
    if build is None:
        return None
    try:
        return build(name, view)
    except _NoSuchName:
        return None


def names_in_scope(type_url: str, view: View) -> frozenset[str]:
    """The names of all resources of a type that exist for the asker: what a wildcard subscription means."""
    if view.kind is ProxyKind.PROXYLESS:
        return frozenset()  # such a client names whatever it wants
    names = (_GATEWAY_NAMES if _is_gateway(view) else _NAMES).get(type_url)
    return frozenset() if names is None else frozenset(names(view))


def answering(asked: str, view: View) -> Wanted | None:
    """What is to be sent for a name that a sidecar on demand asks for, a host of VHDS or the cluster of an address;
    None if nothing answers for it."""
    try:
        if is_address_cluster(asked):
            owner = owner_of_address(parse_address_cluster(asked), view)
            return Wanted(name=asked, declared=owner is not None)
        table, host = parse_asked_host(asked)
    except ValueError:
        return None
    found = on_demand_hosts.answering(table, host, view)
    return None if found is None else Wanted(name=str(found.name), declared=found.declared)


class _NoSuchName(Exception):
    """The name is not of its type's grammar. Apart from ValueError, which would be a mistake of ours."""


def _parsed(parse: Callable[[str], T], name: str) -> T:
    try:
        return parse(name)
    except ValueError as wrong:
        raise _NoSuchName(name) from wrong


def _cluster(name: str, view: View) -> Cluster | None:
    if name == BLACK_HOLE_CLUSTER:
        return build_black_hole_cluster()
    if name == PASSTHROUGH_CLUSTER:
        return build_passthrough_cluster() if _redirected(view) else None
    if name == INBOUND_PASSTHROUGH_CLUSTER:
        return build_inbound_passthrough_cluster(view)
    if is_address_cluster(name):
        address = _parsed(parse_address_cluster, name)
        return build_address_cluster(address, view) if _redirected(view) and not _is_gateway(view) else None
    parsed = _parsed(parse_cluster_name, name)
    match parsed:
        case OutboundCluster():
            return build_outbound_cluster(parsed, view)
        case InboundCluster():
            return build_inbound_cluster(parsed, view)


def _load_assignment(name: str, view: View) -> Message | None:
    parsed = _parsed(parse_cluster_name, name)
    return build_load_assignment(parsed, view) if isinstance(parsed, OutboundCluster) else None


def _listener(name: str, view: View) -> Message | None:
    if _is_gateway(view):
        return build_gateway_listener(_parsed(parse_gateway_listener, name), view)
    if _redirected(view):
        if name == OUTBOUND_LISTENER:
            return build_outbound_listener(view)
        return build_inbound_listener(view) if name == INBOUND_LISTENER else None
    if name == OUTBOUND_LISTENER:
        return build_explicit_outbound_listener(view)
    return build_explicit_inbound_listener(_parsed(parse_inbound_listener, name), view)


def _route_table(name: str, view: View) -> Message | None:
    if _is_gateway(view):
        return gateway_resources.build_gateway_table(_parsed(parse_gateway_table, name), view)
    if name == INBOUND_PASSTHROUGH_CLUSTER or name.startswith("inbound|"):
        return build_inbound_routes(name, view)
    return build_route_table(_parsed(parse_route_table, name), view)


def _virtual_host(name: str, view: View) -> Message | None:
    if _is_gateway(view):
        return build_gateway_virtual_host(_parsed(parse_gateway_virtual_host, name), view)
    parsed = _parsed(parse_virtual_host_name, name)
    return on_demand_hosts.build_on_demand(parsed, view) if view.on_demand else build_virtual_host(parsed, view)


def _cluster_names(view: View) -> list[str]:
    always = [BLACK_HOLE_CLUSTER]
    captured = [PASSTHROUGH_CLUSTER, INBOUND_PASSTHROUGH_CLUSTER] if _redirected(view) else []
    inbound = [str(InboundCluster(port=port.number)) for port in view.inbound_ports]
    # Apart from what is the pod's own, so that all pods share it.
    outbound = view.shared(_clusters_ahead if view.on_demand else _outbound_cluster_names, None)
    return [*always, *captured, *inbound, *outbound]


def _outbound_cluster_names(view: View, _: None) -> tuple[str, ...]:
    return tuple(map(str, outbound_clusters(view)))


def _clusters_ahead(view: View, _: None) -> tuple[str, ...]:
    return (*map(str, sorted(own_clusters(view))), *map(str, sorted(declared_addresses(view))))


def _listener_names(view: View) -> list[str]:
    if _redirected(view):
        return [INBOUND_LISTENER, OUTBOUND_LISTENER]
    return [OUTBOUND_LISTENER, *map(inbound_listener_name, explicit_inbound_ports(view))]


def _virtual_host_names(view: View) -> list[str]:
    if view.on_demand:
        held = [str(VirtualHostName(port=port, host=PLACEHOLDER_HOST)) for port in http_ports(view)]
        return [*held, *map(str, declared_hosts(view))]
    return [str(name) for port in http_ports(view) for name in virtual_host_names(port, view)]


def _is_gateway(view: View) -> bool:
    return view.kind is ProxyKind.GATEWAY


def _redirected(view: View) -> bool:
    return view.capture is Capture.REDIRECT


_BUILDERS: Mapping[str, Callable[[str, View], Message | None]] = {
    CLUSTER: _cluster,
    ENDPOINT: _load_assignment,
    LISTENER: _listener,
    ROUTE: _route_table,
    VIRTUAL_HOST: _virtual_host,
}

_NAMES: Mapping[str, Callable[[View], list[str]]] = {
    HOSTS: lambda view: list(view.hosts),
    CLUSTER: _cluster_names,
    ENDPOINT: lambda view: [str(name) for name in load_assignments(view)],
    LISTENER: _listener_names,
    ROUTE: lambda view: [str(port) for port in http_ports(view)],
    VIRTUAL_HOST: _virtual_host_names,
}

_GATEWAY_NAMES: Mapping[str, Callable[[View], list[str]]] = {
    CLUSTER: gateway_resources.cluster_names,
    ENDPOINT: gateway_resources.assignment_names,
    LISTENER: gateway_resources.listener_names,
    ROUTE: gateway_resources.table_names,
    VIRTUAL_HOST: gateway_resources.virtual_host_names,
}
