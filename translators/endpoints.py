"""Cluster load assignments: the ready endpoints behind an outbound cluster."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from envoy_data_plane.envoy.config.core.v3 import Address, Metadata, SocketAddress
from envoy_data_plane.envoy.config.core.v3 import Locality as LocalityMessage
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.config.endpoint.v3 import Endpoint as EndpointMessage

from model.names import OutboundCluster
from model.services import Endpoint, Locality, Protocol, Resolution, Service, in_service
from model.traffic import policy_for
from model.view import View
from protos.encoder import encoded
from protos.templates import new
from translators.aliases import aliased
from translators.discovery import Discovery, discovery_of
from translators.filter_metadata import (
    LOAD_BALANCING,
    POD_ADDRESS,
    TLS_MODE,
    TLS_MODE_ISTIO,
    TRANSPORT_SOCKET,
    build_metadata,
)
from translators.peer_authentication import is_called_with_mtls, mtls_mode

_MUTUAL_TLS = {TRANSPORT_SOCKET: {TLS_MODE: TLS_MODE_ISTIO}}
_SHARED = {True: build_metadata(_MUTUAL_TLS), False: None}
"""The metadata of endpoints that do not say which pod they are."""


def build_load_assignment(name: OutboundCluster, view: View) -> ClusterLoadAssignment | None:
    """The endpoints of the cluster of that name, grouped by locality; empty if there are none (never silence, for a
    cluster waits for its endpoints). None if there is no such cluster, or it finds its endpoints otherwise."""
    service = view.destination(name.host)
    port = service.port(name.port) if service else None
    if service is None or port is None or port.protocol is Protocol.UDP:
        return None
    rule = view.destination_rule(name.host)
    subset = rule.subset(name.subset) if rule and name.subset else None
    if name.subset and subset is None:
        return None
    policy = policy_for(rule, name.subset, name.port)
    if discovery_of(service, policy, view) is not Discovery.EDS:
        return None
    chosen = usable_endpoints(service, name.port, view, subset.labels if subset else {})
    return new(ClusterLoadAssignment, cluster_name=str(name), endpoints=_grouped(service, name.port, chosen, view))


def usable_endpoints(
    service: Service, port: int, view: View, labels: Mapping[str, str] | None = None
) -> tuple[Endpoint, ...]:
    """The endpoints that may be called at a Service port (`in_service`) and have these labels; each address once,
    sorted."""
    wanted = (labels or {}).items()
    by_address = {
        endpoint.address: endpoint
        for endpoint in in_service(view.endpoints(aliased(service, view).host), port)
        if all(endpoint.labels.get(key) == value for key, value in wanted)
    }
    return tuple(by_address[address] for address in sorted(by_address))


def _grouped(service: Service, port: int, endpoints: tuple[Endpoint, ...], view: View) -> list[LocalityLbEndpoints]:
    namespace = aliased(service, view).ref.namespace
    headless = service.resolution is Resolution.HEADLESS
    selective = any(policy.selector for policy in view.peer_authentications(namespace))
    everywhere = None if selective else mtls_mode(view, namespace, {}, None)
    # A change of one endpoint builds and encodes that one: the others are joined as they are.
    build = _encoded_endpoint if view.shares else _build_endpoint
    groups: dict[Locality, list[LbEndpoint]] = {}
    for endpoint in endpoints:
        number = endpoint.ports[port]
        mode = everywhere or mtls_mode(view, namespace, endpoint.labels, number)
        mutual = is_called_with_mtls(endpoint, port, mode)
        groups.setdefault(endpoint.locality, []).append(build(endpoint.address, number, mutual, headless))
    return [
        new(LocalityLbEndpoints, locality=_build_locality(locality), lb_endpoints=groups[locality])
        for locality in sorted(groups)
    ]


def _build_endpoint(address: str, port: int, mutual: bool, headless: bool) -> LbEndpoint:
    metadata = _pod_metadata(address, mutual) if headless else _SHARED[mutual]
    socket = new(Address, socket_address=new(SocketAddress, address=address, port_value=port))
    return new(LbEndpoint, endpoint=new(EndpointMessage, address=socket), metadata=metadata)


@lru_cache(maxsize=65_536)
def _encoded_endpoint(address: str, port: int, mutual: bool, headless: bool) -> LbEndpoint:
    return encoded(_build_endpoint(address, port, mutual, headless))


def _pod_metadata(address: str, mutual: bool) -> Metadata:
    pod = {LOAD_BALANCING: {POD_ADDRESS: address}}
    return build_metadata({**pod, **_MUTUAL_TLS} if mutual else pod)


def _build_locality(locality: Locality) -> LocalityMessage | None:
    if locality == Locality():
        return None
    return LocalityMessage(region=locality.region, zone=locality.zone, sub_zone=locality.subzone)
