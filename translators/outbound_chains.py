"""The filter chains for one destination port where everything is known ahead; else see `on_demand_chains`.

Envoy looks for a chain by port, then by address, then by application protocol, and does not turn back: an address that
has a chain for HTTP needs one for everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, FilterChainMatch
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import (
    FilterStateValue,
    FilterStateValueSharedWithUpstream,
)
from envoy_data_plane.envoy.extensions.filters.network.set_filter_state.v3 import Config as SetFilterState

from model.names import BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER, OutboundCluster, RouteTable
from model.services import Protocol
from model.settings import OutboundTraffic
from model.traffic import TrafficPolicy, policy_for
from model.view import View
from translators.addresses import build_range
from translators.alpn import ALPN_FILTER_STATE
from translators.filter_metadata import pod_match
from translators.filters import network_filter
from translators.http_connection import build_outbound_http
from translators.inbound_chains import PLAIN_HTTP
from translators.outbound_claims import Claim, PortClaims
from translators.tcp_connection import build_tcp_proxy
from translators.upstream_tls import tcp_alpn_override


def build_outbound_chains(claims: PortClaims, view: View) -> list[FilterChain]:
    """All chains of one port."""
    port = claims.port
    http = [build_outbound_http(view.settings, RouteTable(port=port))]
    chains = []
    if claims.http_anywhere:
        chains.append(build_chain(f"{port}.http", port, http))
    elif claims.detect_anywhere:
        chains.append(build_chain(f"{port}.http", port, http, applications=PLAIN_HTTP))
        chains.append(build_chain(f"{port}.tcp", port, build_elsewhere_on(claims, view)))
    elif claims.tcp_anywhere is not None:
        chains.append(build_chain(f"{port}.tcp", port, build_elsewhere_on(claims, view)))
    detected = [address for claim in claims.exact if claim.protocol is Protocol.DETECT for address in claim.addresses]
    if detected:
        chains.append(build_chain(f"{port}.detected.http", port, http, detected, PLAIN_HTTP))
    for claim in claims.exact:
        chains.extend(build_tcp_chains(claim, view))
    return chains


def build_elsewhere(view: View) -> list[Filter]:
    """What becomes of a destination that nobody declared."""
    match view.outbound_traffic:
        case OutboundTraffic.ALLOW_ANY:
            return [build_tcp_proxy(view.settings, PASSTHROUGH_CLUSTER)]
        case OutboundTraffic.REGISTRY_ONLY:
            return [build_tcp_proxy(view.settings, BLACK_HOLE_CLUSTER)]


def build_elsewhere_on(claims: PortClaims, view: View) -> list[Filter]:
    """Bytes to an address that nobody claims. If all may pass, a service without addresses needs no help: the
    connection is going to its address anyway, and others on the port are left alone."""
    cluster = claims.tcp_anywhere
    if cluster is not None and view.outbound_traffic is OutboundTraffic.REGISTRY_ONLY:
        return [build_tcp_proxy(view.settings, str(cluster), policy=policy_of(cluster, view))]
    return build_elsewhere(view)


def build_tcp_chains(claim: Claim, view: View) -> Iterator[FilterChain]:
    """The chains of one claim for bytes, which lead to its cluster."""
    offer = _offer(tcp_alpn_override(claim.cluster, view))
    policy = policy_of(claim.cluster, view)
    for name, addresses in claim.chains:
        pod = pod_match(addresses[0]) if claim.per_pod else None
        proxy = build_tcp_proxy(view.settings, str(claim.cluster), pod, policy=policy)
        yield build_chain(name, claim.cluster.port, [*offer, proxy], addresses)


def policy_of(cluster: OutboundCluster, view: View) -> TrafficPolicy:
    """What the caller's DestinationRule says of a cluster."""
    return policy_for(view.destination_rule(cluster.host), cluster.subset, cluster.port)


def _offer(alpn: Sequence[str]) -> list[Filter]:
    """Tells the upstream's TLS what to offer instead of what its cluster says; nothing where `alpn` is empty."""
    if not alpn:
        return []
    value = FilterStateValue(
        object_key=ALPN_FILTER_STATE,
        format_string=SubstitutionFormatString(text_format_source=DataSource(inline_string=",".join(alpn))),
        shared_with_upstream=FilterStateValueSharedWithUpstream.ONCE,
    )
    return [network_filter("envoy.filters.network.set_filter_state", SetFilterState(on_new_connection=[value]))]


def build_chain(
    name: str,
    port: int | None,
    filters: Sequence[Filter],
    addresses: Sequence[str] = (),
    applications: Sequence[str] = (),
) -> FilterChain:
    """A filter chain for one destination port, or all. `addresses` may be ranges; none: all."""
    return FilterChain(
        name=name,
        filter_chain_match=FilterChainMatch(
            destination_port=port,
            prefix_ranges=[build_range(address) for address in addresses],
            application_protocols=list(applications),
        ),
        filters=list(filters),
    )
