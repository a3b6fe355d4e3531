"""The filter chains of a sidecar that learns on demand: few, whatever the number of services of bytes.

All of these share one chain, and the sidecar asks for the cluster of the address. Ports on which HTTP may come have
chains of their own, as have external names where nothing else may pass, and services whose policy is the connection's
and not the cluster's.

When a chain changes, Envoy closes its connections once it has drained. So no chain of bytes lists what comes and goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from envoy_data_plane.envoy.config.listener.v3 import FilterChain

from model.names import AddressCluster, OutboundCluster, RouteTable
from model.services import Protocol
from model.settings import OutboundTraffic
from model.view import View
from translators.http_connection import build_outbound_http
from translators.inbound_chains import PLAIN_HTTP
from translators.near_addresses import near_addresses
from translators.outbound_chains import build_chain, build_elsewhere_on, build_tcp_chains, policy_of
from translators.outbound_claims import Claim, PortClaims, shared_claims
from translators.tcp_connection import build_tcp_on_demand, is_of_the_connection

EVERYWHERE = ("0.0.0.0/0", "::/0")
"""All addresses, where a chain lists others beside them."""


def claims_apart(ports: Iterable[int], view: View) -> list[PortClaims]:
    """The ports among these that need chains of their own, and who has them."""
    return [shared_claims(port, view) for port in ports if view.shared(_stands_apart, port)]


def build_on_demand_chains(claims: Sequence[PortClaims], view: View) -> list[FilterChain]:
    """All chains: of the ports that stand apart, and one for all other bytes to what may be the mesh's."""
    near = near_addresses(view)
    chains = [chain for each in claims for chain in _port_chains(each, near, view)]
    return [*chains, build_chain("tcp", None, build_tcp_on_demand(view.settings), near)]


def own_clusters(view: View) -> set[OutboundCluster]:
    """The clusters that filter chains name, sent ahead."""
    ports = claims_apart(view.ports, view)
    exact = {claim.cluster for each in ports for claim in each.exact if _has_own_chain(claim, view)}
    refuses = view.outbound_traffic is OutboundTraffic.REGISTRY_ONLY
    return exact | {each.tcp_anywhere for each in ports if each.tcp_anywhere is not None and refuses}


def declared_addresses(view: View) -> set[AddressCluster]:
    """The clusters of addresses that the asker's workload declares in its Sidecar, sent ahead."""
    sidecar = view.sidecar
    if sidecar is None:
        return set()
    return {
        AddressCluster(address=address, port=port)
        for port in view.ports
        for claim in shared_claims(port, view).exact
        if sidecar.declares(claim.cluster.host, view.namespace) and not _has_own_chain(claim, view)
        for address in claim.addresses
    }


def _stands_apart(view: View, port: int) -> bool:
    claims = shared_claims(port, view)
    return (
        claims.http_anywhere
        or claims.detect_anywhere
        or _has_unplaced(claims, view)
        or any(_is_detected(claim) or _has_own_chain(claim, view) for claim in claims.exact)
    )


def _has_unplaced(claims: PortClaims, view: View) -> bool:
    """Whether bytes to any address of the port may be a service's whose address is not known."""
    return claims.tcp_anywhere is not None and view.outbound_traffic is OutboundTraffic.REGISTRY_ONLY


def _has_own_chain(claim: Claim, view: View) -> bool:
    return is_of_the_connection(policy_of(claim.cluster, view))


def _port_chains(claims: PortClaims, near: Sequence[str], view: View) -> Iterator[FilterChain]:
    for claim in claims.exact:
        if _has_own_chain(claim, view):
            yield from build_tcp_chains(claim, view)
    if claims.http_anywhere or _has_unplaced(claims, view):
        yield from _by_address(claims, view)
    else:
        yield from _by_range(claims, near, view)


def _by_address(claims: PortClaims, view: View) -> Iterator[FilterChain]:
    """Where everything on the port is somebody's: each service of bytes has its addresses for itself."""
    port = claims.port
    http = [build_outbound_http(view.settings, RouteTable(port=port), on_demand=True)]
    if claims.http_anywhere:
        yield build_chain(f"{port}.http", port, http)
    elif claims.detect_anywhere:
        yield build_chain(f"{port}.http", port, http, applications=PLAIN_HTTP)
    detected = [address for claim in claims.exact if _is_detected(claim) for address in claim.addresses]
    if detected:
        yield build_chain(f"{port}.detected.http", port, http, detected, PLAIN_HTTP)
    yield from _asking(claims.exact, view)
    if not claims.http_anywhere:
        yield build_chain(f"{port}.elsewhere", port, build_elsewhere_on(claims, view))


def _by_range(claims: PortClaims, near: Sequence[str], view: View) -> Iterator[FilterChain]:
    """Where HTTP is detected if at all: in whatever goes to what may be the mesh's. What is bytes for certain has its
    addresses for itself, never to be taken for HTTP."""
    port = claims.port
    http = [build_outbound_http(view.settings, RouteTable(port=port), on_demand=True)]
    own = [claim for claim in claims.exact if _has_own_chain(claim, view)]
    others = [claim for claim in claims.exact if not _has_own_chain(claim, view)]
    detects = any(map(_is_detected, others))
    reach = [
        *(near if detects else ()),
        *(address for claim in own if _is_detected(claim) for address in claim.addresses),
        *(EVERYWHERE if claims.detect_anywhere else ()),
    ]
    if reach:
        yield build_chain(f"{port}.http", port, http, reach, PLAIN_HTTP)
        yield from _asking([claim for claim in others if not _is_detected(claim)], view)
    if detects or (own and not claims.detect_anywhere):
        yield build_chain(f"{port}.tcp", port, build_tcp_on_demand(view.settings), near)
    if claims.detect_anywhere:
        yield build_chain(f"{port}.elsewhere", port, build_elsewhere_on(claims, view), EVERYWHERE)


def _asking(claims: Iterable[Claim], view: View) -> Iterator[FilterChain]:
    """Of the claims that have no chain of their own, those that ask."""
    asking = build_tcp_on_demand(view.settings)
    for claim in claims:
        if not _has_own_chain(claim, view):
            for name, addresses in claim.chains:
                yield build_chain(name, claim.cluster.port, asking, addresses)


def _is_detected(claim: Claim) -> bool:
    return claim.protocol is Protocol.DETECT
