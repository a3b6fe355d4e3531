"""Which objects a resource that a sidecar rejected was made of, as far as its name says so.

A rejected resource leaves everything that it carries as it was, so that naming more objects than the culprit is right:
none of them is in force there.
"""

from __future__ import annotations

from model.asker import Asker
from model.names import INBOUND_LISTENER, OutboundCluster, parse_cluster_name, parse_virtual_host_name
from model.policies import AuthorizationPolicy, PeerAuthentication
from model.routing import VirtualService
from model.traffic import DestinationRule
from model.view import patterns
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST


def concerns(value: object, asker: Asker, type_url: str, name: str, root_namespace: str) -> bool:
    """Whether the resource `name` of the sidecar `asker` was made of `value`, an object in force, among others."""
    match value:
        case VirtualService():
            # A route table with its virtual hosts in it carries every route of its port.
            return type_url == ROUTE or (type_url == VIRTUAL_HOST and _is_for(value.hosts, _routed_host(name)))
        case DestinationRule():
            return type_url in (CLUSTER, ENDPOINT) and _is_for((value.host,), _called_host(name))
        case PeerAuthentication() | AuthorizationPolicy():
            near = value.ref.namespace in (asker.namespace, root_namespace)
            return (
                type_url == LISTENER
                and name == INBOUND_LISTENER
                and near
                and value.selector.items() <= asker.labels.items()
            )
        case _:
            return False


def _is_for(hosts: tuple[str, ...], host: str) -> bool:
    return bool(host) and any(pattern in hosts for pattern in patterns(host))


def _routed_host(name: str) -> str:
    try:
        return parse_virtual_host_name(name).host
    except ValueError:
        return ""


def _called_host(name: str) -> str:
    try:
        cluster = parse_cluster_name(name)
    except ValueError:
        return ""
    return cluster.host if isinstance(cluster, OutboundCluster) else ""
