"""Which objects a resource that a sidecar rejected was made of, as far as its name says so.

A rejected resource leaves everything that it carries as it was, so that naming more objects than the culprit is right:
none of them is in force there.
"""

from __future__ import annotations

from model.asker import Asker
from model.gateways import Gateway
from model.host_patterns import patterns
from model.names import (
    CATCH_ALL_HOST,
    INBOUND_LISTENER,
    OUTBOUND_LISTENER,
    OutboundCluster,
    parse_cluster_name,
    parse_gateway_virtual_host,
    parse_virtual_host_name,
)
from model.pods import ProxyKind
from model.policies import AuthorizationPolicy, PeerAuthentication
from model.routing import VirtualService
from model.sidecars import Sidecar
from model.traffic import DestinationRule
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST


def concerns(value: object, asker: Asker, type_url: str, name: str, root_namespace: str) -> bool:
    """Whether the resource `name` of the sidecar `asker` was made of `value`, an object in force, among others."""
    match value:
        case VirtualService():
            # A route table with its virtual hosts in it carries every route of its port.
            return type_url == ROUTE or (type_url == VIRTUAL_HOST and _is_for(value.hosts, _routed_host(name)))
        case DestinationRule():
            return type_url in (CLUSTER, ENDPOINT) and _is_for((value.host,), _called_host(name))
        case Gateway():
            # Which of a gateway's Gateways a listener or a table is made of is not in its name.
            at_gateway = asker.kind is ProxyKind.GATEWAY and value.selects(asker.labels)
            return at_gateway and type_url in (LISTENER, ROUTE)
        case PeerAuthentication() | AuthorizationPolicy():
            near = value.ref.namespace in (asker.namespace, root_namespace)
            return (
                type_url == LISTENER
                and name == INBOUND_LISTENER
                and near
                and value.selector.items() <= asker.labels.items()
            )
        case Sidecar():
            # It says what is in these, and what becomes of all the rest. It makes no cluster.
            return _applies(value, asker, root_namespace) and (
                type_url == ROUTE
                or (type_url == LISTENER and name == OUTBOUND_LISTENER)
                or (type_url == VIRTUAL_HOST and _routed_host(name) == CATCH_ALL_HOST)
            )
        case _:
            return False


def host_of(type_url: str, name: str) -> str:
    """The host for which a resource of that name is: the routed one, or the called one; '' if it is for none."""
    if type_url == VIRTUAL_HOST:
        return _routed_host(name)
    return _called_host(name) if type_url in (CLUSTER, ENDPOINT) else ""


def _applies(value: Sidecar, asker: Asker, root_namespace: str) -> bool:
    """Whether it can be the asker's: which of several is, the mesh alone knows."""
    if asker.kind is ProxyKind.GATEWAY:
        return False
    if value.ref.namespace == asker.namespace:
        return (value.selector or {}).items() <= asker.labels.items()
    return value.ref.namespace == root_namespace and value.selector is None


def _is_for(hosts: tuple[str, ...], host: str) -> bool:
    return bool(host) and any(pattern in hosts for pattern in patterns(host))


def _routed_host(name: str) -> str:
    for parse in (parse_virtual_host_name, parse_gateway_virtual_host):
        try:
            return parse(name).host
        except ValueError:
            continue
    return ""


def _called_host(name: str) -> str:
    try:
        cluster = parse_cluster_name(name)
    except ValueError:
        return ""
    return cluster.host if isinstance(cluster, OutboundCluster) else ""
